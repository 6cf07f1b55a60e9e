"""Archives from outside: what no honest layer holds is refused in bounded memory, and what tar programs write is read."""

from __future__ import annotations

import contextlib
import gzip
import hashlib
import io
import tarfile
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeloop_components.package import archive, layout, manifests, tarstream
from edgeloop_components.package.blobs import LayoutError, blob_path
from edgeloop_components.package.layers import files_layer
from edgeloop_components.package.tarstream import Member, TarStream


class Zeros:
    """A head, then `size_bytes` zeros that nobody keeps; counts what was read."""

    def __init__(self, head: bytes, size_bytes: int) -> None:
        self._head, self._left, self.count = io.BytesIO(head), size_bytes, 0

    def read(self, size: int = -1, /) -> bytes:
        data = self._head.read(size) or bytes(min(size, self._left))
        self._left -= len(data) if self._head.tell() == len(self._head.getvalue()) else 0
        self.count += len(data)
        return data


def header(name: str = "a", kind: bytes = b"0", size: int = 0, **fields: bytes) -> bytes:
    """One header as a tar program writes it; `fields` replace the bytes of a field after that, with the checksum renewed."""
    info = tarfile.TarInfo(name)
    info.type = kind
    block = bytearray(info.tobuf(tarfile.GNU_FORMAT))
    block[124:136] = b"\x80" + size.to_bytes(11, "big") if size >= 8**11 else b"%011o\0" % size
    places = {"length": (124, 136), "check": (148, 156)}
    for field, value in fields.items():
        start, end = places[field]
        block[start:end] = value.ljust(end - start, b"\0")
    if "check" not in fields:
        block[148:156] = b" " * 8
        block[148:156] = b"%06o\0 " % sum(block)
    return bytes(block)


def padded(data: bytes) -> bytes:
    return data + bytes(-len(data) % 512)


def pax(kind: bytes = b"x", **records: str) -> bytes:
    """A PAX header with its records (`__` in a key is a dot)."""
    out = b""
    for key, value in records.items():
        rest = f" {key.replace('__', '.')}={value}\n".encode()
        length = len(rest) + 1
        while len(str(length)) + len(rest) != length:
            length = len(str(length)) + len(rest)
        out += str(length).encode() + rest
    return header("pax", kind, len(out)) + padded(out)


END = bytes(1024)
HOSTILE: dict[str, tuple[bytes, str]] = {
    "a PAX header of 8 GiB": (header("x", b"x", 8 << 30), "at most 262144 bytes, found 8589934592"),
    "a global PAX header of 8 GiB": (header("g", b"g", 8 << 30), "at most 262144 bytes, found 8589934592"),
    "a long name of 8 GiB": (header("L", b"L", 8 << 30), "at most 262144 bytes, found 8589934592"),
    "a long link of 1 TiB": (header("K", b"K", 1 << 40), "at most 262144 bytes, found 1099511627776"),
    "a chain of long names": ((header("L", b"L", 2) + padded(b"a\0")) * 9, "at most 8 headers before a member"),
    "a chain of PAX headers": (pax(path="a") * 5000, "at most 8 headers before a member"),
    "a path of 5000 bytes": (pax(path="a" * 5000) + header() + END, "names of at most 4095 bytes"),
    "a path of 300 folders": (pax(path="a/" * 300 + "b") + header() + END, "and 255 folders"),
    "a deep link": (pax(linkpath="../" * 300) + header("a", b"2") + END, "and 255 folders"),
    "a sparse map": (pax(GNU__sparse__map="0,1,9999999999,1") + header() + END, "found a sparse one"),
    "a sparse map 1.0": (pax(GNU__sparse__major="1", GNU__sparse__minor="0") + header() + END, "found a sparse one"),
    "global names": (pax(b"g", path="etc/passwd") + header() + END, r"without names and sizes, found \[b'path'\]"),
    "a negative PAX size": (pax(size="-512") + header() + END, "expected a number as a member's PAX size"),
    "a PAX size of 5000 digits": (pax(size="9" * 5000) + header() + END, "expected a number as a member's PAX size"),
    "PAX records that lie": (header("x", b"x", 6) + padded(b"99 a=b") + header() + END, "expected PAX records"),
    "a PAX record without end": (header("x", b"x", 6) + padded(b"6 a=bc") + header() + END, "expected PAX records"),
    "a negative size": (header(length=b"\xff" * 12) + END, "octal number as a member's size"),
    "a size that is no number": (header(length=b"12a") + END, "octal number as a member's size"),
    "a wrong checksum": (header(check=b"000000\0 ") + END, "a tar header of 512 bytes with its checksum"),
    "half a header": (header()[:300], "a tar header of 512 bytes with its checksum"),
    "no archive": (b"", "a tar header of 512 bytes with its checksum"),
    "data that ends early": (header(size=10_000) + b"x" * 100, "found one that ends"),
    "a file of 1 EiB": (header(size=1 << 60), "more than 8589934592 bytes"),
}


