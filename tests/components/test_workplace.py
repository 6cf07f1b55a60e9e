"""Folders to work in: what a killed process left goes, what a living one holds stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from edgeloop_components.compile.lone_build import replacing
from edgeloop_components.workplace import workplace

HOLD = """
import sys
from pathlib import Path
from edgeloop_components.workplace import workplace
with workplace(Path(sys.argv[1]), sys.argv[2]) as work:
    (work / "half").write_text("done")
    print(work, flush=True)
    sys.stdin.read()
"""


def holder(parent: Path, prefix: str) -> tuple[subprocess.Popen[str], Path]:
    """A process that holds a folder there."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLD, str(parent), prefix], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert process.stdout is not None
    return process, Path(process.stdout.readline().strip())


def killed(parent: Path, prefix: str) -> Path:
    """The folder that a process left when it was killed."""
    process, left = holder(parent, prefix)
    with process:
        process.send_signal(signal.SIGKILL)
    assert left.is_dir()
    return left


def test_a_folder_goes_at_the_end(tmp_path: Path) -> None:
    """Also when the work fails."""
    with pytest.raises(ZeroDivisionError), workplace(tmp_path, ".m-"):
        raise ZeroDivisionError
    assert list(tmp_path.iterdir()) == []


def test_the_next_one_collects_what_a_killed_process_left(tmp_path: Path) -> None:
    """At its start, and of this prefix only; nothing of a living process, of a link, or of what only looks like it."""
    left, other = killed(tmp_path, ".m-"), killed(tmp_path, ".m-x-")
    process, held = holder(tmp_path, ".m-")
    alike = tmp_path / left.name.replace(".m-", ".m-0")
    alike.mkdir()
    (tmp_path / (left.name[:-1] + "_")).symlink_to(other)
    with process:
        with workplace(tmp_path, ".m-") as work:
            assert not left.exists()
            assert (held / "half").read_text() == "done"
            assert {held, other, alike, work} <= set(tmp_path.iterdir())
            assert (other / "half").exists()
        process.communicate("")
    assert not held.exists()


def test_a_process_id_that_is_used_again_is_another_process(tmp_path: Path) -> None:
    """The time that a process began tells them apart."""
    with workplace(tmp_path, ".m-") as work:
        pid = f"-{os.getpid()}-"
        head, _, tail = work.name.partition(pid)
        ours_before = tmp_path / f"{head}{pid}1-{tail.partition('-')[2]}"
        ours_before.mkdir()
        with workplace(tmp_path, ".m-"):
            assert not ours_before.exists()
            assert work.is_dir()


def test_what_stood_in_the_place_is_kept_while_it_is_the_only_copy(tmp_path: Path) -> None:
    """Killed between moving the old folder away and the new one in, the old one stays until a new one is there."""
    left = killed(tmp_path, ".out-")
    old = left.rename(left.with_name(left.name + ".old"))
    with replacing(tmp_path / "out") as work:
        (work / "new").write_text("new")
        assert (old / "half").exists()
    with replacing(tmp_path / "out") as work:
        (work / "new").write_text("newer")
        assert not old.exists()
    assert [path.name for path in tmp_path.iterdir()] == ["out"]
