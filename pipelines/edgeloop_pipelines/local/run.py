"""Runs the training pipeline on this machine: the very pipeline of a cluster, under kfp.local, one process a step.

`execute` runs a request once: never twice at the same time (a lock), never again after it has ended (its result is there).
What kfp and the steps print goes to `run.log`; what a person sees comes from the steps' own events. A run that was killed
leaves no result, so it may be started again under the same key; every step is idempotent by that key. SIGINT and SIGTERM
kill the steps first.

    python -m edgeloop_pipelines.local.run --home DIR --request FILE --loop FILE
"""

from __future__ import annotations

import argparse
import builtins
import contextlib
import ctypes
import json
import logging
import os
import re
import shutil
import signal
import sys
import threading
import time
import warnings
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeloop_components.steps import EVENTS, LOG
from edgeloop_contracts import Loop, RunRequest, loads
from edgeloop_pipelines.local.installation import lent
from edgeloop_pipelines.local.runfolder import RunBusyError, RunFolder

__all__ = ["EXIT_CODES", "conclude", "execute", "main", "run_locally"]

Event = Mapping[str, Any]
Watch = Callable[[Event], None]
EXIT_CODES = {"succeeded": 0, "failed": 1, "rejected": 4}
_ENDS = ("finished", "failed")
_FOLLOW_S = 0.05
_KILL_S = 3.0  # how long what was killed may take to be gone
_PR_SET_CHILD_SUBREAPER = 36
_COLOURS = re.compile(r"\x1b\[[0-9;]*m")


def execute(
    home: Path, request: RunRequest, loop: Loop, *, watch: Watch | None = None, lock_fd: int | None = None
) -> dict[str, Any]:
    """Runs the request and gives its result document; `again` in it says that it had ended before.

    `watch` is called with every event of a step, in a thread. RunBusyError when another process runs the request.
    """
    folder = RunFolder(home, request.key)
    with folder.held(lock_fd):
        earlier = folder.result()
        if earlier is not None:
            return {**earlier, "again": True}
        folder.write_order(request, loop)
        started_s = time.time()
        with _stoppable():
            error = _attempt(folder, request, loop, watch or (lambda _: None))
        result = conclude(request, read_events(folder.events), error=error, log=str(folder.log))
        result = {**result, "started_s": started_s, "total_s": round(time.time() - started_s, 3)}
        folder.write_result(result)
    return result


def _attempt(folder: RunFolder, request: RunRequest, loop: Loop, watch: Watch) -> str:
    """One try in a clean folder; gives what kfp says about a failure, or nothing."""
    from edgeloop_pipelines.training import arguments_of, training

    shutil.rmtree(folder.artifacts, ignore_errors=True)
    folder.events.write_text("")
    with _followed(folder.events, watch), _folder_of(loop), folder.log.open("a", buffering=1) as log:
        try:
            run_locally(training, arguments_of(request, loop), folder.artifacts, log=log, events=folder.events)
        except RuntimeError as error:  # kfp.local raises this, and nothing more telling, when a task has failed
            return str(error)
    return ""


def run_locally(pipeline: Any, arguments: Mapping[str, Any], root: Path, *, log: Any, events: Path) -> None:
    """Runs a compiled pipeline function under kfp.local. RuntimeError when a task fails. Not for two threads at once."""
    from kfp import local

    scratch = root / "tmp"
    scratch.mkdir(parents=True, exist_ok=True)
    names = {EVENTS: str(events), LOG: getattr(log, "name", ""), "TMPDIR": str(scratch), **lent()}
    with (
        _environment(names),
        contextlib.redirect_stdout(log),
        _logging_to(log),
        _print_as_before(),
        warnings.catch_warnings(),
    ):
        warnings.simplefilter(
            "ignore"
        )  # kfp warns of what a cluster has and this machine has not: images, node affinity
        local.init(
            runner=local.SubprocessRunner(use_venv=False),
            pipeline_root=str(root),
            workspace_root=str(root / "workspace"),
            raise_on_error=True,
        )
        try:
            pipeline(**arguments)
        finally:
            shutil.rmtree(scratch, ignore_errors=True)


@contextlib.contextmanager
def _environment(names: Mapping[str, str]) -> Iterator[None]:
    before = {name: os.environ.get(name) for name in names}
    os.environ.update(names)
    try:
        yield
    finally:
        for name, value in before.items():
            os.environ.pop(name) if value is None else os.environ.__setitem__(name, value)


@contextlib.contextmanager
def _print_as_before() -> Iterator[None]:
    """kfp puts an indenting `print` in the place of Python's; steps that run side by side leave one of theirs behind."""
    before = builtins.print
    try:
        yield
    finally:
        builtins.print = before


@contextlib.contextmanager
def _logging_to(log: Any) -> Iterator[None]:
    """What kfp says outside of its own log handler goes to the log too, and not to the console."""
    root, handler = logging.getLogger(), logging.StreamHandler(log)
    before, root.handlers = root.handlers, [handler]
    try:
        yield
    finally:
        root.handlers = before


@contextlib.contextmanager
def _folder_of(loop: Loop) -> Iterator[None]:
    """Works in the folder of loop.yaml, where its relative paths and its own modules are."""
    folder = loop.extra.get("folder", "")
    with contextlib.chdir(folder) if folder else contextlib.nullcontext():
        paths = [folder, os.environ.get("PYTHONPATH", "")] if folder else [os.environ.get("PYTHONPATH", "")]
        with _environment({"PYTHONPATH": os.pathsep.join(filter(None, paths))}):
            yield


