"""Works on ONNX graphs: from an estimator's graph to one that keeps edgeloop's convention. No scikit-learn in it.

A finished graph has the input `X` float32 [N, features] and the outputs `label` int64 [N] and `probabilities` float32
[N, classes]; its last part is the calibration: Clip, Log, Mul by 1/T, Softmax, and ArgMax for the label. What the outputs
do not need (maps of classes, text labels) is cut away. Opsets are pinned, so that the same model gives the same bytes.
"""

from __future__ import annotations

import itertools
import json
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeloop_components.train.calibration import Temperature

__all__ = ["OPSETS", "RawModel", "finished", "probabilities_of", "pruned", "thresholds"]

OPSETS = {"": 17, "ai.onnx.ml": 3}
IR_VERSION = 8
PREFIX = "edgeloop."  # of the keys in metadata_props
OWN_NAMES = frozenset(("X", "label", "probabilities"))


@dataclass(frozen=True)
class RawModel:
    """A graph that gives uncalibrated probabilities: its one input, and the tensor [N, classes] that holds them."""

    model: Any  # onnx.ModelProto
    input: str
    probabilities: str
    classes: tuple[str, ...]


def probabilities_of(raw: RawModel) -> Any:
    """The raw graph alone, with the output `probabilities` only: to fit the calibration on."""
    import onnx

    model, tensor = _with_input_x(raw, None)
    model.graph.node.append(onnx.helper.make_node("Identity", [tensor], ["probabilities"]))
    _set_outputs(model.graph, [_output("probabilities", onnx.TensorProto.FLOAT, ["N", len(raw.classes)])])
    return pruned(model)


def finished(raw: RawModel, temperature: Temperature, features: int, metadata: Mapping[str, Any]) -> Any:
    """The graph of the convention, with calibration and metadata. The ModelProto is new."""
    import onnx

    model, tensor = _with_input_x(raw, features)
    _append_calibration(model.graph, tensor, temperature)
    outputs = [
        _output("label", onnx.TensorProto.INT64, ["N"]),
        _output("probabilities", onnx.TensorProto.FLOAT, ["N", len(raw.classes)]),
    ]
    _set_outputs(model.graph, outputs)
    model.graph.name = "edgeloop"
    _set_metadata(model, metadata)
    return pruned(model)


def _with_input_x(raw: RawModel, features: int | None) -> tuple[Any, str]:
    """A copy with the input X [N, features], and the name of its probabilities; names that we give are free in it."""
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(raw.model)
    graph = model.graph
    names = _new_names(graph, raw.input)
    _rename(graph, names)
    del graph.input[:]
    del graph.value_info[:]
    graph.input.append(onnx.helper.make_tensor_value_info("X", onnx.TensorProto.FLOAT, ["N", features]))
    return model, names.get(raw.probabilities, raw.probabilities)


def _new_names(graph: Any, old_input: str) -> dict[str, str]:
    """Old name: new name, for the input and for what has one of the names that this module gives."""
    used = {name for node in graph.node for name in (*node.input, *node.output)}
    used |= {tensor.name for tensor in graph.initializer}
    ours = [name for name in sorted(used - {old_input}) if name in OWN_NAMES or name.startswith("calibration_")]
    names = {old_input: "X"}
    for name in ours:
        number = next(i for i in itertools.count(1) if f"raw{i}_{name}" not in used)
        names[name] = f"raw{number}_{name}"
    return names


def _rename(graph: Any, names: Mapping[str, str]) -> None:
    for node in graph.node:
        node.input[:] = [names.get(name, name) for name in node.input]
        node.output[:] = [names.get(name, name) for name in node.output]
        for attribute in node.attribute:
            if attribute.HasField("g"):
                _rename(attribute.g, names)
    for tensor in graph.initializer:
        tensor.name = names.get(tensor.name, tensor.name)


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
    splits = {(int(i), float(value)) for i, value, mode in zip(*lists, strict=False) if mode != b"LEAF"}
    return {
        (i, value) for i, value in splits if math.isfinite(value)
    }  # infinite: the split asks for missing values only
