"""The serving benchmark measures what it says: answers are counted, wrong ones stop it, and bars are judged by ratios."""

from __future__ import annotations

import http.server
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, ClassVar

import pytest

from edgeloop_pipelines.bench import serving
from edgeloop_pipelines.bench.load import LoadError, cpu_s, drive, first_answer, memory_bytes, post
from edgeloop_pipelines.bench.servers import SERVERS, Missing, model_folder, requests_of


class _Handler(http.server.BaseHTTPRequestHandler):
    protocol_version, wbufsize = "HTTP/1.1", -1
    seen: ClassVar[list[bytes]] = []
    status = 200

    def do_POST(self) -> None:
        self.seen.append(self.rfile.read(int(self.headers["Content-Length"])))
        self.send_response(type(self).status)
        self.send_header("Content-Length", "2")
        self.end_headers()
        self.wfile.write(b"{}")

    def log_request(self, *_: Any) -> None:
        """Quiet."""


@pytest.fixture
def port() -> Iterator[int]:
    """A server that answers {} and remembers what it was asked."""
    _Handler.seen, _Handler.status = [], 200
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), _Handler)
    threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
    yield int(server.server_address[1])
    server.shutdown()
    server.server_close()


@pytest.mark.parametrize("connections", [1, 8])
def test_every_answer_is_counted(port: int, connections: int) -> None:
    """As many answers as the server saw requests, and the requests come in turn."""
    requests = [post("/x", b"%d" % i) for i in range(7)]
    answered = drive(port, requests, connections, 0.2)
    assert answered == len(_Handler.seen)
    assert answered > connections
    assert set(_Handler.seen) == {b"%d" % i for i in range(7)}


def test_a_wrong_answer_stops_it(port: int) -> None:
    """A server that refuses is not measured as if it had worked."""
    _Handler.status = 500
    with pytest.raises(LoadError, match="expected 200"):
        drive(port, [post("/x", b"")], 1, 0.2)


def test_nobody_answers() -> None:
    """A server that does not come up is an error after the limit, not a wait for ever."""
    with pytest.raises(LoadError, match=r"within 0\.2 s"):
        first_answer(9, post("/x", b""), 0.2)


def test_the_cost_of_children_counts() -> None:
    """A process's figures include those of its children."""
    code = "import subprocess, sys; subprocess.run([sys.executable, '-c', 'while True: pass'])"
    with subprocess.Popen([sys.executable, "-c", code], start_new_session=True) as parent:
        until_s = time.monotonic() + 30
        while (spent_s := cpu_s(parent.pid)) <= 0.3 and time.monotonic() < until_s:  # the parent itself only waits
            time.sleep(0.05)
        memory = memory_bytes(parent.pid)
        os.killpg(parent.pid, signal.SIGKILL)
        parent.wait()
    assert spent_s > 0.3
    assert memory["rss"] > 10_000_000  # two interpreters
    assert 0 < memory["pss"] <= memory["rss"]


def test_rows_are_distinct() -> None:
    """No row comes twice: branches that were taken before are taken faster."""
    rows = [tuple(json.loads(body)["inputs"][0]["data"]) for body in requests_of(500)]
    assert len(set(rows)) == 500
    assert {len(row) for row in rows} == {24}


def figures(cost_us: float, why: str = "") -> serving.Figures:
    return serving.Figures(cpu_us={1: [cost_us, cost_us * 2], 8: [cost_us] * 2}, why=why)


def test_bars_are_judged_by_ratio() -> None:
    """A bar holds at its number and fails below; a server that is missing is named and its bar is open."""
    costs = {"native": 10.0, SERVERS[1].name: 40.0, SERVERS[2].name: 39.0, "mlserver": 200.0}
    found = {name: figures(cost) for name, cost in costs.items()} | {
        "kserve": figures(0, why="kserve is not installed")
    }
    verdicts = {
        bar.what.partition(" / ")[0].removeprefix("processor time of "): bar for bar in serving._cost_bars(found)
    }
    assert [verdicts[name].holds for name in (SERVERS[1].name, SERVERS[2].name, "mlserver", "kserve")] == [
        True,
        False,
        True,
        None,
    ]
    assert "not installed" in verdicts["kserve"].got


def test_each_side_is_taken_at_its_better_number_of_connections() -> None:
    """Round by round, the least of each; the ratios by number stand beside it."""
    theirs = serving.Figures(cpu_us={1: [100.0, 300.0], 8: [200.0, 200.0]})
    found = {"native": serving.Figures(cpu_us={1: [20.0, 20.0], 8: [10.0, 5.0]}), SERVERS[1].name: theirs}
    missing = {server.name: serving.Figures(why="not here") for server in SERVERS[2:]}
    bar = next(iter(serving._cost_bars(found | missing)))
    assert bar.got == ("25 (10 to 40); by number of connections 10 (5 to 15) with 1, 30 (20 to 40) with 8")


def test_a_peer_that_is_missing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The message says how it would be installed."""
    monkeypatch.setenv("EDGELOOP_PEERS", str(tmp_path))
    with pytest.raises(Missing, match="make peers"):
        SERVERS[-1].command(tmp_path, 1)


@pytest.mark.slow
def test_our_python_server_is_measured(tmp_path: Path) -> None:
    """A whole run over one server, short: costs, first answer and memory are there and plausible."""
    folder = model_folder(tmp_path / "model")
    found = serving.measured(folder, 1, 0.3, SERVERS[1:2])[SERVERS[1].name]
    assert all(10 < cost < 5000 for costs in found.cpu_us.values() for cost in costs)
    assert len(found.first_answer_ms) == 3
    assert found.memory["pss"] > 10_000_000
