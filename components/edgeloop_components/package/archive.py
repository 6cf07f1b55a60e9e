"""Unpacks layer archives that came from outside into a folder, trusting nothing that they say.

Only plain files, folders and links below the given folder are made, and nothing is written through a link. A symbolic link
of an image is meant for the image's own root, so an absolute one is made relative to it; one that climbs is refused.
Refused, with the member's name: absolute paths, `..`, devices, whiteouts. Refused, too: more bytes than a limit, a layer that
unpacks to hundreds of times what is stored of it, and what package/tarstream.py refuses.
"""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import os
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path, PurePosixPath
from typing import IO, cast

from edgeloop_components.package.blobs import CHUNK_BYTES, LayoutError
from edgeloop_components.package.tarstream import MOST_MEMBERS, Member, Source, TarStream

__all__ = ["MOST_BYTES", "MOST_IMAGE_BYTES", "extract", "extract_members", "inner_link", "members"]

MOST_BYTES = 8 << 30  # of one unpacked layer
MOST_IMAGE_BYTES = 24 << 30  # of all layers of an image
MOST_TIMES = 200  # of what is stored of a layer, that it may unpack to;
FREE_BYTES = 64 << 20  # and so much, whatever is stored


class _Hashing:
    """A source that hashes and counts what is read from it. LayoutError when it is more than `limit()` bytes."""

    def __init__(self, stream: Source, limit: Callable[[], float] = lambda: float("inf")) -> None:
        self._stream, self._hash, self._limit, self.count = stream, hashlib.sha256(), limit, 0

    def read(self, size: int = -1, /) -> bytes:
        data = self._stream.read(size)
        self._hash.update(data)
        self.count += len(data)
        if self.count > self._limit():
            raise LayoutError(f"layer: expected no more than {self._limit():.0f} bytes unpacked, found more")
        return data

    def digest(self) -> str:
        """Of all bytes to the end, the unread ones included."""
        while self.read(CHUNK_BYTES):
            pass
        return f"sha256:{self._hash.hexdigest()}"


def extract(blob: Path, folder: Path, *, compressed: bool, digest: str, diff_id: str, most_bytes: int) -> int:
    """Unpacks one layer and gives its files' bytes; LayoutError when the archive is unsafe or not what its two digests say.

    `digest` is that of the stored bytes, `diff_id` that of the plain tar. On an error the folder holds a part
    of the layer: the caller throws it away.
    """
    with _opened(blob, compressed=compressed, digest=digest, diff_id=diff_id, most_bytes=most_bytes) as plain:
        return extract_members(plain, folder, most_bytes)


def members(blob: Path, *, compressed: bool, digest: str, diff_id: str, most_bytes: int) -> Iterator[Member]:
    """The members of one layer that is not unpacked, under the same limits; at the end its digests are compared."""
    files_bytes = 0
    with _opened(blob, compressed=compressed, digest=digest, diff_id=diff_id, most_bytes=most_bytes) as plain:
        for member in TarStream(plain):
            files_bytes += member.size_bytes
            if files_bytes > most_bytes:
                raise LayoutError(f"layer: expected at most {most_bytes} bytes of files, found more")
            yield member


@contextlib.contextmanager
def _opened(blob: Path, *, compressed: bool, digest: str, diff_id: str, most_bytes: int) -> Iterator[_Hashing]:
    """The plain tar of a stored layer, with the limits on it; what was not read at the end is hashed, too."""
    with blob.open("rb") as stream:
        stored = _Hashing(stream)
        inner = gzip.GzipFile(fileobj=cast("IO[bytes]", stored)) if compressed else stored
        # with headers and padding a layer has more bytes than its files, seldom twice as many
        plain = _Hashing(inner, lambda: min(2 * most_bytes, max(FREE_BYTES, MOST_TIMES * stored.count)))
        try:
            yield plain
            found = {"the plain layer": (diff_id, plain.digest()), "the blob": (digest, stored.digest())}
        except (LayoutError, EOFError, zlib.error, OSError) as error:
            raise LayoutError(f"{blob}: expected a whole tar archive{' (gzip)' * compressed}: {error}") from error
    for what, (expected, got) in found.items():
        if expected != got:
            raise LayoutError(f"{blob}: damaged: expected {expected} of {what}, found {got}; pull the image again")


