"""Writes a model's documents as C: reference.json, golden.json and version.json of a model folder become data.c and data.h.

The native server opens no file, so all it knows of its model is compiled in: features with their bins, classes, outputs,
golden rows, and the answers that never change, as JSON that is ready to send. What those tables mean stands in
native/document.h.

Refuses documents that do not belong together, golden rows of another width, and a quantum that is not above 0.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from edgeloop_components.native.embed_tables import source_of, text_of
from edgeloop_contracts import ContractError, ModelVersion, Reference, loads
from edgeloop_contracts.codec import Contract
from edgeloop_contracts.golden import SPECIAL, GoldenTensors, Tensor, class_tensors, golden_tensors, texts_of
from edgeloop_contracts.reference import CONFIDENCE_BINS, FeatureReference
from edgeloop_contracts.report import LATENCY_EDGES_US

__all__ = ["EmbedError", "Embedded", "embed", "report_bytes"]

WINDOW_MEMORY_BYTES = 640 * 1024  # for all windows together: the server stays below 1 MiB
MOST_WINDOWS, LEAST_WINDOWS = 1000, 16
FLOAT_BYTES, INTEGER_BYTES = 17, 21  # of a number as JSON, with its comma

C = TypeVar("C", bound=Contract)


class EmbedError(ValueError):
    """A document is missing, or does not fit the others. The message names the file, what was expected and what was found."""


@dataclass(frozen=True)
class Embedded:
    """The texts of data.h (sizes) and data.c (tables)."""

    header: str
    source: str


def embed(folder: Path, software: str) -> Embedded:
    """The documents of a model folder as C. `software` is this package's version, which the server says. EmbedError.

    A folder without version.json (a model on its own) is version 1. A reference without classes is one of a model that
    answers with numbers of its own; what they are stands in its golden.json.
    """
    reference = _contract(Reference, folder / "reference.json")
    number = 1
    if (folder / "version.json").exists():
        version = _contract(ModelVersion, folder / "version.json")
        _together(version, reference)
        number = version.number
    golden = (_class_golden if reference.classes else _tensor_golden)(folder / "golden.json", reference)
    _sound(reference)
    sizes = _sizes(reference, golden, number)
    return Embedded(_header(sizes), source_of(reference, golden, _answers(reference, golden, number, software)))


def _contract(cls: type[C], path: Path) -> C:
    try:
        return loads(cls, path.read_bytes())
    except (OSError, ContractError) as error:
        raise EmbedError(f"{path.name}: {error}") from error


def _together(version: ModelVersion, reference: Reference) -> None:
    hashes = (version.schema_hash or reference.schema_hash, reference.schema_hash)
    for what, (expected, got) in {"loop": (version.loop, reference.loop), "schema_hash": hashes}.items():
        if expected != got:
            raise EmbedError(f"reference.json: {what}: expected {expected!r} as in version.json, got {got!r}")


def _sound(reference: Reference) -> None:
    if not reference.features:
        raise EmbedError("reference.json: expected at least one feature, got none")
    for feature in reference.features:
        if feature.kind == "number" and not feature.quantum > 0:
            raise EmbedError(f"reference.json: features.{feature.name}.quantum: expected > 0, got {feature.quantum}")


def _numbers(row: Sequence[Any]) -> tuple[float, ...]:
    return tuple(SPECIAL[value] if value is None or isinstance(value, str) else float(value) for value in row)


def _class_golden(path: Path, reference: Reference) -> GoldenTensors:
    """A classifier's golden rows, with probabilities and labels."""
    try:
        document = json.loads(path.read_bytes())
        rows = tuple(_numbers(row) for row in document["rows"])
        probabilities = tuple(_numbers(row) for row in document["probabilities"])
        labels = tuple((int(label),) for label in document["labels"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EmbedError(f"{path.name}: expected rows, probabilities and labels, got: {error!r}") from error
    expected = (len(rows), {len(reference.features)}, {len(reference.classes)})
    widths = ({len(row) for row in rows}, {len(row) for row in probabilities})
    if (len(labels), *widths) != expected or len(probabilities) != len(rows):
        got = f"widths {sorted(widths[0])} and {sorted(widths[1])}, {len(labels)} labels"
        raise EmbedError(
            f"{path.name}: expected rows of the reference's features and classes, as many of each, got {got}"
        )
    if not all(0 <= label < len(reference.classes) for (label,) in labels):
        raise EmbedError(f"{path.name}: labels: expected classes from 0 to {len(reference.classes) - 1}")
    given = Tensor("X", "FP32", (len(reference.features),))
    return GoldenTensors(rows, given, class_tensors(len(reference.classes)), (labels, probabilities))


def _tensor_golden(path: Path, reference: Reference) -> GoldenTensors:
    """The golden rows of a model without classes."""
    try:
        golden = golden_tensors(json.loads(path.read_bytes()))
    except (OSError, ValueError) as error:
        raise EmbedError(f"{path.name}: {error}") from error
    if golden.input.width != len(reference.features):
        expected = f"{len(reference.features)} values a row, the reference's features"
        raise EmbedError(f"{path.name}: input.shape: expected {expected}, got {golden.input.width}")
    return golden


def report_bytes(reference: Reference) -> int:
    """How long one window's report is at most, as JSON."""
    bins, latency = sum(f.bins for f in reference.features), len(LATENCY_EDGES_US) + 1
    counts = bins + len(reference.classes) + latency + 2 * CONFIDENCE_BINS
    return 4096 + 42 * counts + sum(len(text_of(f.name)) + 200 for f in reference.features)


def _sizes(reference: Reference, golden: GoldenTensors, number: int) -> Mapping[str, int]:
    features, classes = reference.features, reference.classes
    bins, sums = sum(f.bins for f in features), sum(_sums(f) for f in features)
    latency = len(LATENCY_EDGES_US) + 1
    window = 64 + 8 * (len(classes) + 2 * CONFIDENCE_BINS + latency) + 32 * len(features) + 8 * bins + 12 * (sums + 1)
    named = [f.name for f in features] + [c for f in features for c in f.categories]
    widths = {kind: sum(t.width for t in golden.outputs if t.datatype == kind) for kind in ("FP32", "INT64")}
    return {
        "FEATURES": len(features),
        "INPUT_RANK": len(golden.input.shape),
        "CLASSES": len(classes),
        "OUTPUTS": len(golden.outputs),
        "ROW_FLOATS": widths["FP32"],
        "ROW_INTEGERS": widths["INT64"],
        "BINS": bins,
        "SUMS": sums,
        "GOLDEN_ROWS": len(golden.rows),
        "VERSION": number,
        "WINDOW_S": reference.window_s,
        "WINDOWS": max(LEAST_WINDOWS, min(MOST_WINDOWS, WINDOW_MEMORY_BYTES // window)),
        "LONGEST_NAME_BYTES": max(len(name.encode()) for name in named),
        "REPORT_BYTES": report_bytes(reference),
        "ROW_BYTES": _answer_bytes(reference, golden.outputs) + len(text_of(reference.loop)) + 128,
    }


def _sums(feature: FeatureReference) -> int:
    return feature.bins if feature.kind == "number" else 0


def _answer_bytes(reference: Reference, outputs: Sequence[Tensor]) -> int:
    """How long the answer to a row is, as JSON."""
    if reference.classes:
        names = [len(text_of(name)) for name in reference.classes]
        return sum(length + 20 for length in names) + max(names)
    numbers = {"FP32": FLOAT_BYTES, "INT64": INTEGER_BYTES}
    return sum(len(text_of(t.name)) + 64 + t.width * numbers[t.datatype] for t in outputs)


def _header(sizes: Mapping[str, int]) -> str:
    lines = [f"#define {name} {size}" for name, size in sizes.items()]
    return "\n".join(["#ifndef EDGELOOP_DATA_H", "#define EDGELOOP_DATA_H", "", *lines, "", "#endif", ""])


def _metadata(reference: Reference, golden: GoldenTensors, number: int) -> dict[str, Any]:
    """GET /v2/models/<loop>, as every runtime's server answers it."""
    features = [
        {"name": f.name, "kind": f.kind, **({"categories": list(f.categories)} if f.kind == "category" else {})}
        for f in reference.features
    ]
    texts = texts_of(golden.outputs)
    return {
        "name": reference.loop,
        "versions": [str(number)],
        "platform": "edgeloop_native",
        "inputs": [golden.input.metadata()],
        "outputs": [tensor.metadata() for tensor in golden.outputs],
        "parameters": {
            "features": features,
            "classes": list(reference.classes),
            **({"texts": texts} if texts else {}),
        },
    }


def _answers(reference: Reference, golden: GoldenTensors, number: int, software: str) -> Mapping[str, str]:
    """The constant texts, by the name of their slice."""
    runs_on = {"runtime": "native", "edgeloop": software, "model": reference.loop, "model_version": str(number)}
    server = {"name": "edgeloop-node", "version": software, "extensions": ["binary_tensor_data"], "parameters": runs_on}
    kinds = [{"name": f.name, "kind": f.kind} for f in reference.features]
    return {
        "data_loop": reference.loop,
        "data_loop_json": text_of(reference.loop),
        "data_version": str(number),
        "data_schema_hash": reference.schema_hash,
        "data_software": software,
        "data_server_json": text_of(server),
        "data_model_json": text_of(_metadata(reference, golden, number)),
        "data_announce_json": f',"classes":{text_of(list(reference.classes))},"features":{text_of(kinds)}',
        "data_input_name": golden.input.name,
        "data_input_shape": f"[{', '.join(map(str, ('N', *golden.input.shape)))}]",
        "data_row_shape": " x ".join(map(str, golden.input.shape)),
        "data_output_names": ", ".join(tensor.name for tensor in golden.outputs),
    }
