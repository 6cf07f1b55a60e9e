"""Golden rows: inputs with the answers that the reference gives, for every place where a runtime may go wrong.

Ordinary rows, missing values (each feature alone, and all), values exactly on tree thresholds and on bin edges, values far
out of range, unknown and every known category. Infinite values come last. A node refuses them before the model sees them,
so they are only there to compare runtimes, and only where the reference has a sound answer to them: the distribution that it
gives to a huge finite value too. A sum that meets infinity is NaN, and what a graph makes of that is no agreement to keep.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING, Any

from edgeloop_contracts import FeatureReference

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Matrix = npt.NDArray[np.float32]
    from edgeloop_components.train.proof import Answers

    Score = Callable[[Matrix], tuple[Any, Any]]

__all__ = ["golden_document", "golden_rows", "infinite_rows", "said", "threshold_rows"]

ORDINARY, ALONE, ON_THRESHOLD, OUTSIDE, INFINITE = 16, 8, 12, 8, 8
HUGE = 1e30  # far from any data, far from where float32 ends
SAME = 1e-6


def golden_rows(
    held_out: Matrix, features: Sequence[FeatureReference], thresholds: Sequence[tuple[int, float]]
) -> Matrix:
    """At least 32 distinct-by-purpose rows float32 [n, features]. `held_out` [rows, features] must not be empty."""
    import numpy as np

    places = np.linspace(0, len(held_out) - 1, ORDINARY).round().astype(int)
    base = held_out[len(held_out) // 2]
    rows = [*held_out[places], *_missing(base), *_on_edges(base, features), *_outside(base, features)]
    rows += [*_categories(base, features), *threshold_rows(base, thresholds, ON_THRESHOLD)]
    return np.stack(rows).astype(np.float32)


def _with(base: Matrix, place: int, value: float) -> Matrix:
    row = base.copy()
    row[place] = value
    return row


def _spread(items: Sequence[Any], most: int) -> list[Any]:
    if len(items) <= most:
        return list(items)
    return [items[round(i * (len(items) - 1) / (most - 1))] for i in range(most)]


def _missing(base: Matrix) -> list[Matrix]:
    import numpy as np

    alone = [_with(base, place, math.nan) for place in _spread(range(len(base)), ALONE)]
    return [*alone, np.full_like(base, math.nan)]


def _on_edges(base: Matrix, features: Sequence[FeatureReference]) -> list[Matrix]:
    pairs = [(place, edge) for place, feature in enumerate(features) for edge in _spread(feature.edges, 3)]
    return [_with(base, place, edge) for place, edge in _spread(pairs, ON_THRESHOLD)]


def _outside(base: Matrix, features: Sequence[FeatureReference]) -> list[Matrix]:
    """Far below and far above what training saw; 0 always, so that there are enough rows of one feature too."""
    numbers = [(place, feature) for place, feature in enumerate(features) if feature.kind == "number"]
    rows = [_with(base, place, 0.0) for place, _ in _spread(numbers, 2)]
    for place, feature in _spread(numbers, OUTSIDE // 2):
        width = max(feature.maximum - feature.minimum, 1.0)
        low, high = feature.minimum - width, feature.maximum + width
        rows += [_with(base, place, min(max(value, -3e38), 3e38)) for value in (low, high)]
    return rows


def _categories(base: Matrix, features: Sequence[FeatureReference]) -> list[Matrix]:
    pairs = [
        (place, code)
        for place, feature in enumerate(features)
        if feature.kind == "category"
        for code in (-1, *range(len(feature.categories)))
    ]
    unknown = [pair for pair in pairs if pair[1] == -1]
    return [_with(base, place, code) for place, code in (*_spread(unknown, ALONE), *_spread(pairs, ALONE))]


def threshold_rows(base: Matrix, thresholds: Sequence[tuple[int, float]], most: int) -> list[Matrix]:
    """Rows with one value exactly on a threshold of a tree, and the next float above it; about `most` rows."""
    import numpy as np

    rows = []
    for place, value in _spread(thresholds, max(2, most // 2)):
        above = float(np.nextafter(np.float32(value), np.float32(np.inf)))
        rows += [_with(base, place, value), _with(base, place, above)]
    return rows


def infinite_rows(base: Matrix, score: Score) -> Matrix:
    """Rows with one value infinite, and with all, to which `score` has a sound answer; perhaps none."""
    import numpy as np

    pairs = [(place, sign) for place in _spread(range(len(base)), INFINITE // 2) for sign in (1.0, -1.0)]
    infinite = np.stack([*(_with(base, p, sign * math.inf) for p, sign in pairs), np.full_like(base, math.inf)])
    huge = np.stack([*(_with(base, p, sign * HUGE) for p, sign in pairs), np.full_like(base, HUGE)])
    with np.errstate(all="ignore"):
        at_infinity, before = score(infinite)[1], score(huge)[1]
        sums = at_infinity.astype(np.float64).sum(axis=1)
        sound = (at_infinity >= 0).all(axis=1) & (np.abs(sums - 1.0) <= SAME)
        sound &= (np.abs(at_infinity - before) <= SAME).all(axis=1)
    kept: Matrix = infinite[sound].astype(np.float32)
    return kept


def golden_document(rows: Matrix, score: Score, own: Answers | None = None) -> dict[str, Any]:
    """The content of golden.json: rows (null: missing), infinite ones too, and the answers of `score`.

    `own` are the estimator's answers, `rows` first: with them every form of the model is compared with the estimator too.
    """
    import numpy as np

    everything = np.vstack([rows, infinite_rows(rows[0], score)])
    labels, probabilities = score(everything)
    document: dict[str, Any] = {
        "rows": [[said(value) for value in row] for row in everything.tolist()],
        "probabilities": probabilities.tolist(),
        "labels": labels.tolist(),
    }
    if own:
        document["estimator"] = {"limit": own.limit, "probabilities": own.probabilities[: len(rows)].tolist()}
    return document


def said(value: float) -> float | str | None:
    """A value as JSON has it: null is missing, infinities are texts."""
    if math.isnan(value):
        return None
    return value if math.isfinite(value) else ("inf" if value > 0 else "-inf")
