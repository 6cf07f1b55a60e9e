"""Every V2 answer has the form that the Open Inference Protocol's components have: written down here as JSON Schema.

The protocol has no official conformance tests. Its forms are stated here from the text of the specification: what must be
there, what may be there, of which type; and a tensor's data must be as many as its shape says.
"""

from __future__ import annotations

import json
import math
from typing import Any

import pytest

jsonschema = pytest.importorskip("jsonschema", reason="validates answers: needs the extra `cloud`")

INFER = "/v2/models/pump/infer"
TYPES = [
    "BOOL",
    "UINT8",
    "UINT16",
    "UINT32",
    "UINT64",
    "INT8",
    "INT16",
    "INT32",
    "INT64",
    "FP16",
    "FP32",
    "FP64",
    "BYTES",
]


def closed(required: dict[str, Any], optional: dict[str, Any] | None = None) -> dict[str, Any]:
    """An object with these fields and no others."""
    fields = {**required, **(optional or {})}
    return {"type": "object", "properties": fields, "required": list(required), "additionalProperties": False}


TEXT = {"type": "string"}
TRUTH = {"type": "boolean"}
PARAMETERS = {"type": "object"}
TENSOR_TYPE = {"enum": TYPES}
METADATA_TENSOR = closed(
    {"name": TEXT, "datatype": TENSOR_TYPE, "shape": {"type": "array", "items": {"type": "integer", "minimum": -1}}},
)
OUTPUT = closed(
    {
        "name": TEXT,
        "shape": {"type": "array", "items": {"type": "integer", "minimum": 0}},
        "datatype": TENSOR_TYPE,
        "data": {"type": "array", "items": {"type": ["number", "string", "boolean"]}},
    },
    {"parameters": PARAMETERS},
)
TENSORS = {"type": "array", "items": METADATA_TENSOR, "minItems": 1}
FORMS = {
    "live": closed({"live": TRUTH}),
    "ready": closed({"ready": TRUTH}),
    "server": closed({"name": TEXT, "version": TEXT, "extensions": {"type": "array", "items": TEXT}}, {"parameters": PARAMETERS}),
    "model": closed(
        {"name": TEXT, "platform": TEXT, "inputs": TENSORS, "outputs": TENSORS},
        {"versions": {"type": "array", "items": TEXT}, "parameters": PARAMETERS},
    ),
    "model_ready": closed({"name": TEXT, "ready": TRUTH}),
    "inference": closed(
        {"model_name": TEXT, "outputs": {"type": "array", "items": OUTPUT}},
        {"model_version": TEXT, "id": TEXT, "parameters": PARAMETERS},
    ),
    "error": closed({"error": TEXT}),
}  # fmt: skip


@pytest.mark.parametrize(
    ("path", "form"),
    [
        ("/v2/health/live", "live"),
        ("/v2/health/ready", "ready"),
        ("/v2/", "server"),
        ("/v2", "server"),
        ("/v2/models/pump", "model"),
        ("/v2/models/pump/versions/1", "model"),
        ("/v2/models/pump/ready", "model_ready"),
        ("/v2/models/pump/versions/1/ready", "model_ready"),
        ("/v2/models/pump/versions/7", "error"),
        ("/v2/nothing", "error"),
        (INFER, "error"),
    ],
)
def test_answers_have_their_form(served: Any, path: str, form: str) -> None:
    """Health, metadata, readiness and errors, at every path of the specification."""
    _, headers, body = served.exchange("GET", path)
    assert headers["Content-Type"] == "application/json"
    jsonschema.validate(json.loads(body), FORMS[form])


@pytest.mark.parametrize("rows", [1, 2, 1000])
@pytest.mark.parametrize(
    "more",
    [{}, {"id": "a"}, {"outputs": [{"name": "probabilities"}]}, {"parameters": {"a": 1, "b": "x", "c": True}}],
)
def test_inference_has_its_form(served: Any, rows: int, more: dict[str, Any]) -> None:
    """Inference answers, with data that fill the shapes, of the datatypes that the metadata promise."""
    data = [float(i % 7) / 4 for i in range(3 * rows)]
    tensor = {"name": "X", "shape": [rows, 3], "datatype": "FP32", "data": data}
    status, answer = served.call("POST", INFER, {"inputs": [tensor], **more})
    assert status == 200
    jsonschema.validate(answer, FORMS["inference"])
    promised = {t["name"]: t for t in served.call("GET", "/v2/models/pump")[1]["outputs"]}
    for output in answer["outputs"]:
        assert len(output["data"]) == math.prod(output["shape"])
        assert output["datatype"] == promised[output["name"]]["datatype"]
        assert [rows, *promised[output["name"]]["shape"][1:]] == output["shape"]


def test_wrong_inference_has_the_form_of_an_error(served: Any) -> None:
    """So has a refused inference."""
    _, answer = served.call("POST", INFER, {})
    jsonschema.validate(answer, FORMS["error"])
