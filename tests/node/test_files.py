"""Files are whole or not there, also when writing fails half way."""

from __future__ import annotations

import stat
from pathlib import Path

import pytest

from edgeloop_node.files import remove, socket_address, write_atomic


def test_a_file_is_replaced_whole(tmp_path: Path) -> None:
    """The new content is there, readable for others (server and agent may be different users), and no temp file is left."""
    path = tmp_path / "x.json"
    write_atomic(path, b"one")
    write_atomic(path, b"two")
    assert path.read_bytes() == b"two"
    assert stat.S_IMODE(path.stat().st_mode) == 0o644
    assert [p.name for p in tmp_path.iterdir()] == ["x.json"]


def test_a_failed_write_leaves_the_old_file(tmp_path: Path) -> None:
    """When the rename fails the old state stays and the temp file goes."""
    folder = tmp_path / "x"
    folder.mkdir()
    with pytest.raises(OSError):  # noqa: PT011  a file cannot replace a folder
        write_atomic(folder, b"data")
    assert [p.name for p in tmp_path.iterdir()] == ["x"]
    remove(tmp_path / "not-there")


def test_long_socket_paths_get_a_short_name(tmp_path: Path) -> None:
    """A path within the limit is used as it is, a longer one goes through its open folder."""
    with socket_address(Path("/run/a.sock")) as name:
        assert name == "/run/a.sock"
    folder = tmp_path / ("x" * 120)
    folder.mkdir()
    (folder / "a.sock").write_text("here")
    with socket_address(folder / "a.sock") as name:
        assert len(name) < 100
        assert Path(name).read_text() == "here"
