"""Reads the rows of POST /score by a reference. Pure; it guesses nothing.

A missing feature is a missing key or null. The text of a category becomes its code; a category that the reference does not
know becomes -1.
"""

from __future__ import annotations

import math
from typing import Any, NamedTuple

from edgeloop_contracts import Reference
from edgeloop_node.documents import LARGEST, BadRequestError, moment_s, nearest, number, shown, text_of

__all__ = ["MAX_ROWS", "Row", "RowReader"]

MAX_ROWS = 1000  # in one request
NAN = math.nan
ABSENT = object()
ROW_KEYS = frozenset(("features", "time", "id"))


class Row(NamedTuple):
    """One row to score: values in the reference's order, its time (None: now) and the client's id (None: none)."""

    values: list[float]
    time_s: float | None
    id: str | None


class RowReader:
    """Reads rows by a reference: which features there are, of which kind, in which order."""

    def __init__(self, reference: Reference) -> None:
        self.names = [feature.name for feature in reference.features]
        self._known = frozenset(self.names)
        self._plan: list[tuple[str, dict[str, float] | None]] = [
            (f.name, {c: float(i) for i, c in enumerate(f.categories)} if f.kind == "category" else None)
            for f in reference.features
        ]

    def rows(self, document: dict[str, Any]) -> list[Row]:
        """The rows of `{"rows": [...]}`. BadRequestError names the row, as `rows[3].features.pitch`."""
        if len(document) > 1:
            extra = next(key for key in document if key != "rows")
            raise BadRequestError(f"{extra}: expected nothing beside rows: give each row its own features, time and id")
        items = document["rows"]
        if type(items) is not list or not 1 <= len(items) <= MAX_ROWS:
            raise BadRequestError(f"rows: expected a list of 1 to {MAX_ROWS} rows, got {shown(items)}")
        return [self.row(item, f"rows[{i}].") for i, item in enumerate(items)]

    def row(self, item: Any, where: str = "") -> Row:
        """One row: `{"features": {...}, "time"?: ..., "id"?: ...}`. BadRequestError."""
        if type(item) is not dict:
            raise BadRequestError(f"{where.rstrip('.')}: expected an object, got {shown(item)}")
        features = item.get("features", ABSENT)
        if type(features) is not dict:
            got = "nothing" if features is ABSENT else shown(features)
            raise BadRequestError(f"{where}features: expected an object of feature values, got {got}")
        if not item.keys() <= ROW_KEYS:
            extra = next(key for key in item if key not in ROW_KEYS)
            raise BadRequestError(f"{where}{extra[:100]}: unknown field {nearest(extra, sorted(ROW_KEYS))}")
        time, name = item.get("time"), item.get("id")
        if name is not None:
            text_of(name, f"{where}id")
        time_s = None if time is None else moment_s(time, f"{where}time")
        return Row(self._values(features, where), time_s, name)

    def _values(self, features: dict[str, Any], where: str) -> list[float]:
        values, present = [], 0
        for name, codes in self._plan:
            value = features.get(name, ABSENT)
            if value is ABSENT:
                values.append(NAN)
                continue
            present += 1
            if codes is None and type(value) is float and -LARGEST <= value <= LARGEST:
                values.append(value)
            else:
                values.append(_value(value, codes, where, name))
        if present != len(features):
            extra = next(key for key in features if key not in self._known)
            raise BadRequestError(f"{where}features.{extra[:100]}: unknown feature {nearest(extra, self.names)}")
        return values


def _value(value: Any, codes: dict[str, float] | None, where: str, name: str) -> float:
    if value is None:
        return NAN
    if codes is None:
        return number(value, f"{where}features.{name}")
    if type(value) is str:
        return codes.get(value, -1.0)
    if type(value) is int and abs(value) <= LARGEST:  # categories that are whole numbers
        return codes.get(str(value), -1.0)
    raise BadRequestError(f"{where}features.{name}: expected the text of a category or null, got {shown(value)}")
