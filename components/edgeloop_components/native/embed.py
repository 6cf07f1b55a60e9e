"""Writes a model's documents as C: reference.json, golden.json and version.json of a model folder become data.c and data.h.

The native server opens no file, so all it knows of its model is compiled in: features with their bins, classes, golden rows,
and the answers that never change, as JSON that is ready to send. What those tables mean stands in native/document.h.

Refuses documents that do not belong together, golden rows of another width, and a quantum that is not above 0.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from edgeloop_contracts import ContractError, ModelVersion, Reference, loads
from edgeloop_contracts.codec import Contract
from edgeloop_contracts.reference import CONFIDENCE_BINS, FeatureReference
from edgeloop_contracts.report import LATENCY_EDGES_US

__all__ = ["EmbedError", "Embedded", "embed"]

WINDOW_MEMORY_BYTES = 640 * 1024  # for all windows together: the server stays below 1 MiB
MOST_WINDOWS, LEAST_WINDOWS = 1000, 16
FLOAT_MAX = 3.4028234663852886e38
SPECIAL = {None: math.nan, "inf": math.inf, "-inf": -math.inf}

C = TypeVar("C", bound=Contract)


class EmbedError(ValueError):
    """A document is missing, or does not fit the others. The message names the file, what was expected and what was found."""


@dataclass(frozen=True)
class Embedded:
    """The texts of data.h (sizes) and data.c (tables)."""

    header: str
    source: str


@dataclass(frozen=True)
class _Golden:
    rows: tuple[tuple[float, ...], ...]
    probabilities: tuple[tuple[float, ...], ...]
    labels: tuple[int, ...]


def embed(folder: Path, software: str) -> Embedded:
    """The documents of a model folder as C. `software` is this package's version, which the server says. EmbedError.

    A folder without version.json (a model on its own) is version 1.
    """
    reference = _contract(Reference, folder / "reference.json")
    number = 1
    if (folder / "version.json").exists():
        version = _contract(ModelVersion, folder / "version.json")
        _together(version, reference)
        number = version.number
    golden = _golden(folder / "golden.json", reference)
    _sound(reference)
    sizes = _sizes(reference, golden, number)
    return Embedded(_header(sizes), _source(reference, golden, number, software))


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
    if not reference.features or not reference.classes:
        raise EmbedError("reference.json: expected at least one feature and one class, got none")
    for feature in reference.features:
        if feature.kind == "number" and not feature.quantum > 0:
            raise EmbedError(f"reference.json: features.{feature.name}.quantum: expected > 0, got {feature.quantum}")


def _numbers(row: Sequence[Any]) -> tuple[float, ...]:
    return tuple(SPECIAL[value] if value is None or isinstance(value, str) else float(value) for value in row)


def _golden(path: Path, reference: Reference) -> _Golden:
    try:
        document = json.loads(path.read_bytes())
        rows = tuple(_numbers(row) for row in document["rows"])
        probabilities = tuple(_numbers(row) for row in document["probabilities"])
        golden = _Golden(rows, probabilities, tuple(int(label) for label in document["labels"]))
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise EmbedError(f"{path.name}: expected rows, probabilities and labels, got: {error!r}") from error
    expected = (len(golden.rows), {len(reference.features)}, {len(reference.classes)})
    widths = ({len(row) for row in golden.rows}, {len(row) for row in golden.probabilities})
    if (len(golden.labels), *widths) != expected or len(golden.probabilities) != len(golden.rows):
        got = f"widths {sorted(widths[0])} and {sorted(widths[1])}, {len(golden.labels)} labels"
        raise EmbedError(
            f"{path.name}: expected rows of the reference's features and classes, as many of each, got {got}"
        )
    if not all(0 <= label < len(reference.classes) for label in golden.labels):
        raise EmbedError(f"{path.name}: labels: expected classes from 0 to {len(reference.classes) - 1}")
    return golden


def _sizes(reference: Reference, golden: _Golden, number: int) -> Mapping[str, int]:
    features, classes = reference.features, reference.classes
    bins, sums = sum(f.bins for f in features), sum(_sums(f) for f in features)
    latency = len(LATENCY_EDGES_US) + 1
    window = 64 + 8 * (len(classes) + 2 * CONFIDENCE_BINS + latency) + 32 * len(features) + 8 * bins + 12 * (sums + 1)
    named = [f.name for f in features] + [c for f in features for c in f.categories]
    class_bytes = sum(len(_json(name)) + 20 for name in classes)
    report = (
        4096
        + 42 * (bins + len(classes) + latency + 2 * CONFIDENCE_BINS)
        + sum(len(_json(f.name)) + 200 for f in features)
    )
    return {
        "FEATURES": len(features),
        "CLASSES": len(classes),
        "BINS": bins,
        "SUMS": sums,
        "GOLDEN_ROWS": len(golden.rows),
        "VERSION": number,
        "WINDOW_S": reference.window_s,
        "WINDOWS": max(LEAST_WINDOWS, min(MOST_WINDOWS, WINDOW_MEMORY_BYTES // window)),
        "LONGEST_NAME_BYTES": max(len(name.encode()) for name in named),
        "REPORT_BYTES": report,  # at most, of one window as JSON
        "ROW_BYTES": class_bytes + max(len(_json(name)) for name in classes) + len(_json(reference.loop)) + 128,
    }


def _sums(feature: FeatureReference) -> int:
    return feature.bins if feature.kind == "number" else 0


def _header(sizes: Mapping[str, int]) -> str:
    lines = [f"#define {name} {size}" for name, size in sizes.items()]
    return "\n".join(["#ifndef EDGELOOP_DATA_H", "#define EDGELOOP_DATA_H", "", *lines, "", "#endif", ""])


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def _text(text: str) -> str:
    """A C slice of a text. Bytes are octal escapes of three digits where C could read them otherwise."""
    plain = "".join(chr(b) if 32 <= b < 127 and chr(b) not in '"\\?' else f"\\{b:03o}" for b in text.encode())
    return f'{{"{plain}", {len(text.encode())}}}'


def _double(value: float) -> str:
    if math.isinf(value):
        return "__builtin_inf()" if value > 0 else "-__builtin_inf()"
    return '__builtin_nan("")' if math.isnan(value) else value.hex()


def _float(value: float) -> str:
    if math.isinf(value) or math.isnan(value) or abs(value) > FLOAT_MAX:
        return f"(float)({_double(value)})"
    return f"(float){value.hex()}"


def _table(declaration: str, items: Iterable[str]) -> str:
    return f"{declaration} = {{\n" + "".join(f"    {item},\n" for item in items) + "};\n"


def _order(names: Sequence[str]) -> list[str]:
    return [str(i) for i in sorted(range(len(names)), key=lambda i: names[i].encode())]


def _feature_tables(reference: Reference) -> list[str]:
    tables = []
    for i, f in enumerate(reference.features):
        if f.kind == "category":
            tables.append(_table(f"static const slice categories_{i}[]", map(_text, f.categories or ("",))))
            tables.append(_table(f"static const uint32_t order_{i}[]", _order(f.categories) or ["0"]))
        else:
            tables.append(_table(f"static const double edges_{i}[]", map(_double, f.edges or (0.0,))))
    return tables


def _features(reference: Reference) -> Iterable[str]:
    first_bin = first_sum = 0
    for i, f in enumerate(reference.features):
        number = f.kind == "number"
        edges = f"edges_{i}, {len(f.edges)}" if number else "0, 0"
        categories = "0, 0, 0" if number else f"categories_{i}, order_{i}, {len(f.categories)}"
        limits = ", ".join(_double(v) for v in (f.quantum, f.minimum, f.maximum))
        bins = f"{f.bins}, {first_bin}, {_sums(f)}, {first_sum}"
        yield f"{{{_text(f.name)}, {_text(_json(f.name))}, {edges}, {bins}, {categories}, {limits}}}"
        first_bin, first_sum = first_bin + f.bins, first_sum + _sums(f)


def _metadata(reference: Reference, number: int) -> dict[str, Any]:
    """GET /v2/models/<loop>, as every runtime's server answers it."""
    features = [
        {"name": f.name, "kind": f.kind, **({"categories": list(f.categories)} if f.kind == "category" else {})}
        for f in reference.features
    ]
    return {
        "name": reference.loop,
        "versions": [str(number)],
        "platform": "edgeloop_native",
        "inputs": [{"name": "X", "datatype": "FP32", "shape": [-1, len(reference.features)]}],
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, len(reference.classes)]},
        ],
        "parameters": {"features": features, "classes": list(reference.classes)},
    }


