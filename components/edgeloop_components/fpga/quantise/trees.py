"""Trees of whole numbers: grown from a forest's comparisons, pruned of what no longer matters, and written out as lists."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass

from edgeloop_components.fpga.quantise.edges import Comparisons
from edgeloop_contracts.fpga import FpgaTree

__all__ = ["Branch", "Leaf", "Tree", "branch", "branches_of", "flattened", "grown", "postorder"]

Leaf = tuple[int, ...]  # a value for each output of the tree


@dataclass(frozen=True, eq=False)
class Branch:
    """Left where the feature is <= threshold, or missing and `missing_left`."""

    feature: int
    threshold: float
    missing_left: bool
    left: Tree
    right: Tree


Tree = Branch | Leaf


def postorder(comparisons: Comparisons, root: int) -> list[int]:
    """The nodes of a tree, children before their parents."""
    found, stack = [], [root]
    while stack:
        node = stack.pop()
        found.append(node)
        if comparisons.feature[node] >= 0:
            stack += [int(comparisons.left[node]), int(comparisons.right[node])]
    return found[::-1]


def grown(comparisons: Comparisons, root: int, leaves: Mapping[int, Leaf]) -> Tree:
    """The tree with these leaves [node], without comparisons that change nothing."""
    done: dict[int, Tree] = dict(leaves)
    for node in postorder(comparisons, root):
        if node not in done:
            left, right = done[int(comparisons.left[node])], done[int(comparisons.right[node])]
            done[node] = _joined(comparisons, node, left, right)
    return done[root]


def _joined(comparisons: Comparisons, node: int, left: Tree, right: Tree) -> Tree:
    feature, upper = int(comparisons.feature[node]), float(comparisons.upper[node])
    threshold, missing_left = float(comparisons.threshold[node]), bool(comparisons.missing_left[node])
    if math.isnan(upper):
        return branch(feature, threshold, missing_left, left, right)
    inside, outside = (left, right) if comparisons.inside_left[node] else (right, left)
    return branch(feature, threshold, False, outside, branch(feature, upper, False, inside, outside))


def branch(feature: int, threshold: float, missing_left: bool, left: Tree, right: Tree) -> Tree:
    """A branch, or what is left of it where it changes nothing."""
    if isinstance(left, tuple) and left == right:
        return left
    if math.isnan(threshold) and not missing_left:
        return right
    return Branch(feature, threshold, missing_left, left, right)


def branches_of(tree: Tree) -> Iterator[Branch]:
    """Every inner node once, parents first."""
    stack = [tree]
    while stack:
        one = stack.pop()
        if isinstance(one, Branch):
            yield one
            stack += [one.right, one.left]


def flattened(tree: Tree, outputs: Sequence[int], edges: Mapping[tuple[int, float], int]) -> FpgaTree:
    """The tree as lists, with the place of each threshold among those of its feature."""
    nodes: list[Tree] = []
    children: list[list[int]] = []
    stack: list[tuple[Tree, int, int]] = [(tree, -1, 0)]
    while stack:
        one, parent, side = stack.pop()
        if parent >= 0:
            children[parent][side] = len(nodes)
        nodes.append(one)
        children.append([0, 0])
        if isinstance(one, Branch):
            stack += [(one.right, len(nodes) - 1, 1), (one.left, len(nodes) - 1, 0)]
    inner = [one if isinstance(one, Branch) else None for one in nodes]
    return FpgaTree(
        features=tuple(one.feature if one else -1 for one in inner),
        edges=tuple(edges[one.feature, one.threshold] if one else 0 for one in inner),
        left=tuple(pair[0] for pair in children),
        right=tuple(pair[1] for pair in children),
        missing_left=tuple(bool(one and one.missing_left) for one in inner),
        values=tuple(() if isinstance(one, Branch) else one for one in nodes),
        outputs=tuple(outputs),
    )
