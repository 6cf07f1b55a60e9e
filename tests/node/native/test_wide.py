"""A model with more features than a batch has room for: what is refused touches nothing of others."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

FEATURES = 784


@pytest.fixture(scope="module")
def wide(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The native server of a logistic regression with 784 features."""
    pytest.importorskip("ziglang", reason="compiles a server: needs the extra `native`")
    skl2onnx = pytest.importorskip("skl2onnx", reason="trains a model: needs the extra `cloud`")
    np = pytest.importorskip("numpy")
    linear_model = pytest.importorskip("sklearn.linear_model")
    folder = tmp_path_factory.mktemp("wide")
    rows = np.random.default_rng(0).normal(size=(200, FEATURES)).astype(np.float32)
    fitted = linear_model.LogisticRegression().fit(rows, (rows[:, 0] > 0).astype(int))
    (folder / "wide.onnx").write_bytes(skl2onnx.to_onnx(fitted, rows[:1], target_opset=17).SerializeToString())
    words = ("model", "compile", folder / "wide.onnx", "--runtime", "native", "-o", folder / "out")
    subprocess.run([sys.executable, "-m", "edgeloop_pipelines.cli", *map(str, words)], check=True, capture_output=True)
    (found,) = (folder / "out").rglob("server")
    return found


def test_a_batch_without_room_leaves_the_others_alone(
    wide: Path, serve_native: Any, dial: Any, request_bytes: Any
) -> None:
    """1000 rows of 784 features are too many (413). A request that another client has half sent is answered all the same."""

    def infer(rows: int, values: int) -> bytes:
        tensor = {"name": "X", "shape": [rows, FEATURES], "datatype": "FP32", "data": [0.25] * values}
        whole: bytes = request_bytes(json.dumps({"inputs": [tensor]}).encode(), "/v2/models/wide/infer")
        return whole

    process = serve_native(wide)
    first, second, whole = dial(process.port), dial(process.port), infer(4, 4 * FEATURES)
    first.send(whole[:-1000])
    for _ in range(3):
        second.send(infer(1000, 0))
        assert second.answer()[0] == 413
    first.send(whole[-1000:])
    status, _, body = first.answer()
    assert status == 200, body
    assert len(json.loads(body)["outputs"]) == 2
