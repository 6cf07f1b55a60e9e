"""Reads the files of a data source as raw columns: CSV and Parquet, nothing checked yet but their form.

A CSV file has a header line; the separator is the one of `,` `;` and tab that the header holds most often; text is
UTF-8. Lines with another number of fields than the header are set aside, with their line numbers.
Refuses a file without a column that is asked for, and one that is neither CSV nor Parquet.
"""

from __future__ import annotations

import csv
import hashlib
import io
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import PurePosixPath
from typing import TYPE_CHECKING, Any

from edgeloop_components.ingest.arrow import floats_of
from edgeloop_components.ingest.named import nearest

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["READERS", "BadRow", "DataError", "Raw", "RawPart", "part_of_rows", "read_part"]

Raw = "npt.NDArray[np.float64] | list[Any]"
WRONG_FIELDS = "wrong number of fields"


class DataError(ValueError):
    """The data cannot be used. The message says what, where, what was expected and what was found."""


@dataclass(frozen=True)
class BadRow:
    """A row that is left out: source file, line (CSV, from 1) or row (from 1), the reason, and the row's text."""

    file: str
    line: int
    reason: str
    text: str


@dataclass(frozen=True)
class RawPart:
    """One source file. Each wanted column has a value a row: an array of floats, or a list as the file has them."""

    name: str
    digest: str
    size_bytes: int
    columns: Mapping[str, npt.NDArray[np.float64] | list[Any]]
    lines: Sequence[int]
    bad: tuple[BadRow, ...] = ()


def read_part(name: str, data: bytes, wanted: Sequence[str]) -> RawPart:
    """Reads the wanted columns of a file's bytes. DataError."""
    suffix = PurePosixPath(name).suffix.lower()
    if suffix not in READERS:
        raise DataError(f"{name}: expected a file named {' or '.join('*' + s for s in READERS)}")
    columns, lines, bad = READERS[suffix](name, data, wanted)
    return RawPart(name, "sha256:" + hashlib.sha256(data).hexdigest(), len(data), columns, lines, bad)


def _require(name: str, wanted: Sequence[str], found: Sequence[str]) -> None:
    missing = [f"{column!r} ({nearest(column, found)})" for column in wanted if column not in found]
    if missing:
        raise DataError(f"{name}: no column {', no column '.join(missing)}")
    twice = sorted({column for column in wanted if list(found).count(column) > 1})
    if twice:
        raise DataError(f"{name}: expected each column once, found {', '.join(twice)} more than once")


def _read_csv(
    name: str, data: bytes, wanted: Sequence[str]
) -> tuple[dict[str, list[Any]], list[int], tuple[BadRow, ...]]:
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise DataError(
            f"{name}: line {line}: expected UTF-8 text, found the byte 0x{data[error.start]:02x} (another encoding?)"
        ) from error
    records = _records(name, text)
    _, header = next(records, (0, []))
    if not header:
        raise DataError(f"{name}: expected a header line with column names, found an empty file")
    header = [column.strip() for column in header]
    _require(name, wanted, header)
    return _collect(name, header, wanted, records)


def _records(name: str, text: str) -> Iterator[tuple[int, list[str]]]:
    """(line, fields) of each record; empty lines are left out."""
    first = text.split("\n", 1)[0]
    separator = max(",;\t", key=first.count)
    reader = csv.reader(io.StringIO(text, newline=""), delimiter=separator)
    line = 1
    try:
        for fields in reader:
            if fields:
                yield line, fields
            line = reader.line_num + 1
    except csv.Error as error:
        raise DataError(f"{name}: line {line}: not readable as CSV: {error}") from error


def _collect(
    name: str, header: Sequence[str], wanted: Sequence[str], records: Iterator[tuple[int, list[str]]]
) -> tuple[dict[str, list[Any]], list[int], tuple[BadRow, ...]]:
    width, places = len(header), [header.index(column) for column in wanted]
    kept: list[list[str]] = []
    lines: list[int] = []
    bad: list[BadRow] = []
    for line, fields in records:
        if len(fields) == width:
            kept.append([fields[place] for place in places])
            lines.append(line)
        else:
            bad.append(BadRow(name, line, WRONG_FIELDS, ",".join(fields)[:500]))
    columns: dict[str, list[Any]] = {column: [row[i] for row in kept] for i, column in enumerate(wanted)}
    return columns, lines, tuple(bad)


def _read_parquet(name: str, data: bytes, wanted: Sequence[str]) -> tuple[dict[str, Any], range, tuple[BadRow, ...]]:
    import pyarrow
    import pyarrow.parquet

    try:
        file = pyarrow.parquet.ParquetFile(io.BytesIO(data))
        _require(name, wanted, file.schema_arrow.names)
        table = file.read(columns=list(wanted))
    except (pyarrow.ArrowException, OSError) as error:
        raise DataError(f"{name}: expected a Parquet file, found {len(data)} bytes that are not: {error}") from error
    columns = {column: _arrow_column(table.column(column)) for column in wanted}
    return columns, range(1, table.num_rows + 1), ()


def _arrow_column(column: Any) -> npt.NDArray[np.float64] | list[Any]:
    """Numbers as floats (null: NaN); anything else as Python values. Times come as datetimes, nanoseconds cut off."""
    import pyarrow
    import pyarrow.types as kinds

    if kinds.is_integer(column.type) or kinds.is_floating(column.type) or kinds.is_decimal(column.type):
        return floats_of(column)
    if kinds.is_timestamp(column.type):
        column = column.cast(pyarrow.timestamp("us", column.type.tz), safe=False)
    values: list[Any] = column.to_pylist()
    return values


def part_of_rows(name: str, rows: Any, wanted: Sequence[str]) -> RawPart:
    """What a function gave, a pandas DataFrame or an iterable of mappings, as a part. DataError."""
    columns = _frame_columns(name, rows, wanted) if hasattr(rows, "columns") else _row_columns(name, rows, wanted)
    size = len(next(iter(columns.values())))
    return RawPart(name, "", 0, columns, range(1, size + 1))


def _frame_columns(name: str, frame: Any, wanted: Sequence[str]) -> dict[str, Any]:
    _require(name, wanted, [str(column) for column in frame.columns])
    found: dict[str, Any] = {}
    for column in wanted:
        values = frame[column]
        number = getattr(values.dtype, "kind", "O") in "iuf"
        found[column] = values.to_numpy(dtype="float64", na_value=float("nan")) if number else values.tolist()
    return found


def _row_columns(name: str, rows: Any, wanted: Sequence[str]) -> dict[str, list[Any]]:
    try:
        listed = [dict(row) for row in rows]
    except (TypeError, ValueError) as error:
        kind = type(rows).__name__
        raise DataError(f"{name}: expected a DataFrame or an iterable of mappings, got {kind}: {error}") from error
    _require(name, wanted, list(dict.fromkeys(key for row in listed for key in row)))
    return {column: [row.get(column) for row in listed] for column in wanted}


READERS = {".csv": _read_csv, ".parquet": _read_parquet}
