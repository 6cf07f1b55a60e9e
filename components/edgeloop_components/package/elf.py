"""Checks an image's machine code without running it: the processor of every ELF file, and that what each needs is there.

For images of a foreign platform that cannot be run here. It reads section-free: program headers and the dynamic segment,
32 and 64 bits, little-endian (all platforms of edgeloop are).
"""

from __future__ import annotations

import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from edgeloop_components.package.layers import PackageError

__all__ = ["Elf", "problems", "read_elf"]

_MACHINES = {62: "linux/amd64", 183: "linux/arm64", 40: "linux/arm/v7", 243: "linux/riscv64"}
_LOAD, _DYNAMIC, _NEEDED, _STRINGS, _NAME = 1, 2, 1, 5, 14


@dataclass(frozen=True)
class Elf:
    """An ELF file: its platform, its own name as a library, and the libraries that it needs."""

    platform: str
    name: str
    needed: tuple[str, ...]


def read_elf(data: bytes, where: str = "") -> Elf | None:
    """None for what is no ELF file. PackageError for one that is damaged or big-endian."""
    if not data.startswith(b"\x7fELF"):
        return None
    try:
        if data[5] != 1:
            raise PackageError(f"{where}: expected a little-endian ELF file, found a big-endian one")
        machine = struct.unpack_from("<H", data, 18)[0]
        values = list(_dynamic(data))
        names = dict(values)
        text = _offset(data, names[_STRINGS]) if _STRINGS in names else 0
        needed = tuple(_string(data, text + value) for tag, value in values if tag == _NEEDED)
        own = _string(data, text + names[_NAME]) if _NAME in names else ""
    except (struct.error, IndexError, ValueError) as error:
        raise PackageError(f"{where}: expected a whole ELF file, found a damaged one: {error}") from error
    return Elf(_MACHINES.get(machine, f"machine {machine}"), own, needed)


def _headers(data: bytes) -> Iterator[tuple[int, int, int, int]]:
    """Type, offset in the file, address and size in the file of each segment."""
    wide = data[4] == 2
    table = struct.unpack_from("<Q" if wide else "<I", data, 32 if wide else 28)[0]
    size, count = struct.unpack_from("<HH", data, 54 if wide else 42)
    for number in range(count):
        at = table + number * size
        if wide:
            kind, _, offset, address, _, length = struct.unpack_from("<IIQQQQ", data, at)
        else:
            kind, offset, address, _, length = struct.unpack_from("<IIIII", data, at)
        yield kind, offset, address, length


def _dynamic(data: bytes) -> Iterator[tuple[int, int]]:
    form = "<qQ" if data[4] == 2 else "<iI"
    for kind, offset, _, length in _headers(data):
        if kind == _DYNAMIC:
            whole = length - length % struct.calcsize(form)
            for tag, value in struct.iter_unpack(form, data[offset : offset + whole]):
                if tag == 0:
                    return
                yield tag, value


def _offset(data: bytes, address: int) -> int:
    """Where in the file an address is."""
    for kind, offset, start, length in _headers(data):
        if kind == _LOAD and start <= address < start + length:
            return offset + address - start
    raise ValueError(f"no segment holds address {address:#x}")


def _string(data: bytes, at: int) -> str:
    return data[at : data.index(b"\0", at)].decode()


def problems(root: Path, platform: str) -> list[str]:
    """What is wrong with the machine code under an unpacked image: another processor, or a needed library that is not there."""
    found = {path.relative_to(root).as_posix(): elf for path, elf in _elves(root)}
    wrong = [
        f"{path}: expected code for {platform}, found {elf.platform}"
        for path, elf in found.items()
        if elf.platform != platform
    ]
    there = _names(root, found)
    missing = [
        f"{path}: needs {name}, which is not there"
        for path, elf in found.items()
        for name in elf.needed
        if name not in there
    ]
    return sorted(wrong + missing)


def _names(root: Path, found: Mapping[str, Elf]) -> set[str]:
    """What a loader can find: files by name, links by theirs, and libraries by the name that they give themselves."""
    links = {path.name for path in root.rglob("*") if path.is_symlink()}
    return links | {path.rsplit("/", 1)[-1] for path in found} | {elf.name for elf in found.values()}


def _elves(root: Path) -> Iterator[tuple[Path, Elf]]:
    for path in sorted(root.rglob("*")):
        if path.is_file() and not path.is_symlink():
            with path.open("rb") as stream:
                if stream.read(4) != b"\x7fELF":
                    continue
            elf = read_elf(path.read_bytes(), str(path))
            if elf:
                yield path, elf
