"""Models with more features, or more outputs, than a batch has room for: what is refused touches nothing of others."""

from __future__ import annotations

import json
import struct
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


OUTPUTS = 40_000  # more than a JSON answer has room for, and so many that only a few rows fit into a batch


@pytest.fixture(scope="module")
def fan(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The native server of a graph that gives `OUTPUTS` multiples of its one input, and whether each is above 0."""
    pytest.importorskip("ziglang", reason="compiles a server: needs the extra `native`")
    onnx = pytest.importorskip("onnx", reason="makes a model: needs the extra `cloud`")
    np = pytest.importorskip("numpy")
    folder, make, kind = tmp_path_factory.mktemp("fan"), onnx.helper, onnx.TensorProto
    factors = onnx.numpy_helper.from_array(np.arange(OUTPUTS, dtype=np.float32), "w")
    zero = onnx.numpy_helper.from_array(np.float32(0), "zero")
    nodes = [make.make_node("Mul", ["x", "w"], ["y"]), make.make_node("Greater", ["y", "zero"], ["positive"]),
             make.make_node("Cast", ["positive"], ["above"], to=kind.INT64)]  # fmt: skip
    given = [make.make_tensor_value_info("x", kind.FLOAT, ["N", 1])]
    made = [make.make_tensor_value_info(n, k, ["N", OUTPUTS]) for n, k in (("y", kind.FLOAT), ("above", kind.INT64))]
    graph = make.make_graph(nodes, "fan", given, made, [factors, zero])
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8), folder / "fan.onnx")
    words = ("model", "compile", folder / "fan.onnx", "--runtime", "native", "-o", folder / "out")
    subprocess.run([sys.executable, "-m", "edgeloop_pipelines.cli", *map(str, words)], check=True, capture_output=True)
    (found,) = (folder / "out").rglob("server")
    return found


def test_wide_outputs_stay_within_their_memory(fan: Path, serve_native: Any, dial: Any, request_bytes: Any) -> None:
    """Too many rows are 413, an answer too long for JSON is 413; in binary the same rows are answered, each in its place."""
    process = serve_native(fan)
    client = dial(process.port)

    def infer(rows: int, **more: Any) -> tuple[int, dict[str, str], bytes]:
        tensor = {"name": "x", "shape": [rows, 1], "datatype": "FP32", "data": [i - 1 for i in range(rows)]}
        client.send(request_bytes(json.dumps({"inputs": [tensor], **more}).encode(), "/v2/models/fan/infer"))
        found: tuple[int, dict[str, str], bytes] = client.answer()
        return found

    most = 262_144 // OUTPUTS
    status, _, body = infer(most + 1)
    assert (status, f"at most {most} rows at once" in body.decode()) == (413, True)
    for binary in ("y", "above"):
        wish = {"outputs": [{"name": binary, "parameters": {"binary_data": True}}]}
        rows = most if binary == "y" else 3
        status, headers, body = infer(rows, **wish)
        assert status == 200
        raw = body[int(headers["inference-header-content-length"]) :]
        values = struct.unpack(f"<{rows * OUTPUTS}{'f' if binary == 'y' else 'q'}", raw)
        for row in range(rows):
            line = values[row * OUTPUTS : (row + 1) * OUTPUTS]
            assert line[::1000] == tuple(
                (row - 1) * i if binary == "y" else (row > 1 and i > 0) for i in range(0, OUTPUTS, 1000)
            )
    status, _, body = infer(most)
    assert (status, "too long" in body.decode()) == (413, True)
    assert infer(1)[0] == 200


def test_memory_of_a_wide_answer_is_given_back(fan: Path, serve_native: Any, dial: Any, request_bytes: Any) -> None:
    """After an answer of a megabyte the server holds no more of it than before."""
    process = serve_native(fan)
    client = dial(process.port)
    tensor = {"name": "x", "shape": [6, 1], "datatype": "FP32", "data": [1.0] * 6}
    wish = [{"name": "y", "parameters": {"binary_data": True}}]
    whole = request_bytes(json.dumps({"inputs": [tensor], "outputs": wish}).encode(), "/v2/models/fan/infer")

    def anonymous_kib() -> int:
        text = Path(f"/proc/{process.child.pid}/smaps_rollup").read_text()
        return int(next(line for line in text.splitlines() if line.startswith("Anonymous")).split()[1])

    before = anonymous_kib()
    client.send(whole)
    status, headers, body = client.answer()
    assert (status, len(body) - int(headers["inference-header-content-length"])) == (200, 6 * 4 * OUTPUTS)
    client.send(request_bytes(b"{}", "/v2/models/fan/infer"))
    assert client.answer()[0] == 400
    assert anonymous_kib() - before < 512
