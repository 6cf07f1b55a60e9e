"""A model whose answers are no probabilities: rounding is mended, everything worse is a fault that is counted, not an answer.

The graph gives [flow, 1 - flow, heat], so a request chooses how wrong the sum is.
"""

from __future__ import annotations

import json
import shutil
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

INFER = "/v2/models/pump/infer"


@pytest.fixture(scope="module")
def unsound(model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A model folder of that graph, with golden rows that it answers well."""
    onnx = pytest.importorskip("onnx", reason="makes a model: needs the extra `cloud`")
    np = pytest.importorskip("numpy")
    folder = tmp_path_factory.mktemp("unsound") / "model"
    shutil.copytree(model, folder)
    make, tensor = onnx.helper, onnx.TensorProto
    weights = np.array([[1, -1, 0], [0, 0, 1], [0, 0, 0]], np.float32)
    constants = [onnx.numpy_helper.from_array(array, name) for name, array in
                 (("w", weights), ("b", np.array([0, 1, 0], np.float32)))]  # fmt: skip
    nodes = [make.make_node("Gemm", ["X", "w", "b"], ["probabilities"]),
             make.make_node("ArgMax", ["probabilities"], ["label"], axis=1, keepdims=0)]  # fmt: skip
    given = [make.make_tensor_value_info("X", tensor.FLOAT, ["N", 3])]
    made = [make.make_tensor_value_info("label", tensor.INT64, ["N"]),
            make.make_tensor_value_info("probabilities", tensor.FLOAT, ["N", 3])]  # fmt: skip
    graph = make.make_graph(nodes, "unsound", given, made, constants)
    onnx.save(make.make_model(graph, opset_imports=[make.make_opsetid("", 17)], ir_version=8), folder / "model.onnx")
    golden = {
        "rows": [[0.25, 0, 1], [0.75, 0, 0]],
        "probabilities": [[0.25, 0.75, 0], [0.75, 0.25, 0]],
        "labels": [1, 0],
    }
    (folder / "golden.json").write_text(json.dumps(golden))
    return folder


@pytest.fixture
def server(serve: Callable[..., Any], unsound: Path) -> Any:
    return serve(unsound)


def infer(server: Any, flow: float | None, heat: float, binary: bool) -> tuple[int, Any]:
    """Status and the probabilities, or the error."""
    tensor = {"name": "X", "shape": [1, 3], "datatype": "FP32", "data": [flow, heat, 0]}
    wish = [{"name": "probabilities", "parameters": {"binary_data": binary}}]
    status, headers, raw = server.exchange("POST", INFER, {"inputs": [tensor], "outputs": wish})
    if status != 200:
        return status, json.loads(raw)["error"]
    if binary:
        return status, list(struct.unpack("<3f", raw[int(headers["Inference-Header-Content-Length"]) :]))
    return status, json.loads(raw)["outputs"][0]["data"]


@pytest.mark.parametrize("binary", [False, True])
def test_what_sums_to_one_is_left_alone(server: Any, binary: bool) -> None:
    """An answer whose sum is 1 within 1e-6 comes as the model gave it, to the last bit."""
    assert infer(server, 0.25, 0.0, binary) == (200, [0.25, 0.75, 0.0])
    assert infer(server, 0.25, 2.0**-20, binary)[1][:2] == [0.25, 0.75]


@pytest.mark.parametrize("binary", [False, True])
def test_rounding_is_mended(server: Any, binary: bool) -> None:
    """A sum that is off by at most 1e-3 is divided out: through every door the answer sums to 1 within 1e-6."""
    for heat in (2e-6, 1e-4, 9.9e-4):
        status, probabilities = infer(server, 0.25, heat, binary)
        assert (status, sum(probabilities)) == (200, pytest.approx(1, abs=1e-6))
        assert probabilities == pytest.approx([0.25 / (1 + heat), 0.75 / (1 + heat), heat / (1 + heat)], abs=1e-7)
    _, scored = server.call("POST", "/score", {"features": {"flow": 0.25, "heat": 9.9e-4, "mode": "a"}})
    assert sum(scored["probabilities"].values()) == pytest.approx(1, abs=1e-6)


def test_what_is_no_distribution_is_a_fault(server: Any) -> None:
    """A wrong sum or a negative number is 500 with the reason; it is counted as failed, and no row of it is counted."""
    for flow, heat in ((0.25, 0.1), (-1.0, 0.0), (2.0, 0.0), (0.25, -0.1)):
        status, error = infer(server, flow, heat, False)
        assert (status, "probabilities: expected numbers >= 0 with the sum 1" in error) == (500, True)
    rows = [{"features": {"flow": flow, "heat": 0, "mode": "a"}, "time": 0} for flow in (0.5, -1.0)]
    assert server.call("POST", "/score", {"rows": rows})[0] == 500
    assert server.call("POST", "/score", {"rows": rows[:1]})[0] == 200
    reports = server.private("/window?after=0").body["reports"]
    assert sum(report["counts"]["failed"] for report in reports) == 5
    assert sum(report["counts"]["rows"] for report in reports) == 1
    text = server.call("GET", "/metrics")[1].decode()
    assert "\nedgeloop_failures_total 5\n" in text


NO_ANSWER = "features: the model has no answer to a row without "


def test_a_missing_value_that_the_model_has_no_answer_to_is_the_callers(server: Any) -> None:
    """NaN as the answer to a row that lacks features is 400 and names them; nothing of ours has failed."""
    whole = {"features": {"flow": 0.5, "heat": 0, "mode": "a"}, "time": 0}
    asked: list[tuple[Any, str]] = [
        ({"features": {"flow": None, "heat": 0, "mode": "a"}, "time": 0}, f"{NO_ANSWER}flow"),
        ({"features": {"mode": "a"}, "time": 0}, f"{NO_ANSWER}flow, heat"),
        ({"rows": [whole, {"features": {"flow": 0.5, "mode": "a"}, "time": 0}]}, f"rows[1].{NO_ANSWER}heat"),
    ]
    for document, said in asked:
        status, body = server.call("POST", "/score", document)
        assert (status, body["error"]) == (400, said)
    assert infer(server, None, 0.0, False) == (400, f"{NO_ANSWER}flow")
    assert infer(server, None, 0.0, True) == (400, f"{NO_ANSWER}flow")
    assert server.call("POST", "/score", whole)[0] == 200
    reports = server.private("/window?after=0").body["reports"]
    totals = {name: sum(report["counts"][name] for report in reports) for name in ("failed", "refused", "rows")}
    assert totals == {"failed": 0, "refused": 5, "rows": 1}


def test_an_unsound_answer_before_a_missing_value_is_still_ours(server: Any) -> None:
    """The first row that cannot be answered decides: one without gaps is the model's fault."""
    rows = [{"features": {"flow": flow, "heat": 0, "mode": "a"}, "time": 0} for flow in (-1.0, None)]
    status, body = server.call("POST", "/score", {"rows": rows})
    assert (status, "UnsoundScoreError" in body["error"]) == (500, True)
    status, body = server.call("POST", "/score", {"rows": rows[::-1]})
    assert (status, body["error"]) == (400, f"rows[0].{NO_ANSWER}flow")
