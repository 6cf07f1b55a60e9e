"""Reads .deb files: an `ar` archive with a control and a data archive in it, each a compressed tar. Nothing is run.

Refuses what is not such a file, and members that are neither files, folders nor links.
"""

from __future__ import annotations

import gzip
import io
import lzma
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path

from edgeloop_components.package.cache import Member, inside
from edgeloop_components.package.layers import PackageError

__all__ = ["control", "members"]

_MAGIC = b"!<arch>\n"


def _zstd(data: bytes) -> bytes:
    try:
        import zstandard  # type: ignore[import-not-found, unused-ignore]
    except ModuleNotFoundError:
        raise PackageError("a .deb with zstd inside: pip install zstandard to read it") from None
    plain: bytes = zstandard.ZstdDecompressor().decompressobj().decompress(data)
    return plain


_PACKERS: dict[str, Callable[[bytes], bytes]] = {
    ".tar.xz": lzma.decompress,
    ".tar.gz": gzip.decompress,
    ".tar.zst": _zstd,
    ".tar": bytes,
}


def _part(path: Path, name: str) -> bytes:
    """The plain tar `name` (control or data) of a .deb."""
    data = path.read_bytes()
    if not data.startswith(_MAGIC):
        raise PackageError(f"{path}: expected a .deb file, found bytes that begin {data[:8]!r}")
    at = len(_MAGIC)
    while at + 60 <= len(data):
        header = data[at : at + 60]
        member, size = header[:16].decode("ascii", "replace").strip().rstrip("/"), int(header[48:58])
        at += 60
        if member.startswith(f"{name}.tar"):
            packer = _PACKERS.get(member.removeprefix(name))
            if packer is None:
                raise PackageError(f"{path}: expected {name}.tar as {', '.join(_PACKERS)}, found {member}")
            return packer(data[at : at + size])
        at += size + size % 2
    raise PackageError(f"{path}: expected a {name}.tar in it, found none")


def control(path: Path) -> str:
    """The control file's text."""
    with tarfile.open(fileobj=io.BytesIO(_part(path, "control"))) as archive:
        found = next((m for m in archive if m.name.removeprefix("./") == "control"), None)
        stream = archive.extractfile(found) if found else None
        if stream is None:
            raise PackageError(f"{path}: expected a control file, found none")
        return stream.read().decode()


def members(path: Path) -> Iterator[tuple[Member, bytes]]:
    """Everything that the package holds. Hard links become files of their own."""
    with tarfile.open(fileobj=io.BytesIO(_part(path, "data"))) as archive:
        for info in archive:
            name = inside(info.name, path.name)
            if info.isdir():
                yield Member(name, "folder", info.mode), b""
            elif info.issym():
                yield Member(name, "link", target=info.linkname), b""
            elif info.isreg() or info.islnk():
                stream = archive.extractfile(info)
                yield Member(name, "file", info.mode & 0o755), stream.read() if stream else b""
            else:
                raise PackageError(
                    f"{path.name}: member {name!r}: expected a file, folder or link, found a special file"
                )
