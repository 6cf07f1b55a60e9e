"""Layers of a container image, described as lists of files and written as deterministic tar archives.

The same files give the same bytes on every machine: paths sorted, owner 0, time 0, modes from a table. A layer is cheap
to describe and is written once: the image layout finds one that it has by `Layer.key` (package/layout.py). A layer also
says of which parts it is made (`Part`), which is what the image's bill of materials lists.

Refuses: a file that changed since it was described, and links and special files in a folder that becomes a layer.
"""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import platform
import tarfile
import zlib
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO, cast

from edgeloop_contracts import digest_of

__all__ = [
    "PYTHON",
    "SITE",
    "Build",
    "File",
    "Folder",
    "Layer",
    "Link",
    "PackageError",
    "Part",
    "file_layer",
    "file_of",
    "files_layer",
    "host_platform",
    "text_file",
    "write_layer_bytes",
    "write_tar",
]

SITE = "usr/lib/python3/dist-packages"
PYTHON = "/usr/bin/python3"
_FORMAT = 2  # raise it when the bytes of a layer change for the same files
_MACHINES = {"x86_64": "linux/amd64", "aarch64": "linux/arm64", "armv7l": "linux/arm/v7", "riscv64": "linux/riscv64"}


class PackageError(RuntimeError):
    """An image cannot be made as asked; the message says what was expected and what was found."""


@dataclass(frozen=True)
class File:
    """One file of a layer: its path in the image (relative, posix), its bytes or where they are, their sha256 (hex)."""

    path: str
    source: Path | bytes
    sha256: str
    size_bytes: int
    mode: int = 0o644


@dataclass(frozen=True)
class Link:
    """A symbolic link of a layer."""

    path: str
    target: str


@dataclass(frozen=True)
class Folder:
    """A folder that is there though empty, or has another mode than 0755."""

    path: str
    mode: int = 0o755


@dataclass(frozen=True, order=True)
class Part:
    """What a layer is made of, for the bill of materials. `kind` is a package URL type: deb, pypi or generic."""

    name: str
    version: str
    kind: str
    sha256: str = ""
    license: str = ""
    architecture: str = ""
    source: str = ""


@dataclass(frozen=True)
class Layer:
    """A layer not written yet. `platform` is empty where its files run anywhere."""

    comment: str
    files: tuple[File, ...]
    compressed: bool = True
    platform: str = ""
    links: tuple[Link, ...] = ()
    folders: tuple[Folder, ...] = ()
    parts: tuple[Part, ...] = ()

    @cached_property
    def key(self) -> str:
        """`sha256:<hex>` of all that decides the layer's bytes, the compressor's version included."""
        content = sorted([f.path, f.sha256, f.mode] for f in self.files)
        links = sorted([link.path, link.target] for link in self.links)
        folders = sorted([folder.path, folder.mode] for folder in self.folders)
        how = f"zlib {zlib.ZLIB_RUNTIME_VERSION}" if self.compressed else "plain"
        return digest_of([_FORMAT, how, content, links, folders])

    @property
    def size_bytes(self) -> int:
        """Sum of the files' sizes, neither tar headers nor compression counted."""
        return sum(f.size_bytes for f in self.files)


@dataclass(frozen=True)
class Build:
    """What a runtime's layers depend on besides the compiled model.

    `place` is the model's folder in the image. `locked`: wheels come from the locked files of the platform, and not from
    what is installed here. `python` is the interpreter's path in the image that the layers stand on. `sign` signs the folder
    of what the image starts; it must not depend on the version, or a new model would bring a new layer of code.
    """

    platform: str
    place: str
    locked: bool = False
    python: str = PYTHON
    sign: Callable[[Path], object] | None = None


def host_platform() -> str:
    """This machine as an OCI platform, such as `linux/amd64`."""
    machine = platform.machine()
    return _MACHINES.get(machine, f"linux/{machine}")


def file_of(source: Path, path: str, mode: int | None = None) -> File:
    """A file of this machine as one of a layer. Owner-executable files stay executable unless `mode` says otherwise."""
    if source.is_symlink() or not source.is_file():
        raise PackageError(f"{source}: expected a plain file, found a link or a special file")
    data = source.read_bytes()
    if mode is None:
        mode = 0o755 if os.access(source, os.X_OK) and source.stat().st_mode & 0o100 else 0o644
    return File(path, source, hashlib.sha256(data).hexdigest(), len(data), mode)


