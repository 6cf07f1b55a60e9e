"""Fetches one blob into an image layout: the rest of a part that an interrupted pull left, verified before it gets its name.

Never reads more than the size that the manifest gives. What turns out to be something else is thrown away, and fetched whole
once more, since the part may have been damaged.
"""

from __future__ import annotations

import fcntl
import re
from collections.abc import Callable
from pathlib import Path
from typing import IO

from edgeloop_components.package.blobs import blob_path, hash_file, keep, storing
from edgeloop_components.registry.documents import Descriptor
from edgeloop_components.registry.errors import TransientError, UnsoundError
from edgeloop_components.registry.repository import Repository
from edgeloop_components.registry.transport import LEAST_BYTES_PER_S, Answer

__all__ = ["get_blob"]

SLOWEST_START_S = 60.0
Moved = Callable[[int], None]


def get_blob(source: Repository, blob: Descriptor, layout: Path, *, moved: Moved = lambda _: None) -> int:
    """Brings a blob into the layout; gives the bytes fetched, 0 when it is there. `moved` is told of them as they come."""
    target = blob_path(layout, blob.digest)
    if target.exists():
        return 0
    part = layout / ".parts" / target.name
    with storing(target, part):
        part.parent.mkdir(parents=True, exist_ok=True)
        return _fetched(source, blob, part, target, moved)


def _fetched(source: Repository, blob: Descriptor, part: Path, target: Path, moved: Moved) -> int:
    with part.open("a+b") as out:
        fcntl.flock(out, fcntl.LOCK_EX)
        if target.exists():  # another process was faster
            return 0
        before = source.got_bytes
        kept = _ready(out, blob)
        source.transport.retrying(lambda: _rest(source, blob, out, moved))
        if kept and hash_file(part) != blob.digest:  # what lay there was no part of this blob
            _empty(out)
            source.transport.retrying(lambda: _rest(source, blob, out, moved))
        if (found := hash_file(part)) != blob.digest:
            _empty(out)
            raise UnsoundError(
                f"{source.where}: blob: expected {blob.digest}, got {blob.size} bytes with the digest {found}"
            )
        keep(out, target)
    return source.got_bytes - before


def _ready(out: IO[bytes], blob: Descriptor) -> int:
    """Bytes of the part that can be used."""
    if out.seek(0, 2) > blob.size:
        _empty(out)
    return out.seek(0, 2)


def _empty(out: IO[bytes]) -> None:
    out.truncate(0)
    out.seek(0)


def _rest(source: Repository, blob: Descriptor, out: IO[bytes], moved: Moved) -> None:
    """Appends what the part lacks. TransientError when it was cut off; what came stays."""
    at = out.seek(0, 2)
    if at == blob.size:
        return
    headers = {"Range": f"bytes={at}-"} if at else {}
    url = source.url(f"blobs/{blob.digest}")
    with source.transport.asking("GET", url, expected=(200, 206, 416), scopes=source.scopes, headers=headers) as answer:
        if answer.status == 416:
            _empty(out)
            raise TransientError(f"{source.where}: blob {blob.digest}: the registry does not go on at byte {at}")
        if answer.status == 200 or _begins(answer) != at:
            _empty(out)
            if answer.status == 206:
                raise UnsoundError(f"{source.where}: blob {blob.digest}: asked for other bytes than the registry gave")
        _append(source, answer, blob, out, moved)


def _append(source: Repository, answer: Answer, blob: Descriptor, out: IO[bytes], moved: Moved) -> None:
    wanted = blob.size - (at := out.tell())
    if answer.length is not None and answer.length != wanted:
        _empty(out)
        raise UnsoundError(
            f"{source.where}: blob {blob.digest}: expected {wanted} bytes, the registry has {answer.length}"
        )
    try:
        for piece in answer.chunks(wanted, SLOWEST_START_S + wanted / LEAST_BYTES_PER_S):
            out.write(piece)
            source.got_bytes += len(piece)
            moved(len(piece))
    except TransientError as error:
        error.moved = out.tell() > at
        raise
    except UnsoundError:
        _empty(out)
        raise
    finally:
        out.flush()
    if out.tell() < blob.size:
        text = f"{source.where}: blob {blob.digest}: expected {blob.size} bytes, got {out.tell()}"
        raise TransientError(text, moved=out.tell() > at)


def _begins(answer: Answer) -> int:
    found = re.match(r"\s*bytes (\d{1,15})-", answer.header("Content-Range"), re.ASCII)
    return int(found[1]) if found else -1
