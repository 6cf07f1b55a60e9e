"""Open Inference Protocol V2 over JSON: health, metadata, inference, and wrong requests."""

from __future__ import annotations

from typing import Any

import pytest

X = {"name": "X", "shape": [1, 3], "datatype": "FP32", "data": [0.3, -1.25, 1.0]}
INFER = "/v2/models/pump/infer"


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models/pump/ready", {"name": "pump", "ready": True}),
        ("/v2/models/pump/versions/1/ready", {"name": "pump", "ready": True}),
    ],
)
def test_health(served: Any, path: str, expected: dict[str, Any]) -> None:
    """Health and readiness answer as the clients of KServe and Triton read them."""
    assert served.call("GET", path) == (200, expected)


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
def test_server_metadata(served: Any, path: str) -> None:
    """Name, version and extensions are there; so is what the server runs on."""
    status, body = served.call("GET", path)
    assert (status, body["extensions"]) == (200, ["binary_tensor_data"])
    assert {"name", "version"} <= body.keys()
    assert body["parameters"]["model"] == "pump"


@pytest.mark.parametrize("path", ["/v2/models/pump", "/v2/models/pump/versions/1"])
def test_model_metadata(served: Any, path: str) -> None:
    """Tensors have name, datatype and shape, with -1 for the number of rows."""
    status, body = served.call("GET", path)
    assert (status, body["name"], body["versions"]) == (200, "pump", ["1"])
    assert body["inputs"] == [{"name": "X", "datatype": "FP32", "shape": [-1, 3]}]
    assert [(t["name"], t["datatype"], t["shape"]) for t in body["outputs"]] == [
        ("label", "INT64", [-1]),
        ("probabilities", "FP32", [-1, 3]),
    ]


@pytest.mark.parametrize("path", [INFER, "/v2/models/pump/versions/1/infer"])
@pytest.mark.parametrize("nested", [False, True])
def test_golden_rows_over_v2(served: Any, path: str, nested: bool) -> None:
    """Rows with missing values, flat or nested, give the golden probabilities and labels."""
    golden = served.golden()
    rows = golden["rows"]
    data = rows if nested else [value for row in rows for value in row]
    tensor = {"name": "X", "shape": [len(rows), 3], "datatype": "FP32", "data": data}
    status, body = served.call("POST", path, {"id": "a", "inputs": [tensor]})
    assert (status, body["id"], body["model_name"], body["model_version"]) == (200, "a", "pump", "1")
    label, probabilities = body["outputs"]
    assert (label["name"], label["shape"], label["datatype"]) == ("label", [len(rows)], "INT64")
    assert label["data"] == golden["labels"]
    assert probabilities["shape"] == [len(rows), 3]
    flat = [p for row in golden["probabilities"] for p in row]
    assert probabilities["data"] == pytest.approx(flat, abs=1e-6)


def test_only_the_wanted_outputs_come(served: Any) -> None:
    """`outputs` chooses, in its order; none, or an empty list, means all."""
    for names in (["probabilities"], ["probabilities", "label"], []):
        status, body = served.call("POST", INFER, {"inputs": [X], "outputs": [{"name": name} for name in names]})
        assert (status, "id" in body) == (200, False)
        assert [t["name"] for t in body["outputs"]] == (names or ["label", "probabilities"])


def test_a_request_may_name_the_model(served: Any) -> None:
    """KServe's client repeats the model's name in the body; a name that is the served one changes nothing."""
    for more in ({"model_name": "pump"}, {"model_version": "1", "model_name": "pump"}, {"model_name": None}):
        assert served.call("POST", INFER, {"inputs": [X], **more}) == served.call("POST", INFER, {"inputs": [X]})


def replaced(**changes: Any) -> dict[str, Any]:
    return {"inputs": [{**X, **changes}]}


def without(name: str) -> dict[str, Any]:
    return {"inputs": [{key: value for key, value in X.items() if key != name}]}


