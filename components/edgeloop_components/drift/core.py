"""Compares two files of rows with Evidently: a page for people and the figures behind it.

It explains and decides nothing: the loop's own judge works on the counts that nodes report (`edgeloop_fleet.judge`), because
on real streams with seasons tests on inputs fire nearly always. Evidently's telemetry is switched off.
Refuses files that do not share the columns that are asked for.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["ColumnDrift", "DriftError", "compare"]


class DriftError(ValueError):
    """The files cannot be compared; the message says what is missing where."""


@dataclass(frozen=True)
class ColumnDrift:
    """One column: Evidently's method, its value, the threshold, and whether the value is beyond it."""

    column: str
    method: str
    value: float
    threshold: float
    drifted: bool


def compare(reference: Path, current: Path, columns: Sequence[str], page: Path) -> list[ColumnDrift]:
    """Writes Evidently's page and gives each column's drift, the largest first. DriftError; OSError."""
    os.environ["DO_NOT_TRACK"] = "1"  # before the import, which would report to its maker
    from evidently import DataDefinition, Dataset, Report
    from evidently.presets import DataDriftPreset

    before, after = _read(reference, columns), _read(current, columns)
    numbers = [name for name in columns if before[name].dtype.kind in "fiu"]
    definition = DataDefinition(
        numerical_columns=numbers, categorical_columns=[name for name in columns if name not in numbers]
    )
    data = [Dataset.from_pandas(frame, data_definition=definition) for frame in (after, before)]
    found = Report([DataDriftPreset()]).run(*data)  # the current one first
    part = page.with_name(f".{page.name}.part")
    found.save_html(str(part))
    part.replace(page)
    rows = [_column(metric) for metric in found.dict()["metrics"] if metric["config"].get("column")]
    return sorted(rows, key=lambda row: (not row.drifted, row.column))


def _read(path: Path, columns: Sequence[str]) -> pd.DataFrame:
    import pandas as pd

    frame = pd.read_parquet(path) if path.suffix == ".parquet" else pd.read_csv(path)
    missing = [name for name in columns if name not in frame.columns]
    if missing or frame.empty:
        raise DriftError(
            f"{path}: expected rows with the columns {', '.join(columns)}; missing: {', '.join(missing) or 'rows'}"
        )
    return frame[list(columns)]


def _column(metric: dict[str, Any]) -> ColumnDrift:
    config, value = metric["config"], float(metric["value"])
    method, threshold = str(config["method"]), float(config["threshold"])
    small_is_drift = "p_value" in method  # tests give the chance of no drift, distances grow with it
    return ColumnDrift(
        column=str(config["column"]),
        method=method,
        value=value,
        threshold=threshold,
        drifted=value < threshold if small_is_drift else value >= threshold,
    )
