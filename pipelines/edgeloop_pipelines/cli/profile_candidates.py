"""`--candidates`: every way to serve a model, measured and weighed by the budget of its target."""

from __future__ import annotations

import tempfile
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_pipelines.cli.console import UserError
from edgeloop_pipelines.cli.models import progress
from edgeloop_pipelines.cli.stores import open_objects

if TYPE_CHECKING:
    from edgeloop_components.profile.pareto import Choice
    from edgeloop_components.profile.plan import Plan
    from edgeloop_components.stores.objects import Objects
    from edgeloop_contracts import Loop, ModelVersion, ResourceProfile, Target

__all__ = ["compared", "compared_of_loop", "one_target"]

Compared = tuple[list["ResourceProfile"], "Choice"]


def compared(loop: Loop, target: Target, model: Path, plan: Plan, *, accuracy: float = 1.0) -> Compared:
    """The profiles, the chosen one first, and the choice. BudgetError when none keeps the target's budget."""
    from edgeloop_components.profile.candidates import measure_all
    from edgeloop_components.profile.pareto import choose

    found = measure_all(loop, target, model, plan=plan, accuracy=accuracy, say=progress)
    choice = choose([candidate for candidate, _ in found], target.budget, loop.rollout.tolerance)
    return [profile for _, profile in sorted(found, key=lambda pair: pair[0] != choice.chosen)], choice


def compared_of_loop(name: str, target: str, plan: Plan, home: Path) -> Compared:
    """The same for a loop's newest accepted version and one of its targets. UserError."""
    with open_objects(home) as objects, tempfile.TemporaryDirectory(prefix="edgeloop-profile-") as made:
        loop, version = _newest(objects, name)
        wanted = one_target(loop.targets, target)
        _fetch(objects, version, Path(made))
        return compared(loop, wanted, Path(made), plan, accuracy=_accuracy(version))


def one_target(targets: Sequence[Target], name: str) -> Target:
    """The target of that name; without one, the only target. UserError names what there is."""
    names = [target.name for target in targets]
    if not name and len(names) == 1:
        (name,) = names
    if name not in names:
        raise UserError(f"--target: expected one of {', '.join(names)}, got {name or 'nothing'}")
    return targets[names.index(name)]


def _newest(objects: Objects, name: str) -> tuple[Loop, ModelVersion]:
    from edgeloop_components.catalog import catalog

    known = list(catalog.loops(objects))
    if name not in known:
        hint = "a lone file is compared by `edgeloop model profile FILE --candidates`"
        raise UserError(f"{name}: expected a loop, one of {', '.join(known) or 'none yet'}", hint)
    accepted = [version for version in catalog.versions(objects, name) if version.state == "accepted"]
    if not accepted:
        raise UserError(f"{name}: expected an accepted version, found none", "run `edgeloop run` first")
    return catalog.get_loop(objects, name), max(accepted, key=lambda version: version.number)


def _fetch(objects: Objects, version: ModelVersion, folder: Path) -> None:
    """The version's model folder."""
    from edgeloop_components.catalog import catalog
    from edgeloop_contracts import dumps

    files = {"model.onnx": version.onnx, "reference.json": version.reference, "golden.json": version.golden}
    for name, digest in files.items():
        catalog.fetch_blob(objects, digest, folder / name)
    (folder / "version.json").write_text(dumps(version))


def _accuracy(version: ModelVersion) -> float:
    """What the reference scored over all rows; 1 where it was not measured: then it is the agreement with it that counts."""
    found = [metric.value for metric in version.metrics if metric.name == "accuracy" and not metric.slice]
    return found[0] if found else 1.0
