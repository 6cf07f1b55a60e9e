"""Searches and decisions, over a made-up server and made-up figures."""

from __future__ import annotations

import math
import random
from collections.abc import Callable
from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeloop_components.profile.core import ProfileError, conclude
from edgeloop_components.profile.decide import (
    LEAST_LIMIT_MIB,
    STEP_MIB,
    BudgetError,
    Found,
    RateAt,
    bears,
    chosen,
    resources,
    within_budget,
)
from edgeloop_components.profile.load import Load
from edgeloop_components.profile.plan import FULL, PLANS, QUICK, Rung, quotas_within
from edgeloop_components.profile.search import (
    Attempt,
    Bracket,
    Judged,
    highest_rate,
    judge,
    memory_floor,
    point_seconds,
)
from edgeloop_components.profile.state import Measured
from edgeloop_components.profile.sweep import rate_of, shuffled
from edgeloop_contracts import ProfilePoint, Target
from edgeloop_contracts.codec import fields_of
from edgeloop_contracts.loop import Budget, NodeSelector

MIB = st.floats(0.1, 4000)
RATE = RateAt(500, 1, 900.0, 800.0, 1000.0, cpu_us=200.0)
FOUND = Found(peak_mib=70.0, floor_mib=60.0, rates=(RATE,), p99_ms=4.0, p99_low_ms=3.0)


def load_of(latencies: list[float], *, late_ms: float = 0.0, rate: float = 100.0) -> Load:
    return Load(rate, 1.0, 1, latencies, {}, late_ms, 0.0, 1.0)


def queue(capacity_per_s: float, seconds: float = 5.0, seed: int = 1) -> Callable[[float], Judged]:
    """A server with one thread and a fixed time a request, under Poisson arrivals: what a real trial measures."""
    draw = random.Random(seed)

    def trial(rate_per_s: float) -> Judged:
        at, free, latencies = 0.0, 0.0, []
        while (at := at + draw.expovariate(rate_per_s)) < seconds:
            free = max(free, at) + 1 / capacity_per_s
            latencies.append((free - at) * 1000)
        return judge(load_of(latencies, rate=rate_per_s), 100.0)

    return trial


@pytest.mark.parametrize("misjudged", [0.3, 1.0, 2.5])
def test_the_rate_of_a_queue_is_found(misjudged: float) -> None:
    """A server of 2,000 a second: its rate is found near the capacity, whatever was thought of it before."""
    found = highest_rate(queue(2000.0), misjudged * 2000, steps=8)
    assert found.low_per_s is not None
    assert 1500 < found.low_per_s < 2100
    assert all(point.ok for point in found.points if point.rate_per_s == found.low_per_s)
    assert found.high_per_s is None or found.low_per_s < found.high_per_s < 3000


@given(st.floats(50, 20000), st.floats(0.2, 4.0), st.integers(4, 9))
def test_the_bracket_holds_the_truth(truth: float, misjudged: float, steps: int) -> None:
    """A server that holds up to a rate and no further: proved rates are below it, refused ones above."""

    def trial(rate: float) -> Judged:
        return judge(load_of([1.0 if rate <= truth else 200.0] * 1000, rate=rate), 100.0)

    found = highest_rate(trial, misjudged * truth, steps)
    assert len(found.points) == steps
    assert found.low_per_s is None or found.low_per_s <= truth
    assert found.high_per_s is None or found.high_per_s > truth
    assert found.low_per_s is not None or found.high_per_s is not None


def test_too_few_queries_send_the_search_upward() -> None:
    """At 50 a second nothing can be proved in a second, at 2,000 it can: an open point is no refusal."""
    found = highest_rate(queue(4000.0, seconds=1.0), 160.0, steps=8)
    assert found.points[0].open
    assert not found.points[0].ok
    assert found.low_per_s is not None
    assert found.low_per_s > 459


