"""The local runner beside the pipeline itself: what it concludes, and that it runs a request once."""

from __future__ import annotations

import contextlib
import io
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pytest
from rich.console import Console

from edgeloop_contracts import Loop, RunRequest, from_json
from edgeloop_pipelines.cli import main
from edgeloop_pipelines.local.installation import lent
from edgeloop_pipelines.local.progress import Progress
from edgeloop_pipelines.local.run import conclude, execute
from edgeloop_pipelines.local.runfolder import RunBusyError, RunFolder

LOOP = from_json(
    Loop,
    {
        "apiVersion": "edgeloop.dev/v1alpha1",
        "kind": "Loop",
        "metadata": {"name": "turbine"},
        "data": {"source": "rows.csv", "label": "y", "features": ["x"]},
        "train": {"estimator": "sklearn.linear_model.LogisticRegression"},
        "targets": [{"name": "cabinet", "nodes": {"group": "cabinets"}}],
    },
)
REQUEST = RunRequest(loop="turbine", key="turbine-1", cause="drift")


def ended(step: str, target: str = "", **notes: Any) -> list[dict[str, Any]]:
    """The two lines of a step that went well."""
    head = {"step": step, "target": target}
    return [{**head, "event": "started", "at_s": 1.0}, {**head, "event": "finished", "seconds": 0.5, "notes": notes}]


def failed(step: str, target: str = "") -> list[dict[str, Any]]:
    head = {"step": step, "target": target}
    return [{**head, "event": "started"}, {**head, "event": "failed", "seconds": 0.1, "error": "OSError: disk full"}]


JUDGED = ended("validate", accepted=True, gates=[{"gate": "schema"}]) + ended("register", version=3)


@pytest.mark.parametrize(
    ("events", "error", "state", "said"),
    [
        (JUDGED + ended("rollout"), "", "succeeded", ""),
        (ended("validate", accepted=False) + ended("register", version=3), "", "rejected", ""),
        (JUDGED + failed("compile", "cabinet"), "kfp says so", "failed", "step compile/cabinet: OSError: disk full"),
        (JUDGED + ended("rollout") + failed("outcome"), "kfp says so", "failed", "step outcome: OSError"),
        (JUDGED, "", "failed", "ended before its rollout"),
        ([], "", "failed", "ended before its rollout"),
        (JUDGED + ended("compile")[:1], "kfp says so", "failed", "step compile ended without a word"),
        ([], "Pipeline \x1b[95m'x'\x1b[0m failed", "failed", "Pipeline 'x' failed"),
    ],
)
def test_what_a_run_came_to(events: list[dict[str, Any]], error: str, state: str, said: str) -> None:
    """The result follows from the steps' own events; a pipeline that skips what it should run has failed."""
    result = conclude(REQUEST, events, error=error, log="run.log")
    assert result["state"] == state
    assert said in result["error"]
    assert (result["error"] == "") == (state != "failed")
    assert ("run.log" in result["error"]) == (state == "failed")


def test_the_result_holds_version_gates_and_seconds() -> None:
    """What the status page and the trigger read."""
    result = conclude(REQUEST, JUDGED + ended("package", "cabinet") + ended("rollout"), error="", log="run.log")
    assert (result["version"], result["accepted"], result["gates"]) == (3, True, [{"gate": "schema"}])
    assert result["seconds"] == {"validate": 0.5, "register": 0.5, "package/cabinet": 0.5, "rollout": 0.5}


def test_what_a_step_says_meanwhile_is_no_end_of_it() -> None:
    """Its seconds are those of its end; a step that was killed after it had said something has ended without a word."""
    said = {"step": "compile", "target": "gate", "event": "said", "at_s": 1.0, "text": "fpga: placing"}
    events = [*ended("compile", "gate")[:1], said]
    assert "step compile/gate ended without a word" in conclude(REQUEST, events, error="kfp", log="run.log")["error"]
    events += ended("compile", "gate")[1:]
    assert conclude(REQUEST, events, error="", log="run.log")["seconds"] == {"compile/gate": 0.5}


