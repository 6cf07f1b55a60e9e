"""What was fetched once: archives by their sha256 in the user's cache, and what they hold, expanded once.

A file gets its name when it is whole, and only under the hash of its bytes. An expanded archive's files have numbers for
names, so no path in an archive can lead anywhere. Refuses bytes that are not what the name says.
"""

from __future__ import annotations

import hashlib
import json
import os
import tempfile
from collections.abc import Callable, Iterable, Iterator
from dataclasses import asdict, dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from edgeloop_components.package.blobs import keep, new_file, write_bytes
from edgeloop_components.package.layers import PackageError

__all__ = ["Member", "expanded", "folder", "inside", "put"]


@dataclass(frozen=True)
class Member:
    """One entry of an expanded archive. `kind`: file, link (symbolic, to `target`) or folder; `source` holds a file's bytes."""

    path: str
    kind: str
    mode: int = 0o644
    target: str = ""
    source: str = ""
    sha256: str = ""
    size_bytes: int = 0


def folder(name: str) -> Path:
    """A folder of edgeloop's cache: EDGELOOP_CACHE, else `edgeloop` in XDG_CACHE_HOME or ~/.cache."""
    home = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    path = Path(os.environ.get("EDGELOOP_CACHE") or Path(home, "edgeloop"), name)
    path.mkdir(parents=True, exist_ok=True)
    return path


def put(source: Path, target: Path, sha256: str) -> Path:
    """Copies a fetched file into the cache under its final name. PackageError when it is not what the lock says."""
    with source.open("rb") as stream:
        found = hashlib.file_digest(stream, "sha256").hexdigest()
    if found != sha256:
        raise PackageError(f"{source.name}: expected sha256 {sha256} of the lock, found {found}; it is not used")
    with new_file(target.parent) as out, source.open("rb") as stream:
        out.write(stream.read())
        keep(out, target)
    return target


def inside(path: str, where: str) -> str:
    """A member's path without leading `./`. PackageError when it would lead out."""
    parts = PurePosixPath(path)
    if parts.is_absolute() or ".." in parts.parts or "\0" in path or "\\" in path:
        raise PackageError(f"{where}: member {path!r}: expected a path inside, found one that leads out")
    return parts.as_posix()


def expanded(archive: Path, sha256: str, read: Callable[[Path], Iterable[tuple[Member, bytes]]]) -> list[Member]:
    """What an archive holds, its files beside one another in the cache; `read` is called the first time only."""
    place = folder("expanded") / sha256
    index = place / "index.json"
    if not index.exists():
        _expand(archive, place, read)
    return [_member(place, entry) for entry in json.loads(index.read_bytes())]


def _member(place: Path, entry: dict[str, Any]) -> Member:
    return Member(**{**entry, "source": str(place / entry["source"]) if entry["source"] else ""})


def _expand(archive: Path, place: Path, read: Callable[[Path], Iterable[tuple[Member, bytes]]]) -> None:
    with tempfile.TemporaryDirectory(dir=place.parent, prefix=".new-") as temporary:
        made = Path(temporary, "made")
        made.mkdir()
        members = list(_stored(read(archive), made))
        write_bytes(made / "index.json", json.dumps([asdict(member) for member in members]).encode())
        try:
            made.rename(place)
        except OSError:
            if not (place / "index.json").exists():  # else another process was faster, with the same files
                raise


def _stored(members: Iterable[tuple[Member, bytes]], made: Path) -> Iterator[Member]:
    for number, (member, data) in enumerate(members):
        if member.kind != "file":
            yield member
            continue
        (made / str(number)).write_bytes(data)
        facts = {"source": str(number), "sha256": hashlib.sha256(data).hexdigest(), "size_bytes": len(data)}
        yield Member(**{**asdict(member), **facts})
