"""Layers of a container image, described as lists of files and written as deterministic tar archives.

The same files give the same bytes on every machine: paths sorted, owner 0, time 0, modes from a table. A layer is cheap
to describe and is written once: the image layout finds one that it has by `Layer.key` (package/layout.py).

Layers of wheels are made of the distributions installed in this environment, so they fit this machine's platform only.
Wheels of a foreign platform, and the Debian base layer with Python itself, are not made here: an image of these layers
holds no Python, and the stand-in for KubeEdge runs it with the machine's own.

Refuses: a distribution that is not installed, a file that changed since it was installed, links and special files.
"""

from __future__ import annotations

import base64
import gzip
import hashlib
import importlib.metadata
import importlib.util
import io
import os
import platform
import tarfile
import zlib
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path, PurePosixPath
from typing import IO, cast

from edgeloop_contracts import digest_of

__all__ = [
    "SITE",
    "File",
    "Layer",
    "PackageError",
    "closure",
    "code_layer",
    "files_layer",
    "host_platform",
    "wheels_layer",
    "write_layer_bytes",
    "write_tar",
]

SITE = "usr/lib/python3/dist-packages"
_FORMAT = 1  # raise it when the bytes of a layer change for the same files
_NOT_NEEDED_NAMES = {"tests", "__pycache__"}
_NOT_NEEDED_SUFFIXES = {".pyc", ".pyi", ".pyx", ".pxd", ".c", ".h", ".hpp", ".a", ".lib"}
_NOT_NEEDED_FOLDERS = (
    "numpy/distutils/",
    "numpy/f2py/",
    "onnxruntime/transformers/",
    "onnxruntime/tools/",
    "onnxruntime/quantization/",
    "onnxruntime/datasets/",
    "onnxruntime/backend/",
)
_MACHINES = {"x86_64": "linux/amd64", "aarch64": "linux/arm64", "armv7l": "linux/arm/v7", "riscv64": "linux/riscv64"}


class PackageError(RuntimeError):
    """An image cannot be made as asked; the message says what was expected and what was found."""


@dataclass(frozen=True)
class File:
    """One file of a layer: its path in the image (relative, posix), where its bytes are, and their sha256 (hex)."""

    path: str
    source: Path
    sha256: str
    size_bytes: int
    mode: int = 0o644


@dataclass(frozen=True)
class Layer:
    """A layer not written yet. `platform` is empty where its files run anywhere."""

    comment: str
    files: tuple[File, ...]
    compressed: bool = True
    platform: str = ""

    @cached_property
    def key(self) -> str:
        """`sha256:<hex>` of all that decides the layer's bytes, the compressor's version included."""
        content = sorted([f.path, f.sha256, f.mode] for f in self.files)
        how = f"zlib {zlib.ZLIB_RUNTIME_VERSION}" if self.compressed else "plain"
        return digest_of([_FORMAT, how, content])

    @property
    def size_bytes(self) -> int:
        """Sum of the files' sizes, neither tar headers nor compression counted."""
        return sum(f.size_bytes for f in self.files)


def host_platform() -> str:
    """This machine as an OCI platform, such as `linux/amd64`."""
    machine = platform.machine()
    return _MACHINES.get(machine, f"linux/{machine}")


def files_layer(folder: Path, prefix: str, *, compressed: bool = False, comment: str = "") -> Layer:
    """All files under `folder`, below `prefix` in the image. Owner-executable files stay executable.

    The model's layer is made this way: plain by default, since weights hardly compress and the digest of a plain layer
    does not depend on the compressor. PackageError for an empty folder, a link, or a special file.
    """
    paths = sorted(p for p in folder.rglob("*") if p.is_symlink() or not p.is_dir())
    if not paths:
        raise PackageError(f"{folder}: expected files for the image's /{prefix}, found none")
    files = tuple(_file(path, f"{prefix}/{path.relative_to(folder).as_posix()}") for path in paths)
    return Layer(comment or f"files of /{prefix}", files, compressed)


def code_layer(packages: Sequence[str]) -> Layer:
    """The installed source of pure Python packages, without bytecode."""
    files = [file for name in packages for file in _package_files(name)]
    return Layer("code: " + " ".join(packages), tuple(files))


def wheels_layer(names: Sequence[str]) -> Layer:
    """The installed distributions `names` and what they need, from their RECORDs; no tests, bytecode, stubs, headers.

    Bound to this machine's platform when one of them holds machine code.
    """
    distributions = closure(names)
    files = [file for distribution in distributions for file in _recorded_files(distribution)]
    native = any(".so" in PurePosixPath(file.path).name for file in files)
    listed = " ".join(f"{d.metadata['Name']}=={d.version}" for d in distributions)
    return Layer(f"wheels: {listed}", tuple(files), platform=host_platform() if native else "")


def closure(names: Iterable[str]) -> list[importlib.metadata.Distribution]:
    """The distributions and all that they require here (no extras), sorted by name."""
    from packaging.requirements import Requirement
    from packaging.utils import canonicalize_name

    found: dict[str, importlib.metadata.Distribution] = {}
    waiting = list(names)
    while waiting:
        name = canonicalize_name(waiting.pop())
        if name in found:
            continue
        found[name] = _distribution(name)
        needed = map(Requirement, found[name].requires or [])
        waiting += [r.name for r in needed if r.marker is None or r.marker.evaluate({"extra": ""})]
    return [found[name] for name in sorted(found)]


