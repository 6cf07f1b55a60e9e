"""Says how far a push or a pull is: a line at the beginning, at most one a second, and one in the end."""

from __future__ import annotations

import time
from collections.abc import Callable

__all__ = ["Meter", "Say", "silent"]

Say = Callable[[str], None]
_UNITS = ("B", "KiB", "MiB", "GiB")


def silent(_: str) -> None:
    """Says nothing."""


def shown(size_bytes: float) -> str:
    """Bytes for a person."""
    for unit in _UNITS[:-1]:
        if size_bytes < 1024:
            return f"{size_bytes:.0f} {unit}" if unit == "B" else f"{size_bytes:.1f} {unit}"
        size_bytes /= 1024
    return f"{size_bytes:.1f} {_UNITS[-1]}"


class Meter:
    """Counts bytes of `total`. `verb`: pushed, pulled."""

    def __init__(self, say: Say, verb: str, what: str, *, clock: Callable[[], float] = time.monotonic) -> None:
        self._say, self._verb, self._what, self._clock = say, verb, what, clock
        self._total = self._done = 0
        self._spoke_s = clock()

    def expect(self, size_bytes: int) -> None:
        """So many more bytes are to come."""
        self._total += size_bytes

    def moved(self, size_bytes: int) -> None:
        """So many bytes went across; a retry counts again."""
        self._done += size_bytes
        if (now := self._clock()) - self._spoke_s >= 1.0:
            self._spoke_s = now
            self._say(f"{self._what}: {self._verb} {shown(self._done)} of {shown(self._total)}")

    def ended(self, skipped_bytes: int = 0) -> None:
        """The last line."""
        there = f", {shown(skipped_bytes)} were there" if skipped_bytes else ""
        self._say(f"{self._what}: {self._verb} {shown(self._done)}{there}")