@pytest.mark.parametrize("what", HOSTILE)
def test_hostile_archives_end_in_an_error_and_little_memory(what: str, tmp_path: Path) -> None:
    """Each is refused with what was expected and found, before more than a MiB is read of it or kept."""
    head, problem = HOSTILE[what]
    endless = what.endswith(("GiB", "TiB", "EiB"))
    stream = Zeros(head, 1 << 40) if endless else io.BytesIO(head)
    tracemalloc.start()
    try:
        with pytest.raises(LayoutError, match=problem):
            archive.extract_members(stream, tmp_path, archive.MOST_BYTES)
        peak_bytes = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak_bytes < 4 << 20
    assert not isinstance(stream, Zeros) or stream.count < 1 << 20


def test_the_number_of_members_has_a_limit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A layer of more members than the limit makes no more files than that."""
    monkeypatch.setattr(tarstream, "MOST_MEMBERS", 20)
    data = b"".join(header(f"f{i}") for i in range(25)) + END
    with pytest.raises(LayoutError, match="at most 20 members, found more"):
        archive.extract_members(io.BytesIO(data), tmp_path, 1000)
    assert len(list(tmp_path.iterdir())) == 20


def image_of(at: Path, *layers: tuple[bytes, str]) -> str:
    """An image of (plain tar, media type) layers, each digest true."""
    at.mkdir(parents=True, exist_ok=True)
    parts, diff_ids = [], []
    for plain, kind in layers:
        stored = gzip.compress(plain) if kind.endswith("gzip") else plain
        digest = f"sha256:{hashlib.sha256(stored).hexdigest()}"
        blob_path(at, digest).parent.mkdir(parents=True, exist_ok=True)
        blob_path(at, digest).write_bytes(stored)
        parts.append({"mediaType": kind, "digest": digest, "size": len(stored)})
        diff_ids.append(f"sha256:{hashlib.sha256(plain).hexdigest()}")
    return layout.write_image(
        at, [], platform="linux/amd64", config={}, under=layout.Under(tuple(parts), tuple(diff_ids))
    )


BOMBS: dict[str, bytes] = {
    "in a member": header("zeros", size=300 << 20) + bytes(300 << 20) + END,
    "behind the archive's end": header("a") + END + bytes(300 << 20),
}


@pytest.mark.parametrize("where", BOMBS)
def test_compression_bombs_are_refused(where: str, tmp_path: Path) -> None:
    """300 MB of zeros in 300 KB: refused long before all of it is unpacked; nothing of it stays."""
    digest = image_of(tmp_path / "l", (BOMBS[where], layout.GZIP_LAYER))
    with pytest.raises(LayoutError, match=r"no more than \d+ bytes unpacked, found more"):
        layout.unpack(tmp_path / "l", digest, tmp_path / "root")
    assert not (tmp_path / "root").exists()
    assert list((tmp_path / "l" / ".unpacked").iterdir()) == []


def test_what_compresses_well_is_no_bomb(tmp_path: Path) -> None:
    """50 MB of one letter, which gzip makes a thousandth of, are unpacked: small layers may."""
    data = header("a", size=50 << 20) + b"a" * (50 << 20) + END
    layout.unpack(tmp_path / "l", image_of(tmp_path / "l", (data, layout.GZIP_LAYER)), tmp_path / "root")
    assert (tmp_path / "root" / "a").stat().st_size == 50 << 20


def test_an_image_has_a_limit_over_all_its_layers(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Layers that each keep to the limit do not do so together; too many layers are refused before the first is unpacked."""
    layers = [(header(f"f{i}", size=1024) + bytes([i]) * 1024 + END, layout.PLAIN_LAYER) for i in range(4)]
    digest = image_of(tmp_path / "l", *layers)
    monkeypatch.setattr(archive, "MOST_IMAGE_BYTES", 3000)
    with pytest.raises(LayoutError, match="more than 952 bytes"):
        layout.unpack(tmp_path / "l", digest, tmp_path / "root")
    monkeypatch.setattr(manifests, "MOST_LAYERS", 3)
    with pytest.raises(LayoutError, match="at most 3 layers, found 4"):
        layout.unpack(tmp_path / "l", digest, tmp_path / "root")
    assert not (tmp_path / "root").exists()