def test_a_point_is_judged_by_the_rule() -> None:
    """459 good queries prove the 99th percentile, 458 do not; failed queries are misses; a late generator spoils it."""
    assert judge(load_of([1.0] * 459), 100).ok
    few = judge(load_of([1.0] * 458), 100)
    assert (few.ok, few.open, few.why) == (False, True, "0 of 458 queries over 100 ms: 459 queries would prove it")
    failed = judge(load_of([1.0] * 459 + [math.inf]), 100)
    assert (failed.ok, failed.open) == (False, True)
    assert "1 of 460 queries over 100 ms: 662 queries" in failed.why
    bad = judge(load_of([1.0] * 459 + [200.0] * 41), 100)
    assert (bad.ok, bad.open, bad.p99_ms) == (False, False, 200.0)
    late = judge(load_of([1.0] * 5000, late_ms=30.0), 100)
    assert (late.ok, late.spoiled, late.why) == (False, True, "the generator itself was 30.0 ms late")
    assert not judge(load_of([]), 100).ok


@pytest.mark.parametrize(("answered_per_s", "points"), [(40.0, 6), (500.0, 3), (1e9, 3)])
def test_while_queries_fail_the_search_goes_on_down(answered_per_s: float, points: int) -> None:
    """A machine with much else to do: what failed tells no latency, so further points are made, down to one that is answered."""

    def trial(rate: float) -> Judged:
        return judge(load_of([1.0 if rate <= answered_per_s else math.inf] * 500, rate=rate), 100.0)

    found = highest_rate(trial, 10_000.0, 3)
    assert len(found.points) == points
    assert found.points[-1].p99_ms < math.inf
    hopeless = highest_rate(lambda rate: judge(load_of([math.inf] * 500, rate=rate), 100.0), 10_000.0, 3)
    assert len(hopeless.points) == 7


def test_a_point_that_the_generator_spoiled_refuses_no_rate() -> None:
    """It sends the search down, but says nothing about the server."""

    def trial(rate: float) -> Judged:
        return judge(load_of([1.0] * 500, rate=rate, late_ms=30.0 if rate > 500 else 0.0), 100.0)

    found = highest_rate(trial, 1000.0, 4)
    assert [point.spoiled for point in found.points] == [False, True, False, True]
    assert (found.low_per_s, found.high_per_s) == (pytest.approx(424, abs=1), None)


def test_points_are_long_enough_to_prove() -> None:
    """At least the plan's time, longer for slow rates, and never longer than allowed."""
    assert point_seconds(10_000, 5.0, 20.0) == 5.0
    assert point_seconds(50, 5.0, 20.0) * 50 > 459
    assert point_seconds(1, 5.0, 20.0) == 20.0


@given(st.floats(0.2, 2000), st.floats(1.0, 3.0))
def test_the_memory_floor_is_found(truth: float, above: float) -> None:
    """The answer serves, and what lies a twentieth below it does not, or was not worth trying."""
    tried: list[float] = []

    def start(limit_mib: float) -> Attempt:
        tried.append(limit_mib)
        return Attempt(limit_mib, limit_mib >= truth)

    floor, attempts = memory_floor(start, 0.125, truth * above)
    assert floor is not None
    assert truth <= floor <= truth * 1.05 + 1e-9
    assert [attempt.limit_mib for attempt in attempts] == tried
    assert len(tried) < 14


def test_a_peak_that_does_not_hold_is_doubled_and_given_up_at_last() -> None:
    """A cold start may need more than a warm one showed; a server that never starts has no floor."""
    assert memory_floor(lambda mib: Attempt(mib, mib >= 50), 1.0, 20.0)[0] == pytest.approx(50, rel=0.05)
    floor, tried = memory_floor(lambda mib: Attempt(mib, False, "no"), 1.0, 20.0)
    assert floor is None
    assert [attempt.limit_mib for attempt in tried] == [20, 40, 80, 160, 320]


