"""The Open Inference Protocol V2 (REST) as pure functions: documents in, rows or documents out.

Tensors come and go as JSON or, by the binary tensor extension, as bytes behind the JSON. FP32 only: the server does not
coerce.
"""

from __future__ import annotations

import json
import math
from collections.abc import Mapping, Sequence
from typing import Any

from edgeloop_contracts.golden import Tensor, texts_of
from edgeloop_node.documents import LARGEST, BadRequestError, nearest, number, shown
from edgeloop_node.runtimes import Scores
from edgeloop_node.server.binary import EXTENSION, HEADER, packed, unpacked, wish
from edgeloop_node.server.model import Model
from edgeloop_node.server.requests import MAX_ROWS

__all__ = ["Wanted", "inference_answer", "model_metadata", "rows_of", "server_metadata"]

Wanted = Sequence[tuple[str, bool]]  # the name of an output, and whether it is to be binary

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


def model_metadata(model: Model) -> dict[str, Any]:
    """`GET /v2/models/<loop>`. `parameters` tells clients the features' names and kinds, the classes, and texts of outputs."""
    reference, outputs = model.reference, model.kind.outputs
    features = [
        {"name": f.name, "kind": f.kind, **({"categories": list(f.categories)} if f.kind == "category" else {})}
        for f in reference.features
    ]
    texts = texts_of(outputs)
    return {
        "name": reference.loop,
        "versions": [str(model.version.number)],
        "platform": model.scorer.platform,
        "inputs": [model.input.metadata()],
        "outputs": [tensor.metadata() for tensor in outputs],
        "parameters": {
            "features": features,
            "classes": list(reference.classes),
            **({"texts": texts} if texts else {}),
        },
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


def _tensor(document: dict[str, Any], wanted: str) -> dict[str, Any]:
    inputs = document.get("inputs")
    if type(inputs) is not list or not inputs or type(inputs[0]) is not dict:
        raise BadRequestError(f"inputs: expected a list with one tensor object, got {shown(inputs)}")
    for i, item in enumerate(inputs):
        name = item.get("name") if type(item) is dict else item
        if name != wanted or i > 0:
            raise BadRequestError(f"inputs[{i}].name: expected the one input {wanted}, got {shown(name)}")
    tensor: dict[str, Any] = inputs[0]
    _known(tensor, TENSOR_KEYS, "inputs[0].")
    _parameters(tensor.get("parameters"), "inputs[0].parameters")
    if tensor.get("datatype") != "FP32":
        raise BadRequestError(f"inputs[0].datatype: expected FP32, got {shown(tensor.get('datatype'))}")
    return tensor


def _shape(tensor: dict[str, Any], given: Tensor) -> int:
    """How many rows the shape says."""
    shape = tensor.get("shape")
    fits = type(shape) is list and len(shape) == 1 + len(given.shape) and all(type(size) is int for size in shape)
    if not fits or not 1 <= shape[0] <= MAX_ROWS or tuple(shape[1:]) != given.shape:  # type: ignore[index]
        got = json.dumps(shape)[:60] if fits else shown(shape)
        wanted = ", ".join(map(str, ("N", *given.shape)))
        raise BadRequestError(f"inputs[0].shape: expected [{wanted}] with N from 1 to {MAX_ROWS}, got {got}")
    return int(shape[0])  # type: ignore[index]


def _nested(data: Any, sizes: Sequence[int]) -> list[Any] | None:
    """The values of lists in lists of these sizes; None when they are not so."""
    if type(data) is not list or len(data) != sizes[0]:
        return None
    if len(sizes) == 1:
        return data
    parts = [_nested(item, sizes[1:]) for item in data]
    return None if None in parts else [value for part in parts for value in part or ()]


def _flat(data: Any, rows: int, given: Tensor) -> list[Any]:
    if type(data) is not list:
        raise BadRequestError(f"inputs[0].data: expected a list, got {shown(data)}")
    if data and type(data[0]) is list and given.shape:
        values, each = _nested(data, (rows, *given.shape)), " x ".join(map(str, given.shape))
        if values is None:
            raise BadRequestError(f"inputs[0].data: expected {rows} lists of {each} values, as the shape says")
        return values
    if len(data) != rows * given.width:
        raise BadRequestError(
            f"inputs[0].data: expected {rows * given.width} values, as the shape says, got {len(data)}"
        )
    return data


def _wanted(document: dict[str, Any], known: Sequence[str], binary: bool) -> Wanted:
    outputs = document.get("outputs")
    if outputs is None or outputs == []:
        return [(name, binary) for name in known]
    if type(outputs) is not list:
        raise BadRequestError(f"outputs: expected a list, got {shown(outputs)}")
    wanted: dict[str, bool] = {}
    for i, item in enumerate(outputs):
        if type(item) is not dict:
            raise BadRequestError(f"outputs[{i}]: expected an object, got {shown(item)}")
        name, where = item.get("name"), f"outputs[{i}]"
        if type(name) is not str or name not in known or name in wanted:
            raise BadRequestError(f"{where}.name: expected one of {', '.join(known)}, each once, got {shown(name)}")
        parameters = _parameters(item.get("parameters"), f"{where}.parameters")
        wanted[name] = wish(parameters, "binary_data", f"{where}.parameters", binary)
    return list(wanted.items())


def _json_values(tensor: dict[str, Any], rows: int, given: Tensor) -> list[float]:
    return [
        v if type(v) is float and -LARGEST <= v <= LARGEST else number(v, f"inputs[0].data[{i}]")
        for i, v in enumerate(_flat(tensor.get("data"), rows, given))
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
    document: dict[str, Any],
    given: Tensor,
    outputs: Sequence[Tensor],
    served: Mapping[str, str],
    behind: bytes | None = None,
) -> tuple[list[list[float]], Wanted]:
    """The rows [n][values] of an inference request, and the outputs it wants. BadRequestError.

    `given` is the model's input. `served` holds model_name and model_version; a request that names others is refused.
    `behind` is what came after the JSON text: None when the request did not say where the text ends.
    """
    _known(document, REQUEST_KEYS, "")
    for key, here in served.items():
        if document.get(key) not in (None, here):
            raise BadRequestError(f"{key}: expected {here}, as the path says, got {shown(document[key])}")
    if "id" in document and type(document["id"]) is not str:
        raise BadRequestError(f"id: expected text, got {shown(document['id'])}")
    parameters = _parameters(document.get("parameters"), "parameters")
    binary = wish(parameters, "binary_data_output", "parameters", False)
    wanted = _wanted(document, [output.name for output in outputs], binary)
    tensor = _tensor(document, given.name)
    rows, width = _shape(tensor, given), given.width
    flat: Sequence[float]
    if "binary_data_size" in (tensor.get("parameters") or ()):
        flat = _binary_values(tensor, rows * width * 4, behind)
    else:
        _behind(behind or b"", 0)
        flat = _json_values(tensor, rows, given)
    return [list(flat[i : i + width]) for i in range(0, len(flat), width)], wanted


def inference_answer(
    head: dict[str, Any], wanted: Wanted, outputs: Sequence[Tensor], answers: Scores
) -> tuple[dict[str, Any], bytes]:
    """The answer document and the bytes behind it. `head` holds model_name, model_version and the request's id."""
    found = {tensor.name: (tensor, answer) for tensor, answer in zip(outputs, answers, strict=True)}
    described, behind = [], b""
    for name, binary in wanted:
        tensor, answer = found[name]
        values = [value for row in answer for value in row] if tensor.shape else answer
        output: dict[str, Any] = {"name": name, "shape": [len(answer), *tensor.shape], "datatype": tensor.datatype}
        if binary:
            raw = packed(tensor.datatype, values)
            output["parameters"], behind = {"binary_data_size": len(raw)}, behind + raw
        else:
            output["data"] = values if all(map(math.isfinite, values)) else [_finite(value) for value in values]
        described.append(output)
    return {**head, "outputs": described}, behind


def _finite(value: float) -> float | None:
    """JSON has no word for what is not finite."""
    return value if math.isfinite(value) else None
