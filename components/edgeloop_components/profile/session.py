"""One profile being made: the order of the trials, their seeds, and what they told. The rim around `search` and `decide`."""

from __future__ import annotations

import math
import os
import random
from dataclasses import replace
from pathlib import Path

from edgeloop_components.profile.cgroups import Groups
from edgeloop_components.profile.decide import RateAt, chosen, memory_of, refused, ruled_out
from edgeloop_components.profile.load import http_request, pack_requests
from edgeloop_components.profile.plan import Plan, Rung, rungs_of, seconds_for
from edgeloop_components.profile.rows import bodies_for
from edgeloop_components.profile.search import (
    Attempt,
    Bracket,
    Judged,
    highest_rate,
    judge,
    memory_floor,
    point_seconds,
)
from edgeloop_components.profile.state import Base, Measured, Say, Session, told
from edgeloop_components.profile.subject import ProfileError, subject_of
from edgeloop_components.profile.sweep import after_demand, rate_of, shuffled, sweep, worth_climbing
from edgeloop_components.profile.trial import MIB, Bench, Running, StartFailed
from edgeloop_contracts import Loop, Target

__all__ = ["latency_limit_ms", "measure"]

LATENCY_LIMIT_MS = 100.0  # where the budget has none: one quota period, since a throttled server stalls for up to that
GENEROUS_MIB, CHEAP_START_MS = 4096, 250.0
WARM_UP_PER_S, FLOOR_LOAD = 400.0, (200.0, 0.5)  # rate; rate and seconds of the load that a start must bear
CONFIRM_SHARE, CONFIRM_TRIES, SPOILED_TRIES, DEMAND_TRIES = 0.9, 3, 3, 3
PAGE, MOST_WHY = 4096, 300


def latency_limit_ms(target: Target) -> float:
    """What the sustainable rate keeps to: the budget's, or one quota period."""
    return LATENCY_LIMIT_MS if target.budget.latency_p99_ms is None else target.budget.latency_p99_ms


def measure(
    loop: Loop, target: Target, compiled: Path, *, plan: Plan, say: Say, groups: Groups | str, threads: int = 0
) -> tuple[Measured, Bench]:
    """Runs the trials of a plan; `threads` 0: as many as pay. ProfileError, LoadError, RuntimeRefused."""
    limit_ms = latency_limit_ms(target)
    subject = subject_of(compiled, target)
    bodies = bodies_for(compiled, loop.train.seed)
    bench = Bench(
        subject=subject,
        groups=None if isinstance(groups, str) else groups,
        requests=pack_requests(http_request("POST", subject.route, body) for body in bodies),
        patience_s=plan.patience_s,
        timeout_s=max(0.5, min(5.0, 3 * limit_ms / 1000)),
        fresh=plan.fresh,
    )
    own = tuple(sorted(os.sched_getaffinity(0)))
    pinned = () if isinstance(groups, str) else tuple(core for core in groups.cores() if core in own)
    most_m, limited = target.budget.cpu_m, not isinstance(groups, str)
    first, more = rungs_of(plan, most_m, threads=threads or 1, own=len(own), pinnable=len(pinned), limited=limited)
    further = tuple(more) if subject.threaded and not threads else ()
    session = Session(target, plan, bench, limit_ms, first, further, pinned, random.Random(loop.train.seed), say)
    return _run(session), bench


def _run(session: Session) -> Measured:
    base = _base(session)
    floor = _floor(session, base)
    memory_mib = memory_of(base.peak_mib, floor, session.target.budget)[1]
    _foretell(session, base)
    rates = _asked(session, session.costed(_rates(session, base, memory_mib), base.cpu_us), memory_mib)
    best = chosen(rates, session.target.budget)
    latency, load_ms, confirmed = _lightest(session, best), base.load_ms, False
    if best and best.rate_per_s and session.plan.confirm_s:
        latency, load_ms = _confirm(session, best, best.low_per_s or best.rate_per_s, memory_mib)
        confirmed = latency.ok
    return Measured(base.peak_mib, floor, load_ms, rates, latency, confirmed, tuple(session.points))


