"""The folder of one run on this machine, `<home>/runs/<run_key>/`: what was asked, the lock, the events, the result.

    request.json loop.json   what to run          lock         held (flock) as long as somebody runs it; holds the process id
    events.jsonl             one line a step      run.log      everything that the steps and kfp said
    artifacts/               the steps' outputs   result.json  written once, last: the run has ended

The lock is the kernel's, so it goes with the process, however that ended. This module runs nothing.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any, TextIO

from edgeloop_components.steps import write_json
from edgeloop_contracts import Loop, RunRequest, dumps, loads

__all__ = ["KEY", "KEY_FORM", "RunBusyError", "RunFolder", "RunKeyError", "stop_all"]

KEY, KEY_FORM = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}"), "at most 80 letters, digits, '.', '_' and '-'"


_PATIENCE = 10  # tries to take a lock, 20 ms apart


class RunBusyError(RuntimeError):
    """Somebody else runs this run now."""

    exit_code = 1
    hint = "wait for it, or look into its run.log"


class RunKeyError(ValueError):
    """The key cannot name a folder."""

    exit_code = 2


class RunFolder:
    """Paths and documents of one run. RunKeyError for a key that is no plain name."""

    def __init__(self, home: Path, key: str) -> None:
        if not KEY.fullmatch(key):
            raise RunKeyError(f"run key: expected {KEY_FORM}, got {key[:100]!r}")
        self.key, self.path = key, home.absolute() / "runs" / key
        self.request, self.loop = self.path / "request.json", self.path / "loop.json"
        self.events, self.log, self.artifacts = (
            self.path / "events.jsonl",
            self.path / "run.log",
            self.path / "artifacts",
        )
        self._result, self._lock = self.path / "result.json", self.path / "lock"

    def write_order(self, request: RunRequest, loop: Loop) -> None:
        """Writes what is to be run; atomic, file by file."""
        self.path.mkdir(parents=True, exist_ok=True)
        write_json(self.request, json.loads(dumps(request)))
        write_json(self.loop, json.loads(dumps(loop)))

    def read_order(self) -> tuple[RunRequest, Loop]:
        return loads(RunRequest, self.request.read_bytes()), loads(Loop, self.loop.read_bytes())

    def result(self) -> dict[str, Any] | None:
        """The result document, or None while the run has not ended."""
        try:
            document: dict[str, Any] = json.loads(self._result.read_bytes())
        except FileNotFoundError:
            return None
        return document

    def write_result(self, document: dict[str, Any]) -> None:
        write_json(self._result, document)

    def lock(self) -> TextIO:
        """Takes the lock; it is held until the file is closed in every process that has it. RunBusyError when it is held."""
        self.path.mkdir(parents=True, exist_ok=True)
        stream = self._lock.open("a+")
        for _ in range(_PATIENCE):
            if _flock(stream, fcntl.LOCK_EX):
                return stream
            time.sleep(0.02)  # somebody may only be looking
        holder = self._lock.read_text().strip() or "unknown"
        stream.close()
        raise RunBusyError(f"run {self.key} is being run by process {holder}")

    @contextlib.contextmanager
    def held(self, inherited: int | None = None) -> Iterator[None]:
        """Holds the lock for a while: a new one, or the one that this process got from its parent as a descriptor."""
        with os.fdopen(inherited, "a+") if inherited is not None else self.lock() as stream:
            stream.truncate(0)
            stream.write(str(os.getpid()))
            stream.flush()
            os.set_inheritable(stream.fileno(), False)
            yield

    def alive(self) -> bool:
        """Whether a process runs it now."""
        if not self._lock.exists():
            return False
        with self._lock.open("a+") as stream:
            return not _flock(stream, fcntl.LOCK_SH)

    def stop(self) -> bool:
        """Asks the process that runs it to stop, with all its steps; False when nobody runs it."""
        if not self.alive():
            return False
        with contextlib.suppress(ValueError, ProcessLookupError):
            os.kill(int(self._lock.read_text()), signal.SIGTERM)
        return True


def _flock(stream: TextIO, kind: int) -> bool:
    try:
        fcntl.flock(stream, kind | fcntl.LOCK_NB)
    except BlockingIOError:
        return False
    return True


def stop_all(home: Path) -> list[str]:
    """Stops every run of this home; gives their keys. They begin anew when they are started again."""
    folders = sorted((home / "runs").glob("*/lock")) if (home / "runs").is_dir() else []
    return [folder.parent.name for folder in folders if RunFolder(home, folder.parent.name).stop()]
