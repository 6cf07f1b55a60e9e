"""Which rows are for what: fit, calibration, holdout. Pure and seeded.

The holdout is the newest share of the rows, cut between two moments, so that rows of one moment stay together. Of the
rest, about one block of time in seven is for calibration: the blocks are spread over the whole time, one is drawn from each
stretch of seven. Rows without times are drawn at random, since there is no newest one.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeloop_components.train.problem import TrainError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Places = npt.NDArray[np.int64]

__all__ = ["Split", "holdout_of", "split_rows"]

LEAST_ROWS = 20
ONE_IN = 7
STRETCHES = 12


@dataclass(frozen=True)
class Split:
    """Places of rows, each sorted; together they are all rows, and no row is in two of them."""

    order: str  # "time" or "random": how the holdout was chosen
    fit: Places
    calibration: Places
    holdout: Places

    @property
    def known(self) -> Places:
        """All rows that training may see: those for fit and calibration."""
        import numpy as np

        return np.union1d(self.fit, self.calibration)

    def to_json(self) -> dict[str, Any]:
        """Runs of places as [first, after the last], for split.json."""
        named = {"fit": self.fit, "calibration": self.calibration, "holdout": self.holdout}
        return {"order": self.order, **{name: _runs(places) for name, places in named.items()}}


def split_rows(times_s: npt.NDArray[np.float64] | None, rows: int, holdout: float, seed: int) -> Split:
    """The split of `rows` rows in canonical order; `times_s` rises. TrainError when there are too few of them."""
    import numpy as np

    if rows < LEAST_ROWS:
        raise TrainError(f"snapshot: expected at least {LEAST_ROWS} rows to train and to judge on, found {rows}")
    random = np.random.default_rng(seed)
    order = np.arange(rows) if times_s is not None else random.permutation(rows)
    cut = rows - max(1, round(rows * holdout))
    if times_s is not None:
        cut = int(np.searchsorted(times_s, times_s[cut], side="left"))
    if cut < LEAST_ROWS // 2:
        raise TrainError(
            f"validate.holdout: a holdout of {holdout:g} of the newest rows leaves {cut} of {rows} to train on"
        )
    chosen = np.concatenate([np.arange(a, b) for a, b in _blocks(cut, random)])
    calibration = np.zeros(rows, dtype=np.bool_)
    calibration[order[chosen]] = True
    held = np.zeros(rows, dtype=np.bool_)
    held[order[cut:]] = True
    name = "time" if times_s is not None else "random"
    return Split(name, np.flatnonzero(~held & ~calibration), np.flatnonzero(calibration), np.flatnonzero(held))


def _blocks(rows: int, random: np.random.Generator) -> list[tuple[int, int]]:
    """One of every ONE_IN blocks of neighbouring rows, as (first, after the last)."""
    stretches = max(1, min(STRETCHES, rows // (ONE_IN * 10)))
    edges = [rows * i // (stretches * ONE_IN) for i in range(stretches * ONE_IN + 1)]
    picks = [stretch * ONE_IN + int(random.integers(ONE_IN)) for stretch in range(stretches)]
    return [(edges[pick], edges[pick + 1]) for pick in picks]


def _runs(places: Places) -> list[list[int]]:
    import numpy as np

    if not len(places):
        return []
    breaks = np.flatnonzero(np.diff(places) != 1)
    starts, ends = np.concatenate(([0], breaks + 1)), np.concatenate((breaks, [len(places) - 1]))
    return [[int(places[a]), int(places[b]) + 1] for a, b in zip(starts, ends, strict=True)]


def holdout_of(document: Mapping[str, Any]) -> Places:
    """The places of the holdout in a split.json."""
    import numpy as np

    runs: Iterable[tuple[int, int]] = document["holdout"]
    return np.concatenate([np.arange(start, end) for start, end in runs])
