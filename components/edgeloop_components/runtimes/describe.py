"""Describes an ONNX file in plain values: graph, operators, inputs and outputs, size, metadata, what runtimes make of it.

Reads the file itself before protobuf does: protobuf takes almost anything for a message. Refuses a file that is not ONNX
or was cut off, and says what was found instead.
"""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from edgeloop_components.runtimes import RUNTIMES, ModelError

__all__ = ["describe", "read_model"]

_KNOWN_STARTS = (
    (b"PK\x03\x04", "a zip archive (a saved PyTorch or Keras model?)"),
    (b"\x80", "a Python pickle"),
    (b"\x89HDF", "an HDF5 file"),
    (b"PAR1", "a Parquet file"),
    (b"\x1f\x8b", "a gzip file"),
    (b"\x7fELF", "an ELF program"),
    (b"{", "JSON text"),
    (b"<", "XML or HTML text"),
)


def read_model(path: Path) -> Any:
    """The onnx.ModelProto in a file. ModelError says what the file is instead, as far as its bytes tell."""
    import onnx

    try:
        data = path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: expected an ONNX file, found none that can be read: {error.strerror}") from error
    try:
        model = onnx.load_model_from_string(data)
    except Exception as error:
        raise ModelError(f"{path}: expected an ONNX model, found {_found(data)}") from error
    if not (model.ir_version and model.opset_import and model.graph.output):
        raise ModelError(f"{path}: expected an ONNX model with a graph and an opset, found {_found(data)}")
    return model


def _found(data: bytes) -> str:
    if not data:
        return "an empty file"
    size = f"{len(data)} bytes"
    for start, what in _KNOWN_STARTS:
        if data.startswith(start):
            return f"{what}, {size}"
    if data[:1] == b"\x08" and len(data) > 1 and data[1] < 32:  # field 1, the IR version: how ONNX files begin
        return f"one that begins as ONNX and breaks off or is damaged, {size}"
    try:
        return f"text that begins {data[:40].decode()!r}, {size}"
    except UnicodeDecodeError:
        return f"bytes that begin {data[:8].hex(' ')}, {size}"


def describe(path: Path) -> dict[str, Any]:
    """All that is worth knowing of an ONNX file, as JSON values. ModelError when it is not one."""
    model = read_model(path)
    graph = model.graph
    weights = {tensor.name for tensor in graph.initializer}
    return {
        "file": str(path),
        "size_bytes": path.stat().st_size,
        "ir_version": model.ir_version,
        "producer": f"{model.producer_name} {model.producer_version}".strip(),
        "opsets": {entry.domain or "ai.onnx": entry.version for entry in model.opset_import},
        "graph": graph.name,
        "nodes": len(graph.node),
        "operators": dict(sorted(Counter(_operator(node) for node in graph.node).items())),
        "inputs": [_tensor(value) for value in graph.input if value.name not in weights],
        "outputs": [_tensor(value) for value in graph.output],
        "parameters": _parameters(graph),
        "metadata": {entry.key: entry.value for entry in model.metadata_props},
        "runtimes": {name: runtime.remark(model) for name, runtime in RUNTIMES.items()},
    }


def _operator(node: Any) -> str:
    return f"{node.domain}.{node.op_type}" if node.domain not in ("", "ai.onnx") else str(node.op_type)


def _tensor(value: Any) -> dict[str, Any]:
    import onnx

    kind = value.type.WhichOneof("value")
    if kind != "tensor_type":
        return {"name": value.name, "type": str(kind or "unknown").removesuffix("_type"), "shape": None}
    tensor = value.type.tensor_type
    shape = [d.dim_value if d.HasField("dim_value") else (d.dim_param or None) for d in tensor.shape.dim]
    return {"name": value.name, "type": onnx.TensorProto.DataType.Name(tensor.elem_type).lower(), "shape": shape}


def _parameters(graph: Any) -> int:
    """Numbers in initialisers, and in the lists of tree and linear operators, which keep their weights as attributes."""
    import math

    stored = sum(math.prod(tensor.dims) for tensor in graph.initializer)
    listed = sum(len(attribute.floats) for node in graph.node for attribute in node.attribute)
    return int(stored + listed)
