"""The sweep of quotas, cores and threads over a made-up server, and how far its choice repeats."""

from __future__ import annotations

import contextlib
import random
from collections.abc import Iterator
from dataclasses import dataclass, replace
from types import SimpleNamespace
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeloop_components.profile.cgroups import Limits
from edgeloop_components.profile.decide import MOST_USE, RateAt, bears, chosen, falls_short, gained, ruled_out
from edgeloop_components.profile.load import Load
from edgeloop_components.profile.plan import FULL, QUICK, Rung, first_rungs, further_rungs, rungs_of, seconds_for
from edgeloop_components.profile.search import Bracket, Judged, highest_rate, judge, point_seconds
from edgeloop_components.profile.session import _asked, _point
from edgeloop_components.profile.state import Session
from edgeloop_components.profile.sweep import rate_of, shuffled, sweep, worth_climbing
from edgeloop_contracts import Target
from edgeloop_contracts.loop import Budget, NodeSelector

PERIOD_S, LIMIT_MS = 0.1, 100.0
LADDER = FULL.quotas_m


@dataclass
class MadeUp:
    """A server that answers one request at a time, with `threads` that share its work, under a quota as the kernel keeps it.

    `disturbed` is the share of points in which a neighbour takes half of the machine; `drift` the spread of a profile's speed.
    """

    seed: int
    cpu_us: float = 2000.0
    parallel: float = 0.0  # share of the work that threads can share
    disturbed: float = 0.0
    drift: float = 0.0

    def __post_init__(self) -> None:
        self.draw = random.Random(self.seed)
        self.cost_us = self.cpu_us * self.draw.lognormvariate(0, self.drift) if self.drift else self.cpu_us

    def search(self, rung: Rung, _repeat: int) -> Bracket:
        """What a start on a rung tells."""

        def trial(rate_per_s: float) -> Judged:
            return self.point(rung, rate_per_s)

        return highest_rate(trial, rung.quota_m * 1000 / self.cost_us, FULL.steps)

    def point(self, rung: Rung, rate_per_s: float) -> Judged:
        """One point of open-loop load."""
        slow = 2.0 if self.draw.random() < self.disturbed else 1.0
        seconds = point_seconds(rate_per_s, FULL.point_s, FULL.longest_point_s)
        threads = min(rung.threads, rung.cores)
        wall = (1 - self.parallel + self.parallel / threads) * slow
        at, free, latencies = 0.0, 0.0, []
        budget_s, period, used_s = rung.quota_m / 1000 * PERIOD_S, 0, 0.0
        while (at := at + self.draw.expovariate(rate_per_s)) < seconds:
            free, left_s = max(free, at), self.cost_us / 1e6 * self.draw.uniform(0.7, 1.3)
            while left_s > 1e-9:
                if int(free / PERIOD_S + 1e-9) > period:
                    period, used_s = int(free / PERIOD_S + 1e-9), 0.0
                end_s = (period + 1) * PERIOD_S
                step_s = min(left_s, budget_s - used_s, (end_s - free) / wall)
                left_s, used_s, free = left_s - step_s, used_s + step_s, free + step_s * wall
                if left_s > 1e-9:
                    free = end_s
            latencies.append((free - at) * 1000)
        return judge(Load(rate_per_s, seconds, 1, latencies, {}, 0.0, 0.0, seconds), LIMIT_MS)

    def rates(self, repeats: int = FULL.repeats) -> list[RateAt]:
        """All quotas of one thread."""
        brackets: dict[Rung, list[Bracket]] = {rung: [] for rung in first_rungs(LADDER, None, threads=1, pinnable=64)}
        for rung, repeat in shuffled(list(brackets), repeats, self.seed):
            brackets[rung].append(self.search(rung, repeat))
        return [rate_of(rung, found) for rung, found in brackets.items()]


@pytest.fixture(scope="module")
def profiles() -> list[tuple[MadeUp, list[RateAt]]]:
    """Ten profiles of one server on a machine whose speed drifts by 5 %, where one point in ten is disturbed."""
    made = [MadeUp(seed, disturbed=0.1, drift=0.05) for seed in range(10)]
    return [(one, one.rates()) for one in made]


