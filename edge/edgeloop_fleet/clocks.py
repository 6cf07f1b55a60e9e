"""The fleet's two clocks: the wall's, and event time, which is as late as the newest report."""

from __future__ import annotations

import threading
import time

__all__ = ["ReportClock", "WallClock"]


class WallClock:
    """Unix time; it does not go back when the host's clock does."""

    def __init__(self) -> None:
        self._latest_s, self._lock = 0.0, threading.Lock()

    def now_s(self) -> float:
        with self._lock:
            self._latest_s = max(self._latest_s, time.time())
            return self._latest_s


class ReportClock:
    """Event time: the end of the newest window that was reported. It stands still while nothing is."""

    def __init__(self, start_s: float = 0.0) -> None:
        self._latest_s, self._lock = start_s, threading.Lock()

    def advance(self, to_s: float) -> None:
        """Moves the clock on; earlier times change nothing."""
        with self._lock:
            self._latest_s = max(self._latest_s, to_s)

    def now_s(self) -> float:
        return self._latest_s
