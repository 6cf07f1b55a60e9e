"""The state of one profile while it is made, and what it ends in: values that `session` fills and `core` concludes from."""

from __future__ import annotations

import math
import random
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field, replace

from edgeloop_components.profile.cgroups import Limits
from edgeloop_components.profile.decide import RateAt
from edgeloop_components.profile.plan import Plan, Rung
from edgeloop_components.profile.search import Bracket, Judged
from edgeloop_components.profile.stopping import percentile, percentile_interval
from edgeloop_components.profile.trial import Bench
from edgeloop_contracts import ProfilePoint, Target

__all__ = ["Base", "Measured", "Say", "Session", "told"]

Say = Callable[[str], None]


@dataclass(frozen=True)
class Measured:
    """What the trials told. `latency` is that of the operating point: the confirmed one, else the lightest."""

    peak_mib: float
    floor_mib: float | None
    load_ms: float
    rates: tuple[RateAt, ...]
    latency: Judged
    confirmed: bool
    points: tuple[ProfilePoint, ...]


@dataclass(frozen=True)
class Base:
    """One start without a memory limit."""

    load_ms: float
    peak_mib: float
    shared_mib: float
    cpu_us: float
    bracket: Bracket | None


@dataclass
class Session:
    """The state of one profile: where trials are made, what they were, and the CPU time that requests took."""

    target: Target
    plan: Plan
    bench: Bench
    limit_ms: float
    rungs: tuple[Rung, ...]  # the first: one for each quota
    further: tuple[Rung, ...]  # with more threads
    cores: tuple[int, ...]  # that the server can be pinned to
    seeds: random.Random
    say: Say
    points: list[ProfilePoint] = field(default_factory=list)
    judged: list[tuple[Rung, Judged]] = field(default_factory=list)
    costs_us: dict[int, list[float]] = field(default_factory=dict)  # CPU time a request, of each point, by threads

    def seed(self) -> int:
        return self.seeds.getrandbits(32)

    def limits(self, rung: Rung, memory_bytes: int) -> Limits:
        """The rung's limits; the last cores, since the first ones serve the machine's interrupts."""
        return Limits(rung.quota_m, memory_bytes, self.cores[-rung.cores :] if rung.cores else ())

    def cpu_us(self, threads: int, otherwise: float) -> tuple[float, float | None, float | None]:
        """CPU time a request: the median of the points with so many threads, and its interval; `otherwise` without any."""
        ordered = sorted(self.costs_us.get(threads, ()))
        if not ordered:
            return otherwise, None, None
        return percentile(ordered, 0.5), *percentile_interval(ordered, 0.5)

    def costed(self, rates: Iterable[RateAt], otherwise: float) -> tuple[RateAt, ...]:
        """The rates with the CPU time of their own requests, as far as it is known now."""
        costs = ((rate, *self.cpu_us(rate.threads, otherwise)) for rate in rates)
        return tuple(replace(r, cpu_us=us, cpu_us_low=low, cpu_us_high=high) for r, us, low, high in costs)


def told(rung: Rung, memory_mib: float, *, ok: bool, why: str, judged: Judged | None = None) -> ProfilePoint:
    """A trial as the profile keeps it."""
    return ProfilePoint(
        quota_m=rung.quota_m,
        memory_mib=memory_mib,
        threads=rung.threads,
        cores=rung.cores,
        rate_per_s=judged.rate_per_s if judged else 0.0,
        latency_p99_ms=judged.p99_ms if judged and judged.p99_ms < math.inf else None,
        ok=ok,
        why=why,
    )
