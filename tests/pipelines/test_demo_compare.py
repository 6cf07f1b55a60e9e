"""The demo's comparison with the real ingest and train: encoding, the first model, retraining by calendar."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from edgeloop_contracts import Loop
from edgeloop_pipelines.demo.compare import calendars, encode, predict, train_at
from edgeloop_pipelines.demo.prepared import DemoNode, Prepared, steps_of
from edgeloop_pipelines.loopfile.load import load

DAY_S = 86_400
LOOP_YAML = """\
apiVersion: edgeloop.dev/v1alpha1
kind: Loop
metadata: {name: flip}
data: {source: s3://telemetry/flip/, time: time, node: node, label: label, features: [x, node], window: 10d}
train:
  estimator: sklearn.ensemble.HistGradientBoostingClassifier
  params: {max_iter: 20, max_leaf_nodes: 4, early_stopping: false}
targets: [{name: all, runtime: onnxruntime, nodes: {group: all}}]
monitor: {window: 1d, label_delay: 1d}
"""


@pytest.fixture
def prepared() -> Prepared:
    """20 days of history and 30 of stream with 40 rows a day; on day 30 the truth turns round."""
    times = pd.date_range("2020-01-01", periods=50 * 40, freq="36min", tz="UTC")
    x = np.random.default_rng(0).normal(size=len(times))
    day = (times - times[0]).days
    label = np.where((x > 0) == (day < 30), "up", "down")
    frame = pd.DataFrame({"time": times, "node": np.where(np.arange(len(times)) % 2, "b", "a"), "x": x, "label": label})
    frame.loc[day >= 20, "x"] = frame.loc[day >= 20, "x"].where(np.arange((day >= 20).sum()) % 97 != 0)
    stream = frame[day >= 20].reset_index(drop=True)
    return Prepared(
        name="flip",
        loop_yaml=LOOP_YAML,
        history=frame[day < 20].reset_index(drop=True),
        stream=stream,
        periods=stream["time"].dt.strftime("%Y-%m"),
        nodes=[DemoNode("a", "all"), DemoNode("b", "all")],
        time_column="time",
        node_column="node",
        label_column="label",
        features=["x", "node"],
        inputs=["x"],
        step_s=DAY_S,
        delay_s=DAY_S,
        block_s=7 * DAY_S,
        step_name="day",
        block_name="week",
        story=(),
    )


@pytest.fixture
def loop(tmp_path: Path) -> Loop:
    path = tmp_path / "loop.yaml"
    path.write_text(LOOP_YAML)
    return load(path)


def test_rows_are_encoded_as_a_node_does_it() -> None:
    """A category is its place in the reference, an unknown one -1, a missing value NaN; all in float32 and in order."""
    reference = {
        "features": [
            {"name": "node", "kind": "category", "categories": ["a", "b"]},
            {"name": "x", "kind": "number"},
        ]
    }
    frame = pd.DataFrame({"x": [1.5, None, 3.0, 4.0], "node": ["b", "a", "c", None]})
    found = encode(frame, reference)
    assert found.dtype == np.float32
    np.testing.assert_array_equal(found, np.array([[1, 1.5], [0, np.nan], [-1, 3], [np.nan, 4]], np.float32))


def test_model_is_trained_on_what_was_known_and_predicts_the_stream(
    prepared: Prepared, loop: Loop, tmp_path: Path
) -> None:
    """A model of the first day follows the old truth: right before the turn, wrong after it. A second call trains nothing."""
    start_s = steps_of(prepared)[0][0]
    model = train_at(loop, prepared, start_s, tmp_path / "models")
    right = predict(model, prepared.stream) == prepared.stream["label"]
    before = prepared.stream["time"] < pd.Timestamp("2020-01-31", tz="UTC")
    assert right[before].mean() > 0.95
    assert right[~before].mean() < 0.1
    written = (model / "model.onnx").stat().st_mtime_ns
    assert train_at(loop, prepared, start_s, tmp_path / "models") == model
    assert (model / "model.onnx").stat().st_mtime_ns == written
    reference = json.loads((model / "reference.json").read_bytes())
    assert reference["classes"] == ["down", "up"]


def test_calendar_serves_each_model_from_its_date_on(prepared: Prepared, loop: Loop, tmp_path: Path) -> None:
    """Before the first date the first model answers; the run after the turn follows the new truth from its date on."""
    folder = tmp_path / "models"
    first = predict(train_at(loop, prepared, steps_of(prepared)[0][0], folder), prepared.stream)
    plain, late = calendars(loop, prepared, first, runs=2, folder=folder, shifts=(0.0, 0.5))
    times = prepared.stream["time"]
    served = [pd.Timestamp(date, unit="s", tz="UTC") for date in plain.dates_s]
    assert [date.strftime("%m-%d") for date in served] == ["01-31", "02-10"]
    until = (times < served[0]).to_numpy()
    np.testing.assert_array_equal(plain.predicted[until], first[until])
    after = (times >= served[1]).to_numpy()
    labels = prepared.stream["label"].to_numpy()
    assert (plain.predicted == labels)[after].mean() > 0.6
    assert (first == labels)[after].mean() < 0.1
    assert late.dates_s[0] - plain.dates_s[0] == 5 * DAY_S


def test_calendar_without_runs_is_the_first_model(prepared: Prepared, loop: Loop, tmp_path: Path) -> None:
    """When the loop made no run, the calendar makes none either."""
    first = np.full(len(prepared.stream), "up", dtype=object)
    (only,) = calendars(loop, prepared, first, runs=0, folder=tmp_path, shifts=(0.0,))
    assert only.dates_s == ()
    np.testing.assert_array_equal(only.predicted, first)
