"""Training and serving see the same: scikit-learn on raw rows against the node's own path to the ONNX graph."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeloop_components.ingest.core import ingest
from edgeloop_components.ingest.rows import encode, read_rows
from edgeloop_components.train.calibration import fit_temperature, tempered
from edgeloop_components.train.core import train
from edgeloop_components.train.estimator import fit_model
from edgeloop_components.train.reference import shells
from edgeloop_components.train.split import split_rows
from edgeloop_contracts import Loop, from_json
from edgeloop_node.runtimes import onnxruntime as node_runtime
from edgeloop_node.server.requests import RowReader

FEATURES = ("wind", "temp", "state", "speed")
ESTIMATORS = {
    "sklearn.ensemble.HistGradientBoostingClassifier": {"max_iter": 30},
    "sklearn.ensemble.RandomForestClassifier": {"n_estimators": 20, "max_depth": 8},
    "sklearn.linear_model.LogisticRegression": {},
    "sklearn.neural_network.MLPClassifier": {"hidden_layer_sizes": [12], "max_iter": 40},
}
LIMIT = 2e-6


def history(n: int = 3000) -> list[dict[str, Any]]:
    """Raw rows with rounded sensor values, missing values and a category."""
    random = np.random.default_rng(1)
    wind, temp, speed = random.normal(size=(3, n))
    state = random.integers(0, 3, n)
    score = wind * (state + 1) - temp + random.normal(size=n)
    return [
        {
            "time": 1_400_000_000 + 600 * i,
            "wind": round(float(wind[i]), 1) if random.random() > 0.05 else None,
            "temp": round(20 + 5 * float(temp[i]), 1),
            "state": ("run", "stop", "err")[state[i]] if random.random() > 0.05 else None,
            "speed": 1e4 * float(speed[i]),
            "y": "ice" if score[i] > 1 else "dry",
        }
        for i in range(n)
    ]


def requests() -> list[dict[str, Any]]:
    """What a node may be asked: rows of the history, each value missing, all missing, unknown categories, extremes."""
    rows = [{name: row[name] for name in FEATURES} for row in history()[::7]]
    base = rows[3]
    rows += [{**base, name: None} for name in FEATURES]
    rows += [{key: value for key, value in base.items() if key != name} for name in FEATURES]
    rows += [{**base, "state": "never seen"}, {**base, "state": ""}, {**base, "wind": 1e30}, {**base, "speed": -3e38}]
    rows += [
        {**base, "wind": w / 100, "temp": t / 20} for w in range(-30, 30, 3) for t in range(300, 500, 7)
    ]  # midpoints
    rows.append(dict.fromkeys(FEATURES))
    return rows


def raw_matrix(rows: list[dict[str, Any]], categories: tuple[str, ...]) -> np.ndarray[Any, np.dtype[np.float32]]:
    """The raw rows for scikit-learn, encoded here and by nothing of the product."""
    matrix = np.full((len(rows), len(FEATURES)), np.nan)
    for i, row in enumerate(rows):
        for j, name in enumerate(FEATURES):
            value = row.get(name)
            if value is None:
                continue
            if name == "state":
                value = categories.index(value) if value in categories else -1
            matrix[i, j] = value
    return matrix.astype(np.float32)


@pytest.fixture(scope="module")
def loop(tmp_path_factory: pytest.TempPathFactory) -> Loop:
    folder = tmp_path_factory.mktemp("skew")
    import pandas as pd

    pd.DataFrame(history()).to_parquet(folder / "rows.parquet", index=False)
    document = {
        "apiVersion": "edgeloop.dev/v1alpha1",
        "kind": "Loop",
        "metadata": {"name": "ice"},
        "data": {"source": str(folder / "rows.parquet"), "time": "time", "label": "y", "features": list(FEATURES)},
        "train": {"estimator": "sklearn.linear_model.LogisticRegression"},
        "targets": [{"name": "t", "nodes": {"group": "g"}}],
    }
    made = from_json(Loop, document)
    ingest(made, folder / "snapshot", objects=None)
    return dataclasses.replace(made, extra={"snapshot": str(folder / "snapshot")})


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("estimator", "params"), ESTIMATORS.items())
def test_the_node_answers_as_scikit_learn_does(
    loop: Loop, tmp_path: Path, estimator: str, params: dict[str, Any]
) -> None:
    """Raw JSON rows through the node's reader and runtime give scikit-learn's probabilities, within 2e-6, and its classes."""
    loop = dataclasses.replace(loop, train=dataclasses.replace(loop.train, estimator=estimator, params=params))
    snapshot = Path(loop.extra["snapshot"])
    made = train(loop, snapshot, tmp_path / "model")

    reader, scorer = RowReader(made.reference), node_runtime.load(tmp_path / "model")
    body = json.loads(json.dumps({"rows": [{"features": row} for row in requests()]}))
    read = [reader.row(item).values for item in body["rows"]]
    labels, served = scorer.score(read)

    rows = read_rows(snapshot)
    features = shells([rows.column(name) for name in FEATURES])
    split = split_rows(rows.times_s(), len(rows), loop.validate.holdout, loop.train.seed)
    known = encode(rows, features).astype(np.float32)
    texts = rows.texts("y")
    fitted = fit_model(loop.train, features, known[split.fit], texts[split.fit])
    places = np.searchsorted(fitted.classes_, texts[split.calibration].astype(str))
    temperature = fit_temperature(fitted.predict_proba(known[split.calibration]).astype(np.float64), places)
    expected = tempered(fitted.predict_proba(raw_matrix(requests(), features[2].categories)), temperature)

    assert np.abs(expected - np.array(served)).max() <= LIMIT
    clear = np.abs(expected[:, 0] - expected[:, 1]) > LIMIT
    assert (expected.argmax(axis=1) == labels)[clear].all()
    assert clear.sum() > 0.9 * len(labels)