def text_file(path: str, text: str, mode: int = 0o644) -> File:
    """A file that is made here."""
    data = text.encode()
    return File(path, data, hashlib.sha256(data).hexdigest(), len(data), mode)


def file_layer(
    files: Mapping[str, Path],
    *,
    compressed: bool = False,
    comment: str = "",
    platform: str = "",
    parts: Sequence[Part] = (),
) -> Layer:
    """Files by their paths in the image."""
    listed = tuple(file_of(source, path) for path, source in sorted(files.items()))
    return Layer(comment or f"files: {' '.join(files)}", listed, compressed, platform, parts=tuple(parts))


def files_layer(
    folder: Path, prefix: str, *, compressed: bool = False, comment: str = "", parts: Sequence[Part] = ()
) -> Layer:
    """All files under `folder`, below `prefix` in the image. Owner-executable files stay executable.

    The model's layer is made this way: plain by default, since weights hardly compress and the digest of a plain layer
    does not depend on the compressor. PackageError for an empty folder, a link, or a special file.
    """
    paths = sorted(p for p in folder.rglob("*") if p.is_symlink() or not p.is_dir())
    if not paths:
        raise PackageError(f"{folder}: expected files for the image's /{prefix}, found none")
    files = tuple(file_of(path, f"{prefix}/{path.relative_to(folder).as_posix()}") for path in paths)
    return Layer(comment or f"files of /{prefix}", files, compressed, parts=tuple(parts))


def write_tar(layer: Layer, out: IO[bytes]) -> None:
    """Writes the layer's plain tar archive. PackageError when a file is no longer what the layer says."""
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for path, mode in sorted(_folders(layer).items()):
            archive.addfile(_header(path, tarfile.DIRTYPE, mode))
        for link in sorted(layer.links, key=lambda link: link.path):
            header = _header(link.path, tarfile.SYMTYPE, 0o777)
            header.linkname = link.target
            archive.addfile(header)
        for file in sorted(layer.files, key=lambda f: f.path):
            data = file.source if isinstance(file.source, bytes) else file.source.read_bytes()
            if hashlib.sha256(data).hexdigest() != file.sha256:
                raise PackageError(
                    f"{file.source!s:.200}: changed since it was described or installed; install it again"
                )
            archive.addfile(_header(file.path, tarfile.REGTYPE, file.mode, len(data)), io.BytesIO(data))


def write_layer_bytes(layer: Layer, out: IO[bytes]) -> tuple[str, int]:
    """Writes the layer as an image stores it; gives the plain tar's digest (the diff_id) and its size in bytes."""
    if layer.compressed:
        with gzip.GzipFile("", "wb", 6, out, mtime=0) as packed:
            plain = _Hashed(packed)
            write_tar(layer, cast("IO[bytes]", plain))
    else:
        plain = _Hashed(out)
        write_tar(layer, cast("IO[bytes]", plain))
    out.flush()
    return f"sha256:{plain.hash.hexdigest()}", plain.size_bytes


class _Hashed:
    """A sink that hashes and counts what passes through it."""

    def __init__(self, out: IO[bytes] | gzip.GzipFile) -> None:
        self._out, self.hash, self.size_bytes = out, hashlib.sha256(), 0

    def write(self, data: bytes) -> int:
        self.hash.update(data)
        self.size_bytes += len(data)
        return self._out.write(data)


def _header(path: str, kind: bytes, mode: int, size_bytes: int = 0) -> tarfile.TarInfo:
    header = tarfile.TarInfo(path)
    header.type, header.mode, header.size = kind, mode, size_bytes
    header.mtime = header.uid = header.gid = 0
    header.uname = header.gname = ""
    return header


def _folders(layer: Layer) -> Mapping[str, int]:
    """path: mode of every folder that the archive names."""
    paths: Iterable[str] = [
        *(f.path for f in layer.files),
        *(x.path for x in layer.links),
        *(d.path for d in layer.folders),
    ]
    parents = {str(parent) for path in paths for parent in PurePosixPath(path).parents} - {"."}
    return {**dict.fromkeys(parents, 0o755), **{folder.path: folder.mode for folder in layer.folders}}
