"""golden.json of a model without classes: rows, and the tensors that it answers them with.

    {"rows": [[0.5, null, "inf"]],
     "input": {"name": "X", "shape": [3]},
     "outputs": [{"name": "y", "datatype": "FP32", "shape": [1], "scale": 40.0, "data": [[12.5]]}]}

Shapes are those of one row. Values lie flat, row by row; null is NaN, and the texts inf and -inf stand for what JSON has no
number for. An output whose graph gives texts is INT64 here, the place of each text among its `texts`. `scale` of FP32, 1 where
it is missing, is the output's typical size: a difference is measured against it, or the row's largest value if that is larger.

Refuses rows and data of other widths than the shapes say, names that come twice, other datatypes, and a scale that is no finite
number from 1 on, or one of INT64, whose values must be equal.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from edgeloop_contracts.codec import ContractError, Problem

__all__ = ["DATATYPES", "GoldenTensors", "Tensor", "class_tensors", "golden_tensors", "texts_of"]

DATATYPES = ("FP32", "INT64")
SPECIAL = {None: math.nan, "inf": math.inf, "-inf": -math.inf}
INT64 = 2**63
MOST_SCALE = 3.4028234663852886e38  # no FP32 value is larger

Values = tuple[tuple[float, ...], ...]  # [rows][values of a row]; of whole numbers int


@dataclass(frozen=True)
class Tensor:
    """An input or output of a model. `shape` is that of one row; () is one value without an axis."""

    name: str
    datatype: str
    shape: tuple[int, ...]
    texts: tuple[str, ...] = ()  # what INT64 values are the places of; empty: they are numbers
    scale: float = 1.0  # typical size of FP32 values, at least 1

    @property
    def width(self) -> int:
        """Values a row."""
        return math.prod(self.shape)

    def metadata(self) -> dict[str, Any]:
        """As the Open Inference Protocol describes it: -1 stands for any number of rows."""
        return {"name": self.name, "datatype": self.datatype, "shape": [-1, *self.shape]}


@dataclass(frozen=True)
class GoldenTensors:
    """Rows, and for each output the answers that they must get."""

    rows: Values
    input: Tensor
    outputs: tuple[Tensor, ...]
    answers: tuple[Values, ...]  # by output


def class_tensors(classes: int) -> tuple[Tensor, ...]:
    """The outputs of every classifier."""
    return Tensor("label", "INT64", ()), Tensor("probabilities", "FP32", (classes,))


def golden_tensors(document: Any) -> GoldenTensors:
    """Reads golden.json. ContractError names the place."""
    given = _tensor(_member(document, "input", dict), "input", "FP32")
    outputs = _member(document, "outputs", list)
    tensors = tuple(_tensor(item, f"outputs[{i}]") for i, item in enumerate(outputs))
    names = [tensor.name for tensor in tensors]
    if not names or len(set(names)) != len(names):
        raise _wrong("outputs", "at least one, each name once", ", ".join(names) or "none")
    rows = _values(document, "rows", "rows", given)
    answers = tuple(_values(item, "data", f"outputs[{i}].data", tensors[i]) for i, item in enumerate(outputs))
    for i, answer in enumerate(answers):
        if len(answer) != len(rows):
            raise _wrong(f"outputs[{i}].data", f"{len(rows)} rows, as many as rows", str(len(answer)))
    return GoldenTensors(rows, given, tensors, answers)


def _wrong(path: str, expected: str, got: str) -> ContractError:
    return ContractError("Golden", [Problem(path, expected, got[:100])])


def _member(document: Any, name: str, kind: type) -> Any:
    value = document.get(name) if isinstance(document, dict) else None
    if not isinstance(value, kind):
        raise _wrong(name, f"a JSON {'object' if kind is dict else 'list'}", repr(value))
    return value


def _tensor(item: Any, path: str, datatype: str = "") -> Tensor:
    if not isinstance(item, dict):
        raise _wrong(path, "an object", repr(item))
    name, shape, texts = item.get("name"), item.get("shape"), item.get("texts", [])
    if not isinstance(name, str) or not name:
        raise _wrong(f"{path}.name", "text", repr(name))
    if not isinstance(shape, list) or not all(type(size) is int and size > 0 for size in shape):
        raise _wrong(f"{path}.shape", "sizes above 0", repr(shape))
    if not isinstance(texts, list) or not all(isinstance(text, str) for text in texts):
        raise _wrong(f"{path}.texts", "a list of texts", repr(texts))
    found = datatype or item.get("datatype")
    if found not in DATATYPES:
        raise _wrong(f"{path}.datatype", f"one of {', '.join(DATATYPES)}", repr(found))
    return Tensor(name, found, tuple(shape), tuple(texts), _scale(item, path, found))


def _scale(item: dict[str, Any], path: str, datatype: str) -> float:
    scale = item.get("scale", 1.0)
    if datatype != "FP32" and "scale" in item:
        raise _wrong(f"{path}.scale", f"none of {datatype}, whose values must be equal", repr(scale))
    if type(scale) not in (int, float) or not 1.0 <= scale <= MOST_SCALE:
        raise _wrong(f"{path}.scale", "a finite number from 1 on", repr(scale))
    return float(scale)


def _values(item: Any, name: str, path: str, tensor: Tensor) -> Values:
    rows = item.get(name)
    if not isinstance(rows, list) or not rows:
        raise _wrong(path, "at least one row", repr(rows))
    return tuple(tuple(_row(row, f"{path}[{i}]", tensor)) for i, row in enumerate(rows))


def _row(row: Any, path: str, tensor: Tensor) -> Iterator[float]:
    if not isinstance(row, list) or len(row) != tensor.width:
        got = str(len(row)) if isinstance(row, list) else repr(row)
        raise _wrong(path, f"{tensor.width} values, as the shape {list(tensor.shape)} says", got)
    read = _whole if tensor.datatype == "INT64" else _number
    return (read(value, f"{path}[{i}]") for i, value in enumerate(row))


def _whole(value: Any, path: str) -> int:
    if type(value) is not int or not -INT64 <= value < INT64:
        raise _wrong(path, "a whole number of 64 bits", repr(value))
    return value


def _number(value: Any, path: str) -> float:
    if type(value) in (int, float):
        return float(value)
    if value is None or (isinstance(value, str) and value in SPECIAL):
        return SPECIAL[value]
    raise _wrong(path, 'a number, null, "inf" or "-inf"', repr(value))


def texts_of(outputs: Sequence[Tensor]) -> dict[str, list[str]]:
    """What the places of outputs stand for, by the name of each output that gives texts."""
    return {tensor.name: list(tensor.texts) for tensor in outputs if tensor.texts}
