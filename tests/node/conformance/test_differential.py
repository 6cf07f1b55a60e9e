"""Requests broken at random, sent to this runtime's server and to onnxruntime's: the same status, the same reason.

Nobody can list every wrong request. So right ones are damaged, in their JSON and in their bytes, thousands of times, and two
servers that were written apart must agree about each.
"""

from __future__ import annotations

import copy
import json
import random
import re
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

INFER, ECHO = "/v2/models/pump/infer", "/v2/models/echo/infer"
X = {"name": "X", "shape": [1, 3], "datatype": "FP32", "data": [0.3, -1.25, 1.0]}
ROW = {"features": {"flow": 0.3, "heat": -1.25, "mode": "b"}, "time": 7200, "id": "r"}
BASES: list[tuple[str, Any]] = [
    ("/score", ROW),
    ("/score", {"rows": [ROW, {"features": {"flow": None, "mode": None}, "time": "2014-01-01T00:00:00Z"}]}),
    (INFER, {"inputs": [X], "id": "a", "outputs": [{"name": "label"}, {"name": "probabilities"}]}),
    (INFER, {"inputs": [{**X, "data": [[0.3, None, 1.0]]}], "parameters": {"a": 1, "binary_data_output": False}}),
    (INFER, {"inputs": [{**X, "shape": [2, 3], "data": [1, 2, 0, 4, 5, 1]}], "outputs": [], "model_name": "pump"}),
]
VALUES = [None, True, False, 0, -1, 1, 3, 2**31, 2**63, 10**30, 10**400, 0.5, -0.0, 1e39, 3.5e38, 1e-320, "", "X", "label", "b",
          "FP32", "2014-01-01", "é", "\ud800", "\x00", "x" * 300, [], {}, [1, 2], [[1, 2, 3]], {"a": 1}, [None]]  # fmt: skip
KEYS = ["features", "rows", "time", "id", "flow", "heat", "mode", "inputs", "outputs", "parameters", "name", "shape", "data",
        "datatype", "binary_data", "binary_data_size", "featurs", "x", "", "é", "model_version"]  # fmt: skip


