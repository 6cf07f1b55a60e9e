"""Makes a design of trees: comparisons of codes that are those of the float model, and leaves in fixed point.

Leaves are rounded to one power of two, about the middle of each tree's range, which is added once for all. What no longer
matters after that is pruned, and each feature is binned by the thresholds that are left.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import Any

from edgeloop_components.fpga.quantise.bounds import forest_ranges, width_of
from edgeloop_components.fpga.quantise.edges import Comparisons, fills_of
from edgeloop_components.fpga.quantise.leaves import Fixed, Pays, fixed_point, paid_by, whole
from edgeloop_components.fpga.quantise.model import Ensemble, Shares
from edgeloop_components.fpga.quantise.narrow import narrowed
from edgeloop_components.fpga.quantise.trees import Branch, Leaf, Tree, branches_of, flattened, grown
from edgeloop_components.runtimes import ModelError
from edgeloop_contracts.fpga import FpgaDesign, FpgaForest, FpgaTail

__all__ = ["forest_design"]


def forest_design(shares: Shares, features: int, rows: Any, leaf_bits: int) -> FpgaDesign:
    """The design with signed leaves of `leaf_bits`, fixed by calibration rows [n, features]; there may be none.

    NotImplementedError for forms that it has not, ModelError where nothing is left of the trees.
    """
    core = shares.core
    assert isinstance(core, Ensemble)
    paid = paid_by(core)
    fixed = fixed_point(paid, rows, leaf_bits)
    trees = [
        _tree(paid.comparisons, root, pays, middle, fixed)
        for root, pays, middle in zip(core.forest.roots.tolist(), paid.pays, paid.middles, strict=True)
    ]
    never_missing = [feature for feature, fill in fills_of(core).items() if fill is not None]
    short = [(narrowed(tree, never_missing), outputs) for tree, outputs in trees]
    kept = [(tree, outputs) for tree, outputs in short if isinstance(tree, Branch)]
    if not kept:
        raise ModelError(f"trees: with leaves of {leaf_bits} bits nothing of them is left; use more bits")
    base = _base(shares, core, paid.middles, fixed)
    for tree, outputs in short:
        for output, value in zip(outputs, tree if isinstance(tree, tuple) else (), strict=False):
            base[output] += value  # of a tree that is one leaf now
    return _binned(shares, features, kept, tuple(base), fixed.fraction)


def _tree(
    comparisons: Comparisons, root: int, pays: Pays, middle: Mapping[int, float], fixed: Fixed
) -> tuple[Tree, tuple[int, ...]]:
    """The tree with whole leaves, and the outputs that it changes."""
    point = fixed.fraction, fixed.most
    rounded = {leaf: {k: whole(v - middle[k], *point) for k, v in pay.items()} for leaf, pay in pays.items()}
    outputs = tuple(k for k in middle if len({pay[k] for pay in rounded.values()}) > 1)
    leaves: dict[int, Leaf] = {leaf: tuple(pay[k] for k in outputs) for leaf, pay in rounded.items()}
    return grown(comparisons, root, leaves), outputs


def _base(shares: Shares, core: Ensemble, middles: Sequence[Mapping[int, float]], fixed: Fixed) -> list[int]:
    """What is added once: base values, middles, mean errors of the leaves, and -1/2 where one score is a probability."""
    shift = -0.5 if core.outputs == 1 and shares.transform == "identity" else 0.0
    totals = [
        math.fsum((value, shift, fixed.lost[k], *(m[k] for m in middles if k in m)))
        for k, value in enumerate(core.base)
    ]
    return [whole(total, fixed.fraction) for total in totals]


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
