"""Reads a tar archive that came from outside, as a stream and in bounded memory.

The standard library's reader takes a header's extension into memory whatever its size, follows chains of extensions by recursion,
and maps of sparse files as far as they lead. This one knows what layers are made of: plain members, PAX records for path, link
and size, and GNU's long names.

Refuses, with LayoutError: what is no tar header, extensions above a limit or too many in a row, sparse files, names above the
limits of a file system, and more members than a limit.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from typing import Protocol

from edgeloop_components.package.blobs import CHUNK_BYTES, LayoutError

__all__ = ["MOST_MEMBERS", "Member", "Source", "TarStream"]

MOST_MEMBERS = 500_000  # of one layer
MOST_EXTENSION_BYTES = 256 << 10  # of one PAX or long-name header
MOST_EXTENSIONS = 8  # in front of one member
MOST_NAME_BYTES, MOST_DEPTH = 4095, 255  # Linux takes no longer path; folders in one another

_BLOCK = 512
_KINDS = {b"0": "file", b"\0": "file", b"7": "file", b"1": "hard link", b"2": "link", b"5": "folder"}
_RECORD = re.compile(rb"([1-9][0-9]{0,6}) ")
_SPARSE = b"GNU.sparse."
_NAMING = (b"path", b"linkpath", b"size")


class Source(Protocol):
    """Where bytes come from."""

    def read(self, size: int = ..., /) -> bytes:
        """At most `size` bytes; none at the end."""
        ...


@dataclass(frozen=True)
class Member:
    """One entry. `kind`: file, hard link, link, folder or special; `target` is a link's; `mode` are the permission bits."""

    name: str
    kind: str
    size_bytes: int
    target: str = ""
    mode: int = 0


class TarStream:
    """The members of an archive, in order. The data of the current member is read by `copy_to`, or passed over."""

    def __init__(self, stream: Source) -> None:
        self._stream, self._left, self._padding = stream, 0, 0

    def __iter__(self) -> Iterator[Member]:
        count, known = 0, _Extensions()
        while header := self._header(first=count == 0 and known.count == 0):
            kind = header[156:157]
            if kind in _EXTENSIONS:
                known.add(kind, self._extension(_number(header[124:136], "size")))
                continue
            count += 1
            if count > MOST_MEMBERS:
                raise LayoutError(f"layer: expected at most {MOST_MEMBERS} members, found more")
            member, known = _member(header, known), _Extensions()
            self._left = member.size_bytes
            self._padding = -member.size_bytes % _BLOCK
            yield member
            self._pass_over()

    def copy_to(self, write: Callable[[bytes], object]) -> None:
        """Hands the rest of the current member's data to `write`, piece by piece."""
        while self._left:
            piece = self._exactly(min(self._left, CHUNK_BYTES))
            self._left -= len(piece)
            write(piece)

    def _pass_over(self) -> None:
        self.copy_to(lambda _: None)
        self._exactly(self._padding)

    def _header(self, *, first: bool) -> bytes:
        """The next header; empty at the end, which is a block of zeros or the stream's own end between two members."""
        block = self._upto(_BLOCK)
        if block == bytes(_BLOCK) or (not block and not first):
            return b""
        if len(block) < _BLOCK or not _sound(block):
            raise LayoutError(f"layer: expected a tar header of {_BLOCK} bytes with its checksum, found something else")
        return block

    def _extension(self, size_bytes: int) -> bytes:
        if size_bytes > MOST_EXTENSION_BYTES:
            raise LayoutError(
                f"layer: expected names and PAX records of at most {MOST_EXTENSION_BYTES} bytes, found {size_bytes}"
            )
        return self._exactly(size_bytes + -size_bytes % _BLOCK)[:size_bytes]

    def _exactly(self, size_bytes: int) -> bytes:
        data = self._upto(size_bytes)
        if len(data) < size_bytes:
            raise LayoutError(f"layer: expected a whole tar archive, found one that ends {size_bytes} bytes too early")
        return data

    def _upto(self, size_bytes: int) -> bytes:
        parts, left = [], size_bytes
        while left and (part := self._stream.read(left)):
            parts.append(part)
            left -= len(part)
        return b"".join(parts)


