"""Calibration: temperature scaling of probabilities, and the map from confidence to the chance of being right. Pure.

Temperature scaling raises each probability to the power 1/T and normalises: the order of classes stays, the confidence
changes. T minimises the log loss on rows that the model was not fitted on (a convex problem in 1/T).
"""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeloop_contracts import CalibrationMap

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

__all__ = ["LEAST_ROWS", "Temperature", "calibration_map", "fit_temperature", "tempered"]

LEAST_ROWS = 50  # fewer say nothing of calibration
KNOTS = 50
_SMALLEST = 1e-7
_POWERS = (0.05, 20.0)  # 1/T


@dataclass(frozen=True)
class Temperature:
    """`power` is 1/T. Probabilities below `floor` are taken as `floor`.

    A power below 1 makes much of small differences near 0: the slope of p**power there is power * p**(power - 1). The floor
    keeps it below 100, so that float32 rounding (1e-7) stays rounding (1e-5) on every processor.
    """

    power: float
    floor: float

    @property
    def degrees(self) -> float:
        """T itself."""
        return 1.0 / self.power


def _with_floor(power: float) -> Temperature:
    floor = (power / 100.0) ** (1.0 / (1.0 - power)) if power < 1.0 - 1e-9 else 0.0
    return Temperature(power, max(_SMALLEST, floor))


def fit_temperature(probabilities: Floats, labels: npt.NDArray[np.int64]) -> Temperature:
    """The temperature for probabilities [n, classes] of rows with the labels [n] (negative: unknown class, left out).

    Without LEAST_ROWS rows nothing is changed: T = 1.
    """
    import numpy as np

    known = labels >= 0
    if known.sum() < LEAST_ROWS:
        return _with_floor(1.0)
    logs = np.log(np.clip(probabilities[known], _SMALLEST, 1.0))
    right = logs[np.arange(len(logs)), labels[known]]

    def loss(power: float) -> float:
        scaled = power * logs
        top = scaled.max(axis=1)
        return float(np.mean(top + np.log(np.exp(scaled - top[:, None]).sum(axis=1)) - power * right))

    return _with_floor(_least(loss))


def _least(loss: Callable[[float], float]) -> float:
    """Golden-section search on the logarithm of the power; the loss has one minimum."""
    ratio = (math.sqrt(5.0) - 1.0) / 2.0
    low, high = math.log(_POWERS[0]), math.log(_POWERS[1])
    for _ in range(40):
        left, right = high - ratio * (high - low), low + ratio * (high - low)
        if loss(math.exp(left)) <= loss(math.exp(right)):
            high = right
        else:
            low = left
    return math.exp((low + high) / 2.0)


def tempered(probabilities: Floats, temperature: Temperature) -> Floats:
    """What the graph's last part computes, in float64: [n, classes], each row summing to 1."""
    import numpy as np

    scaled = np.log(np.clip(probabilities, temperature.floor, 1.0)) * temperature.power
    powers = np.exp(scaled - scaled.max(axis=1, keepdims=True))
    result: Floats = powers / powers.sum(axis=1, keepdims=True)
    return result


def calibration_map(confidence: Floats, right: npt.NDArray[np.bool_]) -> CalibrationMap:
    """Isotonic regression of `right` on the largest probability, thinned to at most 50 knots; x rises strictly."""
    import numpy as np

    x, first = np.unique(confidence, return_inverse=True)
    weight = np.bincount(first).astype(np.float64)
    y = np.clip(_pooled(np.bincount(first, weights=right) / weight, weight), 0.0, 1.0)
    steps = np.concatenate(([True], np.diff(y) != 0, [True]))
    corners = np.flatnonzero(steps[:-1] | steps[1:])  # inside a level, knots say nothing
    if len(corners) > KNOTS:
        corners = corners[np.unique(np.linspace(0, len(corners) - 1, KNOTS).round().astype(int))]
    return CalibrationMap(x=tuple(x[corners].tolist()), y=tuple(y[corners].tolist()), rows=len(confidence))


def _pooled(y: Floats, weight: Floats) -> Floats:
    """Pool adjacent violators: the non-falling sequence nearest to y in weighted squares."""
    import numpy as np

    levels: list[float] = []
    weights: list[float] = []
    counts: list[int] = []
    for value, mass in zip(y.tolist(), weight.tolist(), strict=True):
        levels.append(value)
        weights.append(mass)
        counts.append(1)
        while len(levels) > 1 and levels[-2] >= levels[-1]:
            total = weights[-2] + weights[-1]
            level = (levels[-2] * weights[-2] + levels[-1] * weights[-1]) / total
            levels[-2:], weights[-2:], counts[-2:] = [level], [total], [counts[-2] + counts[-1]]
    return np.repeat(levels, counts)
