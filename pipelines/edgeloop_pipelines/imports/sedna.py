"""Translates Sedna's IncrementalLearningJob, with its Dataset and Models, into a loop.

A pure function of documents. Every field of every document ends in one of two lists: what became of it, or what to do instead.
Fields of loop.yaml that Sedna does not tell (its datasets name no columns) get a value that must be looked at: the open ones.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field, replace
from typing import Any

from edgeloop_contracts import Loop, Target
from edgeloop_contracts.loop import Budget, DataSource, LoopMetadata, NodeSelector, Train, Validate
from edgeloop_pipelines.imports import sedna_parts as parts
from edgeloop_pipelines.imports.documents import Document, DocumentError, get, leaves
from edgeloop_pipelines.imports.sedna_fields import UNKNOWN, advice_for

__all__ = ["Columns", "Imported", "Left", "translate"]

API, JOB = "sedna.io/v1alpha1", "IncrementalLearningJob"


@dataclass(frozen=True)
class Columns:
    """What the data's columns mean, which Sedna does not say; empty: not known."""

    label: str = ""
    features: tuple[str, ...] = ()
    time: str = ""
    node: str = ""


@dataclass(frozen=True)
class Left:
    """A field without counterpart: where it stands (`path` '': the whole object), what it holds, and what to do instead."""

    file: str
    line: int
    object: str
    path: str
    value: Any
    do: str


@dataclass(frozen=True)
class Imported:
    """The loop, what became of which field (path in Sedna: path in loop.yaml), what is open, and what is left."""

    loop: Loop
    mapped: Mapping[str, str]
    open: Mapping[str, str] = field(default_factory=dict)
    left: tuple[Left, ...] = ()


def translate(
    documents: Sequence[Document], *, job: str = "", columns: Columns = Columns(), platform: str = ""
) -> Imported:
    """The loop of a job. DocumentError when there is no job, several and none is named, or one of another API version."""
    chosen = _job(documents, job)
    dataset = _referenced(documents, "Dataset", get(chosen.value, "spec.dataset.name"))
    part = parts.Part()
    loop = Loop(
        metadata=LoopMetadata(name=parts.name_of(chosen.name)),
        data=_data(chosen, dataset, columns, part),
        train=Train(**parts.training(chosen, part)),
        validate=Validate(**parts.validation(chosen, part)),
        retrain=parts.retraining(chosen, part),
        targets=(_target(chosen, platform, part),),
    )
    mapped = {f"{chosen.kind} metadata.name": "metadata.name", **part.mapped}
    return Imported(loop, mapped, part.open, tuple(_left(documents, chosen, dataset, part)))


def _job(documents: Sequence[Document], name: str) -> Document:
    jobs = [each for each in documents if each.kind == JOB and name in ("", each.name)]
    if not jobs:
        found = ", ".join(sorted({f"{each.kind or 'no kind'} {each.name}".strip() for each in documents})) or "nothing"
        hint = "edgeloop imports IncrementalLearningJobs; see --job for their names" if name else ""
        raise DocumentError(f"expected an {JOB}{f' called {name}' if name else ''}, found {found}", hint)
    if len(jobs) > 1:
        raise DocumentError(
            f"expected one {JOB}, found {', '.join(each.name for each in jobs)}",
            "say which with --job; one loop.yaml a job",
        )
    if jobs[0].value.get("apiVersion") != API:
        raise DocumentError(f"{jobs[0].file}: expected apiVersion {API}, found {jobs[0].value.get('apiVersion')}")
    return jobs[0]


def _referenced(documents: Sequence[Document], kind: str, name: Any) -> Document | None:
    return next((each for each in documents if each.kind == kind and each.name == name), None)


def _data(job: Document, dataset: Document | None, columns: Columns, part: parts.Part) -> DataSource:
    source = parts.source(job, dataset, part)
    if not columns.label:
        part.open["data.label"] = "Sedna's datasets name no columns: say which one the model shall predict (--label)"
    if not columns.features:
        part.open["data.features"] = "say which columns the model sees (--feature, or --data with a sample of the data)"
    return DataSource(
        source=source,
        label=columns.label or "label",
        features=columns.features or ("feature_1",),
        time=columns.time,
        node=columns.node,
    )


def _target(job: Document, platform: str, part: parts.Part) -> Target:
    group, labels = parts.nodes(job, part)
    known = parts.platform(job, platform, part)
    target = Target(name=group if group != "model" else "edge", nodes=NodeSelector(group=group, labels=labels))
    return replace(target, platform=known, budget=Budget(**parts.budget(job, part)))


def _left(documents: Sequence[Document], job: Document, dataset: Document | None, part: parts.Part) -> list[Left]:
    """Every field of the job and of what it names that did not become something else; other documents as a whole."""
    models = {get(job.value, f"spec.{path}") for path in ("initialModel.name", "deploySpec.model.name")}
    models.add(get(job.value, "spec.evalSpec.initialEvalModel.name"))
    found: dict[tuple[str, str, str, str], Left] = {}
    for document in documents:
        if (
            document is not job
            and document is not dataset
            and not (document.kind == "Model" and document.name in models)
        ):
            key = (document.file, document.kind, document.name, "")
            do = f"the job {job.name} does not name it; it is left out"
            found[key] = Left(document.file, document.line("kind"), _called(document), "", None, do)
            continue
        for path, value in leaves(document.value):
            named = part.advice(document, path) or advice_for(document.kind, path)
            if named[1] and not part.is_mapped(document, path):
                shown = value if named[0] == path else None
                key = (document.file, document.kind, document.name, named[0])
                found.setdefault(
                    key, Left(document.file, document.line(named[0]), _called(document), named[0], shown, named[1])
                )
    return sorted(found.values(), key=lambda left: left.do == UNKNOWN)


def _called(document: Document) -> str:
    return f"{document.kind} {document.name}".strip()
