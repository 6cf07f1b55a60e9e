"""Makes the Reference: the training rows reduced to bins, and how sure and how right the model was on rows it did not see.

Bins, quanta and design effects are as the contract says (edgeloop_contracts/reference.py). Edges are values of the data
(the quantile is the smallest value with at least that share at or below it), so an atom closes the bin that it sits in.

The design effect of a feature is by how much the variance of window means is inflated over that of independent rows:
W * var(means) / var(rows), over windows of one node; a category counts with all its shares. It is 1 where there are fewer
than 20 windows, or no times.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgeloop_contracts import Column, FeatureReference

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Windows = npt.NDArray[np.int64]

__all__ = ["LEAST_WINDOWS", "PLACES", "design_effect", "feature_reference", "shells", "windows_of"]

PLACES = (0.001, 0.005, *(k / 32 for k in range(1, 32)), 0.995, 0.999)  # quantiles that the edges stand at
LEAST_WINDOWS = 20
_FINEST = 2.0**-40
_SAFE = 2.0**62


def shells(columns: Sequence[Column]) -> list[FeatureReference]:
    """Features with their names, kinds and categories, and no counts yet: enough to encode rows."""
    return [FeatureReference(name=c.name, kind=c.kind, categories=c.categories) for c in columns]


def windows_of(times_s: Floats | None, nodes: Windows, window_s: float) -> Windows | None:
    """A number for each row that is the same for rows of one node in one window; None where rows have no times."""
    import numpy as np

    if times_s is None:
        return None
    windows = np.floor(times_s / window_s).astype(np.int64)
    _, index = np.unique(np.stack([nodes, windows]), axis=1, return_inverse=True)
    return index.reshape(-1)


def feature_reference(shell: FeatureReference, values: Floats, windows: Windows | None) -> FeatureReference:
    """The reference of one feature from its values [rows] (numbers or codes; NaN missing)."""
    import numpy as np

    present = ~np.isnan(values)
    seen, inside = values[present], windows[present] if windows is not None else None
    body = _category(shell, seen, inside) if shell.kind == "category" else _number(seen, inside)
    missing = int((~present).sum())
    return FeatureReference(name=shell.name, kind=shell.kind, categories=shell.categories, missing=missing, **body)


def _number(seen: Floats, windows: Windows | None) -> dict[str, Any]:
    import numpy as np

    if not len(seen):
        return {"counts": (0,), "sums": (0,), "quantum": _FINEST}
    std = float(seen.std())
    quantum = _quantum(std)
    edges = np.unique(np.quantile(seen, PLACES, method="inverted_cdf") + 0.0)
    bins = np.searchsorted(edges, seen, side="left")
    return {
        "edges": tuple(edges.tolist()),
        "counts": tuple(np.bincount(bins, minlength=len(edges) + 1).tolist()),
        "sums": _sums(seen, bins, len(edges) + 1, quantum),
        "quantum": quantum,
        "minimum": float(seen.min()),
        "maximum": float(seen.max()),
        "std": std,
        "design_effect": design_effect(seen[:, None], windows),
    }


def _quantum(std: float) -> float:
    """A power of two near std / 2**20, and at least 2**-40."""
    return max(_FINEST, 2.0 ** round(math.log2(std) - 20)) if std > 0 else _FINEST


def _sums(seen: Floats, bins: Windows, size: int, quantum: float) -> tuple[int, ...]:
    """Exact sums of whole quanta: in 64 bits where they fit, else in Python's own numbers."""
    import numpy as np

    quanta = np.rint(seen / quantum)
    if float(np.abs(quanta).sum()) < _SAFE:
        totals = np.zeros(size, dtype=np.int64)
        np.add.at(totals, bins, quanta.astype(np.int64))
        return tuple(totals.tolist())
    exact = [0] * size
    for place, value in zip(bins.tolist(), quanta.tolist(), strict=True):
        exact[place] += int(value)
    return tuple(exact)


def _category(shell: FeatureReference, seen: Floats, windows: Windows | None) -> dict[str, Any]:
    import numpy as np

    size = len(shell.categories)
    codes = np.where((seen >= 0) & (seen < size), seen, size).astype(np.int64)
    shares = np.eye(size + 1)[codes] if windows is not None else np.empty((len(codes), 0))
    return {
        "counts": tuple(np.bincount(codes, minlength=size + 1).tolist()),
        "maximum": float(max(size - 1, 0)),
        "design_effect": design_effect(shares, windows),
    }


def design_effect(values: Floats, windows: Windows | None, least: int = LEAST_WINDOWS) -> float:
    """Variance inflation of window means: [rows, k] values (k shares of one category, or 1 number), windows [rows]; >= 1.

    Windows with less than half of the usual rows are left out; W is the mean number of rows of the others.
    """
    import numpy as np

    if windows is None or not len(windows):
        return 1.0
    counts = np.bincount(windows)
    full = counts >= max(1.0, float(np.median(counts[counts > 0])) / 2)
    spread = float(values.var(axis=0).sum())
    if full.sum() < least or not spread > 0:
        return 1.0
    means = np.stack([np.bincount(windows, weights=column) for column in values.T])[:, full] / counts[full]
    inflation = float(counts[full].mean()) * float(means.var(axis=1, ddof=1).sum()) / spread
    return max(1.0, inflation)