def _quotas(profiles: list[tuple[MadeUp, list[RateAt]]], demand_per_s: float) -> list[int]:
    budget = Budget(requests_per_s=demand_per_s)
    found = [chosen([replace(rate, cpu_us=1.02 * one.cost_us) for rate in rates], budget) for one, rates in profiles]
    return [rate.quota_m for rate in found if rate]


@pytest.mark.parametrize(("demand_per_s", "quota_m"), [(20, 100), (60, 250), (130, 500), (260, 1000)])
def test_repeated_profiles_give_the_same_quota(
    profiles: list[tuple[MadeUp, list[RateAt]]], demand_per_s: float, quota_m: int
) -> None:
    """A demand in the middle between two rungs: the same rung from every seed."""
    assert _quotas(profiles, demand_per_s) == [quota_m] * len(profiles)


def test_at_the_edge_of_a_rung_only_its_neighbour_is_another_answer(
    profiles: list[tuple[MadeUp, list[RateAt]]],
) -> None:
    """A demand that takes just what a quota may be used for: that rung or the next, never further."""
    for place, quota_m in enumerate(LADDER[:-1]):
        edge = MOST_USE * quota_m * 1000 / (1.02 * 2000.0)
        assert set(_quotas(profiles, edge)) <= {quota_m, LADDER[place + 1]}


def test_the_rates_alone_would_not_repeat(profiles: list[tuple[MadeUp, list[RateAt]]]) -> None:
    """Why CPU time decides first: the least proved rate of a rung differs between profiles by far more than the CPU time does."""
    lows = [rate.low_per_s or 0.0 for _, rates in profiles for rate in rates if rate.quota_m == 100]
    costs = [one.cost_us for one, _ in profiles]
    assert max(lows) / max(1e-9, min(lows)) > max(costs) / min(costs)


def test_a_rung_bears_what_is_proved_with_cpu_time_to_spare() -> None:
    """Both are asked for; what is not proved is not shown to fall short either."""
    rate = RateAt(100, 1, 60.0, 40.0, 80.0, 1, cpu_us=500.0)
    assert bears(replace(rate, cpu_us=1000.0), 50)
    dear = replace(rate, cpu_us=1500.0)
    assert not bears(dear, 50), "75 of 100 thousandths of a core"
    assert not bears(rate, 70)
    assert not falls_short(rate, 70)
    assert falls_short(rate, 80)
    assert falls_short(dear, 50)
    assert not ruled_out(dear, 50), "head-room that is lacking is no refusal"
    assert bears(replace(rate, quota_m=0, cpu_us=1e6), 50), "without a quota there is none to keep to"


def test_a_gain_is_more_than_the_intervals() -> None:
    """Intervals that meet are noise, and one without an upper end meets all above it."""
    one, two = RateAt(1000, 1, 400.0, 380.0, 450.0, 1), RateAt(2000, 2, 700.0, 640.0, 800.0, 2)
    assert gained(two, one)
    assert not gained(replace(two, low_per_s=440.0), one)
    assert not gained(two, replace(one, high_per_s=None))
    assert not gained(replace(two, low_per_s=None), one)
    assert gained(two, RateAt(1000, 1, None, None, 300.0, 1)), "none was proved, and 300 refused"


def test_threads_are_chosen_where_fewer_do_not_bear_the_demand() -> None:
    """The least that bears it; where none does, more threads only for a rate beyond noise."""
    one, two = RateAt(1000, 1, 400.0, 380.0, 450.0, 1), RateAt(2000, 2, 700.0, 640.0, 800.0, 2)
    assert chosen((one, two), Budget(requests_per_s=300)) == one
    assert chosen((one, two), Budget(requests_per_s=600)) == two
    assert chosen((one, two), Budget(requests_per_s=5000)) == two
    assert chosen((one, replace(two, low_per_s=410.0)), Budget(requests_per_s=5000)) == one
    assert chosen((one, two), Budget(requests_per_s=600, cpu_m=1500)) == one


