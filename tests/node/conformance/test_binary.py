"""The binary tensor extension of V2: tensors behind the JSON text, in requests and answers, and what is wrong with them."""

from __future__ import annotations

import json
import math
import struct
from typing import Any

import pytest

INFER = "/v2/models/pump/infer"
VALUES = (0.3, -1.25, 1.0)
TENSOR = struct.pack("<3f", *VALUES)
FITS = "expected a number that fits into float32, or NaN"


def tensor(size: Any = 12, **changes: Any) -> dict[str, Any]:
    return {"name": "X", "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": size}, **changes}


def answer_of(served: Any, document: Any, raw: bytes) -> tuple[dict[str, Any], bytes]:
    """The JSON and the bytes of a good answer."""
    status, headers, body = served.binary(document, raw)
    assert status == 200, body
    end = int(headers.get("Inference-Header-Content-Length", len(body)))
    assert headers["Content-Type"] == ("application/json" if end == len(body) else "application/octet-stream")
    return json.loads(body[:end]), body[end:]


def test_binary_in_json_out(served: Any) -> None:
    """A binary tensor gets the same answer as the same float32 values in JSON, and in JSON unless told otherwise."""
    values = struct.unpack("<3f", TENSOR)
    _, json_answer = served.call("POST", INFER, {"inputs": [{**tensor(), "parameters": {}, "data": list(values)}]})
    answer, behind = answer_of(served, {"inputs": [tensor()]}, TENSOR)
    assert (answer, behind) == (json_answer, b"")


def test_golden_rows_in_binary(served: Any) -> None:
    """Many rows with missing values (NaN), both outputs in binary: the golden probabilities and labels."""
    golden = served.golden()
    rows = [math.nan if value is None else value for row in golden["rows"] for value in row]
    n = len(golden["rows"])
    request = {
        "id": "é",
        "inputs": [tensor(12 * n, shape=[n, 3])],
        "parameters": {"binary_data_output": True},
    }
    answer, behind = answer_of(served, request, struct.pack(f"<{3 * n}f", *rows))
    label, probabilities = answer["outputs"]
    assert (answer["id"], answer["model_name"], answer["model_version"]) == ("é", "pump", "1")
    assert label == {"name": "label", "shape": [n], "datatype": "INT64", "parameters": {"binary_data_size": 8 * n}}
    assert probabilities["parameters"] == {"binary_data_size": 12 * n}
    assert "data" not in probabilities
    assert list(struct.unpack(f"<{n}q", behind[: 8 * n])) == golden["labels"]
    flat = [p for row in golden["probabilities"] for p in row]
    assert struct.unpack(f"<{3 * n}f", behind[8 * n :]) == pytest.approx(flat, abs=1e-6)


@pytest.mark.parametrize(
    ("wide", "label", "probabilities"),
    [(None, None, None), (True, None, None), (True, False, None), (False, True, None), (None, None, True), (False, True, True)],
)  # fmt: skip
def test_each_output_has_its_wish(served: Any, wide: Any, label: Any, probabilities: Any) -> None:
    """`binary_data` of an output goes before `binary_data_output` of the request; without both it is JSON."""
    wishes = {"probabilities": probabilities, "label": label}  # bytes follow in the order of the outputs
    outputs = [
        {"name": name, **({} if wish is None else {"parameters": {"binary_data": wish}})}
        for name, wish in wishes.items()
    ]
    request = {
        "inputs": [tensor()],
        "outputs": outputs,
        **({} if wide is None else {"parameters": {"binary_data_output": wide}}),
    }
    answer, behind = answer_of(served, request, TENSOR)
    _, plain = served.call("POST", INFER, {"inputs": [{**tensor(), "parameters": {}, "data": list(VALUES)}]})
    expected = {"label": plain["outputs"][0]["data"], "probabilities": plain["outputs"][1]["data"]}
    for output, (name, wish) in zip(answer["outputs"], wishes.items(), strict=True):
        assert output["name"] == name
        if wish if wish is not None else wide:
            size = output["parameters"]["binary_data_size"]
            got = struct.unpack("<q" if name == "label" else "<3f", behind[:size])
            behind = behind[size:]
        else:
            got = output["data"]
        assert list(got) == pytest.approx(expected[name], abs=1e-7)
    assert behind == b""


def test_json_requests_may_want_binary_answers(served: Any) -> None:
    """The wish needs no request header: the whole body is JSON then."""
    request = {
        "inputs": [{**tensor(), "parameters": {}, "data": list(VALUES)}],
        "parameters": {"binary_data_output": True},
    }
    status, headers, body = served.exchange("POST", INFER, request)
    assert (status, headers["Content-Type"]) == (200, "application/octet-stream")
    assert len(body) == int(headers["Inference-Header-Content-Length"]) + 8 + 12


def test_the_header_may_come_with_json_alone(served: Any) -> None:
    """A header that names the whole body changes nothing; nor does one on a path that takes no tensors."""
    request = {"inputs": [{**tensor(), "parameters": {}, "data": list(VALUES)}]}
    assert served.binary(request, b"")[0] == 200
    assert served.call("POST", "/score", {"features": {}}, {"Inference-Header-Content-Length": "5"})[0] == 200


def packed(*values: float) -> bytes:
    return struct.pack(f"<{len(values)}f", *values)


