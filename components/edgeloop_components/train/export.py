"""Turns a fitted scikit-learn classifier into an ONNX graph of uncalibrated probabilities.

Three traps are met here. The converter rounds the thresholds of HistGradientBoosting to the nearest float32, which sends
values exactly on a threshold another way; so they are rounded down first, which changes nothing for float32 values. It
forgets to which side forests send missing values: that is put back. And its errors can be 150,000 lines long: they are cut.
"""

from __future__ import annotations

import logging
import warnings
from collections.abc import Iterator, Sequence
from typing import Any

from edgeloop_components.train.estimator import needs_names
from edgeloop_components.train.graph import OPSETS, RawModel
from edgeloop_components.train.missing import mend_missing
from edgeloop_components.train.problem import TrainError
from edgeloop_contracts import FeatureReference

__all__ = ["to_raw"]


def to_raw(model: Any, features: Sequence[FeatureReference], what: str) -> RawModel:
    """The graph of a fitted classifier; `what` names it in errors. TrainError when the converter does not know it."""
    named = needs_names(model)
    for booster in _boosters(model):
        _round_thresholds(booster)
    names = [feature.name for feature in features] if named else ["X"]
    widths = [1] * len(features) if named else [len(features)]
    converted = _converted(model, names, widths, what)
    mend_missing(model, converted.graph)
    probabilities = converted.graph.output[1].name
    classes = tuple(str(label) for label in model.classes_)
    if named:
        _split_input(converted.graph, names)
    return RawModel(converted, "X", probabilities, classes)


def _converted(model: Any, names: Sequence[str], widths: Sequence[int], what: str) -> Any:
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    types = [(name, FloatTensorType([None, width])) for name, width in zip(names, widths, strict=True)]
    logging.getLogger("skl2onnx").setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Field onnx.AttributeProto.ints", DeprecationWarning)
            return convert_sklearn(
                model, initial_types=types, target_opset=OPSETS, options={"zipmap": False}, name="edgeloop"
            )
    except Exception as error:
        text = str(error)[:300]
        hint = " (protobuf 7 cannot hold what skl2onnx writes: protobuf<7 is needed)" if "got a boolean" in text else ""
        raise TrainError(f"{what}: its ONNX form cannot be made{hint}: {type(error).__name__}: {text}") from error


def _boosters(model: Any) -> Iterator[Any]:
    """The HistGradientBoosting classifiers in a model, however deep."""
    if hasattr(model, "_predictors"):
        yield model
    inner = [*(step for _, step in getattr(model, "steps", ())), *_voters(model)]
    for part in inner:
        yield from _boosters(part)


def _voters(model: Any) -> list[Any]:
    """Fitted estimators inside one: of votes, bags, and calibrated classifiers."""
    found = list(getattr(model, "estimators_", ())) if not hasattr(getattr(model, "estimators_", None), "dtype") else []
    found += [getattr(part, "estimator", None) for part in getattr(model, "calibrated_classifiers_", ())]
    return [part for part in found if part is not None]


def _round_thresholds(booster: Any) -> None:
    import numpy as np

    for trees in booster._predictors:
        for tree in trees:
            exact = tree.nodes["num_threshold"]
            nearest = exact.astype(np.float32)
            below = np.where(nearest.astype(np.float64) > exact, np.nextafter(nearest, np.float32(-np.inf)), nearest)
            tree.nodes["num_threshold"] = below.astype(np.float64)


def _split_input(graph: Any, names: Sequence[str]) -> None:
    """Puts one input X in the place of an input a column."""
    import onnx

    del graph.input[:]
    graph.input.append(onnx.helper.make_tensor_value_info("X", onnx.TensorProto.FLOAT, [None, len(names)]))
    graph.node.insert(0, onnx.helper.make_node("Split", ["X"], list(names), axis=1))
