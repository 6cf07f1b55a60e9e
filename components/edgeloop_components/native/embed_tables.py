"""The text of data.c: a model's documents as C tables, which native/document.h declares."""

from __future__ import annotations

import json
import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgeloop_contracts import Reference
from edgeloop_contracts.golden import GoldenTensors

__all__ = ["source_of", "text_of"]

FLOAT_MAX = 3.4028234663852886e38
LEAST_INTEGER = -(2**63)  # C has no literal for it


def text_of(value: Any) -> str:
    """A value as the JSON that the server sends."""
    return json.dumps(value, separators=(",", ":"), ensure_ascii=False)


def source_of(reference: Reference, golden: GoldenTensors, texts: Mapping[str, str]) -> str:
    """data.c. `texts` are those that never change, by the name of their slice."""
    names = [f.name for f in reference.features]
    heads = [f',"label":{text_of(name)},"probabilities":{{' for name in reference.classes]
    keys = [f"{text_of(name)}:" for name in reference.classes]
    return "\n".join(
        [
            '#include "document.h"\n',
            *_feature_tables(reference),
            _table("const feature_data data_features[FEATURES]", _features(reference)),
            _table("const slice data_feature_names[FEATURES]", map(_slice, names)),
            _table("const uint32_t data_feature_order[FEATURES]", _order(names)),
            _table("const slice data_class_heads[CLASSES]", map(_slice, heads)),
            _table("const slice data_class_keys[CLASSES]", map(_slice, keys)),
            _table("const uint32_t data_input_sizes[INPUT_RANK]", map(str, golden.input.shape)),
            _table("const output_data data_outputs[OUTPUTS]", _outputs(golden)),
            *_scales(reference, golden),
            *(f"const slice {name} = {_slice(text)};" for name, text in texts.items()),
            "",
            _table("const float data_golden_rows[GOLDEN_ROWS * FEATURES]", _joined(golden.rows, _float)),
            _table("const float data_golden_floats[GOLDEN_ROWS * ROW_FLOATS]", _joined(_of(golden, "FP32"), _float)),
            _table(
                "const int64_t data_golden_integers[GOLDEN_ROWS * ROW_INTEGERS]",
                _joined(_of(golden, "INT64"), _integer),
            ),
        ]
    )


def _of(golden: GoldenTensors, datatype: str) -> list[list[Any]]:
    """The answers of one type: for each row the values of all its outputs."""
    chosen = [a for a, tensor in zip(golden.answers, golden.outputs, strict=True) if tensor.datatype == datatype]
    return [[value for answer in chosen for value in answer[row]] for row in range(len(golden.rows))]


def _joined(rows: Sequence[Sequence[Any]], literal: Any) -> Iterable[str]:
    return (", ".join(map(literal, row)) for row in rows if row)


def _outputs(golden: GoldenTensors) -> Iterable[str]:
    first = {"FP32": 0, "INT64": 0}
    for tensor in golden.outputs:
        sizes = "".join(f",{size}" for size in tensor.shape)
        whole = "true" if tensor.datatype == "INT64" else "false"
        texts = f"{_slice(tensor.name)}, {_slice(text_of(tensor.name))}, {_slice(sizes)}"
        yield f"{{{texts}, {tensor.width}, {first[tensor.datatype]}, {whole}}}"
        first[tensor.datatype] += tensor.width


def _scales(reference: Reference, golden: GoldenTensors) -> Iterable[str]:
    """Typical sizes of a model's outputs. Probabilities are compared as they are, so a classifier has no such table."""
    if not reference.classes:
        yield _table("const double data_output_scales[OUTPUTS]", (_double(tensor.scale) for tensor in golden.outputs))


def _slice(text: str) -> str:
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


def _integer(value: int) -> str:
    return "INT64_MIN" if value == LEAST_INTEGER else f"INT64_C({value})"


def _table(declaration: str, items: Iterable[str]) -> str:
    return f"{declaration} = {{\n" + "".join(f"    {item},\n" for item in items) + "};\n"


def _order(names: Sequence[str]) -> list[str]:
    return [str(i) for i in sorted(range(len(names)), key=lambda i: names[i].encode())]


def _feature_tables(reference: Reference) -> list[str]:
    tables = []
    for i, f in enumerate(reference.features):
        if f.kind == "category":
            tables.append(_table(f"static const slice categories_{i}[]", map(_slice, f.categories or ("",))))
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
        sums = f.bins if number else 0
        bins = f"{f.bins}, {first_bin}, {sums}, {first_sum}"
        yield f"{{{_slice(f.name)}, {_slice(text_of(f.name))}, {edges}, {bins}, {categories}, {limits}}}"
        first_bin, first_sum = first_bin + f.bins, first_sum + sums
