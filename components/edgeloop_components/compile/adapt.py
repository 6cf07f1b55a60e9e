"""Brings an ONNX file as converters write it to edgeloop's convention, where it is a classifier.

The convention: one input `X` float32 [N, features], the outputs `label` int64 [N] (the place of the class) and `probabilities`
float32 [N, classes]. So a map of classes gives way to the tensor before it, class names to their places, and an input for
each column to one input that is split. What is no classifier keeps its names; only columns are joined, and maps are tensors.

Refuses inputs that cannot be joined, and a classifier whose classes are nowhere named nor counted.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeloop_components.compile.protos import (
    inputs_of,
    kind_of,
    opset_of,
    rename,
    shape_of,
    tensor_value,
    with_own_operators,
)
from edgeloop_components.runtimes import ModelError

__all__ = ["Adapted", "adapted", "is_classifier"]

PREFIX = "edgeloop."  # of the keys in metadata_props, as training writes them
OWN = ("X", "label", "probabilities")
PLACES_ATTRIBUTE = {"TreeEnsembleClassifier": "classlabels_int64s"}  # others call it classlabels_ints


@dataclass(frozen=True)
class Adapted:
    """The model to compile. `classes` is empty where it is no classifier; `label` and `probabilities` name the originals."""

    model: Any  # onnx.ModelProto
    features: tuple[str, ...]  # a name for each value of a row
    columns: tuple[str, ...]  # inputs of the original, one column each; empty where it has one input
    classes: tuple[str, ...]
    label: str
    probabilities: str
    numbered: bool = False  # whether the original's labels are places already, as training writes them
    clipped: bool = False  # whether the copy clips probabilities to [0, 1], which the original leaves by a rounding


def adapted(original: Any, *, classify: bool = True) -> Adapted:
    """A copy in the convention's form; without `classify` as what is no classifier. ModelError."""
    import onnx

    model = onnx.ModelProto()
    model.CopyFrom(original)
    graph = model.graph
    columns = _join_columns(model)
    given = inputs_of(graph)[0]
    features = columns or _features(model, given)
    ends = _classifier_ends(graph) if classify else None
    if ends is None:
        _without_maps(model)
        return Adapted(model, features, columns, (), "", "")
    label, probabilities, inner = ends
    classes = _classes(model, inner, label)
    kinds = {value.name: kind_of(value) for value in graph.output}
    numbered = _metadata(model, "classes") is not None and kinds[label] == "INT64"
    if not numbered:
        _number_labels(graph, classes)
    kept = [node for node in graph.node if node.op_type != "ZipMap"]
    del graph.node[:]
    graph.node.extend(kept)
    clipped = not _bounded(graph, inner)
    rename(graph, _free_names(graph, {given.name: "X", label: "label", inner: "probabilities"}))
    _set_ends(graph, len(features), len(classes))
    if clipped:
        _clip(model)
    return Adapted(model, features, columns, classes, label, probabilities, numbered=numbered, clipped=clipped)


def is_classifier(model: Any) -> bool:
    """Whether a file gives a label and scores of classes; all others are served with the outputs that they have. ModelError."""
    return _classifier_ends(model.graph) is not None


def _without_maps(model: Any) -> None:
    """Gives out the tensor that a map of classes was made of, under the map's name."""
    import onnx

    maps = {node.output[0]: node for node in model.graph.node if node.op_type == "ZipMap"}
    for node in maps.values():
        node.CopyFrom(onnx.helper.make_node("Identity", [node.input[0]], [node.output[0]]))
    for output in model.graph.output:
        if output.name in maps:
            output.CopyFrom(tensor_value(output.name, onnx.TensorProto.FLOAT, ["N", None]))
    if maps:
        with_own_operators(model)


