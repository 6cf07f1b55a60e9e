"""Graphs that are no classifiers: a regressor, and a convolution with several outputs, one of them of whole numbers.

They are served with the inputs and outputs that they have; what they answer is what onnxruntime gives for the same rows.
"""

from __future__ import annotations

import json
import math
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeloop_contracts import Reference, Report, from_json, loads
from edgeloop_fleet.checks import problems_in_counts

POWER, ECHO = "/v2/models/power/infer", "/v2/models/echo/infer"
SHAPES = {"trace": [3, 6], "level": [3], "above": [3]}  # of a row of the convolution's outputs


@pytest.fixture(scope="module")
def regression(serve_shared: Callable[[Path], Any], power: Path) -> Any:
    """A server of the regressor, for tests that do not count."""
    return serve_shared(power)


@pytest.fixture(scope="module")
def network(serve_shared: Callable[[Path], Any], echo: Path) -> Any:
    """A server of the convolution, for tests that do not count."""
    return serve_shared(echo)


def tensor_of(name: str, rows: Any, **changes: Any) -> dict[str, Any]:
    """An input tensor of numpy rows, flat; NaN is null."""
    data = [None if math.isnan(value) else value for value in rows.ravel().tolist()]
    return {"name": name, "shape": list(rows.shape), "datatype": "FP32", "data": data, **changes}


def probes(count: int, *shape: int) -> Any:
    """Rows around 0, every fourth with a missing value."""
    np = pytest.importorskip("numpy")
    rows = np.random.default_rng(count).normal(size=(count, *shape)).astype(np.float32)
    rows.reshape(count, -1)[3::4, 1] = np.nan
    return rows


def answered_by_file(model: Path, rows: Any) -> dict[str, Any]:
    """onnxruntime's own answers."""
    ort = pytest.importorskip("onnxruntime")
    session = ort.InferenceSession((model / "model.onnx").read_bytes(), providers=["CPUExecutionProvider"])
    names = [output.name for output in session.get_outputs()]
    return dict(zip(names, session.run(names, {session.get_inputs()[0].name: rows}), strict=True))


def test_metadata_names_the_graphs_own_tensors(regression: Any, network: Any) -> None:
    """Names, types and shapes as the graph has them; there are features, and no classes."""
    status, body = regression.call("GET", "/v2/models/power")
    assert (status, body["name"], body["parameters"]["classes"]) == (200, "power", [])
    assert [feature["name"] for feature in body["parameters"]["features"]] == ["wind", "pitch", "heat"]
    assert body["outputs"] == [{"name": "variable", "datatype": "FP32", "shape": [-1, 1]}]
    status, body = network.call("GET", "/v2/models/echo/versions/1")
    assert (status, body["inputs"]) == (200, [{"name": "window", "datatype": "FP32", "shape": [-1, 2, 8]}])
    kinds = {"trace": "FP32", "level": "FP32", "above": "INT64"}
    assert body["outputs"] == [
        {"name": name, "datatype": kinds[name], "shape": [-1, *shape]} for name, shape in SHAPES.items()
    ]


@pytest.mark.parametrize("count", [1, 5, 17, 300])
def test_a_regressor_answers_as_the_file_does(regression: Any, power: Path, count: int) -> None:
    """Sums of leaves: the same numbers, whatever the size of the batch; a missing value is answered, too."""
    rows = probes(count, 3)
    status, body = regression.call("POST", POWER, {"inputs": [tensor_of("X", rows)]})
    (output,) = body["outputs"]
    assert (status, output["shape"]) == (200, [count, 1])
    expected = answered_by_file(power, rows)["variable"].ravel().tolist()
    assert output["data"] == pytest.approx(expected, rel=1e-6)


def in_json(served: Any, rows: Any) -> dict[str, list[float | None]]:
    status, body = served.call("POST", ECHO, {"inputs": [tensor_of("window", rows)]})
    assert status == 200, body
    assert [output["shape"] for output in body["outputs"]] == [[len(rows), *shape] for shape in SHAPES.values()]
    return {output["name"]: output["data"] for output in body["outputs"]}


