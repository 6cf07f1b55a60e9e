"""Forests that were fitted on rows with missing values: the graph sends them where the estimator does."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest

from edgeloop_components.runtimes.onnxruntime import session
from edgeloop_components.train.missing import mend_missing


def rows_of(seed: int) -> tuple[Any, Any]:
    from sklearn.datasets import make_classification

    x, y = make_classification(500, 6, n_informative=5, n_redundant=0, n_classes=3, random_state=seed)
    x = x.astype(np.float32)
    x[np.random.default_rng(seed).random(x.shape) < 0.15] = np.nan
    return x, y


def estimators() -> dict[str, Any]:
    from sklearn import ensemble, pipeline, preprocessing, tree

    forest = ensemble.RandomForestClassifier(12, max_depth=6, random_state=0)
    lone = tree.DecisionTreeClassifier(max_depth=6, random_state=0)
    return {
        "forest": forest,
        "extra trees": ensemble.ExtraTreesClassifier(12, max_depth=6, random_state=0),
        "tree": lone,
        "pipeline": pipeline.make_pipeline(preprocessing.StandardScaler(), forest),
        "votes": ensemble.VotingClassifier([("a", forest), ("b", lone)], voting="soft", flatten_transform=False),
    }


@pytest.mark.parametrize("name", list(estimators()))
def test_missing_values_go_where_the_estimator_sends_them(name: str) -> None:
    """Without the mending the graph is far off; with it, it gives the estimator's probabilities for all rows."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    x, y = rows_of(1)
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = estimators()[name].fit(x, y)
        types = [("X", FloatTensorType([None, x.shape[1]]))]
        converted = convert_sklearn(
            model, initial_types=types, target_opset={"": 17, "ai.onnx.ml": 3}, options={"zipmap": False}
        )
    expected = model.predict_proba(x)
    before = session(converted.SerializeToString()).run(None, {"X": x})[1]
    assert mend_missing(model, converted.graph) == (2 if name == "votes" else 1)
    after = session(converted.SerializeToString()).run(None, {"X": x})[1]
    assert np.abs(before - expected).max() > 0.01
    assert np.abs(after - expected).max() <= 2e-6


def test_what_is_not_recognised_stays() -> None:
    """A graph of another model's trees is left as it is."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType

    x, y = rows_of(2)
    forest, other = estimators()["forest"].fit(x, y), estimators()["forest"].fit(x[::-1] * -2, y)
    converted = convert_sklearn(
        forest, initial_types=[("X", FloatTensorType([None, 6]))], target_opset={"": 17, "ai.onnx.ml": 3}
    )
    data = converted.SerializeToString()
    assert mend_missing(other, converted.graph) == 0
    assert converted.SerializeToString() == data
