"""Measures two or more ways of doing one thing in turns, so that a noisy machine disturbs all of them alike.

Each round calls every way once, in an order that rotates. What is compared is the ratio within a round; its median and its
range over the rounds are the result. Pure but for the clock, which is an argument.
"""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

__all__ = ["Spread", "interleaved", "ratio", "spread"]


@dataclass(frozen=True)
class Spread:
    """Median, least and largest of some figures."""

    median: float
    low: float
    high: float

    def shown(self, digits: int = 3) -> str:
        """`7.1 (6.8 to 7.4)`."""
        return f"{self.median:.{digits}g} ({self.low:.{digits}g} to {self.high:.{digits}g})"


def spread(figures: Sequence[float]) -> Spread:
    """ValueError for no figures."""
    if not figures:
        raise ValueError("spread: expected at least one figure, got none")
    return Spread(statistics.median(figures), min(figures), max(figures))


def interleaved(
    ways: Mapping[str, Callable[[], object]], rounds: int, clock: Callable[[], float] = time.perf_counter
) -> dict[str, list[float]]:
    """Seconds of each way in each round [rounds]. The first round is thrown away: it warms caches."""
    names = list(ways)
    taken: dict[str, list[float]] = {name: [] for name in names}
    for turn in range(rounds + 1):
        for place in range(len(names)):
            name = names[(place + turn) % len(names)]
            start_s = clock()
            ways[name]()
            if turn:
                taken[name].append(clock() - start_s)
    return taken


def ratio(slower: Sequence[float], faster: Sequence[float]) -> Spread:
    """How many times longer the first takes than the second, round by round."""
    return spread([a / b for a, b in zip(slower, faster, strict=True)])
