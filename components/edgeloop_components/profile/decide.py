"""From what was measured to what a pod asks for. Pure.

- Memory: the need is the floor (the least limit under which the server serves) where it was searched, else the peak. The
  request adds a tenth, the limit a half, rounded up to STEP_MIB; the limit is at least LEAST_LIMIT_MIB, because a container
  engine charges its own start and every exec probe to the pod's group.
- CPU: the request is what the demand (`budget.demand_per_s`) costs, as far as the server's threads and cores can use it. The
  limit is the least quota that bears that demand, or the one with the highest rate. A quota bears it when the median of its
  repeats proved that rate and the demand's CPU time, at the upper end of its interval, takes at most MOST_USE of it. Of the two
  the CPU time decides first: a proved rate moves with every disturbance of the machine near saturation, where it is found, while
  the CPU time of a request is counted by the kernel and hardly moves; below MOST_USE the latency is far from its edge, so
  repeated profiles give the same quota. It is that of servers with as many threads: threads that wait for each other take CPU
  time, too.
- Threads: more of them where fewer do not bear the demand and the rate rises by more than the intervals are wide.
- Limits keep to the target's budget, requests do not: a request above the budget is a model that breaks it.
- A demand that the budget states and that is shown not to be borne is refused; the default demand is nobody's wish, so that
  a slow machine refuses no model for it: the profile tells.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgeloop_components.profile.plan import CORE_M, Rung
from edgeloop_contracts import Target
from edgeloop_contracts.loop import Budget

__all__ = [
    "BudgetError",
    "Found",
    "RateAt",
    "Resources",
    "bears",
    "chosen",
    "demand_told",
    "falls_short",
    "gained",
    "memory_of",
    "refused",
    "resources",
    "ruled_out",
    "within_budget",
]

REQUEST_HEADROOM, LIMIT_HEADROOM = 1.1, 1.5
STEP_MIB, STEP_M = 4, 10
LEAST_LIMIT_MIB = 16
MOST_USE = 0.7  # of a quota, by the demand: from there on the latency of a throttled queue climbs steeply


class BudgetError(ValueError):
    """The model costs more than the target's budget; the message has the numbers."""


@dataclass(frozen=True)
class RateAt:
    """The sustainable rate of a rung: of several repeats the median, and the outermost ends of their brackets.

    `cpu_us` is the CPU time of a request to a server of so many threads, with its interval; 0: not known.
    """

    quota_m: int
    threads: int
    rate_per_s: float | None
    low_per_s: float | None
    high_per_s: float | None
    cores: int = 0  # that the server was pinned to; 0: to none
    cpu_us: float = 0.0
    cpu_us_low: float | None = None
    cpu_us_high: float | None = None

    @property
    def rung(self) -> Rung:
        return Rung(self.quota_m, self.cores, self.threads)

    @property
    def usable_m(self) -> int:
        """What its server can use of a machine, whatever is offered: a thread takes one core at most."""
        most = CORE_M * min(self.threads, self.cores or self.threads)
        return min(most, self.quota_m) if self.quota_m else most


@dataclass(frozen=True)
class Found:
    """What was measured of a server."""

    peak_mib: float
    floor_mib: float | None
    rates: tuple[RateAt, ...]
    p99_ms: float
    p99_low_ms: float | None


@dataclass(frozen=True)
class Resources:
    """Requests and limits of a pod: thousandths of a core, and MiB."""

    cpu_request_m: int
    cpu_limit_m: int
    memory_request_mib: int
    memory_limit_mib: int


def bears(rate: RateAt, demand_per_s: float) -> bool:
    """Whether a rung bears the demand: proved by the median of its repeats, and its quota has CPU time to spare."""
    return _spare(rate, demand_per_s) and rate.rate_per_s is not None and rate.rate_per_s >= demand_per_s


def falls_short(rate: RateAt, demand_per_s: float) -> bool:
    """Whether a larger rung is wanted; neither this nor `bears` is true of a rung with too few queries to say."""
    return refused(rate, demand_per_s) or not _spare(rate, demand_per_s)


def ruled_out(rate: RateAt, demand_per_s: float) -> bool:
    """Whether it is shown not to bear the demand, beyond doubt: no head-room counts, and of the CPU time the lower end."""
    cpu_us = rate.cpu_us if rate.cpu_us_low is None else rate.cpu_us_low
    return refused(rate, demand_per_s) or demand_per_s * cpu_us / 1000 > rate.usable_m


def refused(rate: RateAt, demand_per_s: float) -> bool:
    """Whether that rate, or a lower one, was offered and its latency broke the limit."""
    return rate.high_per_s is not None and rate.high_per_s <= demand_per_s


def _spare(rate: RateAt, demand_per_s: float) -> bool:
    at_most_us = max(rate.cpu_us, rate.cpu_us_high or 0.0)
    return not rate.quota_m or demand_per_s * at_most_us / 1000 <= MOST_USE * rate.quota_m


def gained(more: RateAt, before: RateAt) -> bool:
    """Whether the rate rose by more than noise: the intervals do not meet. One without an upper end meets all above it."""
    if more.low_per_s is None or before.high_per_s is None:
        return False
    return more.low_per_s > max(before.rate_per_s or 0.0, before.high_per_s)


