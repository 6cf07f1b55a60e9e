"""The Pareto front and its choice, and the pictures."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeloop_components.profile.decide import BudgetError
from edgeloop_components.profile.pareto import FIGURES, Candidate, _figures, choose
from edgeloop_components.profile.plot import PlotError, draw
from edgeloop_contracts import ProfilePoint, ResourceProfile
from edgeloop_contracts.loop import Budget

ONE = Candidate("native", "native", 1, "", False, latency_ms=0.1, memory_mib=1.0, size_mib=0.2, accuracy=0.95)
BIG = replace(ONE, name="onnxruntime", runtime="onnxruntime", latency_ms=0.4, memory_mib=62.0, size_mib=45.0)
SMALL = replace(ONE, name="int8", quantised=True, latency_ms=0.05, accuracy=0.94)

FIGURE = st.sampled_from([0.5, 1.0, 2.0, 4.0])
CANDIDATES = st.lists(st.tuples(FIGURE, FIGURE, FIGURE, st.sampled_from([0.9, 0.95, 1.0])), min_size=1, max_size=8)


def made(figures: list[tuple[float, float, float, float]]) -> list[Candidate]:
    return [Candidate(f"c{i}", "native", 1, "", False, *figure) for i, figure in enumerate(figures)]


@given(CANDIDATES)
def test_the_front_is_what_nothing_beats(figures: list[tuple[float, float, float, float]]) -> None:
    """Against the definition: on the front exactly when no other is nowhere worse and somewhere better."""
    candidates = made(figures)
    choice = choose(candidates, Budget(), tolerance=1.0)
    best = max(candidate.accuracy for candidate in candidates)
    costs = {candidate.name: _figures(candidate, best) for candidate in candidates}
    for verdict in choice.verdicts:
        own = costs[verdict.candidate.name]
        beaten = any(
            all(other[f] <= own[f] for f in FIGURES) and any(other[f] < own[f] for f in FIGURES)
            for other in costs.values()
        )
        assert verdict.front is not beaten
        assert verdict.front or "dominated by" in verdict.why
    assert next(v for v in choice.verdicts if v.candidate == choice.chosen).front


@given(CANDIDATES, FIGURE, FIGURE)
def test_the_choice_keeps_the_budget(
    figures: list[tuple[float, float, float, float]], latency: float, memory: float
) -> None:
    """Or none does, and every candidate's reason is in the error."""
    candidates = made(figures)
    budget = Budget(latency_p99_ms=latency, memory_mib=memory)
    best = max(candidate.accuracy for candidate in candidates)
    kept = {
        c.name for c in candidates if c.latency_ms <= latency and c.memory_mib <= memory and best - c.accuracy <= 0.06
    }
    if kept:
        assert choose(candidates, budget, tolerance=0.06).chosen.name in kept
        return
    with pytest.raises(BudgetError) as error:
        choose(candidates, budget, tolerance=0.06)
    assert all(f"{candidate.name}: " in str(error.value) for candidate in candidates)


@given(CANDIDATES, st.randoms())
def test_the_order_of_candidates_does_not_matter(
    figures: list[tuple[float, float, float, float]], random: object
) -> None:
    """The same choice whatever comes first."""
    candidates = made(figures)
    mixed = list(candidates)
    random.shuffle(mixed)  # type: ignore[attr-defined]
    assert choose(candidates, Budget(), 1.0).chosen == choose(mixed, Budget(), 1.0).chosen


def test_what_is_near_its_limit_weighs_most() -> None:
    """With a tight latency the fast one is chosen, with a tight tolerance the accurate one; the beaten one says by whom."""
    choice = choose([ONE, BIG, SMALL], Budget(latency_p99_ms=0.11), tolerance=0.5)
    assert choice.chosen == SMALL
    why = {verdict.candidate.name: verdict.why for verdict in choice.verdicts}
    assert why["onnxruntime"] == "dominated by native: 0.1 ms against 0.4, 1 MiB against 62, 0.2 MiB against 45"
    assert choose([ONE, BIG, SMALL], Budget(latency_p99_ms=100), tolerance=0.011).chosen == ONE
    lost = choose([ONE, SMALL], Budget(), tolerance=0.005)
    assert (lost.chosen, lost.verdicts[1].why) == (ONE, "breaks the budget: accuracy_loss: at most 0.005, has 0.01")


def test_no_candidate_within_the_budget_is_an_error() -> None:
    """Every candidate's numbers are in it; no candidates at all are refused."""
    with pytest.raises(BudgetError, match=r"native: breaks the budget: memory_mib: at most 0\.5, has 1"):
        choose([ONE], Budget(memory_mib=0.5), tolerance=0.05)
    with pytest.raises(ValueError, match="at least one candidate"):
        choose([], Budget(), tolerance=0.05)


PROFILE = ResourceProfile(
    loop="pump", target="cab", method="quick: made up; for a test", latency_p50_ms=1.0, latency_p99_ms=2.0,
    memory_peak_mib=3.0, memory_floor_mib=1.5, latency_limit_ms=100.0, rate_per_s=500.0, cpu_request_m=10,
    cpu_limit_m=100, memory_request_mib=4, memory_limit_mib=16,
    points=(
        ProfilePoint(quota_m=100, rate_per_s=100, latency_p99_ms=2.0, ok=True),
        ProfilePoint(quota_m=100, rate_per_s=900, latency_p99_ms=400.0, ok=False, why="over"),
        ProfilePoint(quota_m=1000, rate_per_s=5000, latency_p99_ms=9.0, ok=True),
        ProfilePoint(memory_mib=1.0, ok=False, why="OOM"),
        ProfilePoint(memory_mib=1.5, ok=True),
    ),
)  # fmt: skip


@pytest.mark.parametrize(("name", "start"), [("a.svg", b"<?xml"), ("a.png", b"\x89PNG")])
def test_a_profile_is_drawn(tmp_path: Path, name: str, start: bytes) -> None:
    """With the front and without; the same profile gives the same bytes."""
    out, again = tmp_path / name, tmp_path / f"2{name}"
    draw(PROFILE, out, choose([ONE, BIG, SMALL], Budget(), 0.05))
    draw(PROFILE, again, choose([ONE, BIG, SMALL], Budget(), 0.05))
    assert out.read_bytes().startswith(start)
    assert out.read_bytes() == again.read_bytes()
    draw(PROFILE, again)
    assert out.read_bytes() != again.read_bytes()


def test_what_cannot_be_drawn_is_said(tmp_path: Path) -> None:
    """Another suffix, and a profile of before that kept no points."""
    with pytest.raises(PlotError, match=r"ends in \.svg, \.png"):
        draw(PROFILE, tmp_path / "a.txt")
    with pytest.raises(PlotError, match="holds no points"):
        draw(replace(PROFILE, points=()), tmp_path / "a.svg")
