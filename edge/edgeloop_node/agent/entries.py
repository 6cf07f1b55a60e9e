"""What the spool keeps: a report's text with the key that finds it, and what must be known of a version to count labels."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeloop_node.agent.core import Key

__all__ = ["Entry", "Version", "entry_of"]


@dataclass(frozen=True)
class Entry:
    """A report as the spool keeps it: its key and sequence, and its JSON text."""

    key: Key
    sequence: int
    window_end_s: int
    body: str

    @property
    def size_bytes(self) -> int:
        return len(self.body.encode())


@dataclass(frozen=True)
class Version:
    """What must be known of a served version to count its labels."""

    loop: str
    version: int
    schema_hash: str
    window_s: int
    image: str
    classes: tuple[str, ...]
    group: str = ""  # of the server that served it


def _of(document: Mapping[str, Any], name: str, kind: type) -> Any:
    value = document.get(name)
    if type(value) is not kind:
        raise ValueError(f"report.{name}: expected {kind.__name__}, got {value!r}")
    return value


def entry_of(document: Any) -> Entry:
    """A report document as an entry. ValueError when what the spool needs of it is missing."""
    if not isinstance(document, Mapping) or document.get("kind") != "Report":
        raise ValueError(f"report: expected a document of kind Report, got {str(document)[:80]}")
    key = (
        _of(document, "loop", str),
        _of(document, "boot", str),
        _of(document, "window_start_s", int),
        _of(document, "version", int),
        _of(document, "schema_hash", str),
    )
    text = json.dumps(document, separators=(",", ":"), ensure_ascii=False)
    return Entry(key, _of(document, "sequence", int), _of(document, "window_end_s", int), text)
