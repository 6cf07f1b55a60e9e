"""Reads JSON documents that came over HTTP, and says what is wrong with them. Pure; shared by server and agent.

The JSON is stricter than Python's reader: NaN and Infinity are no JSON, and a number must fit into float32, which is what
models take.
"""

from __future__ import annotations

import difflib
import json
import math
import re
from collections.abc import Mapping, Sequence
from datetime import UTC, datetime
from typing import Any

__all__ = ["LARGEST", "BadRequestError", "decode", "moment_s", "nearest", "number", "shown", "text_of"]

LARGEST = 3.4028234663852886e38  # of float32
LAST_S = 253_402_300_799.0  # the end of the year 9999
# The parser takes any character for the point of a fraction without digits ("12:00[Z"), so the form is looked at first.
TIME = r"[\d:]+([.,]\d+)?"
ISO_TEXT = re.compile(rf"[\dW-]{{7,10}}(.{TIME}(Z|[+-]{TIME})?)?", re.ASCII | re.DOTALL)


class BadRequestError(Exception):
    """The client's fault. `status` is the HTTP status that says so."""

    def __init__(self, message: str, status: int = 400) -> None:
        super().__init__(message)
        self.status = status


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"JSON has no {text}; a missing value is null")


_DECODER = json.JSONDecoder(parse_constant=_refuse_constant)


def decode(body: bytes) -> dict[str, Any]:
    """The JSON object in a body. BadRequestError when it is not one."""
    try:
        document = _DECODER.decode(body.decode())
    except (ValueError, RecursionError) as error:
        raise BadRequestError(f"body: expected JSON text, got {len(body)} bytes that are not: {error}") from error
    if type(document) is not dict:
        raise BadRequestError(f"body: expected a JSON object, got {shown(document)}")
    return document


def shown(value: Any) -> str:
    """A value as an error message shows it: short."""
    if isinstance(value, Mapping):
        return "an object"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    try:
        text = json.dumps(value)
    except ValueError:  # a whole number of thousands of digits
        return "a very long number"
    return text if len(text) <= 60 else text[:57] + "..."


def nearest(name: str, known: Sequence[str]) -> str:
    """`(did you mean x?)`, or the list of what is known."""
    near = difflib.get_close_matches(name[:100], known, n=1, cutoff=0.5)
    return f"(did you mean {near[0]}?)" if near else f"(known: {', '.join(known)})"


def moment_s(value: Any, where: str) -> float:
    """Unix seconds of ISO text (UTC when it names no zone) or of a number. BadRequestError."""
    expected = f"{where}: expected ISO 8601 text or Unix seconds between 1970 and 9999"
    if type(value) is str:
        try:
            if not ISO_TEXT.fullmatch(value):
                raise ValueError(value)
            time = datetime.fromisoformat(value)
            value = (time if time.tzinfo else time.replace(tzinfo=UTC)).timestamp()
        except (ValueError, OverflowError) as error:
            raise BadRequestError(f"{expected}, got {shown(value)}") from error
    if type(value) not in (int, float) or not 0 <= value <= LAST_S:
        raise BadRequestError(f"{expected}, got {shown(value)}")
    return float(value)


def number(value: Any, where: str) -> float:
    """A JSON number that float32 can hold; null is NaN. BadRequestError."""
    if value is None:
        return math.nan
    if type(value) not in (int, float) or not -LARGEST <= value <= LARGEST:
        raise BadRequestError(f"{where}: expected a number that fits into float32, or null, got {shown(value)}")
    return float(value)


def text_of(value: Any, where: str, longest: int = 200) -> str:
    """Text of 1 to `longest` characters. BadRequestError."""
    if type(value) is not str or not 1 <= len(value) <= longest:
        raise BadRequestError(f"{where}: expected text of 1 to {longest} characters, got {shown(value)}")
    return value
