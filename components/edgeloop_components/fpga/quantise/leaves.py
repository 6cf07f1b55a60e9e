"""Chooses the fixed point of leaves: whether a bit more of fraction is worth cutting off the largest ones, by calibration rows.

Few leaves of boosted trees are large; where rows say that cutting those costs less than rounding all others coarsely, they are
cut. What is lost on average is given back once, with the base.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from edgeloop_components.fpga.quantise.edges import Comparisons, comparisons_of, fills_of
from edgeloop_components.fpga.quantise.model import Ensemble
from edgeloop_components.fpga.quantise.trees import postorder
from edgeloop_components.runtimes import ModelError

Pays = dict[int, dict[int, float]]  # leaf: output: what it pays

__all__ = ["Fixed", "Paid", "Pays", "fixed_point", "paid_by", "visited", "whole"]

MOST_FRACTION = 60
MOST_ROWS = 1000  # that are looked at
FINER = (0, 1)  # bits of fraction beyond those with which every leaf fits


@dataclass(frozen=True)
class Paid:
    """What the leaves of each tree pay [trees], and the middle of that for each output of a tree [trees]."""

    core: Ensemble
    comparisons: Comparisons
    pays: tuple[Pays, ...]
    middles: tuple[dict[int, float], ...]


def paid_by(core: Ensemble) -> Paid:
    """NotImplementedError where the trees' comparisons have no form here."""
    comparisons = comparisons_of(core)
    pays = tuple(_pays(core, comparisons, root) for root in core.forest.roots.tolist())
    return Paid(core, comparisons, pays, tuple(_middles(one) for one in pays))


def _pays(core: Ensemble, comparisons: Comparisons, root: int) -> Pays:
    """What each leaf of a tree pays to each output that the tree pays at all."""
    leaves = [node for node in postorder(comparisons, root) if comparisons.feature[node] < 0]
    pays = {leaf: dict(core.forest.pays[leaf]) for leaf in leaves}
    outputs = sorted({output for pay in pays.values() for output in pay})
    return {leaf: {k: pay.get(k, 0.0) * core.weight for k in outputs} for leaf, pay in pays.items()}


def _middles(pays: Pays) -> dict[int, float]:
    outputs = next(iter(pays.values()))
    return {k: (min(pay[k] for pay in pays.values()) + max(pay[k] for pay in pays.values())) / 2 for k in outputs}


@dataclass(frozen=True)
class Fixed:
    """Leaves are whole numbers of 2^-fraction, at most `most` of them; `lost` [outputs] is their mean error on the rows."""

    fraction: int
    most: int
    lost: tuple[float, ...]


def whole(value: float, fraction: int, most: int | None = None) -> int:
    """The nearest whole number of 2^-fraction, cut to `most`. Halves go away from 0: a tree stays even about its middle."""
    found = math.floor(math.ldexp(abs(value), fraction) + 0.5)
    return int(math.copysign(found if most is None else min(found, most), value))


def fixed_point(paid: Paid, rows: Any, bits: int) -> Fixed:
    """For leaves of `bits`, about the middles of their trees: the fraction with the smallest error on rows [n, features]."""
    import numpy as np

    most, outputs = (1 << (bits - 1)) - 1, paid.core.outputs
    widest = _fitting(paid, most)
    if not len(rows):
        return Fixed(widest, most, (0.0,) * outputs)
    some = np.asarray(rows, np.float32)[:: max(1, len(rows) // MOST_ROWS)][:MOST_ROWS]
    leaves = visited(paid.core, paid.comparisons, some)
    found = []
    for finer in FINER:
        fraction = min(widest + finer, MOST_FRACTION)
        errors = _errors(paid, leaves, fraction, most)
        lost = errors.mean(axis=0)
        off = errors - lost
        off = off - off.mean(axis=1, keepdims=True) if outputs > 1 else off  # what all classes share, tells none apart
        found.append((float((off**2).mean()), Fixed(fraction, most, tuple(lost.tolist()))))
    return min(found, key=lambda pair: pair[0])[1]


def _fitting(paid: Paid, most: int) -> int:
    """The most bits of fraction with which every leaf fits."""
    reach = max(
        abs(value - middle[k])
        for pays, middle in zip(paid.pays, paid.middles, strict=True)
        for pay in pays.values()
        for k, value in pay.items()
    )
    if not reach > 0 or not math.isfinite(reach):
        raise ModelError(f"trees: expected leaves that differ, by finite numbers, found a reach of {reach}")
    fraction = math.floor(math.log2(most / reach)) + 1
    while whole(reach, fraction) > most:
        fraction -= 1
    return min(fraction, MOST_FRACTION)


def visited(core: Ensemble, comparisons: Comparisons, rows: Any) -> list[Any]:
    """The leaf of each row [n], for each tree: nodes of the forest."""
    import numpy as np

    values = rows.copy()
    for feature, fill in fills_of(core).items():
        if fill is not None:
            values[np.isnan(values[:, feature]), feature] = fill
    found = []
    for root in core.forest.roots.tolist():
        nodes, open_rows = np.full(len(rows), root, np.int64), np.arange(len(rows))
        while len(open_rows):
            open_rows = open_rows[comparisons.feature[nodes[open_rows]] >= 0]
            here = nodes[open_rows]
            left = _left(comparisons, here, values[open_rows, comparisons.feature[here]])
            nodes[open_rows] = np.where(left, comparisons.left[here], comparisons.right[here])
        found.append(nodes)
    return found


def _left(comparisons: Comparisons, nodes: Any, values: Any) -> Any:
    """Which values [n] go left at their nodes [n]."""
    import numpy as np

    at_most = values <= comparisons.threshold[nodes]
    plain = at_most | (np.isnan(values) & comparisons.missing_left[nodes])
    upper = comparisons.upper[nodes]
    inside = ~at_most & (values <= upper)
    return np.where(np.isnan(upper), plain, inside == comparisons.inside_left[nodes])


def _errors(paid: Paid, leaves: Sequence[Any], fraction: int, most: int) -> Any:
    """What the float trees pay beyond those in fixed point [n, outputs], for rows with these leaves [trees][n]."""
    import numpy as np

    errors = np.zeros((len(leaves[0]), paid.core.outputs))
    for nodes, pays, middle in zip(leaves, paid.pays, paid.middles, strict=True):
        seen, places = np.unique(nodes, return_inverse=True)
        for k, centre in middle.items():
            exact = np.array([pays[leaf][k] - centre for leaf in seen.tolist()])
            rounded = [math.ldexp(whole(value, fraction, most), -fraction) for value in exact.tolist()]
            errors[:, k] += (exact - np.array(rounded))[places]
    return errors
