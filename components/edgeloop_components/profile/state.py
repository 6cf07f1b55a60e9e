"""The state of one profile while it is made, and what it ends in: values that `session` fills and `core` concludes from."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import dataclass, field

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
    cpu_us: float
    load_ms: float
    rates: tuple[RateAt, ...]
    latency: Judged
    confirmed: bool
    points: tuple[ProfilePoint, ...]
    cpu_us_low: float | None = None  # of the points' CPU times a request: the 95 % interval of their median
    cpu_us_high: float | None = None

    @property
    def cpu_us_at_most(self) -> float:
        """What the CPU limit is planned with."""
        return max(self.cpu_us, self.cpu_us_high or 0.0)


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
    costs_us: list[float] = field(default_factory=list)  # CPU time a request, of each point

    def seed(self) -> int:
        return self.seeds.getrandbits(32)

    def limits(self, rung: Rung, memory_bytes: int) -> Limits:
        """The rung's limits; the last cores, since the first ones serve the machine's interrupts."""
        return Limits(rung.quota_m, memory_bytes, self.cores[-rung.cores :] if rung.cores else ())

    def cpu_us(self, otherwise: float) -> tuple[float, float | None, float | None]:
        """CPU time a request: the median of the points, and its interval; `otherwise` where there are none."""
        if not self.costs_us:
            return otherwise, None, None
        ordered = sorted(self.costs_us)
        return percentile(ordered, 0.5), *percentile_interval(ordered, 0.5)


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