def _foretell(session: Session, base: Base) -> None:
    """What is to come, and about how long it takes."""
    plan, count = session.plan, 0 if base.bracket else len(session.rungs)
    about_s = seconds_for(plan, count, base.load_ms / 1000) + plan.confirm_s
    more = seconds_for(plan, 1, base.load_ms / 1000)
    threads = ", ".join(str(rung.threads) for rung in session.further)
    if count:
        quotas = f"{count} quotas, {plan.repeats} repeats of {plan.steps} points of {plan.point_s:g} s or more"
        session.say(f"rates: {quotas}: about {_minutes(about_s)}")
    if threads and (plan.climb or count):
        session.say(f"then {threads} threads, while the rate grows: about {_minutes(more)} each")


def _minutes(seconds: float) -> str:
    return f"{seconds / 60:.0f} min" if seconds >= 90 else f"{seconds:.0f} s"


def _base(session: Session) -> Base:
    """One start: memory, and CPU time a request; where the plan has one quota and one repeat, the rates as well."""
    rung, plan = session.rungs[-1], session.plan
    session.say(f"{session.bench.subject.runtime}: a start without a memory limit")
    try:
        with session.bench.started(session.limits(rung, GENEROUS_MIB * MIB), rung.threads) as running:
            cpu_us = _warm(session, running)
            only = plan.repeats == len(session.rungs) == 1
            bracket = _search(session, running, cpu_us, rung, 0) if only else None
            return Base(running.load_ms, running.peak_mib(), running.shared_mib(), cpu_us, bracket)
    except StartFailed as error:
        raise ProfileError(f"target {session.target.name}: the server cannot be measured: {error}") from error


def _warm(session: Session, running: Running) -> float:
    """CPU time of a request in microseconds under a light load, the first part of which is thrown away. ProfileError."""
    running.offer(WARM_UP_PER_S, session.plan.warm_s, session.seed())
    before_s = running.cpu_s()
    load = running.offer(WARM_UP_PER_S, session.plan.warm_s, session.seed())
    if all(latency == math.inf for latency in load.latencies_ms):
        route, where = session.bench.subject.route, f"target {session.target.name}"
        raise ProfileError(f"{where}: expected answers from {route}, got none: {dict(load.errors) or 'no query'}")
    return max(1.0, (running.cpu_s() - before_s) * 1e6 / len(load.latencies_ms))


def _floor(session: Session, base: Base) -> float | None:
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


def _attempt(session: Session, bench: Bench, limit_mib: float) -> Attempt:
    """A start under a memory limit, and a little load."""
    rung = replace(session.rungs[-1], cores=0)  # memory alone is in question
    limits = session.limits(rung, math.ceil(limit_mib * MIB / PAGE) * PAGE)
    try:
        with bench.started(limits, rung.threads) as running:
            load = running.offer(*FLOOR_LOAD, session.seed())
            failed = sum(latency == math.inf for latency in load.latencies_ms)
            well = running.process.poll() is None and not running.oom_kills() and not failed
            why = "" if well else f"{failed} of {len(load.latencies_ms)} queries failed, {running.end()}"
    except StartFailed as error:
        why = str(error)
    session.say(f"memory limit {limit_mib:.2f} MiB: {why.splitlines()[0][:100] if why else 'serves'}")
    session.points.append(told(rung, limit_mib, ok=not why, why=why[:MOST_WHY]))
    return Attempt(limit_mib, not why, why)


def _rates(session: Session, base: Base, memory_mib: int) -> tuple[RateAt, ...]:
    """The sustainable rate of every rung: repeats in a shuffled order, each on a start of its own."""
    bench, plan, budget = replace(session.bench, fresh=False), session.plan, session.target.budget

    def search(rung: Rung, repeat: int) -> Bracket:
        session.say(f"{rung}: repeat {repeat + 1} of {plan.repeats}")
        try:
            with bench.started(session.limits(rung, memory_mib * MIB), rung.threads) as running:
                known_us = base.cpu_us if rung.threads == session.rungs[-1].threads else math.inf
                cpu_us = min(_warm(session, running), known_us)
                return _search(session, running, cpu_us, rung, memory_mib)
        except StartFailed as error:
            session.say(f"{rung}: {str(error).splitlines()[0][:100]}")
            session.points.append(told(rung, memory_mib, ok=False, why=str(error)[:MOST_WHY]))
            return Bracket(None, None, ())

    def on(rates: list[RateAt]) -> bool:
        return worth_climbing(session.costed(rates, base.cpu_us), budget, climb=plan.climb)

    brackets: dict[Rung, list[Bracket]] = {rung: [] for rung in session.rungs}
    if base.bracket:
        brackets[session.rungs[-1]].append(base.bracket)
    else:
        for rung, repeat in shuffled(session.rungs, plan.repeats, session.seed()):
            brackets[rung].append(search(rung, repeat))
    first = [rate_of(rung, found) for rung, found in brackets.items()]
    return sweep(first, session.further, plan.repeats, search, on)


