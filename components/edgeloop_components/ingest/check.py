"""Checks raw rows and brings them into canonical order. Pure: parts in, clean columns and bad rows out.

Order of work: read every value, set bad rows aside with the first reason found, cut the window back from the newest good
row, refuse when more than half of what is left is bad, sort, leave out duplicates. Canonical order is by time, node, and
then every column, so that equal rows in any files and any order give equal columns.

Two rows are the same when their time and node are (the one that comes first in canonical order stays), or, where the
loop names no time or no node, when they are equal in every column.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgeloop_components.ingest.cells import Cells, category_cells
from edgeloop_components.ingest.parts import BadRow, DataError, RawPart
from edgeloop_components.ingest.values import (
    FLOAT32_MAX,
    NOT_A_NUMBER,
    is_number_like,
    number_of,
    text_of,
    time_us,
)
from edgeloop_contracts import Loop, units

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["MAX_CATEGORIES", "CleanRows", "check_rows", "wanted_columns"]

MAX_CATEGORIES = 256  # of a feature: each is a bin on the nodes and an input of the model


@dataclass(frozen=True)
class CleanRows:
    """Rows in canonical order. `time_us` is None where the loop names no time column."""

    time_us: npt.NDArray[np.int64] | None
    columns: tuple[Cells, ...]
    bad: tuple[BadRow, ...]
    duplicates: int
    left_out: dict[str, int] = field(default_factory=dict)

    @property
    def rows(self) -> int:
        return len(self.columns[0].values)

    @property
    def reasons(self) -> dict[str, int]:
        return dict(sorted(Counter(row.reason for row in self.bad).items()))


def wanted_columns(loop: Loop) -> list[str]:
    """The columns that a snapshot keeps: time, node, features, slices, label; each once."""
    data = loop.data
    names = (data.time, data.node, *data.features, *loop.validate.slices, data.label)
    return [name for name in dict.fromkeys(names) if name]


class _Faults:
    """Which rows are bad, and the first reason of each."""

    def __init__(self, rows: int) -> None:
        import numpy as np

        self.names = [""]
        self.code = np.zeros(rows, dtype=np.int16)

    def mark(self, rows: npt.NDArray[np.bool_], reason: str) -> None:
        self.names.append(reason)
        self.code[rows & (self.code == 0)] = len(self.names) - 1

    @property
    def good(self) -> npt.NDArray[np.bool_]:
        fine: npt.NDArray[np.bool_] = self.code == 0
        return fine


def check_rows(loop: Loop, parts: Sequence[RawPart], now_s: float | None = None) -> CleanRows:
    """The good rows of all parts, in canonical order, and the bad ones. DataError when too few are left."""
    import numpy as np

    raw = {name: _joined([part.columns[name] for part in parts]) for name in wanted_columns(loop)}
    faults = _Faults(sum(len(part.lines) for part in parts))
    time = _times(raw[loop.data.time], faults) if loop.data.time else None
    columns = [_cells(loop, name, values, faults) for name, values in raw.items() if name != loop.data.time]
    inside, left_out = _inside(time, faults, now_s, units.duration_s(loop.data.window))
    bad = [row for part in parts for row in part.bad] + _bad_rows(parts, raw, faults, inside & ~faults.good)
    good = np.flatnonzero(inside & faults.good)
    _refuse_mostly_bad(len(good), bad)
    kept_time, kept, duplicates = _ordered(loop, time, columns, good)
    _refuse_many_categories(loop, kept)
    ordered_bad = tuple(sorted(bad, key=lambda row: (row.file, row.line)))
    return CleanRows(kept_time, tuple(kept), ordered_bad, duplicates, left_out)


def _joined(pieces: Sequence[Any]) -> Any:
    import numpy as np

    if pieces and all(isinstance(piece, np.ndarray) for piece in pieces):
        return np.concatenate(pieces)
    return [value for piece in pieces for value in (piece.tolist() if isinstance(piece, np.ndarray) else piece)]


def _times(values: Any, faults: _Faults) -> npt.NDArray[np.int64]:
    import numpy as np

    known: dict[Any, int | None] = {}
    found = np.zeros(len(values), dtype=np.int64)
    unreadable = np.zeros(len(values), dtype=np.bool_)
    for i, value in enumerate(values.tolist() if isinstance(values, np.ndarray) else values):
        if value not in known:
            known[value] = time_us(value)
        moment = known[value]
        if moment is None:
            unreadable[i] = True
        else:
            found[i] = moment
    faults.mark(unreadable, "unreadable time")
    return found


def _cells(loop: Loop, name: str, values: Any, faults: _Faults) -> Cells:
    if name == loop.data.label:
        return _label(name, values, faults)
    if name == loop.data.node and name not in loop.data.features:
        return _texts(name, values, faults, required="missing node")
    cells = _numbers(name, values, faults) if is_number_like(values) else _texts(name, values, faults)
    if name == loop.data.node:
        faults.mark(cells.missing, "missing node")
    return cells


def _label(name: str, values: Any, faults: _Faults) -> Cells:
    """Labels are texts; numbers get one form of text, so that 1 and 1.0 are one class."""
    import numpy as np

    listed = list(values)
    numbers = [number_of(value) for value in listed]
    numeric = NOT_A_NUMBER not in numbers
    if numeric:
        faults.mark(np.isinf(np.array(numbers, dtype=np.float64)), f"infinite value in {name}")
    return _texts(name, numbers if numeric else listed, faults, required="missing label", numeric=numeric)


def _texts(name: str, values: Any, faults: _Faults, *, required: str = "", numeric: bool = False) -> Cells:
    cells = category_cells(name, (text_of(value) for value in values), numeric=numeric)
    if required:
        faults.mark(cells.missing, required)
    return cells


def _numbers(name: str, values: Any, faults: _Faults) -> Cells:
    import numpy as np

    if isinstance(values, np.ndarray):
        numbers = values
    else:
        listed = [number_of(value) for value in values]
        faults.mark(np.array([number is NOT_A_NUMBER for number in listed], dtype=np.bool_), f"not a number in {name}")
        numbers = np.array([np.nan if number is NOT_A_NUMBER else number for number in listed], dtype=np.float64)
    faults.mark(np.abs(numbers) > FLOAT32_MAX, f"infinite value in {name}")
    return Cells(name, "number", numbers)


def _inside(
    time: npt.NDArray[np.int64] | None, faults: _Faults, now_s: float | None, window_s: int
) -> tuple[npt.NDArray[np.bool_], dict[str, int]]:
    """Which rows are looked at: not after now, and not older than the window back from the newest good row."""
    import numpy as np

    everything = np.ones(len(faults.code), dtype=np.bool_)
    if time is None:
        return everything, {}
    timeless = faults.code == (faults.names.index("unreadable time"))
    early_enough = time <= now_s * 1e6 if now_s is not None else everything
    candidates = time[faults.good & early_enough]
    start = int(candidates.max()) - window_s * 1_000_000 if len(candidates) else None
    late_enough = time >= start if start is not None else everything
    left_out = {"after_now": int((~early_enough & ~timeless).sum())}
    left_out["before_window"] = int((early_enough & ~late_enough & ~timeless).sum())
    return timeless | (early_enough & late_enough), left_out


def _bad_rows(
    parts: Sequence[RawPart], raw: dict[str, Any], faults: _Faults, chosen: npt.NDArray[np.bool_]
) -> list[BadRow]:
    import numpy as np

    starts = np.cumsum([0, *(len(part.lines) for part in parts)])
    found = []
    for place in np.flatnonzero(chosen).tolist():
        number = int(np.searchsorted(starts, place, side="right")) - 1
        part = parts[number]
        text = ", ".join(f"{name}={values[place]}" for name, values in raw.items())
        found.append(
            BadRow(part.name, part.lines[place - int(starts[number])], faults.names[faults.code[place]], text[:500])
        )
    return found


def _refuse_mostly_bad(good: int, bad: Sequence[BadRow]) -> None:
    if good and len(bad) <= good:
        return
    if not bad:
        raise DataError("data: expected rows, found none")
    counts = ", ".join(f"{count} {reason}" for reason, count in Counter(row.reason for row in bad).most_common(8))
    first = min(bad, key=lambda row: (row.file, row.line))
    raise DataError(
        f"data: expected at most half of the rows to be bad, found {len(bad)} of {len(bad) + good}: {counts}; "
        f"the first: {first.file} line {first.line}: {first.reason}: {first.text[:200]}"
    )


def _ordered(
    loop: Loop, time: npt.NDArray[np.int64] | None, columns: Sequence[Cells], good: npt.NDArray[np.int64]
) -> tuple[npt.NDArray[np.int64] | None, list[Cells], int]:
    import numpy as np

    keys = [column.take(good).keys() for column in columns]
    names = [column.name for column in columns]
    node = keys[names.index(loop.data.node)] if loop.data.node else None
    same_by = [key for key in (time[good] if time is not None else None, node) if key is not None]
    priority = [*same_by, *keys]
    order = np.lexsort(priority[::-1])
    compared = same_by if time is not None and node is not None else priority
    repeated = np.ones(len(order), dtype=np.bool_)
    for key in compared:
        repeated[1:] &= key[order][1:] == key[order][:-1]
    repeated[:1] = False
    kept = good[order[~repeated]]
    return (time[kept] if time is not None else None), [c.take(kept) for c in columns], int(repeated.sum())


def _refuse_many_categories(loop: Loop, columns: Sequence[Cells]) -> None:
    for column in columns:
        if column.name in loop.data.features and len(column.categories) > MAX_CATEGORIES:
            some = ", ".join(column.categories[:3])
            raise DataError(
                f"data.features: expected at most {MAX_CATEGORIES} different texts in {column.name}, found "
                f"{len(column.categories)} ({some}, ...): free text and identifiers are no features"
            )
