"""Linear models and scalers of ai.onnx.ml: Scaler, Normalizer, LinearClassifier, LinearRegressor.

Refuses inputs that are not rows of numbers, and attributes whose lengths do not fit the row.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgeloop_components.native.dense import layer
from edgeloop_components.native.scores import label_line, labels, transform_of, transformed
from edgeloop_components.native.strides import Inputs, taken
from edgeloop_components.native.values import Value
from edgeloop_components.native.writer import Writer
from edgeloop_components.onnxgraph import Node

if TYPE_CHECKING:
    from edgeloop_components.native.operators import Operator

__all__ = ["OPERATORS", "float_row"]

NUMBERS = ("float32", "float64", "int64", "int32")


def float_row(node: Node, inputs: Inputs, writer: Writer) -> tuple[str, int]:
    """The C array with the one input as floats, and its width."""
    (value,) = taken(node, inputs, 1, 1)
    if value.texts is not None or value.kind not in NUMBERS or len(value.shape) != 1 or not value.width:
        raise node.refused(f"expected rows of numbers [N, features], found {value.kind} rows {list(value.shape)}")
    if value.kind == "float32":
        return writer.at(value), value.width
    floats = writer.new("float32", value.shape)
    writer.loop(value.width, f"{floats.name}[i] = (float){writer.at(value)}[i];")
    return floats.name, value.width


def _scaler(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    node.only("offset", "scale")
    (value,) = taken(node, inputs, 1, 1)
    offset, scale = node.numbers("offset"), node.numbers("scale")
    if value.texts is not None or value.kind not in NUMBERS or len(value.shape) != 1:
        raise node.refused(f"expected rows of numbers, found {value.kind} rows {list(value.shape)}")
    if len(offset) != len(scale) or len(scale) not in (1, value.width):
        raise node.wrong(f"expected 1 or {value.width} offsets and scales, found {len(offset)} and {len(scale)}")
    out = writer.new("float32", value.shape)
    place = "[i]" if len(scale) > 1 else "[0]"
    factors = f"{writer.table(offset)}{place}) * {writer.table(scale)}{place}"
    middle = "double" if value.kind == "float64" else "float"
    writer.loop(value.width, f"{out.name}[i] = (float)((({middle}){writer.at(value)}[i] - {factors});")
    return (out,)


def _normalizer(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    node.only("norm")
    norm = node.text("norm", "MAX")
    if norm not in NORMS:
        raise node.refused(f"the norm {norm[:40]!r} is not supported")
    source, width = float_row(node, inputs, writer)
    out = writer.new("float32", (width,))
    start, step, result = (part.format(v=f"{source}[i]") for part in NORMS[norm])
    writer.put(f"float n = {start};")
    writer.loop(width, step)
    writer.loop(width, f"{out.name}[i] = n != 0 ? {result} : {source}[i];")
    return (out,)


NORMS = {  # where it starts, what each value does to it, and what a value becomes
    "MAX": ("-0x1.fffffep+127f", "n = n < {v} ? {v} : n;", "{v} / n"),
    "L1": ("0", "n += {v} < 0 ? -{v} : {v};", "{v} / n"),
    "L2": ("0", "n += {v} * {v};", "({v} < 0 ? -__builtin_sqrtf({v} * {v} / n) : __builtin_sqrtf({v} * {v} / n))"),
}


def _regressor(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    node.only("coefficients", "intercepts", "post_transform", "targets")
    source, width = float_row(node, inputs, writer)
    targets, coefficients, intercepts = (
        node.integer("targets", 1),
        node.numbers("coefficients"),
        node.numbers("intercepts"),
    )
    transform = transform_of(node)
    if targets < 1 or len(coefficients) != targets * width:
        raise node.wrong(f"expected {targets} x {width} coefficients, found {len(coefficients)}")
    if targets == 1 and transform != "NONE":
        raise node.refused(f"the post_transform {transform} of one target is not supported")
    out = writer.new("float32", (targets,))
    layer(
        writer, out, source, coefficients.reshape(targets, width).T, intercepts if len(intercepts) == targets else None
    )
    writer.put(*transformed(transform, out.name, targets))
    return (out,)


def _classifier(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    node.only("classlabels_ints", "classlabels_strings", "coefficients", "intercepts", "multi_class", "post_transform")
    source, width = float_row(node, inputs, writer)
    coefficients, intercepts = node.numbers("coefficients"), node.numbers("intercepts")
    rows = len(intercepts)
    known, texts = labels(node, "classlabels_ints", 0)
    if not rows or len(coefficients) != rows * width or len(known) != max(rows, 2):
        sizes = f"{len(coefficients)} coefficients, {rows} intercepts and {len(known)} labels"
        raise node.wrong(f"expected coefficients of {width} features and labels for each intercept, found {sizes}")
    weights = coefficients.reshape(rows, width).T
    label, out = writer.new("int64", (), texts), writer.new("float32", (max(rows, 2),))
    if rows == 1:
        _one_row(node, writer, (label, out, known), (source, weights, intercepts))
    else:
        layer(writer, out, source, weights, intercepts)
        writer.put("int best = 0;")
        writer.loop(rows - 1, f"if ({out.name}[i + 1] > {out.name}[best]) best = i + 1;")
        writer.put(label_line(writer, label, known, "best"), *transformed(transform_of(node), out.name, rows))
    return label, out


def _one_row(node: Node, writer: Writer, results: tuple[Value, Value, list[int]], sums: tuple[str, Any, Any]) -> None:
    """Two classes from one sum: 1 - sum and sum, as onnxruntime has it, for all transforms but LOGISTIC."""
    label, out, known = results
    transform, (source, weights, intercepts) = transform_of(node), sums
    if transform == "PROBIT":
        raise node.refused("the post_transform PROBIT of one sum for two classes is not supported")
    layer(writer, Value("float32", (1,), f"({out.name} + 1)"), source, weights, intercepts)
    writer.put(f"const float sum = {out.name}[1];", label_line(writer, label, known, "sum > 0"))
    if transform == "LOGISTIC":
        writer.put(f"{out.name}[0] = el_logistic(-sum);", f"{out.name}[1] = el_logistic(sum);")
    else:
        writer.put(f"{out.name}[0] = 1 - sum;")


OPERATORS: Mapping[tuple[str, str], Operator] = {
    ("ai.onnx.ml", "LinearClassifier"): _classifier,
    ("ai.onnx.ml", "LinearRegressor"): _regressor,
    ("ai.onnx.ml", "Normalizer"): _normalizer,
    ("ai.onnx.ml", "Scaler"): _scaler,
}
