"""Reads tree ensembles, of all the operators that hold them, into one plain form: a Forest.

Every list has its length checked, every child and feature its range; a node has one parent at most, and a root has none,
so that walks end. Refuses thresholds that are NaN, leaves that pay a target twice, and weights that are no float32.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgeloop_components.onnxgraph import Node

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["LEAF", "MODES", "Forest", "Pay", "read_classic", "read_ensemble"]

MODES = (
    "BRANCH_LEQ",
    "BRANCH_LT",
    "BRANCH_GTE",
    "BRANCH_GT",
    "BRANCH_EQ",
    "BRANCH_NEQ",
)  # as TreeEnsemble numbers them
MEMBER = 6
LEAF = 9
Pay = tuple[tuple[int, float], ...]  # what a leaf adds: (target, weight)


@dataclass(frozen=True)
class Forest:
    """Nodes of all trees. `yes` and `no` are children where `mode` is not LEAF; `pays` is empty where it is not a leaf."""

    targets: int
    roots: npt.NDArray[np.int64]  # in the order in which trees add
    mode: npt.NDArray[np.int8]  # a place in MODES, or LEAF
    feature: npt.NDArray[np.int64]
    threshold: npt.NDArray[np.float32]
    missing: npt.NDArray[np.bool_]  # whether NaN goes to `yes`
    yes: npt.NDArray[np.int64]
    no: npt.NDArray[np.int64]
    pays: list[Pay]


def read_classic(node: Node, width: int, targets: int, prefix: str) -> Forest:
    """The forest of a TreeEnsembleClassifier (`prefix` class) or -Regressor (target). ModelError, Unsupported."""
    import numpy as np

    names = ("treeids", "nodeids", "featureids", "truenodeids", "falsenodeids")
    tree, ids, feature, yes_ids, no_ids = (node.integers(f"nodes_{name}") for name in names)
    mode = _modes(node)
    threshold = node.numbers("nodes_values")
    missing = node.integers("nodes_missing_value_tracks_true")
    missing = missing if len(missing) else np.zeros(len(tree), dtype=np.int64)
    _same_length(node, "nodes", tree, ids, feature, yes_ids, no_ids, mode, threshold, missing)
    places = {pair: place for place, pair in enumerate(zip(tree.tolist(), ids.tolist(), strict=True))}
    if len(places) != len(tree):
        raise node.wrong("two of its nodes have the same number")
    inner = mode != LEAF
    forest = Forest(
        targets=targets,
        roots=_roots(node, tree),
        mode=mode,
        feature=feature,
        threshold=threshold,
        missing=missing == 1,
        yes=_children(node, places, tree, yes_ids, inner),
        no=_children(node, places, tree, no_ids, inner),
        pays=_pays(node, places, prefix, inner),
    )
    return _checked(node, forest, width)


def _modes(node: Node) -> npt.NDArray[np.int8]:
    import numpy as np

    numbers = {name: number for number, name in enumerate(MODES)} | {"LEAF": LEAF}
    texts = node.texts("nodes_modes")
    stranger = next((text for text in texts if text not in numbers), None)
    if stranger is not None:
        raise node.refused(f"the node mode {stranger[:40]!r} is not supported")
    return np.array([numbers[text] for text in texts], dtype=np.int8)


def _same_length(node: Node, what: str, *lists: Sequence[Any] | npt.NDArray[Any]) -> None:
    lengths = {len(one) for one in lists}
    if len(lengths) != 1 or 0 in lengths:
        raise node.wrong(f"expected {what}_* lists of one length above 0, found lengths {sorted(lengths)}")


def _roots(node: Node, tree: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """The first node of each tree."""
    import numpy as np

    roots = np.flatnonzero(np.concatenate(([True], tree[1:] != tree[:-1])))
    if len(np.unique(tree[roots])) != len(roots):
        raise node.refused("the nodes of a tree do not follow one another")
    return roots


def _children(
    node: Node,
    places: dict[tuple[int, int], int],
    tree: npt.NDArray[np.int64],
    ids: npt.NDArray[np.int64],
    inner: npt.NDArray[np.bool_],
) -> npt.NDArray[np.int64]:
    import numpy as np

    triples = zip(tree.tolist(), ids.tolist(), inner.tolist(), strict=True)
    found = [places.get((t, i), -1) if is_inner else 0 for t, i, is_inner in triples]
    if -1 in found:
        place = found.index(-1)
        raise node.wrong(f"in tree {tree[place]}, a node leads to {ids[place]}, which is not there")
    return np.array(found, dtype=np.int64)


def _pays(node: Node, places: dict[tuple[int, int], int], prefix: str, inner: npt.NDArray[np.bool_]) -> list[Pay]:
    trees, ids, targets = (node.integers(f"{prefix}_{name}") for name in ("treeids", "nodeids", "ids"))
    weights = node.numbers(f"{prefix}_weights")
    _same_length(node, prefix, trees, ids, targets, weights)
    found: list[list[tuple[int, float]]] = [[] for _ in inner]
    rows = zip(trees.tolist(), ids.tolist(), targets.tolist(), weights.tolist(), strict=True)
    for tree, number, target, weight in rows:
        place = places.get((tree, number), -1)
        if place < 0 or inner[place]:
            raise node.wrong(f"in tree {tree}, the node {number} has a weight and is no leaf")
        found[place].append((target, weight))
    return [tuple(one) for one in found]


def read_ensemble(node: Node, width: int) -> Forest:
    """The forest of a TreeEnsemble (ai.onnx.ml 5). ModelError, Unsupported."""
    import numpy as np

    lists = {name: node.integers(f"nodes_{name}") for name in NODE_LISTS}
    modes, splits = (
        _tensor(node, "nodes_modes", np.dtype(np.uint8)),
        _tensor(node, "nodes_splits", np.dtype(np.float32)),
    )
    missing = node.integers("nodes_missing_value_tracks_true")
    missing = missing if len(missing) else np.zeros(len(modes), dtype=np.int64)
    _same_length(node, "nodes", *lists.values(), modes, splits, missing)
    weights, targets = _tensor(node, "leaf_weights", np.dtype(np.float32)), node.integers("leaf_targetids")
    _same_length(node, "leaf", weights, targets)
    roots = node.integers("tree_roots")
    if not len(roots) or roots.min() < 0 or roots.max() >= len(modes) or modes.max() > MEMBER:
        raise node.wrong("expected roots that are nodes, and modes up to 6")
    forest = Forest(
        targets=node.integer("n_targets", 0),
        roots=roots,
        mode=modes.astype(np.int8),
        feature=lists["featureids"],
        threshold=splits,
        missing=missing == 1,
        yes=_resolved(node, lists["truenodeids"], lists["trueleafs"], len(modes), len(weights)),
        no=_resolved(node, lists["falsenodeids"], lists["falseleafs"], len(modes), len(weights)),
        pays=[()] * len(modes),
    )
    return _checked(node, _with_leaves(_with_members(node, forest), weights, targets), width)


NODE_LISTS = ("featureids", "truenodeids", "trueleafs", "falsenodeids", "falseleafs")


def _tensor(node: Node, name: str, dtype: Any) -> npt.NDArray[Any]:
    found = node.tensor(name)
    if found is None or found.ndim != 1 or found.dtype != dtype:
        raise node.refused(
            f"expected a tensor {name} of {dtype} with one axis, found {None if found is None else found.dtype}"
        )
    return found


def _resolved(node: Node, ids: Any, leaf: Any, nodes: int, leaves: int) -> npt.NDArray[np.int64]:
    """Children as numbers of nodes, and of leaves after all `nodes` (made negative here: -1 is the first)."""
    import numpy as np

    is_leaf = leaf != 0
    if (ids < 0).any() or (ids[is_leaf] >= leaves).any() or (ids[~is_leaf] >= nodes).any():
        raise node.wrong("a node leads to one that is not there")
    found: npt.NDArray[np.int64] = np.where(is_leaf, -1 - ids, ids)
    return found


def _with_members(node: Node, forest: Forest) -> Forest:
    """BRANCH_MEMBER as a chain of BRANCH_EQ, which share where they lead to."""
    import numpy as np

    members = np.flatnonzero(forest.mode == MEMBER).tolist()
    names = ("mode", "feature", "threshold", "missing", "yes", "no")
    lists: dict[str, list[Any]] = {name: getattr(forest, name).tolist() for name in names}
    for place, wanted in zip(members, _sets(node, len(members)), strict=True):
        last, otherwise = place, lists["no"][place]
        lists["mode"][place], lists["threshold"][place] = MODES.index("BRANCH_EQ"), wanted[0]
        for value in wanted[1:]:
            lists["no"][last] = last = len(lists["mode"])
            for name in names:
                lists[name].append(lists[name][place])
            lists["threshold"][last] = value
        lists["no"][last] = otherwise
    arrays: dict[str, Any] = {name: np.array(lists[name], dtype=getattr(forest, name).dtype) for name in names}
    return replace(forest, **arrays, pays=[()] * len(lists["mode"]))


def _sets(node: Node, count: int) -> list[list[float]]:
    """The members of each node that tests for a set: they follow one another, with NaN after each set."""
    import numpy as np

    if not count:
        return []
    values = _tensor(node, "membership_values", np.dtype(np.float32))
    ends = np.flatnonzero(np.isnan(values))
    if len(ends) != count or ends[-1] != len(values) - 1:
        raise node.wrong(f"expected membership_values with NaN after each of {count} sets, found {len(ends)}")
    found = [[v for v in part.tolist() if v == v] for part in np.split(values, ends)[:-1]]  # noqa: PLR0124  NaN
    if not all(found):
        raise node.refused("a set without members is not supported")
    return found


def _with_leaves(forest: Forest, weights: Any, targets: Any) -> Forest:
    """Every reference to a leaf becomes a node of its own."""
    import numpy as np

    children = np.concatenate((forest.yes, forest.no))
    places = np.flatnonzero(children < 0)
    leaves = -1 - children[places]
    children[places] = len(forest.mode) + np.arange(len(places))
    fill = np.zeros(len(places), dtype=np.int64)
    yes, no = np.split(children, 2)
    return replace(
        forest,
        mode=np.concatenate((forest.mode, fill + LEAF)).astype(np.int8),
        feature=np.concatenate((forest.feature, fill)),
        threshold=np.concatenate((forest.threshold, fill)).astype(np.float32),
        missing=np.concatenate((forest.missing, fill)).astype(bool),
        yes=np.concatenate((yes, fill)),
        no=np.concatenate((no, fill)),
        pays=[*forest.pays, *(((int(targets[leaf]), float(weights[leaf])),) for leaf in leaves)],
    )


def _checked(node: Node, forest: Forest, width: int) -> Forest:
    """The forest, when it is one: see the module's text. ModelError, Unsupported."""
    import numpy as np

    inner = forest.mode != LEAF
    if forest.targets < 1:
        raise node.wrong(f"expected targets or classes, found {forest.targets}")
    if ((forest.feature < 0) | (forest.feature >= width))[inner].any():
        raise node.wrong(f"a node asks for a feature that rows of {width} values do not have")
    if np.isnan(forest.threshold[inner]).any():
        raise node.refused("a node compares with NaN")
    _check_pays(node, forest)
    _check_ends(node, forest, inner)
    return forest


