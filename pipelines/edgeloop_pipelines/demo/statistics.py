"""How good were the answers, and how sure is a difference? Pure functions over arrays; a row is right or wrong.

Rows that are near in time hang together, so a difference is resampled in whole blocks of time (paired block bootstrap): each
draw takes as many blocks as there are, with replacement, the same blocks for both sides.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Rights = npt.NDArray[np.bool_]
    Blocks = npt.NDArray[np.int64]

__all__ = ["accuracy", "by_block", "by_period", "difference"]

DRAWS = 2000


def accuracy(right: Rights) -> float:
    """Share of right rows; ValueError when there is none."""
    if not len(right):
        raise ValueError("no row has both an answer and a label: expected at least one")
    return float(right.mean())


def difference(
    right: Rights, other: Rights, blocks: Blocks, *, draws: int = DRAWS, seed: int = 0
) -> tuple[float, float, float]:
    """Accuracy of `right` minus that of `other`, and the ends of its 95 % interval. `blocks` numbers each row's block."""
    import numpy as np

    _, place = np.unique(blocks, return_inverse=True)
    gains = np.bincount(place, right.astype(float) - other.astype(float))
    rows = np.bincount(place)
    drawn = np.random.default_rng(seed).integers(0, len(rows), (draws, len(rows)))
    values = gains[drawn].sum(1) / rows[drawn].sum(1)
    low, high = np.percentile(values, (2.5, 97.5))
    return accuracy(right) - accuracy(other), float(low), float(high)


def by_block(right: Rights, blocks: Blocks) -> list[tuple[int, float, int]]:
    """(block, accuracy, rows) of every block, in order."""
    import numpy as np

    names, place = np.unique(blocks, return_inverse=True)
    rows, good = np.bincount(place), np.bincount(place, right.astype(float))
    return [(int(name), float(g / n), int(n)) for name, g, n in zip(names, good, rows, strict=True)]


def by_period(arms: Mapping[str, Rights], periods: npt.NDArray[np.object_]) -> list[dict[str, float | int | str]]:
    """One row a period: its name, rows, and the accuracy of each arm."""
    import numpy as np

    found: list[dict[str, float | int | str]] = []
    for name in np.unique(periods):
        inside = periods == name
        found.append(
            {"period": str(name), "rows": int(inside.sum()), **{arm: accuracy(r[inside]) for arm, r in arms.items()}}
        )
    return found
