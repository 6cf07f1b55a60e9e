"""Processes of pods: started with a log file, watched without waiting, and never left behind.

The kernel kills a process when the thread that started it ends (PR_SET_PDEATHSIG), so all are started by the thread that runs
the stand-in. They inherit nothing of the stand-in's environment.
"""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
from pathlib import Path

from edgeloop_components.lifeline import die_with_parent
from edgeloop_pipelines.local.standin.containers import Command

__all__ = ["Running", "start", "start_probe"]

_LONGEST_MESSAGE = 500


class Running:
    """A process that was started, the leader of a group of its own."""

    def __init__(self, process: subprocess.Popen[bytes], output: Path | None = None) -> None:
        self._process, self._output = process, output

    @property
    def pid(self) -> int:
        return self._process.pid

    def exit_code(self) -> int | None:
        """None while it runs; the number of a signal is negative."""
        return self._process.poll()

    def signal(self, number: signal.Signals) -> None:
        """Sends a signal to the whole group; one that is gone is no error."""
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self._process.pid, number)

    def wait(self, timeout_s: float) -> bool:
        """Whether it ended within the time."""
        with contextlib.suppress(subprocess.TimeoutExpired):
            self._process.wait(timeout_s)
        return self._process.returncode is not None

    def message(self) -> str:
        """The end of what a probe said, in one line."""
        text = self._output.read_text(errors="replace") if self._output and self._output.exists() else ""
        return " ".join(text.split())[-_LONGEST_MESSAGE:]


def _start(command: Command, log: Path, folder: Path, mode: str) -> subprocess.Popen[bytes]:
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open(mode) as stream:
        return subprocess.Popen(
            list(command.argv),
            stdin=subprocess.DEVNULL,
            stdout=stream,
            stderr=subprocess.STDOUT,
            env=dict(command.env),
            cwd=folder,
            start_new_session=True,
            preexec_fn=die_with_parent,  # noqa: PLW1509 (one C call, nothing that could take a lock)
        )


def start(command: Command, log: Path, folder: Path) -> Running:
    """Starts a pod's main process in `folder`; its output is appended to `log`. OSError when it cannot be executed."""
    return Running(_start(command, log, folder, "ab"))


def start_probe(command: Command, output: Path, folder: Path) -> Running:
    """Starts a probe; `output` holds what this one says. OSError when it cannot be executed."""
    return Running(_start(command, output, folder, "wb"), output)