def in_binary(served: Any, rows: Any) -> dict[str, list[float | None]]:
    raw = rows.astype("<f4").tobytes()
    tensor = {"name": "window", "shape": list(rows.shape), "datatype": "FP32"}
    document = {
        "inputs": [{**tensor, "parameters": {"binary_data_size": len(raw)}}],
        "parameters": {"binary_data_output": True},
    }
    text = json.dumps(document).encode()
    headers = {"Inference-Header-Content-Length": str(len(text))}
    status, answered, body = served.exchange("POST", ECHO, text + raw, headers)
    assert status == 200, body
    found, at = {}, int(answered["Inference-Header-Content-Length"])
    for output in json.loads(body[:at])["outputs"]:
        size, form = output["parameters"]["binary_data_size"], "q" if output["datatype"] == "INT64" else "f"
        values = struct.unpack(f"<{math.prod(output['shape'])}{form}", body[at : at + size])
        found[output["name"]], at = [None if value != value else value for value in values], at + size
    assert at == len(body)
    return found


@pytest.mark.parametrize("ask", [in_json, in_binary])
@pytest.mark.parametrize("count", [1, 16, 40])
def test_every_output_is_answered_as_the_file_does(network: Any, echo: Path, ask: Any, count: int) -> None:
    """Floats and whole numbers, each with its own shape; NaN is null in JSON and NaN in binary."""
    rows = probes(count, 2, 8)
    found = ask(network, rows)
    expected = answered_by_file(echo, rows)
    for name, data in found.items():
        wanted = [None if value != value else value for value in expected[name].ravel().tolist()]
        known = [i for i, value in enumerate(wanted) if value is not None]
        assert [i for i, value in enumerate(data) if value is not None] == known
        assert [data[i] for i in known] == pytest.approx([wanted[i] for i in known], rel=1e-5, abs=1e-5)
    assert {type(value) for value in found["above"]} == {int}


def test_outputs_are_chosen_in_any_order_and_form(network: Any) -> None:
    """A part of them, one in JSON and one in binary, and no other; the bytes are of the binary one alone."""
    rows = probes(2, 2, 8)
    wishes = [{"name": "above", "parameters": {"binary_data": True}}, {"name": "level"}]
    document = {"inputs": [tensor_of("window", rows)], "outputs": wishes, "id": "a"}
    status, headers, raw = network.exchange("POST", ECHO, document)
    end = int(headers["Inference-Header-Content-Length"])
    above, level = json.loads(raw[:end])["outputs"]
    everything = in_json(network, rows)
    assert status == 200
    assert above == {"name": "above", "shape": [2, 3], "datatype": "INT64", "parameters": {"binary_data_size": 48}}
    assert list(struct.unpack("<6q", raw[end:])) == everything["above"]
    assert (level["name"], level["data"]) == ("level", everything["level"])


def test_nested_data_is_the_same_as_flat(network: Any) -> None:
    """Lists in lists, as the shape says."""
    rows = probes(3, 2, 8)
    nested = [[[None if math.isnan(v) else v for v in line] for line in row] for row in rows.tolist()]
    flat, deep = tensor_of("window", rows), tensor_of("window", rows, data=nested)
    assert network.call("POST", ECHO, {"inputs": [deep]}) == network.call("POST", ECHO, {"inputs": [flat]})


def test_score_answers_with_values(regression: Any, network: Any, power: Path) -> None:
    """By the output's name: one value is a number, several are a flat list. Neither label nor confidence is made up."""
    rows = probes(2, 3)
    named = [dict(zip(("wind", "pitch", "heat"), row, strict=True)) for row in rows.tolist()]
    expected = answered_by_file(power, rows)["variable"].ravel().tolist()
    status, body = regression.call("POST", "/score", {"features": named[0], "id": "r", "time": 7200})
    assert (status, list(body)) == (200, ["id", "values", "model", "version"])
    assert (body["id"], body["model"], body["version"]) == ("r", "power", 1)
    assert body["values"] == {"variable": pytest.approx(expected[0], rel=1e-6)}
    status, body = regression.call("POST", "/score", {"rows": [{"features": features} for features in named]})
    assert [row["values"]["variable"] for row in body["rows"]] == pytest.approx(expected, rel=1e-6)
    status, body = network.call("POST", "/score", {"features": {f"x{i}": i / 8 for i in range(16)}})
    assert (status, [len(values) for values in body["values"].values()]) == (200, [18, 3, 3])
    assert all(type(value) is int for value in body["values"]["above"])


