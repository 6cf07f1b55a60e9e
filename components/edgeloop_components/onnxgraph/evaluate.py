"""Computes one node whose inputs are all constants, by running it alone with onnxruntime on one thread.

That is the reference of every runtime, so what it gives is what the whole graph gives there, to the last bit.
Refuses results above MOST_BYTES (before they are made, where the sizes can be told), and what is no tensor.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from edgeloop_components.onnxgraph.ir import Foreign, Node

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

__all__ = ["MOST_BYTES", "RANDOM", "can_evaluate", "evaluated"]

MOST_BYTES = 64 << 20  # of all results of a node
RANDOM = frozenset(
    ("Bernoulli", "Multinomial", "RandomNormal", "RandomNormalLike", "RandomUniform", "RandomUniformLike")
)
FEW = 1024  # elements of an input that is shown to shape inference: sizes, axes, repeats
IR_VERSION = 10


def can_evaluate(node: Node) -> bool:
    """Whether it is an operator of ONNX's own sets without a graph inside. Those in RANDOM are refused before."""
    drawn = node.op == "Dropout"  # whether it draws depends on training: operators know
    return (
        node.domain in ("", "ai.onnx.ml")
        and not drawn
        and not any(isinstance(value, Foreign) for value in node.attributes.values())
    )


def evaluated(node: Node, inputs: Mapping[str, Array]) -> dict[str, Array]:
    """The node's outputs by name. ModelError, Unsupported."""
    from edgeloop_components.runtimes import ModelError
    from edgeloop_components.runtimes.onnxruntime import session

    proto = _proto(node)
    _check_sizes(node, proto, inputs)
    names = [name for name in node.outputs if name]
    try:
        loaded = session(_model(node, proto, inputs, {}).SerializeToString(), f"node {node.title}")
        found = dict(zip(names, loaded.run(names, dict(inputs)), strict=True))
    except ModelError as error:
        raise node.wrong(f"its inputs are constants, and it cannot be computed: {error}") from error
    except Exception as error:
        raise node.wrong(f"its inputs do not fit: {str(error)[:200]}") from error
    _check_bytes(node, sum(_size(node, value) for value in found.values()))
    return found


def _size(node: Node, value: Any) -> int:
    import numpy as np

    if not isinstance(value, np.ndarray):
        raise node.refused(f"expected a tensor as its result, found {type(value).__name__}")
    return int(value.nbytes)


def _check_bytes(node: Node, found: int) -> None:
    if found > MOST_BYTES:
        raise node.wrong(f"its inputs are constants: expected at most {MOST_BYTES} bytes of results, found {found}")


def _check_sizes(node: Node, proto: Any, inputs: Mapping[str, Array]) -> None:
    """Refuses sizes that are known beforehand to be too large."""
    import onnx

    few = {name: array for name, array in inputs.items() if array.size <= FEW and array.dtype != object}
    try:
        inferred = onnx.shape_inference.infer_shapes(_model(node, proto, inputs, few), data_prop=True)
    except Exception as error:
        raise node.wrong(f"its inputs do not fit: {str(error)[:200]}") from error
    for value in inferred.graph.output:
        tensor = value.type.tensor_type
        if tensor.HasField("shape") and all(dim.HasField("dim_value") for dim in tensor.shape.dim):
            kind = onnx.helper.tensor_dtype_to_np_dtype(tensor.elem_type) if tensor.elem_type else None
            _check_bytes(node, math.prod(dim.dim_value for dim in tensor.shape.dim) * (kind.itemsize if kind else 1))


def _proto(node: Node) -> Any:
    """The node as ONNX writes it. The operator's schema tells lists from tensors of one axis."""
    import numpy as np
    import onnx

    try:
        known: Any = onnx.defs.get_schema(node.op, node.version, node.domain).attributes
    except onnx.defs.SchemaError as error:
        raise node.refused("there is no such operator in its operator set") from error
    proto = onnx.helper.make_node(node.op, node.inputs, node.outputs, domain=node.domain)
    for name, value in node.attributes.items():
        if name not in known:
            raise node.refused(f"the attribute {name[:80]!r} is not supported")
        kind = int(known[name].type.value)
        if kind == onnx.AttributeProto.TENSOR:
            plain: Any = onnx.numpy_helper.from_array(value)
        else:
            plain = value.tolist() if isinstance(value, np.ndarray) else value
        proto.attribute.append(onnx.helper.make_attribute(name, plain, attr_type=kind))
    return proto


def _model(node: Node, proto: Any, inputs: Mapping[str, Array], weights: Mapping[str, Array]) -> Any:
    """A model of this node alone; its inputs are those that are not among `weights`."""
    import onnx

    make = onnx.helper
    given = [
        make.make_tensor_value_info(name, make.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in inputs.items()
        if name not in weights
    ]
    made = [make.make_empty_tensor_value_info(name) for name in node.outputs if name]
    graph = make.make_graph(
        [proto], "node", given, made, [onnx.numpy_helper.from_array(array, name) for name, array in weights.items()]
    )
    return make.make_model(graph, opset_imports=[make.make_opsetid(node.domain, node.version)], ir_version=IR_VERSION)