def _check_pays(node: Node, forest: Forest) -> None:
    for mode, pay in zip(forest.mode.tolist(), forest.pays, strict=True):
        targets = [target for target, _ in pay]
        if targets and not 0 <= min(targets) <= max(targets) < forest.targets:
            raise node.wrong(f"a leaf pays a target that is not one of {forest.targets}")
        if len(set(targets)) != len(targets):
            raise node.refused("a leaf pays a target twice")
        if mode == LEAF and not pay:
            raise node.refused("a leaf pays nothing")


def _check_ends(node: Node, forest: Forest, inner: npt.NDArray[np.bool_]) -> None:
    """Only sets of members share nodes, and no node leads back to itself."""
    import numpy as np

    children = np.concatenate((forest.yes[inner], forest.no[inner]))
    parents = np.bincount(children, minlength=len(forest.mode))
    if node.op != "TreeEnsemble" and parents.max(initial=0) > 1:
        raise node.wrong("two nodes lead to the same one")
    if parents[forest.roots].any() or len(np.unique(forest.roots)) != len(forest.roots):
        raise node.wrong("a node leads back to the root of a tree, or two trees are one")
    yes, no = (np.where(inner, side, -1).tolist() for side in (forest.yes, forest.no))
    done: dict[int, bool] = {}  # False: what is below the node is looked at
    stack = forest.roots.tolist()
    while stack:
        place = stack[-1]
        below = [child for child in (yes[place], no[place]) if child >= 0 and not done.get(child)]
        if done.get(place) or not below:
            done[stack.pop()] = True
            continue
        if place in done:
            raise node.wrong("a node leads back to itself")
        done[place] = False
        stack += below
