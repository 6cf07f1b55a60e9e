"""Between the KFP wrappers and the steps' functions: reads folders of artifacts, connects the stores, notes what was found.

The wrappers' source travels in the compiled pipeline, so it holds no more than names; what each does with its folders is
here, in the image. Paths are those of artifacts, as KFP gives them (text). No KFP is imported.
"""

from __future__ import annotations

import functools
import hashlib
import json
import os
import tempfile
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_components.steps import Step, failures, now_or, write_text
from edgeloop_contracts import (
    ModelVersion,
    Package,
    ParityResult,
    Reference,
    ResourceProfile,
    Snapshot,
    Target,
    dumps,
    loads,
    to_json,
)
from edgeloop_contracts.fit import lent_in

if TYPE_CHECKING:
    from edgeloop_components.rollout.core import Told
    from edgeloop_components.stores.objects import Objects
    from edgeloop_components.validate.core import Validation

__all__ = [
    "compile_and_compare",
    "enter",
    "fit",
    "judge",
    "measure",
    "pack",
    "record",
    "roll_out",
    "show_curves",
    "show_metrics",
    "take_in",
]

# file: field of ModelVersion
MODEL_FILES = {"model.onnx": "onnx", "reference.json": "reference", "golden.json": "golden"}
CHAMPION, CANDIDATE = "champion", "candidate"
UNSIGNED = "not signed: EDGELOOP_SIGNING_KEY names no key"
UNVERIFIED = "not verified: EDGELOOP_PUBLIC_KEY names no key"


def _target(step: Step) -> Target:
    found = next((target for target in step.loop.targets if target.name == step.target), None)
    if found is None:
        known = ", ".join(target.name for target in step.loop.targets)
        raise ValueError(f"target {step.target}: not in loop {step.loop.name}; known: {known}")
    return found


def _version(folder: str) -> ModelVersion:
    return loads(ModelVersion, Path(folder, "version.json").read_bytes())


def _actor(version: ModelVersion) -> str:
    return version.started_by or "edgeloop"


def take_in(step: Step, out: str, *, now_s: float) -> Snapshot:
    """Records that the run has begun, and makes the snapshot, of rows up to `now_s` (0: all rows)."""
    from edgeloop_components.catalog import catalog
    from edgeloop_components.ingest.core import ingest
    from edgeloop_components.stores.objects import connect

    objects = connect()
    catalog.record_run(objects, step.loop.name, step.run_key, {"state": "running", "at_s": now_or(now_s)})
    made = ingest(step.loop, Path(out), objects=objects, now_s=now_s or None)
    step.note(rows=made.rows, duplicates=made.duplicates, quarantined=sum(made.quarantined.values()))
    return made


def fit(step: Step, snapshot: str, out: str) -> None:
    """Trains on the snapshot."""
    from edgeloop_components.train.core import train

    made = train(step.loop, Path(snapshot), Path(out))
    step.note(rows_fit=made.rows_fit, onnx_size_bytes=made.onnx_size_bytes, fit_temperature=made.temperature)


def judge(step: Step, snapshot: str, trained: str, out: str, summary: str) -> Validation:
    """Judges the model, against the champion where there is one; `summary` becomes the page."""
    from edgeloop_components.catalog import catalog
    from edgeloop_components.stores.objects import connect
    from edgeloop_components.validate.core import ChampionModel, validate

    objects, name = connect(), step.loop.name
    number = catalog.alias(objects, name, CHAMPION)
    with tempfile.TemporaryDirectory() as folder:
        champion = ChampionModel(number, Path(folder)) if number else None
        if number:
            _fetch_model(objects, catalog.version(objects, name, number), Path(folder))
        found = validate(step.loop, Path(snapshot), Path(trained), Path(out), champion=champion)
    write_text(Path(summary), Path(out, "summary.html").read_text())
    step.note(accepted=found.accepted, gates=[to_json(gate) for gate in found.gates])
    return found


def _fetch_model(objects: Objects, version: ModelVersion, folder: Path) -> None:
    from edgeloop_components.catalog import catalog

    for name, field in MODEL_FILES.items():
        catalog.fetch_blob(objects, getattr(version, field), folder / name)


def show_metrics(found: Validation, metrics: Any) -> None:
    """Fills KFP's Metrics: each metric of all rows with the ends of its interval."""
    for metric in found.metrics:
        if not metric.slice:
            for end, value in (("", metric.value), ("_low", metric.low), ("_high", metric.high)):
                metrics.log_metric(metric.name + end, value)


def show_curves(found: Validation, curves: Any) -> None:
    """Fills KFP's ClassificationMetrics: the confusion matrix, and the ROC curve of the last class that has one."""
    classes, matrix = found.confusion.classes, found.confusion.matrix
    curves.log_confusion_matrix(list(classes), [list(row) for row in matrix])
    named = [name for name in classes if name in found.roc]
    if named:
        roc = found.roc[named[-1]]
        curves.log_roc_curve(list(roc.fpr), list(roc.tpr), list(roc.thresholds))


