"""Graphs that are no classifiers, as people use them: `edgeloop-node score`, and a graph whose labels are texts."""

from __future__ import annotations

import csv
import io
import json
import os
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

CSV = "wind,pitch,heat,x\n0.5,-1.25,1,a\n,,,b\n1,2,many,c\n"


def script(run_dir: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "EDGELOOP_RUN_DIR": str(run_dir)}
    command = [sys.executable, "-m", "edgeloop_node", "score", "-", *arguments]
    return subprocess.run(command, input=CSV, capture_output=True, text=True, env=environment, timeout=60)


def test_a_csv_becomes_values(serve: Callable[..., Any], power: Path) -> None:
    """A column for each value, in CSV and as JSON lines; a refused row keeps its place."""
    served = serve(power)
    wanted = [
        served.call("POST", "/score", {"features": features})[1]["values"]["variable"]
        for features in ({"wind": 0.5, "pitch": -1.25, "heat": 1}, {})
    ]
    done = script(served.run_dir, "--id", "x")
    rows = list(csv.DictReader(io.StringIO(done.stdout)))
    assert (done.returncode, list(rows[0])) == (5, ["x", "variable", "version"])
    assert [float(row["variable"]) for row in rows[:2]] == wanted
    assert rows[2] == {"x": "c", "variable": "", "version": ""}
    lines = [json.loads(line) for line in script(served.run_dir, "--json").stdout.splitlines()]
    assert lines[0] == {"id": None, "model": "power", "version": 1, "values": {"variable": wanted[0]}}
    assert lines[2]["error"].startswith("features.heat: expected a number")


def test_several_values_have_columns_of_their_own(serve: Callable[..., Any], echo: Path) -> None:
    """An output of several values has its places as numbers."""
    served = serve(echo)
    environment = {**os.environ, "EDGELOOP_RUN_DIR": str(served.run_dir)}
    text = ",".join(f"x{i}" for i in range(16)) + "\n" + ",".join(["0.5"] * 16) + "\n"
    command = [sys.executable, "-m", "edgeloop_node", "score", "-"]
    done = subprocess.run(command, input=text, capture_output=True, text=True, env=environment, timeout=60)
    (row,) = csv.DictReader(io.StringIO(done.stdout))
    assert [name for name in row if name.startswith("above")] == ["above_0", "above_1", "above_2"]
    assert len(row) == 18 + 3 + 3 + 1
    assert {row["above_0"], row["above_1"], row["above_2"]} <= {"0", "1"}


@pytest.fixture(scope="session")
def states(tmp_path_factory: pytest.TempPathFactory, folder_of: Callable[..., Path]) -> Path:
    """The folder of a linear support vector machine: text labels, and a map of scores that are no probabilities."""
    np = pytest.importorskip("numpy", reason="trains a model: needs the extra `cloud`")
    skl2onnx = pytest.importorskip("skl2onnx", reason="trains a model: needs the extra `cloud`")
    svm = pytest.importorskip("sklearn.svm")
    rows = np.random.default_rng(0).normal(size=(200, 2)).astype(np.float32)
    names = np.array(["calm", "gust", "storm"])[(rows[:, 0] > 0).astype(int) + (rows[:, 1] > 0.5)]
    graph = skl2onnx.to_onnx(svm.LinearSVC(random_state=0).fit(rows, names), rows[:1], target_opset=17)
    return folder_of(graph, tmp_path_factory.mktemp("states") / "states.onnx")


def test_texts_are_places_in_a_list(serve: Callable[..., Any], states: Path) -> None:
    """The label is the place of its text, which the metadata lists; scores that are no probabilities pass as they are."""
    served = serve(states)
    ort = pytest.importorskip("onnxruntime")
    np = pytest.importorskip("numpy")
    _, metadata = served.call("GET", "/v2/models/states")
    assert [(o["name"], o["datatype"]) for o in metadata["outputs"]] == [("label", "INT64"), ("probabilities", "FP32")]
    texts = metadata["parameters"]["texts"]["label"]
    assert sorted(texts) == ["calm", "gust", "storm"]
    rows = np.random.default_rng(7).normal(size=(60, 2)).astype(np.float32)
    original = (states / "states.onnx").read_bytes()
    session = ort.InferenceSession(original, providers=["CPUExecutionProvider"])
    labels, scores = session.run(None, {"X": rows})
    tensor = {"name": "X", "shape": [60, 2], "datatype": "FP32", "data": rows.ravel().tolist()}
    status, body = served.call("POST", "/v2/models/states/infer", {"inputs": [tensor]})
    place, found = body["outputs"]
    assert (status, [texts[i] for i in place["data"]]) == (200, labels.tolist())
    flat = [value for row in np.asarray(scores).tolist() for value in row]
    assert found["data"] == pytest.approx(flat, rel=1e-5, abs=1e-5)
