"""Starts runs: as a detached process on this machine, or on Kubeflow Pipelines. Both do it at most once a key.

A starter keeps no state of its own. Whether a local run lives is asked of the kernel (its lock), how it ended of its result
file; so a fleet service that was killed knows after its restart what still runs. This module decides nothing.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Literal, Protocol

from edgeloop_contracts import Loop, RunRequest
from edgeloop_pipelines.kfpserver import RefusedError, Settings, UnreachableError, settings_from
from edgeloop_pipelines.local.runfolder import RunBusyError, RunFolder, stop_all
from edgeloop_pipelines.submit import find_run, submit

__all__ = ["KfpStarter", "LocalStarter", "Seen", "Starter", "StarterError", "starter_from"]


SeenState = Literal["running", "succeeded", "rejected", "failed", "dead"]


class StarterError(RuntimeError):
    """A run could not be started or looked at now; it may be tried again."""


@dataclass(frozen=True)
class Seen:
    """What a starter sees of a run. `dead`: it does not run and has not ended."""

    state: SeenState
    why: str = ""


class Starter(Protocol):
    """Starts runs and says what became of them."""

    def start(self, request: RunRequest, loop: Loop) -> None:
        """Starts the run unless it runs or has ended. StarterError when that is not possible now."""
        ...

    def look(self, request: RunRequest) -> Seen:
        """The state of a run. StarterError when it cannot be told now."""
        ...


@dataclass
class LocalStarter:
    """Runs as processes of their own, that outlive this one. `env` is added to the environment (object store, fleet)."""

    home: Path
    env: Mapping[str, str] = field(default_factory=dict)
    _children: dict[str, subprocess.Popen[bytes]] = field(default_factory=dict, repr=False)

    def start(self, request: RunRequest, loop: Loop) -> None:
        folder = RunFolder(self.home, request.key)
        if folder.result() is not None:
            return
        try:
            lock = folder.lock()
        except RunBusyError:
            return
        self._reap(request.key)
        with lock:  # the child inherits the lock, so that there is no moment in which nobody has it
            folder.write_order(request, loop)
            self._children[request.key] = self._spawn(folder, lock.fileno())

    def _spawn(self, folder: RunFolder, lock: int) -> subprocess.Popen[bytes]:
        arguments = [
            "--home",
            self.home.absolute(),
            "--request",
            folder.request,
            "--loop",
            folder.loop,
            "--lock-fd",
            lock,
        ]
        with folder.log.open("ab") as log:
            try:
                return subprocess.Popen(
                    [sys.executable, "-m", "edgeloop_pipelines.local.run", *map(str, arguments)],
                    stdin=subprocess.DEVNULL,
                    stdout=log,
                    stderr=subprocess.STDOUT,
                    env={**os.environ, **self.env},
                    pass_fds=[lock],
                    start_new_session=True,
                )
            except OSError as error:
                raise StarterError(f"run {folder.key} does not start: {error}") from error

    def look(self, request: RunRequest) -> Seen:
        folder = RunFolder(self.home, request.key)
        if folder.alive():
            return Seen("running")
        self._reap(request.key)
        result = folder.result()
        return Seen(result["state"], result["error"]) if result else Seen("dead", f"no result; its log: {folder.log}")

    def stop(self) -> list[str]:
        """Stops every run of this home and waits for those that this process started; gives their keys."""
        stopped = stop_all(self.home)
        for key in list(self._children):
            self._reap(key)
        return stopped

    def _reap(self, key: str) -> None:
        """Waits for a child that has let go of its run, so that no zombie stays."""
        if key in self._children:
            with contextlib.suppress(subprocess.TimeoutExpired):
                self._children.pop(key).wait(10)


@dataclass(frozen=True)
class KfpStarter:
    """Runs on Kubeflow Pipelines, through `submit`. A run's display name is its key."""

    settings: Settings

    def start(self, request: RunRequest, loop: Loop) -> None:
        with _as_starter_errors():
            submit(request, loop, self.settings)

    def look(self, request: RunRequest) -> Seen:
        with _as_starter_errors():
            run = find_run(self.settings, request.key)
        if run is None:
            return Seen("dead", f"Kubeflow Pipelines has no run {request.key}")
        return Seen(_KFP_STATES.get(run.state, "running"), run.error)


def starter_from(environment: Mapping[str, str], home: Path, env: Mapping[str, str]) -> Starter:
    """The starter of a fleet service, by EDGELOOP_RUNS: `kubeflow`, or `here` (which it is without). ValueError."""
    where = environment.get("EDGELOOP_RUNS") or "here"
    if where not in ("here", "kubeflow"):
        raise ValueError(f"EDGELOOP_RUNS: expected here or kubeflow, got {where!r}")
    if where == "here":
        return LocalStarter(home, env)
    return KfpStarter(settings_from(environment.get("KF_PIPELINES_ENDPOINT", ""), environment))


_KFP_STATES: Mapping[str, SeenState] = {
    "SUCCEEDED": "succeeded",
    "SKIPPED": "succeeded",
    "FAILED": "failed",
    "CANCELED": "failed",
}


@contextlib.contextmanager
def _as_starter_errors() -> Iterator[None]:
    try:
        yield
    except (UnreachableError, RefusedError) as error:
        raise StarterError(str(error)) from error