@pytest.mark.parametrize(
    ("inputs", "raw", "length", "says"),
    [
        (tensor(), TENSOR, "x1", 'Inference-Header-Content-Length: expected a whole number, got "x1"'),
        (tensor(), TENSOR, "-1", "expected a whole number"),
        (tensor(), TENSOR, "+9", "expected a whole number"),
        (tensor(), TENSOR, "1e2", "expected a whole number"),
        (tensor(), TENSOR, "", "expected a whole number"),
        (tensor(), TENSOR, "9" * 30, "expected a whole number"),
        (tensor(), TENSOR, "99999", "Inference-Header-Content-Length: expected at most "),
        (tensor(), TENSOR, "0", "body: expected JSON text, got 0 bytes"),
        (tensor(), TENSOR, "5", "body: expected JSON text, got 5 bytes"),
        (tensor(), TENSOR[:8], None, "body: expected 12 bytes after the JSON text, got 8"),
        (tensor(), TENSOR + b"x", None, "body: expected 12 bytes after the JSON text, got 13"),
        (tensor(), b"", None, "body: expected 12 bytes after the JSON text, got 0"),
        (tensor(8), TENSOR[:8], None, "binary_data_size: expected 12, four bytes for each value of the shape, got 8"),
        (tensor(24), TENSOR * 2, None, "binary_data_size: expected 12, four bytes for each value of the shape, got 24"),
        (tensor("12"), TENSOR, None, 'expected 12, four bytes for each value of the shape, got "12"'),
        (tensor(12.0), TENSOR, None, "expected 12, four bytes for each value of the shape, got 12.0"),
        (tensor(True), TENSOR, None, "expected 12, four bytes for each value of the shape, got true"),
        (tensor(-12), TENSOR, None, "expected 12, four bytes for each value of the shape, got -12"),
        (tensor(data=[1.0, 2.0, 3.0]), TENSOR, None, "inputs[0].data: expected none beside parameters.binary_data_size"),
        (
            {"name": "X", "shape": [1, 3], "datatype": "FP32", "data": [1, 2, 3]},
            TENSOR,
            None,
            "body: expected 0 bytes after the JSON text, got 12",
        ),
        (tensor(datatype="FP64"), TENSOR, None, 'inputs[0].datatype: expected FP32, got "FP64"'),
        (tensor(datatype="FP16"), TENSOR, None, 'expected FP32, got "FP16"'),
        (tensor(datatype="BYTES"), TENSOR, None, 'expected FP32, got "BYTES"'),
        (tensor(shape=[2, 3]), TENSOR, None, "binary_data_size: expected 24"),
        (tensor(shape=[1, 4]), TENSOR, None, "inputs[0].shape: expected [N, 3]"),
        (tensor(shape=[1001, 3]), TENSOR, None, "N from 1 to 1000"),
        (tensor(), packed(1, math.inf, 0), None, f"inputs[0].data[1]: {FITS}, got Infinity"),
        (tensor(), packed(1, 0, -math.inf), None, f"inputs[0].data[2]: {FITS}, got -Infinity"),
    ],
)  # fmt: skip
def test_wrong_binary_requests(served: Any, inputs: Any, raw: bytes, length: str | None, says: str) -> None:
    """Lengths that do not fit, infinities and other datatypes get 400 and a text that says what was expected and what came."""
    status, _, body = served.binary({"inputs": [inputs]}, raw, length)
    assert (status, list(json.loads(body))) == (400, ["error"])
    assert says in json.loads(body)["error"]


def test_a_size_without_the_header(served: Any) -> None:
    """`binary_data_size` in a body that is all JSON is refused: the tensor is not there."""
    status, answer = served.call("POST", INFER, {"inputs": [tensor()]})
    assert (status, answer["error"]) == (
        400,
        "inputs[0].parameters.binary_data_size: expected the request header Inference-Header-Content-Length with it, got none",
    )


def test_the_header_twice(served: Any) -> None:
    """Two headers are no number, even when they agree."""
    body = json.dumps({"inputs": [tensor()]}).encode()
    head = f"POST {INFER} HTTP/1.1\r\nHost: a\r\nConnection: close\r\nContent-Length: {len(body) + 12}\r\n"
    twice = f"Inference-Header-Content-Length: {len(body)}\r\n" * 2
    answer = served.raw(f"{head}{twice}\r\n".encode() + body + TENSOR)
    assert answer.startswith(b"HTTP/1.1 400 ")
    assert f'expected a whole number, got \\"{len(body)}, {len(body)}'.encode() in answer


@pytest.mark.parametrize(
    ("request_wide", "wish", "says"),
    [
        ({"binary_data_output": 1}, {}, "parameters.binary_data_output: expected true or false, got 1"),
        ({"binary_data_output": "true"}, {}, 'parameters.binary_data_output: expected true or false, got "true"'),
        ({}, {"binary_data": 0}, "outputs[0].parameters.binary_data: expected true or false, got 0"),
        ({}, {"binary_data": "no"}, 'outputs[0].parameters.binary_data: expected true or false, got "no"'),
    ],
)
def test_wishes_are_booleans(served: Any, request_wide: Any, wish: Any, says: str) -> None:
    """A wish that is no boolean is refused."""
    outputs = [{"name": "label", "parameters": wish}]
    request = {"inputs": [tensor()], "parameters": request_wide, "outputs": outputs}
    status, _, body = served.binary(request, TENSOR)
    assert (status, json.loads(body)["error"]) == (400, says)


def test_any_tensor_bytes_are_answered(served: Any) -> None:
    """Random bits as float32 (subnormals, NaNs with payloads, huge numbers) are scored or refused, never a fault."""
    import random

    draw = random.Random(7)
    for _ in range(200):
        raw = draw.randbytes(12)
        status, _, body = served.binary({"inputs": [tensor()]}, raw)
        infinite = any(math.isinf(value) for value in struct.unpack("<3f", raw))
        assert status == (400 if infinite else 200), body
    for special in (0x7F800001, 0xFFC00000, 0x00000001, 0x7F7FFFFF, 0x80000000):
        assert served.binary({"inputs": [tensor()]}, struct.pack("<3I", special, special, special))[0] == 200