@contextlib.contextmanager
def _followed(path: Path, watch: Watch) -> Iterator[None]:
    """Hands every line that is added to the file to `watch`; all of them before it ends."""
    ended = threading.Event()

    def follow() -> None:
        rest = ""
        with path.open() as stream:
            last = False
            while not last:
                last = ended.wait(_FOLLOW_S)
                *lines, rest = (rest + stream.read()).split("\n")
                for line in lines:
                    watch(json.loads(line))

    thread = threading.Thread(target=follow, daemon=True)
    thread.start()
    try:
        yield
    finally:
        ended.set()
        thread.join()


def read_events(path: Path) -> list[Event]:
    return [json.loads(line) for line in path.read_text().splitlines()] if path.exists() else []


def conclude(request: RunRequest, events: Sequence[Event], *, error: str, log: str) -> dict[str, Any]:
    """The result of a run from its events, and from what kfp said (`error`, '' when it saw no failure).

    A run has succeeded when its version is accepted and its rollout was written; a pipeline that ends well without that
    has skipped what it should have run, and counts as failed.
    """
    notes: dict[str, Any] = {}
    for event in events:
        notes.update(event.get("notes", {}))
    accepted = notes.get("accepted")
    why = _reason(events, error, log)
    if not why and (accepted is None or (accepted and not _ended(events, "rollout"))):
        why = f"the pipeline ended before its rollout; its log: {log}"
    state = "failed" if why else "succeeded" if accepted else "rejected"
    return {
        "run_key": request.key,
        "loop": request.loop,
        "cause": request.cause,
        "state": state,
        "version": notes.get("version"),
        "accepted": accepted,
        "gates": notes.get("gates", []),
        "seconds": {_full(e): round(e["seconds"], 3) for e in events if e["event"] in _ENDS},
        "error": why,
        "log": log,
    }


def _full(event: Event) -> str:
    return f"{event['step']}/{event['target']}" if event.get("target") else str(event["step"])


def _ended(events: Sequence[Event], step: str) -> bool:
    return any(event["step"] == step and event["event"] == "finished" for event in events)


def _reason(events: Sequence[Event], error: str, log: str) -> str:
    failed = [f"step {_full(event)}: {event['error']}" for event in events if event["event"] == "failed"]
    ended = {_full(event) for event in events if event["event"] in _ENDS}
    killed = [f"step {_full(e)} ended without a word (killed?)" for e in events if _full(e) not in ended]
    found = failed or (killed if error else []) or ([_COLOURS.sub("", error)] if error else [])
    return "; ".join(found) + f" (log: {log})" if found else ""


@contextlib.contextmanager
def _stoppable() -> Iterator[None]:
    """SIGINT and SIGTERM end what was started inside the block before they end the block: nothing is left behind.

    kfp starts the steps through a shell, in the process group of whoever called us: there is no group of theirs to
    signal. So all descendants are killed, but for those that were there before (the object store). Only the main thread of
    a process takes signals; in another one this does nothing. A signal that is ignored stays ignored.
    """
    spared = {pid for pid, parent in _processes() if parent == os.getpid()}
    before: dict[int, Any] = {}

    def stop(number: int, _frame: Any) -> None:
        for other in before:
            signal.signal(other, signal.SIG_IGN)
        _kill_descendants(spared)
        raise KeyboardInterrupt if number == signal.SIGINT else SystemExit(128 + number)

    if threading.current_thread() is threading.main_thread():
        asked = (signal.SIGINT, signal.SIGTERM)
        before = {n: handler for n in asked if (handler := signal.getsignal(n)) != signal.SIG_IGN}
    for number in before:
        signal.signal(number, stop)
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _kill_descendants(spared: set[int]) -> None:
    """SIGKILL to every descendant but `spared` and theirs, until none lives; what one of them forks meanwhile too."""
    libc, end = ctypes.CDLL(None, use_errno=True), time.monotonic() + _KILL_S
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 1)  # a child of a killed one becomes ours, so that the next look finds it
    while (found := _descendants(spared)) and time.monotonic() < end:
        for pid in found:
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)
        time.sleep(0.02)
    libc.prctl(_PR_SET_CHILD_SUBREAPER, 0)


def _descendants(spared: set[int]) -> set[int]:
    parents, found, new = dict(_processes()), set[int](), {os.getpid()}
    while new:
        new = {pid for pid, parent in parents.items() if parent in new} - spared - found
        found |= new
    return found


def _processes() -> Iterator[tuple[int, int]]:
    """Process and parent of all processes that have not ended."""
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError):
            state, parent = stat.read_text(errors="replace").rpartition(")")[2].split()[:2]
            if state not in "ZX":
                yield int(stat.parent.name), int(parent)


def main(arguments: Sequence[str] | None = None) -> int:
    parser = argparse.ArgumentParser(prog="python -m edgeloop_pipelines.local.run", description=__doc__)
    parser.add_argument("--home", type=Path, required=True)
    parser.add_argument("--request", type=Path, required=True)
    parser.add_argument("--loop", type=Path, required=True)
    parser.add_argument("--lock-fd", type=int, help="descriptor of the run's lock, taken by the parent")
    given = parser.parse_args(arguments)
    request, loop = loads(RunRequest, given.request.read_bytes()), loads(Loop, given.loop.read_bytes())
    try:
        result = execute(given.home, request, loop, lock_fd=given.lock_fd)
    except RunBusyError as error:
        print(f"error: {error}", file=sys.stderr)
        return error.exit_code
    except KeyboardInterrupt:
        return 128 + signal.SIGINT
    print(json.dumps(result))
    return EXIT_CODES[result["state"]]


if __name__ == "__main__":
    sys.exit(main())
