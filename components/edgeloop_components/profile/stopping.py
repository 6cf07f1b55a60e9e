"""When a load run was long enough to say that a percentile keeps its limit, and how sure its figures are. Pure.

The rule is MLPerf's early stopping: with t queries over the limit, n queries prove the p-th percentile with confidence c when
P(Binomial(n, 1 - p) <= t) <= 1 - c: a system that breaks the percentile would show so few misses too seldom. Intervals are
distribution-free: order statistics for percentiles, Clopper-Pearson for shares.

Refuses shares and confidences outside (0, 1). It takes queries for independent; latencies under a CPU quota are not, so the
search also asks for many quota periods a point and for repeats that agree (`search`).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from functools import lru_cache

__all__ = [
    "CONFIDENCE",
    "binomial_at_most",
    "least_queries",
    "percentile",
    "percentile_interval",
    "proved",
    "share_interval",
]

CONFIDENCE = 0.99
_WIDTH = 12  # standard deviations below the mean at which a sum begins: what lies lower is below 1e-30


def _check(**shares: float) -> None:
    for name, value in shares.items():
        if not 0 < value < 1:
            raise ValueError(f"{name}: expected a share between 0 and 1, got {value}")


def binomial_at_most(k: int, n: int, share: float) -> float:
    """P(Binomial(n, share) <= k)."""
    _check(share=share)
    if k >= n:
        return 1.0
    spread = _WIDTH * math.sqrt(n * share * (1 - share)) + _WIDTH
    first = max(0, math.floor(n * share - spread))
    low, high, whole = math.log(share), math.log1p(-share), math.lgamma(n + 1)
    terms = (
        whole - math.lgamma(i + 1) - math.lgamma(n - i + 1) + i * low + (n - i) * high
        for i in range(first, min(k, math.ceil(n * share + spread)) + 1)
    )
    return min(1.0, math.fsum(map(math.exp, terms)))


@lru_cache(maxsize=4096)
def least_queries(percent: float, over: int, confidence: float = CONFIDENCE) -> int:
    """The smallest number of queries that proves the percentile when `over` of them were over the limit."""
    _check(percent=percent, confidence=confidence)
    low, high = over, max(2, 2 * over)
    while binomial_at_most(over, high, 1 - percent) > 1 - confidence:
        low, high = high, 2 * high
    while high - low > 1:
        middle = (low + high) // 2
        if binomial_at_most(over, middle, 1 - percent) <= 1 - confidence:
            high = middle
        else:
            low = middle
    return high


def proved(queries: int, over: int, percent: float, confidence: float = CONFIDENCE) -> bool:
    """Whether `queries`, of which `over` were over the limit, prove that the percentile keeps it."""
    _check(percent=percent, confidence=confidence)
    return queries > 0 and binomial_at_most(over, queries, 1 - percent) <= 1 - confidence


def percentile(ordered: Sequence[float], share: float) -> float:
    """Of values in ascending order, the smallest that at least `share` of them do not exceed."""
    return ordered[max(0, -(-len(ordered) * round(share * 1000) // 1000) - 1)]


def percentile_interval(
    ordered: Sequence[float], share: float, confidence: float = 0.95
) -> tuple[float | None, float | None]:
    """An interval of two of the values that holds the true percentile; an end is None where they are too few to have one."""
    _check(share=share, confidence=confidence)
    n, tail = len(ordered), (1 - confidence) / 2
    below = _quantile(n, share, tail)  # values below the percentile: at least so many, surely
    above = _quantile(n, 1 - share, tail)
    low = ordered[below - 1] if below > 0 else None
    high = ordered[n - above] if above > 0 else None
    return low, high


def _quantile(n: int, share: float, tail: float) -> int:
    """The largest k with P(Binomial(n, share) < k) <= tail."""
    low, high = 0, n + 1
    while high - low > 1:
        middle = (low + high) // 2
        if binomial_at_most(middle - 1, n, share) <= tail:
            low = middle
        else:
            high = middle
    return low


def share_interval(hits: int, of: int, confidence: float = 0.95) -> tuple[float, float]:
    """Clopper-Pearson: an interval for the share that `hits` of `of` stand for."""
    _check(confidence=confidence)
    if not 0 <= hits <= of or of == 0:
        raise ValueError(f"expected 0 to {of} hits of at least one, got {hits}")
    tail = (1 - confidence) / 2
    low = _solve(lambda p: 1 - binomial_at_most(hits - 1, of, p), tail) if hits else 0.0
    high = _solve(lambda p: 1 - binomial_at_most(hits, of, p), 1 - tail) if hits < of else 1.0
    return low, high


def _solve(rising: Callable[[float], float], level: float) -> float:
    """Where a rising function of a share reaches a level."""
    low, high = 0.0, 1.0
    for _ in range(50):
        middle = (low + high) / 2
        low, high = (middle, high) if rising(middle) < level else (low, middle)
    return (low + high) / 2
