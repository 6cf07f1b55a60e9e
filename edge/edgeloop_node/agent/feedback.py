"""Reads labels that come later: `{"rows": [{"id", "version", "time", "predicted", "label", "loop"?}]}`. Pure.

A bad row is refused with its reason and the others are taken; a document that is no list of rows is refused whole.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgeloop_node.documents import BadRequestError, moment_s, shown, text_of

__all__ = ["MAX_ROWS", "Feedback", "Refused", "read_feedback"]

MAX_ROWS = 5000  # in one request; the body's limit is usually reached first


@dataclass(frozen=True)
class Feedback:
    """One row whose label came. `loop` is empty when the client did not say."""

    id: str
    version: int
    time_s: float
    predicted: str
    label: str
    loop: str

    @property
    def correct(self) -> bool:
        return self.predicted == self.label


@dataclass(frozen=True)
class Refused:
    """A row that was not taken; `id` is empty when it had none."""

    id: str
    why: str


def _label(value: Any, where: str) -> str:
    if type(value) is int:  # classes that are whole numbers
        value = str(value)
    return text_of(value, where)


def _row(item: Any) -> Feedback:
    if type(item) is not dict:
        raise BadRequestError(f"expected an object, got {shown(item)}")
    version = item.get("version")
    if type(version) is not int or not 1 <= version < 2**31:
        raise BadRequestError(f"version: expected a whole number >= 1, got {shown(version)}")
    return Feedback(
        id=text_of(item.get("id"), "id"),
        version=version,
        time_s=moment_s(item.get("time"), "time"),
        predicted=_label(item.get("predicted"), "predicted"),
        label=_label(item.get("label"), "label"),
        loop=text_of(item["loop"], "loop") if item.get("loop") is not None else "",
    )


def read_feedback(document: dict[str, Any]) -> tuple[list[Feedback], list[Refused]]:
    """The rows of a feedback request, and those that are wrong. BadRequestError when there are no rows to read."""
    items = document.get("rows")
    if type(items) is not list or not 1 <= len(items) <= MAX_ROWS:
        raise BadRequestError(f"rows: expected a list of 1 to {MAX_ROWS} rows, got {shown(items)}")
    rows, refused = [], []
    for item in items:
        try:
            rows.append(_row(item))
        except BadRequestError as error:
            name = item.get("id") if type(item) is dict else None
            refused.append(Refused(name[:200] if type(name) is str else "", str(error)))
    return rows, refused
