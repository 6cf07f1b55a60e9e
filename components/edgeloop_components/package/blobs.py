"""Content-addressed files of an image layout: named by the sha256 of their bytes, written once, verified when read.

A blob gets its name only when it is whole and on disk. Refuses digests of another kind than sha256, a blob whose bytes are
not what its name says, and, as StorageError with the way out, a disk that is full or cannot be written.
"""

from __future__ import annotations

import contextlib
import errno
import fcntl
import hashlib
import os
import re
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import IO, BinaryIO

from edgeloop_components.package.layers import PackageError

__all__ = [
    "LayoutError",
    "StorageError",
    "blob_path",
    "copy_blob",
    "hash_file",
    "keep",
    "new_file",
    "read_blob",
    "storing",
    "write_bytes",
]

CHUNK_BYTES = 1 << 20
_ROOM = "make room there, or choose a folder on another disk; nothing half-written was left"
_HINTS = {
    errno.ENOSPC: _ROOM,
    errno.EDQUOT: _ROOM,
    errno.EFBIG: "raise this process's limit of file sizes (ulimit -f); nothing half-written was left",
    errno.EROFS: "choose a folder that can be written",
}


class LayoutError(PackageError):
    """An image layout is not what it should be: a blob is missing or damaged, or a document breaks the OCI form."""


class StorageError(LayoutError):
    """What should be written cannot be: the disk is full, over its quota or read-only. `hint` names the way out."""

    def __init__(self, text: str, hint: str) -> None:
        super().__init__(text)
        self.hint = hint


@contextlib.contextmanager
def storing(path: Path, part: Path | None = None) -> Iterator[None]:
    """StorageError with the name of what is written, `path`, for a disk that does not take it; `part` is then removed."""
    try:
        yield
    except OSError as error:
        if error.errno not in _HINTS:
            raise
        if part is not None:
            with contextlib.suppress(OSError):
                part.unlink()
        raise StorageError(f"{path}: cannot be written: {error.strerror}", _HINTS[error.errno]) from error


def blob_path(layout: Path, digest: str) -> Path:
    """Where the blob of that digest is. LayoutError for anything but `sha256:<64 hex digits>`."""
    if not re.fullmatch("sha256:[0-9a-f]{64}", digest):
        raise LayoutError(f"{layout}: expected a digest sha256:<64 hex digits>, found {digest[:80]!r}")
    return layout / "blobs" / "sha256" / digest.removeprefix("sha256:")


def read_blob(layout: Path, digest: str) -> bytes:
    """The blob's bytes, verified. For documents; layers are streamed."""
    path = existing(layout, digest)
    data = path.read_bytes()
    found = f"sha256:{hashlib.sha256(data).hexdigest()}"
    if found != digest:
        raise LayoutError(f"{path}: damaged: expected {digest}, found {found}; delete it and pull the image again")
    return data


def existing(layout: Path, digest: str) -> Path:
    """The blob's path; LayoutError when it is not there."""
    path = blob_path(layout, digest)
    if not path.exists():
        raise LayoutError(f"{layout}: blob {digest} is not there; pull or package the image again")
    return path


def copy_blob(source: Path, destination: Path, digest: str) -> int:
    """Copies a blob between layouts; gives the bytes copied, 0 when it is there already.

    The part that an interrupted call left is used when it is the blob's start. LayoutError when the source is damaged.
    """
    target = blob_path(destination, digest)
    if target.exists():
        return 0
    origin = existing(source, digest)
    part = destination / ".parts" / target.name
    with storing(target, part):
        part.parent.mkdir(parents=True, exist_ok=True)
        return _copied(origin, part, target, digest)


def _copied(origin: Path, part: Path, target: Path, digest: str) -> int:
    with part.open("a+b") as out, origin.open("rb") as stream:
        fcntl.flock(out, fcntl.LOCK_EX)
        if target.exists():  # another process was faster
            return 0
        copied = _append_rest(stream, out)
        out.flush()
        if (found := hash_file(part)) != digest:
            out.truncate(0)
            raise LayoutError(f"{origin}: damaged: expected {digest}, found {found}; package the image again")
        keep(out, target)
    return copied


def _append_rest(stream: BinaryIO, out: IO[bytes]) -> int:
    """Appends to `out` what it lacks of `stream`; begins anew when what it has is not the start of `stream`."""
    out.seek(0)
    while chunk := out.read(CHUNK_BYTES):
        if stream.read(len(chunk)) != chunk:
            stream.seek(0)
            out.truncate(0)
            break
    return sum(out.write(chunk) for chunk in iter(lambda: stream.read(CHUNK_BYTES), b""))


def hash_file(path: Path) -> str:
    """`sha256:<hex>` of a file's bytes."""
    with path.open("rb") as stream:
        return f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"


@contextlib.contextmanager
def new_file(folder: Path) -> Iterator[IO[bytes]]:
    """A temporary file in `folder`; gone at the end unless `keep` gave it a name."""
    folder.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=folder, prefix=".new-", delete=False) as out:
        try:
            yield out
        finally:
            Path(out.name).unlink(missing_ok=True)


def keep(out: IO[bytes], target: Path) -> None:
    """Gives a written file its final name on the same file system; its bytes are on disk before the name shows them."""
    out.flush()
    os.fsync(out.fileno())
    target.parent.mkdir(parents=True, exist_ok=True)
    Path(out.name).chmod(0o644)
    Path(out.name).replace(target)


def write_bytes(path: Path, data: bytes) -> None:
    """Writes a small file atomically."""
    with storing(path), new_file(path.parent) as out:
        out.write(data)
        keep(out, path)
