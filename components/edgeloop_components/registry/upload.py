"""Brings one blob into a repository: not at all when it is there, mounted from another repository, whole, or in chunks.

A large blob goes in chunks, so that after a cut connection the registry is asked how far it got and only the rest is sent. The
registry names the blob when it has compared the digest; nothing of a broken upload is ever seen.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator
from pathlib import Path

from edgeloop_components.registry.documents import Descriptor
from edgeloop_components.registry.errors import DeniedError, RegistryError, TransientError, UnsoundError
from edgeloop_components.registry.repository import Repository

__all__ = ["put_blob"]

PIECE_BYTES = 1 << 18
MOST_ANEW = 2  # uploads that the registry refused in the end, of one blob
Moved = Callable[[int], None]


def put_blob(
    to: Repository, blob: Descriptor, path: Path, *, mount_from: str = "", moved: Moved = lambda _: None
) -> str:
    """Stores the blob whose bytes are at `path`; gives how: `there`, `mounted` or `sent`.

    `moved` is told the bytes that went across. RegistryError when it cannot be done.
    """
    if to.has(blob):
        return "there"
    upload = _Upload(to, blob, path, mount_from, moved)
    return to.transport.retrying(upload.attempt)


class _Upload:
    """An upload and how far it got, from one attempt to the next."""

    def __init__(self, to: Repository, blob: Descriptor, path: Path, mount_from: str, moved: Moved) -> None:
        self._to, self._blob, self._path, self._mount, self._moved = to, blob, path, mount_from, moved
        self._place, self._at, self._anew, self._chunk = "", 0, 0, to.settings.chunk_bytes

    def attempt(self) -> str:
        """Goes on where the attempt before stopped; `mounted` or `sent`."""
        began = self._at
        try:
            if self._place:
                self._ask()
            return "mounted" if not self._place and self._begin() else self._send()
        except TransientError as error:
            error.moved = self._at > began
            if self._to.shows(self._blob):  # the answer was lost, not the blob
                return "sent"
            raise

    def _send(self) -> str:
        try:
            while self._blob.size - self._at > self._chunk:
                self._send_chunk()
            self._to.finish(self._place, self._blob, lambda: self._pieces(self._blob.size), self._blob.size - self._at)
        except (TransientError, DeniedError, UnsoundError):
            raise
        except RegistryError as error:  # it has forgotten the upload, or got other bytes of it than it says
            self._place, self._anew = "", self._anew + 1
            if self._anew > MOST_ANEW:
                raise
            raise TransientError(str(error)) from error
        return "sent"

    def _begin(self) -> bool:
        """Opens an upload; True when the blob was mounted instead."""
        query = f"?mount={self._blob.digest}&from={self._mount}" if self._mount else ""
        url, self._mount, self._at = self._to.url(f"blobs/uploads/{query}"), "", 0
        with self._to.transport.asking("POST", url, expected=(201, 202), scopes=self._to.scopes) as answer:
            if answer.status == 201:
                return True
            least = answer.header("OCI-Chunk-Min-Length")
            self._chunk = max(self._chunk, int(least) if re.fullmatch(r"\d{1,9}", least, re.ASCII) else 0)
            self._place = self._to.transport.located(answer.url, answer.header("Location"))
        return False

    def _ask(self) -> None:
        """How far the registry got. What it has forgotten is begun anew."""
        try:
            with self._to.transport.asking("GET", self._place, expected=(204,), scopes=self._to.scopes) as answer:
                self._at = _after(answer.header("Range"), self._blob.size)
                if answer.header("Location"):
                    self._place = self._to.transport.located(self._place, answer.header("Location"))
        except TransientError:
            raise
        except RegistryError:
            self._place = ""

    def _send_chunk(self) -> None:
        end = self._at + self._chunk
        headers = {
            "Content-Type": "application/octet-stream",
            "Content-Length": str(self._chunk),
            "Content-Range": f"{self._at}-{end - 1}",
        }
        with self._to.transport.asking(
            "PATCH",
            self._place,
            expected=(202, 204),
            scopes=self._to.scopes,
            headers=headers,
            body=lambda: self._pieces(end),
        ) as answer:
            self._place = self._to.transport.located(answer.url, answer.header("Location"))
            self._to.sent_bytes += self._chunk
            self._at = end

    def _pieces(self, end: int) -> Iterator[bytes]:
        with self._path.open("rb") as stream:
            stream.seek(at := self._at)
            while at < end:
                piece = stream.read(min(PIECE_BYTES, end - at))
                if not piece:
                    raise UnsoundError(
                        f"{self._path}: expected {self._blob.size} bytes, found {at}; package the image again"
                    )
                at += len(piece)
                yield piece
                self._moved(len(piece))


def _after(span: str, size: int) -> int:
    """`0-1023` says that 1024 bytes are there; some say `0-0` for none. What cannot be is begun from 0."""
    found = re.fullmatch(r"(?:bytes=)?0-(\d{1,15})", span, re.ASCII)
    at = int(found[1]) + 1 if found and found[1] != "0" else 0
    return at if at <= size else 0
