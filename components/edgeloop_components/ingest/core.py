"""Ingest: reads the rows of a loop's data source and makes an immutable snapshot of them.

Writes rows.parquet (canonical order), quarantine.csv (bad rows: file, line, reason, text) and snapshot.json, all of them
or none. The snapshot's digest is that of the rows' values: equal rows in any files give an equal digest.
Refuses a source without a column that the loop names, and one of which more than half of the rows are bad.
"""

from __future__ import annotations

import csv
from collections.abc import Callable, Sequence
from dataclasses import replace
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_components.ingest.cells import Cells, digest_of_rows
from edgeloop_components.ingest.check import CleanRows, check_rows, wanted_columns
from edgeloop_components.ingest.files import filling, write_document
from edgeloop_components.ingest.parts import BadRow, DataError, RawPart
from edgeloop_components.ingest.rows import ROWS, SNAPSHOT, write_rows
from edgeloop_components.ingest.source import read_source
from edgeloop_contracts import Column, Loop, Snapshot, SnapshotPart

if TYPE_CHECKING:
    from edgeloop_components.stores.objects import Objects

__all__ = ["DataError", "ingest"]

QUARANTINE = "quarantine.csv"


def ingest(
    loop: Loop,
    out: Path,
    *,
    objects: Objects | None,
    now_s: float | None = None,
    parents: Sequence[str] = (),
    connect: Callable[[str], Objects] | None = None,
) -> Snapshot:
    """Makes a snapshot of the loop's data in the folder `out`.

    `objects` is the store's default bucket (None: only needed for s3:// sources), `connect` opens another one (default: by
    the environment). Rows after `now_s` (Unix seconds; None: no limit) are not looked at. `parents` are digests of the
    snapshots that this one grew from. DataError, NameProblem, StoreError; nothing is left in `out` then.
    """
    parts = read_source(loop.data.source, wanted_columns(loop), objects, connect)
    clean = check_rows(loop, parts, now_s)
    snapshot = _snapshot(loop, parts, clean, tuple(parents))
    with filling(out) as folder:
        write_rows(folder / ROWS, loop.data.time, clean)
        _write_quarantine(folder / QUARANTINE, clean.bad)
        write_document(folder / SNAPSHOT, snapshot)
    return snapshot


def _snapshot(loop: Loop, parts: Sequence[RawPart], clean: CleanRows, parents: tuple[str, ...]) -> Snapshot:
    digest = digest_of_rows(clean.time_us, clean.columns)
    times = clean.time_us
    return Snapshot(
        digest=digest,
        loop=loop.name,
        source=loop.data.source,
        rows=clean.rows,
        columns=tuple(_column(loop, cells) for cells in clean.columns),
        label=loop.data.label,
        time=loop.data.time,
        node=loop.data.node,
        start_s=None if times is None else int(times[0]) / 1e6,
        end_s=None if times is None else int(times[-1]) / 1e6,
        parts=tuple(_part(part, digest) for part in parts),
        parents=parents,
        duplicates=clean.duplicates,
        quarantined=clean.reasons,
        extra={"left_out": clean.left_out} if clean.left_out else {},
    )


def _part(part: RawPart, digest: str) -> SnapshotPart:
    """What a function gave has no bytes: its digest is that of the snapshot's rows."""
    rows = len(part.lines) + len(part.bad)
    return SnapshotPart(name=part.name, digest=part.digest or digest, rows=rows, size_bytes=part.size_bytes)


def _column(loop: Loop, cells: Cells) -> Column:
    missing = int(cells.missing.sum())
    if cells.kind == "category":
        if cells.name == loop.data.label and cells.numeric:
            numbers = [float(text) for text in cells.categories]
            return Column(name=cells.name, kind="number", missing=missing, minimum=min(numbers), maximum=max(numbers))
        return Column(name=cells.name, kind="category", missing=missing, categories=cells.categories)
    column = Column(name=cells.name, kind="number", missing=missing)
    present = cells.values[~cells.missing]
    return replace(column, minimum=float(present.min()), maximum=float(present.max())) if len(present) else column


def _write_quarantine(path: Path, bad: Sequence[BadRow]) -> None:
    with path.open("w", newline="", encoding="utf-8") as stream:
        writer = csv.writer(stream)
        writer.writerow(("file", "line", "reason", "row"))
        writer.writerows((row.file, row.line, row.reason, row.text) for row in bad)
