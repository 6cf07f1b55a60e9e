"""Files that survive a power cut, and Unix sockets whose path is too long for the kernel."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from pathlib import Path

__all__ = ["remove", "socket_address", "write_atomic"]

LONGEST_SOCKET_PATH_BYTES = 107  # sockaddr_un holds 108, the last of them 0


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def write_atomic(path: Path, data: bytes) -> None:
    """Writes the whole file or nothing: temp file in the same folder, fsync, rename, fsync of the folder. OSError."""
    handle, name = tempfile.mkstemp(dir=path.parent, prefix=f".{path.name}.", suffix=".tmp")
    try:
        with os.fdopen(handle, "wb") as file:
            file.write(data)
            file.flush()
            os.fchmod(file.fileno(), 0o644)  # server and agent may run as different users
            os.fsync(file.fileno())
        os.replace(name, path)  # noqa: PTH105
    except BaseException:
        remove(Path(name))
        raise
    _sync_folder(path.parent)


def remove(path: Path) -> None:
    """Removes a file; one that is gone already is fine."""
    path.unlink(missing_ok=True)


@contextlib.contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """A name for `path` that fits into a socket address: the path itself, or one through an open folder."""
    if len(os.fsencode(path)) <= LONGEST_SOCKET_PATH_BYTES:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
