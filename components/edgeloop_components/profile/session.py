"""One profile being made: the order of the trials, their seeds, and what they told. The rim around `search` and `decide`."""

from __future__ import annotations

import math
import random
import statistics
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path

from edgeloop_components.profile.cgroups import Groups, Limits
from edgeloop_components.profile.decide import RateAt, chosen, memory_of
from edgeloop_components.profile.load import http_request, pack_requests
from edgeloop_components.profile.plan import Plan, quotas_within
from edgeloop_components.profile.rows import request_bodies
from edgeloop_components.profile.search import (
    Attempt,
    Bracket,
    Judged,
    highest_rate,
    judge,
    memory_floor,
    point_seconds,
    shuffled,
)
from edgeloop_components.profile.subject import ProfileError, subject_of
from edgeloop_components.profile.trial import MIB, Bench, Running, StartFailed
from edgeloop_contracts import Loop, ProfilePoint, Reference, Target, loads

__all__ = ["Measured", "Say", "latency_limit_ms", "measure", "rate_of"]

LATENCY_LIMIT_MS = 100.0  # where the budget has none: one quota period, since a throttled server stalls for up to that
GENEROUS_MIB, CHEAP_START_MS = 4096, 250.0
WARM_UP_PER_S, FLOOR_LOAD = 400.0, (200.0, 0.5)  # rate; rate and seconds of the load that a start must bear
CONFIRM_SHARE, CONFIRM_TRIES, SPOILED_TRIES = 0.9, 3, 3
PAGE, MOST_WHY = 4096, 300

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
    quotas_m: tuple[int, ...]
    points: tuple[ProfilePoint, ...]


@dataclass(frozen=True)
class _Base:
    """One start without a memory limit."""

    load_ms: float
    peak_mib: float
    shared_mib: float
    cpu_us: float
    bracket: Bracket | None


@dataclass
class _Session:
    """The state of one profile: where trials are made, what they were, and the CPU time that requests took."""

    target: Target
    plan: Plan
    bench: Bench
    limit_ms: float
    quotas_m: tuple[int, ...]
    seeds: random.Random
    say: Say
    points: list[ProfilePoint] = field(default_factory=list)
    judged: list[tuple[int, Judged]] = field(default_factory=list)
    cpu_s: float = 0.0
    queries: int = 0

    def seed(self) -> int:
        return self.seeds.getrandbits(32)


def latency_limit_ms(target: Target) -> float:
    """What the sustainable rate keeps to: the budget's, or one quota period."""
    return LATENCY_LIMIT_MS if target.budget.latency_p99_ms is None else target.budget.latency_p99_ms


def measure(
    loop: Loop, target: Target, compiled: Path, *, plan: Plan, say: Say, groups: Groups | str
) -> tuple[Measured, Bench]:
    """Runs the trials of a plan. ProfileError, LoadError, RuntimeRefused."""
    limit_ms = latency_limit_ms(target)
    subject = subject_of(compiled, target)
    bodies = request_bodies(loads(Reference, (compiled / "reference.json").read_bytes()), loop.train.seed)
    bench = Bench(
        subject=subject,
        groups=None if isinstance(groups, str) else groups,
        requests=pack_requests(http_request("POST", subject.route, body) for body in bodies),
        patience_s=plan.patience_s,
        timeout_s=max(0.5, min(5.0, 3 * limit_ms / 1000)),
        fresh=plan.fresh,
    )
    quotas = (0,) if isinstance(groups, str) else quotas_within(plan.quotas_m, target.budget.cpu_m)
    session = _Session(target, plan, bench, limit_ms, quotas, random.Random(loop.train.seed), say)
    return _run(session), bench


def _run(session: _Session) -> Measured:
    base = _base(session)
    floor = _floor(session, base)
    load_ms, confirmed = base.load_ms, False
    if base.bracket:
        rates: tuple[RateAt, ...] = (rate_of(session.quotas_m[-1], [base.bracket]),)
        latency = base.bracket.points[0]
    else:
        memory_mib = memory_of(base.peak_mib, floor, session.target.budget)[1]
        rates = _rates(session, base, memory_mib)
        best = chosen(rates, session.target.budget)
        latency = _lightest(session, best)
        if best and best.rate_per_s and session.plan.confirm_s:
            rate = best.low_per_s or best.rate_per_s
            latency, load_ms = _confirm(session, best, rate, memory_mib)
            confirmed = latency.ok
    cpu_us = session.cpu_s * 1e6 / session.queries if session.queries else base.cpu_us
    points = tuple(session.points)
    return Measured(base.peak_mib, floor, cpu_us, load_ms, rates, latency, confirmed, session.quotas_m, points)


