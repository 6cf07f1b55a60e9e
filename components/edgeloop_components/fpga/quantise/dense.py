"""Makes a design of dense layers in fixed point, with calibration rows for the ranges.

The core shifts by powers of two only, but a layer's weights may be scaled by any factor that the next layer takes back, as
ReLU lets factors through; so weights fill their bits. Which part of the range of inputs and activations is clipped, is chosen
by the error of the scores on the calibration rows (`fitted`). Biases take back the mean error that rounding makes.
Refuses sums that could leave the accumulator (`ACCUMULATOR_BITS`), whatever the inputs are.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import partial
from typing import TYPE_CHECKING, Any

from edgeloop_components.fpga.quantise.bounds import sum_ranges, width_of
from edgeloop_components.fpga.quantise.inputs import filled
from edgeloop_components.fpga.quantise.model import Column, Dense, Shares
from edgeloop_components.runtimes import ModelError
from edgeloop_contracts.fpga import DenseLayer, FpgaDesign, FpgaPerceptron, FpgaTail
from edgeloop_contracts.fpga_model import codes_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Matrix = npt.NDArray[np.float64]

__all__ = ["ACCUMULATOR_BITS", "dense_design"]

ACCUMULATOR_BITS = 32
MOST_ROWS = 2000  # that ranges are fitted on
REACHES = (4.0, 3.0, 3.5, 5.0, 6.0)  # of inputs, in standard deviations
LEAST_REACH = 2.5
SHARES = (99.9, 100.0, 99.5, 99.0)  # percentiles of activations that are not clipped
FACTORS = (1.0, 0.9, 0.8, 0.7, 0.6)  # of the weights' own range


@dataclass(frozen=True)
class Ranges:
    """What is clipped: inputs beyond `reach` standard deviations; of each hidden layer (percentile, factor)."""

    reach: float
    hidden: tuple[tuple[float, float], ...]


@dataclass(frozen=True)
class _Floats:
    """The float model of standardised rows, and those rows."""

    features: int
    mean: Matrix  # [features]
    deviation: Matrix  # [features]
    fills: tuple[float | None, ...]  # [features]
    layers: tuple[tuple[Matrix, Matrix], ...]  # weights [outputs, inputs] and biases [outputs] over standardised rows
    inputs: Matrix  # [n, features], standardised
    hidden: tuple[Matrix, ...]  # activations of each hidden layer [n, outputs]
    sums: Matrix  # [n, outputs]


def dense_design(shares: Shares, features: int, rows: Any, bits: int) -> FpgaDesign:
    """The design with inputs, weights and activations of `bits`; ranges are those of the rows [n, features]."""
    import numpy as np

    core = shares.core
    assert isinstance(core, Dense)
    if not len(rows):
        raise ModelError("calibration rows: expected some, to take ranges from, found none")
    step = max(1, len(rows) // MOST_ROWS)
    floats = _floats(core, features, np.asarray(rows, np.float64)[::step][:MOST_ROWS])
    ranges = _fitted(floats, bits)
    model, fraction = _quantised(floats, ranges, bits)
    sums = sum_ranges(model)
    widest = max(width_of(layer) for layer in sums)
    if widest > ACCUMULATOR_BITS:
        raise ModelError(f"dense layers: {bits} bits need accumulators of {widest} bits, {ACCUMULATOR_BITS} are there")
    design = FpgaDesign(
        features=features,
        classes=shares.classes,
        scores=core.outputs,
        code_bits=bits,
        score_bits=max(width_of(sums[-1]), _shape_bits(model)),
        fraction_bits=fraction,
        missing=(0,) * features,  # the mean of the calibration rows
        tail=FpgaTail(transform=shares.transform, calibrated=shares.calibrated, power=shares.power, floor=shares.floor),
        perceptron=model,
    )
    return replace(design, missing=codes_of(design, [math.nan if fill is None else fill for fill in floats.fills]))


def _shape_bits(model: FpgaPerceptron) -> int:
    """Bits for the scores that any weights of this shape want, with one for biases: a new version keeps the frame's size."""
    most = (1 << model.bits) - 1 if len(model.layers) > 1 else 1 << (model.bits - 1)
    reach = len(model.layers[-1].weights[0]) * most << (model.bits - 1)
    return width_of([(-reach, reach)]) + 1