def test_the_rungs_keep_to_machine_and_budget() -> None:
    """Twice the threads each time, a core and a core's quota for each, not above the budget."""
    first = first_rungs(LADDER, None, threads=1, pinnable=64)
    assert [str(rung) for rung in first[-2:]] == ["500m on 1 core", "1000m on 1 core"]
    assert list(further_rungs(first[-1], 8, None)) == [Rung(2000, 2, 2), Rung(4000, 4, 4), Rung(8000, 8, 8)]
    assert list(further_rungs(first[-1], 6, 1500)) == [Rung(1500, 2, 2)]
    assert list(further_rungs(first[-1], 1, None)) == []
    assert list(further_rungs(Rung(0), 2, None)) == [Rung(0, 0, 2)]
    assert first_rungs((1000,), None, threads=2, pinnable=64) == (Rung(2000, 2, 2),)
    assert first_rungs(LADDER, 400, threads=1, pinnable=0)[-1] == Rung(400)
    assert str(Rung(0, 0, 2)) == "no quota, 2 threads"


def test_a_rung_has_no_more_cores_than_can_be_given() -> None:
    """A delegated group with one core on a machine with four: nothing is said to have run on two, nor given two cores' quota."""
    first, further = rungs_of(FULL, None, threads=1, own=4, pinnable=1, limited=True)
    assert ({rung.cores for rung in first}, list(further)) == ({1}, [])
    first, further = rungs_of(QUICK, None, threads=2, own=4, pinnable=1, limited=True)
    assert (first, list(further)) == ((Rung(1000, 1, 2),), [])
    assert list(rungs_of(QUICK, None, threads=1, own=8, pinnable=2, limited=True)[1]) == [Rung(2000, 2, 2)]
    assert list(rungs_of(QUICK, None, threads=1, own=2, pinnable=0, limited=True)[1]) == [Rung(2000, 0, 2)]
    first, further = rungs_of(QUICK, None, threads=1, own=2, pinnable=0, limited=False)
    assert (first, list(further)) == ((Rung(0),), [Rung(0, 0, 2)])


COSTS = {1: (2000.0, 1000.0), 2: (3500.0, 400.0)}  # of so many threads: CPU time a request, and the rate that it bears


class MadeUpBench:
    """A server whose requests take CPU time by its number of threads, and that is disturbed in its first points."""

    def __init__(self, disturbed: int = 0, *, threaded: bool = True) -> None:
        self.subject = SimpleNamespace(runtime="made-up", threaded=threaded, route="/", remark="")
        self.disturbed, self.groups, self.used_s, self.threads, self.offered = disturbed, None, 0.0, 1, list[float]()

    @contextlib.contextmanager
    def started(self, _limits: Limits, threads: int = 1) -> Iterator[Any]:
        self.threads = threads
        yield self

    def offer(self, rate_per_s: float, seconds: float, _seed: int) -> Load:
        cpu_us, bears_per_s = COSTS[self.threads]
        queries = round(rate_per_s * seconds)
        self.offered.append(rate_per_s)
        self.used_s += queries * cpu_us / 1e6
        late = rate_per_s > bears_per_s or len(self.offered) <= self.disturbed
        return Load(rate_per_s, seconds, 1, [200.0 if late else 1.0] * queries, {}, 0.0, 0.0, seconds)

    def cpu_s(self) -> float:
        return self.used_s


def session_of(bench: MadeUpBench, budget: Budget) -> Session:
    target = Target(name="t", nodes=NodeSelector(group="g"), budget=budget)
    made: Any = bench
    return Session(target, FULL, made, LIMIT_MS, (), (), (), random.Random(1), lambda _: None)


def test_cpu_time_is_kept_for_each_number_of_threads() -> None:
    """The points of one thread say nothing of what two take."""
    session, bench = session_of(MadeUpBench(), Budget()), MadeUpBench()
    rates = [RateAt(1000 * n, n, 100.0, 90.0, 110.0, n) for n in (1, 2, 4)]
    for rate in (*rates[:1] * 3, *rates[:2] * 6):
        with bench.started(Limits(), rate.threads) as running:
            _point(session, running, 100.0, rate.rung, 16)
    costed = session.costed(rates, 7.0)
    assert [rate.cpu_us for rate in costed] == pytest.approx([2000.0, 3500.0, 7.0])
    assert costed[1].cpu_us_low == pytest.approx(3500.0)
    assert replace(costed[0], cpu_us=0.0, cpu_us_low=None, cpu_us_high=None) == rates[0]


