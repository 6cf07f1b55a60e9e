"""Rows from a CSV file, for a model that comes without data: its features by name or in order, and labels where there are any.

Refuses a file without rows, without a feature, or with a cell that is no number, naming file, line and column.
"""

from __future__ import annotations

import csv
import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Calibration", "CalibrationError", "read_rows"]

MISSING = ("", "nan", "na", "null")
LABELS = ("label", "target", "class", "y")


class CalibrationError(ValueError):
    """The file is not rows of the model."""


@dataclass(frozen=True)
class Calibration:
    """Rows float32 [n, features]; `labels` [n] are texts, None where the file has no column of them."""

    rows: npt.NDArray[np.float32]
    labels: tuple[str, ...] | None

    def truth(self, classes: Sequence[str]) -> npt.NDArray[np.int64] | None:
        """Places of the labels among the classes; -1 where it is none of them. None without labels."""
        import numpy as np

        if self.labels is None:
            return None
        places: Mapping[str, int] = {name: place for place, name in enumerate(classes)}
        return np.array([places.get(_plain(label), -1) for label in self.labels], dtype=np.int64)


def _plain(label: str) -> str:
    """3.0 is the class 3."""
    return label.removesuffix(".0")


def read_rows(path: Path, features: Sequence[str]) -> Calibration:
    """The rows of a CSV file with or without a head. CalibrationError, OSError."""
    import numpy as np

    with path.open(newline="", encoding="utf-8-sig") as file:
        lines = [line for line in csv.reader(file) if line]
    if not lines:
        raise CalibrationError(f"{path}: expected rows of {len(features)} numbers, found none")
    named = any(not _is_number(cell) for cell in lines[0])
    columns, label = _columns(path, lines[0], features) if named else (list(range(len(features))), None)
    body = lines[1:] if named else lines
    first = 2 if named else 1
    if not named and len(lines[0]) == len(features) + 1:
        label = len(features)
    rows = [_row(path, number, line, columns) for number, line in enumerate(body, first)]
    if not rows:
        raise CalibrationError(f"{path}: expected rows under the head, found none")
    labels = tuple(line[label].strip() for line in body) if label is not None else None
    return Calibration(np.array(rows, dtype=np.float32), labels)


def _columns(path: Path, head: Sequence[str], features: Sequence[str]) -> tuple[list[int], int | None]:
    """Where the features stand, by name, else in order; and where labels do."""
    names = [name.strip() for name in head]
    label = next((place for place, name in enumerate(names) if name.lower() in LABELS), None)
    if all(name in names for name in features):
        return [names.index(name) for name in features], label
    others = [place for place in range(len(names)) if place != label]
    if len(others) != len(features):
        raise CalibrationError(
            f"{path}: expected columns {', '.join(features[:8])} or {len(features)} in their order, found {', '.join(names[:8])}"
        )
    return others, label


def _row(path: Path, number: int, line: Sequence[str], columns: Sequence[int]) -> list[float]:
    try:
        return [_number(line[column]) for column in columns]
    except (ValueError, IndexError) as error:
        raise CalibrationError(
            f"{path}:{number}: expected {len(columns)} numbers, found {','.join(line)[:60]!r}"
        ) from error


def _number(cell: str) -> float:
    return math.nan if cell.strip().lower() in MISSING else float(cell)


def _is_number(cell: str) -> bool:
    try:
        _number(cell)
    except ValueError:
        return False
    return True
