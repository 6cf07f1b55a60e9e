"""Which of several ways to serve a model: the Pareto front over latency, memory, size and accuracy, and one choice. Pure.

A candidate is dominated when another is at least as good in every figure and better in one. Of those that keep the budget the
one with the least cost is chosen: the sum over all figures of (figure / limit) squared, so that what comes close to its limit
weighs most. The limit is the budget's; where it has none, the worst figure of the front. Lost accuracy is measured against
the best candidate's, and its limit is the tolerance of the rollout.

Refuses a budget that no candidate keeps, with the numbers of each.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeloop_components.profile.decide import BudgetError
from edgeloop_contracts.loop import Budget

__all__ = ["FIGURES", "Candidate", "Choice", "Verdict", "choose"]

FIGURES = ("latency_ms", "memory_mib", "size_mib", "accuracy_loss")
UNITS = {"latency_ms": "ms", "memory_mib": "MiB", "size_mib": "MiB", "accuracy_loss": "lost"}


@dataclass(frozen=True)
class Candidate:
    """One way to serve the model, and what it costs."""

    name: str
    runtime: str
    threads: int
    instruction_set: str
    quantised: bool
    latency_ms: float
    memory_mib: float
    size_mib: float
    accuracy: float


@dataclass(frozen=True)
class Verdict:
    """What became of a candidate. `cost` is None for one that is not on the front or breaks the budget."""

    candidate: Candidate
    front: bool
    why: str
    cost: float | None


@dataclass(frozen=True)
class Choice:
    """The chosen candidate, and a verdict on each."""

    chosen: Candidate
    verdicts: tuple[Verdict, ...]
    limits: dict[str, float]


def _figures(candidate: Candidate, best_accuracy: float) -> dict[str, float]:
    return {
        "latency_ms": candidate.latency_ms,
        "memory_mib": candidate.memory_mib,
        "size_mib": candidate.size_mib,
        "accuracy_loss": best_accuracy - candidate.accuracy,
    }


def _dominator(own: dict[str, float], others: dict[str, dict[str, float]]) -> str:
    """The name of one that is nowhere worse and somewhere better; empty when there is none."""
    for name, other in others.items():
        if all(other[f] <= own[f] for f in FIGURES) and any(other[f] < own[f] for f in FIGURES):
            return name
    return ""


def choose(candidates: Sequence[Candidate], budget: Budget, tolerance: float) -> Choice:
    """The front, why the others are not on it, and the choice. BudgetError when none keeps the budget."""
    if not candidates:
        raise ValueError("expected at least one candidate, got none")
    best = max(candidate.accuracy for candidate in candidates)
    figures = {candidate.name: _figures(candidate, best) for candidate in candidates}
    beaten = {name: _dominator(own, figures) for name, own in figures.items()}
    front = {name: own for name, own in figures.items() if not beaten[name]}
    given = {
        "latency_ms": budget.latency_p99_ms,
        "memory_mib": budget.memory_mib,
        "size_mib": budget.image_mib,
        "accuracy_loss": tolerance,
    }
    limits = {f: _limit(given[f], [own[f] for own in front.values()]) for f in FIGURES}
    verdicts = [_verdict(candidate, figures, beaten, given, limits) for candidate in candidates]
    kept = [verdict for verdict in verdicts if verdict.cost is not None]
    if not kept:
        raise BudgetError(
            "no candidate keeps the budget: " + "; ".join(f"{v.candidate.name}: {v.why}" for v in verdicts)
        )
    winner = min(kept, key=lambda verdict: (verdict.cost, verdict.candidate.name))
    return Choice(winner.candidate, tuple(verdicts), limits)


def _limit(given: float | None, values: Sequence[float]) -> float:
    return max(values) if given is None else given


def _verdict(
    candidate: Candidate,
    figures: dict[str, dict[str, float]],
    beaten: dict[str, str],
    given: dict[str, float | None],
    limits: dict[str, float],
) -> Verdict:
    own, by = figures[candidate.name], beaten[candidate.name]
    if by:
        better = ", ".join(
            f"{figures[by][f]:.4g} {UNITS[f]} against {own[f]:.4g}" for f in FIGURES if figures[by][f] < own[f]
        )
        return Verdict(candidate, False, f"dominated by {by}: {better}", None)
    broken = [
        f"{f}: at most {most:.4g}, has {own[f]:.4g}" for f, most in given.items() if most is not None and own[f] > most
    ]
    if broken:
        return Verdict(candidate, True, "breaks the budget: " + ", ".join(broken), None)
    return Verdict(candidate, True, "", sum((own[f] / limits[f]) ** 2 if limits[f] else 0.0 for f in FIGURES))
