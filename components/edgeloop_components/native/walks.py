"""How trees are walked: three layouts of nodes, of which each tree gets the smallest that is fast. Pure; no C here.

padded    A perfect binary tree in an array: the children of slot p are 2p + 1 and 2p + 2, so that a step is arithmetic
          without a branch. A leaf above the last level fills all below it. For depths up to 10, where the padding does not
          make the tree more than TWICE as large as the table does.
table     Nodes in an array, children next to one another, again without a branch: a leaf leads to itself, and all trees of a
          block take as many steps as the deepest.
general   Nodes with their own kind of comparison, one by one: where a node compares with == or !=, or nodes are shared.

In the first two, every test is `x <= threshold`, and `left` is where it is true. The other comparisons become it: for floats,
x < t is x <= the float below t, and x > t is its opposite, with the children exchanged.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeloop_components.native.forest import LEAF, MODES, Forest

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = [
    "MOST_PADDED_DEPTH",
    "Padded",
    "Table",
    "Tests",
    "depth_of",
    "is_padded",
    "padded",
    "simple",
    "table",
    "tests_of",
]

MOST_PADDED_DEPTH = 10
TWICE = 2.0


@dataclass(frozen=True)
class Tests:
    """All tests of a forest as `x <= threshold`; `nan` says whether NaN goes left. Plain lists: they are walked in Python."""

    feature: list[int]
    threshold: list[float]
    nan: list[bool]
    left: list[int]
    right: list[int]
    leaf: list[bool]


@dataclass(frozen=True)
class Padded:
    """Perfect trees of one depth: arrays [trees, 2^depth - 1], and the node that each of [trees, 2^depth] leaves stands for."""

    depth: int
    trees: list[int]
    feature: npt.NDArray[np.int64]
    threshold: npt.NDArray[np.float32]
    nan: npt.NDArray[np.bool_]
    leaves: npt.NDArray[np.int64]


@dataclass(frozen=True)
class Table:
    """Trees as tables, one after the other. `next` is the left child in the tree's own table; leaves are in `leaves`, else -1."""

    trees: list[int]
    starts: list[int]
    steps: list[int]
    feature: npt.NDArray[np.int64]
    threshold: npt.NDArray[np.float32]
    nan: npt.NDArray[np.bool_]
    next: npt.NDArray[np.int64]
    leaves: npt.NDArray[np.int64]


def simple(forest: Forest) -> bool:
    """Whether all tests are an order, and no node has two parents."""
    import numpy as np

    inner = forest.mode != LEAF
    children = np.concatenate((forest.yes[inner], forest.no[inner]))
    shared = np.bincount(children, minlength=1).max(initial=0) > 1
    return not shared and not np.isin(forest.mode, [MODES.index("BRANCH_EQ"), MODES.index("BRANCH_NEQ")]).any()


def tests_of(forest: Forest) -> Tests:
    """The tests of a simple forest."""
    import numpy as np

    below = np.nextafter(forest.threshold, np.float32(-np.inf))
    below[np.isneginf(forest.threshold)] = np.nan  # nothing is below: never true
    strict = np.isin(forest.mode, [MODES.index("BRANCH_LT"), MODES.index("BRANCH_GTE")])
    turned = np.isin(forest.mode, [MODES.index("BRANCH_GT"), MODES.index("BRANCH_GTE")])
    return Tests(
        feature=forest.feature.tolist(),
        threshold=np.where(strict, below, forest.threshold).tolist(),
        nan=(forest.missing != turned).tolist(),
        left=np.where(turned, forest.no, forest.yes).tolist(),
        right=np.where(turned, forest.yes, forest.no).tolist(),
        leaf=(forest.mode == LEAF).tolist(),
    )


def depth_of(tests: Tests, root: int) -> tuple[int, int]:
    """The depth of a tree, and how many nodes it has."""
    depth, count, level = 0, 1, [root]
    while level := [child for p in level if not tests.leaf[p] for child in (tests.left[p], tests.right[p])]:
        depth, count = depth + 1, count + len(level)
    return depth, count


def is_padded(depth: int, nodes: int, pays: int) -> bool:
    """Whether a tree is laid out as a perfect one; `pays` floats a leaf."""
    if depth > MOST_PADDED_DEPTH:
        return False
    perfect = (6 << depth) + (4 * pays << depth)
    return perfect <= TWICE * (10 * nodes + 4 * pays * (nodes + 1) // 2) or depth <= 3


def padded(tests: Tests, roots: list[int], trees: list[int], depth: int) -> Padded:
    """These trees, of at most this depth, as perfect ones."""
    import numpy as np

    inner = (1 << depth) - 1
    feature = np.zeros((len(trees), inner), dtype=np.int64)
    threshold = np.zeros((len(trees), inner), dtype=np.float32)
    nan = np.zeros((len(trees), inner), dtype=bool)
    leaves = np.zeros((len(trees), inner + 1), dtype=np.int64)
    for place, tree in enumerate(trees):
        stack = [(roots[tree], 0, 0)]  # node, its slot on its level, the level
        while stack:
            p, slot, level = stack.pop()
            if tests.leaf[p]:
                leaves[place, slot << (depth - level) : (slot + 1) << (depth - level)] = p
                continue
            at = (1 << level) - 1 + slot
            feature[place, at], threshold[place, at], nan[place, at] = (
                tests.feature[p],
                tests.threshold[p],
                tests.nan[p],
            )
            stack += [(tests.left[p], 2 * slot, level + 1), (tests.right[p], 2 * slot + 1, level + 1)]
    return Padded(depth, trees, feature, threshold, nan, leaves)


def table(tests: Tests, roots: list[int], trees: list[int], steps: list[int]) -> Table:
    """These trees as tables; `steps` has the depth of each."""
    import numpy as np

    feature: list[int] = []
    threshold: list[float] = []
    nan: list[bool] = []
    following: list[int] = []
    leaves: list[int] = []
    starts: list[int] = []
    for tree in trees:
        starts.append(len(feature))
        order = [roots[tree]]
        for place, p in enumerate(order):  # grows while it is walked: level after level
            leaf = tests.leaf[p]
            feature.append(0 if leaf else tests.feature[p])
            threshold.append(float("nan") if leaf else tests.threshold[p])
            nan.append(not leaf and tests.nan[p])
            following.append(place - 1 if leaf else len(order))
            leaves.append(p if leaf else -1)
            order += [] if leaf else [tests.left[p], tests.right[p]]
    return Table(
        trees=trees,
        starts=starts,
        steps=steps,
        feature=np.array(feature, dtype=np.int64),
        threshold=np.array(threshold, dtype=np.float32),
        nan=np.array(nan, dtype=bool),
        next=np.array(following, dtype=np.int64),
        leaves=np.array(leaves, dtype=np.int64),
    )
