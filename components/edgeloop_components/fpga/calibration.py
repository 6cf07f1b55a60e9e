"""Rows from a CSV file, for a model that comes without data: its features by name or in order, and labels where there are any.

Refuses a file without rows, without a feature, or with a cell that is no number, naming file and line; labels of other classes.
"""

from __future__ import annotations

import csv
import io
import math
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Calibration", "CalibrationError", "read_rows"]

MISSING = ("", "nan", "na", "null")
LABEL = "label"
SHOWN = 8  # of names in a message


class CalibrationError(ValueError):
    """The file is not rows of the model."""


@dataclass(frozen=True)
class Calibration:
    """Rows float32 [n, features]; `labels` [n] are texts, None where the file has no column of them. `source`: the file."""

    rows: npt.NDArray[np.float32]
    labels: tuple[str, ...] | None
    source: str = ""

    def truth(self, classes: Sequence[str]) -> npt.NDArray[np.int64] | None:
        """Places of the labels among the classes; -1 where it is none of them. None without labels.

        CalibrationError where none is a class: accuracy would not be looked at.
        """
        import numpy as np

        if self.labels is None:
            return None
        places: Mapping[str, int] = {name: place for place, name in enumerate(classes)}
        found = np.array([places.get(_plain(label), -1) for label in self.labels], dtype=np.int64)
        if (found < 0).all():
            raise CalibrationError(
                f"{self.source}: expected labels of the model's classes {_listed(classes)}, found {_listed(self.labels)}"
            )
        return found

    def remarks(self, classes: Sequence[str]) -> Iterator[str]:
        """On labels that are no classes, where others are."""
        others = [label for label in self.labels or () if _plain(label) not in classes]
        if others:
            yield (
                f"{self.source}: {len(others):,} of {len(self.rows):,} labels are none of the model's classes "
                f"{_listed(classes)}, such as {_listed(others)}: accuracy is that of the others"
            )


def _listed(names: Sequence[str]) -> str:
    distinct = list(dict.fromkeys(names))
    more = f" and {len(distinct) - SHOWN:,} more" if len(distinct) > SHOWN else ""
    return ", ".join(name[:40] or "''" for name in distinct[:SHOWN]) + more


def _plain(label: str) -> str:
    """3.0 is the class 3."""
    return label.removesuffix(".0")


def read_rows(path: Path, features: Sequence[str]) -> Calibration:
    """The rows of a CSV file with or without a head. CalibrationError, OSError."""
    import numpy as np

    lines = _lines(path)
    if not lines:
        raise CalibrationError(f"{path}: expected rows of {len(features)} numbers, found none")
    head = lines[0][1]
    named = any(not _is_number(cell) for cell in head)
    columns, label = _columns(path, head, features) if named else (list(range(len(features))), None)
    body = lines[1:] if named else lines
    if not named and len(head) == len(features) + 1:
        label = len(features)
    rows = np.array([_row(path, number, line, columns) for number, line in body], dtype=np.float32)
    if not len(rows):
        raise CalibrationError(f"{path}: expected rows under the head, found none")
    if np.isnan(rows).all():
        raise CalibrationError(f"{path}: expected numbers, found missing values only, in {len(rows):,} rows")
    labels = None if label is None else tuple(_label(path, number, line, label) for number, line in body)
    return Calibration(rows, labels, str(path))


def _lines(path: Path) -> list[tuple[int, list[str]]]:
    """Lines that hold anything, each with its number in the file."""
    content = path.read_bytes()
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        number = content.count(b"\n", 0, error.start) + 1
        raise CalibrationError(
            f"{path}:{number}: expected text in UTF-8, found the byte {content[error.start]:#04x}"
        ) from None
    reader = csv.reader(io.StringIO(text, newline=""))
    try:
        return [(reader.line_num, line) for line in reader if line]
    except csv.Error as error:
        raise CalibrationError(f"{path}:{reader.line_num}: expected CSV, found a line that is none: {error}") from None


def _columns(path: Path, head: Sequence[str], features: Sequence[str]) -> tuple[list[int], int | None]:
    """Where the features stand, by name, else in order; and where labels do."""
    names = [name.strip() for name in head]
    label = names.index(LABEL) if LABEL in names and LABEL not in features else None
    if all(name in names for name in features):
        return [names.index(name) for name in features], label
    others = [place for place in range(len(names)) if place != label]
    if len(others) != len(features):
        raise CalibrationError(
            f"{path}: expected columns {_listed(features)} or {len(features)} in their order, and `{LABEL}` where there are "
            f"labels, found {_listed(names)}"
        )
    return others, label


def _row(path: Path, number: int, line: Sequence[str], columns: Sequence[int]) -> list[float]:
    try:
        return [_number(line[column]) for column in columns]
    except (ValueError, IndexError) as error:
        raise CalibrationError(
            f"{path}:{number}: expected {len(columns)} numbers, found {','.join(line)[:60]!r}"
        ) from error


def _label(path: Path, number: int, line: Sequence[str], place: int) -> str:
    if place >= len(line):
        raise CalibrationError(
            f"{path}:{number}: expected a label in column {place + 1}, found {len(line)} columns: {','.join(line)[:60]!r}"
        )
    return line[place].strip()


def _number(cell: str) -> float:
    return math.nan if cell.strip().lower() in MISSING else float(cell)


def _is_number(cell: str) -> bool:
    try:
        _number(cell)
    except ValueError:
        return False
    return True
