"""Whether a package fits a target: what it needs against what the target's nodes have, and the nearest target that fits.

Pure functions, so that the rollout step, which plans, and rendering decide alike; nodes are not asked. What a target does not
say it has is not assumed: a runtime outside the image, accelerator, driver and instruction set must be named; memory and disk
that are not known are no reason against it.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace

from edgeloop_contracts.artifacts import Needs
from edgeloop_contracts.loop import Target
from edgeloop_contracts.processors import INSTRUCTION_SETS

__all__ = [
    "INSTRUCTION_SETS",
    "Fit",
    "closest",
    "explain",
    "instruction_set_rank",
    "lending",
    "lent_in",
    "misfit",
    "nearest",
]


@dataclass(frozen=True)
class Fit:
    """A target, and why the package does not fit it; no reasons: it fits."""

    target: str
    reasons: tuple[str, ...]


def _has_instruction_set(needed: str, has: str) -> bool:
    if needed in ("", has):
        return True
    family = next((row for row in INSTRUCTION_SETS if needed in row), ())
    if needed in family[:1]:
        return True  # the baseline
    return has in family and family.index(has) >= family.index(needed)


def instruction_set_rank(name: str) -> int:
    """How much more than its family's baseline a processor must have; 0: no more, or no known name."""
    return next((row.index(name) for row in INSTRUCTION_SETS if name in row), 0)


def _same(what: str, needed: str, has: str) -> str:
    return "" if needed in ("", has) else f"{what}: needs {needed}, has {has or 'none'}"


def _lent(needed: str, has: Iterable[str]) -> str:
    known = tuple(has)
    if needed in ("", *known):
        return ""
    return (
        f"runtime: needs {needed} beside the image, has {', '.join(known) or 'none'}: pack it on a base that holds one"
    )


def _enough(what: str, needed: float, has: float | None) -> str:
    return f"{what}: needs {needed:g} MiB, has {has:g} MiB" if has is not None and needed > has else ""


def _set(needed: str, has: str) -> str:
    return "" if _has_instruction_set(needed, has) else f"instruction set: needs {needed}, has {has or 'the baseline'}"


_CHECKS: tuple[Callable[[Needs, Target], str], ...] = (
    lambda needs, target: _same("platform", needs.platform, target.platform),
    lambda needs, target: _lent(needs.runtime, target.has.runtimes),
    lambda needs, target: _set(needs.instruction_set, target.has.instruction_set),
    lambda needs, target: _same("accelerator", needs.accelerator, target.has.accelerator),
    lambda needs, target: _same("driver", needs.driver, target.has.driver),
    lambda needs, target: _enough("memory", needs.memory_mib, target.has.memory_mib),
    lambda needs, target: _enough("disk", needs.disk_mib, target.has.disk_mib),
)


def misfit(needs: Needs, target: Target) -> tuple[str, ...]:
    """Why a package with these needs cannot run on the target's nodes; empty when it can."""
    return tuple(reason for check in _CHECKS if (reason := check(needs, target)))


def lending(target: Target, runtimes: Iterable[str]) -> Target:
    """The target with what its whole installation lends to images, such as the Python of a stand-in for KubeEdge."""
    every = tuple(dict.fromkeys((*target.has.runtimes, *runtimes)))
    return replace(target, has=replace(target.has, runtimes=every))


def lent_in(text: str) -> tuple[str, ...]:
    """What an installation lends, as EDGELOOP_NODES_LEND names it: with commas between; empty: nothing."""
    return tuple(name for part in text.split(",") if (name := part.strip()))


def nearest(needs: Needs, targets: Iterable[Target]) -> Fit | None:
    """The target with the fewest reasons against it, by name where several have as few. None without targets."""
    fits = [Fit(target.name, misfit(needs, target)) for target in targets]
    return min(fits, key=lambda fit: (len(fit.reasons), fit.target), default=None)


def closest(target: Target, packages: Mapping[str, Needs]) -> Fit | None:
    """The other way round: of several packages (name: needs) the one that fits the target best."""
    fits = [Fit(name, misfit(needs, target)) for name, needs in packages.items()]
    return min(fits, key=lambda fit: (len(fit.reasons), fit.target), default=None)


def explain(needs: Needs, target: Target, others: Iterable[Target] = ()) -> str:
    """A sentence for a person when the package does not fit: the reasons, and the nearest fit. Empty when it fits."""
    reasons = misfit(needs, target)
    if not reasons:
        return ""
    other = nearest(needs, [candidate for candidate in others if candidate.name != target.name])
    near = "" if other is None else f"; {_near(other)}"
    return f"target {target.name} does not fit its package: {'; '.join(reasons)}{near}"


def _near(fit: Fit) -> str:
    return f"nearest: target {fit.target} ({'; '.join(fit.reasons) or 'fits'})"
