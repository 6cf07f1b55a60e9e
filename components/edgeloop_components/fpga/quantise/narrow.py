"""Takes comparisons out of trees whose outcome is known where they stand, from those above them."""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping
from dataclasses import dataclass

from edgeloop_components.fpga.quantise.trees import Branch, Tree, branch

__all__ = ["narrowed"]


@dataclass(frozen=True)
class Known:
    """What is known of a feature's value: it lies above `low` and is at most `high`, or it is missing, if it may be."""

    low: float = -math.inf
    high: float = math.inf
    may_be_missing: bool = True


Facts = Mapping[int, Known]  # by feature


def narrowed(tree: Tree, filled: Collection[int]) -> Tree:
    """The tree without comparisons that are decided above; the features `filled` are never missing. The same for every row."""
    done: list[Tree] = []
    tasks: list[tuple[Tree, Facts | None]] = [(tree, {feature: Known(may_be_missing=False) for feature in filled})]
    while tasks:
        one, facts = tasks.pop()
        if facts is None:
            assert isinstance(one, Branch)
            right, left = done.pop(), done.pop()
            done.append(branch(one.feature, one.threshold, one.missing_left, left, right))
            continue
        one = _descended(one, facts)
        if isinstance(one, Branch):
            below_left, below_right = _below(one, facts)
            tasks += [(one, None), (one.right, below_right), (one.left, below_left)]
        else:
            done.append(one)
    return done[0]


def _descended(tree: Tree, facts: Facts) -> Tree:
    """The first branch below whose outcome is open, or the leaf."""
    while isinstance(tree, Branch):
        known = facts.get(tree.feature, Known())
        if known.high <= tree.threshold and (tree.missing_left or not known.may_be_missing):
            tree = tree.left
        elif known.low >= tree.threshold and not (tree.missing_left and known.may_be_missing):
            tree = tree.right
        else:
            return tree
    return tree


def _below(one: Branch, facts: Facts) -> tuple[Facts, Facts]:
    """What is known on the left and on the right of a branch."""
    known, end = facts.get(one.feature, Known()), one.threshold
    if math.isnan(end):  # only missing values go left
        return facts, {**facts, one.feature: Known(known.low, known.high, False)}
    left = Known(known.low, min(known.high, end), known.may_be_missing and one.missing_left)
    right = Known(max(known.low, end), known.high, known.may_be_missing and not one.missing_left)
    return {**facts, one.feature: left}, {**facts, one.feature: right}
