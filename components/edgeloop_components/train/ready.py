"""Takes a ready ONNX file: one that keeps edgeloop's convention, or one as skl2onnx and its like write it.

Looks for the one float input [N, features], the tensor of probabilities [N, classes], and the names of the classes. Where
the probabilities end in a ZipMap, the tensor before it is taken.
Refuses a file that is not ONNX, another width than the loop's features, no or several candidates for the probabilities,
and classes that do not fit the labels of the data.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeloop_components.runtimes import ModelError
from edgeloop_components.runtimes.describe import read_model
from edgeloop_components.train.graph import OPSETS, PREFIX, RawModel
from edgeloop_components.train.problem import TrainError

__all__ = ["read_ready"]


def read_ready(path: Path, features: Sequence[str], labels: Sequence[str]) -> RawModel:
    """The raw model in a file. `labels` are the label texts of the data, sorted. TrainError."""
    try:
        model = read_model(path)
    except ModelError as error:
        raise TrainError(f"train.onnx: {error}") from error
    where = f"train.onnx: {path}"
    model = _at_opset(model, where)
    name = _input(model.graph, features, where)
    _same_features(model, features, where)
    probabilities, width = _probabilities(model.graph, where)
    return RawModel(model, name, probabilities, _classes(model, width, labels, where))


def _at_opset(model: Any, where: str) -> Any:
    """The model at the pinned opset or a newer one."""
    import onnx.version_converter

    version = next((entry.version for entry in model.opset_import if entry.domain in ("", "ai.onnx")), OPSETS[""])
    if version >= OPSETS[""]:
        return model
    try:
        return onnx.version_converter.convert_version(model, OPSETS[""])
    except Exception as error:
        text = str(error)[:300]
        raise TrainError(f"{where}: opset {version} cannot be brought to {OPSETS['']}: {text}") from error


def _input(graph: Any, features: Sequence[str], where: str) -> str:
    constants = {tensor.name for tensor in graph.initializer}
    inputs = [value for value in graph.input if value.name not in constants]
    shown = [(value.name, _kind(value), _shape(value)) for value in inputs]
    if len(inputs) != 1 or _kind(inputs[0]) != "FLOAT" or len(_shape(inputs[0])) != 2:
        raise TrainError(f"{where}: expected one input of floats [N, {len(features)}], found {shown}")
    width = _shape(inputs[0])[1]
    if width not in (None, len(features)):
        raise TrainError(f"{where}: the input has {width} columns, the loop has {len(features)} features")
    return str(inputs[0].name)


def _kind(value: Any) -> str:
    import onnx

    return str(onnx.TensorProto.DataType.Name(value.type.tensor_type.elem_type))


def _shape(value: Any) -> list[int | None]:
    return [dim.dim_value or None for dim in value.type.tensor_type.shape.dim]


def _metadata(model: Any, key: str) -> list[str] | None:
    for entry in model.metadata_props:
        if entry.key == PREFIX + key:
            found: list[str] = json.loads(entry.value)
            return found
    return None


def _same_features(model: Any, features: Sequence[str], where: str) -> None:
    known = _metadata(model, "features")
    if known is not None and known != list(features):
        raise TrainError(f"{where}: its features are {', '.join(known)}; the loop's are {', '.join(features)}")


def _probabilities(graph: Any, where: str) -> tuple[str, int | None]:
    maps = {node.output[0]: node.input[0] for node in graph.node if node.op_type == "ZipMap"}
    found: list[tuple[str, int | None]] = []
    for value in graph.output:
        if value.name in maps:
            found.append((maps[value.name], None))
        elif value.type.WhichOneof("value") == "tensor_type" and _kind(value) == "FLOAT" and len(_shape(value)) == 2:
            found.append((value.name, _shape(value)[1]))
    named = [pair for pair in found if "prob" in pair[0].lower()]
    candidates = named if len(named) == 1 else found
    if len(candidates) != 1:
        names = [value.name for value in graph.output]
        raise TrainError(f"{where}: expected one output of probabilities [N, classes], found the outputs {names}")
    return candidates[0]


def _classes(model: Any, width: int | None, labels: Sequence[str], where: str) -> tuple[str, ...]:
    """Named in the file, or else the data's labels in their order, if there are as many."""
    classes = _metadata(model, "classes") or _class_labels(model.graph)
    if classes is None and width not in (None, len(labels)):
        raise TrainError(f"{where}: it has {width} classes and does not name them; the data has {len(labels)} labels")
    if classes is None:
        return tuple(labels)
    strangers = [label for label in labels if label not in classes]
    if strangers:
        raise TrainError(f"{where}: the data has labels that are not among its classes {classes}: {strangers[:5]}")
    return tuple(classes)


def _class_labels(graph: Any) -> list[str] | None:
    import onnx

    for node in reversed(graph.node):
        for attribute in node.attribute:
            if attribute.name.startswith("classlabels_"):
                values = onnx.helper.get_attribute_value(attribute)
                if len(values):
                    return [value.decode() if isinstance(value, bytes) else str(value) for value in values]
    return None


def categories_in(model: Any) -> dict[str, tuple[str, ...]]:
    """The categories that a graph was made for, by feature; empty when it does not say."""
    for entry in model.metadata_props:
        if entry.key == PREFIX + "categories":
            return {name: tuple(texts) for name, texts in json.loads(entry.value).items()}
    return {}
