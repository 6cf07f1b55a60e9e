"""Makes a design of trees: comparisons of codes that are those of the float model, and leaves in fixed point.

Leaves are rounded to one power of two, about the middle of each tree's range, which is added once for all. What no longer
matters after that is pruned, and each feature is binned by the thresholds that are left.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgeloop_components.fpga.quantise.bounds import forest_ranges, width_of
from edgeloop_components.fpga.quantise.edges import Comparisons, comparisons_of, fills_of
from edgeloop_components.fpga.quantise.model import Ensemble, Shares
from edgeloop_components.fpga.quantise.narrow import narrowed
from edgeloop_components.fpga.quantise.trees import Branch, Leaf, Tree, branches_of, flattened, grown, postorder
from edgeloop_components.runtimes import ModelError
from edgeloop_contracts.fpga import FpgaDesign, FpgaForest, FpgaTail

if TYPE_CHECKING:
    Pays = dict[int, dict[int, float]]  # leaf: output: what it pays

__all__ = ["forest_design"]

MOST_FRACTION = 60


def forest_design(shares: Shares, features: int, leaf_bits: int) -> FpgaDesign:
    """The design with signed leaves of `leaf_bits`. NotImplementedError for forms it has not, ModelError without trees."""
    core = shares.core
    assert isinstance(core, Ensemble)
    comparisons = comparisons_of(core)
    paid = [_paid(core, comparisons, root) for root in core.forest.roots.tolist()]
    middles = [_middles(pays) for pays in paid]
    fraction = _fraction(paid, middles, leaf_bits)
    trees = [
        _tree(comparisons, root, pays, middle, fraction)
        for root, pays, middle in zip(core.forest.roots.tolist(), paid, middles, strict=True)
    ]
    never_missing = [feature for feature, fill in fills_of(core).items() if fill is not None]
    short = [(narrowed(tree, never_missing), outputs) for tree, outputs in trees]
    kept = [(tree, outputs) for tree, outputs in short if isinstance(tree, Branch)]
    if not kept:
        raise ModelError(f"trees: with leaves of {leaf_bits} bits nothing of them is left; use more bits")
    base = _base(shares, core, middles, fraction)
    for tree, outputs in short:
        for output, value in zip(outputs, tree if isinstance(tree, tuple) else (), strict=False):
            base[output] += value  # of a tree that is one leaf now
    return _binned(shares, features, kept, tuple(base), fraction)


def _paid(core: Ensemble, comparisons: Comparisons, root: int) -> Pays:
    """What each leaf of a tree pays to each output that the tree pays at all."""
    leaves = [node for node in postorder(comparisons, root) if comparisons.feature[node] < 0]
    pays = {leaf: dict(core.forest.pays[leaf]) for leaf in leaves}
    outputs = sorted({output for pay in pays.values() for output in pay})
    return {leaf: {k: pay.get(k, 0.0) * core.weight for k in outputs} for leaf, pay in pays.items()}


def _middles(pays: Pays) -> dict[int, float]:
    outputs = next(iter(pays.values()))
    return {k: (min(pay[k] for pay in pays.values()) + max(pay[k] for pay in pays.values())) / 2 for k in outputs}


def _fraction(paid: Sequence[Pays], middles: Sequence[Mapping[int, float]], bits: int) -> int:
    """The most bits of fraction with which every leaf fits."""
    reach = max(
        abs(value - middle[k])
        for pays, middle in zip(paid, middles, strict=True)
        for pay in pays.values()
        for k, value in pay.items()
    )
    if not reach > 0 or not math.isfinite(reach):
        raise ModelError(f"trees: expected leaves that differ, by finite numbers, found a reach of {reach}")
    most = (1 << (bits - 1)) - 1
    fraction = math.floor(math.log2(most / reach)) + 1
    while _whole(reach, fraction) > most:
        fraction -= 1
    return min(fraction, MOST_FRACTION)


def _whole(value: float, fraction: int) -> int:
    """The nearest whole number of 2^-fraction; halves go away from 0, so that a tree stays even about its middle."""
    return int(math.copysign(math.floor(math.ldexp(abs(value), fraction) + 0.5), value))


def _tree(
    comparisons: Comparisons, root: int, pays: Pays, middle: Mapping[int, float], fraction: int
) -> tuple[Tree, tuple[int, ...]]:
    """The tree with whole leaves, and the outputs that it changes."""
    whole = {leaf: {k: _whole(v - middle[k], fraction) for k, v in pay.items()} for leaf, pay in pays.items()}
    outputs = tuple(k for k in middle if len({pay[k] for pay in whole.values()}) > 1)
    leaves: dict[int, Leaf] = {leaf: tuple(pay[k] for k in outputs) for leaf, pay in whole.items()}
    return grown(comparisons, root, leaves), outputs


def _base(shares: Shares, core: Ensemble, middles: Sequence[Mapping[int, float]], fraction: int) -> list[int]:
    """What is added once: the graph's base values, the middles of all trees, and -1/2 where one score is a probability."""
    shift = -0.5 if core.outputs == 1 and shares.transform == "identity" else 0.0
    totals = [math.fsum((value, shift, *(m[k] for m in middles if k in m))) for k, value in enumerate(core.base)]
    return [_whole(total, fraction) for total in totals]


def _binned(
    shares: Shares, features: int, trees: Sequence[tuple[Tree, tuple[int, ...]]], base: tuple[int, ...], fraction: int
) -> FpgaDesign:
    assert isinstance(shares.core, Ensemble)
    branches = [branch for tree, _ in trees for branch in branches_of(tree)]
    thresholds = _thresholds(features, branches)
    edges = {(f, t): k for f, found in enumerate(thresholds) for k, t in enumerate(found)}
    edges |= {(f, math.inf): len(found) for f, found in enumerate(thresholds)}
    forest = FpgaForest(
        thresholds=thresholds,
        trees=tuple(flattened(tree, outputs, edges) for tree, outputs in trees),
        base=base,
    )
    missing = _missing(thresholds, branches, fills_of(shares.core))
    return FpgaDesign(
        features=features,
        classes=shares.classes,
        scores=len(base),
        missing=missing,
        code_bits=max(1, *(max(len(t), m).bit_length() for t, m in zip(thresholds, missing, strict=True))),
        score_bits=width_of(forest_ranges(forest)),
        fraction_bits=fraction,
        tail=FpgaTail(transform=shares.transform, calibrated=shares.calibrated, power=shares.power, floor=shares.floor),
        forest=forest,
    )


def _thresholds(features: int, branches: Sequence[Branch]) -> tuple[tuple[float, ...], ...]:
    found: list[set[float]] = [set() for _ in range(features)]
    for branch in branches:
        if math.isfinite(branch.threshold):
            found[branch.feature].add(branch.threshold + 0.0)  # -0.0 is 0.0
        elif math.isnan(branch.threshold):
            raise NotImplementedError("a comparison that only missing values pass")
    return tuple(tuple(sorted(one)) for one in found)


def _missing(
    thresholds: Sequence[Sequence[float]], branches: Sequence[Branch], fills: Mapping[int, float | None]
) -> tuple[int, ...]:
    """The code of a missing value of each feature."""
    from bisect import bisect_left

    apart = {branch.feature for branch in branches if branch.missing_left or branch.threshold == math.inf}
    codes = []
    for feature, edges in enumerate(thresholds):
        fill = fills.get(feature)
        codes.append(bisect_left(edges, fill) if fill is not None else len(edges) + (feature in apart))
    return tuple(codes)
