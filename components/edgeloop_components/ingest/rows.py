"""The rows of a snapshot: written once as Parquet, read by training and validation, and encoded as the model takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_components.ingest.arrow import floats_of, number_array, text_array, time_array, whole_numbers_of
from edgeloop_components.ingest.check import CleanRows
from edgeloop_components.ingest.parts import DataError
from edgeloop_components.ingest.values import text_of
from edgeloop_contracts import Column, FeatureReference, Snapshot, loads

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Rows", "encode", "read_rows", "write_rows"]

ROWS, SNAPSHOT = "rows.parquet", "snapshot.json"


@dataclass(frozen=True)
class Rows:
    """A snapshot with its rows, in canonical order: the oldest first where rows have times."""

    snapshot: Snapshot
    table: Any  # pyarrow.Table

    def __len__(self) -> int:
        return int(self.table.num_rows)

    def column(self, name: str) -> Column:
        """What the snapshot says of a column. DataError when it has none of that name."""
        for column in self.snapshot.columns:
            if column.name == name:
                return column
        known = ", ".join(column.name for column in self.snapshot.columns)
        raise DataError(f"snapshot {self.snapshot.digest[:19]}: expected a column {name!r}, found {known}")

    def numbers(self, name: str) -> npt.NDArray[np.float64]:
        """A number column; NaN is missing."""
        return floats_of(self.table.column(name))

    def texts(self, name: str) -> npt.NDArray[np.object_]:
        """A column as texts (None: missing), numbers in one form of text."""
        import numpy as np

        return np.array([text_of(value) for value in self.table.column(name).to_pylist()], dtype=object)

    def codes(self, name: str, categories: Sequence[str]) -> npt.NDArray[np.float64]:
        """Places in `categories`; -1 for a text that is not among them, NaN for a missing one."""
        import numpy as np

        place: dict[str | None, float] = {text: float(code) for code, text in enumerate(categories)}
        place[None] = np.nan
        texts = self.texts(name)
        return np.fromiter((place.get(text, -1.0) for text in texts), dtype=np.float64, count=len(texts))

    def times_s(self) -> npt.NDArray[np.float64] | None:
        """Unix seconds of each row, or None where rows have no time."""

        name = self.snapshot.time
        if not name:
            return None
        return whole_numbers_of(self.table.column(name)) / 1e6

    def nodes(self) -> npt.NDArray[np.int64]:
        """A number for each row that is the same for rows of the same node; zeros where rows have no node."""
        import numpy as np

        name = self.snapshot.node
        if not name:
            return np.zeros(len(self), dtype=np.int64)
        _, codes = np.unique(self.texts(name).astype(str), return_inverse=True)
        return codes.astype(np.int64)


def encode(rows: Rows, features: Sequence[Column | FeatureReference]) -> npt.NDArray[np.float64]:
    """The matrix [rows, features] that a node would make of these rows: numbers, category codes, NaN for missing.

    `features` say names, kinds and categories; a number column that is taken as a category goes by its text. DataError when
    a feature has no column, or is a number and its column is not.
    """
    import numpy as np

    matrix = np.empty((len(rows), len(features)), dtype=np.float64)
    for i, feature in enumerate(features):
        numeric, found = feature.kind == "number", rows.column(feature.name).kind
        if numeric and found != "number":
            raise DataError(f"column {feature.name}: expected numbers, the snapshot has texts")
        matrix[:, i] = rows.numbers(feature.name) if numeric else rows.codes(feature.name, feature.categories)
    return matrix


def read_rows(folder: Path) -> Rows:
    """The snapshot in a folder. DataError, ContractError."""
    import pyarrow.parquet

    try:
        snapshot = loads(Snapshot, (folder / SNAPSHOT).read_bytes())
        table = pyarrow.parquet.ParquetFile(folder / ROWS).read()
    except OSError as error:
        raise DataError(f"{folder}: expected a snapshot ({SNAPSHOT} and {ROWS}): {error}") from error
    if table.num_rows != snapshot.rows:
        raise DataError(f"{folder}: {SNAPSHOT} says {snapshot.rows} rows, {ROWS} has {table.num_rows}")
    return Rows(snapshot, table)


def write_rows(path: Path, time_name: str, clean: CleanRows) -> None:
    """Writes clean rows as Parquet: the time first (microseconds, UTC), numbers as float64, the rest as text."""
    import pyarrow
    import pyarrow.parquet

    arrays: dict[str, Any] = {}
    if clean.time_us is not None:
        arrays[time_name] = time_array(clean.time_us)
    for column in clean.columns:
        number = column.kind == "number"
        arrays[column.name] = number_array(column.values) if number else text_array(column.values, column.categories)
    pyarrow.parquet.write_table(pyarrow.table(arrays), path, compression="zstd")