def test_repeats_come_in_an_order_that_the_seed_fixes() -> None:
    """Every quota as often as asked, mixed, and the same again for the same seed."""
    rungs = (Rung(100), Rung(500))
    order = list(shuffled(rungs, 3, 7))
    assert sorted(order) == [(rung, repeat) for rung in rungs for repeat in range(3)]
    assert order == list(shuffled(rungs, 3, 7))
    assert any(list(shuffled(rungs, 3, seed)) != order for seed in range(5))


def test_repeats_become_a_median_and_an_interval() -> None:
    """Median, least, and highest refused; a repeat without a rate widens the interval to 0; none at all is None."""
    brackets = [Bracket(low, high, ()) for low, high in ((300.0, 400.0), (100.0, 150.0), (200.0, None))]
    assert rate_of(Rung(500), brackets) == RateAt(500, 1, 200.0, 100.0, 400.0)
    assert rate_of(Rung(500), [*brackets[:2], Bracket(None, 90.0, ())]) == RateAt(500, 1, 100.0, 0.0, 400.0)
    assert rate_of(Rung(500), [Bracket(None, 90.0, ())]) == RateAt(500, 1, None, None, 90.0)


def test_the_least_quota_that_sustains_the_demand_is_chosen() -> None:
    """By the median of its repeats; without one the highest rate; nothing above the budget."""
    rates = (
        RateAt(100, 1, 60.0, 40.0, 70.0),
        RateAt(250, 1, 150.0, 120.0, 170.0),
        RateAt(1000, 1, 900.0, 800.0, None),
    )
    assert chosen(rates, Budget()) == rates[0]
    assert chosen(rates, Budget(requests_per_s=100)) == rates[1]
    assert chosen(rates, Budget(cpu_m=100)) == rates[0]
    assert chosen(rates, Budget(requests_per_s=5000)) == rates[2]
    assert chosen((RateAt(100, 1, None, None, 5.0), rates[0]), Budget()) == rates[0]
    assert chosen((), Budget()) is None
    assert chosen(rates, Budget(cpu_m=50)) is None


@given(
    MIB,
    st.none() | MIB,
    st.floats(1, 50_000),
    st.lists(st.tuples(st.integers(1, 4000), st.none() | st.floats(1, 1e5)), max_size=4),
    st.none() | st.floats(1, 5000),
    st.none() | st.floats(1, 4000),
)
def test_resources_cover_the_need_and_fit_together(
    peak: float,
    floor: float | None,
    cpu_us: float,
    rates: list[tuple[int, float | None]],
    memory: float | None,
    cpu: float | None,
) -> None:
    """Never below the floor (or the peak, where none was searched), and no request above its limit."""
    found = replace(
        FOUND,
        peak_mib=peak,
        floor_mib=floor,
        rates=tuple(RateAt(quota, 1, rate, rate, None, cpu_us=cpu_us) for quota, rate in rates),
    )
    wanted = resources(found, Budget(memory_mib=memory, cpu_m=cpu))
    need = peak if floor is None else floor
    rung = chosen(found.rates, Budget(cpu_m=cpu))
    assert need <= wanted.memory_request_mib <= wanted.memory_limit_mib
    assert wanted.memory_request_mib % STEP_MIB == 0
    assert rung is None or min(50 * cpu_us / 1000, rung.usable_m) <= wanted.cpu_request_m + 1e-6
    assert wanted.cpu_request_m <= (1000 if rung is None else rung.usable_m), "no more than the server can use"
    assert 0 < wanted.cpu_request_m <= wanted.cpu_limit_m
    assert memory is not None or wanted.memory_limit_mib >= LEAST_LIMIT_MIB


@given(MIB, st.floats(1.0, 3.0), st.floats(1, 20_000), st.floats(1.0, 3.0))
def test_more_need_never_asks_for_less(floor: float, more: float, cpu_us: float, dearer: float) -> None:
    """Monotone: memory in the floor, CPU in the time a request."""
    rates, dear = ((replace(RATE, cpu_us=each_us),) for each_us in (cpu_us, cpu_us * dearer))
    small = resources(replace(FOUND, floor_mib=floor, rates=rates), Budget())
    large = resources(replace(FOUND, floor_mib=floor * more, rates=dear), Budget())
    assert small.memory_request_mib <= large.memory_request_mib
    assert small.memory_limit_mib <= large.memory_limit_mib
    assert small.cpu_request_m <= large.cpu_request_m


