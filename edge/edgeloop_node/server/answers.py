"""Writes the answers of /score. The text around the numbers is built once for each class, so an answer is one formatting.

Numbers are printed with nine significant digits: enough to give back every float32 as it is. What is no finite number is
null, since JSON has no word for it; only graphs without classes give such answers.
"""

from __future__ import annotations

import json
import math
from collections.abc import Callable, Sequence
from typing import Any

from edgeloop_contracts.golden import Tensor

__all__ = ["score_writer", "values_writer"]

NUMBER = "%.9g"


def _quoted(text: str) -> str:
    """JSON text that is safe inside a format."""
    return json.dumps(text).replace("%", "%%")


def score_writer(model: str, version: int, classes: Sequence[str]) -> Callable[[str | None, int, Sequence[float]], str]:
    """A function (id, label index, probabilities [classes]) -> the JSON text of one scored row."""
    probabilities = ",".join(f"{_quoted(name)}:{NUMBER}" for name in classes)
    formats = [
        f'{{"id":%s,"label":{_quoted(label)},"probabilities":{{{probabilities}}},"confidence":{NUMBER},'
        f'"model":{_quoted(model)},"version":{version}}}'
        for label in classes
    ]

    def write(row_id: str | None, label: int, scores: Sequence[float]) -> str:
        return formats[label] % ("null" if row_id is None else json.dumps(row_id), *scores, max(scores))

    return write


def values_writer(model: str, version: int, outputs: Sequence[Tensor]) -> Callable[..., str]:
    """A function (id, the row's value of each output) -> the JSON text of one scored row.

    An output of one value is a number, of several a flat list.
    """
    end = f',"model":{json.dumps(model)},"version":{version}}}'
    heads = [f"{json.dumps(tensor.name)}:" for tensor in outputs]

    def write(row_id: str | None, *answers: Any) -> str:
        parts = [head + _value(tensor, answer) for head, tensor, answer in zip(heads, outputs, answers, strict=True)]
        return f'{{"id":{json.dumps(row_id)},"values":{{{",".join(parts)}}}{end}'

    return write


def _value(tensor: Tensor, answer: Any) -> str:
    numbers = [_number(value) for value in (answer if tensor.shape else [answer])]
    return numbers[0] if tensor.width == 1 else f"[{','.join(numbers)}]"


def _number(value: float) -> str:
    if isinstance(value, int):
        return str(value)
    return NUMBER % value if math.isfinite(value) else "null"
