"""Writes the answers of /score. The text around the numbers is built once for each class, so an answer is one formatting.

Numbers are printed with nine significant digits: enough to give back every float32 as it is.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Sequence

__all__ = ["score_writer"]

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
