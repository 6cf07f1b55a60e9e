"""Turns every comparison of a forest into `x <= t` of a value x of the row, exactly, for float32 values.

x < t asks for the float32 below t; x > t and x >= t are the opposite, with the children changed over. A threshold behind a
scaler moves before it. What asks for a category (one-hot) asks for an interval: outside below it, inside up to its end.
Refuses other comparisons for equality, and a threshold that only minus infinity does not exceed.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeloop_components.fpga.quantise.inputs import applied, filled, pulled
from edgeloop_components.fpga.quantise.model import Column, Ensemble
from edgeloop_components.native.forest import LEAF, MODES, Forest

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Comparisons", "comparisons_of", "fills_of"]

BELOW = ("BRANCH_LT", "BRANCH_GTE")  # with these, t itself is on the side of what lies above
TURNED = ("BRANCH_GT", "BRANCH_GTE")
EQUAL = ("BRANCH_EQ", "BRANCH_NEQ")


@dataclass(frozen=True)
class Comparisons:
    """Of all nodes [nodes] of a forest: left where feature <= threshold, or where it is missing and `missing_left`.

    A threshold of +infinity: left, but for missing values; NaN: right, but for missing values. Leaves have feature -1.
    Where `upper` is not NaN, a value in the interval (threshold, upper] goes to one side, all others to the other.
    """

    feature: npt.NDArray[np.int64]
    threshold: npt.NDArray[np.float32]
    missing_left: npt.NDArray[np.bool_]
    left: npt.NDArray[np.int64]
    right: npt.NDArray[np.int64]
    upper: npt.NDArray[np.float32]
    inside_left: npt.NDArray[np.bool_]


def comparisons_of(core: Ensemble) -> Comparisons:
    """NotImplementedError for what cannot be said so."""
    import numpy as np

    forest = core.forest
    inner = forest.mode != LEAF
    _refuse_equality(forest)
    turned = np.isin(forest.mode, [MODES.index(name) for name in TURNED]) & inner
    threshold, feature = forest.threshold.copy(), np.full(len(inner), -1, np.int64)
    below = np.isin(forest.mode, [MODES.index(name) for name in BELOW]) & inner
    lowest = np.isneginf(threshold) & below
    threshold[below] = np.nextafter(threshold[below], np.float32(-np.inf))
    threshold[lowest] = np.nan
    upper, inside_left = np.full(len(inner), np.nan, np.float32), np.zeros(len(inner), bool)
    never_missing = np.zeros(len(inner), bool)
    for place in np.unique(forest.feature[inner]).tolist():
        nodes = np.flatnonzero(inner & (forest.feature == place))
        column = core.columns[place]
        if any(kind == "is" for kind, _ in column.steps):
            threshold[nodes], upper[nodes], inside_left[nodes] = _intervals(column, threshold[nodes])
        else:
            threshold[nodes] = _moved(column, threshold[nodes])
        feature[nodes] = column.feature
        never_missing[nodes] = filled(column) is not None
    if np.isneginf(threshold[inner]).any():
        raise NotImplementedError("a comparison that only minus infinity passes")
    return Comparisons(
        feature=feature,
        threshold=threshold,
        missing_left=(forest.missing ^ turned) & inner & ~never_missing,
        left=np.where(turned, forest.no, forest.yes),
        right=np.where(turned, forest.yes, forest.no),
        upper=upper,
        inside_left=inside_left,
    )


def _refuse_equality(forest: Forest) -> None:
    import numpy as np

    for name in EQUAL:
        if (forest.mode == MODES.index(name)).any():
            raise NotImplementedError(f"the node mode {name} (categories) is not supported")
    if np.isnan(forest.threshold[forest.mode != LEAF]).any():
        raise NotImplementedError("a node compares with NaN")


def _moved(column: Column, thresholds: Any) -> Any:
    """Thresholds [k] of a column as thresholds of its feature; NaN stays."""
    import numpy as np

    known = ~np.isnan(thresholds)
    out = thresholds.copy()
    if any(kind != "fill" for kind, _ in column.steps):
        different, places = np.unique(thresholds[known], return_inverse=True)
        out[known] = pulled(column, different)[places]
    return out


def _intervals(column: Column, thresholds: Any) -> tuple[Any, Any, Any]:
    """Of comparisons [k] of a column that tells whether a value is a category: ends of the interval, and who is inside."""
    import numpy as np

    place = next(number for number, (kind, _) in enumerate(column.steps) if kind == "is")
    before = Column(column.feature, column.steps[:place])
    after = Column(column.feature, column.steps[place + 1 :])
    category = column.steps[place][1]
    low, high = pulled(before, np.array([category - 1, category], np.float32))
    no, yes = (applied(after, np.array([value], np.float32)) <= thresholds for value in (0, 1))
    same = no == yes
    threshold = np.where(same, np.where(yes, np.float32(np.inf), np.float32(np.nan)), low)
    return threshold, np.where(same, np.float32(np.nan), high), yes & ~no


def fills_of(core: Ensemble) -> dict[int, float | None]:
    """What stands for a missing value of each feature that the trees look at; None: it stays missing.

    NotImplementedError where two columns of a feature differ in that.
    """
    import numpy as np

    used = np.unique(core.forest.feature[core.forest.mode != LEAF]).tolist()
    found: dict[int, float | None] = {}
    for place in used:
        column = core.columns[place]
        if found.setdefault(column.feature, filled(column)) != filled(column):
            raise NotImplementedError(f"the missing values of feature {column.feature} are filled in two ways")
    return found
