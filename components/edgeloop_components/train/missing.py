"""Puts back what the converter loses of forests: to which side of each test a missing value goes.

scikit-learn's trees learn it, and say it for every test; the converter writes that missing values go right, always, and the
graph's answers to them are wrong without a word. A tree is recognised in the graph by its features, node by node.
Leaves alone what it does not recognise: the proof of the finished graph judges that.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["mend_missing"]

DIRECTIONS = "nodes_missing_value_tracks_true"


def mend_missing(model: Any, graph: Any) -> int:
    """Sets the directions in all tree operators of a graph made from a fitted model. Gives how many operators it set."""
    known = {features.tobytes(): directions for features, directions in _forests(model)}
    return sum(_mended(node, known) for node in graph.node if node.op_type.startswith("TreeEnsemble"))


def _forests(model: Any) -> Iterator[tuple[npt.NDArray[np.int64], npt.NDArray[np.int64]]]:
    """(features, directions) of every forest and every lone tree in a model, node after node; leaves have feature 0."""
    import numpy as np

    inner: Any = getattr(model, "estimators_", ())
    inner = inner.ravel().tolist() if hasattr(inner, "dtype") else inner
    trees = [part.tree_ for part in inner if hasattr(part, "tree_")] if all(hasattr(p, "tree_") for p in inner) else []
    trees = [model.tree_] if hasattr(model, "tree_") else trees
    if trees:
        features = np.concatenate([np.maximum(tree.feature, 0) for tree in trees]).astype(np.int64)
        yield features, np.concatenate([tree.missing_go_to_left for tree in trees]).astype(np.int64)
        return
    for part in _parts(model):
        yield from _forests(part)


def _parts(model: Any) -> list[Any]:
    """Fitted estimators inside one: steps, columns, votes, bags, calibrated classifiers."""
    steps = [step for _, step in getattr(model, "steps", ())]
    columns = [part[1] for part in getattr(model, "transformers_", ())]
    inner = getattr(model, "estimators_", ())
    voters = [] if hasattr(inner, "dtype") else list(inner)
    calibrated = [getattr(part, "estimator", None) for part in getattr(model, "calibrated_classifiers_", ())]
    found = [getattr(model, "estimator_", None), getattr(model, "final_estimator_", None)]
    return [part for part in (*steps, *columns, *voters, *calibrated, *found) if hasattr(part, "fit")]


def _mended(node: Any, known: Mapping[bytes, npt.NDArray[np.int64]]) -> bool:
    import numpy as np

    lists = {attribute.name: attribute for attribute in node.attribute}
    features = np.array(lists["nodes_featureids"].ints, dtype=np.int64) if "nodes_featureids" in lists else np.zeros(0)
    directions = known.get(features.tobytes())
    if directions is None or DIRECTIONS not in lists or any(lists[DIRECTIONS].ints) or not directions.any():
        return False
    inner = np.array([mode != b"LEAF" for mode in lists["nodes_modes"].strings])
    del lists[DIRECTIONS].ints[:]
    lists[DIRECTIONS].ints.extend((directions * inner).tolist())
    return True
