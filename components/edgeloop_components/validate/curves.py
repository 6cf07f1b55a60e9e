"""What the plots show: confusion matrix, ROC curves, reliability. Pure; plain lists, ready for JSON and for KFP."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeloop_components.validate.metrics import ECE_BINS

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

__all__ = ["Confusion", "ReliabilityBin", "Roc", "confusion_of", "reliability_of", "roc_of"]

POINTS = 100  # of a curve


@dataclass(frozen=True)
class Confusion:
    """`matrix[i][j]`: rows of class i that were predicted as class j."""

    classes: tuple[str, ...]
    matrix: tuple[tuple[int, ...], ...]


@dataclass(frozen=True)
class Roc:
    """One class against the rest. The first threshold is 1: nothing is taken for the class."""

    fpr: tuple[float, ...]
    tpr: tuple[float, ...]
    thresholds: tuple[float, ...]
    area: float


@dataclass(frozen=True)
class ReliabilityBin:
    """Rows of similar confidence: how sure the model was, and how often it was right."""

    rows: int
    confidence: float
    right: float


def confusion_of(
    labels: npt.NDArray[np.object_], predicted: npt.NDArray[np.int64], classes: Sequence[str]
) -> Confusion:
    """Labels that are no class of the model come last; it never predicts them."""
    import numpy as np

    names = [*classes, *sorted(set(labels.tolist()) - set(classes))]
    place = {name: i for i, name in enumerate(names)}
    truth = np.array([place[label] for label in labels], dtype=np.int64)
    matrix = np.bincount(truth * len(names) + predicted, minlength=len(names) ** 2).reshape(len(names), len(names))
    return Confusion(tuple(names), tuple(tuple(row) for row in matrix.tolist()))


def roc_of(positive: npt.NDArray[np.bool_], scores: Floats) -> Roc | None:
    """The curve, thinned to about 100 points; None when all rows are of the class, or none is."""
    import numpy as np

    hits, others = int(positive.sum()), int((~positive).sum())
    if not hits or not others:
        return None
    order = np.argsort(-scores, kind="stable")
    falling = scores[order]
    ends = np.flatnonzero(np.append(np.diff(falling) != 0, True))
    tpr = np.concatenate(([0.0], np.cumsum(positive[order])[ends] / hits))
    fpr = np.concatenate(([0.0], np.cumsum(~positive[order])[ends] / others))
    limits = np.concatenate(([1.0], np.minimum(falling[ends], 1.0)))
    area = float((np.diff(fpr) * (tpr[1:] + tpr[:-1]) / 2).sum())
    kept = np.unique(np.linspace(0, len(fpr) - 1, POINTS).round().astype(int))
    return Roc(tuple(fpr[kept].tolist()), tuple(tpr[kept].tolist()), tuple(limits[kept].tolist()), area)


def reliability_of(confidence: Floats, right: npt.NDArray[np.bool_]) -> tuple[ReliabilityBin, ...]:
    """The bins that hold rows, by rising confidence."""
    import numpy as np

    bins = np.minimum((confidence * ECE_BINS).astype(np.int64), ECE_BINS - 1)
    rows = np.bincount(bins, minlength=ECE_BINS)
    sure, hit = (np.bincount(bins, weights=values, minlength=ECE_BINS) for values in (confidence, right))
    filled = np.flatnonzero(rows).tolist()
    return tuple(ReliabilityBin(int(rows[i]), float(sure[i] / rows[i]), float(hit[i] / rows[i])) for i in filled)
