"""Works on ONNX graphs: from an estimator's graph to one that keeps edgeloop's convention. No scikit-learn in it.

A finished graph has the input `X` float32 [N, features] and the outputs `label` int64 [N] and `probabilities` float32
[N, classes]; its last part is the calibration: Clip, Log, Mul by 1/T, Softmax, and ArgMax for the label. What the outputs
do not need (maps of classes, text labels) is cut away. Opsets are pinned, so that the same model gives the same bytes.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeloop_components.train.calibration import Temperature

__all__ = ["OPSETS", "RawModel", "finished", "probabilities_of", "pruned", "thresholds"]

OPSETS = {"": 17, "ai.onnx.ml": 3}
IR_VERSION = 8
PREFIX = "edgeloop."  # of the keys in metadata_props


@dataclass(frozen=True)
class RawModel:
    """A graph that gives uncalibrated probabilities: its one input, and the tensor [N, classes] that holds them."""

    model: Any  # onnx.ModelProto
    input: str
    probabilities: str
    classes: tuple[str, ...]


def probabilities_of(raw: RawModel) -> Any:
    """The raw graph alone, with the outputs `probabilities` only: to fit the calibration on."""
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(raw.model)
    _rename_input(model.graph, raw.input)
    last = onnx.helper.make_node("Identity", [_renamed(raw.probabilities, raw.input)], ["probabilities"])
    model.graph.node.append(last)
    _set_outputs(model.graph, [_output("probabilities", onnx.TensorProto.FLOAT, ["N", len(raw.classes)])])
    return pruned(model)


def finished(raw: RawModel, temperature: Temperature, features: int, metadata: Mapping[str, Any]) -> Any:
    """The graph of the convention, with calibration and metadata. The ModelProto is new."""
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(raw.model)
    graph = model.graph
    _rename_input(graph, raw.input, features)
    _append_calibration(graph, _renamed(raw.probabilities, raw.input), temperature)
    classes = len(raw.classes)
    _set_outputs(
        graph,
        [
            _output("label", onnx.TensorProto.INT64, ["N"]),
            _output("probabilities", onnx.TensorProto.FLOAT, ["N", classes]),
        ],
    )
    graph.name = "edgeloop"
    _set_metadata(model, metadata)
    return pruned(model)


def _renamed(tensor: str, old_input: str) -> str:
    return "X" if tensor == old_input else _free(tensor)


def _free(name: str) -> str:
    """The raw graph's own names may be those of the convention: they give way."""
    return f"raw_{name}" if name in ("label", "probabilities", "X") else name


def _rename_input(graph: Any, old: str, features: int | None = None) -> None:
    import onnx

    for node in graph.node:
        node.input[:] = [_renamed(name, old) for name in node.input]
        node.output[:] = [_free(name) for name in node.output]
    for tensor in graph.initializer:
        tensor.name = _free(tensor.name)
    shape = ["N", features]
    if features is None:
        dims = next(value for value in graph.input if value.name == old).type.tensor_type.shape.dim
        shape = ["N", dims[1].dim_value or None]
    del graph.input[:]
    del graph.value_info[:]
    graph.input.append(onnx.helper.make_tensor_value_info("X", onnx.TensorProto.FLOAT, shape))


def _output(name: str, kind: int, shape: Sequence[Any]) -> Any:
    import onnx

    return onnx.helper.make_tensor_value_info(name, kind, shape)


def _set_outputs(graph: Any, outputs: Sequence[Any]) -> None:
    del graph.output[:]
    graph.output.extend(outputs)


def _append_calibration(graph: Any, probabilities: str, temperature: Temperature) -> None:
    import onnx

    make, constant = onnx.helper.make_node, onnx.helper.make_tensor
    values = {"floor": temperature.floor, "one": 1.0, "power": temperature.power}
    graph.initializer.extend(
        constant(f"calibration_{name}", onnx.TensorProto.FLOAT, [], [value]) for name, value in values.items()
    )
    graph.node.extend(
        [
            make("Clip", [probabilities, "calibration_floor", "calibration_one"], ["calibration_clipped"]),
            make("Log", ["calibration_clipped"], ["calibration_logs"]),
            make("Mul", ["calibration_logs", "calibration_power"], ["calibration_scaled"]),
            make("Softmax", ["calibration_scaled"], ["probabilities"], axis=1),
            make("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0),
        ]
    )


def _set_metadata(model: Any, metadata: Mapping[str, Any]) -> None:
    kept = [(entry.key, entry.value) for entry in model.metadata_props if not entry.key.startswith(PREFIX)]
    own = [(PREFIX + key, json.dumps(value, ensure_ascii=False)) for key, value in sorted(metadata.items())]
    del model.metadata_props[:]
    for key, value in kept + own:
        entry = model.metadata_props.add()
        entry.key, entry.value = key, value


def pruned(model: Any) -> Any:
    """The model without the nodes and constants that its outputs do not need, and with each opset named once."""
    graph = model.graph
    needed = {value.name for value in graph.output}
    kept = []
    for node in reversed(graph.node):
        if needed.intersection(node.output):
            kept.append(node)
            needed.update(node.input)
            needed.update(_outer_names(node))
    constants = [tensor for tensor in graph.initializer if tensor.name in needed]
    del graph.node[:]
    graph.node.extend(reversed(kept))
    del graph.initializer[:]
    graph.initializer.extend(constants)
    _pin(model)
    return model


def _outer_names(node: Any) -> set[str]:
    """Tensors of this graph that subgraphs of a node use."""
    graphs = [attribute.g for attribute in node.attribute if attribute.HasField("g")]
    return {name for graph in graphs for inner in graph.node for name in (*inner.input, *_outer_names(inner))}


def _pin(model: Any) -> None:
    import onnx

    found = {entry.domain: entry.version for entry in model.opset_import}
    used = {node.domain for node in model.graph.node} | {""}
    versions = {domain: max(found.get(domain, 1), OPSETS.get(domain, 1)) for domain in sorted(used)}
    del model.opset_import[:]
    model.opset_import.extend(onnx.helper.make_opsetid(domain, version) for domain, version in versions.items())
    model.ir_version = max(model.ir_version, IR_VERSION)


def thresholds(model: Any, columns: Sequence[int] | None) -> list[tuple[int, float]]:
    """(feature, threshold) of all tree nodes that split, each pair once.

    `columns` names the features that the trees' first inputs stand for; None: only trees that see X itself are looked at.
    """
    found: set[tuple[int, float]] = set()
    for node in model.graph.node:
        if node.op_type.startswith("TreeEnsemble") and (columns is not None or node.input[0] == "X"):
            pairs = _splits(node)
            found |= pairs if columns is None else {(columns[i], value) for i, value in pairs if i < len(columns)}
    return sorted(found)


def _splits(node: Any) -> set[tuple[int, float]]:
    import onnx

    values = {a.name: onnx.helper.get_attribute_value(a) for a in node.attribute}
    lists = (values.get(f"nodes_{name}", []) for name in ("featureids", "values", "modes"))
    return {(int(i), float(value)) for i, value, mode in zip(*lists, strict=False) if mode != b"LEAF"}