@pytest.mark.parametrize(
    ("body", "says"),
    [
        (b"", "expected JSON"),
        (b"{", "expected JSON"),
        (b"\xff\xfe", "expected JSON"),
        (b"[" * 100_000, "expected JSON"),
        (b'{"inputs": [{"name": "X", "shape": [1,3], "datatype": "FP32", "data": [NaN, 1, 2]}]}', "JSON has no NaN"),
        (b'{"inputs": [{"name": "X", "shape": [1,3], "datatype": "FP32", "data": [1e999, 1, 2]}]}', "data[0]"),
        ([], "expected a JSON object"),
        ({}, "inputs: expected a list"),
        ({"inputs": {}}, "inputs: expected a list"),
        ({"inputs": []}, "inputs: expected a list"),
        ({"inputs": [3]}, "inputs: expected a list"),
        ({"inputs": [X, X]}, "inputs[1].name"),
        ({"inputs": [X], "output": []}, "did you mean outputs?"),
        (replaced(name="Y"), 'expected the one input X, got "Y"'),
        (replaced(datatype="FP64"), 'expected FP32, got "FP64"'),
        (replaced(datatype=7), "expected FP32"),
        (without("datatype"), "expected FP32, got null"),
        (without("shape"), "inputs[0].shape"),
        (without("data"), "inputs[0].data"),
        (replaced(shape=[3]), "inputs[0].shape: expected [N, 3]"),
        (replaced(shape=[1, 4]), "got [1, 4]"),
        (replaced(shape=[0, 3], data=[]), "inputs[0].shape"),
        (replaced(shape=[-1, 3]), "inputs[0].shape"),
        (replaced(shape=[1.0, 3]), "inputs[0].shape"),
        (replaced(shape=[True, 3]), "inputs[0].shape"),
        (replaced(shape="13"), "inputs[0].shape"),
        (replaced(shape=[1001, 3], data=[0.0] * 3003), "N from 1 to 1000"),
        (replaced(data=[1.0, 2.0]), "expected 3 values, as the shape says, got 2"),
        (replaced(data=[[1.0, 2.0]]), "expected 1 lists of 3 values"),
        (replaced(data=[[1.0, 2.0, 3.0], [1.0, 2.0, 3.0]]), "expected 1 lists of 3 values"),
        (
            replaced(data=[1.0, "2", 3.0]),
            'inputs[0].data[1]: expected a number that fits into float32, or null, got "2"',
        ),
        (replaced(data=[1.0, True, 3.0]), "got true"),
        (replaced(data=[1.0, [2.0], 3.0]), "got a list of 1"),
        (replaced(data=[1.0, 1e39, 3.0]), "fits into float32"),
        (replaced(data=[1.0, 10**400, 3.0]), "fits into float32"),
        (replaced(data=None), "inputs[0].data: expected a list"),
        (replaced(dat=[]), "did you mean data?"),
        (replaced(parameters=[]), "inputs[0].parameters"),
        ({"inputs": [X], "outputs": {}}, "outputs: expected a list"),
        ({"inputs": [X], "outputs": ["label"]}, "outputs[0]: expected an object"),
        ({"inputs": [X], "outputs": [{"name": "scores"}]}, "expected one of label, probabilities"),
        ({"inputs": [X], "outputs": [{"name": "label"}, {"name": "label"}]}, "each once"),
        ({"inputs": [X], "outputs": [{"name": ["label"]}]}, "outputs[0].name"),
        ({"inputs": [X], "model_name": "other"}, 'model_name: expected pump, as the path says, got "other"'),
        ({"inputs": [X], "model_version": 1}, "model_version: expected 1, as the path says, got 1"),
        ({"inputs": [X], "model_version": "2"}, 'model_version: expected 1, as the path says, got "2"'),
        ({"inputs": [X], "id": 7}, "id: expected text, got 7"),
        ({"inputs": [X], "parameters": 3}, "parameters: expected an object"),
        ({"inputs": [X], "parameters": {"a": None}}, "expected a string, a number or a boolean"),
    ],
)
def test_wrong_inference_requests(served: Any, body: Any, says: str) -> None:
    """A wrong request gets 400 and `{"error": text}` that names the place, what was expected and what came."""
    status, answer = served.call("POST", INFER, body)
    assert (status, list(answer)) == (400, ["error"])
    assert says in answer["error"]
