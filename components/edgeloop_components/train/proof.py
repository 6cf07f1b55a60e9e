"""Proves a finished graph before it is written: sound answers everywhere, and those of the estimator it was made from."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeloop_components.train.calibration import Temperature, tempered
from edgeloop_components.train.estimator import as_input, one_thread
from edgeloop_components.train.problem import TrainError
from edgeloop_contracts import FeatureReference

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Matrix = npt.NDArray[np.float32]
    Floats = npt.NDArray[np.float64]
    Probabilities = npt.NDArray[np.floating[Any]]

__all__ = [
    "DEEP_LIMIT",
    "PARITY_LIMIT",
    "Answers",
    "Proof",
    "check_sound",
    "compare_with_estimator",
    "estimator_answers",
    "parity_limits",
]

PARITY_LIMIT = 2e-6  # of a probability
DEEP_LIMIT = 1e-5  # of a network with several hidden layers: float32 rounds in each, and the next multiplies it
SHALLOW = 2  # matrices of a network with one hidden layer
TINY = 1e-30
SUM_LIMIT = 1e-6
SOUND_LIMIT = 1e-3


@dataclass(frozen=True)
class Proof:
    """How near the graph is to the estimator, on rows with missing values, unknown categories and exact thresholds."""

    rows: int
    max_abs_difference: float
    label_differences: int
    limit: float  # the largest that was allowed for a row


@dataclass(frozen=True)
class Answers:
    """The estimator's own calibrated `probabilities` float64 [n, classes], and how far the graph may be from each row's.

    `limit` is that of a row which calibration does not stretch.
    """

    probabilities: Floats
    limits: Floats
    limit: float


def check_sound(rows: Matrix, probabilities: Probabilities, names: Sequence[str], *, exact: bool = True) -> None:
    """TrainError unless every row's probabilities are numbers in [0, 1] with the sum 1.

    `exact` asks for a sum within 1e-6 (a finished graph), else within 1e-3 (a graph as it came).
    """
    import numpy as np

    limit = SUM_LIMIT if exact else SOUND_LIMIT
    sums = probabilities.astype(np.float64).sum(axis=1)
    in_range = ((probabilities >= -limit) & (probabilities <= 1 + limit)).all(axis=1)
    bad = np.flatnonzero(~(in_range & (np.abs(sums - 1.0) <= limit)))
    if not len(bad):
        return
    worst = int(bad[0])
    row = {name: None if np.isnan(v) else float(v) for name, v in zip(names, rows[worst].tolist(), strict=True)}
    hint = " (it has no answer to a missing value: put an imputer into the graph)" if None in row.values() else ""
    raise TrainError(
        f"the model's answer to {row}: expected probabilities in [0, 1] with the sum 1, "
        f"got {probabilities[worst].tolist()}{hint}"
    )


def parity_limits(estimator: Any, probabilities: Probabilities, temperature: Temperature) -> Floats:
    """How far each row of the graph may be from this estimator, whose answers before calibration are given.

    Calibration multiplies a difference of p by the slope of p**power, which is large near 0 where the power is below 1.
    """
    import numpy as np

    lowest = np.maximum(np.asarray(probabilities, dtype=np.float64), max(temperature.floor, TINY)).min(axis=1)
    steepest = np.maximum(1.0, temperature.power * lowest ** (temperature.power - 1.0))
    steepest = np.maximum(steepest, temperature.power)  # above 1 the slope is largest at 1
    limits: Floats = np.minimum(_limit_of(estimator) * steepest, DEEP_LIMIT)
    return limits


def _limit_of(estimator: Any) -> float:
    parts = [estimator, *(step for _, step in getattr(estimator, "steps", ()))]
    deep = max(len(getattr(part, "coefs_", ())) for part in parts) > SHALLOW
    return DEEP_LIMIT if deep else PARITY_LIMIT


def estimator_answers(
    estimator: Any, features: Sequence[FeatureReference], rows: Matrix, temperature: Temperature
) -> Answers:
    """What the estimator itself says to `rows`, with the graph's calibration. No infinite values: it refuses them."""
    with one_thread():
        raw = estimator.predict_proba(as_input(estimator, features, rows))
    return Answers(tempered(raw, temperature), parity_limits(estimator, raw, temperature), _limit_of(estimator))


def compare_with_estimator(
    answers: Answers,
    features: Sequence[FeatureReference],
    rows: Matrix,
    score: Callable[[Matrix], tuple[Any, Any]],
) -> Proof:
    """The finished graph against the estimator's answers to `rows`. TrainError shows the worst row."""
    import numpy as np

    expected, limits = answers.probabilities, answers.limits
    labels, got = score(rows)
    difference = np.abs(expected - got).max(axis=1)
    worst = int(np.nan_to_num(difference / limits, nan=np.inf).argmax())
    if not difference[worst] <= limits[worst]:
        row = {f.name: None if np.isnan(v) else float(v) for f, v in zip(features, rows[worst].tolist(), strict=True)}
        raise TrainError(
            f"the ONNX form differs from the estimator by {difference[worst]:.3g} (limit {limits[worst]:g}) on {row}: "
            f"expected {expected[worst].tolist()}, got {got[worst].tolist()}; the converter does not know this estimator well"
        )
    best = expected.argmax(axis=1)
    places = np.arange(len(rows))
    ties = np.abs(expected[places, best] - expected[places, labels]) <= limits
    return Proof(len(rows), float(difference.max()), int((~ties).sum()), float(limits.max()))
