"""What every runtime's server must answer, over real HTTP: Open Inference Protocol V2 and /score, right and wrong requests.

A runtime joins by a row in RUNTIMES: a name and how to start a server of a model folder. The cases know nothing of it.
"""

from __future__ import annotations

import http.client
import json
import math
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

RUNTIMES: dict[str, Callable[[Any, Path], int]] = {
    "onnxruntime": lambda node, model: node.serve(model, "--runtime", "onnxruntime").port,
}
ROW = {"flow": 0.3, "heat": -1.25, "mode": "b"}
X = {"name": "X", "shape": [1, 3], "datatype": "FP32", "data": [0.3, -1.25, 1.0]}
INFER = "/v2/models/pump/infer"


@dataclass
class Served:
    """A running server of version 1 and the model folder it serves."""

    port: int
    model: Path

    def call(self, method: str, path: str, body: Any = None, headers: dict[str, str] | None = None) -> tuple[int, Any]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        raw = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        connection.request(method, path, raw, headers or {})
        answer = connection.getresponse()
        text = answer.read()
        connection.close()
        return answer.status, json.loads(text) if answer.headers["Content-Type"] == "application/json" else text

    def golden(self) -> dict[str, Any]:
        return json.loads((self.model / "golden.json").read_text())


@pytest.fixture(scope="module", params=RUNTIMES)
def served(request: pytest.FixtureRequest, shared_node: Any, model: Path) -> Iterator[Served]:
    return Served(RUNTIMES[request.param](shared_node, model), model)


@pytest.mark.parametrize(
    ("path", "expected"),
    [
        ("/v2/health/live", {"live": True}),
        ("/v2/health/ready", {"ready": True}),
        ("/v2/models/pump/ready", {"name": "pump", "ready": True}),
        ("/v2/models/pump/versions/1/ready", {"name": "pump", "ready": True}),
    ],
)
def test_health(served: Served, path: str, expected: dict[str, Any]) -> None:
    """Health and readiness answer as the clients of KServe and Triton read them."""
    assert served.call("GET", path) == (200, expected)


@pytest.mark.parametrize("path", ["/v2", "/v2/"])
def test_server_metadata(served: Served, path: str) -> None:
    """Name, version and extensions are there; so is what the server runs on."""
    status, body = served.call("GET", path)
    assert (status, body["extensions"]) == (200, [])
    assert {"name", "version"} <= body.keys()
    assert body["parameters"]["model"] == "pump"


@pytest.mark.parametrize("path", ["/v2/models/pump", "/v2/models/pump/versions/1"])
def test_model_metadata(served: Served, path: str) -> None:
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
def test_golden_rows_over_v2(served: Served, path: str, nested: bool) -> None:
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


def test_only_the_wanted_outputs_come(served: Served) -> None:
    """`outputs` chooses; wishes for binary data are ignored, as clients without answers in binary accept."""
    wish = {"name": "probabilities", "parameters": {"binary_data": True}}
    request = {"inputs": [X], "outputs": [wish], "parameters": {"binary_data_output": True}}
    status, body = served.call("POST", INFER, request)
    assert (status, [t["name"] for t in body["outputs"]], "id" in body) == (200, ["probabilities"], False)
    assert "data" in body["outputs"][0]


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
        (replaced(parameters={"binary_data_size": 12}), "binary tensors are not supported"),
        ({"inputs": [X], "outputs": {}}, "outputs: expected a list"),
        ({"inputs": [X], "outputs": ["label"]}, "outputs[0]: expected an object"),
        ({"inputs": [X], "outputs": [{"name": "scores"}]}, "expected one of label, probabilities"),
        ({"inputs": [X], "outputs": [{"name": "label"}, {"name": "label"}]}, "each once"),
        ({"inputs": [X], "outputs": [{"name": ["label"]}]}, "outputs[0].name"),
        ({"inputs": [X], "id": 7}, "id: expected text, got 7"),
        ({"inputs": [X], "parameters": 3}, "parameters: expected an object"),
        ({"inputs": [X], "parameters": {"a": None}}, "expected a string, a number or a boolean"),
    ],
)
def test_wrong_inference_requests(served: Served, body: Any, says: str) -> None:
    """A wrong request gets 400 and `{"error": text}` that names the place, what was expected and what came."""
    status, answer = served.call("POST", INFER, body)
    assert (status, list(answer)) == (400, ["error"])
    assert says in answer["error"]


