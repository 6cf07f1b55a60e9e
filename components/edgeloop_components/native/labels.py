"""The way from the best class to its label: ArrayFeatureExtractor and ZipMap of ai.onnx.ml.

ZipMap gives maps from labels to scores; here it is left out, and the output is the tensor of scores that it was made from. An
index that a row computes and that is out of range, where onnxruntime fails, takes the first element: nothing is read outside.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

from edgeloop_components.native.strides import Inputs
from edgeloop_components.native.values import Value
from edgeloop_components.native.writer import Writer
from edgeloop_components.onnxgraph import Node

if TYPE_CHECKING:
    from edgeloop_components.native.operators import Operator

__all__ = ["OPERATORS"]


def _extractor(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    values, places = inputs if len(inputs) == 2 else (None, None)
    if values is None or places is None or places.kind != "int64" or not values.shape:
        raise node.wrong("expected values and places of int64")
    if places.constant is not None and places.texts is None and values.constant is None:
        return (_columns(node, values, places, writer),)
    if values.constant is None or values.rank > 2 or values.shape[:-1] not in ((), (1,)) or places.width != 1:
        raise node.refused("only a constant list, or constant places, are supported")
    count = values.width
    if not count:
        raise node.wrong("its list is empty")
    out = Value(values.kind, (1,), writer.new(values.kind, (1,)).name, texts=values.texts, batch_axis=1)
    at = f"{writer.at(places)}[0]"
    writer.put(f"{out.name}[0] = {writer.at(values)}[{at} < 0 || {at} >= {count} ? 0 : {at}];")
    return (out,)


def _columns(node: Node, values: Value, places: Value, writer: Writer) -> Value:
    """The values at constant places of the last axis."""
    assert places.constant is not None
    wanted, count = places.constant.ravel(), values.shape[-1]
    if not len(wanted) or wanted.min() < 0 or wanted.max() >= count:
        raise node.wrong(f"expected places below {count}, found {wanted[:8].tolist()}")
    out = writer.new(values.kind, (*values.shape[:-1], len(wanted)), texts=values.texts)
    source = f"{writer.at(values)}[r * {count} + {writer.table(wanted)}[i]]"
    writer.put(f"for (int r = 0; r < {out.width // len(wanted)}; ++r)")
    writer.loop(len(wanted), f"{out.name}[r * {len(wanted)} + i] = {source};")
    return out


def _zipmap(node: Node, inputs: Inputs, _: Writer) -> tuple[Value, ...]:
    if len(inputs) != 1 or inputs[0] is None:
        raise node.wrong(f"expected one input, found {len(inputs)}")
    return (inputs[0],)


OPERATORS: Mapping[tuple[str, str], Operator] = {
    ("ai.onnx.ml", "ArrayFeatureExtractor"): _extractor,
    ("ai.onnx.ml", "ZipMap"): _zipmap,
}
