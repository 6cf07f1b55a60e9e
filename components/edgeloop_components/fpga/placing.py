"""Synthesis, place and route of a design with placeholder images, and what they took: the long half of a bitstream.

What it depends on is the job's `shape`: all Verilog, the shapes of memories, part, pins and settings, but no image.
Refuses with DoesNotFit between synthesis and place and route; tools fail with ToolMissing and ToolFailed.
"""

from __future__ import annotations

import dataclasses
import json
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeloop_components.fpga import digests
from edgeloop_components.fpga.blockram import FORMS
from edgeloop_components.fpga.boards import SUFFIXES, Board, constraints
from edgeloop_components.fpga.estimate import check, packed_range
from edgeloop_components.fpga.families import FAMILIES, SEED, Family, needs_of, used
from edgeloop_components.fpga.images import memories_of, placeholders, shape_digest
from edgeloop_components.fpga.parts import Part
from edgeloop_components.fpga.tools import run

__all__ = ["Job", "place"]

Progress = Callable[[str], None]
ROUTED = "placed.json"
_BEL = re.compile(r"X(\d+)/?Y(\d+)/")


@dataclass(frozen=True, kw_only=True)
class Job:
    """A design (name -> text of Verilog and images, top module `top`) for a part on a board."""

    files: Mapping[str, str]
    part: Part
    board: Board
    front: str

    @property
    def family(self) -> Family:
        """The row of its tools."""
        return FAMILIES[self.part.family]

    @property
    def pins(self) -> str:
        """The file name of the pins."""
        return f"pins.{SUFFIXES[self.part.family]}"

    @property
    def pin_text(self) -> str:
        """What is in it."""
        return constraints(self.board, self.front)

    @property
    def synthesis(self) -> str:
        """The command of yosys."""
        return f"{self.part.synth} -top top"

    @property
    def shape(self) -> str:
        """Digest of all that place and route depend on, but the tools' versions."""
        own = (self.part.device, self.part.package, self.synthesis, self.part.goal_mhz, SEED)
        facts = "\n".join([shape_digest(self.files), repr(own), self.pin_text])
        return digests.of_bytes(facts.encode())


def place(job: Job, work: Path, progress: Progress) -> dict[str, Any]:
    """Writes the placed design into `work`; gives what it uses, its Fmax, cells a tile, and what the tools took."""
    _write(job, work)
    counted, took = _synthesise(job, work, progress)
    progress(f"{job.family.nextpnr}: placing and routing")
    took["nextpnr"] = dataclasses.asdict(run(job.family.nextpnr, _nextpnr(job), work, progress))
    report = json.loads((work / "report.json").read_bytes())
    return {
        "used": dataclasses.asdict(used(report["utilization"], job.family, counted)),
        "fmax_mhz": round(min((float(c["achieved"]) for c in report["fmax"].values()), default=0.0), 2),
        "floor": _floor(json.loads((work / ROUTED).read_bytes())),
        "took": took,
    }


def _write(job: Job, work: Path) -> None:
    images = placeholders(memories_of(job.files)) if job.part.family in FORMS else {}
    for name, text in {**job.files, **images, job.pins: job.pin_text}.items():
        (work / name).write_text(text)


def _synthesise(job: Job, work: Path, progress: Progress) -> tuple[Any, dict[str, Any]]:
    """The cells that yosys counted. DoesNotFit."""
    sources = " ".join(sorted(name for name in job.files if name.endswith(".v")))
    progress(f"yosys: {job.synthesis} for {job.part.name}")
    script = f"read_verilog {sources}; {job.synthesis}; tee -o stat.json stat -json; write_json netlist.json"
    took = {"yosys": dataclasses.asdict(run("yosys", ["-q", "-p", script], work, progress))}
    cells = json.loads((work / "stat.json").read_bytes())["design"]["num_cells_by_type"]
    counted = needs_of(cells, job.family)
    progress(
        f"yosys: {counted.luts:,} LUT and carry, {counted.ffs:,} FF, {counted.brams} block RAM, {counted.dsps} DSP"
    )
    for remark in check(packed_range(counted, job.part.family), job.part):
        progress(remark)
    return counted, took


def _nextpnr(job: Job) -> list[str]:
    part, family = job.part, job.family
    own = [*part.device, *(("--package", part.package) if family.package_flag else ())]
    pinned = [family.pin_flag, f"{family.pin_prefix}{job.pins}"]
    timing = ["--freq", f"{part.goal_mhz:g}", "--timing-allow-fail", "--seed", SEED, "--report", "report.json"]
    return [*own, *pinned, *timing, "--json", "netlist.json", *family.placed_flag, "--write", ROUTED]


def _floor(routed: Mapping[str, Any]) -> list[list[int]]:
    """How many cells stand on each tile: [x, y, cells], of all modules of the routed netlist."""
    tiles: dict[tuple[int, int], int] = {}
    for module in routed["modules"].values():
        for cell in module["cells"].values():
            place = _BEL.match(str(cell["attributes"].get("NEXTPNR_BEL", "")))
            if place:
                tile = int(place[1]), int(place[2])
                tiles[tile] = tiles.get(tile, 0) + 1
    return [[x, y, number] for (x, y), number in sorted(tiles.items())]
