"""Operators that give the same elements another shape, or pass them on: no code is needed for them.

The batch axis stays the first, but for tensors [1, N] and the like, whose elements lie in the same order.

Refuses shapes and axes that are computed, what fixes the size of the batch or joins it with another axis, and training.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgeloop_components.native.strides import Inputs, constant_integers, literal, taken
from edgeloop_components.native.values import C_TYPES, Value
from edgeloop_components.native.writer import Writer
from edgeloop_components.onnxgraph import Node

if TYPE_CHECKING:
    from edgeloop_components.native.operators import Operator

__all__ = ["OPERATORS", "SIZES", "activation", "whole_axis"]

BATCH = -2  # stands for the size of the batch in a whole shape
SIZES = "sizes"  # the kind of what Shape gives; no other operator than those here takes it


def _whole(value: Value) -> list[int]:
    """The shape of the whole tensor."""
    return [*value.shape[: value.batch_axis], BATCH, *value.shape[value.batch_axis :]]


def _reshaped(node: Node, value: Value, sizes: Sequence[int]) -> Value:
    """The same elements in a whole shape that has BATCH once. Unsupported when they lie in another order then."""
    if list(sizes).count(BATCH) != 1:
        raise node.refused("expected a shape with the batch once")
    place = list(sizes).index(BATCH)
    rest = (*sizes[:place], *sizes[place + 1 :])
    if math.prod(rest) != value.width:
        raise node.wrong(f"rows of {list(value.shape)} do not fit the shape {list(sizes)}")
    if math.prod(value.shape[: value.batch_axis]) != 1 or math.prod(sizes[:place]) != 1:
        raise node.refused("the batch would not stay the first axis")
    return value.alias(rest, place)


def activation(node: Node, inputs: Inputs) -> Value:
    """The first input, which must vary."""
    value = inputs[0] if inputs else None
    if value is None or value.constant is not None:
        raise node.refused("expected a tensor that varies as its first input")
    return value


def whole_axis(node: Node, value: Value, axis: int) -> int:
    """The axis of the row for an axis of the whole tensor, wherever its batch axis is. Unsupported for that, ModelError."""
    place = axis + value.rank if axis < 0 else axis
    if not 0 <= place < value.rank:
        raise node.wrong(f"expected an axis of {value.rank}, found {axis}")
    if place == value.batch_axis:
        raise node.refused("it works along the batch axis")
    return place - (place > value.batch_axis)


def _shape(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:  # noqa: ARG001
    import numpy as np

    node.only("start", "end")
    whole = _whole(activation(node, inputs))
    part = whole[node.integer("start", 0) : node.integer("end", len(whole))]
    return (Value(SIZES, (len(part),), constant=np.array(part)),)


def _constant_of_shape(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    node.only("value")
    sizes = inputs[0] if inputs else None
    filling = node.tensor("value")
    kind = "float32" if filling is None else str(filling.dtype)
    if sizes is None or sizes.constant is None or sizes.kind != SIZES or kind not in C_TYPES:
        raise node.refused("only what Shape gives is supported, and numbers to fill it with")
    whole = sizes.constant.tolist()
    if whole.count(BATCH) != 1 or (filling is not None and filling.size != 1):
        raise node.refused("expected a shape that has the batch, and one value")
    place = whole.index(BATCH)
    out = writer.new(kind, (*whole[:place], *whole[place + 1 :]))
    writer.loop(out.width, f"{out.name}[i] = {literal(0 if filling is None else filling.ravel()[0], kind)};")
    return (out.alias(out.shape, place),)


def _identity(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:  # noqa: ARG001
    node.only()
    return (taken(node, inputs, 1, 1)[0],)


def _dropout(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:  # noqa: ARG001
    node.only("ratio", "seed", "is_test", "consumed_inputs")
    training = inputs[2] if len(inputs) > 2 else None
    if training is not None and (training.constant is None or training.constant.any()):
        raise node.refused("training mode is not supported")
    if node.version < 7 and not node.integer("is_test", 0):
        raise node.refused("training mode (is_test 0) is not supported")
    return (activation(node, inputs),)


def _reshape(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:  # noqa: ARG001
    node.only("shape", "allowzero", "consumed_inputs")
    value = activation(node, inputs)
    given = inputs[1] if len(inputs) > 1 else None
    whole = _whole(value)
    if given is not None and given.constant is not None and given.kind == SIZES:
        return (_reshaped(node, value, given.constant.tolist()),)
    target = constant_integers(node, given, "a shape") if given is not None else node.integers("shape").tolist()
    if any(size < -1 for size in target) or target.count(-1) > 1:
        raise node.wrong(f"expected sizes, found {target[:8]}")
    if 0 in target and node.integer("allowzero", 0):
        raise node.refused("a shape with a size of 0 is not supported")
    if any(size == 0 and place >= len(whole) for place, size in enumerate(target)):
        raise node.wrong(f"the shape {target[:8]} copies a size that the input does not have")
    sizes = [whole[place] if size == 0 else size for place, size in enumerate(target)]
    if BATCH in sizes and -1 in sizes:
        known = math.prod(size for size in sizes if size >= 0)
        sizes[sizes.index(-1)] = value.width // known if known else 0
    elif -1 in sizes:
        sizes[sizes.index(-1)] = BATCH
    if BATCH not in sizes:
        raise node.refused(f"the shape {target[:8]} fixes the size of the batch; export the model with -1 there")
    return (_reshaped(node, value, sizes),)


def _flatten(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:  # noqa: ARG001
    node.only("axis")
    value = activation(node, inputs)
    axis = node.integer("axis", 1)
    whole = _whole(value)
    axis += len(whole) if axis < 0 else 0
    if not 0 <= axis <= len(whole):
        raise node.wrong(f"expected an axis of {len(whole)}, found {node.integer('axis', 1)}")
    before = value.batch_axis >= axis  # the batch goes into the second axis then
    known = math.prod(size for size in (whole[:axis] if before else whole[axis:]) if size != BATCH)
    if value.width != known:
        raise node.refused("the batch would be joined with another axis")
    return (_reshaped(node, value, [known, BATCH] if before else [BATCH, known]),)


def _axes(node: Node, inputs: Inputs, rank: int) -> list[int]:
    given = inputs[1] if node.version >= 13 and len(inputs) > 1 else None
    axes = constant_integers(node, given, "axes") if node.version >= 13 else node.integers("axes").tolist()
    places = sorted(axis + rank if axis < 0 else axis for axis in axes)
    if len(set(places)) != len(places) or any(not 0 <= place < rank for place in places):
        raise node.wrong(f"expected different axes of {rank}, found {axes[:8]}")
    return places


def _squeeze(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:  # noqa: ARG001
    node.only("axes")
    value = activation(node, inputs)
    whole = _whole(value)
    axes = _axes(node, inputs, len(whole))
    if not axes or BATCH in [whole[axis] for axis in axes]:
        raise node.refused("expected axes other than the batch's")
    if any(whole[axis] != 1 for axis in axes):
        raise node.wrong(f"expected axes of size 1, found {axes[:8]} of {list(value.shape)}")
    return (_reshaped(node, value, [size for axis, size in enumerate(whole) if axis not in axes]),)


def _unsqueeze(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:  # noqa: ARG001
    node.only("axes")
    value = activation(node, inputs)
    count = len(constant_integers(node, inputs[1], "axes") if node.version >= 13 else node.integers("axes"))
    axes = _axes(node, inputs, value.rank + count)
    left = iter(_whole(value))
    return (_reshaped(node, value, [1 if axis in axes else next(left) for axis in range(value.rank + count)]),)


OPERATORS: Mapping[tuple[str, str], Operator] = {
    ("", "ConstantOfShape"): _constant_of_shape,
    ("", "Dropout"): _dropout,
    ("", "Flatten"): _flatten,
    ("", "Identity"): _identity,
    ("", "Reshape"): _reshape,
    ("", "Shape"): _shape,
    ("", "Squeeze"): _squeeze,
    ("", "Unsqueeze"): _unsqueeze,
}
