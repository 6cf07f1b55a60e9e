"""The Open Inference Protocol V2 (REST) as pure functions: documents in, rows or documents out.

Tensors come and go as JSON or, by the binary tensor extension, as bytes behind the JSON. FP32 only: the server does not
coerce.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from edgeloop_contracts import Reference
from edgeloop_node.documents import LARGEST, BadRequestError, nearest, number, shown
from edgeloop_node.runtimes import Scorer
from edgeloop_node.server.binary import EXTENSION, HEADER, packed, unpacked, wish
from edgeloop_node.server.requests import MAX_ROWS

__all__ = ["OUTPUTS", "Wanted", "inference_answer", "model_metadata", "rows_of", "server_metadata"]

Wanted = Sequence[tuple[str, bool]]  # the name of an output, and whether it is to be binary

INPUT = "X"
OUTPUTS = ("label", "probabilities")
REQUEST_KEYS = (
    "id",
    "parameters",
    "inputs",
    "outputs",
    "model_name",
    "model_version",
)  # KServe's client sends the name
TENSOR_KEYS = ("name", "shape", "datatype", "parameters", "data")


def server_metadata(version: str, software: dict[str, str]) -> dict[str, Any]:
    """`GET /v2`. `software` names what the server runs on, since that decides what a request costs."""
    return {"name": "edgeloop-node", "version": version, "extensions": [EXTENSION], "parameters": software}


def model_metadata(reference: Reference, version: int, scorer: Scorer) -> dict[str, Any]:
    """`GET /v2/models/<loop>`. `parameters` tells clients the features' names and kinds, and the classes."""
    features = [
        {"name": f.name, "kind": f.kind, **({"categories": list(f.categories)} if f.kind == "category" else {})}
        for f in reference.features
    ]
    return {
        "name": reference.loop,
        "versions": [str(version)],
        "platform": scorer.platform,
        "inputs": [{"name": INPUT, "datatype": "FP32", "shape": [-1, len(reference.features)]}],
        "outputs": [
            {"name": "label", "datatype": "INT64", "shape": [-1]},
            {"name": "probabilities", "datatype": "FP32", "shape": [-1, len(reference.classes)]},
        ],
        "parameters": {"features": features, "classes": list(reference.classes)},
    }


def _known(document: dict[str, Any], keys: Sequence[str], where: str) -> None:
    for key in document:
        if key not in keys:
            raise BadRequestError(f"{where}{key[:100]}: unknown field {nearest(key, keys)}")


def _parameters(value: Any, where: str) -> dict[str, Any]:
    if value is None:
        return {}
    if type(value) is not dict:
        raise BadRequestError(f"{where}: expected an object, got {shown(value)}")
    for key, item in value.items():
        if not isinstance(item, (str, int, float, bool)):
            raise BadRequestError(f"{where}.{key[:100]}: expected a string, a number or a boolean, got {shown(item)}")
    return value


def _tensor(document: dict[str, Any]) -> dict[str, Any]:
    inputs = document.get("inputs")
    if type(inputs) is not list or not inputs or type(inputs[0]) is not dict:
        raise BadRequestError(f"inputs: expected a list with one tensor object, got {shown(inputs)}")
    for i, item in enumerate(inputs):
        name = item.get("name") if type(item) is dict else item
        if name != INPUT or i > 0:
            raise BadRequestError(f"inputs[{i}].name: expected the one input {INPUT}, got {shown(name)}")
    tensor: dict[str, Any] = inputs[0]
    _known(tensor, TENSOR_KEYS, "inputs[0].")
    _parameters(tensor.get("parameters"), "inputs[0].parameters")
    if tensor.get("datatype") != "FP32":
        raise BadRequestError(f"inputs[0].datatype: expected FP32, got {shown(tensor.get('datatype'))}")
    return tensor


def _shape(tensor: dict[str, Any], features: int) -> int:
    shape = tensor.get("shape")
    fits = type(shape) is list and len(shape) == 2 and all(type(size) is int for size in shape)
    if not fits or not 1 <= shape[0] <= MAX_ROWS or shape[1] != features:  # type: ignore[index]
        got = json.dumps(shape)[:60] if fits else shown(shape)
        raise BadRequestError(f"inputs[0].shape: expected [N, {features}] with N from 1 to {MAX_ROWS}, got {got}")
    return int(shape[0])  # type: ignore[index]


def _flat(data: Any, rows: int, features: int) -> list[Any]:
    if type(data) is not list:
        raise BadRequestError(f"inputs[0].data: expected a list, got {shown(data)}")
    if data and type(data[0]) is list:
        if len(data) != rows or any(type(row) is not list or len(row) != features for row in data):
            raise BadRequestError(f"inputs[0].data: expected {rows} lists of {features} values, as the shape says")
        return [value for row in data for value in row]
    if len(data) != rows * features:
        raise BadRequestError(f"inputs[0].data: expected {rows * features} values, as the shape says, got {len(data)}")
    return data


