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
    Probabilities = npt.NDArray[np.floating[Any]]

__all__ = ["PARITY_LIMIT", "Proof", "check_sound", "compare_with_estimator"]

PARITY_LIMIT = 2e-6  # of a probability
SUM_LIMIT = 1e-6
SOUND_LIMIT = 1e-3


@dataclass(frozen=True)
class Proof:
    """How near the graph is to the estimator, on rows with missing values, unknown categories and exact thresholds."""

    rows: int
    max_abs_difference: float
    label_differences: int


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


def compare_with_estimator(
    estimator: Any,
    features: Sequence[FeatureReference],
    rows: Matrix,
    score: Callable[[Matrix], tuple[Any, Any]],
    temperature: Temperature,
) -> Proof:
    """The finished graph against the estimator with the same calibration, on `rows`. TrainError shows the worst row."""
    import numpy as np

    with one_thread():
        expected = tempered(estimator.predict_proba(as_input(estimator, features, rows)), temperature)
    labels, got = score(rows)
    difference = np.abs(expected - got).max(axis=1)
    worst = int(np.nan_to_num(difference, nan=np.inf).argmax())
    if not difference[worst] <= PARITY_LIMIT:
        row = {f.name: None if np.isnan(v) else float(v) for f, v in zip(features, rows[worst].tolist(), strict=True)}
        raise TrainError(
            f"the ONNX form differs from the estimator by {difference[worst]:.3g} (limit {PARITY_LIMIT:g}) on {row}: "
            f"expected {expected[worst].tolist()}, got {got[worst].tolist()}; the converter does not know this estimator well"
        )
    best = expected.argmax(axis=1)
    places = np.arange(len(rows))
    ties = np.abs(expected[places, best] - expected[places, labels]) <= PARITY_LIMIT
    return Proof(len(rows), float(difference.max()), int((~ties).sum()))
