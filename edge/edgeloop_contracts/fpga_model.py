"""The golden model of an FPGA design: what its core computes, in integers, with the standard library alone.

Simulation, netlist and board are held to these functions bit for bit; a node without a board serves with them. Where the
words come from: `edgeloop_contracts.fpga`.
"""

from __future__ import annotations

import math
import struct
from bisect import bisect_left
from collections.abc import Callable, Mapping, Sequence

from edgeloop_contracts.fpga import DenseLayer, FpgaDesign, FpgaForest, FpgaPerceptron, FpgaTree

__all__ = ["answer_of", "codes_of", "label_of", "probabilities_of", "scores_of"]

MOST: float = struct.unpack("<f", b"\xff\xff\x7f\x7f")[0]  # the largest finite float32


def codes_of(design: FpgaDesign, row: Sequence[float]) -> tuple[int, ...]:
    """The row [features] as the integers that travel to the core. NaN is a missing value; values are rounded to float32.

    Raises ValueError where the row has another number of values.
    """
    if len(row) != design.features:
        raise ValueError(f"row: expected {design.features} values, found {len(row)}")
    code = _coder(design)
    return tuple(
        missing if math.isnan(value) else code(place, _float32(value))
        for place, (value, missing) in enumerate(zip(row, design.missing, strict=True))
    )


def _float32(value: float) -> float:
    """The nearest float32; infinities stay."""
    try:
        return float(struct.unpack("<f", struct.pack("<f", value))[0])
    except OverflowError:
        return math.copysign(math.inf, value)


def _coder(design: FpgaDesign) -> Callable[[int, float], int]:
    """Feature and value: code. ValueError where the design holds no model."""
    if design.perceptron is not None:
        dense = design.perceptron
        return lambda place, value: _dense_code(dense, place, value)
    if design.forest is not None:
        thresholds = design.forest.thresholds
        return lambda place, value: bisect_left(thresholds[place], value)
    raise ValueError("design: expected a perceptron or a forest, found neither")


def _dense_code(model: FpgaPerceptron, place: int, value: float) -> int:
    half = 1 << (model.bits - 1)
    exact = min(max(value, -MOST), MOST) * model.factors[place] + model.offsets[place] + 0.5
    found: int = math.floor(min(max(exact, -half), half - 1))
    return found


def scores_of(design: FpgaDesign, codes: Sequence[int]) -> tuple[int, ...]:
    """Codes [features] to raw scores [scores], exact."""
    if len(codes) != design.features:
        raise ValueError(f"codes: expected {design.features}, found {len(codes)}")
    if design.perceptron is not None:
        return _dense_scores(design.perceptron, codes)
    if design.forest is not None:
        return _forest_scores(design.forest, codes)
    raise ValueError("design: expected a perceptron or a forest, found neither")


def _dense_scores(model: FpgaPerceptron, codes: Sequence[int]) -> tuple[int, ...]:
    values: Sequence[int] = codes
    for layer in model.layers[:-1]:
        values = [_activation(one, layer.shift, model.bits) for one in _sums(layer, values)]
    return tuple(_sums(model.layers[-1], values))


def _sums(layer: DenseLayer, values: Sequence[int]) -> list[int]:
    return [
        bias + sum(weight * value for weight, value in zip(row, values, strict=True))
        for row, bias in zip(layer.weights, layer.biases, strict=True)
    ]


def _activation(total: int, shift: int, bits: int) -> int:
    """A saturating ReLU, rounded half up."""
    return min(max((total + ((1 << shift) >> 1)) >> shift, 0), (1 << bits) - 1)


def _forest_scores(forest: FpgaForest, codes: Sequence[int]) -> tuple[int, ...]:
    totals = list(forest.base)
    for tree in forest.trees:
        for output, value in zip(tree.outputs, tree.values[_leaf(forest, tree, codes)], strict=True):
            totals[output] += value
    return tuple(totals)


def _leaf(forest: FpgaForest, tree: FpgaTree, codes: Sequence[int]) -> int:
    """The place of the leaf that the codes lead to."""
    node = 0
    while (feature := tree.features[node]) >= 0:
        code = codes[feature]
        missing = code > len(forest.thresholds[feature])
        left = code <= tree.edges[node] or (missing and tree.missing_left[node])
        node = tree.left[node] if left else tree.right[node]
    return node


def label_of(design: FpgaDesign, scores: Sequence[int]) -> int:
    """The place of the class: the largest score, the lower of equals; of one score, whether it is above 0."""
    return int(scores[0] > 0) if design.scores == 1 else max(range(len(scores)), key=lambda place: scores[place])


def answer_of(design: FpgaDesign, codes: Sequence[int]) -> tuple[int, tuple[int, ...]]:
    """Label and raw scores [scores] of a row's codes: what a core answers to INFER."""
    scores = scores_of(design, codes)
    return label_of(design, scores), scores


def probabilities_of(design: FpgaDesign, scores: Sequence[int]) -> tuple[float, ...]:
    """Raw scores [scores] to probabilities [classes], float64, as `FpgaTail` says."""
    values = [math.ldexp(score, -design.fraction_bits) for score in scores]
    transform = (_ONE if design.scores == 1 else _MANY)[design.tail.transform]
    plain = transform(values)
    if not design.tail.calibrated:
        return plain
    floored = [max(p, design.tail.floor) for p in plain]
    return _softmax([(math.log(p) if p > 0 else -math.inf) * design.tail.power for p in floored])


def _softmax(values: Sequence[float]) -> tuple[float, ...]:
    top = max(values)
    powers = [math.exp(value - top) for value in values]
    total = math.fsum(powers)
    return tuple(power / total for power in powers)


def _logistic(value: float) -> float:
    small = math.exp(-abs(value))
    return (1.0 if value >= 0 else small) / (1.0 + small)


def _pair(values: Sequence[float]) -> tuple[float, ...]:
    return (_logistic(-values[0]), _logistic(values[0]))


def _unit(value: float) -> float:
    return min(max(value, 0.0), 1.0)


def _logistics(values: Sequence[float]) -> tuple[float, ...]:
    """One against the rest: each class by itself, then shares of their sum."""
    each = [_logistic(value) for value in values]
    total = math.fsum(each)
    return tuple(p / total for p in each)


Transform = Callable[[Sequence[float]], tuple[float, ...]]
_ONE: Mapping[str, Transform] = {
    "softmax": _pair,
    "logistic": _pair,
    "identity": lambda values: (_unit(0.5 - values[0]), _unit(0.5 + values[0])),
}
_MANY: Mapping[str, Transform] = {
    "softmax": _softmax,
    "logistic": _logistics,
    "identity": lambda values: tuple(_unit(value) for value in values),
}