def _search(session: Session, running: Running, cpu_us: float, rung: Rung, memory_mib: int) -> Bracket:
    def trial(rate_per_s: float) -> Judged:
        return _point(session, running, rate_per_s, rung, memory_mib)

    return highest_rate(trial, (rung.quota_m or 1000) * 1000 / cpu_us, session.plan.steps)


def _point(
    session: Session, running: Running, rate_per_s: float, rung: Rung, memory_mib: int, *, least_s: float = 0.0
) -> Judged:
    """One point: load, judgement, and the CPU time that it took."""
    plan = session.plan
    seconds = point_seconds(rate_per_s, max(least_s, plan.point_s), max(least_s, plan.longest_point_s))
    for _ in range(SPOILED_TRIES):
        before_s = running.cpu_s()
        judged = judge(running.offer(rate_per_s, seconds, session.seed()), session.limit_ms)
        if judged.queries:
            cost_us = (running.cpu_s() - before_s) * 1e6 / judged.queries
            session.costs_us.setdefault(rung.threads, []).append(cost_us)
        if not judged.spoiled:
            break
    session.judged.append((rung, judged))
    session.points.append(told(rung, memory_mib, ok=judged.ok, why=judged.why, judged=judged))
    session.say(f"{rung}: {rate_per_s:.0f}/s: p99 {judged.p99_ms:.3g} ms, {judged.why or 'proved'}")
    return judged


def _asked(session: Session, rates: tuple[RateAt, ...], memory_mib: int) -> tuple[RateAt, ...]:
    """The rates, after a stated demand that broke the latency limit was offered itself, some times.

    The few short points of a plan may have met a disturbance of the machine; a model is refused only for what comes again.
    """
    best, demand_per_s = chosen(rates, session.target.budget), session.target.budget.requests_per_s
    if best is None or demand_per_s is None or not refused(best, demand_per_s):
        return rates
    if ruled_out(replace(best, high_per_s=None), demand_per_s):
        return rates  # its CPU time alone says so; so much load would only fill queues
    session.say(f"{best.rung}: the demand itself")
    try:
        with session.bench.started(session.limits(best.rung, memory_mib * MIB), best.threads) as running:
            for _ in range(DEMAND_TRIES):
                judged = _point(session, running, demand_per_s, best.rung, memory_mib)
                if judged.ok or judged.open or judged.spoiled:
                    borne = after_demand(best, demand_per_s, judged)
                    return tuple(borne if rate is best else rate for rate in rates)
    except StartFailed as error:
        session.say(f"{best.rung}: {str(error).splitlines()[0][:100]}")
    return rates


def _confirm(session: Session, best: RateAt, rate_per_s: float, memory_mib: int) -> tuple[Judged, float]:
    """The winner once more, alone, from fresh files, with a fresh seed; a little below its rate when that does not hold."""
    rung = best.rung
    for _ in range(CONFIRM_TRIES):
        session.say(f"confirming {rate_per_s:.0f}/s under {rung} and {memory_mib} MiB with a fresh seed")
        try:
            with session.bench.started(session.limits(rung, memory_mib * MIB), rung.threads) as running:
                _warm(session, running)
                least_s = session.plan.confirm_s
                judged = _point(session, running, rate_per_s, rung, memory_mib, least_s=least_s)
        except StartFailed as error:
            raise ProfileError(f"target {session.target.name}: the chosen limits do not hold: {error}") from error
        if judged.ok:
            break
        rate_per_s *= CONFIRM_SHARE
    return judged, running.load_ms


def _lightest(session: Session, best: RateAt | None) -> Judged:
    """Where nothing can be confirmed: the lightest load that was measured at the chosen quota, or at all."""
    rung = best.rung if best else None
    same = [judged for other, judged in session.judged if other == rung]
    found = same or [judged for _, judged in session.judged]
    if not found:
        whys = "; ".join(point.why for point in session.points[-3:])
        raise ProfileError(f"target {session.target.name}: no load could be offered: {whys}")
    return min(found, key=lambda judged: judged.rate_per_s)