def write_tar(layer: Layer, out: IO[bytes]) -> None:
    """Writes the layer's plain tar archive. PackageError when a file is no longer what the layer says."""
    with tarfile.open(fileobj=out, mode="w|", format=tarfile.PAX_FORMAT) as archive:
        for folder in _folders(layer.files):
            archive.addfile(_header(folder, tarfile.DIRTYPE, 0o755))
        for file in sorted(layer.files, key=lambda f: f.path):
            data = file.source.read_bytes()
            if hashlib.sha256(data).hexdigest() != file.sha256:
                raise PackageError(f"{file.source}: changed since it was described or installed; install it again")
            archive.addfile(_header(file.path, tarfile.REGTYPE, file.mode, len(data)), io.BytesIO(data))


def write_layer_bytes(layer: Layer, out: IO[bytes]) -> tuple[str, int]:
    """Writes the layer as an image stores it; gives the plain tar's digest (the diff_id) and the stored size in bytes."""
    start = out.tell()
    if layer.compressed:
        with gzip.GzipFile("", "wb", 6, out, mtime=0) as packed:
            plain = _Hashed(packed)
            write_tar(layer, cast("IO[bytes]", plain))
    else:
        plain = _Hashed(out)
        write_tar(layer, cast("IO[bytes]", plain))
    out.flush()
    return f"sha256:{plain.hash.hexdigest()}", out.tell() - start


class _Hashed:
    """A sink that hashes what passes through it."""

    def __init__(self, out: IO[bytes] | gzip.GzipFile) -> None:
        self._out, self.hash = out, hashlib.sha256()

    def write(self, data: bytes) -> int:
        self.hash.update(data)
        return self._out.write(data)


def _header(path: str, kind: bytes, mode: int, size_bytes: int = 0) -> tarfile.TarInfo:
    header = tarfile.TarInfo(path)
    header.type, header.mode, header.size = kind, mode, size_bytes
    header.mtime = header.uid = header.gid = 0
    header.uname = header.gname = ""
    return header


def _folders(files: Iterable[File]) -> list[str]:
    return sorted({str(parent) for f in files for parent in PurePosixPath(f.path).parents} - {"."})


def _file(source: Path, path: str) -> File:
    if source.is_symlink() or not source.is_file():
        raise PackageError(f"{source}: expected a plain file, found a link or a special file")
    data = source.read_bytes()
    mode = 0o755 if os.access(source, os.X_OK) and source.stat().st_mode & 0o100 else 0o644
    return File(path, source, hashlib.sha256(data).hexdigest(), len(data), mode)


def _package_files(name: str) -> Iterator[File]:
    spec = importlib.util.find_spec(name)
    if spec is None or not spec.submodule_search_locations:
        raise PackageError(f"package {name}: not installed in this environment")
    root = Path(next(iter(spec.submodule_search_locations)))
    for path in sorted(root.rglob("*")):
        relative = f"{name}/{path.relative_to(root).as_posix()}"
        if path.is_file() and _needed(relative):
            file = _file(path, f"{SITE}/{relative}")
            yield File(file.path, file.source, file.sha256, file.size_bytes)


def _distribution(name: str) -> importlib.metadata.Distribution:
    try:
        return importlib.metadata.distribution(name)
    except importlib.metadata.PackageNotFoundError:
        raise PackageError(f"distribution {name}: not installed in this environment; pip install {name}") from None


def _recorded_files(distribution: importlib.metadata.Distribution) -> Iterator[File]:
    for entry in distribution.files or ():
        path = entry.as_posix()
        if entry.hash is None or not _needed(path):
            continue
        source = Path(str(entry.locate()))
        mode = 0o755 if ".so" in entry.name else 0o644
        yield File(f"{SITE}/{path}", source, _record_hash(entry), source.stat().st_size, mode)


def _record_hash(entry: importlib.metadata.PackagePath) -> str:
    """RECORD writes sha256 as URL-safe base64 without padding."""
    assert entry.hash is not None
    if entry.hash.mode != "sha256":
        raise PackageError(f"{entry}: expected a sha256 in RECORD, found {entry.hash.mode}")
    return base64.urlsafe_b64decode(entry.hash.value + "=" * (-len(entry.hash.value) % 4)).hex()


def _needed(path: str) -> bool:
    """Whether a file of a package belongs in an image. Of the metadata, what is the same on every machine, and licences."""
    parts = PurePosixPath(path).parts
    if ".." in parts or path.startswith("/"):  # console scripts beside site-packages
        return False
    if parts[0].endswith(".dist-info"):
        return parts[1:] == ("METADATA",) or "licen" in path.lower()
    if _NOT_NEEDED_NAMES.intersection(parts) or path.startswith(_NOT_NEEDED_FOLDERS):
        return False
    return PurePosixPath(path).suffix not in _NOT_NEEDED_SUFFIXES