def test_documents_have_a_limit(tmp_path: Path) -> None:
    """A manifest of 17 MiB, or one of 100,000 lists in one another, is not taken for one."""
    for data, problem in ((b" " * (17 << 20), "at most 16777216 bytes"), (b"[" * 100_000, "expected a JSON document")):
        digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
        blob_path(tmp_path, digest).parent.mkdir(parents=True, exist_ok=True)
        blob_path(tmp_path, digest).write_bytes(data)
        with pytest.raises(LayoutError, match=problem):
            layout.manifest(tmp_path, digest)


def entries(data: bytes) -> list[tuple[Member, bytes]]:
    """All members with their data."""
    stream, found = TarStream(io.BytesIO(data)), []
    for member in stream:
        parts: list[bytes] = []
        stream.copy_to(parts.append)
        found.append((member, b"".join(parts)))
    return found


names = st.text(st.characters(codec="utf-8", exclude_characters="\0\n/", exclude_categories=("Cs",)), min_size=1)
paths = st.lists(names, min_size=1, max_size=12).map("/".join).filter(lambda path: len(path.encode()) < 4000)


@settings(max_examples=60, deadline=None)
@given(st.lists(st.tuples(paths, st.binary(max_size=1500)), max_size=5), st.sampled_from(["gnu", "pax", "ustar"]))
def test_what_tar_writes_is_read(files: list[tuple[str, bytes]], form: str) -> None:
    """Names of any length and letters, in each of the three formats, come back with their bytes."""
    formats = {"gnu": tarfile.GNU_FORMAT, "pax": tarfile.PAX_FORMAT, "ustar": tarfile.USTAR_FORMAT}
    out, wanted = io.BytesIO(), []
    with tarfile.open(fileobj=out, mode="w", format=formats[form]) as made:
        for name, data in files:
            info = tarfile.TarInfo(name)
            info.size, info.mode = len(data), 0o750
            try:
                made.addfile(info, io.BytesIO(data))
            except ValueError:  # ustar takes no such name
                continue
            wanted.append((info.name, data))
    found = entries(out.getvalue())
    assert [(member.name, data) for member, data in found] == wanted
    assert all((member.kind, member.mode) == ("file", 0o750) for member, _ in found)