def _answers(reference: Reference, number: int, software: str) -> Mapping[str, str]:
    """The constant texts, by the name of their slice."""
    runs_on = {"runtime": "native", "edgeloop": software, "model": reference.loop, "model_version": str(number)}
    server = {"name": "edgeloop-node", "version": software, "extensions": ["binary_tensor_data"], "parameters": runs_on}
    kinds = [{"name": f.name, "kind": f.kind} for f in reference.features]
    return {
        "data_loop": reference.loop,
        "data_loop_json": _json(reference.loop),
        "data_version": str(number),
        "data_schema_hash": reference.schema_hash,
        "data_software": software,
        "data_server_json": _json(server),
        "data_model_json": _json(_metadata(reference, number)),
        "data_announce_json": f',"classes":{_json(list(reference.classes))},"features":{_json(kinds)}',
    }


def _source(reference: Reference, golden: _Golden, number: int, software: str) -> str:
    names = [f.name for f in reference.features]
    heads = [f',"label":{_json(name)},"probabilities":{{' for name in reference.classes]
    flat: Callable[[Sequence[Sequence[float]]], Iterable[str]] = lambda rows: (  # noqa: E731
        ", ".join(map(_float, row)) for row in rows
    )
    return "\n".join(
        [
            '#include "document.h"\n',
            *_feature_tables(reference),
            _table("const feature_data data_features[FEATURES]", _features(reference)),
            _table("const slice data_feature_names[FEATURES]", map(_text, names)),
            _table("const uint32_t data_feature_order[FEATURES]", _order(names)),
            _table("const slice data_class_heads[CLASSES]", map(_text, heads)),
            _table("const slice data_class_keys[CLASSES]", (_text(f"{_json(name)}:") for name in reference.classes)),
            *(f"const slice {name} = {_text(text)};" for name, text in _answers(reference, number, software).items()),
            "",
            _table("const float data_golden_rows[GOLDEN_ROWS * FEATURES]", flat(golden.rows)),
            _table("const float data_golden_probabilities[GOLDEN_ROWS * CLASSES]", flat(golden.probabilities)),
            _table("const uint32_t data_golden_labels[GOLDEN_ROWS]", map(str, golden.labels)),
        ]
    )