@given(st.none() | st.floats(1, 500), st.none() | st.floats(1, 100), st.none() | st.floats(1, 4000))
def test_what_passes_is_within_the_budget_and_what_does_not_says_so(
    memory: float | None, latency: float | None, cpu: float | None
) -> None:
    """Either every request keeps the budget, or BudgetError names each part that is broken, with the numbers."""
    budget = Budget(memory_mib=memory, latency_p99_ms=latency, cpu_m=cpu)
    target = Target(name="t", nodes=NodeSelector(group="g"), budget=budget)
    wanted = resources(FOUND, budget)
    parts = (
        ("memory_mib", memory, wanted.memory_request_mib),
        ("latency_p99_ms", latency, FOUND.p99_low_ms or 0.0),
        ("cpu_m", cpu, wanted.cpu_request_m),
    )
    broken = [(name, most) for name, most, got in parts if most is not None and got > most]
    if not broken:
        within_budget(target, FOUND, wanted)
        return
    with pytest.raises(BudgetError) as error:
        within_budget(target, FOUND, wanted)
    for name, most in broken:
        assert f"{name}: at most {most:g}, needs" in str(error.value)
    assert str(error.value).count("at most") == len(broken)


def test_limits_keep_to_the_budget_where_the_model_does() -> None:
    """Head-room is cut at the budget, not the request; small servers get what a container engine needs for itself."""
    assert resources(FOUND, Budget()).memory_limit_mib == 92
    cut = resources(FOUND, Budget(memory_mib=80.5))
    assert (cut.memory_request_mib, cut.memory_limit_mib) == (68, 80)
    tiny = resources(replace(FOUND, floor_mib=0.6), Budget())
    assert (tiny.memory_request_mib, tiny.memory_limit_mib) == (4, LEAST_LIMIT_MIB)


@pytest.mark.parametrize(("name", "most"), [("latency_p99_ms", 3.0), ("memory_mib", 68), ("cpu_m", 10)])
def test_a_budget_may_be_used_up_but_not_exceeded(name: str, most: float) -> None:
    """Exactly the budget passes; a little less is refused by its name."""
    for allowed, passes in ((most, True), (most * 0.99, False)):
        budget = Budget(**{name: allowed})
        target = Target(name="t", nodes=NodeSelector(group="g"), budget=budget)
        if passes:
            within_budget(target, FOUND, resources(FOUND, budget))
        else:
            with pytest.raises(BudgetError, match=f"{name}: at most"):
                within_budget(target, FOUND, resources(FOUND, budget))


BUSY = RateAt(1000, 1, 640.0, 600.0, 800.0, 1, cpu_us=1127.0, cpu_us_low=1100.0, cpu_us_high=1200.0)


