"""The port of the object store: what a store promises, its errors, and its keys. The adapters are beside it.

Keys are paths. Refuses a key that is empty, absolute, or has an empty, `.` or `..` part. A key must not also be the
folder of another one (`a` and `a/b`): file-like servers cannot hold both.
"""

from __future__ import annotations

import os
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Protocol

__all__ = ["NotFound", "Objects", "StoreError", "StoreUnavailable", "checked", "write_file"]


class StoreError(RuntimeError):
    """The object store refused; the message says what, where, and what to do."""


class StoreUnavailable(StoreError):  # noqa: N818
    """The object store did not answer in time."""


class NotFound(StoreError, KeyError):  # noqa: N818
    """No object has this key."""

    __str__ = RuntimeError.__str__  # KeyError would show the message in quotes


class Objects(Protocol):
    """A flat store of byte strings under keys. Every write is atomic: a reader sees the old object or the new one."""

    def get(self, key: str) -> bytes:
        """The object. NotFound."""

    def get_with_etag(self, key: str) -> tuple[bytes, str]:
        """The object and the tag of its content, for `put_if`. NotFound."""

    def put(self, key: str, data: bytes) -> None:
        """Writes, whatever was there."""

    def put_new(self, key: str, data: bytes) -> bool:
        """Writes when nothing has the key; False when something has. Of racing calls one gets True."""

    def put_if(self, key: str, data: bytes, etag: str) -> bool:
        """Writes when the object still has this etag; False when it changed or is gone. Of racing calls one wins."""

    def list(self, prefix: str) -> Iterator[str]:
        """The keys that begin with `prefix`, sorted."""

    def delete(self, key: str) -> None:
        """Removes the object; nothing happens when there is none."""

    def fget(self, key: str, path: Path) -> None:
        """Writes the object to a file, atomically. NotFound."""

    def fput(self, path: Path, key: str) -> None:
        """Writes a file's bytes, whatever was there."""


def checked(key: str) -> str:
    """The key, when it may be one; else ValueError."""
    if not key or any(part in ("", ".", "..") for part in key.split("/")):
        raise ValueError(f"expected a key such as catalog/x/1.json, without empty, '.' or '..' parts; got {key!r}")
    return key


def write_file(path: Path, chunks: Iterator[bytes]) -> None:
    """Writes a file atomically: it has the new bytes, all of them and on disk, or is as it was."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=path.parent, prefix=".new-", delete=False) as out:
        try:
            for chunk in chunks:
                out.write(chunk)
            out.flush()
            os.fsync(out.fileno())
            Path(out.name).replace(path)
        finally:
            Path(out.name).unlink(missing_ok=True)
