"""How much a profile measures: `quick` for every run of a pipeline, `full` for figures to plan with; and what it climbs.

A rung is what a server may use: a CPU quota, cores that it is pinned to, and its number of threads. The lowest rungs have one
thread on one core, under each of the plan's quotas. Those above have twice the threads each time, as many cores, and as much
quota: a request is scored by all threads together, so a thread without a core, or a core without a thread, brings nothing.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from dataclasses import dataclass

__all__ = [
    "FULL",
    "PLANS",
    "QUICK",
    "Plan",
    "Rung",
    "first_rungs",
    "further_rungs",
    "quotas_within",
    "rungs_of",
    "seconds_for",
]

CORE_M = 1000


@dataclass(frozen=True)
class Plan:
    """How much is measured."""

    name: str
    quotas_m: tuple[int, ...]
    repeats: int
    steps: int  # of the search for a rate
    point_s: float
    longest_point_s: float
    warm_s: float
    confirm_s: float  # 0: no confirmation
    floor: bool  # search the memory floor even when a start is dear
    fresh: bool  # copy the libraries for every start, and drop them from memory
    patience_s: float
    climb: bool = False  # measure more threads even where one may bear the demand


QUICK = Plan("quick", (1000,), 1, 3, 0.3, 0.5, 0.15, 0.0, floor=False, fresh=False, patience_s=60.0)
FULL = Plan(
    "full", (100, 250, 500, 1000), 3, 6, 5.0, 20.0, 1.0, 15.0, floor=True, fresh=True, patience_s=120.0, climb=True
)
PLANS = {plan.name: plan for plan in (QUICK, FULL)}


@dataclass(frozen=True, order=True)
class Rung:
    """What a server may use. `quota_m` 0: no quota; `cores` 0: not pinned."""

    quota_m: int
    cores: int = 0
    threads: int = 1

    def __str__(self) -> str:
        quota = f"{self.quota_m}m" if self.quota_m else "no quota"
        cores = f" on {self.cores} core{'s' if self.cores > 1 else ''}" if self.cores else ""
        return f"{quota}{cores}" + (f", {self.threads} threads" if self.threads > 1 else "")


def quotas_within(quotas_m: tuple[int, ...], most_m: float | None) -> tuple[int, ...]:
    """The plan's quotas as far as the budget allows, and the budget itself in place of those above it."""
    if most_m is None or most_m >= quotas_m[-1]:
        return quotas_m
    return (*(quota for quota in quotas_m if quota < math.floor(most_m)), max(10, math.floor(most_m)))


def rungs_of(
    plan: Plan, most_m: float | None, *, threads: int, own: int, pinnable: int, limited: bool
) -> tuple[tuple[Rung, ...], Iterator[Rung]]:
    """The first rungs, and the further ones: on a machine with `own` cores, `pinnable` of which a group can be given (0: none).

    No rung has more cores than a group can be given: what it says it was pinned to is what it was.
    """
    if not limited:
        first: tuple[Rung, ...] = (Rung(0, 0, threads),)
    else:
        first = first_rungs(plan.quotas_m, most_m, threads=threads, pinnable=pinnable)
    return first, further_rungs(first[-1], pinnable or own, most_m)


def first_rungs(quotas_m: tuple[int, ...], most_m: float | None, *, threads: int, pinnable: int) -> tuple[Rung, ...]:
    """One for each quota within the budget, with the least number of threads; the highest quota is a core for each."""
    cores = min(threads, pinnable)
    quotas = quotas_within((*quotas_m[:-1], (cores or threads) * quotas_m[-1]), most_m)
    return tuple(Rung(quota, cores, threads) for quota in quotas)


def further_rungs(first: Rung, cores: int, most_m: float | None) -> Iterator[Rung]:
    """Twice the threads each time, as far as there are cores and the budget pays for them."""
    paid = cores if most_m is None else min(cores, math.ceil(most_m / CORE_M))
    threads = 2 * first.threads
    while threads <= paid:
        most = threads * CORE_M if most_m is None else min(threads * CORE_M, math.floor(most_m))
        yield Rung(first.quota_m and most, first.cores and threads, threads)
        threads *= 2


def seconds_for(plan: Plan, rungs: int, start_s: float) -> float:
    """About how long `rungs` take: their repeats, each a start, a warm-up and its points."""
    return rungs * plan.repeats * (start_s + 2 * plan.warm_s + plan.steps * plan.point_s)