def _floats(core: Dense, features: int, rows: Matrix) -> _Floats:
    """The core over standardised rows: what stands before it becomes a part of its first layer."""
    import numpy as np

    slopes, moves, fills = _affine(core.columns, features)
    values = np.where(np.isfinite(rows), rows, np.nan)
    known = np.array([np.nan if fill is None else fill for fill in fills])
    values = np.where(np.isnan(values), known, values)
    count = np.maximum((~np.isnan(values)).sum(axis=0), 1)
    mean = np.nansum(values, axis=0) / count
    deviation = np.sqrt(np.nansum((values - mean) ** 2, axis=0) / count)
    deviation = np.where(deviation > 0, deviation, 1.0)
    inputs = np.nan_to_num((values - mean) / deviation)
    first = core.layers[0]
    weights = first.weights @ slopes  # [outputs, features], of the row's values
    layers = [(weights * deviation, first.biases + first.weights @ moves + weights @ mean)]
    layers += [(layer.weights, layer.biases) for layer in core.layers[1:]]
    hidden, here = [], inputs
    for layer_weights, biases in layers[:-1]:
        here = np.maximum(here @ layer_weights.T + biases, 0)
        hidden.append(here)
    sums = here @ layers[-1][0].T + layers[-1][1]
    return _Floats(features, mean, deviation, fills, tuple(layers), inputs, tuple(hidden), sums)


def _affine(columns: tuple[Column, ...], features: int) -> tuple[Matrix, Matrix, tuple[float | None, ...]]:
    """columns = slopes [columns, features] @ row + moves [columns]; and what fills the gaps of each feature."""
    import numpy as np

    slopes, moves = np.zeros((len(columns), features)), np.zeros(len(columns))
    fills: dict[int, float | None] = {}
    for place, column in enumerate(columns):
        slope, move = 1.0, 0.0
        for kind, number in column.steps:
            slope, move = _stepped(kind, number, slope, move)
        slopes[place, column.feature], moves[place] = slope, move
        if fills.setdefault(column.feature, filled(column)) != filled(column):
            raise NotImplementedError(f"the missing values of feature {column.feature} are filled in two ways")
    return slopes, moves, tuple(fills.get(feature) for feature in range(features))


def _stepped(kind: str, number: float, slope: float, move: float) -> tuple[float, float]:
    if kind in ("whole", "is"):
        raise NotImplementedError(
            "categories (Cast, OneHotEncoder) before dense layers; train trees, or leave such columns out of the features"
        )
    if kind in ("mul", "div"):
        factor = number if kind == "mul" else 1 / number
        return slope * factor, move * factor
    return slope, move + {"add": number, "sub": -number, "fill": 0.0}[kind]


def _fitted(floats: _Floats, bits: int) -> Ranges:
    """The ranges with the smallest error of the scores: one is changed at a time, layer by layer."""
    best = Ranges(REACHES[0], tuple((SHARES[0], FACTORS[0]) for _ in floats.hidden))
    least = _error(floats, best, bits)
    for change in _changes(floats, bits):
        candidate = change(best)
        error = _error(floats, candidate, bits)
        if error < least:
            best, least = candidate, error
    return best


def _changes(floats: _Floats, bits: int) -> Iterator[Callable[[Ranges], Ranges]]:
    """Every change of one range to try."""
    for reach in (*REACHES, *_full(floats, bits)):
        yield partial(replace, reach=reach)
    for place in range(len(floats.hidden)):
        for pair in itertools.product(SHARES, FACTORS):
            yield partial(_with_hidden, place, pair)


def _full(floats: _Floats, bits: int) -> list[float]:
    """Where the first layer is the last, too: the reaches with which its weights fill their bits."""
    if floats.hidden:
        return []
    most = ((1 << (bits - 1)) - 1) * (1 << (bits - 1)) / _largest(floats.layers[0][0])
    exponents = range(math.ceil(math.log2(most / REACHES[-1])), math.floor(math.log2(most / LEAST_REACH)) + 1)
    return [most / 2.0**exponent for exponent in exponents]


def _with_hidden(place: int, pair: tuple[float, float], ranges: Ranges) -> Ranges:
    return replace(ranges, hidden=(*ranges.hidden[:place], pair, *ranges.hidden[place + 1 :]))