def compile_and_compare(step: Step, version: str, out: str) -> ParityResult:
    """Compiles the version for the step's target."""
    from edgeloop_components.compile.core import compile_model
    from edgeloop_components.runtimes import runtime_for

    parity = compile_model(step.loop, _target(step), Path(version), Path(out, "model")).parity
    _write(out, "parity.json", dumps(parity, indent=1))
    if parity.agreement is None:
        step.note(difference=parity.max_abs_difference)
    else:
        step.note(agreement=parity.agreement, exact_rows=parity.exact_rows)
    if parity.estimator_difference is not None:
        step.note(from_estimator=parity.estimator_difference)
    step.note(**runtime_for(_target(step)).facts(Path(out, "model")))
    return parity


def measure(step: Step, compiled: str, out: str) -> ResourceProfile:
    """Measures the compiled model and derives its resources, by the plan that EDGELOOP_PROFILE names: quick or full."""
    from edgeloop_components.profile.core import PLANS, profile

    name = os.environ.get("EDGELOOP_PROFILE") or "quick"
    if name not in PLANS:
        raise ValueError(f"EDGELOOP_PROFILE: expected {' or '.join(PLANS)}, got {name}")
    say = functools.partial(print, flush=True)
    found = profile(step.loop, _target(step), Path(compiled, "model"), plan=PLANS[name], say=say)
    _write(out, "profile.json", dumps(found, indent=1))
    step.note(latency_p99_ms=found.latency_p99_ms, memory_peak_mib=found.memory_peak_mib, rate_per_s=found.rate_per_s)
    return found


def enter(
    step: Step, snapshot: str, trained: str, validation: str, out: str, *, cause: str, started_by: str, now_s: float
) -> ModelVersion:
    """Registers the version; `out` becomes its model folder, from what the catalog holds.

    A run that is tried again finds the version that it made before. ValueError when that was judged otherwise.
    """
    from edgeloop_components.catalog import catalog
    from edgeloop_components.stores.objects import connect

    objects, loop = connect(), step.loop
    catalog.put_loop(objects, loop, actor=started_by or "edgeloop", why=cause, at_s=now_or(now_s))
    sources = {name: Path(trained, name) for name in MODEL_FILES}
    sources["snapshot.json"] = Path(snapshot, "snapshot.json")
    sources["validation.json"] = Path(validation, "validation.json")
    base = _unnumbered(step, snapshot, trained, validation)
    base = replace(base, cause=cause, started_by=started_by, created_s=now_or(now_s))
    made = catalog.register(objects, loop.name, lambda number: replace(base, number=number), step.run_key, sources)
    if made.state != base.state:
        raise ValueError(
            f"run {step.run_key} made {made.name} before, {made.state}; now it is {base.state}: start a new run"
        )
    _fetch_model(objects, made, Path(out))
    _write(out, "version.json", dumps(made, indent=1))
    step.note(version=made.number)
    return made


def _unnumbered(step: Step, snapshot: str, trained: str, validation: str) -> ModelVersion:
    """The version as the steps before made it; its number is the catalog's to give."""
    from edgeloop_components.validate.core import read_validation

    judged, folder = read_validation(Path(validation)), Path(trained)
    training = json.loads((folder / "training.json").read_bytes())
    return ModelVersion(
        loop=step.loop.name,
        number=1,
        state="accepted" if judged.accepted else "rejected",
        run_key=step.run_key,
        snapshot=loads(Snapshot, Path(snapshot, "snapshot.json").read_bytes()).digest,
        code=training["code"],
        parameters=training["parameters"],
        onnx=_digest(folder / "model.onnx"),
        onnx_size_bytes=(folder / "model.onnx").stat().st_size,
        reference=_digest(folder / "reference.json"),
        golden=_digest(folder / "golden.json"),
        schema_hash=loads(Reference, (folder / "reference.json").read_bytes()).schema_hash,
        metrics=judged.metrics,
        gates=judged.gates,
        champion=judged.champion,
    )


