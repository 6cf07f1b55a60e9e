"""Starts the real server under limits, waits until it is ready, offers load, and says what became of it.

A start is judged by three things together: the exit status, the kernel's count of OOM kills, and the time until it is
ready. A server short of memory may neither die nor serve but thrash, dropping and reading its own pages; only the clock tells.
Every start runs from a copy of its own, in a group of its own, and binds a port that the system picks.
"""

from __future__ import annotations

import contextlib
import json
import math
import signal
import subprocess
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeloop_components.lifeline import die_with_parent
from edgeloop_components.profile.cgroups import Group, Groups, Limits, Usage
from edgeloop_components.profile.load import Load, LoadError, offer
from edgeloop_components.profile.subject import Subject, Words, drop_pages, foreign_mib

__all__ = ["Bench", "Running", "StartFailed"]

MIB = 1 << 20
_LAST_CHARACTERS = 600
_CHECK_S, _SETTLE_S = 10.0, 5.0


class StartFailed(Exception):  # noqa: N818 - an answer, not a fault: the limit was too tight
    """The server did not become ready under the limits; the message says what was seen."""


@dataclass
class Running:
    """A server that is ready."""

    port: int
    load_ms: float
    process: subprocess.Popen[bytes]
    group: Group | None
    folder: Path
    requests: Path
    timeout_s: float

    def offer(self, rate_per_s: float, seconds: float, seed: int) -> Load:
        """Load at one rate. StartFailed when the server is gone.

        One that lives but accepts no connection (its queue is full of what an overload left) has failed every query.
        """
        how = {"rate_per_s": rate_per_s, "seconds": seconds, "seed": seed, "timeout_s": self.timeout_s}
        try:
            return offer(self.port, self.requests, wait_s=_SETTLE_S, **how)  # type: ignore[arg-type]
        except LoadError as error:
            if self.process.poll() is not None or self.oom_kills():
                raise StartFailed(self.end()) from error
            if "nobody answers" not in str(error):
                raise
        lost = max(1, round(rate_per_s * seconds))
        return Load(rate_per_s, seconds, seed, [math.inf] * lost, {"unconnected": lost}, 0.0, 0.0, seconds)

    def usage(self) -> Usage | None:
        return self.group.usage() if self.group else None

    def oom_kills(self) -> int:
        usage = self.usage()
        return usage.oom_kills if usage else 0

    def cpu_s(self) -> float:
        """CPU time of the server so far."""
        usage = self.usage()
        if usage:
            return usage.cpu_ns / 1e9
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/schedstat")
        return sum(int(task.read_text().split()[0]) for task in tasks) / 1e9

    def peak_mib(self) -> float:
        """The most memory: the group's peak, with what it maps of files that others may have paid for."""
        text = Path(f"/proc/{self.process.pid}/smaps").read_text()
        usage = self.usage()
        if usage is None:
            return _high_water_mib(self.process.pid)
        return usage.memory_peak_bytes / MIB + foreign_mib(text, self.folder)

    def shared_mib(self) -> float:
        """Memory of mapped files that may be charged elsewhere."""
        return foreign_mib(Path(f"/proc/{self.process.pid}/smaps").read_text(), self.folder)

    def end(self) -> str:
        """How it ended, in a sentence."""
        return _ending(self.process, self.oom_kills(), self.folder)


def _high_water_mib(pid: int) -> float:
    status = Path(f"/proc/{pid}/status").read_text()
    line = next(line for line in status.splitlines() if line.startswith("VmHWM:"))
    return int(line.split()[1]) / 1024


def _ending(process: subprocess.Popen[bytes], oom_kills: int, folder: Path) -> str:
    status = process.poll()
    seen = "it still ran" if status is None else f"it ended with {_status(status)}"
    words = (
        (folder / "log").read_text(errors="replace").strip()[-_LAST_CHARACTERS:] if (folder / "log").exists() else ""
    )
    return f"{seen}, OOM kills: {oom_kills}" + (f", last words: {words}" if words and not oom_kills else "")