def _base(session: _Session) -> _Base:
    """One start: memory, and CPU time a request; where the plan has one quota and one repeat, the rates as well."""
    quota, plan = session.quotas_m[-1], session.plan
    session.say(f"{session.bench.subject.runtime}: a start without a memory limit")
    try:
        with session.bench.started(Limits(quota_m=quota, memory_bytes=GENEROUS_MIB * MIB)) as running:
            cpu_us = _warm(session, running)
            only = plan.repeats == len(session.quotas_m) == 1
            bracket = _search(session, running, cpu_us, quota, 0) if only else None
            return _Base(running.load_ms, running.peak_mib(), running.shared_mib(), cpu_us, bracket)
    except StartFailed as error:
        raise ProfileError(f"target {session.target.name}: the server cannot be measured: {error}") from error


def _warm(session: _Session, running: Running) -> float:
    """CPU time of a request in microseconds under a light load, the first part of which is thrown away. ProfileError."""
    running.offer(WARM_UP_PER_S, session.plan.warm_s, session.seed())
    before_s = running.cpu_s()
    load = running.offer(WARM_UP_PER_S, session.plan.warm_s, session.seed())
    if all(latency == math.inf for latency in load.latencies_ms):
        route, where = session.bench.subject.route, f"target {session.target.name}"
        raise ProfileError(f"{where}: expected answers from {route}, got none: {dict(load.errors) or 'no query'}")
    return max(1.0, (running.cpu_s() - before_s) * 1e6 / len(load.latencies_ms))


def _floor(session: _Session, base: _Base) -> float | None:
    """The least memory limit that serves; None where it is not searched."""
    if session.bench.groups is None or not (session.plan.floor or base.load_ms < CHEAP_START_MS):
        return None
    low_mib, step_mib = (0.125, 0.0625) if base.peak_mib < 16 else (base.peak_mib / 16, 0.5)
    bench = replace(session.bench, patience_s=min(session.plan.patience_s, 10 * base.load_ms / 1000 + 5))

    def start(limit_mib: float) -> Attempt:
        return _attempt(session, bench, limit_mib)

    floor, tried = memory_floor(start, low_mib, max(0.5, base.peak_mib - base.shared_mib), step_mib=step_mib)
    if floor is None:
        where = f"target {session.target.name}"
        raise ProfileError(f"{where}: no memory limit up to {tried[-1].limit_mib:g} MiB serves: {tried[-1].why}")
    return floor + base.shared_mib


def _attempt(session: _Session, bench: Bench, limit_mib: float) -> Attempt:
    """A start under a memory limit, and a little load."""
    quota = session.quotas_m[-1]
    try:
        with bench.started(Limits(quota_m=quota, memory_bytes=math.ceil(limit_mib * MIB / PAGE) * PAGE)) as running:
            load = running.offer(*FLOOR_LOAD, session.seed())
            failed = sum(latency == math.inf for latency in load.latencies_ms)
            well = running.process.poll() is None and not running.oom_kills() and not failed
            why = "" if well else f"{failed} of {len(load.latencies_ms)} queries failed, {running.end()}"
    except StartFailed as error:
        why = str(error)
    session.say(f"memory limit {limit_mib:.2f} MiB: {why.splitlines()[0][:100] if why else 'serves'}")
    session.points.append(ProfilePoint(memory_mib=limit_mib, quota_m=quota, ok=not why, why=why[:MOST_WHY]))
    return Attempt(limit_mib, not why, why)


