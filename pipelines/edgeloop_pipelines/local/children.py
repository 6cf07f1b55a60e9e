"""Child processes of one machine's platform: started with a log file, watched, stopped, and never left behind.

A child gets SIGKILL from the kernel when the thread that started it ends (PR_SET_PDEATHSIG): so start children from a
thread that lives as long as they shall. `stop` asks first (SIGTERM to the whole process group) and insists after a grace.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from edgeloop_components.lifeline import die_with_parent

__all__ = ["Child", "ChildError", "free_port", "listening", "start", "wait_ready"]


class ChildError(RuntimeError):
    """A child did not start, did not become ready, or ended; the message holds the last lines of its log."""


@dataclass(frozen=True)
class Child:
    """A started process, the leader of a process group of its own."""

    name: str
    process: subprocess.Popen[bytes]
    log: Path

    @property
    def pid(self) -> int:
        return self.process.pid

    @property
    def alive(self) -> bool:
        return self.process.poll() is None

    def kill(self) -> None:
        """SIGKILL to the whole group, as a power cut would."""
        self._signal(signal.SIGKILL)
        self.process.wait()

    def stop(self, grace_s: float = 5.0) -> None:
        """SIGTERM to the whole group, SIGKILL to what is left of it after the grace."""
        if self.alive:
            self._signal(signal.SIGTERM)
            with contextlib.suppress(subprocess.TimeoutExpired):
                self.process.wait(grace_s)
        self._signal(signal.SIGKILL)
        self.process.wait()

    def _signal(self, number: int) -> None:
        with contextlib.suppress(ProcessLookupError):
            os.killpg(self.process.pid, number)

    def last_lines(self, count: int = 8) -> str:
        lines = self.log.read_text(errors="replace").splitlines() if self.log.exists() else []
        return "\n".join(lines[-count:])


def start(
    name: str, argv: Sequence[str], *, log: Path, env: Mapping[str, str] | None = None, cwd: Path | None = None
) -> Child:
    """Starts `argv` in a group of its own; its output is appended to `log`. `env` is added to this process's."""
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("ab") as stream:
        try:
            process = subprocess.Popen(
                list(argv),
                stdin=subprocess.DEVNULL,
                stdout=stream,
                stderr=subprocess.STDOUT,
                env={**os.environ, **(env or {})},
                cwd=cwd,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 (one C call, nothing that could take a lock)
            )
        except OSError as error:
            raise ChildError(f"{name} does not start: {error}") from error
    return Child(name, process, log)


def wait_ready(child: Child, ready: Callable[[], bool], timeout_s: float) -> None:
    """Waits until `ready` says so; ChildError when the child ends or the time is over."""
    end = time.monotonic() + timeout_s
    while not ready():
        if not child.alive:
            raise ChildError(f"{child.name} ended with exit code {child.process.returncode}:\n{child.last_lines()}")
        if time.monotonic() > end:
            raise ChildError(f"{child.name} was not ready within {timeout_s:g} s:\n{child.last_lines()}")
        time.sleep(0.03)


def free_port(host: str = "127.0.0.1") -> int:
    """A TCP port that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind((host, 0))
        port: int = probe.getsockname()[1]
    return port


def listening(host: str, port: int) -> bool:
    """Whether somebody accepts connections there."""
    with socket.socket() as probe:
        probe.settimeout(0.5)
        return probe.connect_ex((host, port)) == 0