@pytest.mark.parametrize(
    ("method", "path", "status"),
    [
        ("GET", "/", 404),
        ("GET", "/v3", 404),
        ("POST", "/v2/models/pumps/infer", 404),
        ("GET", "/v2/models/pump/versions/2", 404),
        ("POST", "/v2/models/pump/versions/2/infer", 404),
        ("GET", "/v2/models/pump/versions/2/ready", 404),
        ("GET", "/v2/models/%70ump/ready", 200),
        ("GET", INFER, 405),
        ("GET", "/score", 405),
        ("PUT", "/score", 405),
        ("DELETE", "/v2/models/pump", 405),
        ("POST", "/metrics", 405),
    ],
)
def test_paths_and_methods(served: Served, method: str, path: str, status: int) -> None:
    """Unknown models, versions and paths are 404, wrong methods 405."""
    assert served.call(method, path)[0] == status


@pytest.mark.parametrize(
    ("headers", "status"),
    [
        ({"Inference-Header-Content-Length": "10"}, 400),
        ({"Content-Encoding": "gzip"}, 415),
        ({"Content-Encoding": "identity"}, 200),
        ({"Content-Type": "application/octet-stream"}, 200),
    ],
)
def test_headers(served: Served, headers: dict[str, str], status: int) -> None:
    """Binary and compressed bodies are refused cleanly; the content type decides nothing."""
    assert served.call("POST", INFER, {"inputs": [X]}, headers)[0] == status


def test_a_scored_row(served: Served) -> None:
    """A row gets its id, label, probabilities of every class, confidence, model and version; they agree."""
    status, body = served.call("POST", "/score", {"id": "r1", "features": ROW, "time": "2014-01-01T00:00:00Z"})
    assert (status, body["id"], body["model"], body["version"]) == (200, "r1", "pump", 1)
    assert list(body["probabilities"]) == ["fault", "idle", "run"]
    assert math.isclose(sum(body["probabilities"].values()), 1, abs_tol=1e-6)
    assert body["confidence"] == max(body["probabilities"].values()) == body["probabilities"][body["label"]]


def test_scoring_agrees_with_v2(served: Served) -> None:
    """/score and V2 are two doors to the same model: category texts are the codes of V2."""
    cases = [("a", 0.0), ("b", 1.0), ("c", 2.0), ("new", -1.0), (None, None)]
    for text, code in cases:
        _, body = served.call("POST", "/score", {"features": {**ROW, "mode": text}})
        _, v2 = served.call("POST", INFER, replaced(data=[0.3, -1.25, code]))
        assert list(body["probabilities"].values()) == pytest.approx(v2["outputs"][1]["data"], abs=1e-8)


def test_a_missing_key_is_a_null(served: Served) -> None:
    """A feature that is not there is a missing value."""
    _, absent = served.call("POST", "/score", {"features": {"heat": -1.25, "mode": "b"}})
    _, null = served.call("POST", "/score", {"features": {**ROW, "flow": None}})
    assert absent == null


def test_golden_rows_as_a_batch(served: Served) -> None:
    """`rows` scores many at once, in order, with the same numbers as golden.json."""
    golden = served.golden()
    texts = {None: None, -1.0: "new", 0.0: "a", 1.0: "b", 2.0: "c"}
    rows = [
        {"features": {"flow": f, "heat": h, "mode": texts[m]}, "id": str(i)}
        for i, (f, h, m) in enumerate(golden["rows"])
    ]
    status, body = served.call("POST", "/score", {"rows": rows})
    assert (status, [row["id"] for row in body["rows"]]) == (200, [str(i) for i in range(len(rows))])
    for got, wanted in zip(body["rows"], golden["probabilities"], strict=True):
        assert list(got["probabilities"].values()) == pytest.approx(wanted, abs=1e-6)
    assert [row["label"] for row in body["rows"]] == [("fault", "idle", "run")[label] for label in golden["labels"]]


