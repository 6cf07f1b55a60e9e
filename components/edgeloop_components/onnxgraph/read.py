"""Reads an ONNX model into a Graph: pruned to its outputs, ordered, constants folded, every name and size checked.

Refuses what code cannot be made from: several inputs, inputs that are not float32 or whose rows have no fixed size,
weights kept outside the file, functions and subgraphs, operator sets newer than the known ones, names given twice, cycles.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_components.onnxgraph.fold import folded
from edgeloop_components.onnxgraph.ir import Foreign, Graph, Node, Tensor, Unsupported
from edgeloop_components.onnxgraph.order import ordered
from edgeloop_components.runtimes import ModelError

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["graph_of", "read_graph"]

NEWEST = {"": 26, "ai.onnx.ml": 5}  # operator sets whose meaning this reader knows
MOST_ELEMENTS = 1 << 28  # of one constant
CONSTANT_KINDS = ("float32", "float64", "float16", "int64", "int32", "int16", "int8", "uint8", "bool", "object")


def read_graph(path: Path, outputs: Sequence[str] | None = None) -> Graph:
    """The graph in a file, as `graph_of`. ModelError says what the file is when it is no ONNX model."""
    from edgeloop_components.runtimes.describe import read_model

    return graph_of(read_model(path), outputs)


def graph_of(model: Any, outputs: Sequence[str] | None = None) -> Graph:
    """The graph of an onnx.ModelProto, with these of its outputs (None: all). ModelError, Unsupported."""
    graph = model.graph
    opsets = _opsets(model)
    if graph.sparse_initializer:
        raise Unsupported("the graph has sparse weights, which are not supported")
    if model.functions:
        raise Unsupported("the model defines functions of its own, which are not supported")
    wanted = _wanted(graph, outputs)
    nodes = [_node(node, opsets) for node in graph.node]
    weights = {tensor.name: tensor for tensor in graph.initializer}
    inputs = [_tensor(value) for value in graph.input if value.name not in weights]
    kept = ordered(nodes, [tensor.name for tensor in wanted], {*weights, *(tensor.name for tensor in inputs)})
    used = {name for node in kept for name in node.inputs} | {tensor.name for tensor in wanted}
    constants = {name: _array(tensor, f"weight {name[:80]!r}") for name, tensor in weights.items() if name in used}
    nodes_left, all_constants = folded(kept, constants)
    return Graph(
        name=graph.name,
        input=_input(inputs, used),
        outputs=wanted,
        nodes=nodes_left,
        constants=all_constants,
        metadata={entry.key: entry.value for entry in model.metadata_props},
    )


def _opsets(model: Any) -> Mapping[str, int]:
    found: dict[str, int] = {}
    for entry in model.opset_import:
        domain = _domain(entry.domain)
        if found.setdefault(domain, entry.version) != entry.version:
            raise ModelError(f"the operator set {domain or 'ai.onnx'} is imported in two versions")
        if domain in NEWEST and not 1 <= entry.version <= NEWEST[domain]:
            name = domain or "ai.onnx"
            raise Unsupported(f"operator set {name}: expected a version up to {NEWEST[domain]}, found {entry.version}")
    return found


def _domain(name: str) -> str:
    return "" if name == "ai.onnx" else name


def _wanted(graph: Any, names: Sequence[str] | None) -> tuple[Tensor, ...]:
    found = {value.name: _tensor(value) for value in graph.output}
    missing = [name for name in names or () if name not in found]
    if missing:
        raise ModelError(f"expected an output {missing[0]!r}, found {', '.join(map(repr, found))}")
    if not found or len(found) != len(graph.output):
        raise ModelError("expected outputs with a name each, found none or one twice")
    return tuple(found[name] for name in (names or found))


def _tensor(value: Any) -> Tensor:
    if value.type.WhichOneof("value") != "tensor_type":
        return Tensor(value.name, "map", None)
    tensor = value.type.tensor_type
    shape = tuple(dim.dim_value if dim.HasField("dim_value") else None for dim in tensor.shape.dim)
    return Tensor(value.name, _kind(tensor.elem_type), shape if tensor.HasField("shape") else None)


def _kind(element: int) -> str:
    import onnx

    try:
        name = str(onnx.helper.tensor_dtype_to_np_dtype(element))
    except KeyError:
        return f"type {element}"
    return "text" if name == "object" else name


def _input(inputs: Sequence[Tensor], used: set[str]) -> Tensor:
    found = [tensor for tensor in inputs if tensor.name in used] or list(inputs)
    shown = ", ".join(f"{t.name[:40]!r} {t.kind} {list(t.shape or ())}" for t in found[:4])
    if len(found) != 1 or found[0].kind != "float32" or not found[0].shape:
        raise Unsupported(f"expected one input of float32 [N, ...], found {len(found)}: {shown}")
    if not all(isinstance(size, int) and size > 0 for size in found[0].shape[1:]):
        raise Unsupported(f"the input {shown}: expected rows of a fixed size; export the model with it")
    return found[0]


def _node(node: Any, opsets: Mapping[str, int]) -> Node:
    broken = [
        name for name in (node.op_type, node.domain, node.name, *node.input, *node.output) if isinstance(name, bytes)
    ]
    if broken:  # what protobuf gives where a text is not UTF-8
        raise ModelError(f"a node: expected names in UTF-8, found the bytes {broken[0][:80]!r}")
    domain = _domain(node.domain)
    bare = Node(domain, node.op_type, opsets.get(domain, 0), node.name, tuple(node.input), tuple(node.output))
    if domain not in opsets:
        raise bare.wrong("its operator set is not imported by the model")
    found: dict[str, Any] = {}
    for attribute in node.attribute:
        if attribute.name in found:
            raise bare.wrong(f"the attribute {attribute.name[:80]!r} is given twice")
        found[attribute.name] = _attribute(attribute, bare)
    return Node(bare.domain, bare.op, bare.version, bare.name, bare.inputs, bare.outputs, found)


def _attribute(attribute: Any, node: Node) -> Any:
    import numpy as np
    import onnx

    kinds = onnx.AttributeProto
    readers: dict[int, Callable[[], Any]] = {
        kinds.FLOAT: lambda: float(attribute.f),
        kinds.INT: lambda: int(attribute.i),
        kinds.STRING: lambda: _text(attribute.s, node),
        kinds.FLOATS: lambda: np.array(attribute.floats, dtype=np.float32),
        kinds.INTS: lambda: np.array(attribute.ints, dtype=np.int64),
        kinds.STRINGS: lambda: tuple(_text(item, node) for item in attribute.strings),
        kinds.TENSOR: lambda: _array(attribute.t, f"node {node.title}, attribute {attribute.name[:80]}"),
    }
    reader = readers.get(attribute.type)
    return reader() if reader else Foreign(str(attribute.type))


def _text(value: bytes, node: Node) -> str:
    try:
        return value.decode()
    except UnicodeDecodeError as error:
        raise node.wrong(f"expected text in UTF-8, found the bytes {value[:20]!r}") from error


def _array(tensor: Any, where: str) -> npt.NDArray[Any]:
    """A constant as numpy array; texts as an object array of str."""
    import numpy as np
    import onnx

    if tensor.data_location == onnx.TensorProto.EXTERNAL or tensor.external_data:
        raise Unsupported(f"{where}: its values are in another file; put them into the model (onnx.save does)")
    if any(size < 0 for size in tensor.dims) or math.prod(tensor.dims) > MOST_ELEMENTS:
        raise ModelError(f"{where}: expected at most {MOST_ELEMENTS} values, found the sizes {list(tensor.dims)[:8]}")
    try:
        found: Any = np.array(onnx.numpy_helper.to_array(tensor))
        found = found if found.dtype != object else _texts(found)
    except Exception as error:
        raise ModelError(f"{where}: its values do not fit its sizes and type: {str(error)[:200]}") from error
    if str(found.dtype) not in CONSTANT_KINDS:
        raise Unsupported(f"{where}: constants of the type {found.dtype} are not supported")
    array: npt.NDArray[Any] = found
    return array


def _texts(found: npt.NDArray[Any]) -> npt.NDArray[Any]:
    import numpy as np

    def decoded() -> Iterator[str]:
        for item in found.ravel():
            yield item.decode() if isinstance(item, bytes) else str(item)

    out = np.empty(found.size, dtype=object)
    out[:] = list(decoded())
    return out.reshape(found.shape)
