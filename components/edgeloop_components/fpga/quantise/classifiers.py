"""Readers of the classifiers of ai.onnx.ml: linear ones and trees, and the operators that follow them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgeloop_components.fpga.quantise.inputs import columns_of
from edgeloop_components.fpga.quantise.model import Columns, Dense, Ensemble, Layer, Shares, Transform, Value
from edgeloop_components.native.forest import Forest, read_classic, read_ensemble
from edgeloop_components.onnxgraph import Node

__all__ = ["OPERATORS", "as_shares"]

TRANSFORMS: Mapping[str, Transform] = {"NONE": "identity", "SOFTMAX": "softmax", "LOGISTIC": "logistic"}
NUMBERED = ("NONE", "SOFTMAX", "LOGISTIC")  # in the order of their numbers in TreeEnsemble
SUM, AVERAGE = 1, 0  # as TreeEnsemble numbers what it does with the trees


def as_shares(value: Any) -> Shares | None:
    """Probabilities; sums of trees over several classes are some by themselves. None for all else."""
    if isinstance(value, Ensemble) and value.outputs > 1:
        return Shares(value, "identity")
    return value if isinstance(value, Shares) else None


def _transform(name: str) -> Transform:
    if name not in TRANSFORMS:
        raise NotImplementedError(f"the post_transform {name[:40]!r} is not supported")
    return TRANSFORMS[name]


def _linear(node: Node, arguments: Sequence[Any]) -> Value:
    import numpy as np

    columns = columns_of(arguments[0])
    biases = node.numbers("intercepts").astype(np.float64)
    weights = node.numbers("coefficients").astype(np.float64).reshape(len(biases), -1)
    if weights.shape[1] != len(columns.items):
        raise node.wrong(f"expected {len(columns.items)} coefficients a sum, found {weights.shape[1]}")
    transform = _transform(node.text("post_transform", "NONE"))
    if transform == "identity":
        raise NotImplementedError("its sums are no probabilities")
    if len(biases) <= 2 and transform == "logistic":
        opposite = len(biases) == 1 or ((weights[0] == -weights[1]).all() and biases[0] == -biases[1])
        if not opposite:
            raise NotImplementedError("two classes whose sums are not opposite numbers")
        return Shares(Dense(columns.items, (Layer(weights[-1:], biases[-1:]),)), transform)
    return Shares(Dense(columns.items, (Layer(weights, biases),)), transform, normal=transform == "softmax")


def _trees(node: Node, arguments: Sequence[Any]) -> Value:
    columns = columns_of(arguments[0])
    labels = len(node.integers("classlabels_int64s")) or len(node.texts("classlabels_strings"))
    forest = read_classic(node, len(columns.items), labels, "class")
    base = node.numbers("base_values").tolist()
    transform = _transform(node.text("post_transform", "NONE"))
    if labels == 2:
        return _two_classes(columns, forest, base, transform)
    if labels < 2 or len(base) not in (0, labels):
        raise NotImplementedError(f"{labels} classes with {len(base)} base_values")
    core = Ensemble(columns.items, forest, tuple(base or [0.0] * labels))
    return Shares(core, transform, normal=transform != "logistic")


def _two_classes(columns: Columns, forest: Forest, base: list[float], transform: Transform) -> Value:
    """Of trees that pay one sum: p = sum where nothing transforms it, or logistic(sum)."""
    if {target for pay in forest.pays for target, _ in pay} != {0} or len(base) > 1 or transform == "softmax":
        raise NotImplementedError("two classes that do not share one sum, or have a softmax of it")
    core = Ensemble(columns.items, replace(forest, targets=1), tuple(base or [0.0]))
    if transform == "identity" and min(weight for pay in forest.pays for _, weight in pay) < 0:
        raise NotImplementedError("leaves with negative shares")
    return Shares(core, transform)


def _regressor(node: Node, arguments: Sequence[Any]) -> Value:
    columns = columns_of(arguments[0])
    forest = read_classic(node, len(columns.items), node.integer("n_targets", 1), "target")
    aggregate, name = node.text("aggregate_function", "SUM"), node.text("post_transform", "NONE")
    if aggregate not in ("SUM", "AVERAGE"):
        raise NotImplementedError(f"the aggregate_function {aggregate[:40]!r} is not supported")
    return _summed(node, columns, forest, _transform(name), averaged=aggregate == "AVERAGE")


def _ensemble(node: Node, arguments: Sequence[Any]) -> Value:
    columns = columns_of(arguments[0])
    forest = read_ensemble(node, len(columns.items))
    aggregate, number = node.integer("aggregate_function", SUM), node.integer("post_transform", 0)
    if aggregate not in (SUM, AVERAGE) or not 0 <= number < len(NUMBERED):
        raise NotImplementedError(f"aggregate_function {aggregate} or post_transform {number} is not supported")
    return _summed(node, columns, forest, _transform(NUMBERED[number]), averaged=aggregate == AVERAGE)


def _summed(node: Node, columns: Columns, forest: Forest, transform: Transform, *, averaged: bool) -> Value:
    base = node.numbers("base_values").tolist() or [0.0] * forest.targets
    if len(base) != forest.targets:
        raise node.wrong(f"expected {forest.targets} base_values, found {len(base)}")
    core = Ensemble(columns.items, forest, tuple(base), 1.0 / len(forest.roots) if averaged else 1.0)
    if transform == "identity" or forest.targets == 1:  # of one target, onnxruntime leaves out the transform
        return core
    return Shares(core, transform, normal=transform == "softmax")


def _normalizer(node: Node, arguments: Sequence[Any]) -> Value:
    shares = as_shares(arguments[0])
    if shares is None or node.text("norm", "MAX") != "L1":
        raise NotImplementedError("it is supported of probabilities, with the norm L1")
    return replace(shares, normal=True)


OPERATORS: Mapping[tuple[str, str], Any] = {
    ("ai.onnx.ml", "LinearClassifier"): _linear,
    ("ai.onnx.ml", "Normalizer"): _normalizer,
    ("ai.onnx.ml", "TreeEnsemble"): _ensemble,
    ("ai.onnx.ml", "TreeEnsembleClassifier"): _trees,
    ("ai.onnx.ml", "TreeEnsembleRegressor"): _regressor,
}
