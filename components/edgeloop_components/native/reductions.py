"""Reductions over axes of a row, and the normalisations that are made of them.

Each result takes the elements in row-major order, so that its bits are the same everywhere. As in onnxruntime, ReduceMax and
ReduceMin start with the first element and take another one when it compares as better: NaN stays only when it comes first.

Refuses the batch axis, which a reduction without axes means too; axes that are computed; integers but in ReduceSum, ReduceMax,
ReduceMin, ReduceProd and ReduceSumSquare.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, NamedTuple

from edgeloop_components.native.dense import row_axis
from edgeloop_components.native.elementwise import FLOATS, NUMBERS
from edgeloop_components.native.shaping import whole_axis
from edgeloop_components.native.strides import Inputs, constant_integers, contiguous, literal, loops, numbers, taken
from edgeloop_components.native.values import Value
from edgeloop_components.native.writer import Writer
from edgeloop_components.onnxgraph import Node

if TYPE_CHECKING:
    from edgeloop_components.native.operators import Operator

__all__ = ["OPERATORS"]

FLOAT = ("float32",)


class Form(NamedTuple):
    """How a reduction starts (empty: with the first element), takes an element @ into #, and ends with # and the count %."""

    start: str
    step: str
    end: str
    kinds: tuple[str, ...]


FORMS: Mapping[str, Form] = {
    "ReduceSum": Form("0", "# += @", "", NUMBERS),
    "ReduceMean": Form("0", "# += @", "# /= %", FLOATS),
    "ReduceMax": Form("", "# = @ > # ? @ : #", "", NUMBERS),
    "ReduceMin": Form("", "# = @ < # ? @ : #", "", NUMBERS),
    "ReduceProd": Form("1", "# *= @", "", NUMBERS),
    "ReduceSumSquare": Form("0", "# += @ * @", "", NUMBERS),
    "ReduceL1": Form("0", "# += __builtin_fabsf(@)", "", FLOAT),
    "ReduceL2": Form("0", "# += @ * @", "# = __builtin_sqrtf(#)", FLOAT),
    "ReduceLogSum": Form("0", "# += @", "# = el_logf(#)", FLOAT),
    "ReduceLogSumExp": Form(
        "0", "# += el_expf(@ - $)", "# = el_logf(#) + $", FLOAT
    ),  # $: the largest, 0 when not finite
}
WRAPPED = {"# += @": "+", "# *= @": "*"}


def _axes(node: Node, inputs: Inputs, value: Value) -> list[int]:
    """The row axes to reduce."""
    by_input = node.version >= (13 if node.op == "ReduceSum" else 18)
    given = inputs[1] if by_input and len(inputs) > 1 else None
    axes = constant_integers(node, given, "axes") if by_input else node.integers("axes").tolist()
    if not axes:
        raise node.refused("without axes it works along the batch axis too")
    return sorted({whole_axis(node, value, axis) for axis in axes})


