"""Dense layers, and what ends a classifier: MatMul, Gemm, Softmax, LogSoftmax, ArgMax, ArgMin.

Each output's sum starts with its bias and takes the inputs in their order; the inner loop runs over outputs, so that
compilers make vectors of it without changing a sum. Weights lie as [inputs][outputs].
"""

from __future__ import annotations

import math
from typing import TYPE_CHECKING, Any

from edgeloop_components.native.values import Value
from edgeloop_components.native.writer import Writer
from edgeloop_components.onnxgraph import Node

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["OPERATORS", "layer", "row_axis", "softmax_lines"]

Inputs = tuple["Value | None", ...]
BLOCK = 32  # outputs whose sums are kept in registers


def taken(node: Node, inputs: Inputs, least: int, most: int) -> list[Value]:
    """The inputs, of which `least` must be there. ModelError."""
    found = [value for value in inputs if value is not None]
    if len(found) != len(inputs) or not least <= len(found) <= most:
        raise node.wrong(f"expected {least} to {most} inputs, found {len(found)}")
    return found


def row_axis(node: Node, value: Value, axis: int, *, past_end: int = 0) -> int:
    """The axis of the row for an axis of the tensor. Unsupported for the batch axis, ModelError when out of range."""
    place = axis + value.rank + past_end if axis < 0 else axis
    if not 0 <= place < value.rank + past_end:
        raise node.wrong(f"expected an axis of {value.rank}, found {axis}")
    if place == 0:
        raise node.refused("it works along the batch axis")
    return place - 1


def _floats(node: Node, *values: Value) -> str:
    kinds = {value.kind for value in values}
    if len(kinds) != 1 or not kinds <= {"float32", "float64"}:
        raise node.refused(f"expected inputs of float32, found {', '.join(sorted(kinds))}")
    return kinds.pop()


def layer(writer: Writer, out: Value, source: str, weights: npt.NDArray[Any], start: npt.NDArray[Any] | None) -> None:
    """Puts out = start + source @ weights, for each row of `weights.shape[0]` values in `source`."""
    inputs, outputs = weights.shape
    name = writer.table(weights, out.kind)
    bias = None if start is None else writer.table(start, out.kind)
    rows = out.width // outputs
    writer.put(f"for (int r = 0; r < {rows}; ++r) {{")
    writer.put(f"    const {out.c_type} *v = {source} + r * {inputs}; {out.c_type} *y = {out.name} + r * {outputs};")
    whole = outputs - outputs % BLOCK
    if whole:
        head = f"    for (int j = 0; j < {whole}; j += {BLOCK}) {{" if whole > BLOCK else "    { const int j = 0;"
        writer.put(head, *_block(out.c_type, name, bias, weights.shape, BLOCK), "    }")
    if outputs > whole:
        block = _block(out.c_type, name, bias, weights.shape, outputs - whole)
        writer.put(f"    {{ const int j = {whole};", *block, "    }")
    writer.put("}")


def _block(c_type: str, weights: str, bias: str | None, sizes: tuple[int, int], count: int) -> list[str]:
    inputs, outputs = sizes
    each = f"for (int k = 0; k < {count}; ++k)"
    start = f"{bias}[j + k]" if bias else "0"
    return [
        f"        {c_type} sums[{count}];",
        f"        {each} sums[k] = {start};",
        f"        for (int i = 0; i < {inputs}; ++i)",
        f"            {each} sums[k] += v[i] * {weights}[i * {outputs} + j + k];",
        f"        {each} y[j + k] = sums[k];",
    ]


