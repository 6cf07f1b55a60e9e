"""What is measured: the real server of a compiled model, as its image starts it, from a copy that nobody has touched.

The page cache of a file is charged to the group that reads it first, and a library that the profiler itself has open would
cost the server nothing. So a trial may run from a fresh copy (model, server, the server's Python packages) whose pages were
written out and dropped. What is mapped from elsewhere (the interpreter, the C library) is counted by `foreign_mib` instead.

Refuses a runtime without a server here and a compiled folder without one.
"""

from __future__ import annotations

import importlib
import os
import re
import shutil
import sys
from collections.abc import Callable
from dataclasses import dataclass, replace
from pathlib import Path
from types import SimpleNamespace
from typing import TYPE_CHECKING, Any, NamedTuple, cast

from edgeloop_components.package.layers import host_platform
from edgeloop_components.runtimes import runtime_for
from edgeloop_contracts import Reference, Target, loads
from edgeloop_contracts.fpga import FpgaDesign
from edgeloop_contracts.fpga_board import DESIGN_FILE, SIMULATION_FILE
from edgeloop_contracts.fpga_frame import Layout
from edgeloop_contracts.loop import THREADED

if TYPE_CHECKING:
    from edgeloop_components.native.emit import Emitted

__all__ = ["ProfileError", "Subject", "Words", "drop_pages", "foreign_mib", "subject_of"]

DOCUMENTS = ("reference.json", "golden.json", "version.json")
_KEPT = ("PATH", "HOME", "TMPDIR", "LANG")


class ProfileError(RuntimeError):
    """The model could not be measured."""


class Words(NamedTuple):
    """A copy's program, and what makes it serve."""

    program: list[str]
    serve: list[str]


@dataclass(frozen=True)
class Subject:
    """A server to be started many times. `remark` says where it differs from what runs on the node."""

    runtime: str
    route: str  # of the request that is measured
    copy: Callable[[Path, bool], Words]  # into a folder, with its libraries or without
    environment: Callable[[Path], dict[str, str]]
    remark: str = ""

    @property
    def threaded(self) -> bool:
        """Whether it can be told its number of threads (EDGELOOP_THREADS); else it has one, by design."""
        return self.runtime in THREADED


def subject_of(compiled: Path, target: Target) -> Subject:
    """The server of a compiled folder. ProfileError, RuntimeRefused."""
    runtime = runtime_for(target)
    missing = [name for name in DOCUMENTS if not (compiled / name).is_file()]
    if missing:
        raise ProfileError(f"{compiled}: expected {', '.join(missing)} beside the model, found none")
    make = {"onnxruntime": _python, "native": _native, "fpga": _fpga, "fpga-sim": _fpga_sim}.get(runtime.name)
    if make is None:
        raise ProfileError(f"target {target.name}: the runtime {runtime.name} has no server that can be measured here")
    reference = loads(Reference, (compiled / "reference.json").read_bytes())
    return make(compiled, target, f"/v2/models/{reference.loop}/infer")


def _base_environment() -> dict[str, str]:
    return {name: os.environ[name] for name in _KEPT if name in os.environ}


def _python(compiled: Path, target: Target, route: str) -> Subject:
    def copy(folder: Path, whole: bool) -> Words:
        shutil.copytree(compiled, folder / "model")
        if whole:
            _copy_packages(folder / "site", "onnxruntime")
        return Words([sys.executable, "-m", "edgeloop_node"], ["server", "--model", str(folder / "model")])

    def environment(folder: Path) -> dict[str, str]:
        more = {"PYTHONPATH": str(folder / "site")} if (folder / "site").exists() else {}
        return {**_base_environment(), "ORT_DISABLE_TELEMETRY": "1", "PYTHONDONTWRITEBYTECODE": "1", **more}

    return Subject("onnxruntime", route, copy, environment, _foreign(target))


def _foreign(target: Target) -> str:
    here = host_platform()
    return "" if target.platform == here else f"on {here} for {target.platform}"


