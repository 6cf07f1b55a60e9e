"""One version takes over from another on the same port while clients keep asking."""

from __future__ import annotations

import http.client
import json
import threading
import time
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

TEXT = json.dumps({"features": {"flow": 0.3, "heat": -1.25, "mode": "b"}, "time": 0})


class Client(threading.Thread):
    """Asks until it is told to stop, and counts the versions that answered; `keep` uses one connection."""

    def __init__(self, port: int, keep: bool, stop: threading.Event) -> None:
        super().__init__(daemon=True)
        self.port, self.keep, self.stop = port, keep, stop
        self.versions: Counter[int] = Counter()
        self.errors: list[str] = []

    def run(self) -> None:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=10)
        while not self.stop.is_set():
            try:
                connection.request("POST", "/score", TEXT, {} if self.keep else {"Connection": "close"})
                answer = connection.getresponse()
                body = json.loads(answer.read())
                self.versions[body["version"]] += 1
            except Exception as error:
                self.errors.append(repr(error))
                connection.close()
            time.sleep(0.002)
        connection.close()


@pytest.mark.slow
def test_a_handover_loses_no_request(
    serve: Callable[..., Any], node: Any, runtime: Any, make_model: Callable[..., Path]
) -> None:
    """Kept and new connections see no failed request over two handovers, and every row is counted once."""
    stop = threading.Event()
    following_models = [make_model(number, seed=number) for number in (2, 3)]
    for folder in following_models:
        runtime.program(folder)
    current = serve()
    port = current.port
    clients = [Client(port, keep, stop) for keep in (True, True, False, False)]
    for client in clients:
        client.start()
    for folder in following_models:
        time.sleep(0.5)
        following = serve(folder, port=port)
        time.sleep(0.3)
        assert current.process.stop() == 0
        current = following
    time.sleep(0.5)
    stop.set()
    for client in clients:
        client.join(10)
    assert [error for client in clients for error in client.errors] == []
    answered = sum((client.versions for client in clients), Counter())
    assert set(answered) == {1, 2, 3}
    assert current.process.stop() == 0
    counted: Counter[int] = Counter()
    for path in node.run_dir.glob("*.final.json"):
        for report in json.loads(path.read_text())["reports"]:
            counted[report["version"]] += report["counts"]["rows"]
    assert counted == answered
