"""`edgeloop model inspect`: what it says of an ONNX file, and of a file that is none."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgeloop_pipelines.cli import main


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small logistic regression."""
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    x = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    fitted = LogisticRegression().fit(x, (x[:, 0] > 0).astype(int))
    path = tmp_path_factory.mktemp("model") / "model.onnx"
    path.write_bytes(to_onnx(fitted, x[:1], options={"zipmap": False}).SerializeToString())
    return path


def test_the_graph_is_described(model, capsys):
    """Inputs, outputs, operators, opsets, and what each runtime makes of them."""
    from edgeloop_components.runtimes import RUNTIMES

    assert main(["model", "inspect", str(model), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["inputs"] == [{"name": "X", "type": "float", "shape": [None, 3]}]
    assert [output["name"] for output in document["outputs"]] == ["label", "probabilities"]
    assert "ai.onnx.ml.LinearClassifier" in document["operators"]
    assert document["runtimes"].keys() == RUNTIMES.keys()
    assert all(document["runtimes"].values())


def test_words_hold_the_same(model, capsys):
    """The words for people name the inputs with their shape, the operators and the runtimes."""
    assert main(["model", "inspect", str(model)]) == 0
    words = capsys.readouterr().out
    for part in (
        "[?, 3]",
        "ai.onnx.ml.LinearClassifier",
        "onnxruntime",
        "probabilities",
        f"{model.stat().st_size} bytes",
    ):
        assert part in words


BAD = [
    ("a.onnx", b"", "an empty file"),
    ("b.onnx", b"a,b\n1,2\n", "text that begins"),
    ("c.onnx", b"\x80\x04\x95abc", "a Python pickle"),
    ("d.onnx", b"PK\x03\x04abc", "a zip archive"),
    ("e.onnx", b'{"a": 1}', "JSON text"),
]


@pytest.mark.parametrize(("name", "content", "found"), BAD)
def test_a_file_that_is_no_model(name, content, found, tmp_path, capsys):
    """A file that is not ONNX is an error that says what it is instead, in words and in JSON."""
    path = tmp_path / name
    path.write_bytes(content)
    assert main(["model", "inspect", str(path)]) == 1
    error = capsys.readouterr().err
    assert error.startswith(f"error: {path}: expected an ONNX model")
    assert found in error
    assert main(["model", "inspect", str(path), "--json"]) == 1
    assert found in json.loads(capsys.readouterr().out)["error"]["message"]


def test_a_cut_model(model, tmp_path, capsys):
    """A model that was cut off in transfer is refused."""
    path = tmp_path / "cut.onnx"
    path.write_bytes(model.read_bytes()[:-40])
    assert main(["model", "inspect", str(path)]) == 1
    assert "breaks off" in capsys.readouterr().err


def test_no_file(tmp_path, capsys):
    """A file that is not there is named."""
    assert main(["model", "inspect", str(tmp_path / "none.onnx")]) == 1
    assert "none.onnx" in capsys.readouterr().err