def places(document: Any, path: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    """Every place in a document, as keys and indices from its root."""
    inner = (
        document.items() if isinstance(document, dict) else enumerate(document) if isinstance(document, list) else ()
    )
    return [path, *(place for key, value in inner for place in places(value, (*path, key)))]


def at(document: Any, path: tuple[Any, ...]) -> Any:
    for key in path:
        document = document[key]
    return document


def damaged(draw: random.Random, document: Any) -> Any:
    """One value replaced, one key added, or one thing removed or doubled."""
    document = copy.deepcopy(document)
    path = draw.choice(places(document)[1:])
    parent, key = at(document, path[:-1]), path[-1]
    what = draw.randrange(4)
    if what == 0:
        del parent[key]
    elif what == 1 and isinstance(parent, dict):
        parent[draw.choice(KEYS)] = draw.choice(VALUES)
    elif what == 2 and isinstance(parent, list):
        parent.insert(draw.randrange(len(parent) + 1), copy.deepcopy(parent[key]))
    else:
        parent[key] = copy.deepcopy(draw.choice(VALUES))
    return document


def bent(draw: random.Random, text: bytes) -> bytes:
    """A byte changed, cut out, put in, or the end cut off."""
    i = draw.randrange(len(text))
    byte = bytes([draw.choice([*b'{}[]",:0123456789eE.-+ntf\\ \x00\xff\t\xc3', draw.randrange(256)])])
    return draw.choice(
        [text[:i] + byte + text[i + 1 :], text[:i] + text[i + 1 :], text[:i] + byte + text[i:], text[:i]]
    )


def reason(text: str) -> str:
    """An error without what servers may word in their own way: how a value is shown, and the guess of what was meant."""
    return re.split(r", got | \(did you mean| \(known:| that are not", text)[0]


@pytest.fixture
def pair(served: Any, runtime: Any, start_python: Callable[[], Any]) -> tuple[Any, Any]:
    """This runtime's server and onnxruntime's."""
    if runtime.name == "onnxruntime":
        pytest.skip("it is the other side of the comparison")
    return served, start_python()


@pytest.fixture
def tensors(serve: Callable[..., Any], runtime: Any, echo: Path, start_python: Callable[..., Any]) -> tuple[Any, Any]:
    """The same of the convolution, whose input has three axes and which has no classes."""
    if runtime.name == "onnxruntime":
        pytest.skip("it is the other side of the comparison")
    return serve(echo), start_python(echo)


class Compared:
    """What both servers said to each request so far: the statuses, and where they differ."""

    def __init__(self, pair: tuple[Any, Any]) -> None:
        self.pair, self.statuses, self.differences = pair, set[int](), list[tuple[Any, ...]]()

    def ask(self, path: str, body: bytes, headers: dict[str, str]) -> None:
        (status, mine, behind), (other, its, others_behind) = (said(s, path, body, headers) for s in self.pair)
        self.statuses.add(status)
        if status != other or not (close(mine, its) and behind == others_behind):
            self.differences.append((body, headers, (status, mine, behind), (other, its, others_behind)))


def said(served: Any, path: str, body: bytes, headers: dict[str, str]) -> tuple[int, Any, int]:
    """Status, document (of an error: its text) and the number of bytes behind it."""
    status, answered, raw = served.exchange("POST", path, body, headers)
    end = int(answered.get("Inference-Header-Content-Length", len(raw)))
    document = json.loads(raw[:end])
    return status, document if status == 200 else reason(document["error"]), len(raw) - end


def close(mine: Any, its: Any) -> bool:
    """Equal but for the last digits of numbers."""
    if isinstance(mine, dict):
        return list(mine) == list(its) and all(close(mine[key], its[key]) for key in mine)
    if isinstance(mine, list):
        return len(mine) == len(its) and all(map(close, mine, its))
    both = type(mine) is float and type(its) is float
    return bool(mine == its or (both and abs(mine - its) <= 1e-6 * max(1.0, abs(its))))


def test_damaged_documents(pair: tuple[Any, Any]) -> None:
    """Documents with one to three things wrong, or right by chance."""
    draw, compared = random.Random(11), Compared(pair)
    for _ in range(1500):
        path, document = draw.choice(BASES)
        for _ in range(draw.choice([1, 1, 1, 2, 3])):
            document = damaged(draw, document) if places(document)[1:] else document
        compared.ask(path, json.dumps(document).encode(), {})
    assert compared.differences[:5] == []
    assert compared.statuses == {200, 400}


def test_damaged_bytes(pair: tuple[Any, Any]) -> None:
    """JSON text with one or two bytes wrong."""
    draw, compared = random.Random(12), Compared(pair)
    for _ in range(1500):
        path, document = draw.choice(BASES)
        text = bent(draw, json.dumps(document, separators=draw.choice([(",", ":"), (", ", ": ")])).encode())
        compared.ask(path, bent(draw, text) if draw.random() < 0.3 and text else text, {})
    assert compared.differences[:5] == []
    assert compared.statuses == {200, 400}


def test_damaged_binary_requests(pair: tuple[Any, Any]) -> None:
    """Binary requests whose JSON, length, header or values are wrong."""
    draw, compared = random.Random(13), Compared(pair)
    base = {"inputs": [{"name": "X", "shape": [1, 3], "datatype": "FP32", "parameters": {"binary_data_size": 12}}],
            "parameters": {"binary_data_output": True},
            "outputs": [{"name": "label", "parameters": {"binary_data": False}}]}  # fmt: skip
    for _ in range(800):
        text = json.dumps(damaged(draw, base) if draw.random() < 0.7 else base).encode()
        tensor = struct.pack("<3f", draw.gauss(0, 1), draw.choice([1.0, float("nan"), float("inf")]), 1.0)
        tensor = draw.choice([tensor, tensor, tensor, tensor[:-1], tensor + b"x", b""])
        length = str(len(text) + draw.choice([0, 0, 0, 0, -1, 1, 10**6]))
        length = draw.choice([length] * 6 + ["", "x", "-1", "0", "1e3", " 5 ", "9" * 25])
        compared.ask(INFER, text + tensor, {"Inference-Header-Content-Length": length})
    assert compared.differences[:5] == []
    assert compared.statuses == {200, 400}


WINDOW = {"name": "window", "shape": [1, 2, 8], "datatype": "FP32", "data": [0.5, None, -1.25, 3] * 4}
NESTED = {**WINDOW, "shape": [2, 2, 8], "data": [[[0.5] * 8, [1] * 8], [[None] * 8, [-2.5] * 8]]}
SAMPLE = {f"x{i}": i / 8 for i in range(0, 16, 3)}
ECHOES: list[tuple[str, Any]] = [
    ("/score", {"features": SAMPLE, "id": "r"}),
    ("/score", {"rows": [{"features": SAMPLE}, {"features": {}}]}),
    (ECHO, {"inputs": [WINDOW], "id": "a", "outputs": [{"name": "above"}, {"name": "trace"}]}),
    (ECHO, {"inputs": [NESTED], "parameters": {"a": 1, "binary_data_output": False}}),
    (ECHO, {"inputs": [{**WINDOW, "shape": [0, 2, 8]}], "outputs": [], "model_name": "echo"}),
]


def test_damaged_documents_of_tensors(tensors: tuple[Any, Any]) -> None:
    """A graph without classes: both servers refuse the same for the same reason, and give the same values."""
    draw, compared = random.Random(14), Compared(tensors)
    for _ in range(1200):
        path, document = draw.choice(ECHOES)
        for _ in range(draw.choice([0, 1, 1, 1, 2, 3])):
            document = damaged(draw, document) if places(document)[1:] else document
        compared.ask(path, json.dumps(document).encode(), {})
    assert compared.differences[:5] == []
    assert compared.statuses == {200, 400}


def test_damaged_binary_tensors(tensors: tuple[Any, Any]) -> None:
    """The same with bytes behind the JSON text."""
    draw, compared = random.Random(15), Compared(tensors)
    tensor = {"name": "window", "shape": [1, 2, 8], "datatype": "FP32", "parameters": {"binary_data_size": 64}}
    base = {"inputs": [tensor], "parameters": {"binary_data_output": True},
            "outputs": [{"name": "level", "parameters": {"binary_data": False}}, {"name": "above"}]}  # fmt: skip
    for _ in range(600):
        text = json.dumps(damaged(draw, base) if draw.random() < 0.7 else base).encode()
        raw = struct.pack("<16f", *(draw.choice([0.5, -1.0, 2.0, float("nan")]) for _ in range(16)))
        raw = draw.choice([raw, raw, raw, raw[:-1], raw + b"x", struct.pack("<16f", *[float("inf")] * 16)])
        compared.ask(ECHO, text + raw, {"Inference-Header-Content-Length": str(len(text))})
    assert compared.differences[:5] == []
    assert compared.statuses == {200, 400}
