"""What adapting needs to read of an ONNX file's own form (onnx.ModelProto, GraphProto), and to change in it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeloop_components.runtimes import ModelError

__all__ = ["inputs_of", "kind_of", "opset_of", "rename", "shape_of", "tensor_value", "with_own_operators"]


def with_own_operators(model: Any) -> None:
    """Declares ONNX's own operator set, where a model of converters' operators alone does not."""
    import onnx

    if not any(entry.domain in ("", "ai.onnx") for entry in model.opset_import):
        model.opset_import.append(onnx.helper.make_opsetid("", 13))


def inputs_of(graph: Any) -> list[Any]:
    """The graph's inputs without its weights. ModelError when there is none."""
    weights = {tensor.name for tensor in graph.initializer}
    found = [value for value in graph.input if value.name not in weights]
    if not found:
        raise ModelError("expected an input, found none")
    return found


def kind_of(value: Any) -> str:
    """The element type of a declared value, as ONNX names it, or `map`."""
    import onnx

    if value.type.WhichOneof("value") != "tensor_type":
        return "map"
    return str(onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type))


def shape_of(value: Any) -> list[int | None]:
    """The sizes of a declared tensor; None is one that may vary."""
    return [dim.dim_value or None for dim in value.type.tensor_type.shape.dim]


def opset_of(model: Any) -> int:
    """The version of ONNX's own operator set."""
    return next((int(entry.version) for entry in model.opset_import if entry.domain in ("", "ai.onnx")), 13)


def tensor_value(name: str, kind: int, shape: Sequence[Any]) -> Any:
    """A declared tensor."""
    import onnx

    return onnx.helper.make_tensor_value_info(name, kind, shape)


def rename(graph: Any, names: Mapping[str, str]) -> None:
    """Gives tensors other names, wherever they stand within the graph."""
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)