def _error(floats: _Floats, ranges: Ranges, bits: int) -> float:
    """Mean squared error of what tells classes apart: of scores without their mean, where there are several."""
    import numpy as np

    model, fraction = _quantised(floats, ranges, bits)
    sums = _forward(model, floats, ranges)[-1] * 2.0**-fraction
    off = sums - floats.sums
    off = off - off.mean(axis=1, keepdims=True) if off.shape[1] > 1 else off
    return float(np.mean(off**2))


def _codes(floats: _Floats, reach: float, bits: int) -> Any:
    import numpy as np

    half = 1 << (bits - 1)
    return np.clip(np.floor(floats.inputs * (half / reach) + 0.5), -half, half - 1)


def _forward(model: FpgaPerceptron, floats: _Floats, ranges: Ranges) -> list[Any]:
    """The sums of every layer for the calibration rows; whole numbers in float64, which holds them exactly."""
    import numpy as np

    values, found = _codes(floats, ranges.reach, model.bits), []
    for layer in model.layers:
        found.append(values @ np.array(layer.weights, np.float64).T + np.array(layer.biases, np.float64))
        values = _active(found[-1], layer.shift, model.bits)
    return found


def _active(sums: Any, shift: int, bits: int) -> Any:
    import numpy as np

    return np.clip(np.floor((sums + ((1 << shift) >> 1)) / 2.0**shift), 0, (1 << bits) - 1)


def _quantised(floats: _Floats, ranges: Ranges, bits: int) -> tuple[FpgaPerceptron, int]:
    """The layers with these ranges, and the bits of fraction of the scores."""
    import numpy as np

    half, unit = 1 << (bits - 1), ranges.reach / (1 << (bits - 1))  # unit: what a step of the layer's inputs stands for
    codes, exact, layers = _codes(floats, ranges.reach, bits), floats.inputs, []
    for place, (percentile, factor) in enumerate(ranges.hidden):
        weights, biases = floats.layers[place]
        scale = (half - 1) * factor / _largest(weights * unit)
        whole = _rounded(weights * unit * scale, bits)
        added = _biases(whole, codes, (exact @ weights.T + biases) * scale)
        top = np.percentile(floats.hidden[place].max(axis=1), percentile) * scale
        shift = max(0, math.ceil(math.log2(top / (2 * half - 1)))) if top > 0 else 0
        layers.append(_layer(whole, added, shift))
        codes = _active(codes @ whole.T + added, shift, bits)
        exact, unit = floats.hidden[place], 2.0**shift / scale
    weights, biases = floats.layers[-1]
    fraction = math.floor(math.log2((half - 1) / _largest(weights * unit)))
    whole = _rounded(weights * unit * 2.0**fraction, bits)
    added = _biases(whole, codes, (exact @ weights.T + biases) * 2.0**fraction)
    factors = half / (floats.deviation * ranges.reach)
    return FpgaPerceptron(
        bits=bits,
        factors=tuple(factors.tolist()),
        offsets=tuple((-floats.mean * factors).tolist()),
        layers=(*layers, _layer(whole, added, 0)),
    ), fraction


def _largest(weights: Matrix) -> float:
    import numpy as np

    largest = float(np.abs(weights).max(initial=0.0))
    if not largest > 0 or not math.isfinite(largest):
        raise ModelError(
            f"dense layers: expected weights that are finite and not all 0, found the largest to be {largest}"
        )
    return largest


def _rounded(weights: Matrix, bits: int) -> Matrix:
    import numpy as np

    half = 1 << (bits - 1)
    found: Matrix = np.clip(np.rint(weights), -half, half - 1)
    return found


def _biases(whole: Matrix, codes: Matrix, wanted: Matrix) -> Matrix:
    """Biases with which the mean of each sum is that of the float model."""
    import numpy as np

    found: Matrix = np.rint(np.mean(wanted - codes @ whole.T, axis=0))
    return found


def _layer(weights: Matrix, biases: Matrix, shift: int) -> DenseLayer:
    return DenseLayer(
        weights=tuple(tuple(int(one) for one in row) for row in weights.tolist()),
        biases=tuple(int(one) for one in biases.tolist()),
        shift=shift,
    )