def _wanted(document: dict[str, Any], binary: bool) -> Wanted:
    outputs = document.get("outputs")
    if outputs is None or outputs == []:
        return [(name, binary) for name in OUTPUTS]
    if type(outputs) is not list:
        raise BadRequestError(f"outputs: expected a list, got {shown(outputs)}")
    wanted: dict[str, bool] = {}
    for i, item in enumerate(outputs):
        if type(item) is not dict:
            raise BadRequestError(f"outputs[{i}]: expected an object, got {shown(item)}")
        name, where = item.get("name"), f"outputs[{i}]"
        if type(name) is not str or name not in OUTPUTS or name in wanted:
            raise BadRequestError(f"{where}.name: expected one of {', '.join(OUTPUTS)}, each once, got {shown(name)}")
        parameters = _parameters(item.get("parameters"), f"{where}.parameters")
        wanted[name] = wish(parameters, "binary_data", f"{where}.parameters", binary)
    return list(wanted.items())


def _json_values(tensor: dict[str, Any], rows: int, features: int) -> list[float]:
    return [
        v if type(v) is float and -LARGEST <= v <= LARGEST else number(v, f"inputs[0].data[{i}]")
        for i, v in enumerate(_flat(tensor.get("data"), rows, features))
    ]


def _binary_values(tensor: dict[str, Any], expected: int, behind: bytes | None) -> Sequence[float]:
    where, size = "inputs[0].parameters.binary_data_size", tensor["parameters"]["binary_data_size"]
    if behind is None:
        raise BadRequestError(f"{where}: expected the request header {HEADER} with it, got none")
    if "data" in tensor:
        raise BadRequestError("inputs[0].data: expected none beside parameters.binary_data_size")
    if type(size) is not int or size != expected:
        raise BadRequestError(
            f"{where}: expected {expected}, four bytes for each value of the shape, got {shown(size)}"
        )
    _behind(behind, size)
    return unpacked(behind, "inputs[0].data")


def _behind(behind: bytes, expected: int) -> None:
    if len(behind) != expected:
        raise BadRequestError(f"body: expected {expected} bytes after the JSON text, got {len(behind)}")


def rows_of(
    document: dict[str, Any], features: int, served: Mapping[str, str], behind: bytes | None = None
) -> tuple[list[list[float]], Wanted]:
    """The rows [n][features] of an inference request, and the outputs it wants. BadRequestError.

    `served` holds model_name and model_version; a request that names others is refused. `behind` is what came after the
    JSON text: None when the request did not say where the text ends.
    """
    _known(document, REQUEST_KEYS, "")
    for key, here in served.items():
        if document.get(key) not in (None, here):
            raise BadRequestError(f"{key}: expected {here}, as the path says, got {shown(document[key])}")
    if "id" in document and type(document["id"]) is not str:
        raise BadRequestError(f"id: expected text, got {shown(document['id'])}")
    parameters = _parameters(document.get("parameters"), "parameters")
    wanted = _wanted(document, wish(parameters, "binary_data_output", "parameters", False))
    tensor = _tensor(document)
    rows = _shape(tensor, features)
    flat: Sequence[float]
    if "binary_data_size" in (tensor.get("parameters") or ()):
        flat = _binary_values(tensor, rows * features * 4, behind)
    else:
        _behind(behind or b"", 0)
        flat = _json_values(tensor, rows, features)
    return [list(flat[i : i + features]) for i in range(0, len(flat), features)], wanted


def inference_answer(
    head: dict[str, Any], wanted: Wanted, labels: list[int], scores: list[list[float]]
) -> tuple[dict[str, Any], bytes]:
    """The answer document and the bytes behind it. `head` holds model_name, model_version and the request's id."""
    rows, classes = len(labels), len(scores[0])
    tensors: dict[str, tuple[str, list[int], list[Any]]] = {
        "label": ("INT64", [rows], labels),
        "probabilities": ("FP32", [rows, classes], [p for row in scores for p in row]),
    }
    outputs, behind = [], b""
    for name, binary in wanted:
        datatype, shape, values = tensors[name]
        output: dict[str, Any] = {"name": name, "shape": shape, "datatype": datatype}
        if binary:
            tensor = packed(datatype, values)
            output["parameters"], behind = {"binary_data_size": len(tensor)}, behind + tensor
        else:
            output["data"] = values
        outputs.append(output)
    return {**head, "outputs": outputs}, behind
