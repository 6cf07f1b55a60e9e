"""The sweep over rungs (`plan.Rung`): all quotas of one thread, then twice the threads and cores, while they bring something.

Pure but for the search on one rung, which is a function that is given: so the sweep runs over a made-up server in tests. It is
bounded: a plan that does not climb goes on only where it is shown that the demand is not borne; one that climbs stops when the
rate of twice the threads is not above what was measured before by more than the intervals are wide.
"""

from __future__ import annotations

import random
import statistics
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace

from edgeloop_components.profile.decide import RateAt, chosen, falls_short, gained
from edgeloop_components.profile.plan import Rung
from edgeloop_components.profile.search import Bracket, Judged
from edgeloop_contracts.loop import Budget

__all__ = ["after_demand", "rate_of", "shuffled", "sweep", "worth_climbing"]

Search = Callable[[Rung, int], Bracket]  # a rung, and which repeat it is


def sweep(
    first: Sequence[RateAt], further: Iterable[Rung], repeats: int, search: Search, on: Callable[[list[RateAt]], bool]
) -> tuple[RateAt, ...]:
    """The rates of the first rungs, and of the further ones for as long as `on` says so of all that was found."""
    found = list(first)
    for rung in further:
        if not on(found):
            break
        found.append(rate_of(rung, [search(rung, repeat) for repeat in range(repeats)]))
    return tuple(found)


def worth_climbing(rates: Sequence[RateAt], budget: Budget, *, climb: bool) -> bool:
    """Whether twice the threads are worth measuring: see above."""
    best = chosen(rates, budget)
    if best and not climb and not falls_short(best, budget.demand_per_s):
        return False
    most = max(rate.threads for rate in rates)
    below = [rate for rate in rates if rate.threads < most]
    if not below:
        return True
    before = max(below, key=lambda rate: (rate.rate_per_s or 0.0, rate.high_per_s or 0.0))
    return any(gained(rate, before) for rate in rates if rate.threads == most)


def shuffled(rungs: Sequence[Rung], repeats: int, seed: int) -> Iterable[tuple[Rung, int]]:
    """(rung, repeat) in a random order that the seed fixes: what drifts over time falls on all alike."""
    order = [(rung, repeat) for rung in rungs for repeat in range(repeats)]
    random.Random(seed).shuffle(order)
    return order


def rate_of(rung: Rung, brackets: Sequence[Bracket]) -> RateAt:
    """Of repeats: the median of what was proved, the least of it, and the highest rate that was not.

    A repeat that proved no rate counts as 0, so repeats that do not agree leave a wide interval; None where none proved any.
    """
    lows = [bracket.low_per_s or 0.0 for bracket in brackets]
    middle = statistics.median(lows)
    high = max((bracket.high_per_s for bracket in brackets if bracket.high_per_s is not None), default=None)
    if not middle:
        return RateAt(rung.quota_m, rung.threads, None, None, high, rung.cores)
    return RateAt(
        rung.quota_m, rung.threads, middle, min(lows), None if high is None else max(high, middle), rung.cores
    )


def after_demand(rate: RateAt, demand_per_s: float, judged: Judged) -> RateAt:
    """A rung that was refused the demand, when the demand itself was not refused: what refused it came from elsewhere."""
    if not judged.ok:
        return replace(rate, high_per_s=None)
    low = demand_per_s if rate.low_per_s is None else rate.low_per_s
    return replace(rate, rate_per_s=max(demand_per_s, rate.rate_per_s or 0.0), low_per_s=low, high_per_s=None)
