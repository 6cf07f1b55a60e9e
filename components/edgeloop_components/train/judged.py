"""The whole Reference of a trained model: its features' bins, and how it did on the rows that it did not see."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Protocol

from edgeloop_components.ingest.rows import Rows
from edgeloop_components.runtimes import Score
from edgeloop_components.train.calibration import calibration_map
from edgeloop_components.train.reference import design_effect, feature_reference, windows_of
from edgeloop_components.train.split import Split
from edgeloop_contracts import FeatureReference, Loop, Reference, schema_hash_of, units
from edgeloop_contracts.reference import CONFIDENCE_BINS, bin_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["reference_of"]

DAY_S = 86_400
LEAST_DAYS = 10  # of error rates; fewer give no design effect


class Data(Protocol):
    """The rows as the model sees them."""

    @property
    def rows(self) -> Rows: ...
    @property
    def features(self) -> Sequence[FeatureReference]: ...
    @property
    def values(self) -> npt.NDArray[np.float64]: ...
    @property
    def matrix(self) -> npt.NDArray[np.float32]: ...
    @property
    def labels(self) -> npt.NDArray[np.object_]: ...
    @property
    def split(self) -> Split: ...


def reference_of(loop: Loop, data: Data, classes: Sequence[str], score: Score) -> Reference:
    """Features counted on all rows that training saw; confidence, calibration and accuracy on the held-out rows."""
    import numpy as np

    window_s = units.duration_s(loop.monitor.window)
    features = _features(data, window_s)
    labels, probabilities = score(data.matrix)
    confidence = probabilities.max(axis=1).astype(np.float64)
    right = np.array(classes, dtype=object)[labels] == data.labels
    held = data.split.holdout
    return Reference(
        loop=loop.name,
        schema_hash=schema_hash_of(features, classes),
        rows=len(data.split.known),
        features=tuple(features),
        classes=tuple(classes),
        class_counts=tuple(np.bincount(labels[held], minlength=len(classes)).tolist()),
        confidence_counts=_confidence_counts(confidence[held]),
        calibration=calibration_map(confidence[held], right[held]),
        accuracy=float(right[held].mean()),
        accuracy_rows=len(held),
        error_design_effect=_error_design_effect(data, ~right),
        window_s=window_s,
    )


def _features(data: Data, window_s: float) -> list[FeatureReference]:
    known, times = data.split.known, data.rows.times_s()
    windows = windows_of(None if times is None else times[known], data.rows.nodes()[known], window_s)
    columns = data.values[known].T
    return [feature_reference(shell, column, windows) for shell, column in zip(data.features, columns, strict=True)]


def _confidence_counts(confidence: npt.NDArray[np.float64]) -> tuple[int, ...]:
    counts = [0] * CONFIDENCE_BINS
    for value in confidence.tolist():
        counts[bin_of(value)] += 1
    return tuple(counts)


def _error_design_effect(data: Data, wrong: npt.NDArray[np.bool_]) -> float:
    """Of daily error rates on all rows that the model was not fitted on: the larger of node by node and all nodes together.

    Nodes err together when they share their weather, so days of the whole fleet can vary more than those of a node.
    """
    import numpy as np

    times = data.rows.times_s()
    if times is None:
        return 1.0
    unseen = np.union1d(data.split.calibration, data.split.holdout)
    errors = wrong[unseen].astype(np.float64)[:, None]
    nodes = data.rows.nodes()[unseen]
    days = [windows_of(times[unseen], who, DAY_S) for who in (nodes, np.zeros_like(nodes))]
    return max(design_effect(errors, windows, LEAST_DAYS) for windows in days)
