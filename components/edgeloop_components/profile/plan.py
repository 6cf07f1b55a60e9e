"""How much a profile measures: `quick` for every run of a pipeline, `full` for figures to plan with."""

from __future__ import annotations

import math
from dataclasses import dataclass

__all__ = ["FULL", "PLANS", "QUICK", "Plan", "quotas_within"]


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


QUICK = Plan("quick", (1000,), 1, 3, 0.3, 0.5, 0.15, 0.0, floor=False, fresh=False, patience_s=60.0)
FULL = Plan("full", (100, 250, 500, 1000), 3, 6, 5.0, 20.0, 1.0, 15.0, floor=True, fresh=True, patience_s=120.0)
PLANS = {plan.name: plan for plan in (QUICK, FULL)}


def quotas_within(quotas_m: tuple[int, ...], most_m: float | None) -> tuple[int, ...]:
    """The plan's quotas as far as the budget allows, and the budget itself in place of those above it."""
    if most_m is None or most_m >= quotas_m[-1]:
        return quotas_m
    return (*(quota for quota in quotas_m if quota < math.floor(most_m)), max(10, math.floor(most_m)))