class _Extensions:
    """What headers in front of a member say of it."""

    def __init__(self) -> None:
        self.count = 0
        self.said: dict[bytes, bytes] = {}

    def add(self, kind: bytes, data: bytes) -> None:
        self.count += 1
        if self.count > MOST_EXTENSIONS:
            raise LayoutError(f"layer: expected at most {MOST_EXTENSIONS} headers before a member, found more")
        self.said.update(_EXTENSIONS[kind](data))


def _long(key: bytes) -> Callable[[bytes], Mapping[bytes, bytes]]:
    return lambda data: {key: data.partition(b"\0")[0]}


def _records(data: bytes) -> Mapping[bytes, bytes]:
    """PAX records: `<length> <key>=<value>\\n`, the length with all of it."""
    found, at = {}, 0
    while at < len(data):
        match = _RECORD.match(data, at)
        end = at + int(match[1]) if match else 0
        if not match or end > len(data) or end <= match.end() or data[end - 1 : end] != b"\n":
            raise LayoutError(f"layer: expected PAX records, found something else at byte {at} of {len(data)}")
        key, _, value = data[match.end() : end - 1].partition(b"=")
        if key.startswith(_SPARSE):
            raise LayoutError("layer: expected plain files, found a sparse one")
        found[key] = value
        at = end
    return {key: found[key] for key in _NAMING if key in found}


def _everywhere(data: bytes) -> Mapping[bytes, bytes]:
    """Records for all members that follow: comments are fine, names and sizes are not."""
    if named := _records(data):
        raise LayoutError(f"layer: expected global records without names and sizes, found {sorted(named)}")
    return {}


_EXTENSIONS: Mapping[bytes, Callable[[bytes], Mapping[bytes, bytes]]] = {
    b"L": _long(b"path"),
    b"K": _long(b"linkpath"),
    b"x": _records,
    b"X": _records,
    b"g": _everywhere,
}


def _sound(block: bytes) -> bool:
    """Whether the checksum holds: the sum of all bytes, its own field taken as spaces, unsigned or as old programs had it."""
    said = block[148:156].strip(b" \0")
    rest = block[:148] + b" " * 8 + block[156:]
    signed = sum(byte - 256 * (byte > 127) for byte in rest)
    return re.fullmatch(rb"[0-7]+", said) is not None and int(said, 8) in (sum(rest), signed)


def _number(field: bytes, what: str) -> int:
    """Octal text, or GNU's binary form for what is larger."""
    if field[0] == 0x80:
        return int.from_bytes(field[1:], "big")
    text = field.strip(b" \0")
    if not re.fullmatch(rb"[0-7]*", text):
        raise LayoutError(f"layer: expected an octal number as a member's {what}, found {field!r}")
    return int(text or b"0", 8)


def _member(header: bytes, known: _Extensions) -> Member:
    name = known.said.get(b"path", _ustar_name(header))
    target = known.said.get(b"linkpath", header[157:257].partition(b"\0")[0])
    kind = _KINDS.get(header[156:157], "special")
    kind = "folder" if kind == "file" and name.endswith(b"/") else kind
    for text in (name, target):
        if len(text) > MOST_NAME_BYTES or text.count(b"/") > MOST_DEPTH:
            raise LayoutError(
                f"layer member {_text(name[:80])!r}: expected names of at most {MOST_NAME_BYTES} bytes and {MOST_DEPTH} "
                f"folders, found one of {len(text)} bytes"
            )
    with_data = kind in ("file", "special")
    size = _size(known.said, header) if with_data else 0
    name = name.rstrip(b"/") if kind == "folder" else name
    return Member(_text(name), kind, size, _text(target), _number(header[100:108], "mode") & 0o7777)


def _size(said: Mapping[bytes, bytes], header: bytes) -> int:
    given = said.get(b"size")
    if given is None:
        return _number(header[124:136], "size")
    if not re.fullmatch(rb"[0-9]{1,19}", given):
        raise LayoutError(f"layer: expected a number as a member's PAX size, found {given[:40]!r}")
    return int(given)


def _ustar_name(header: bytes) -> bytes:
    name, prefix = header[:100].partition(b"\0")[0], header[345:500].partition(b"\0")[0]
    return prefix + b"/" + name if prefix and header[257:263] == b"ustar\0" else name


def _text(name: bytes) -> str:
    return name.decode("utf-8", "surrogateescape")
