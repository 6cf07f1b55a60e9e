"""Searches over trials: the least memory that serves, and the highest rate that keeps the latency limit.

Pure but for the trial itself, which is a function that is given: so the searches run over a made-up server in tests. A point
is judged by the early-stopping rule (`stopping`): enough queries for the misses seen, failed queries being misses. A generator
that was itself late spoils a point: then nothing is said about the server.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass

from edgeloop_components.profile.load import Load
from edgeloop_components.profile.stopping import least_queries, percentile, percentile_interval, proved

__all__ = [
    "PERCENT",
    "Attempt",
    "Bracket",
    "Judged",
    "highest_rate",
    "judge",
    "memory_floor",
    "point_seconds",
]

PERCENT = 0.99
LATE_SHARE = 0.25  # of the limit, that the generator may be late
FIRST, GROW, SHRINK = 0.3, 2.0, 0.4  # of the estimated capacity: the first rate, and the steps to both sides
FURTHER = 4  # trials more, while queries fail in every one


@dataclass(frozen=True)
class Judged:
    """A point, and whether it proves that the percentile keeps the limit."""

    rate_per_s: float
    ok: bool
    why: str
    queries: int
    open: bool  # too few queries to say either: neither proved nor shown to be over the limit
    spoiled: bool  # the generator was late: nothing is said about the server
    p50_ms: float
    p99_ms: float
    p99_low_ms: float | None
    p99_high_ms: float | None


@dataclass(frozen=True)
class Attempt:
    """A start under a memory limit, and what came of it."""

    limit_mib: float
    ok: bool
    why: str = ""


@dataclass(frozen=True)
class Bracket:
    """The highest rate that was proved and the lowest above it that was refused; None where there was none."""

    low_per_s: float | None
    high_per_s: float | None
    points: tuple[Judged, ...]


def judge(load: Load, limit_ms: float, *, percent: float = PERCENT) -> Judged:
    """Judges one point."""
    ordered = sorted(load.latencies_ms)
    queries, over = len(ordered), sum(latency > limit_ms for latency in ordered)
    if not queries:
        return Judged(load.rate_per_s, False, "no query fell into its time", 0, True, False, 0.0, 0.0, None, None)
    low, high = percentile_interval(ordered, percent)
    late = load.late_p99_ms > LATE_SHARE * limit_ms
    ok = proved(queries, over, percent) and not late
    why = f"the generator itself was {load.late_p99_ms:.1f} ms late" if late else ""
    return Judged(
        load.rate_per_s,
        ok,
        why or ("" if ok else _why(load, limit_ms, over, percent)),
        queries,
        not ok and not late and over <= (1 - percent) * queries,
        late,
        percentile(ordered, 0.5),
        percentile(ordered, percent),
        low,
        high,
    )


def _why(load: Load, limit_ms: float, over: int, percent: float) -> str:
    queries = len(load.latencies_ms)
    failed = "".join(f", {times} {kind}" for kind, times in load.errors.items())
    hopeless = over > 2 * (1 - percent) * queries
    more = "" if hopeless else f": {least_queries(percent, over)} queries would prove it"
    return f"{over} of {queries} queries over {limit_ms:g} ms{failed}{more}"


def point_seconds(rate_per_s: float, least_s: float, most_s: float, *, percent: float = PERCENT) -> float:
    """How long a point lasts: long enough for a proof without a miss and to spare, as far as `most_s` allows."""
    return min(most_s, max(least_s, 1.3 * least_queries(percent, 0) / rate_per_s))


def highest_rate(trial: Callable[[float], Judged], capacity_per_s: float, steps: int) -> Bracket:
    """Bisection on a log scale within `steps` trials, from the estimated capacity; widened where both ends agree.

    A point that is left open (too few queries) sends the search upward, where more queries come in the same time. On a machine
    that has much else to do queries of every one of them may fail; then it goes further down, to a latency that can be told.
    """
    low = high = below = None
    rate = FIRST * capacity_per_s
    points: list[Judged] = []
    while len(points) < steps or (len(points) < steps + FURTHER and all(p.p99_ms == math.inf for p in points)):
        judged = trial(rate)
        points.append(judged)
        if judged.ok:
            low = rate if low is None else max(low, rate)
        if judged.ok or judged.open:
            below = rate if below is None else max(below, rate)
        else:
            high = rate if high is None else min(high, rate)
        rate = _next(below, high)
    refused = [p.rate_per_s for p in points if not (p.ok or p.open or p.spoiled)]
    return Bracket(low, min(refused, default=None), tuple(points))


def _next(below: float | None, high: float | None) -> float:
    if below is None or (high is not None and high <= below):
        assert high is not None
        return high * SHRINK
    return below * GROW if high is None else math.sqrt(below * high)


def memory_floor(
    start: Callable[[float], Attempt], low_mib: float, high_mib: float, *, ratio: float = 1.05, step_mib: float = 0.0
) -> tuple[float | None, tuple[Attempt, ...]]:
    """The least limit under which it serves, by bisection between one that fails and one that holds.

    `high_mib` is tried first and doubled until it holds (at most four times; then there is no floor). The answer is within
    `ratio` or `step_mib` of a limit that failed, or `low_mib`.
    """
    tried = []
    for _ in range(5):
        tried.append(start(high_mib))
        if tried[-1].ok:
            break
        low_mib, high_mib = high_mib, 2 * high_mib
    else:
        return None, tuple(tried)
    while high_mib > low_mib * ratio and high_mib - low_mib > step_mib:
        middle = math.sqrt(low_mib * high_mib)
        tried.append(start(middle))
        low_mib, high_mib = (low_mib, middle) if tried[-1].ok else (middle, high_mib)
    return high_mib, tuple(tried)
