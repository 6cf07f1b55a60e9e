"""Runs probes side by side, and gives up those that take too long: a hanging service must not hang the doctor."""

from __future__ import annotations

import queue
import threading
import time
from collections.abc import Callable, Mapping
from typing import Any

__all__ = ["LateError", "together"]


class LateError(Exception):
    """A probe did not end in its time."""


def together(probes: Mapping[str, Callable[[], Any]], timeout_s: float) -> dict[str, Any]:
    """name: what the probe gave, or the exception that ended it; `LateError` for one that is still at it.

    A probe that is given up goes on in a daemon thread until the process ends.
    """
    answers: queue.Queue[tuple[str, Any]] = queue.Queue()

    def ask(name: str, probe: Callable[[], Any]) -> None:
        try:
            answers.put((name, probe()))
        except Exception as error:
            answers.put((name, error))

    for name, probe in probes.items():
        threading.Thread(target=ask, args=(name, probe), name=f"doctor-{name}", daemon=True).start()
    found: dict[str, Any] = {}
    end = time.monotonic() + timeout_s
    while len(found) < len(probes):
        try:
            name, answer = answers.get(timeout=max(end - time.monotonic(), 0.001))
        except queue.Empty:
            break
        found[name] = answer
    return {name: found.get(name, LateError(f"no answer within {timeout_s:g} s")) for name in probes}