@pytest.mark.parametrize(
    ("rate", "demand_per_s", "why"),
    [
        (
            BUSY,
            1500,
            "bears 640 (600 to 800) with 1000m on 1 core; the demand takes 1700m of 1000m, 1.13e+03 us a request",
        ),
        (
            replace(BUSY, rate_per_s=None, low_per_s=None, high_per_s=None),
            1500,
            "no rate was proved (? to ?) with 1000m on 1",
        ),
        (BUSY, 800, "bears 640 (600 to 800)"),
        (BUSY, 799, ""),  # between what is proved and what is refused nothing is known
        (replace(BUSY, high_per_s=None), 900, ""),  # 1,015 thousandths: within the interval, by its lower end 990
        (BUSY, 500, ""),
        (replace(BUSY, quota_m=0, high_per_s=None), 1500, "no quota on 1 core; the demand takes 1700m of 1000m"),
        (replace(BUSY, quota_m=0, cores=0, threads=4, high_per_s=None), 1500, ""),
    ],
)
def test_a_demand_that_is_not_borne_is_refused_where_it_is_stated(rate: RateAt, demand_per_s: float, why: str) -> None:
    """With rate, interval and rung. The CPU request is never more than the server can use."""
    found, budget = replace(FOUND, rates=(rate,)), Budget(requests_per_s=demand_per_s)
    target = Target(name="t", nodes=NodeSelector(group="g"), budget=budget)
    wanted = resources(found, budget)
    assert wanted.cpu_request_m <= rate.usable_m
    assert wanted.cpu_limit_m == (rate.quota_m or rate.usable_m)
    if not why:
        within_budget(target, found, wanted)
        return
    with pytest.raises(BudgetError) as error:
        within_budget(target, found, wanted)
    assert f"the model breaks its budget: requests_per_s: at least {demand_per_s}, " in str(error.value)
    assert why in str(error.value)


def test_the_default_demand_refuses_no_model_but_is_told() -> None:
    """A slow machine takes more than a core for 50 a second: the pod asks for what a thread can use, and the profile says it."""
    slow = replace(
        BUSY, rate_per_s=30.0, low_per_s=25.0, high_per_s=45.0, cpu_us=30_000.0, cpu_us_low=None, cpu_us_high=None
    )
    target = Target(name="t", nodes=NodeSelector(group="g"))
    measured = replace(MEASURED, rates=(slow,), confirmed=False)
    found = conclude("pump", target, measured, QUICK, where="a test", limited=True)
    assert (found.cpu_request_m, found.cpu_limit_m) == (1000, 1000)
    assert (
        "the demand of 50/s, the default, NOT borne: bears 30 (25 to 45) with 1000m on 1 core; the demand takes 1500m of 1000m"
        in (found.method)
    )
    stated = replace(target, budget=Budget(requests_per_s=50))
    with pytest.raises(BudgetError, match="requests_per_s: at least 50, bears 30"):
        conclude("pump", stated, measured, QUICK, where="a test", limited=True)


def test_a_rung_is_judged_by_the_cost_of_its_own_threads() -> None:
    """Two threads take more CPU time a request than one: choice, request and profile use that of the rung."""
    one = RateAt(1000, 1, 300.0, 280.0, 310.0, 1, cpu_us=2000.0)
    two = RateAt(2000, 2, 800.0, 760.0, 900.0, 2, cpu_us=3500.0, cpu_us_low=3400.0, cpu_us_high=3600.0)
    assert bears(two, 380)
    assert not bears(two, 390), "1,404 of 2,000 thousandths, by the upper end; one thread's 2,000 us would be 780"
    budget = Budget(requests_per_s=380)
    assert resources(replace(FOUND, rates=(one, two)), budget).cpu_request_m == 1330
    target = Target(name="t", nodes=NodeSelector(group="g"), budget=budget)
    found = conclude("p", target, replace(MEASURED, rates=(one, two)), QUICK, where="a test", limited=True)
    assert (found.threads, found.cpu_request_m, found.cpu_us_per_request) == (2, 1330, 3500.0)
    assert (found.cpu_us_low_per_request, found.cpu_us_high_per_request) == (3400.0, 3600.0)


def test_the_least_of_a_budget_is_what_the_least_server_asks_for() -> None:
    """One that needs next to nothing keeps a budget of the contract's minimums, so that they refuse nothing that could be."""
    least = {
        f.name: f.metadata["minimum"] for f in fields_of(Budget) if f.name in ("memory_mib", "cpu_m", "latency_p99_ms")
    }
    tiny = Found(
        peak_mib=0.2, floor_mib=0.1, rates=(replace(RATE, quota_m=10, cpu_us=1.0),), p99_ms=0.01, p99_low_ms=0.01
    )
    budget = Budget(**least)
    wanted = resources(tiny, budget)
    within_budget(Target(name="t", nodes=NodeSelector(group="g"), budget=budget), tiny, wanted)
    assert (wanted.cpu_request_m, wanted.memory_request_mib) == (least["cpu_m"], least["memory_mib"])


