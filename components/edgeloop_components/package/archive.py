"""Unpacks layer archives that came from outside into a folder, trusting nothing that they say.

Only plain files and folders below the given folder are made. Refused, with the member's name: absolute paths, `..`,
links (no image made here has one, and a link could lead out), devices, whiteouts, and more bytes than a limit.
"""

from __future__ import annotations

import gzip
import hashlib
import shutil
import tarfile
from pathlib import Path, PurePosixPath
from typing import IO, cast

from edgeloop_components.package.blobs import CHUNK_BYTES, LayoutError

__all__ = ["MOST_BYTES", "extract"]

MOST_BYTES = 8 << 30  # of one unpacked layer


class _Hashing:
    """A source that hashes what is read from it."""

    def __init__(self, stream: IO[bytes]) -> None:
        self._stream, self._hash = stream, hashlib.sha256()

    def read(self, size: int = -1) -> bytes:
        data = self._stream.read(size)
        self._hash.update(data)
        return data

    def digest(self) -> str:
        """Of all bytes to the end, the unread ones included."""
        while self.read(CHUNK_BYTES):
            pass
        return f"sha256:{self._hash.hexdigest()}"


def extract(blob: Path, folder: Path, *, compressed: bool, digest: str, diff_id: str) -> None:
    """Unpacks one layer; LayoutError when the archive is unsafe or not what its two digests say.

    `digest` is that of the stored bytes, `diff_id` that of the plain tar. On an error the folder holds a part of the
    layer: the caller throws it away.
    """
    with blob.open("rb") as stream:
        stored = _Hashing(stream)
        inner = gzip.GzipFile(fileobj=cast("IO[bytes]", stored)) if compressed else stored
        plain = _Hashing(cast("IO[bytes]", inner))
        try:
            _members(plain, folder)
            found = {"the plain layer": (diff_id, plain.digest()), "the blob": (digest, stored.digest())}
        except (tarfile.TarError, EOFError, gzip.BadGzipFile, OSError) as error:
            raise LayoutError(f"{blob}: expected a whole tar archive{' (gzip)' * compressed}: {error}") from error
    for what, (expected, got) in found.items():
        if expected != got:
            raise LayoutError(f"{blob}: damaged: expected {expected} of {what}, found {got}; pull the image again")


def _members(plain: _Hashing, folder: Path) -> None:
    left_bytes = MOST_BYTES
    with tarfile.open(fileobj=cast("IO[bytes]", plain), mode="r|") as archive:
        for member in archive:
            left_bytes -= member.size
            target = folder / _safe(member, left_bytes)
            if member.isdir():
                target.mkdir(parents=True, exist_ok=True)
                continue
            target.parent.mkdir(parents=True, exist_ok=True)
            source = archive.extractfile(member)
            assert source is not None  # _safe lets plain files through only
            with target.open("wb") as out:
                shutil.copyfileobj(source, out, CHUNK_BYTES)
            target.chmod(0o555 if member.mode & 0o100 else 0o444)


def _safe(member: tarfile.TarInfo, left_bytes: int) -> PurePosixPath:
    """The member's path, when it may be made at all."""
    path = PurePosixPath(member.name)
    problems = {
        "an absolute path": path.is_absolute(),
        "a path with '..'": ".." in path.parts,
        "a path with a NUL or backslash": "\0" in member.name or "\\" in member.name,
        "a link or a special file": not (member.isreg() or member.isdir()),
        "a whiteout": path.name.startswith(".wh."),
        f"more than {MOST_BYTES} bytes": left_bytes < 0,
    }
    for problem, found in problems.items():
        if found:
            raise LayoutError(f"layer member {member.name!r}: expected a plain file or folder inside, found {problem}")
    return path
