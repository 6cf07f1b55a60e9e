"""Tools as child processes: they end with their caller, what it left is collected, and a full disk is named."""

from __future__ import annotations

import json
import os
import shutil
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import pytest

SLEEPER = """
import os, pathlib, time
def main():
    pathlib.Path("pid").write_text(str(os.getpid()))
    time.sleep(120)
"""
WRITER = """
import sys
def main():
    with open("much", "wb") as file:
        for _ in range(64):
            file.write(bytes(16384))
            file.flush()
"""
CALLER = """
import json, sys
from pathlib import Path
from edgeloop_components.fpga import tools
from edgeloop_components.workplace import workplace_inside
tools.TOOLS = {"tool": tools.Tool("tool", "tool", "main")}
sys.path.insert(0, sys.argv[2])
out = Path(sys.argv[1])
try:
    with tools.keeping_log(out.with_name("out.log")), workplace_inside(out, ".build-") as work:
        (work / "tool.py").write_text((Path(sys.argv[2]) / "tool.py").read_text())
        tools.run("tool", [], work)
except tools.ToolFailed as error:
    print(json.dumps({"message": str(error), "hint": error.hint}))
"""


def caller(folder: Path, out: Path, tool: str) -> list[str]:
    folder.mkdir(exist_ok=True)
    (folder / "tool.py").write_text(tool)
    return [sys.executable, "-c", CALLER, str(out), str(folder)]


def eventually(true: Callable[[], bool]) -> None:
    until_s = time.monotonic() + 20
    while not true():
        assert time.monotonic() < until_s
        time.sleep(0.02)


def ended(pid: int) -> bool:
    """Gone, or a zombie that waits for whoever inherited it."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] == "Z"
    except OSError:
        return True


def test_a_tool_ends_with_its_caller_and_the_next_one_collects_the_folder(tmp_path: Path) -> None:
    out = tmp_path / "out"
    child = subprocess.Popen(caller(tmp_path / "code", out, SLEEPER))
    try:
        eventually(lambda: any(path.read_text() for path in out.glob(".build-*/pid")))
        (left,) = out.glob(".build-*")
        pid = int((left / "pid").read_text())
    finally:
        child.send_signal(signal.SIGKILL)
        child.wait()
    eventually(lambda: ended(pid))
    assert left.is_dir()
    subprocess.run(caller(tmp_path / "code", out, "def main(): pass"), check=True, timeout=60)
    assert list(out.iterdir()) == []


def test_a_full_disk_is_named(tmp_path: Path) -> None:
    """On a file system of 300 kB of its own."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mount = f"mount -t tmpfs -o size=300k none {disk}"
    unshare = shutil.which("unshare")
    if unshare is None or subprocess.run([unshare, "-rm", "sh", "-c", mount], capture_output=True).returncode:
        pytest.skip("needs unshare -rm with a tmpfs, which this machine does not allow")
    words = caller(tmp_path / "code", disk / "out", WRITER)
    script = f'{mount} && "$@" && ls -A {disk}'
    done = subprocess.run(
        [unshare, "-rm", "sh", "-c", script, "sh", *words],
        capture_output=True,
        text=True,
        check=True,
        env={**os.environ},
    )
    told, *left = done.stdout.splitlines()
    assert json.loads(told)["message"] == f"tool failed (exit code 1): the disk at {disk} is full"
    assert "free space there" in json.loads(told)["hint"]
    assert not [name for name in left if name.startswith(".")]