def _status(status: int) -> str:
    return signal.Signals(-status).name if status < 0 else f"exit code {status}"


@dataclass
class Bench:
    """Where trials of one subject are made. `groups` is None where control groups cannot be used."""

    subject: Subject
    groups: Groups | None
    requests: bytes
    patience_s: float
    timeout_s: float
    fresh: bool  # whether libraries are copied too, so that none is in memory already

    @contextlib.contextmanager
    def started(self, limits: Limits, threads: int = 1) -> Iterator[Running]:
        """The server with so many threads, ready, under limits; stopped at the end. StartFailed, ProfileError."""
        with tempfile.TemporaryDirectory(prefix="edgeloop-profile-", ignore_cleanup_errors=True) as made:
            folder = Path(made)
            words = self.subject.copy(folder, self.fresh)
            (folder / "requests").write_bytes(self.requests)
            if self.fresh:
                drop_pages(folder)
            group = self.groups.create(limits) if self.groups else None
            try:
                yield from self._run(words, group, folder, threads)
            finally:
                if group:
                    group.close()

    def _run(self, words: Words, group: Group | None, folder: Path, threads: int) -> Iterator[Running]:
        run_dir = folder / "run"
        run_dir.mkdir()
        argv = [*words.program, *words.serve, "--host", "127.0.0.1", "--port", "0", "--run-dir", str(run_dir)]
        environment = {**self.subject.environment(folder), "EDGELOOP_NODE": "profile"}  # a host's name may be none
        if self.subject.threaded:
            environment["EDGELOOP_THREADS"] = str(threads)
        began_s = time.monotonic()
        with (folder / "log").open("wb") as log:
            process = subprocess.Popen(
                group.command(argv) if group else argv,
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                env=environment,
                cwd=folder,
                start_new_session=True,
                preexec_fn=die_with_parent,  # noqa: PLW1509 (one C call, nothing that could take a lock)
            )
        try:
            port = self._ready(process, group, folder, began_s)
            ready_ms = (time.monotonic() - began_s) * 1000
            running = Running(port, ready_ms, process, group, folder, folder / "requests", self.timeout_s)
            self._probe(words, running, environment)
            yield running
        finally:
            process.kill()
            process.wait()

    def _ready(self, process: subprocess.Popen[bytes], group: Group | None, folder: Path, began_s: float) -> int:
        """Waits for the server's entry in its run folder; the port that it says."""
        while not (found := _entry(folder / "run")):
            kills = group.usage().oom_kills if group else 0
            if process.poll() is not None or kills:
                raise StartFailed(_ending(process, kills, folder))
            if time.monotonic() - began_s > self.patience_s:
                raise StartFailed(f"not ready within {self.patience_s:g} s, {_ending(process, kills, folder)}")
            time.sleep(0.002)
        return int(found["port"])

    def _probe(self, words: Words, running: Running, environment: dict[str, str]) -> None:
        """The exec probe of its pod, in its group: its memory counts, too."""
        argv = [*words.program, "check", "--run-dir", str(running.folder / "run"), "--pid", str(running.process.pid)]
        try:
            done = subprocess.run(
                running.group.command(argv) if running.group else argv,
                capture_output=True,
                text=True,
                env=environment,
                timeout=self.patience_s + _CHECK_S,
                cwd=running.folder,
            )
        except subprocess.TimeoutExpired:
            raise StartFailed(f"its readiness probe did not end, {running.end()}") from None
        if done.returncode or running.oom_kills():
            raise StartFailed(
                f"its readiness probe ended with {done.returncode}, {running.end()}: {done.stderr[-200:]}"
            )


def _entry(run_dir: Path) -> dict[str, Any] | None:
    for path in run_dir.glob("*.json"):
        with contextlib.suppress(OSError, ValueError):
            document: dict[str, Any] = json.loads(path.read_bytes())
            if "port" in document:
                return document
    return None
