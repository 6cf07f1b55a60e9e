"""The golden model over many rows at once, in int64: the same bits as `edgeloop_contracts.fpga_model`, much faster."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeloop_contracts.fpga import FpgaDesign, FpgaForest, FpgaPerceptron, FpgaTree
from edgeloop_contracts.fpga_model import MOST, probabilities_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Codes = npt.NDArray[np.int64]

__all__ = ["codes", "labels", "probabilities", "scores"]


def codes(design: FpgaDesign, rows: Any) -> Codes:
    """Codes int64 [n, features] of rows [n, features], which are rounded to float32. ValueError for another width."""
    import numpy as np

    with np.errstate(over="ignore"):
        values = np.asarray(rows).astype(np.float32)
    if values.ndim != 2 or values.shape[1] != design.features:
        raise ValueError(f"rows: expected [n, {design.features}], found {list(values.shape)}")
    if design.perceptron is not None:
        found = _dense_codes(design.perceptron, values)
    elif design.forest is not None:
        found = _forest_codes(design.forest, values)
    else:
        raise ValueError("design: expected a perceptron or a forest, found neither")
    return np.where(np.isnan(values), np.array(design.missing, np.int64), found)


def _dense_codes(model: FpgaPerceptron, values: Any) -> Codes:
    import numpy as np

    half = 1 << (model.bits - 1)
    exact = np.clip(np.nan_to_num(values).astype(np.float64), -MOST, MOST)
    exact = exact * np.array(model.factors) + np.array(model.offsets) + 0.5
    found: Codes = np.floor(np.clip(exact, -half, half - 1)).astype(np.int64)
    return found


def _forest_codes(model: FpgaForest, values: Any) -> Codes:
    import numpy as np

    columns = [
        np.searchsorted(np.array(edges, np.float32), values[:, place], side="left")
        for place, edges in enumerate(model.thresholds)
    ]
    return np.stack(columns, axis=1).astype(np.int64)


def scores(design: FpgaDesign, row_codes: Any) -> Codes:
    """Raw scores int64 [n, scores] of codes [n, features]."""
    import numpy as np

    given = np.asarray(row_codes, np.int64)
    if given.ndim != 2 or given.shape[1] != design.features:
        raise ValueError(f"codes: expected [n, {design.features}], found {list(given.shape)}")
    if design.perceptron is not None:
        return _dense_scores(design.perceptron, given)
    if design.forest is not None:
        return _forest_scores(design.forest, given)
    raise ValueError("design: expected a perceptron or a forest, found neither")


def _dense_scores(model: FpgaPerceptron, values: Codes) -> Codes:
    import numpy as np

    for place, layer in enumerate(model.layers):
        sums = values @ np.array(layer.weights, np.int64).T + np.array(layer.biases, np.int64)
        if place == len(model.layers) - 1:
            break
        values = np.clip((sums + ((1 << layer.shift) >> 1)) >> layer.shift, 0, (1 << model.bits) - 1)
    return np.asarray(sums, np.int64)


def _forest_scores(model: FpgaForest, given: Codes) -> Codes:
    import numpy as np

    sizes = np.array([len(edges) for edges in model.thresholds], np.int64)
    totals = np.tile(np.array(model.base, np.int64), (len(given), 1))
    for tree in model.trees:
        wide = [values or (0,) * len(tree.outputs) for values in tree.values]
        totals[:, list(tree.outputs)] += np.array(wide, np.int64)[_leaves(tree, sizes, given)]
    return totals


def _leaves(tree: FpgaTree, sizes: Codes, given: Codes) -> Codes:
    """The place of each row's leaf [n]: all rows go down one level at a time."""
    import numpy as np

    features, edges = np.array(tree.features), np.array(tree.edges)
    left, right, missing_left = np.array(tree.left), np.array(tree.right), np.array(tree.missing_left)
    nodes, rows = np.zeros(len(given), np.int64), np.arange(len(given))
    while len(rows):
        rows = rows[features[nodes[rows]] >= 0]
        here = nodes[rows]
        feature = features[here]
        code = given[rows, feature]
        goes_left = (code <= edges[here]) | ((code > sizes[feature]) & missing_left[here])
        nodes[rows] = np.where(goes_left, left[here], right[here])
    return nodes


def labels(design: FpgaDesign, raw: Any) -> Codes:
    """Places of the classes int64 [n] of raw scores [n, scores]."""
    import numpy as np

    found = raw[:, 0] > 0 if design.scores == 1 else np.argmax(raw, axis=1)
    return np.asarray(found, np.int64)


def probabilities(design: FpgaDesign, raw: Any) -> npt.NDArray[np.float64]:
    """Probabilities [n, classes] of raw scores [n, scores]: the same function as a node's, row by row."""
    import numpy as np

    return np.array([probabilities_of(design, row) for row in raw.tolist()], np.float64)