def test_a_person_sees_what_a_long_step_does() -> None:
    """While it runs; brackets in what it says are no markup."""
    progress = Progress(console := Console(file=io.StringIO(), width=200))
    for event in ({"event": "started"}, {"event": "said", "text": "fpga: yosys: 10 s, [Info] x"}):
        progress({"step": "compile", "target": "gate", **event})
    assert progress.now == "compile gate (fpga: yosys: 10 s, [Info] x)"
    progress({"step": "compile", "target": "gate", "event": "finished", "seconds": 3.0, "notes": {"agreement": 0.98}})
    assert progress.now == "between steps"
    assert "3.00 s  agreement 0.98" in console.file.getvalue()  # type: ignore[attr-defined]


def test_a_failed_step_leaves_a_clear_result(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Without an object store the real pipeline fails in its first step: named, with the cause and the log; run once."""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL"):
        monkeypatch.delenv(name, raising=False)
    seen: list[Any] = []
    result = execute(tmp_path, REQUEST, LOOP, watch=seen.append)
    assert result["state"] == "failed"
    assert "step ingest: StoreError" in result["error"]
    assert "AWS_ENDPOINT_URL_S3" in result["error"]
    assert "train" not in result["seconds"], "no step ran after the failed one, but for the exit handler"
    assert [event["event"] for event in seen if event["step"] == "ingest"] == ["started", "failed"]
    log = Path(result["log"]).read_text()
    assert "Traceback" in log
    assert json.loads((tmp_path / "runs" / REQUEST.key / "result.json").read_text()) == result
    assert not list((tmp_path / "runs" / REQUEST.key / "artifacts").glob("tmp*")), "scratch files are gone"
    again = execute(tmp_path, REQUEST, LOOP, watch=seen.append)
    assert again == {**result, "again": True}
    assert Path(result["log"]).read_text() == log


def test_a_run_that_is_run_is_left_alone(tmp_path: Path) -> None:
    """Whoever comes second is told so at once, and changes nothing."""
    folder = RunFolder(tmp_path, REQUEST.key)
    with folder.held(), pytest.raises(RunBusyError, match="is being run by process"):
        execute(tmp_path, REQUEST, LOOP)
    assert folder.result() is None


def test_the_module_runs_an_order_from_files(tmp_path: Path) -> None:
    """`python -m edgeloop_pipelines.local.run`: exit code 1 and the result on standard output when the run fails."""
    folder = RunFolder(tmp_path, REQUEST.key)
    folder.write_order(REQUEST, LOOP)
    assert folder.read_order() == (REQUEST, LOOP)
    argv = ["--home", tmp_path, "--request", folder.request, "--loop", folder.loop]
    done = subprocess.run(
        [sys.executable, "-m", "edgeloop_pipelines.local.run", *map(str, argv)],
        capture_output=True,
        text=True,
        timeout=60,
        env={"PATH": "/usr/bin:/bin"},
    )
    assert done.returncode == 1, done.stderr
    assert json.loads(done.stdout) == folder.result()


LOOP_YAML = """
apiVersion: edgeloop.dev/v1alpha1
kind: Loop
metadata: {name: turbine}
data: {source: rows.csv, label: y, features: [x]}
train: {estimator: sklearn.linear_model.LogisticRegression}
targets: [{name: cabinet, nodes: {group: cabinets}}]
"""
NOBODY = {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9", "AWS_ACCESS_KEY_ID": "a", "AWS_SECRET_ACCESS_KEY": "b"}


def start_run(home: Path, how: str) -> subprocess.Popen[bytes]:
    """A run in a process: the command with a SeaweedFS of its own, or the module with a store that never answers."""
    folder = RunFolder(home, REQUEST.key)
    folder.write_order(REQUEST, LOOP)
    (home / "loop.yaml").write_text(LOOP_YAML)
    (home / "rows.csv").write_text("x,y\n" + "1,a\n2,b\n" * 50)
    module = ["edgeloop_pipelines.local.run", "--home", home, "--request", folder.request, "--loop", folder.loop]
    command = ["edgeloop_pipelines.cli", "run", home / "loop.yaml", "--home", home, "--run-key", REQUEST.key]
    words = {"module": module, "command": command}[how]
    return subprocess.Popen(
        [sys.executable, "-m", *map(str, words)],
        env={"PATH": "/usr/bin:/bin", **(NOBODY if how == "module" else {})},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )


def processes_of(home: Path) -> dict[int, str]:
    """Command lines of the processes that carry the folder in their command line or environment."""
    found = {}
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(OSError):
            command, environment = (folder / "cmdline").read_bytes(), (folder / "environ").read_bytes()
            if str(home).encode() in command + environment and int(folder.name) != os.getpid():
                found[int(folder.name)] = command.decode(errors="replace")
    return found


def in_a_step(home: Path) -> bool:
    """Whether a step has said that it started, and a process of kfp's executor lives."""
    events = RunFolder(home, REQUEST.key).events
    said = events.exists() and "started" in events.read_text()
    return said and any("executor_main" in command for command in processes_of(home).values())


@pytest.mark.slow
@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
@pytest.mark.parametrize("how", ["command", "module"])
def test_a_stopped_run_leaves_no_process(tmp_path: Path, how: str, number: int, code: int) -> None:
    """A signal to the one process, in the middle of a step: the step and its shell are gone, and so is the store."""
    with start_run(tmp_path, how) as process:
        try:
            end = time.monotonic() + 60
            while not in_a_step(tmp_path):
                assert process.poll() is None
                assert time.monotonic() < end
                time.sleep(0.02)
            process.send_signal(number)
            assert process.wait(10) == code
        finally:
            process.kill()
    end = time.monotonic() + 5
    while left := processes_of(tmp_path):
        assert time.monotonic() < end, left
        time.sleep(0.05)
    assert RunFolder(tmp_path, REQUEST.key).result() is None, "it may be started again"


def test_a_wrong_loop_file_starts_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`edgeloop run` of a broken file: every mistake with its line, exit code 1, nothing written."""
    (tmp_path / "loop.yaml").write_text("apiVersion: edgeloop.dev/v1alpha1\nkind: Loop\nmetadata: {nam: x}\n")
    assert main(["run", str(tmp_path / "loop.yaml"), "--home", str(tmp_path / "home")]) == 1
    assert "loop.yaml:3:" in capsys.readouterr().err
    assert not (tmp_path / "home").exists()


@pytest.mark.parametrize(
    ("known", "expected"),
    [
        ({}, {"EDGELOOP_NODES_LEND": "python3.11"}),
        ({"EDGELOOP_NODES_LEND": ""}, {}),
        ({"EDGELOOP_NODES_LEND": "cuda"}, {}),
        ({"EDGELOOP_FLEET_URL": "http://fleet.example"}, {}),
    ],
)
def test_what_nodes_lend_is_said_once(
    monkeypatch: pytest.MonkeyPatch, known: dict[str, str], expected: dict[str, str]
) -> None:
    """This machine's nodes lend Python, unless the environment says what is lent, nothing included, or names another fleet."""
    for name in ("EDGELOOP_NODES_LEND", "EDGELOOP_FLEET_URL"):
        monkeypatch.delenv(name, raising=False)
    for name, value in known.items():
        monkeypatch.setenv(name, value)
    assert lent() == expected


def test_what_kfp_does_to_print_is_undone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Two steps side by side: the first to end puts back Python's `print`, the second the first one's."""
    import builtins

    from kfp.local.logging_utils import indented_print

    from edgeloop_pipelines.local.run import _print_as_before

    before = builtins.print
    monkeypatch.setattr(builtins, "print", before)
    with _print_as_before():
        one, other = indented_print(), indented_print()
        one.__enter__()
        other.__enter__()
        one.__exit__(None, None, None)
        other.__exit__(None, None, None)
        assert builtins.print is not before
    assert builtins.print is before