def _rates(session: _Session, base: _Base, memory_mib: int) -> tuple[RateAt, ...]:
    """The sustainable rate of every quota: repeats in a shuffled order, each on a start of its own."""
    brackets: dict[int, list[Bracket]] = {quota: [] for quota in session.quotas_m}
    bench = replace(session.bench, fresh=False)
    for quota, repeat in shuffled(session.quotas_m, session.plan.repeats, session.seed()):
        session.say(f"quota {quota}m, repeat {repeat + 1} of {session.plan.repeats}")
        try:
            with bench.started(Limits(quota_m=quota, memory_bytes=memory_mib * MIB)) as running:
                cpu_us = min(_warm(session, running), base.cpu_us)
                brackets[quota].append(_search(session, running, cpu_us, quota, memory_mib))
        except StartFailed as error:
            brackets[quota].append(Bracket(None, None, ()))
            why = str(error)[:MOST_WHY]
            session.points.append(ProfilePoint(quota_m=quota, memory_mib=memory_mib, ok=False, why=why))
    return tuple(rate_of(quota, found) for quota, found in brackets.items())


def _search(session: _Session, running: Running, cpu_us: float, quota: int, memory_mib: int) -> Bracket:
    def trial(rate_per_s: float) -> Judged:
        return _point(session, running, rate_per_s, quota, memory_mib)

    return highest_rate(trial, (quota or 1000) * 1000 / cpu_us, session.plan.steps)


def _point(
    session: _Session, running: Running, rate_per_s: float, quota: int, memory_mib: int, *, least_s: float = 0.0
) -> Judged:
    """One point: load, judgement, and the CPU time that it took."""
    plan = session.plan
    seconds = point_seconds(rate_per_s, max(least_s, plan.point_s), max(least_s, plan.longest_point_s))
    for _ in range(SPOILED_TRIES):
        before_s = running.cpu_s()
        judged = judge(running.offer(rate_per_s, seconds, session.seed()), session.limit_ms)
        session.cpu_s += running.cpu_s() - before_s
        session.queries += judged.queries
        if not judged.spoiled:
            break
    session.judged.append((quota, judged))
    session.points.append(
        ProfilePoint(
            quota_m=quota,
            memory_mib=memory_mib,
            rate_per_s=rate_per_s,
            latency_p99_ms=judged.p99_ms if judged.p99_ms < math.inf else None,
            ok=judged.ok,
            why=judged.why,
        )
    )
    session.say(f"quota {quota}m, {rate_per_s:.0f}/s: p99 {judged.p99_ms:.3g} ms, {judged.why or 'proved'}")
    return judged


def _confirm(session: _Session, best: RateAt, rate_per_s: float, memory_mib: int) -> tuple[Judged, float]:
    """The winner once more, alone, from fresh files, with a fresh seed; a little below its rate when that does not hold."""
    for _ in range(CONFIRM_TRIES):
        session.say(f"confirming {rate_per_s:.0f}/s under {best.quota_m}m and {memory_mib} MiB with a fresh seed")
        try:
            with session.bench.started(Limits(quota_m=best.quota_m, memory_bytes=memory_mib * MIB)) as running:
                _warm(session, running)
                least_s = session.plan.confirm_s
                judged = _point(session, running, rate_per_s, best.quota_m, memory_mib, least_s=least_s)
        except StartFailed as error:
            raise ProfileError(f"target {session.target.name}: the chosen limits do not hold: {error}") from error
        if judged.ok:
            break
        rate_per_s *= CONFIRM_SHARE
    return judged, running.load_ms


def _lightest(session: _Session, best: RateAt | None) -> Judged:
    """Where nothing can be confirmed: the lightest load that was measured at the chosen quota, or at all."""
    same = [judged for quota, judged in session.judged if best and quota == best.quota_m]
    found = same or [judged for _, judged in session.judged]
    if not found:
        whys = "; ".join(point.why for point in session.points[-3:])
        raise ProfileError(f"target {session.target.name}: no load could be offered: {whys}")
    return min(found, key=lambda judged: judged.rate_per_s)


def rate_of(quota_m: int, brackets: Sequence[Bracket]) -> RateAt:
    """Of repeats: the median of what was proved, the least of it, and the highest rate that was not. Pure.

    A repeat that proved no rate counts as 0, so repeats that do not agree leave a wide interval; None where none proved any.
    """
    lows = [bracket.low_per_s or 0.0 for bracket in brackets]
    middle = statistics.median(lows)
    high = max((bracket.high_per_s for bracket in brackets if bracket.high_per_s is not None), default=None)
    if not middle:
        return RateAt(quota_m, 1, None, None, high)
    return RateAt(quota_m, 1, middle, min(lows), None if high is None else max(high, middle))
