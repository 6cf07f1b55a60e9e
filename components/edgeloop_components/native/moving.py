"""Operators that pick, join, order, repeat and pad elements: copies in loops.

Refuses axes and indices that are computed, what works along the batch axis or fixes its size, and padding but with a constant.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgeloop_components.native.dense import row_axis
from edgeloop_components.native.elementwise import NUMBERS
from edgeloop_components.native.shaping import activation, whole_axis
from edgeloop_components.native.strides import (
    Inputs,
    constant_integers,
    contiguous,
    copy,
    literal,
    loops,
    numbers,
    operand,
    taken,
)
from edgeloop_components.native.values import Value
from edgeloop_components.native.writer import Writer
from edgeloop_components.onnxgraph import Node

if TYPE_CHECKING:
    from edgeloop_components.native.operators import Operator

__all__ = ["OPERATORS"]

FAR = 1 << 62


def _transpose(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    node.only("perm")
    value = activation(node, inputs)
    order = node.integers("perm").tolist() or list(reversed(range(value.rank)))
    if sorted(order) != list(range(value.rank)):
        raise node.wrong(f"expected an order of {value.rank} axes, found {order[:8]}")
    if order[0] != 0:
        raise node.refused("the batch would not stay the first axis")
    steps = contiguous(value.shape)
    shape = tuple(value.shape[axis - 1] for axis in order[1:])
    out = writer.new(value.kind, shape, value.texts)
    copy(writer, value, out, shape, given=tuple(steps[axis - 1] for axis in order[1:]), put=contiguous(shape))
    return (out,)


def _concat(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    node.only("axis")
    values = taken(node, inputs, 1, len(inputs))
    kind = numbers(node, values, (*NUMBERS, "bool"))
    if any(value.constant is not None for value in values):
        raise node.refused("constants among its inputs, which would fix the size of the batch, are not supported")
    axis = whole_axis(node, values[0], node.integer("axis", 1))
    rest = {(*value.shape[:axis], *value.shape[axis + 1 :]) for value in values}
    if len({(value.rank, value.batch_axis) for value in values}) > 1 or len(rest) > 1:
        raise node.wrong(f"expected rows that differ in one axis, found {[list(value.shape) for value in values][:4]}")
    shape = list(values[0].shape)
    shape[axis] = sum(value.shape[axis] for value in values)
    out = writer.new(kind, tuple(shape))
    steps, at = contiguous(shape), 0
    for value in values:
        copy(writer, value, out, value.shape, given=contiguous(value.shape), put=steps, at=at)
        at += value.shape[axis] * steps[axis]
    return (out.alias(out.shape, values[0].batch_axis),)


def _split(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    node.only("axis", "split", "num_outputs")
    value = activation(node, inputs)
    axis = row_axis(node, value, node.integer("axis", 0))
    given = inputs[1] if len(inputs) > 1 else None
    sizes = constant_integers(node, given, "sizes") if node.version >= 13 else node.integers("split").tolist()
    sizes = sizes or _equal(value.shape[axis], len(node.outputs))
    if len(sizes) != len(node.outputs) or min(sizes) < 0 or sum(sizes) != value.shape[axis]:
        raise node.wrong(f"the sizes {sizes[:8]} do not split an axis of {value.shape[axis]}")
    steps, start, found = contiguous(value.shape), 0, []
    for size in sizes:
        shape = (*value.shape[:axis], size, *value.shape[axis + 1 :])
        out = writer.new(value.kind, shape, value.texts)
        copy(writer, value, out, shape, given=steps, put=contiguous(shape), start=start)
        start += size * steps[axis]
        found.append(out)
    return tuple(found)


def _equal(size: int, parts: int) -> list[int]:
    """As equal as may be: the last one is smaller."""
    part = -(-size // parts)
    return [max(0, min(part, size - place * part)) for place in range(parts)]


def _slice(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    value = activation(node, inputs)
    node.only(*(("starts", "ends", "axes") if node.version < 10 else ()))
    starts, ends, axes, steps = _slices(node, inputs)
    shape, given, start = list(value.shape), list(contiguous(value.shape)), 0
    for first, last, axis, step in zip(starts, ends, axes, steps, strict=True):
        if axis in (0, -value.rank) and (first, step) == (0, 1) and last >= (1 << 31) - 1:
            continue
        place = row_axis(node, value, axis)
        if step == 0:
            raise node.wrong("expected steps other than 0")
        part = range(
            *slice(first if abs(first) < FAR else _far(first), last if abs(last) < FAR else _far(last), step).indices(
                value.shape[place]
            )
        )
        start += part.start * given[place] if part else 0
        shape[place], given[place] = len(part), given[place] * step
    out = writer.new(value.kind, tuple(shape), value.texts)
    copy(writer, value, out, shape, given=tuple(given), put=contiguous(shape), start=start)
    return (out,)


def _far(place: int) -> int:
    return FAR if place > 0 else -FAR


def _slices(node: Node, inputs: Inputs) -> tuple[list[int], list[int], list[int], list[int]]:
    if node.version < 10:
        starts, ends, axes = (node.integers(name).tolist() for name in ("starts", "ends", "axes"))
        steps: list[int] = []
    else:
        parts = [*inputs[1:], *([None] * 4)][:4]
        starts, ends, axes, steps = (constant_integers(node, part, "starts, ends, axes and steps") for part in parts)
    axes, steps = axes or list(range(len(starts))), steps or [1] * len(starts)
    if not len(starts) == len(ends) == len(axes) == len(steps) or len(set(axes)) != len(axes):
        raise node.wrong("expected as many starts as ends, axes and steps")
    return starts, ends, axes, steps


def _gather(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    node.only("axis")
    value = activation(node, inputs)
    import numpy as np

    indices = inputs[1] if len(inputs) == 2 else None
    axis = row_axis(node, value, node.integer("axis", 0))
    count, stride = value.shape[axis], math.prod(value.shape[axis + 1 :])
    places = [place + count if place < 0 else place for place in constant_integers(node, indices, "indices")]
    if indices is None or any(not 0 <= place < count for place in places):
        raise node.wrong(f"expected indices of an axis of {count}")
    out = writer.new(value.kind, (*value.shape[:axis], *indices.shape, *value.shape[axis + 1 :]), value.texts)
    table = writer.table(np.array(places, np.int32) * stride)
    each = math.prod(value.shape[:axis])
    loops(
        writer,
        (each, len(places), stride),
        ((count * stride, 0, 1), (0, 1, 0), (len(places) * stride, stride, 1)),
        lambda i, k, o: [f"{out.name}[{o}] = {writer.at(value)}[{i} + {table}[{k}]];"],
    )
    return (out,)


def _expand(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    node.only()
    value = activation(node, inputs)
    target = constant_integers(node, inputs[1] if len(inputs) == 2 else None, "a shape")
    if len(target) > value.rank or (len(target) == value.rank and target[0] != 1):
        raise node.refused(f"the shape {target[:8]} fixes the size of the batch")
    sizes = ([1] * (value.rank - len(target)) + target)[1:]
    if any(1 not in (a, b) and a != b for a, b in zip(sizes, value.shape, strict=True)):
        raise node.wrong(f"rows of {list(value.shape)} do not expand to {sizes[:8]}")
    shape = tuple(b if a == 1 else a for a, b in zip(sizes, value.shape, strict=True))
    steps = tuple(0 if size == 1 else step for size, step in zip(value.shape, contiguous(value.shape), strict=True))
    out = writer.new(value.kind, shape, value.texts)
    copy(writer, value, out, shape, given=steps, put=contiguous(shape))
    return (out,)


def _tile(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    node.only()
    value = activation(node, inputs)
    repeats = constant_integers(node, inputs[1] if len(inputs) == 2 else None, "repeats")
    if len(repeats) != value.rank or min(repeats) < 0:
        raise node.wrong(f"expected {value.rank} repeats, found {repeats[:8]}")
    if repeats[0] != 1:
        raise node.refused("it repeats the batch")
    pairs = list(zip(repeats[1:], value.shape, contiguous(value.shape), strict=True))
    shape = tuple(times * size for times, size, _ in pairs)
    split = tuple(size for times, whole, _ in pairs for size in (times, whole))
    out = writer.new(value.kind, shape, value.texts)
    copy(writer, value, out, split, given=tuple(s for _, _, step in pairs for s in (0, step)), put=contiguous(split))
    return (out,)


def _pad(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    node.only("mode", *(("pads", "value") if node.version < 11 else ()))
    value = activation(node, inputs)
    kind = numbers(node, [value], (*NUMBERS, "bool"))
    if node.text("mode", "constant") != "constant":
        raise node.refused("only padding with a constant is supported")
    before, after = _pads(node, inputs, value)
    shape = tuple(a + size + b for a, size, b in zip(before, value.shape, after, strict=True))
    out = writer.new(kind, shape)
    writer.loop(out.width, f"{out.name}[i] = {_filling(node, inputs, writer, kind)};")
    steps = contiguous(shape)
    at = sum(a * step for a, step in zip(before, steps, strict=True))
    copy(writer, value, out, value.shape, given=contiguous(value.shape), put=steps, at=at)
    return (out,)


def _filling(node: Node, inputs: Inputs, writer: Writer, kind: str) -> str:
    if node.version < 11:
        return literal(node.number("value", 0.0), kind)
    given = inputs[2] if len(inputs) > 2 else None
    if given is None:
        return literal(0, kind)
    if given.constant is None or given.width != 1 or given.kind != kind:
        raise node.refused(f"expected one constant of {kind} to pad with")
    return operand(writer, given, kind)("0")


def _pads(node: Node, inputs: Inputs, value: Value) -> tuple[list[int], list[int]]:
    """How many elements to put before and after each axis of a row."""
    if node.version < 11:
        pads, axes = node.integers("pads").tolist(), list(range(value.rank))
    else:
        pads = constant_integers(node, inputs[1], "pads")
        named = constant_integers(node, inputs[3], "axes") if len(inputs) > 3 else []
        axes = [axis + value.rank if axis < 0 else axis for axis in named] or list(range(value.rank))
    if len(pads) != 2 * len(axes) or any(not 0 <= axis < value.rank for axis in axes):
        raise node.wrong(f"expected two pads for each of {len(axes)} axes, found {len(pads)}")
    found = {axis: (pads[place], pads[place + len(axes)]) for place, axis in enumerate(axes)}
    if any(pad < 0 for pad in pads) or any(found.get(0, (0, 0))):
        raise node.refused("pads below 0, and pads of the batch, are not supported")
    return ([found.get(axis, (0, 0))[side] for axis in range(1, value.rank)] for side in (0, 1))  # type: ignore[return-value]


OPERATORS: Mapping[tuple[str, str], Operator] = {
    ("", "Concat"): _concat,
    ("", "Expand"): _expand,
    ("", "Gather"): _gather,
    ("", "Pad"): _pad,
    ("", "Slice"): _slice,
    ("", "Split"): _split,
    ("", "Tile"): _tile,
    ("", "Transpose"): _transpose,
}
