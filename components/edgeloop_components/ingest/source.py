"""Finds the files of a data source: a file, a folder, s3://bucket/prefix/ or module:function.

Files are read in the order of their names. Names that begin with `.` or `_` are left out, as writers of Parquet put
their marks there. Refuses a source with no file in it, and a file that is neither CSV nor Parquet.
"""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path, PurePosixPath
from typing import TYPE_CHECKING

from edgeloop_components.ingest.named import thing_named
from edgeloop_components.ingest.parts import DataError, RawPart, part_of_rows, read_part

if TYPE_CHECKING:
    from edgeloop_components.stores.objects import Objects

    Connect = Callable[[str], Objects]

__all__ = ["read_source"]

_FUNCTION = re.compile(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*")
_FETCHES = 8  # objects that are read at the same time


def read_source(
    source: str, wanted: Sequence[str], objects: Objects | None, connect: Connect | None = None
) -> list[RawPart]:
    """All parts of a source. `objects` is the store's default bucket, `connect` gives another one. DataError, StoreError."""
    if source.startswith("s3://"):
        return list(_from_s3(source, wanted, objects, connect))
    if Path(source).exists():
        return [read_part(name, path.read_bytes(), wanted) for name, path in _files(Path(source))]
    if _FUNCTION.fullmatch(source):
        return [part_of_rows(source, thing_named(source, "data.source")(), wanted)]
    raise DataError(
        f"data.source: expected a CSV or Parquet file, a folder of them, s3://bucket/prefix/ or module:function; "
        f"found no file or folder {source!r} (looked in {Path.cwd()})"
    )


def _hidden(relative: PurePosixPath) -> bool:
    return any(part.startswith((".", "_")) for part in relative.parts)


def _files(source: Path) -> list[tuple[str, Path]]:
    if source.is_file():
        return [(source.name, source)]
    found = sorted((path.relative_to(source).as_posix(), path) for path in source.rglob("*") if path.is_file())
    files = [(name, path) for name, path in found if not _hidden(PurePosixPath(name))]
    if not files:
        raise DataError(f"data.source: expected CSV or Parquet files in the folder {source}, found none")
    return files


def _from_s3(source: str, wanted: Sequence[str], objects: Objects | None, connect: Connect | None) -> Iterator[RawPart]:
    from concurrent.futures import ThreadPoolExecutor

    bucket, _, prefix = source.removeprefix("s3://").partition("/")
    if not bucket:
        raise DataError(f"data.source: expected s3://bucket/prefix/, got {source!r}")
    store = _store(bucket, objects, connect)
    keys = [key for key in store.list(prefix) if _below(key, prefix)]
    if not keys:
        raise DataError(f"data.source: expected CSV or Parquet files under {source}, found none")
    with ThreadPoolExecutor(_FETCHES) as pool:
        for key, data in zip(keys, pool.map(store.get, keys), strict=True):
            yield read_part(key.removeprefix(prefix).lstrip("/") or PurePosixPath(key).name, data, wanted)


def _below(key: str, prefix: str) -> bool:
    """Whether a key is the prefix itself or below it as a folder; `turbines` does not mean `turbines-old/`."""
    if key.endswith("/") or not (key == prefix or key.startswith(prefix.rstrip("/") + "/") or not prefix):
        return False
    return key == prefix or not _hidden(PurePosixPath(key.removeprefix(prefix).lstrip("/")))


def _store(bucket: str, objects: Objects | None, connect: Connect | None) -> Objects:
    if objects is not None and bucket == (os.environ.get("EDGELOOP_BUCKET") or "edgeloop"):
        return objects
    if connect is not None:
        return connect(bucket)
    from edgeloop_components.stores.objects import connect as connect_by_environment

    return connect_by_environment(bucket)
