"""The documents that a server needs, made up for a lone ONNX file: there is no training data to say more.

Bins are the thresholds of the model's own trees, a handful of each feature, else there is one bin; all counts are zero, so
that nothing can be judged by them. Golden rows are made up, with the answers that onnxruntime gives to the file: of a
classifier labels and probabilities, of any other graph its outputs as they are.

Refuses a classifier that answers no row soundly, and outputs that are neither float32 nor int64 nor listed texts.
"""

from __future__ import annotations

import hashlib
import json
import math
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_components.compile.agreement import largest, typical_sizes
from edgeloop_components.compile.lone import Lone, is_distribution
from edgeloop_components.compile.rows import Range
from edgeloop_components.ingest.files import write_document
from edgeloop_components.native.embed import report_bytes
from edgeloop_components.onnxgraph import Unsupported
from edgeloop_components.runtimes import ModelError
from edgeloop_components.train.golden import said
from edgeloop_contracts import CalibrationMap, FeatureReference, ModelVersion, Reference, digest_of, schema_hash_of
from edgeloop_contracts.golden import Tensor

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

__all__ = ["check_servable", "servable", "write_documents"]

GOLDEN_ROWS, MOST_EDGES = 48, 31
GOLDEN_NUMBERS = 16_384  # of all golden rows of a graph that is no classifier: 64 KiB in its server
MOST_BYTES = 2 * 1024 * 1024  # of an answer and of a report: OUTPUT_MOST in the server's output.h
HEAD_BYTES = 64 * 1024  # what an answer has around its values, at most
VALUE_BYTES = {"FP32": 4, "INT64": 8}
DATATYPES = {"float32": "FP32", "int64": "INT64"}
_FINEST = 2.0**-40


def write_documents(lone: Lone, folder: Path, seed: int) -> None:
    """Writes reference.json, golden.json and version.json. ModelError."""
    reference = _reference(lone)
    write_document(folder / "reference.json", reference)
    made = _class_golden(lone, seed) if lone.classifier else _tensor_golden(lone, seed)
    golden = json.dumps(made, ensure_ascii=False, allow_nan=False)
    (folder / "golden.json").write_text(golden + "\n")
    write_document(folder / "version.json", _version(lone, reference.schema_hash, folder))


def servable(lone: Lone) -> bool:
    """Whether a server has room for the answer to a row, and for a report on all its values. ModelError.

    A classifier is served in any case.
    """
    return max(_longest(lone)) <= MOST_BYTES


def check_servable(lone: Lone) -> None:
    """ModelError, with the numbers, for what has no server."""
    answer, report = _longest(lone)
    if max(answer, report) > MOST_BYTES:
        raise ModelError(
            f"{lone.path}: expected rows that a server can answer and count in {MOST_BYTES} bytes each, found an answer of "
            f"{answer} and a report of {report} bytes; a program that predicts is made by: edgeloop model compile"
        )


def _longest(lone: Lone) -> tuple[int, int]:
    """Bytes of an answer to a row and of a report, at most; of a classifier nothing that counts here."""
    if lone.classifier:
        return 0, 0
    answer = sum(tensor.width * VALUE_BYTES[tensor.datatype] for tensor in _tensors(lone, _one_answer(lone)))
    return answer + HEAD_BYTES, report_bytes(_reference(lone))


def _one_answer(lone: Lone) -> Mapping[str, Array]:
    return lone.outputs(lone.probes(1, 0).rows[:1])


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


def _tensors(lone: Lone, answers: Mapping[str, Array]) -> list[Tensor]:
    """The outputs as a server describes them."""
    return [_tensor(lone, name, values) for name, values in answers.items()]


def _tensor(lone: Lone, name: str, values: Array) -> Tensor:
    texts: tuple[str, ...] = ()
    if values.dtype.kind in "OUS":
        texts = _texts(lone, name)
    elif values.dtype.name not in DATATYPES:
        known = ", ".join(DATATYPES)
        raise ModelError(f"{lone.path}: output {name!r}: expected {known} or text to serve, found {values.dtype.name}")
    return Tensor(name, DATATYPES.get(values.dtype.name, "INT64"), tuple(values.shape[1:]), texts)


def _texts(lone: Lone, name: str) -> tuple[str, ...]:
    """The texts that an output may give, as the C code numbers them."""
    try:
        return lone.emitted().texts[name]
    except (Unsupported, KeyError) as error:
        raise ModelError(f"{lone.path}: output {name!r}: expected texts that the graph lists, found others") from error


def _tensor_golden(lone: Lone, seed: int) -> dict[str, Any]:
    """Rows, and what the graph's outputs are and answer, as edgeloop_contracts.golden reads it."""
    width = len(lone.adapted.features) + sum(tensor.width for tensor in _tensors(lone, _one_answer(lone)))
    rows = lone.probes(min(GOLDEN_ROWS, max(1, GOLDEN_NUMBERS // width)), seed).rows
    answers, terms = lone.outputs(rows), lone.terms(rows)
    sizes = typical_sizes(answers, terms)
    sure = _sure(answers, terms, sizes)
    shape = [int(size or 1) for size in (lone.graph.input.shape or ())[1:]]
    return {
        "rows": _said(rows[sure]),
        "input": {"name": lone.graph.input.name, "shape": shape},
        "outputs": [
            _answered(tensor, answers[tensor.name][sure], sizes.get(tensor.name, 1.0))
            for tensor in _tensors(lone, answers)
        ],
    }


def _sure(answers: Mapping[str, Array], terms: Mapping[str, Array], sizes: Mapping[str, float]) -> Array:
    """Which rows are held by their own answer and the output's size: a server knows no sizes of terms, row by row."""
    import numpy as np

    kept = np.ones(len(next(iter(answers.values()))), dtype=np.bool_)
    for name, found in terms.items():
        kept &= found <= np.maximum(largest(answers[name].reshape(len(found), -1)), sizes[name])
    return kept


def _answered(tensor: Tensor, values: Array, size: float) -> dict[str, Any]:
    texts = {"texts": list(tensor.texts)} if tensor.texts else {}
    scale = {"scale": size} if tensor.datatype == "FP32" else {}
    place = {text: number for number, text in enumerate(tensor.texts)}
    flat = values.reshape(len(values), tensor.width)
    data = [[place[str(text)] for text in row] for row in flat.tolist()] if texts else _said(flat)
    return {
        "name": tensor.name,
        "datatype": tensor.datatype,
        "shape": list(tensor.shape),
        **scale,
        **texts,
        "data": data,
    }


def _class_golden(lone: Lone, seed: int) -> dict[str, Any]:
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
