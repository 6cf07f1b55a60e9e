"""From what was measured to what a pod asks for. Pure.

- Memory: the need is the floor (the least limit under which the server serves) where it was searched, else the peak. The
  request adds a tenth, the limit a half, rounded up to STEP_MIB; the limit is at least LEAST_LIMIT_MIB, because a container
  engine charges its own start and every exec probe to the pod's group.
- CPU: the request is what `budget.requests_per_s` cost; the limit is the least quota whose proved rate covers that
  demand, or the largest that was measured.
- Limits keep to the target's budget, requests do not: a request above the budget is a model that breaks it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

from edgeloop_contracts import Target
from edgeloop_contracts.loop import Budget

__all__ = [
    "BudgetError",
    "Found",
    "RateAt",
    "Resources",
    "chosen",
    "memory_of",
    "resources",
    "within_budget",
]

REQUEST_HEADROOM, LIMIT_HEADROOM = 1.1, 1.5
STEP_MIB, STEP_M = 4, 10
LEAST_LIMIT_MIB = 16


class BudgetError(ValueError):
    """The model costs more than the target's budget; the message has the numbers."""


@dataclass(frozen=True)
class RateAt:
    """The sustainable rate under a quota: of several repeats the median, and the outermost ends of their brackets."""

    quota_m: int
    threads: int
    rate_per_s: float | None
    low_per_s: float | None
    high_per_s: float | None


@dataclass(frozen=True)
class Found:
    """What was measured of a server."""

    peak_mib: float
    floor_mib: float | None
    cpu_us: float
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


def chosen(rates: Sequence[RateAt], budget: Budget) -> RateAt | None:
    """The least quota within the budget that sustains the demand for sure; else the one with the highest rate."""
    allowed = [rate for rate in rates if budget.cpu_m is None or rate.quota_m <= budget.cpu_m]
    enough = [rate for rate in allowed if rate.low_per_s is not None and rate.low_per_s >= budget.requests_per_s]
    if enough:
        return min(enough, key=lambda rate: rate.quota_m)
    known = [rate for rate in allowed if rate.rate_per_s is not None]
    return max(known or allowed, key=lambda rate: (rate.rate_per_s or 0.0, rate.quota_m), default=None)


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
    cpu_request = max(STEP_M, _up(budget.requests_per_s * found.cpu_us / 1000, STEP_M))
    rate = chosen(found.rates, budget)
    unlimited = 1000 if budget.cpu_m is None else math.floor(budget.cpu_m)
    cpu_limit = (rate.quota_m if rate else 0) or unlimited
    return Resources(cpu_request, max(cpu_request, cpu_limit), memory_request, memory_limit)


def _up(value: float, step: int) -> int:
    return math.ceil(value / step) * step


def within_budget(target: Target, found: Found, wanted: Resources) -> None:
    """BudgetError names every part of the budget that is broken.

    The latency that counts is the lower end of the interval: what breaks the budget beyond doubt. That it keeps the budget
    is what the sustainable rate proves.
    """
    latency_ms = found.p99_ms if found.p99_low_ms is None else found.p99_low_ms
    need = f"peak {found.peak_mib:.1f}" if found.floor_mib is None else f"least limit that serves {found.floor_mib:.1f}"
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
            wanted.cpu_request_m,
            f"{found.cpu_us:.3g} us a request, for {target.budget.requests_per_s:g}/s",
        ),
    )
    broken = [
        f"{name}: at most {most:g}, needs {got:.4g} ({how})"
        for name, most, got, how in checks
        if most is not None and got > most
    ]
    if broken:
        raise BudgetError(f"target {target.name}: the model breaks its budget: " + "; ".join(broken))