def test_links_and_folders_are_read(tmp_path: Path) -> None:
    """Kinds and targets, long ones too; an old program's folder is a file whose name ends in a slash."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as made:
        for name, kind, target in (
            ("d", tarfile.DIRTYPE, ""),
            ("d/s", tarfile.SYMTYPE, "t" * 300),
            ("h", tarfile.LNKTYPE, "d/s"),
        ):
            info = tarfile.TarInfo(name)
            info.type, info.linkname = kind, target
            made.addfile(info)
    found = [(member.name, member.kind, member.target) for member, _ in entries(out.getvalue())]
    assert found == [("d", "folder", ""), ("d/s", "link", "t" * 300), ("h", "hard link", "d/s")]
    assert [member.kind for member, _ in entries(header("old/") + END)] == ["folder"]


def spoilt(data: bytes, changes: list[tuple[int, int]]) -> bytes:
    """The archive with bytes changed, and the checksum of each block renewed where it was one: damage that is looked at."""
    out = bytearray(data)
    for place, value in changes:
        out[place % len(out)] = value
    for at in range(0, len(out) - 511, 512):
        if data[at + 257 : at + 262] == b"ustar":
            out[at + 148 : at + 156] = b" " * 8
            out[at + 148 : at + 156] = b"%06o\0 " % sum(out[at : at + 512])
    return bytes(out)


@settings(max_examples=300, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 1 << 20), st.integers(0, 255)), max_size=12), st.integers(0, 6000))
def test_damage_gives_one_kind_of_error(
    tmp_path_factory: pytest.TempPathFactory, changes: list[tuple[int, int]], cut: int
) -> None:
    """Whatever bytes change, and wherever it is cut: files inside the folder or LayoutError or OSError, and nothing outside."""
    whole = (
        pax(path="long/" * 30 + "name", comment="x")
        + header("a", size=600) + padded(b"z" * 600)
        + header("L", b"L", 120) + padded(b"n" * 119 + b"\0") + header("b")
        + header("link", b"2") + header("hard", b"1") + header("d", b"5") + END
    )  # fmt: skip
    folder = tmp_path_factory.mktemp("out")
    inside = folder / "inside"
    inside.mkdir()
    with contextlib.suppress(LayoutError, OSError):
        archive.extract_members(io.BytesIO(spoilt(whole, changes)[: len(whole) - cut]), inside, 1 << 20)
    assert list(folder.iterdir()) == [inside]


@settings(max_examples=300, deadline=None)
@given(st.binary(max_size=4000))
def test_any_bytes_give_one_kind_of_error(data: bytes) -> None:
    """No other error than LayoutError comes out of the reader."""
    with contextlib.suppress(LayoutError):
        entries(data)


def test_layers_made_here_are_read(tmp_path: Path) -> None:
    """The reader agrees with the standard library on a layer of this project's own."""
    (tmp_path / "s" / ("d" * 120)).mkdir(parents=True)
    (tmp_path / "s" / ("d" * 120) / "f").write_bytes(b"1" * 700)
    from edgeloop_components.package.layers import write_tar

    out = io.BytesIO()
    write_tar(files_layer(tmp_path / "s", "usr"), out)
    with tarfile.open(fileobj=io.BytesIO(out.getvalue())) as theirs:
        wanted = [(m.name, m.size, m.mode) for m in theirs.getmembers()]
    assert [(m.name, m.size_bytes, m.mode) for m, _ in entries(out.getvalue())] == wanted


def test_folders_that_only_paths_name_are_counted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A few members that make many folders count as many; folders that are members, or are there, count once."""

    def plain(*names: str) -> io.BytesIO:
        out = io.BytesIO()
        with tarfile.open(fileobj=out, mode="w") as written:
            for name in names:
                written.addfile(tarfile.TarInfo(name))
        return io.BytesIO(out.getvalue())

    monkeypatch.setattr(archive, "MOST_MEMBERS", 6)
    for number, names in enumerate((("a/b/c/d/e/f",), ("a/b/c/f", "a/b/c/g", "h"), ("a/", "a/b/", "a/b/f", "x/y/z"))):
        folder = tmp_path / str(number)
        folder.mkdir()
        archive.extract_members(plain(*names), folder, 100)
    for number, names in enumerate((("a/b/c/d/e/f/g",), ("a/b/c/f", "a/b/c/g", "h", "i"))):
        folder = tmp_path / f"more{number}"
        folder.mkdir()
        with pytest.raises(LayoutError, match="expected at most 6 members and folders, found more"):
            archive.extract_members(plain(*names), folder, 100)


def test_a_hard_links_target_is_quoted(tmp_path: Path) -> None:
    """What an archive holds reaches no terminal as it is."""
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w") as written:
        member = tarfile.TarInfo("h")
        member.type, member.linkname = tarfile.LNKTYPE, "\x1b[2Jevil"
        written.addfile(member)
    with pytest.raises(LayoutError, match=r"found one to '\\x1b\[2Jevil'"):
        archive.extract_members(io.BytesIO(out.getvalue()), tmp_path, 100)