def test_what_is_not_finite_is_null_in_json(network: Any) -> None:
    """A sum with a missing value is NaN, for which JSON has no word; so is an infinity that a sum grew to."""
    for features in ({}, {f"x{i}": 3e38 for i in range(16)}):
        status, headers, raw = network.exchange("POST", "/score", {"features": features})
        assert (status, headers["content-type"]) == (200, "application/json")
        assert None in json.loads(raw, parse_constant=pytest.fail)["values"]["trace"]


WINDOW = {"name": "window", "shape": [1, 2, 8], "datatype": "FP32", "data": [0.5] * 16}
WRONG = [
    ({**WINDOW, "name": "X"}, "inputs[0].name: expected the one input window, got "),
    ({**WINDOW, "shape": [1, 16]}, "inputs[0].shape: expected [N, 2, 8] with N from 1 to 1000"),
    ({**WINDOW, "shape": [1, 8, 2]}, "expected [N, 2, 8] with N from 1 to 1000, got [1, 8, 2]"),
    ({**WINDOW, "shape": [1, 2, 8, 1]}, "expected [N, 2, 8]"),
    ({**WINDOW, "shape": [1001, 2, 8]}, "with N from 1 to 1000, got [1001, 2, 8]"),
    ({**WINDOW, "shape": [0, 2, 8], "data": []}, "with N from 1 to 1000"),
    ({**WINDOW, "datatype": "INT64"}, 'inputs[0].datatype: expected FP32, got "INT64"'),
    ({**WINDOW, "data": [0.5] * 15}, "inputs[0].data: expected 16 values, as the shape says, got 15"),
    ({**WINDOW, "data": [[0.5] * 16]}, "inputs[0].data: expected 1 lists of 2 x 8 values, as the shape says"),
    ({**WINDOW, "data": [[[0.5] * 8, [0.5] * 7]]}, "expected 1 lists of 2 x 8 values"),
    ({**WINDOW, "data": [[[0.5] * 8, [0.5] * 8, [0.5] * 8]]}, "expected 1 lists of 2 x 8 values"),
    ({**WINDOW, "data": [[[0.5] * 8, [0.5] * 7 + ["a"]]]}, "inputs[0].data[15]: expected a number"),
    ({**WINDOW, "data": [[[0.5] * 8, 3]]}, "expected 1 lists of 2 x 8 values"),
]


@pytest.mark.parametrize(("tensor", "says"), WRONG)
def test_wrong_tensors(network: Any, tensor: dict[str, Any], says: str) -> None:
    """The text names what this graph takes."""
    status, body = network.call("POST", ECHO, {"inputs": [tensor]})
    assert status == 400
    assert says in body["error"]


@pytest.mark.parametrize(
    ("outputs", "says"),
    [
        ([{"name": "probabilities"}], "outputs[0].name: expected one of trace, level, above, each once"),
        ([{"name": "level"}, {"name": "above"}, {"name": "level"}], "outputs[2].name: expected one of trace, level, above"),
        ([{"name": "trace"}, {"name": "level"}, {"name": "above", "parameters": {"binary_data": 1}}],
         "outputs[2].parameters.binary_data: expected true or false, got 1"),
    ],
)  # fmt: skip
def test_wrong_outputs(network: Any, outputs: list[Any], says: str) -> None:
    """The text names the outputs that there are, and the place of what is wrong."""
    status, body = network.call("POST", ECHO, {"inputs": [WINDOW], "outputs": outputs})
    assert status == 400
    assert says in body["error"]


@pytest.mark.parametrize(
    ("tensor", "size", "says"),
    [
        (bytes(64), 60, "binary_data_size: expected 64, four bytes for each value of the shape, got 60"),
        (bytes(60), 64, "body: expected 64 bytes after the JSON text, got 60"),
        (
            struct.pack("<16f", *[0.0] * 15, math.inf),
            64,
            "inputs[0].data[15]: expected a number that fits into float32",
        ),
    ],
)
def test_wrong_binary_tensors(network: Any, tensor: bytes, size: int, says: str) -> None:
    """Lengths that differ, and infinities."""
    given = {"name": "window", "shape": [1, 2, 8], "datatype": "FP32", "parameters": {"binary_data_size": size}}
    text = json.dumps({"inputs": [given]}).encode()
    headers = {"Inference-Header-Content-Length": str(len(text))}
    status, body = network.call("POST", ECHO, text + tensor, headers)
    assert status == 400
    assert says in body["error"]