def extract_members(plain: Source, folder: Path, most_bytes: int) -> int:
    """Unpacks a plain tar stream into a folder that nothing else writes to; gives the files' bytes. LayoutError, OSError.

    A folder that no member names, but the path of one goes through, counts as a member.
    """
    archive, files_bytes, count = TarStream(plain), 0, 0
    for member in archive:
        files_bytes += member.size_bytes
        path = _safe(member, most_bytes, files_bytes)
        count += 1 + _implied(folder / path)
        if count > MOST_MEMBERS:
            raise LayoutError(f"layer: expected at most {MOST_MEMBERS} members and folders, found more")
        target = _place(folder, path)
        if member.kind == "folder":
            target.mkdir(exist_ok=True)
            continue
        _replace(target)
        if member.kind == "link":
            target.symlink_to(inner_link(path, member.target))
        elif member.kind == "hard link":
            os.link(_linked(folder, member), target)
        else:
            _write(archive, member, target)
    return files_bytes


def _write(archive: TarStream, member: Member, target: Path) -> None:
    with target.open("xb") as out:
        archive.copy_to(out.write)
    target.chmod(0o555 if member.mode & 0o100 else 0o444)


def inner_link(path: PurePosixPath, target: str) -> str:
    """A link's target as a relative path that stays in the image's root wherever that lies. LayoutError when it climbs.

    `..` only at the front and no more often than the link is deep: behind a name it could climb from where another link leads.
    """
    wanted = PurePosixPath(target)
    parts = [*[".."] * (len(path.parts) - 1), *wanted.parts[1:]] if wanted.is_absolute() else list(wanted.parts)
    climbs = next((i for i, part in enumerate(parts) if part != ".."), len(parts))
    if not target or "\0" in target or ".." in parts[climbs:] or climbs > len(path.parts) - 1:
        raise LayoutError(f"layer member {str(path)!r}: expected a link inside, found one to {target!r}")
    return "/".join(parts) or "."


def _linked(folder: Path, member: Member) -> Path:
    """The earlier plain file that a hard link names."""
    path = PurePosixPath(member.target)
    target = folder / path
    inside = not path.is_absolute() and ".." not in path.parts
    if not inside or _through_link(folder, path.parent) or target.is_symlink() or not target.is_file():
        raise LayoutError(
            f"layer member {member.name!r}: expected a hard link to a file of the layer, found one to {member.target!r}"
        )
    return target


def _through_link(folder: Path, path: PurePosixPath) -> bool:
    return any((folder / parent).is_symlink() for parent in (path, *path.parents))


def _implied(target: Path) -> int:
    """How many folders have to be made for it."""
    return next(i for i, parent in enumerate(target.parents) if parent.exists())


def _place(folder: Path, path: PurePosixPath) -> Path:
    """Where a member goes; its parents are made."""
    if _through_link(folder, path.parent):
        raise LayoutError(f"layer member {str(path)!r}: expected a path through folders, found one through a link")
    target = folder / path
    target.parent.mkdir(parents=True, exist_ok=True)
    return target


def _replace(target: Path) -> None:
    """Of two members of one name the later one counts; a folder is not replaced by something else."""
    if target.is_symlink() or not target.is_dir():
        target.unlink(missing_ok=True)


def _safe(member: Member, most_bytes: int, files_bytes: int) -> PurePosixPath:
    """The member's path, when it may be made at all."""
    path = PurePosixPath(member.name)
    problems = {
        "an absolute path": path.is_absolute(),
        "a path with '..'": ".." in path.parts,
        "a path with a NUL or backslash": "\0" in member.name or "\\" in member.name,
        "a special file": member.kind == "special",
        "a whiteout": path.name.startswith(".wh."),
        f"more than {most_bytes} bytes": files_bytes > most_bytes,
    }
    for problem, found in problems.items():
        if found:
            raise LayoutError(f"layer member {member.name!r}: expected a file, folder or link inside, found {problem}")
    return path
