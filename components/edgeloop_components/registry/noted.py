"""Remembers in a layout which repository of a registry got which blob, so that another repository can mount it from there.

A note is a hint: when it is wrong, the registry opens an upload instead and the blob is sent. A layout that cannot be written
(read-only, a full disk) keeps none, which is said once.
"""

from __future__ import annotations

import hashlib
import json
from pathlib import Path

from edgeloop_components.package.blobs import StorageError, write_bytes
from edgeloop_components.registry.documents import Descriptor
from edgeloop_components.registry.progress import Say
from edgeloop_contracts import canonical

__all__ = ["Noted"]

LEAST_BYTES = 16 << 10  # smaller blobs are sent again rather than looked for elsewhere
MOST_REPOSITORIES = 8  # each is named when a token is asked for


class Noted:
    """The notes of a layout about one registry."""

    def __init__(self, layout: Path, registry: str) -> None:
        self._path = layout / ".pushed" / f"{hashlib.sha256(registry.encode()).hexdigest()[:16]}.json"
        self._notes: dict[str, str] = {}
        self._failed = False
        try:
            found = json.loads(self._path.read_bytes())
            self._notes = {str(key): str(value) for key, value in found.items()}
        except (OSError, ValueError, AttributeError):
            return  # no notes, or none that can be read: blobs are sent

    def where(self, blob: Descriptor, here: str) -> str:
        """Another repository that has the blob; '' when none is known."""
        found = self._notes.get(blob.digest, here)
        return found if found != here and blob.size >= LEAST_BYTES and found in self.others(here) else ""

    def others(self, here: str) -> tuple[str, ...]:
        """The repositories that blobs may be mounted from."""
        return tuple(sorted(set(self._notes.values()) - {here}))[:MOST_REPOSITORIES]

    def note(self, blob: Descriptor, here: str) -> None:
        """The repository `here` has the blob now."""
        if blob.size >= LEAST_BYTES:
            self._notes.setdefault(blob.digest, here)

    def keep(self, say: Say) -> None:
        """Writes the notes, or says once why not."""
        if self._failed:
            return
        try:
            write_bytes(self._path, canonical(self._notes))
        except (OSError, StorageError) as error:
            self._failed = True
            say(f"warning: not noted what was sent, so another repository gets it sent again: {error}")