def test_inputs_and_requests_are_counted_without_classes(serve: Any, power: Path) -> None:
    """The report is one that the fleet takes: bins of the features, latency and refusals; classes and confidence are empty."""
    served = serve(power)
    rows = probes(8, 3)
    assert served.call("POST", POWER, {"inputs": [tensor_of("X", rows)]})[0] == 200
    assert served.call("POST", "/score", {"features": {"wind": 0.5}})[0] == 200
    assert served.call("POST", "/score", {"features": {"win": 0.5}})[0] == 400
    status, body = served.call("GET", "/window")
    (report,) = [from_json(Report, item) for item in body["reports"]]
    reference, counts = loads(Reference, (power / "reference.json").read_bytes()), report.counts
    assert (status, report.schema_hash, problems_in_counts("counts", counts, reference)) == (
        200,
        reference.schema_hash,
        [],
    )
    assert (counts.rows, counts.refused, counts.failed, sum(counts.latency)) == (9, 1, 0, 9)
    assert (counts.classes, counts.confidence, counts.confidence_sums) == ((), (), ())
    assert [sum(f.counts) + f.missing for f in counts.features.values()] == [9, 9, 9]
    assert (counts.features["pitch"].missing, counts.features["heat"].missing) == (3, 1)
    metrics = served.call("GET", "/metrics")[1].decode()
    assert "edgeloop_rows_total 9\n" in metrics
    assert 'edgeloop_requests_total{route="score",status="400"} 1\n' in metrics


def test_check_and_info_know_it(regression: Any) -> None:
    """The commands of every server."""
    info = json.loads(regression.program.run("info").stdout)
    assert info["outputs"] == [{"name": "variable", "datatype": "FP32", "shape": [-1, 1]}]
    assert regression.program.run("selftest").returncode == 0


def changed(model: Path, folder: Path, change: Callable[[Any], None]) -> Path:
    """A copy of a model folder with another golden.json."""
    for name in ("model.onnx", "reference.json", "version.json"):
        (folder / name).write_bytes((model / name).read_bytes())
    golden = json.loads((model / "golden.json").read_text())
    change(golden)
    (folder / "golden.json").write_text(json.dumps(golden))
    return folder


def off_by(golden: Any, output: int, row: int, by: float) -> None:
    golden["outputs"][output]["data"][row][-1] += by


def of_size(golden: Any, scale: float, by: float) -> None:
    """An output of that typical size, with a row near 0 that is off by so much."""
    golden["outputs"][0]["scale"] = scale
    row = min(range(48), key=lambda i: abs(golden["outputs"][0]["data"][i][0]))
    off_by(golden, 0, row, by)


@pytest.mark.parametrize(("scale", "by", "code"), [(1e4, 0.08, 0), (1e4, 0.13, 3)])
def test_a_golden_answer_holds_within_the_outputs_size(
    runtime: Any, power: Path, tmp_path: Path, scale: float, by: float, code: int
) -> None:
    """1e-5 of the scale, where that is larger than the row's own answer; no more."""
    model = changed(power, tmp_path, lambda golden: of_size(golden, scale, by))
    assert runtime.program(model).run("selftest").returncode == code


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda golden: off_by(golden, 0, 2, 0.01), "golden row 2: expected"),
        (lambda golden: off_by(golden, 2, 1, 1), "golden row 1: expected"),
    ],
)
def test_a_wrong_golden_answer_is_not_served(
    launch: Any, runtime: Any, echo: Path, tmp_path: Path, change: Callable[[Any], None], says: str
) -> None:
    """Of any output, also of whole numbers, which must be equal: the server ends before it binds."""
    process = launch(runtime.program(changed(echo, tmp_path, change)))
    said = process.wait_for("the model is not served")
    assert says in said["error"]
    assert process.child.wait(30) == 3