def _reduce(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    node.only("axes", "keepdims", "noop_with_empty_axes")
    form = FORMS[node.op]
    value = taken(node, inputs, 1, 2)[0]
    kind = numbers(node, [value], form.kinds)
    if not value.width:
        raise node.refused("it has no values")
    axes = _axes(node, inputs, value)
    kept = [1 if axis in axes else size for axis, size in enumerate(value.shape)]
    out = writer.new(kind, tuple(kept))
    largest = ""
    if node.op == "ReduceLogSumExp":
        most = writer.new(kind, tuple(kept))
        _accumulate(writer, value, most, axes, FORMS["ReduceMax"])
        finite = f"{most.name}[i] - {most.name}[i] == 0.0f"
        writer.loop(out.width, f"{most.name}[i] = {finite} ? {most.name}[i] : 0.0f;")
        largest = most.name
    _accumulate(writer, value, out, axes, form, largest=largest)
    if form.end:
        count = literal(value.width // out.width, kind)
        end = form.end.replace("#", f"{out.name}[i]").replace("%", count).replace("$", f"{largest}[i]")
        writer.loop(out.width, f"{end};")
    if node.integer("keepdims", 1):
        return (out.alias(out.shape, value.batch_axis),)
    left = tuple(size for axis, size in enumerate(kept) if axis not in axes)
    return (out.alias(left, value.batch_axis - sum(axis < value.batch_axis for axis in axes)),)


def _accumulate(
    writer: Writer, value: Value, out: Value, axes: Sequence[int], form: Form, *, largest: str = ""
) -> None:
    source = writer.at(value)
    given = contiguous(value.shape)
    put = tuple(0 if axis in axes else step for axis, step in enumerate(contiguous(out.shape)))
    if form.start:
        writer.loop(out.width, f"{out.name}[i] = {form.start};")
    else:
        loops(writer, out.shape, (given, put), lambda i, o: [f"{out.name}[{o}] = {source}[{i}];"])
    step = _step(form.step, out.kind)

    def body(i: str, o: str) -> list[str]:
        return [
            step.replace("@", f"{source}[{i}]").replace("#", f"{out.name}[{o}]").replace("$", f"{largest}[{o}]") + ";"
        ]

    loops(writer, value.shape, (given, put), body)


def _step(step: str, kind: str) -> str:
    """Integers wrap around."""
    if kind in FLOATS or "?" in step:
        return step
    sign, what = ("*", "@") if "*=" in step else ("+", step.split("+= ")[1])
    unsigned = "uint64_t" if kind == "int64" else "uint32_t"
    what = what.replace("@", f"({unsigned})@")
    return f"# = ({kind}_t)(({unsigned})# {sign} {what})"


def _over(writer: Writer, value: Value, out: Value, count: int, *, stride: int, body: Sequence[str]) -> None:
    """Puts `body` for each group of `count` elements, `stride` apart: v and y point to its first."""
    writer.put(
        f"for (int o = 0; o < {value.width // count // stride}; ++o) for (int s = 0; s < {stride}; ++s) {{",
        f"const {value.c_type} *v = {writer.at(value)} + o * {count * stride} + s;",
        f"{out.c_type} *y = {out.name} + o * {count * stride} + s;",
        *body,
        "}",
    )


def _lp_normalization(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    node.only("axis", "p")
    (value,) = taken(node, inputs, 1, 1)
    numbers(node, [value], FLOAT)
    axis, power = row_axis(node, value, node.integer("axis", -1)), node.integer("p", 2)
    if power not in (1, 2) or not value.width:
        raise node.wrong(f"expected p of 1 or 2, found {power}")
    count, stride = value.shape[axis], math.prod(value.shape[axis + 1 :])
    out = writer.new(value.kind, value.shape)
    each = f"for (int i = 0; i < {count * stride}; i += {stride})"
    step = "__builtin_fabsf(v[i])" if power == 1 else "v[i] * v[i]"
    root = "sum" if power == 1 else "__builtin_sqrtf(sum)"
    body = ["float sum = 0;", f"{each} sum += {step};", f"const float norm = {root};"]
    _over(writer, value, out, count, stride=stride, body=[*body, f"{each} y[i] = norm == 0.0f ? 0.0f : v[i] / norm;"])
    return (out,)


def _scaled(
    writer: Writer, value: Value, count: int, scale: Value, bias: Value | None, *, epsilon: float, place: str
) -> Value:
    """(x - mean) / sqrt(variance + epsilon) * scale + bias over groups of `count`."""
    out = writer.new("float32", value.shape)
    each = f"for (int i = 0; i < {count}; ++i)"
    factor = f"{writer.at(scale)}[{place}]"
    added = "" if bias is None else f" + {writer.at(bias)}[{place}]"
    size = literal(count, "float32")
    body = [
        "float sum = 0, squares = 0;",
        f"{each} sum += v[i];",
        f"const float mean = sum / {size};",
        f"{each} squares += (v[i] - mean) * (v[i] - mean);",
        f"const float deviation = __builtin_sqrtf(squares / {size} + {literal(epsilon, 'float32')});",
        f"{each} y[i] = (v[i] - mean) / deviation * {factor}{added};",
    ]
    _over(writer, value, out, count, stride=1, body=body)
    return out


def _layer_normalization(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    node.only("axis", "epsilon", "stash_type")
    value, scale, *rest = taken(node, inputs, 2, 3)
    numbers(node, [value, scale, *rest], FLOAT)
    shape = value.shape[row_axis(node, value, node.integer("axis", -1)) :]
    if any(one.constant is None or one.shape != shape for one in (scale, *rest)) or not value.width:
        raise node.refused(f"expected a constant scale and bias of {list(shape)}")
    bias = rest[0] if rest else None
    return (_scaled(writer, value, math.prod(shape), scale, bias, epsilon=node.number("epsilon", 1e-5), place="i"),)


def _instance_normalization(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    node.only("epsilon")
    value, scale, bias = taken(node, inputs, 3, 3)
    numbers(node, [value, scale, bias], FLOAT)
    if len(value.shape) < 2 or any(one.constant is None or one.shape != value.shape[:1] for one in (scale, bias)):
        raise node.refused("expected images, and a constant scale and bias for each channel")
    count = math.prod(value.shape[1:])
    return (_scaled(writer, value, count, scale, bias, epsilon=node.number("epsilon", 1e-5), place="o"),)


OPERATORS: Mapping[tuple[str, str], Operator] = {
    **{("", op): _reduce for op in FORMS},
    ("", "InstanceNormalization"): _instance_normalization,
    ("", "LayerNormalization"): _layer_normalization,
    ("", "LpNormalization"): _lp_normalization,
}