def _fpga(compiled: Path, target: Target, route: str) -> Subject:
    """The server with the circuit's program in place of a board, which is nowhere near a build machine."""
    simulated = (compiled / SIMULATION_FILE).is_file()
    runtime = "fpga" if simulated else "fpga-sim"

    def copy(folder: Path, whole: bool) -> Words:
        shutil.copytree(compiled, folder / "model", ignore=shutil.ignore_patterns("rtl", "placed*"))
        if whole:
            _copy_packages(folder / "site", "fpga")
        words = ["server", "--model", str(folder / "model"), "--runtime", runtime]
        return Words([sys.executable, "-m", "edgeloop_node"], words)

    def environment(folder: Path) -> dict[str, str]:
        more = {"PYTHONPATH": str(folder / "site")} if (folder / "site").exists() else {}
        return {**_base_environment(), "EDGELOOP_DEVICE": "simulation", "PYTHONDONTWRITEBYTECODE": "1", **more}

    what = "the circuit simulated" if simulated else "the integer model"
    board = f"with {what} in place of a board{_line(compiled, target)}"
    return Subject("fpga", route, copy, environment, " ".join(filter(None, (_foreign(target), board))))


def _line(compiled: Path, target: Target) -> str:
    """What a board's serial line adds to every row, where the target has a board; nothing measured here waits for it."""
    if not target.fpga.device:
        return ""
    design = loads(FpgaDesign, (compiled / DESIGN_FILE).read_bytes())
    line_ms = 1e3 * Layout.of(design).row_s(target.fpga.baud)
    return f", whose line takes {line_ms:.2f} ms a row more at {target.fpga.baud} baud (computed)"


def _fpga_sim(compiled: Path, target: Target, route: str) -> Subject:
    """The integer model, which is what runs on the node."""
    return replace(_fpga(compiled, target, route), runtime="fpga-sim", remark=_foreign(target))


def _copy_packages(site: Path, runtime: str) -> None:
    """The packages as the image has them: no bytecode, no tests."""
    from edgeloop_components.package.installed import code_layer, wheels_layer
    from edgeloop_components.package.layers import SITE

    module = importlib.import_module(f"edgeloop_components.runtimes.{runtime}")
    for layer in (wheels_layer(module.WHEELS), code_layer(module.CODE)):
        for file in layer.files:
            place = site / file.path.removeprefix(SITE + "/")
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(file.source, place)


def _native(compiled: Path, target: Target, route: str) -> Subject:
    built: list[bytes] = []  # for a foreign platform: the server of this machine, built once

    def copy(folder: Path, _whole: bool) -> Words:
        server = folder / "server"
        if target.platform == host_platform():
            shutil.copy(_file(compiled / "server"), server)
        elif built:
            server.write_bytes(built[0])
            server.chmod(0o755)
        else:
            _build_here(compiled, server)
            built.append(server.read_bytes())
        return Words([str(server)], ["serve"])

    remark = _foreign(target)
    how = f"{remark}: the same C code compiled for this machine" if remark else ""
    return Subject("native", route, copy, lambda _: {}, how)


def _file(path: Path) -> Path:
    if not path.is_file():
        raise ProfileError(f"{path}: expected the compiled server, found none")
    return path


def _build_here(compiled: Path, out: Path) -> None:
    from edgeloop_components.native.build import build_server

    texts: Any = SimpleNamespace(
        header=_file(compiled / "model.h").read_text(), source=_file(compiled / "model.c").read_text()
    )
    build_server(cast("Emitted", texts), compiled, out, platform=host_platform())


def drop_pages(folder: Path) -> None:
    """Writes the folder's files to the disk and drops them from the page cache, so that the next reader is charged."""
    for path in folder.rglob("*"):
        if path.is_file():
            descriptor = os.open(path, os.O_RDONLY)
            try:
                os.fsync(descriptor)
                os.posix_fadvise(descriptor, 0, 0, os.POSIX_FADV_DONTNEED)
            finally:
                os.close(descriptor)


def foreign_mib(maps: str, own: Path) -> float:
    """From the text of /proc/<pid>/smaps: resident memory of files outside `own`, which another group may have paid for."""
    total, counts = 0, False
    for line in maps.splitlines():
        head = re.match(r"[0-9a-f]+-[0-9a-f]+ \S+ \S+ \S+ (\d+) +(.*)", line)
        if head:
            counts = head[1] != "0" and not head[2].startswith(str(own))
        elif counts and line.startswith("Rss:"):
            total += int(line.split()[1])
        elif counts and line.startswith("Anonymous:"):
            total -= int(line.split()[1])  # written pages are the process's own
    return total / 1024
