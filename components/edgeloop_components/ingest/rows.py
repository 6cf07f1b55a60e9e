"""The rows of a snapshot: written once as Parquet, read by training and validation, and encoded as the model takes them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_components.ingest.check import CleanRows
from edgeloop_components.ingest.parts import DataError
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
        import numpy as np

        values: npt.NDArray[np.float64] = self.table.column(name).to_numpy().astype(np.float64)
        return values

    def texts(self, name: str) -> npt.NDArray[np.object_]:
        """A category or label column as texts (None: missing); numbers as text."""
        import numpy as np
        import pyarrow.compute

        column = self.table.column(name)
        values: npt.NDArray[np.object_] = pyarrow.compute.cast(column, "string").to_numpy(zero_copy_only=False)
        return values

    def codes(self, name: str, categories: Sequence[str]) -> npt.NDArray[np.float64]:
        """Places in `categories`; -1 for a text that is not among them, NaN for a missing one."""
        import numpy as np
        import pyarrow
        import pyarrow.compute

        column = self.table.column(name)
        known = pyarrow.array(list(categories), type=pyarrow.string())
        texts = pyarrow.compute.cast(column, "string")
        places = pyarrow.compute.index_in(texts, value_set=known, skip_nulls=True)
        found = pyarrow.compute.fill_null(places, -1).to_numpy().astype(np.float64)
        missing: npt.NDArray[np.bool_] = texts.is_null().to_numpy()
        return np.where(missing, np.nan, found)

    def times_s(self) -> npt.NDArray[np.float64] | None:
        """Unix seconds of each row, or None where rows have no time."""
        import numpy as np

        name = self.snapshot.time
        if not name:
            return None
        seconds: npt.NDArray[np.float64] = self.table.column(name).cast("int64").to_numpy() / 1e6
        return seconds.astype(np.float64)

    def nodes(self) -> npt.NDArray[np.int64]:
        """A number for each row that is the same for rows of the same node; zeros where rows have no node."""
        import numpy as np

        name = self.snapshot.node
        if not name:
            return np.zeros(len(self), dtype=np.int64)
        column = self.table.column(name).combine_chunks().dictionary_encode()
        codes: npt.NDArray[np.int64] = column.indices.to_numpy().astype(np.int64)
        return codes


def encode(rows: Rows, features: Sequence[Column | FeatureReference]) -> npt.NDArray[np.float64]:
    """The matrix [rows, features] that a node would make of these rows: numbers, category codes, NaN for missing.

    `features` say names, kinds and categories; a number column that is taken as a category goes by its text.
    """
    import numpy as np

    matrix = np.empty((len(rows), len(features)), dtype=np.float64)
    for i, feature in enumerate(features):
        rows.column(feature.name)
        numeric = feature.kind == "number"
        matrix[:, i] = rows.numbers(feature.name) if numeric else rows.codes(feature.name, feature.categories)
    return matrix


def read_rows(folder: Path) -> Rows:
    """The snapshot in a folder. DataError, ContractError."""
    import pyarrow.parquet

    try:
        snapshot = loads(Snapshot, (folder / SNAPSHOT).read_bytes())
        table = pyarrow.parquet.read_table(folder / ROWS)
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
        arrays[time_name] = pyarrow.array(clean.time_us).cast(pyarrow.timestamp("us", "UTC"))
    for column in clean.columns:
        if column.kind == "number":
            arrays[column.name] = pyarrow.array(column.values)
        else:
            codes = pyarrow.array(column.values, mask=column.missing)
            texts = pyarrow.array(list(column.categories), type=pyarrow.string())
            arrays[column.name] = pyarrow.DictionaryArray.from_arrays(codes, texts).cast(pyarrow.string())
    pyarrow.parquet.write_table(pyarrow.table(arrays), path, compression="zstd")