def _matmul(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    left, right = taken(node, inputs, 2, 2)
    kind = _floats(node, left, right)
    if right.constant is not None and right.rank in (1, 2) and left.shape:
        weights = right.constant.reshape(right.shape[0], -1)
        if left.shape[-1] != weights.shape[0] or not weights.size:
            raise node.wrong(f"expected rows of {weights.shape[0]} values, found {list(left.shape)}")
        out = writer.new(kind, (*left.shape[:-1], *right.shape[1:]))
        layer(writer, out, writer.at(left), weights, None)
        return (out,)
    return (_product(node, left, right, writer),)


def _product(node: Node, left: Value, right: Value, writer: Writer) -> Value:
    """Matrices on both sides that vary, or a constant one on the left."""
    alike = left.constant is None and right.constant is None and left.shape[:-2] == right.shape[:-2]
    if min(len(left.shape), len(right.shape)) < 2 or not (alike or (left.constant is not None and left.rank == 2)):
        raise node.refused(f"a product of {list(left.shape)} and {list(right.shape)} a row is not supported")
    (a, k), (k_right, b) = left.shape[-2:], right.shape[-2:]
    if k != k_right:
        raise node.wrong(f"expected matrices that fit, found {list(left.shape)} and {list(right.shape)}")
    out = writer.new(left.kind, (*right.shape[:-2], a, b))
    step = a * k if alike else 0
    writer.put(
        f"for (int r = 0; r < {math.prod(right.shape[:-2])}; ++r)",
        f"    for (int i = 0; i < {a}; ++i) {{",
        f"        {out.c_type} *y = {out.name} + (r * {a} + i) * {b};",
        f"        for (int j = 0; j < {b}; ++j) y[j] = 0;",
        f"        for (int k = 0; k < {k}; ++k)",
        f"            for (int j = 0; j < {b}; ++j)",
        f"                y[j] += {writer.at(left)}[r * {step} + i * {k} + k] * {writer.at(right)}[(r * {k} + k) * {b} + j];",
        "    }",
    )
    return out


def _gemm(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    import numpy as np

    node.only("alpha", "beta", "transA", "transB", "broadcast")
    found = taken(node, inputs, 2, 3)
    kind = _floats(node, *found)
    rows, right = found[0], found[1]
    if node.integer("transA", 0) or right.constant is None or len(rows.shape) != 1 or right.rank != 2:
        raise node.refused("only rows [N, inputs] times a constant matrix are supported")
    weights = right.constant.T if node.integer("transB", 0) else right.constant
    if weights.shape[0] != rows.shape[0] or not weights.size:
        raise node.wrong(f"expected rows of {weights.shape[0]} values, found {list(rows.shape)}")
    weights = weights * np.dtype(kind).type(node.number("alpha", 1.0))
    out = writer.new(kind, (weights.shape[1],))
    beta = np.dtype(kind).type(node.number("beta", 1.0))
    added = found[2] if len(found) == 3 else None
    start = _start(node, added, weights.shape[1]) * beta if added is not None and added.constant is not None else None
    layer(writer, out, writer.at(rows), weights, start)
    if added is not None and added.constant is None:
        _add_row(node, writer, out, added, float(beta))
    return (out,)


def _start(node: Node, added: Value, width: int) -> Any:
    """The constant third input, one value an output."""
    import numpy as np

    assert added.constant is not None
    try:
        return np.broadcast_to(added.constant, (1, width))[0]
    except ValueError:
        raise node.wrong(f"expected {width} values to add, found {list(added.shape)}") from None


def _add_row(node: Node, writer: Writer, out: Value, added: Value, beta: float) -> None:
    if added.shape not in (out.shape, (1,)):
        raise node.refused(f"expected {list(out.shape)} values a row to add, found {list(added.shape)}")
    place = "i" if added.shape == out.shape else "0"
    factor = f"({out.c_type}){beta.hex()} * " if beta != 1.0 else ""
    writer.loop(out.width, f"{out.name}[i] += {factor}{writer.at(added)}[{place}];")


def softmax_lines(c_type: str, source: str, out: str, count: int, stride: int = 1, *, log: bool = False) -> list[str]:
    """Statements for the softmax of `count` values, `stride` apart; `source` and `out` are pointers."""
    at = "[i]" if stride == 1 else f"[i * {stride}]"
    each = f"for (int i = 0; i < {count}; ++i)"
    exp, logarithm = ("el_expf", "el_logf") if c_type == "float" else ("el_exp", "el_log")
    largest = [
        f"{c_type} largest = {source}[0], sum = 0;",
        f"{each} if ({source}{at} > largest) largest = {source}{at};",
    ]
    if log:
        sums = [f"{each} sum += {exp}({source}{at} - largest);", f"sum = {logarithm}(sum);"]
        return [*largest, *sums, f"{each} {out}{at} = {source}{at} - largest - sum;"]
    sums = [f"{each} {out}{at} = {exp}({source}{at} - largest);", f"{each} sum += {out}{at};", "sum = 1 / sum;"]
    return [*largest, *sums, f"{each} {out}{at} *= sum;"]


def _softmax(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    node.only("axis")
    (value,) = taken(node, inputs, 1, 1)
    kind = _floats(node, value)
    axis = row_axis(node, value, node.integer("axis", -1 if node.version >= 13 else 1))
    count = value.shape[axis] if node.version >= 13 else math.prod(value.shape[axis:])
    stride = math.prod(value.shape[axis + 1 :]) if node.version >= 13 else 1
    out = writer.new(kind, value.shape)
    if not value.width:
        raise node.refused("it has no values")
    lines = softmax_lines(value.c_type, "v", "y", count, stride, log=node.op == "LogSoftmax")
    writer.put(
        f"for (int o = 0; o < {value.width // count // stride}; ++o) for (int s = 0; s < {stride}; ++s) {{",
        f"    const {value.c_type} *v = {writer.at(value)} + o * {count * stride} + s;",
        f"    {value.c_type} *y = {out.name} + o * {count * stride} + s;",
        *(f"    {line}" for line in lines),
        "}",
    )
    return (out,)


def _best(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    node.only("axis", "keepdims", "select_last_index")
    (value,) = taken(node, inputs, 1, 1)
    axis = row_axis(node, value, node.integer("axis", 0))
    count, stride = value.shape[axis], math.prod(value.shape[axis + 1 :])
    kept = (1,) if node.integer("keepdims", 1) else ()
    out = writer.new("int64", (*value.shape[:axis], *kept, *value.shape[axis + 1 :]))
    if not value.width:
        raise node.refused("it has no values")
    sign = ("<" if node.op == "ArgMin" else ">") + ("=" if node.integer("select_last_index", 0) else "")
    writer.put(
        f"for (int o = 0; o < {out.width // stride}; ++o) for (int s = 0; s < {stride}; ++s) {{",
        f"    const {value.c_type} *v = {writer.at(value)} + o * {count * stride} + s;",
        "    int best = 0;",
        f"    for (int i = 1; i < {count}; ++i) if (v[i * {stride}] {sign} v[best * {stride}]) best = i;",
        f"    {out.name}[o * {stride} + s] = best;",
        "}",
    )
    return (out,)


OPERATORS = {
    ("", "ArgMax"): _best,
    ("", "ArgMin"): _best,
    ("", "Gemm"): _gemm,
    ("", "LogSoftmax"): _softmax,
    ("", "MatMul"): _matmul,
    ("", "Softmax"): _softmax,
}
