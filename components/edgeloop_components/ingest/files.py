"""Result folders that are filled wholly or not at all."""

from __future__ import annotations

import contextlib
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgeloop_contracts.codec import Contract, dumps

__all__ = ["filling", "write_document"]


@contextlib.contextmanager
def filling(out: Path) -> Iterator[Path]:
    """Gives a working folder; its files move to `out` when the block ends well, the last written one last.

    Files of other names in `out` stay. When the block fails, `out` is as it was: not there, if it was not.
    """
    existed = out.exists()
    out.mkdir(parents=True, exist_ok=True)
    work = Path(tempfile.mkdtemp(prefix=".filling-", dir=out))
    try:
        yield work
        for path in sorted(work.iterdir(), key=lambda p: (p.stat().st_mtime_ns, p.name)):
            _sync(path)
            path.replace(out / path.name)
        work.rmdir()
        _sync(out)
    except BaseException:
        shutil.rmtree(work if existed else out, ignore_errors=True)
        raise


def _sync(path: Path) -> None:
    handle = os.open(path, os.O_RDONLY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_document(path: Path, document: Contract) -> None:
    """Writes a contract as indented JSON. For files in a folder that `filling` guards."""
    path.write_text(dumps(document, indent=1) + "\n")