def _join_columns(model: Any) -> tuple[str, ...]:
    """Puts one input in the place of several of one column each; their names."""
    import onnx

    inputs = inputs_of(model.graph)
    if len(inputs) == 1:
        return ()
    strangers = [value for value in inputs if kind_of(value) != "FLOAT" or shape_of(value)[1:] != [1]]
    if strangers:
        shown = f"{strangers[0].name!r} {kind_of(strangers[0]).lower()} {shape_of(strangers[0])}"
        raise ModelError(
            f"expected one input, or several of one column of floats each, found {shown} among {len(inputs)}"
        )
    names = tuple(str(value.name) for value in inputs)
    joined = "X" if "X" not in names else "edgeloop_columns"
    sizes = onnx.helper.make_tensor("edgeloop_widths", onnx.TensorProto.INT64, [len(names)], [1] * len(names))
    if opset_of(model) >= 13:
        model.graph.initializer.append(sizes)
        split = onnx.helper.make_node("Split", [joined, sizes.name], names, axis=1)
    else:
        split = onnx.helper.make_node("Split", [joined], names, axis=1, split=[1] * len(names))
    del model.graph.input[:]
    model.graph.input.append(tensor_value(joined, onnx.TensorProto.FLOAT, ["N", len(names)]))
    model.graph.node.insert(0, split)
    return names


def _features(model: Any, given: Any) -> tuple[str, ...]:
    """Names from the metadata that training wrote, else x0, x1, ..."""
    import math

    width = math.prod(size or 1 for size in shape_of(given)[1:])
    named = _metadata(model, "features")
    return named if named is not None and len(named) == width else tuple(f"x{place}" for place in range(width))


def _metadata(model: Any, key: str) -> tuple[str, ...] | None:
    for entry in model.metadata_props:
        if entry.key == PREFIX + key:
            try:
                return tuple(str(item) for item in json.loads(entry.value))
            except (ValueError, TypeError) as error:
                raise ModelError(f"metadata {entry.key}: expected a JSON list, found {entry.value[:60]!r}") from error
    return None


def _classifier_ends(graph: Any) -> tuple[str, str, str] | None:
    """The outputs that hold label and probabilities, and the tensor with the latter; None where it is no classifier."""
    maps = {node.output[0]: str(node.input[0]) for node in graph.node if node.op_type == "ZipMap"}
    given = inputs_of(graph)[0]
    labels = [str(v.name) for v in graph.output if kind_of(v) in ("INT64", "STRING") and len(shape_of(v)) <= 1]
    scores = [v for v in graph.output if v.name in maps or (kind_of(v) == "FLOAT" and len(shape_of(v)) == 2)]
    named = [v for v in scores if "prob" in v.name.lower()]
    found = named if len(named) == 1 else scores
    if len(labels) != 1 or len(found) != 1 or len(shape_of(given)) != 2 or kind_of(given) != "FLOAT":
        return None
    name = str(found[0].name)
    return labels[0], name, maps.get(name, name)


def _classes(model: Any, probabilities: str, label: str) -> tuple[str, ...]:
    """From the metadata, an operator's labels, or the constant that labels are picked from; else counted."""
    named = _metadata(model, "classes")
    if named is not None:
        return named
    for node in reversed(model.graph.node):
        found = _listed(node)
        if found:
            return tuple(map(str, found))
    picked = _picked(model.graph)
    if picked:
        return tuple(map(str, next(iter(picked.values()))))
    width = _width(model, probabilities)
    if not width:
        raise ModelError(f"output {label!r}: the classes are nowhere named, and {probabilities!r} has no fixed width")
    return tuple(map(str, range(width)))


def _listed(node: Any) -> list[Any]:
    """The class labels that a node lists."""
    import onnx

    for attribute in node.attribute:
        if attribute.name.startswith("classlabels_") and attribute.type != onnx.AttributeProto.TENSOR:
            values = onnx.helper.get_attribute_value(attribute)
            if len(values):
                return [value.decode(errors="replace") if isinstance(value, bytes) else value for value in values]
    return []


def _picked(graph: Any) -> dict[str, list[Any]]:
    """Constants that an ArrayFeatureExtractor picks labels from: name and values."""
    import onnx

    constants = {tensor.name: tensor for tensor in graph.initializer}
    names = {node.input[0] for node in graph.node if node.op_type == "ArrayFeatureExtractor"} & constants.keys()
    found = {name: onnx.numpy_helper.to_array(constants[name]).ravel().tolist() for name in sorted(names)}
    return {
        name: [value.decode(errors="replace") if isinstance(value, bytes) else value for value in values]
        for name, values in found.items()
    }


