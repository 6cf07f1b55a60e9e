"""The documents that a server needs, made up for a lone ONNX file: there is no training data to say more.

Bins are the thresholds of the model's own trees, a handful of each feature, else there is one bin; all counts are zero, so
that nothing can be judged by them. Golden rows are made up, with the answers that onnxruntime gives to the file.
"""

from __future__ import annotations

import hashlib
import json
import math
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_components.compile.lone import Lone, is_distribution
from edgeloop_components.compile.rows import Range
from edgeloop_components.ingest.files import write_document
from edgeloop_components.runtimes import ModelError
from edgeloop_components.train.golden import said
from edgeloop_contracts import CalibrationMap, FeatureReference, ModelVersion, Reference, digest_of, schema_hash_of

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

__all__ = ["write_documents"]

GOLDEN_ROWS, MOST_EDGES = 48, 31
_FINEST = 2.0**-40


def write_documents(lone: Lone, folder: Path, seed: int) -> None:
    """Writes a classifier's reference.json, golden.json and version.json. ModelError when it answers no row soundly."""
    reference = _reference(lone)
    write_document(folder / "reference.json", reference)
    golden = json.dumps(_golden(lone, seed), ensure_ascii=False, allow_nan=False)
    (folder / "golden.json").write_text(golden + "\n")
    write_document(folder / "version.json", _version(lone, reference.schema_hash, folder))


def _reference(lone: Lone) -> Reference:
    features = tuple(_feature(name, known) for name, known in zip(lone.adapted.features, lone.ranges, strict=True))
    classes = lone.adapted.classes
    return Reference(
        loop=lone.name,
        schema_hash=schema_hash_of(features, classes),
        rows=0,
        features=features,
        classes=classes,
        class_counts=(0,) * len(classes),
        calibration=CalibrationMap(x=(0.0, 1.0), y=(0.0, 1.0)),
    )


def _feature(name: str, known: Range) -> FeatureReference:
    edges = _edges(known.thresholds)
    ends = edges or (known.center,)
    return FeatureReference(
        name=name,
        kind="number",
        edges=edges,
        counts=(0,) * (len(edges) + 1),
        sums=(0,) * (len(edges) + 1),
        quantum=max(_FINEST, 2.0 ** round(math.log2(known.width) - 20)),
        minimum=ends[0],
        maximum=ends[-1],
        std=known.width,
    )


def _edges(thresholds: tuple[float, ...]) -> tuple[float, ...]:
    if len(thresholds) <= MOST_EDGES:
        return thresholds
    places = [round(i * (len(thresholds) - 1) / (MOST_EDGES - 1)) for i in range(MOST_EDGES)]
    return tuple(thresholds[place] for place in places)


def _golden(lone: Lone, seed: int) -> dict[str, Any]:
    rows = lone.probes(GOLDEN_ROWS, seed).rows
    found = lone.outputs(rows)
    sound = is_distribution(found["probabilities"]) & (found["label"] >= 0)
    if not sound.any():
        raise ModelError(f"{lone.path}: it answers none of {len(rows)} rows with probabilities")
    return {
        "rows": _said(rows[sound]),
        "probabilities": _said(found["probabilities"][sound]),
        "labels": found["label"][sound].tolist(),
    }


def _said(values: Array) -> list[list[float | str | None]]:
    """Rows of values as JSON has them."""
    return [[said(value) for value in row] for row in values.tolist()]


def _version(lone: Lone, schema_hash: str, folder: Path) -> ModelVersion:
    return ModelVersion(
        loop=lone.name,
        number=lone.version,
        state="accepted",
        run_key="lone-file",
        snapshot=digest_of("no data"),
        onnx=lone.digest,
        onnx_size_bytes=lone.path.stat().st_size,
        reference=_sha256(folder / "reference.json"),
        golden=_sha256(folder / "golden.json"),
        schema_hash=schema_hash,
        cause="a lone ONNX file",
    )


def _sha256(path: Path) -> str:
    return f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