@pytest.mark.parametrize(
    ("body", "says"),
    [
        ({}, "features: expected an object of feature values, got nothing"),
        ({"features": []}, "features: expected an object"),
        (
            {"features": {**ROW, "flow": "1"}},
            'features.flow: expected a number that fits into float32, or null, got "1"',
        ),
        ({"features": {**ROW, "flow": True}}, "features.flow: expected a number"),
        ({"features": {**ROW, "flow": {}}}, "got an object"),
        ({"features": {**ROW, "flow": 4e38}}, "fits into float32"),
        ({"features": {**ROW, "mode": 1.5}}, "features.mode: expected the text of a category or null, got 1.5"),
        ({"features": {**ROW, "flo": 1.0}}, "features.flo: unknown feature (did you mean flow?)"),
        ({"features": {**ROW, "zzz": 1.0}}, "(known: flow, heat, mode)"),
        ({"features": ROW, "tim": 3}, "tim: unknown field (did you mean time?)"),
        ({"features": ROW, "time": "yesterday"}, "time: expected ISO 8601 text or Unix seconds"),
        ({"features": ROW, "time": -1}, "time: expected"),
        ({"features": ROW, "time": 1e300}, "time: expected"),
        ({"features": ROW, "time": True}, "time: expected"),
        ({"features": ROW, "id": 7}, "id: expected text"),
        ({"features": ROW, "id": "x" * 201}, "id: expected text of 1 to 200"),
        ({"rows": []}, "rows: expected a list of 1 to 1000 rows"),
        ({"rows": [{"features": ROW}] * 1001}, "rows: expected a list of 1 to 1000 rows, got a list of 1001"),
        ({"rows": [{"features": ROW}], "time": 3}, "time: expected nothing beside rows"),
        ({"rows": [{"features": ROW}, 7]}, "rows[1]: expected an object, got 7"),
        ({"rows": [{"features": ROW}, {"features": {"flow": "x"}}]}, "rows[1].features.flow"),
    ],
)
def test_wrong_rows(served: Served, body: Any, says: str) -> None:
    """A wrong row gets 400 and an error that names the field, what was expected and what came."""
    status, answer = served.call("POST", "/score", body)
    assert (status, list(answer)) == (400, ["error"])
    assert says in answer["error"]


def test_a_large_body_is_refused(served: Served) -> None:
    """More than 1 MiB is 413, said by Content-Length or not (chunked)."""
    big = b'{"features": {}, "id": "' + b"x" * (1024 * 1024) + b'"}'
    assert served.call("POST", "/score", big)[0] == 413
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    connection.request("POST", "/score", iter([big[:500_000], big[500_000:]]), encode_chunked=True,
                       headers={"Transfer-Encoding": "chunked"})  # fmt: skip
    answer = connection.getresponse()
    assert (answer.status, json.loads(answer.read())["error"][:5]) == (413, "body:")
    connection.close()


def test_chunked_bodies_are_read(served: Served) -> None:
    """A body without a length is read to its end."""
    connection = http.client.HTTPConnection("127.0.0.1", served.port, timeout=20)
    text = json.dumps({"features": ROW}).encode()
    connection.request("POST", "/score", iter([text[:10], text[10:]]), encode_chunked=True,
                       headers={"Transfer-Encoding": "chunked"})  # fmt: skip
    assert connection.getresponse().status == 200
    connection.close()


def test_metrics_are_prometheus_text(served: Served) -> None:
    """Every sample line is `name{labels} number`, buckets rise, and model and requests are there."""
    served.call("POST", "/score", {"features": ROW})
    status, text = served.call("GET", "/metrics")
    lines = text.decode().splitlines()
    samples = dict(line.rsplit(" ", 1) for line in lines if not line.startswith("#"))
    assert status == 200
    assert all(float(value) >= 0 for value in samples.values())
    buckets = [float(value) for name, value in samples.items() if "_bucket" in name]
    assert buckets == sorted(buckets)
    assert buckets[-1] == float(samples["edgeloop_score_latency_seconds_count"]) > 0
    (info,) = [name for name in samples if name.startswith("edgeloop_model_info")]
    assert 'loop="pump"' in info
    assert 'version="1"' in info
    assert int(samples['edgeloop_requests_total{route="score",status="200"}']) > 0