@pytest.mark.parametrize(
    ("demand_per_s", "disturbed", "asked", "refused_at"),
    [
        (450.0, 0, [450.0], None),  # borne: what refused it was a disturbance
        (450.0, 1, [450.0] * 2, None),
        (450.0, 9, [450.0] * 3, 400.0),
        (None, 9, [], 400.0),  # nobody stated it
        (600.0, 0, [], 400.0),  # 1,200 of 1,000 thousandths: its CPU time says it all
        (350.0, 9, [], 400.0),  # not refused at all
    ],
)
def test_a_demand_is_refused_only_for_what_comes_again(
    demand_per_s: float | None, disturbed: int, asked: list[float], refused_at: float | None
) -> None:
    """A rung was refused at 400/s once; a stated demand is offered itself before a model is turned away."""
    bench = MadeUpBench(disturbed)
    rate = RateAt(1000, 1, 300.0, 280.0, 400.0, 1, cpu_us=2000.0)
    (found,) = _asked(session_of(bench, Budget(requests_per_s=demand_per_s)), (rate,), 16)
    assert bench.offered == asked
    assert found.high_per_s == refused_at
    assert ruled_out(found, demand_per_s or 400.0) == (refused_at is not None and demand_per_s != 350.0)
    if refused_at is None:
        assert (found.rate_per_s, found.low_per_s) == (demand_per_s, 280.0)


@given(st.integers(1, 64), st.none() | st.floats(10, 64_000), st.integers(1, 4))
def test_no_rung_exceeds_what_there_is(cores: int, budget_m: float | None, threads: int) -> None:
    """Neither in cores nor in quota, and the ladder is short."""
    first = first_rungs(LADDER, budget_m, threads=threads, pinnable=64)
    found = list(further_rungs(first[-1], cores, budget_m))
    assert all(rung.cores == rung.threads <= cores for rung in found)
    assert all(rung.quota_m <= (budget_m or 1e9) for rung in (*found, *(r for r in first if r.quota_m > 10)))
    assert len(found) <= 6


def climbed(server: MadeUp, cores: int, budget: Budget, *, climb: bool) -> tuple[tuple[RateAt, ...], RateAt | None]:
    """The whole sweep from one core up."""
    first = [rate_of(Rung(1000, 1, 1), [server.search(Rung(1000, 1, 1), 0)])]

    def on(found: list[RateAt]) -> bool:
        return worth_climbing([replace(rate, cpu_us=server.cost_us) for rate in found], budget, climb=climb)

    rates = sweep(first, further_rungs(Rung(1000, 1, 1), cores, budget.cpu_m), 1, server.search, on)
    return rates, chosen([replace(rate, cpu_us=server.cost_us) for rate in rates], budget)


def test_a_server_that_gains_nothing_is_not_measured_further() -> None:
    """One more rung shows that threads bring nothing; 4 and 8 are not tried, and one thread is chosen."""
    rates, best = climbed(MadeUp(3), 8, Budget(requests_per_s=2000), climb=True)
    assert [rate.threads for rate in rates] == [1, 2]
    assert best is not None
    assert best.threads == 1


def test_a_server_that_gains_is_given_the_threads_that_the_demand_needs() -> None:
    """Work that threads share nearly in full: 1,000 a second need more than one of 500."""
    server = MadeUp(4, parallel=0.95)
    rates, best = climbed(server, 4, Budget(requests_per_s=600), climb=True)
    assert [rate.threads for rate in rates] == [1, 2, 4]
    assert best is not None
    assert (best.threads, best.cores, best.quota_m) == (2, 2, 2000)


def test_a_quick_plan_climbs_only_where_it_must() -> None:
    """Not where one thread bears the demand, nor where it is not shown that it does not."""
    assert not QUICK.climb
    assert FULL.climb
    server = MadeUp(5, parallel=0.95)
    assert [rate.threads for rate in climbed(server, 4, Budget(requests_per_s=50), climb=False)[0]] == [1]
    assert [rate.threads for rate in climbed(server, 4, Budget(requests_per_s=600), climb=False)[0]] == [1, 2]
    unknown = [RateAt(1000, 1, None, None, None, 1)]
    assert not worth_climbing(unknown, Budget(requests_per_s=600), climb=False)


def test_the_time_it_takes_is_known_before() -> None:
    """Repeats, starts and points of the full plan: four quotas take about six minutes and a half."""
    assert seconds_for(FULL, 4, 0.0) == pytest.approx(4 * 3 * (2 + 6 * 5))
    assert seconds_for(FULL, 1, 5.0) > seconds_for(FULL, 1, 0.0)
    assert seconds_for(QUICK, 0, 9.0) == 0