def test_quotas_end_at_the_budget() -> None:
    """A budget between two quotas is measured itself; one below all of them alone."""
    assert quotas_within((100, 250, 500, 1000), None) == (100, 250, 500, 1000)
    assert quotas_within((100, 250, 500, 1000), 400) == (100, 250, 400)
    assert quotas_within((100, 250, 500, 1000), 50) == (50,)
    assert quotas_within((1000,), 2000) == (1000,)


def test_the_plans_keep_the_rules() -> None:
    """Full: 50 quota periods a point, three repeats, a confirmation, files from disk. Quick says that it is quick."""
    assert FULL.point_s >= 50 * 0.1
    assert (FULL.repeats, FULL.fresh, FULL.floor, FULL.confirm_s > 0) == (3, True, True, True)
    assert set(PLANS) == {"quick", "full"} == {QUICK.name, FULL.name}


JUDGED = judge(load_of([1.0] * 500 + [9.0] * 2, rate=40.0), 100.0)
MEASURED = Measured(
    peak_mib=3.0, floor_mib=1.0, load_ms=9.0, rates=(RateAt(500, 1, 40.0, 30.0, 60.0, cpu_us=20.0),), latency=JUDGED,
    confirmed=True, points=(ProfilePoint(quota_m=500, rate_per_s=60.0, ok=False, why="12 of 300 over"),),
)  # fmt: skip


def test_the_profile_follows_from_what_was_measured() -> None:
    """Figures, interval and method, which says whether the demand is borne."""
    target = Target(name="t", nodes=NodeSelector(group="g"))
    found = conclude("pump", target, MEASURED, FULL, where="a test", limited=True)
    assert (found.rate_per_s, found.rate_low_per_s, found.rate_high_per_s) == (40, 30, 60)
    assert (found.latency_p50_ms, found.latency_p99_ms, found.memory_floor_mib) == (1.0, 1.0, 1.0)
    assert (found.cpu_limit_m, found.confirmed, found.limited) == (500, True, True)
    assert found.cpu_us_per_request == 20.0
    assert (
        "rate confirmed; the demand of 50/s, the default, not shown to be borne: bears 40 (30 to 60) with"
        in found.method
    )
    modest = replace(target, budget=Budget(requests_per_s=20))
    assert "the demand of 20/s borne" in conclude("pump", modest, MEASURED, FULL, where="a test", limited=True).method
    assert found.method.startswith("full: a test; ")


def test_a_latency_that_no_rate_keeps_is_refused() -> None:
    """The full plan is long enough for a proof: without one the budget is broken, with the points that tell it. Quick is not."""
    target = Target(name="t", nodes=NodeSelector(group="g"), budget=Budget(latency_p99_ms=5.0))
    none = replace(MEASURED, rates=(RateAt(500, 1, None, None, 60.0),), confirmed=False)
    with pytest.raises(BudgetError, match=r"latency_p99_ms: at most 5, kept at no rate \(500m, 60/s: 12 of 300 over\)"):
        conclude("pump", target, none, FULL, where="a test", limited=True)
    quick = conclude("pump", target, none, QUICK, where="a test", limited=True)
    assert quick.rate_per_s is None
    assert "no rate was proved; the demand of 50/s, the default, not shown to be borne" in quick.method


def test_a_server_that_fails_most_queries_has_no_profile() -> None:
    """Its 99th percentile is infinite: that is an error with the counts, and no number."""
    target = Target(name="t", nodes=NodeSelector(group="g"))
    broken = replace(MEASURED, latency=judge(load_of([1.0] * 50 + [math.inf] * 50), 100.0))
    with pytest.raises(ProfileError, match="at 100 requests a second 50 of 100 queries over 100 ms"):
        conclude("pump", target, broken, QUICK, where="a test", limited=False)