def _width(model: Any, tensor: str) -> int | None:
    import onnx

    declared = {v.name: v for v in (*model.graph.value_info, *model.graph.output)}
    if tensor not in declared or len(shape_of(declared[tensor])) != 2:
        inferred = onnx.shape_inference.infer_shapes(model)
        declared = {v.name: v for v in (*inferred.graph.value_info, *inferred.graph.output)}
    return shape_of(declared[tensor])[-1] if tensor in declared and shape_of(declared[tensor]) else None


def _number_labels(graph: Any, classes: Sequence[str]) -> None:
    """Lets operators give the place of a class instead of its name."""
    import numpy as np
    import onnx

    places = list(range(len(classes)))
    for node in graph.node:
        if [str(label) for label in _listed(node)] == list(classes):
            kept = [a for a in node.attribute if not a.name.startswith("classlabels_")]
            del node.attribute[:]
            numbered = PLACES_ATTRIBUTE.get(node.op_type, "classlabels_ints")
            node.attribute.extend([*kept, onnx.helper.make_attribute(numbered, places)])
    for tensor in graph.initializer:
        if [str(label) for label in _picked(graph).get(tensor.name, [])] == list(classes):
            kind = np.int32 if tensor.data_type == onnx.TensorProto.INT32 else np.int64
            tensor.CopyFrom(
                onnx.numpy_helper.from_array(np.array(places, kind).reshape(tuple(tensor.dims)), tensor.name)
            )
    del graph.value_info[:]  # declared types of inner tensors may no longer hold


def _set_ends(graph: Any, features: int, classes: int) -> None:
    import onnx

    del graph.input[:]
    graph.input.append(tensor_value("X", onnx.TensorProto.FLOAT, ["N", features]))
    del graph.output[:]
    graph.output.extend(
        [
            tensor_value("label", onnx.TensorProto.INT64, ["N"]),
            tensor_value("probabilities", onnx.TensorProto.FLOAT, ["N", classes]),
        ]
    )


def _bounded(graph: Any, tensor: str) -> bool:
    """Whether a tensor comes from an operator whose results cannot leave [0, 1]. A sum of shares can, by a rounding."""
    import onnx

    makers = {name: node for node in graph.node for name in node.output}
    while tensor in makers and makers[tensor].op_type in ("Identity", "Cast"):
        tensor = makers[tensor].input[0]
    if tensor not in makers:
        return False
    posts = {a.name: onnx.helper.get_attribute_value(a) for a in makers[tensor].attribute if a.name == "post_transform"}
    return makers[tensor].op_type == "Softmax" or posts.get("post_transform") in (b"SOFTMAX", b"LOGISTIC")


def _clip(model: Any) -> None:
    """Keeps the output `probabilities` within [0, 1]."""
    import onnx

    with_own_operators(model)
    graph, make = model.graph, onnx.helper.make_node
    loose = "edgeloop_shares"
    rename(graph, {"probabilities": loose})
    if opset_of(model) >= 11:
        ends = {"edgeloop_none": 0.0, "edgeloop_all": 1.0}
        graph.initializer.extend(
            onnx.helper.make_tensor(name, onnx.TensorProto.FLOAT, [], [end]) for name, end in ends.items()
        )
        graph.node.append(make("Clip", [loose, *ends], ["probabilities"]))
    else:
        graph.node.append(make("Clip", [loose], ["probabilities"], min=0.0, max=1.0))


def _free_names(graph: Any, wanted: Mapping[str, str]) -> dict[str, str]:
    """`wanted`, and other names for the tensors that have the convention's names and are something else."""
    used = {name for node in graph.node for name in (*node.input, *node.output)}
    used |= {tensor.name for tensor in graph.initializer} | set(wanted)
    names = dict(wanted)
    for name in OWN:
        if name in used and name not in wanted:
            place = next(i for i in range(len(used) + 1) if f"inner{i}_{name}" not in used)
            names[name] = f"inner{place}_{name}"
    return names
