"""Between the KFP wrappers and the steps' functions: reads folders of artifacts, connects the stores, notes what was found.

The wrappers' source travels in the compiled pipeline, so it holds no more than names; what each does with its folders is
here, in the image. Paths are those of artifacts, as KFP gives them (text). No KFP is imported.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_components.steps import Step, failures, now_or, write_text
from edgeloop_contracts import (
    ModelVersion,
    Package,
    ParityResult,
    Reference,
    ResourceProfile,
    Target,
    dumps,
    loads,
)

if TYPE_CHECKING:
    from edgeloop_components.rollout.core import Told

__all__ = [
    "compile_and_compare",
    "enter",
    "judge",
    "measure",
    "pack",
    "record",
    "roll_out",
    "show_curves",
    "show_metrics",
]

MODEL_FILES = {
    "model.onnx": "onnx",
    "reference.json": "reference",
    "golden.json": "golden",
}  # file: field of ModelVersion
CHAMPION, CANDIDATE = "champion", "candidate"


def _target(step: Step) -> Target:
    found = next((target for target in step.loop.targets if target.name == step.target), None)
    if found is None:
        known = ", ".join(target.name for target in step.loop.targets)
        raise ValueError(f"target {step.target}: not in loop {step.loop.name}; known: {known}")
    return found


def _version(folder: str) -> ModelVersion:
    return loads(ModelVersion, Path(folder, "version.json").read_bytes())


def pack(step: Step, version: str, compiled: str, profiled: str, out: str) -> Package:
    """Writes the image into the layout that EDGELOOP_IMAGES names, and its document into the catalog and `out`."""
    from edgeloop_components.catalog import catalog
    from edgeloop_components.package.core import package
    from edgeloop_components.stores.objects import connect

    images = os.environ.get("EDGELOOP_IMAGES")
    if not images:
        raise ValueError("where images are kept: expected a folder in EDGELOOP_IMAGES, found nothing")
    made = package(
        step.loop,
        _version(version),
        _target(step),
        Path(compiled, "model"),
        Path(images),
        parity=loads(ParityResult, Path(compiled, "parity.json").read_bytes()),
        profile=loads(ResourceProfile, Path(profiled, "profile.json").read_bytes()),
    )
    catalog.put_package(connect(), made, at_s=_version(version).created_s)
    _write(out, "package.json", dumps(made, indent=1))
    step.note(image=f"{made.repository}@{made.digest}", size_bytes=made.size_bytes)
    return made


def roll_out(step: Step, version: str, packages: Sequence[str], out: str, *, evidence_s: float, now_s: float) -> Told:
    """Makes the rollout against the champion, keeps it in the catalog and `out`, names the candidate, tells the fleet."""
    from edgeloop_components.catalog import catalog
    from edgeloop_components.rollout.core import make_rollout, read_packages, tell_fleet
    from edgeloop_components.stores.objects import connect

    objects, name, new = connect(), step.loop.name, _version(version)
    previous = catalog.alias(objects, name, CHAMPION)
    before = catalog.packages(objects, name, previous) if previous else ()
    wanted = make_rollout(
        step.loop,
        new,
        read_packages([Path(folder) for folder in packages]),
        previous=previous,
        previous_packages={package.target: package for package in before},
        evidence_s=evidence_s,
        created_s=now_or(now_s),
    )
    text = dumps(wanted, indent=1)
    objects.put(f"catalog/{name}/rollouts/{new.number:06d}.json", text.encode())
    _write(out, "rollout.json", text)
    catalog.set_alias(objects, name, CANDIDATE, new.number, actor=new.started_by or "edgeloop", why=new.cause)
    reference = loads(Reference, Path(version, "reference.json").read_bytes())
    told = tell_fleet(os.environ.get("EDGELOOP_FLEET_URL", ""), step.loop, wanted, new, reference)
    step.note(told=told.why)
    return told


def record(step: Step, *, cause: str, started_by: str, state: str, message: str) -> dict[str, Any]:
    """Records in the catalog how the run ended. `state` is KFP's: SUCCEEDED, FAILED, CANCELLED."""
    from edgeloop_components.catalog import catalog
    from edgeloop_components.stores.objects import connect

    objects, name = connect(), step.loop.name
    made = next((v for v in catalog.versions(objects, name) if v.run_key == step.run_key), None)
    failed = state != "SUCCEEDED" or made is None
    notes = failures(objects, step.run_key) if failed else []
    whys = [f"step {n['step']} {n['target']}".strip() + f": {n['error']} (log: {n['log']})" for n in notes]
    missed = [f"{g.gate}: expected {g.expected}, got {g.got}" for g in made.gates if not g.passed] if made else []
    document = {
        "state": "failed" if failed else "rejected" if missed else "succeeded",
        "version": made.number if made else None,
        "cause": cause,
        "started_by": started_by,
        "reason": "; ".join((whys or [message]) if failed else missed),
    }
    step.note(outcome=document["state"])
    return catalog.record_run(objects, name, step.run_key, document, actor=started_by or "edgeloop", why=cause)


def _write(folder: str, name: str, text: str) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    write_text(Path(folder, name), text)
