"""Readers of plain arithmetic: dense layers, their activations, and what makes probabilities of their sums."""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from typing import Any

from edgeloop_components.fpga.quantise.classifiers import as_shares
from edgeloop_components.fpga.quantise.inputs import stepped
from edgeloop_components.fpga.quantise.model import Columns, Dense, Ensemble, Half, Layer, Logs, Shares, Value
from edgeloop_components.onnxgraph import Node

__all__ = ["OPERATORS"]


def _layered(value: Any, weights: Any, biases: Any) -> Dense:
    """One more layer; behind a layer without ReLU it becomes a part of that."""
    import numpy as np

    layer = Layer(np.asarray(weights, np.float64), np.asarray(biases, np.float64))
    if isinstance(value, Columns):
        return Dense(value.items, (layer,))
    if not isinstance(value, Dense):
        raise NotImplementedError("expected inputs or a dense layer before it")
    if value.rectified:
        return Dense(value.columns, (*value.layers, layer))
    last = value.layers[-1]
    joined = Layer(layer.weights @ last.weights, layer.weights @ last.biases + layer.biases)
    return Dense(value.columns, (*value.layers[:-1], joined))


def _constant(argument: Any, axes: int | None = None) -> Any:
    import numpy as np

    if not isinstance(argument, np.ndarray) or argument.dtype.kind not in "fiu":
        raise NotImplementedError("expected numbers that are constant")
    if axes is not None and argument.ndim != axes:
        raise NotImplementedError(f"expected {axes} axes of constants, found {argument.ndim}")
    return argument.astype(np.float64)


def _matmul(_: Node, arguments: Sequence[Any]) -> Value:
    import numpy as np

    weights = _constant(arguments[1], 2).T
    return _layered(arguments[0], weights, np.zeros(len(weights)))


def _gemm(node: Node, arguments: Sequence[Any]) -> Value:
    import numpy as np

    if node.integer("transA", 0):
        raise NotImplementedError("transA is not supported")
    weights = _constant(arguments[1], 2)
    weights = (weights if node.integer("transB", 0) else weights.T) * node.number("alpha", 1.0)
    given = arguments[2] if len(arguments) > 2 and arguments[2] is not None else np.zeros(1)
    biases = np.broadcast_to(np.ravel(_constant(given)) * node.number("beta", 1.0), len(weights))
    return _layered(arguments[0], weights, biases)


def _relu(_: Node, arguments: Sequence[Any]) -> Value:
    if not isinstance(arguments[0], Dense):
        raise NotImplementedError("expected a dense layer before it")
    return replace(arguments[0], rectified=True)


def _operation(kind: str) -> Callable[[Node, Sequence[Any]], Value]:
    def read(_: Node, arguments: Sequence[Any]) -> Value:
        first, second = arguments
        if isinstance(first, (Columns, Dense, Logs)):
            return _with_constant(kind, first, _constant(second))
        if isinstance(second, Half) and kind == "sub" and (_constant(first) == 1).all():
            return replace(second, second=not second.second)
        if kind in ("add", "mul"):
            return _with_constant(kind, second, _constant(first))
        raise NotImplementedError("a constant minus or divided by this is not supported")

    return read


def _with_constant(kind: str, value: Any, numbers: Any) -> Value:
    if isinstance(value, Columns):
        return stepped(value, kind, numbers)
    if isinstance(value, Logs) and kind in ("mul", "div") and numbers.size == 1:
        factor = float(numbers.item())
        if not (math.isfinite(factor) and factor > 0):
            raise NotImplementedError(f"logarithms times {factor:g}, where a factor above 0 is expected")
        return replace(value, power=value.power * factor if kind == "mul" else value.power / factor)
    if isinstance(value, Dense) and not value.rectified:
        return _changed(kind, value, numbers)
    raise NotImplementedError("a constant has no place there")


def _changed(kind: str, value: Dense, numbers: Any) -> Dense:
    """A dense layer's sums plus, minus, times or by constants [1] or [outputs]."""
    import numpy as np

    last, each = value.layers[-1], np.broadcast_to(np.ravel(numbers), value.outputs)
    factor = {"mul": each, "div": 1 / each if kind == "div" else each}.get(kind, np.ones(value.outputs))
    moved = {"add": each, "sub": -each}.get(kind, np.zeros(value.outputs))
    layer = Layer(last.weights * factor[:, None], last.biases * factor + moved)
    return replace(value, layers=(*value.layers[:-1], layer))


def _sigmoid(_: Node, arguments: Sequence[Any]) -> Value:
    core = arguments[0]
    if not isinstance(core, (Dense, Ensemble)) or core.outputs != 1 or getattr(core, "rectified", False):
        raise NotImplementedError("it is supported of the one sum of a classifier with two classes only")
    return Half(core)


def _softmax(node: Node, arguments: Sequence[Any]) -> Value:
    value = arguments[0]
    if node.integer("axis", -1 if node.version >= 13 else 1) not in (1, -1):
        raise NotImplementedError("only the axis of the classes is supported")
    if isinstance(value, Logs):
        if value.shares.calibrated:
            raise NotImplementedError("probabilities are calibrated twice")
        return replace(value.shares, calibrated=True, power=value.power, normal=True)
    if isinstance(value, (Dense, Ensemble)) and value.outputs > 1 and not getattr(value, "rectified", False):
        return Shares(value, "softmax")
    raise NotImplementedError("expected the sums of a classifier before it")


def _concat(node: Node, arguments: Sequence[Any]) -> Value:
    if node.integer("axis", 0) not in (1, -1):
        raise NotImplementedError("only columns can be put together")
    if all(isinstance(one, Columns) for one in arguments):
        return Columns(tuple(item for one in arguments for item in one.items))
    sides = [one.second for one in arguments if isinstance(one, Half)]
    if len(arguments) == 2 and sides == [False, True] and arguments[0].core is arguments[1].core:
        return Shares(arguments[0].core, "logistic")
    raise NotImplementedError("only inputs, or the probabilities of two classes, can be put together")


def _clip(node: Node, arguments: Sequence[Any]) -> Value:
    shares = as_shares(arguments[0])
    ends = [float(_constant(one).item()) for one in arguments[1:3] if one is not None]
    low, high = ends if len(ends) == 2 else (node.number("min", 0.0), node.number("max", 1.0))
    if shares is None or high != 1 or not 0 <= low < 1:
        raise NotImplementedError(f"it is supported of probabilities, from their least to 1, found {low} to {high}")
    return replace(shares, floor=max(shares.floor, low))


def _log(_: Node, arguments: Sequence[Any]) -> Value:
    shares = as_shares(arguments[0])
    if shares is None:
        raise NotImplementedError("it is supported of probabilities only")
    return Logs(shares)


OPERATORS: Mapping[tuple[str, str], Any] = {
    ("", "Add"): _operation("add"),
    ("", "Clip"): _clip,
    ("", "Concat"): _concat,
    ("", "Div"): _operation("div"),
    ("", "Gemm"): _gemm,
    ("", "Log"): _log,
    ("", "MatMul"): _matmul,
    ("", "Mul"): _operation("mul"),
    ("", "Relu"): _relu,
    ("", "Sigmoid"): _sigmoid,
    ("", "Softmax"): _softmax,
    ("", "Sub"): _operation("sub"),
}