def chosen(rates: Sequence[RateAt], budget: Budget) -> RateAt | None:
    """The least quota within the budget that bears the demand; else the one with the highest rate.

    None where the budget allows none of the rungs.
    """
    allowed = [rate for rate in rates if budget.cpu_m is None or rate.quota_m <= budget.cpu_m]
    enough = [rate for rate in allowed if bears(rate, budget.demand_per_s)]
    if enough:
        return min(enough, key=lambda rate: (rate.quota_m, rate.threads))
    best: RateAt | None = None
    for rate in sorted(allowed, key=lambda rate: (rate.threads, rate.rate_per_s or 0.0, rate.quota_m)):
        if best is None or rate.threads == best.threads or gained(rate, best):
            best = rate
    return best


def memory_of(peak_mib: float, floor_mib: float | None, budget: Budget) -> tuple[int, int]:
    """Request and limit of memory, MiB."""
    need_mib = peak_mib if floor_mib is None else floor_mib
    request = _up(need_mib * REQUEST_HEADROOM, STEP_MIB)
    limit = max(LEAST_LIMIT_MIB, _up(need_mib * LIMIT_HEADROOM, STEP_MIB))
    if budget.memory_mib is not None:
        limit = max(request, min(limit, math.floor(budget.memory_mib)))
    return request, limit


def resources(found: Found, budget: Budget) -> Resources:
    """Requests and limits for what was measured."""
    memory_request, memory_limit = memory_of(found.peak_mib, found.floor_mib, budget)
    rate = chosen(found.rates, budget)
    usable = rate.usable_m if rate else CORE_M
    cpu_request = min(_need_m(rate, budget), usable)
    cpu_limit = (rate.quota_m if rate else 0) or (usable if budget.cpu_m is None else math.floor(budget.cpu_m))
    return Resources(cpu_request, max(cpu_request, cpu_limit), memory_request, memory_limit)


def _need_m(rate: RateAt | None, budget: Budget) -> int:
    """The CPU that the demand takes, whether a server can use so much or not."""
    return max(STEP_M, _up(budget.demand_per_s * (rate.cpu_us if rate else 0.0) / 1000, STEP_M))


def _up(value: float, step: int) -> int:
    return math.ceil(value / step) * step


def within_budget(target: Target, found: Found, wanted: Resources) -> None:
    """BudgetError names every part of the budget that is broken.

    The latency that counts is the lower end of the interval: what breaks the budget beyond doubt. That it keeps the budget
    is what the sustainable rate proves.
    """
    latency_ms = found.p99_ms if found.p99_low_ms is None else found.p99_low_ms
    need = f"peak {found.peak_mib:.1f}" if found.floor_mib is None else f"least limit that serves {found.floor_mib:.1f}"
    best = chosen(found.rates, target.budget)
    checks = (
        (
            "latency_p99_ms",
            target.budget.latency_p99_ms,
            latency_ms,
            f"measured {found.p99_ms:.4g}; the lower end of its interval counts",
        ),
        ("memory_mib", target.budget.memory_mib, wanted.memory_request_mib, f"{need}, with head-room"),
        (
            "cpu_m",
            target.budget.cpu_m,
            _need_m(best, target.budget),
            f"{best.cpu_us if best else 0:.3g} us a request, for {target.budget.demand_per_s:g}/s",
        ),
    )
    broken = [
        f"{name}: at most {most:g}, needs {got:.4g} ({how})"
        for name, most, got, how in checks
        if most is not None and got > most
    ]
    demand_per_s = target.budget.requests_per_s
    if best and demand_per_s is not None and ruled_out(best, demand_per_s):
        broken.append(f"requests_per_s: at least {demand_per_s:g}, {_borne(best, target.budget)}")
    if broken:
        raise BudgetError(f"target {target.name}: the model breaks its budget: " + "; ".join(broken))


def _borne(rate: RateAt, budget: Budget) -> str:
    """What a rung bears, and what the demand would take of it."""
    ends = ["?" if end is None else f"{end:.4g}" for end in (rate.low_per_s, rate.high_per_s)]
    proved = "no rate was proved" if rate.rate_per_s is None else f"bears {rate.rate_per_s:.4g}"
    need = f"takes {_need_m(rate, budget)}m of {rate.usable_m}m, {rate.cpu_us:.3g} us a request"
    return f"{proved} ({ends[0]} to {ends[1]}) with {rate.rung}; the demand {need}"


def demand_told(rate: RateAt | None, budget: Budget, sustained_per_s: float | None) -> str:
    """Whether the demand is borne, for the profile's method. `sustained_per_s` is the rate that the profile gives."""
    demand = f"demand of {budget.demand_per_s:g}/s" + ("" if budget.requests_per_s is not None else ", the default,")
    if rate is None or sustained_per_s is None:
        return f"the {demand} not shown to be borne"
    if ruled_out(rate, budget.demand_per_s):
        return f"the {demand} NOT borne: {_borne(rate, budget)}"
    if sustained_per_s >= budget.demand_per_s:
        return f"the {demand} borne"
    return f"the {demand} not shown to be borne: {_borne(rate, budget)}"
