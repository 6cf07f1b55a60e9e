"""What was placed, as a folder keeps it: `placed.gz`, its facts with its digest, and a certificate with the facts' digest.

Nothing is taken from a folder before both digests are found right. They find damage and edits of one file; whoever can write
the folder can also write all three anew, and only the signature of a package's certificate is proof against that.
"""

from __future__ import annotations

import gzip
import json
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeloop_components.fpga import digests
from edgeloop_contracts.fpga_board import CERTIFICATE_FILE

__all__ = ["FACTS", "FILES", "PLACED", "Damaged", "Kept", "read", "write"]

PLACED, FACTS = FILES = ("placed.gz", "placed-facts.json")


class Damaged(ValueError):  # noqa: N818 - it is read as a sentence
    """A file is not what was written: its digest is another one."""


@dataclass(frozen=True)
class Kept:
    """A placed design that its digests vouch for: facts as they were written, and the packed text."""

    facts: Mapping[str, Any]
    files: Mapping[str, bytes]  # by their names, FILES

    @property
    def digest(self) -> str:
        """Of the facts, as the certificate has it."""
        return digests.of_bytes(self.files[FACTS])

    @property
    def text(self) -> bytes:
        """The placed design, with placeholder images."""
        return gzip.decompress(self.files[PLACED])


def write(folder: Path, placed: bytes, facts: Mapping[str, Any]) -> str:
    """Keeps what was placed, in the same bytes for the same design; the digest of the facts, for the certificate."""
    packed = gzip.compress(placed, mtime=0)
    text = json.dumps({**facts, "placed": digests.of_bytes(packed)}, sort_keys=True) + "\n"
    (folder / PLACED).write_bytes(packed)
    (folder / FACTS).write_text(text)
    return digests.of_bytes(text.encode())


def read(folder: Path) -> Kept | None:
    """What a folder has placed; None where it has nothing. Damaged, with the file's name, expected and found."""
    if not (folder / FACTS).exists():
        return None
    facts, packed, certificate = (_content(folder / name) for name in (FACTS, PLACED, CERTIFICATE_FILE))
    _held(folder / FACTS, facts, _digest(folder / CERTIFICATE_FILE, certificate, "bitstream", "placed_facts"))
    _held(folder / PLACED, packed, _digest(folder / FACTS, facts, "placed"))
    return Kept(json.loads(facts), {PLACED: packed, FACTS: facts})


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise Damaged(f"{path}: expected a file, found none ({error.strerror})") from error


def _digest(path: Path, content: bytes, *names: str) -> str:
    """The digest that a document has under these names, one in the other."""
    try:
        found = json.loads(content)
        for name in names:
            found = found[name]
    except (ValueError, KeyError, TypeError):
        raise Damaged(f"{path}: expected a digest {'.'.join(names)}, found none") from None
    return str(found)


def _held(path: Path, content: bytes, expected: str) -> None:
    found = digests.of_bytes(content)
    if found != expected:
        raise Damaged(f"{path}: expected {expected[:19]}, found {found[:19]}: it is damaged")