def _digest(path: Path) -> str:
    with path.open("rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"


def pack(step: Step, version: str, compiled: str, profiled: str, out: str) -> Package:
    """Writes the image into the layout that EDGELOOP_IMAGES names, and its document into the catalog and `out`.

    With a key in EDGELOOP_SIGNING_KEY the model's files and the image are signed, and its provenance is attested. The step that
    completes the images of a runtime writes the index over their platforms.
    """
    from edgeloop_components.catalog import catalog
    from edgeloop_components.package.core import package
    from edgeloop_components.packing import file_signer, finished
    from edgeloop_components.signing import configured_signer
    from edgeloop_components.stores.objects import connect

    images = os.environ.get("EDGELOOP_IMAGES")
    if not images:
        raise ValueError("where images are kept: expected a folder in EDGELOOP_IMAGES, found nothing")
    new, signer = _version(version), configured_signer()
    made = package(
        step.loop,
        new,
        _target(step),
        Path(compiled, "model"),
        Path(images),
        parity=loads(ParityResult, Path(compiled, "parity.json").read_bytes()),
        profile=loads(ResourceProfile, Path(profiled, "profile.json").read_bytes()),
        sign=file_signer(new, signer),
        sign_program=file_signer(None, signer),
        model_dir=Path(version),
    )
    made = finished(Path(images), step.loop, made, new, signer)
    catalog.put_package(connect(), made, actor=_actor(new), at_s=new.created_s)
    _write(out, "package.json", dumps(made, indent=1))
    signed = f"with {signer.public.key_id}" if signer else UNSIGNED
    step.note(image=f"{made.repository}@{made.digest}", size_bytes=made.size_bytes, signed=signed)
    return made


def roll_out(step: Step, version: str, packages: Sequence[str], out: str, *, evidence_s: float, now_s: float) -> Told:
    """Makes the rollout against the champion, keeps it in the catalog and `out`, names the candidate, tells the fleet."""
    from edgeloop_components.catalog import catalog
    from edgeloop_components.packing import with_indexes
    from edgeloop_components.rollout.core import make_rollout, read_packages, signed_ones, tell_fleet
    from edgeloop_components.signing import configured_trust
    from edgeloop_components.stores.objects import connect

    objects, name, new = connect(), step.loop.name, _version(version)
    previous, trusted = catalog.alias(objects, name, CHAMPION), configured_trust()
    before = {p.target: p for p in catalog.packages(objects, name, previous)} if previous else {}
    back, left_out = signed_ones(before, trusted)
    packed = read_packages([Path(folder) for folder in packages])
    joined = with_indexes(os.environ.get("EDGELOOP_IMAGES", ""), packed)
    wanted = make_rollout(
        step.loop,
        new,
        joined,
        previous=previous,
        previous_packages=back,
        evidence_s=evidence_s,
        created_s=now_or(now_s),
        trusted=trusted,
        lent=lent_in(os.environ.get("EDGELOOP_NODES_LEND", "")),
    )
    for package in joined:  # the packing steps have not all seen the index whole
        if package not in packed:
            catalog.put_package(objects, package, actor=_actor(new), at_s=new.created_s)
    _write(out, "rollout.json", text := dumps(wanted, indent=1))
    objects.put(catalog.rollout_key(name, new.number), text.encode())
    again = f"run {step.run_key} was tried again and went through"  # where an earlier try left the version withdrawn
    catalog.readmit(objects, name, new.number, again, actor=_actor(new), at_s=now_or(now_s))
    catalog.set_alias(objects, name, CANDIDATE, new.number, actor=_actor(new), why=new.cause, at_s=new.created_s)
    reference = loads(Reference, Path(version, "reference.json").read_bytes())
    told = tell_fleet(os.environ.get("EDGELOOP_FLEET_URL", ""), step.loop, wanted, new, reference)
    verified = f"verified with {', '.join(key.key_id for key in trusted)}" if trusted else UNVERIFIED
    step.note(told=told.why, signatures="; ".join(filter(None, (verified, left_out))))
    return told


def record(step: Step, facts: dict[str, str], *, state: str, message: str, now_s: float) -> None:
    """Records how the run ended, with `facts` about it. `state` is KFP's: SUCCEEDED, FAILED, CANCELLED.

    An accepted version of a failed run is withdrawn first, unless its rollout was written: then every target is packed.
    """
    from edgeloop_components.catalog import catalog
    from edgeloop_components.stores.objects import connect

    objects, name = connect(), step.loop.name
    made = next((v for v in catalog.versions(objects, name) if v.run_key == step.run_key), None)
    failed = state != "SUCCEEDED" or made is None
    notes = failures(objects, step.run_key) if failed else []
    whys = [f"step {n['step']} {n['target']}".strip() + f": {n['error']} (log: {n['log']})" for n in notes]
    missed = [f"{g.gate}: expected {g.expected}, got {g.got}" for g in made.gates if not g.passed] if made else []
    document: dict[str, Any] = {
        **facts,
        "at_s": now_or(now_s),
        "state": "failed" if failed else "rejected" if missed else "succeeded",
        "version": made.number if made else None,
        "reason": "; ".join((whys or [message or f"the run ended as {state}"]) if failed else missed),
    }
    step.note(outcome=document["state"])
    actor = facts["started_by"] or "edgeloop"
    if failed and made and next(objects.list(catalog.rollout_key(name, made.number)), None) is None:
        catalog.withdraw(objects, name, made.number, document["reason"], actor=actor, at_s=document["at_s"])
    catalog.record_run(objects, name, step.run_key, document, actor=actor)


def _write(folder: str, name: str, text: str) -> None:
    Path(folder).mkdir(parents=True, exist_ok=True)
    write_text(Path(folder, name), text)
