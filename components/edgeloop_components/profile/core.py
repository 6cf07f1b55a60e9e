"""Profile: measures the real server of a compiled model on this machine, and derives what a pod of it asks for.

One start without a memory limit tells the peak, the CPU time a request, and so the capacity to search around. Then the least
memory limit that serves is searched with real starts, and for each rung (CPU quota, cores, threads: `plan`) the highest rate of
open-loop load whose 99th percentile is proved to keep the latency limit; last, the winner is run once more with a fresh seed.
What is decided from the figures is pure (`decide`), the searches too (`search`, `sweep`); a `Plan` says how much of it is done,
and `method` what was done.

Refuses a model that breaks the target's budget, with the numbers, and a server that does not start or answer. It says nothing
about other hardware: a quota on this machine foretells a node's rate by the ratio of their CPU times only.
"""

from __future__ import annotations

import math
from pathlib import Path

from edgeloop_components.package.layers import host_platform
from edgeloop_components.profile.cgroups import Groups, open_groups
from edgeloop_components.profile.decide import BudgetError, Found, chosen, demand_told, resources, within_budget
from edgeloop_components.profile.plan import FULL, PLANS, QUICK, Plan
from edgeloop_components.profile.session import latency_limit_ms, measure
from edgeloop_components.profile.state import Measured, Say
from edgeloop_components.profile.subject import ProfileError
from edgeloop_contracts import Loop, ResourceProfile, Target

__all__ = ["FULL", "PLANS", "QUICK", "BudgetError", "Plan", "ProfileError", "conclude", "profile"]


def profile(
    loop: Loop,
    target: Target,
    compiled_dir: Path,
    *,
    plan: Plan = QUICK,
    say: Say = lambda _: None,
    groups: Groups | str | None = None,
    threads: int = 0,
) -> ResourceProfile:
    """Measures the compiled model by the plan. ProfileError, BudgetError, RuntimeRefused, LoadError.

    `groups` are the control groups to use, or why there are none; the machine's own by default. `threads`: of the server; 0:
    as many as pay, where it can be told.
    """
    groups = open_groups() if groups is None else groups
    measured, bench = measure(loop, target, compiled_dir, plan=plan, say=say, groups=groups, threads=threads)
    under = f"without limits ({groups})" if isinstance(groups, str) else f"under cgroup {groups.version} limits"
    where = f"the real server {bench.subject.remark or 'on the build machine'}, {under}"
    return conclude(loop.name, target, measured, plan, where=where, limited=not isinstance(groups, str))


def conclude(
    loop: str, target: Target, measured: Measured, plan: Plan, *, where: str, limited: bool
) -> ResourceProfile:
    """The profile that follows from what was measured. Pure. BudgetError, and ProfileError where most queries failed."""
    latency = measured.latency
    if latency.p99_ms == math.inf:
        raise ProfileError(f"target {target.name}: at {latency.rate_per_s:.0f} requests a second {latency.why}")
    found = Found(
        peak_mib=measured.peak_mib,
        floor_mib=measured.floor_mib,
        rates=measured.rates,
        p99_ms=latency.p99_ms,
        p99_low_ms=latency.p99_low_ms,
    )
    wanted = resources(found, target.budget)
    within_budget(target, found, wanted)
    best = chosen(measured.rates, target.budget)
    rate = latency.rate_per_s if measured.confirmed else best.rate_per_s if best else None
    if rate is None and plan.confirm_s and target.budget.latency_p99_ms is not None:
        raise BudgetError(_never_kept(target, measured))
    low = best.low_per_s if best else None
    return ResourceProfile(
        loop=loop,
        target=target.name,
        method=_method(measured, plan, where, rate, demand_told(best, target.budget, rate)),
        latency_p50_ms=latency.p50_ms,
        latency_p99_ms=latency.p99_ms,
        latency_p99_low_ms=latency.p99_low_ms,
        latency_p99_high_ms=_finite(latency.p99_high_ms),
        latency_limit_ms=latency_limit_ms(target),
        memory_peak_mib=measured.peak_mib,
        memory_floor_mib=measured.floor_mib,
        load_ms=measured.load_ms,
        threads=best.threads if best else 1,
        cores=best.cores if best else 0,
        limited=limited,
        confirmed=measured.confirmed,
        rate_per_s=rate,
        rate_low_per_s=None if rate is None or low is None else min(rate, low),
        rate_high_per_s=best.high_per_s if best else None,
        cpu_us_per_request=best.cpu_us if best else None,
        cpu_us_low_per_request=best.cpu_us_low if best else None,
        cpu_us_high_per_request=best.cpu_us_high if best else None,
        points=measured.points,
        cpu_request_m=wanted.cpu_request_m,
        cpu_limit_m=wanted.cpu_limit_m,
        memory_request_mib=wanted.memory_request_mib,
        memory_limit_mib=wanted.memory_limit_mib,
        extra={
            "demand_per_s": target.budget.demand_per_s,
            "latency_at_per_s": latency.rate_per_s,
            "host": host_platform(),
        },
    )


def _never_kept(target: Target, measured: Measured) -> str:
    """What a plan that is long enough to prove a rate says when there is none."""
    rated = [point for point in measured.points if point.rate_per_s]
    worst = "; ".join(
        f"{p.quota_m}m, {p.rate_per_s:.0f}/s: {p.why}" for p in sorted(rated, key=lambda p: p.rate_per_s)[:3]
    )
    limit_ms = target.budget.latency_p99_ms
    return f"target {target.name}: the model breaks its budget: latency_p99_ms: at most {limit_ms:g}, kept at no rate ({worst})"


def _method(measured: Measured, plan: Plan, where: str, rate: float | None, demand: str) -> str:
    """What was done, in a sentence of parts."""
    rungs = "; ".join(str(rate.rung) for rate in measured.rates)
    searched = measured.floor_mib is not None
    parts = (
        f"{plan.name}: {where}",
        f"open-loop load, points of {plan.point_s:g} s or more at ({rungs}), repeats: {plan.repeats}",
        "no rate was proved" if rate is None else f"rate {'' if measured.confirmed else 'not '}confirmed",
        demand,
        f"latency at {measured.latency.rate_per_s:.0f}/s",
        "memory floor searched with real starts" if searched else "memory from the peak of one start",
        "every memory trial from fresh files" if plan.fresh else "libraries may have been in memory: counted in full",
    )
    return "; ".join(parts)


def _finite(value: float | None) -> float | None:
    return None if value == math.inf else value
