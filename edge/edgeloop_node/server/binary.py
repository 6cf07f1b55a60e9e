"""The binary tensor extension of the Open Inference Protocol as pure functions: bytes in, numbers out, and back.

A request with the header Inference-Header-Content-Length has so many bytes of JSON, then its tensor as little-endian
float32, row by row. NaN is a missing value. Refuses infinities as the JSON door does: neither the monitor's reports nor a
JSON answer could carry them.
"""

from __future__ import annotations

import math
import struct
from collections.abc import Sequence
from typing import Any

from edgeloop_node.documents import BadRequestError, shown

__all__ = ["EXTENSION", "HEADER", "packed", "split", "unpacked", "wish"]

EXTENSION = "binary_tensor_data"
HEADER = "Inference-Header-Content-Length"
FORMATS = {"INT64": "q", "FP32": "f"}


def split(body: bytes, length: str) -> tuple[bytes, bytes]:
    """The JSON text and the tensor bytes behind it. `length` is the header's value. BadRequestError."""
    if not (length.isascii() and length.isdigit() and len(length) < 19):
        raise BadRequestError(f"{HEADER}: expected a whole number, got {shown(length)}")
    end = int(length)
    if end > len(body):
        raise BadRequestError(f"{HEADER}: expected at most {len(body)}, the bytes of the body, got {end}")
    return body[:end], body[end:]


def unpacked(tensor: bytes, where: str) -> Sequence[float]:
    """The float32 values in a tensor's bytes. BadRequestError names the first infinity."""
    values: tuple[float, ...] = struct.unpack(f"<{len(tensor) // 4}f", tensor)
    if any(map(math.isinf, values)):
        i = next(i for i, value in enumerate(values) if math.isinf(value))
        got = "Infinity" if values[i] > 0 else "-Infinity"
        raise BadRequestError(f"{where}[{i}]: expected a number that fits into float32, or NaN, got {got}")
    return values


def packed(datatype: str, values: Sequence[Any]) -> bytes:
    """The values as a tensor's bytes."""
    return struct.pack(f"<{len(values)}{FORMATS[datatype]}", *values)


def wish(parameters: dict[str, Any], name: str, where: str, otherwise: bool) -> bool:
    """Whether an output is wanted in binary. BadRequestError."""
    value = parameters.get(name, otherwise)
    if type(value) is not bool:
        raise BadRequestError(f"{where}.{name}: expected true or false, got {shown(value)}")
    return value
