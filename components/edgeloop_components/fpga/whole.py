"""Whether a built folder is as it was written: every file that its documents have a digest of is compared with that.

Digests find damage and edits of one file. Whoever can write the folder can write all anew, and only the signature of a package is
proof against that. A folder of an earlier version, whose certificate has fewer digests, is to be built again.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgeloop_components.fpga import digests
from edgeloop_components.fpga.kept import FACTS, PLACED
from edgeloop_components.runtimes import ModelError
from edgeloop_contracts import ContractError, digest_of, loads
from edgeloop_contracts.fpga import FpgaDesign
from edgeloop_contracts.fpga_board import CERTIFICATE_FILE, DESIGN_FILE

__all__ = ["RTL_FOLDER", "checked_bitstream", "checked_folder", "document", "field"]

RTL_FOLDER = "rtl"


def document(path: Path) -> dict[str, Any]:
    """A JSON object. ModelError names the file."""
    try:
        found = json.loads(path.read_bytes())
        if not isinstance(found, dict):
            raise ValueError(f"found {type(found).__name__}")
    except (OSError, ValueError) as error:
        raise ModelError(f"{path}: expected a document that `edgeloop fpga build` wrote: {error}") from error
    return found


def field(path: Path, found: Mapping[str, Any], kind: type, *names: str) -> Any:
    """What the document has under these names, one in the other. ModelError names the file and the field."""
    value: Any = found
    for name in names:
        value = value.get(name) if isinstance(value, dict) else None
    if not isinstance(value, kind) or not value:
        told = "nothing" if not value else repr(value)[:40]
        raise ModelError(
            f"{path}: expected {'.'.join(names)}, as `edgeloop fpga build` writes it, found {told}; build it again"
        )
    return value


def checked_bitstream(folder: Path) -> tuple[Path, Mapping[str, Any]]:
    """The bitstream, with its figures, when it and design.json are those of the certificate. ModelError."""
    return _checked_bitstream(folder, document(folder / CERTIFICATE_FILE))


def _checked_bitstream(folder: Path, certificate: Mapping[str, Any]) -> tuple[Path, Mapping[str, Any]]:
    path = folder / CERTIFICATE_FILE
    figures: Mapping[str, Any] = field(path, certificate, dict, "bitstream")
    name, sha256 = (field(path, certificate, str, "bitstream", key) for key in ("bitstream", "sha256"))
    _same(folder / name, digests.of_bytes(_content(folder / name)), sha256)
    _same(folder / DESIGN_FILE, _design_digest(folder / DESIGN_FILE), field(path, certificate, str, "design"))
    return folder / name, figures


def checked_folder(folder: Path) -> dict[str, Any]:
    """The certificate, when all files are those of it. ModelError with file, expected and found."""
    certificate = document(folder / CERTIFICATE_FILE)
    _checked_bitstream(folder, certificate)
    for path, expected in _expected(folder, certificate):
        _same(path, digests.of_bytes(_content(path)), expected)
    _agree(folder, certificate)
    return certificate


def _expected(folder: Path, certificate: Mapping[str, Any]) -> Iterator[tuple[Path, str]]:
    """Each file and the digest that a document has of it."""
    path = folder / CERTIFICATE_FILE
    for name, sha256 in field(path, certificate, dict, "sources").items():
        yield folder / RTL_FOLDER / name, str(sha256)
    for name, sha256 in field(path, certificate, dict, "files").items():
        yield folder / name, str(sha256)
    yield folder / FACTS, field(path, certificate, str, "bitstream", "placed_facts")
    yield folder / PLACED, field(folder / FACTS, document(folder / FACTS), str, "placed")


def _agree(folder: Path, certificate: Mapping[str, Any]) -> None:
    """What the certificate says twice, or of all sources at once, is the same. ModelError."""
    path = folder / CERTIFICATE_FILE
    sources = {name: _content(folder / RTL_FOLDER / name).decode() for name in certificate["sources"]}
    facts = document(folder / FACTS)
    for expected, names in (
        (certificate["design"], ("proof", "design")),
        (digests.of_texts(sources), ("proof", "files")),
        (field(folder / FACTS, facts, str, "shape"), ("bitstream", "shape")),
    ):
        found = field(path, certificate, str, *names)
        if found != expected:
            raise ModelError(f"{path}: {'.'.join(names)}: expected {expected}, as the files have it, found {found}")


def _same(path: Path, found: str, expected: str) -> None:
    if found != expected:
        raise ModelError(f"{path}: expected {expected}, as its document has it, found {found}: one of them was changed")


def _content(path: Path) -> bytes:
    try:
        return path.read_bytes()
    except OSError as error:
        raise ModelError(f"{path}: expected the file that the certificate has, found none") from error


def _design_digest(path: Path) -> str:
    content = _content(path)
    try:
        return digest_of(loads(FpgaDesign, content))
    except (ContractError, ValueError) as error:
        raise ModelError(f"{path}: expected the design of the certificate, found none: {error}") from error
