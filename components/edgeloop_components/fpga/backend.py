"""From Verilog to a bitstream: synthesis, place and route, block RAM contents, pack. Equal inputs give equal bytes.

A design is placed with placeholder images and the real ones are patched in. What was placed is kept beside the bitstream
(`kept`), so that another version of the same shape needs the last two steps alone (`patch`).
All times are static estimates of nextpnr for one seed; nothing here has run on hardware.
Refuses what does not fit (DoesNotFit, before nextpnr), what is too slow for the board's clock (TooSlow), and a patch of
another shape (NotPatchable). Tools fail with ToolMissing and ToolFailed.
"""

from __future__ import annotations

import dataclasses
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeloop_components.fpga import digests, kept
from edgeloop_components.fpga.blockram import FORMS, NotPatchable, patched
from edgeloop_components.fpga.boards import board_of
from edgeloop_components.fpga.families import FAMILIES, SEED
from edgeloop_components.fpga.images import memories_of, placeholders
from edgeloop_components.fpga.kept import Damaged, Kept
from edgeloop_components.fpga.parts import Part, part_of
from edgeloop_components.fpga.placing import Job, place
from edgeloop_components.fpga.tools import Ran, run, versions
from edgeloop_components.workplace import workplace_inside

__all__ = ["Figures", "TooSlow", "bitstream", "patch", "patchable", "shape_of", "tools_of"]

Progress = Callable[[str], None]
PREFIX = ".place-"  # of the folder to work in, inside the one that is written


class TooSlow(ValueError):  # noqa: N818 - it is read as a sentence
    """The placed design does not hold the board's clock. `hint` names ways out."""

    hint = "fewer bits, fewer multipliers, or a faster part"


@dataclass(frozen=True, kw_only=True)
class Figures:
    """What was made, and what it takes. `fmax_mhz`: static timing of the worst path, for one placement seed."""

    part: str
    board: str
    front: str
    clock_mhz: float
    used: Mapping[str, int]  # luts, ffs, brams, dsps
    available: Mapping[str, int]
    fmax_mhz: float
    timing: str  # what that is, or that it is unverified
    timing_verified: bool
    floor: tuple[tuple[int, int, int], ...]  # x, y, cells: where the design stands
    bitstream: str  # file name
    bytes: int
    sha256: str
    shape: str  # digest of all that place and route depended on
    placed_facts: str  # digest of placed-facts.json, which has that of placed.gz
    seed: int
    patched: bool  # placed before; this call only put block RAM contents into it
    patchable: bool  # whether another version of the shape can be patched in
    seconds: Mapping[str, float]
    cpu_seconds: Mapping[str, float]
    peak_mib: float
    tools: Mapping[str, str]

    def document(self) -> dict[str, Any]:
        """As JSON, without the floor plan."""
        return {name: value for name, value in dataclasses.asdict(self).items() if name != "floor"}


def tools_of(part: Part) -> tuple[str, ...]:
    """The tools that a bitstream of this part needs."""
    family = FAMILIES[part.family]
    return ("yosys", family.nextpnr, family.pack)


def bitstream(
    files: Mapping[str, str],
    part: str,
    board: str,
    out: Path,
    progress: Progress = lambda _: None,
    *,
    front: str = "uart",
) -> Figures:
    """Makes `bitstream.*`, `pins.*` and what a patch needs in the folder `out`, of Verilog and images (name -> text).

    The top module is `top`. `board` may be empty: the part's own. DoesNotFit, TooSlow, PartUnknown, ImageError,
    NotPatchable (an image that is not in block RAM alone), ToolMissing, ToolFailed; `out` is as it was then.
    """
    job = _job(files, part, board, front)
    found = versions(tools_of(job.part))
    with workplace_inside(out, PREFIX) as work:
        facts = {**place(job, work, progress), "tools": found, "shape": job.shape}
        sealed = kept.write(work, (work / job.family.placed).read_bytes(), facts)
        figures = _finish(job, work, facts, progress, sealed=sealed, fresh=True)
        _publish(job, work, out, figures)
    return figures


def shape_of(files: Mapping[str, str], part: str, board: str, *, front: str = "uart") -> str:
    """The digest of all that place and route depend on, but the tools' versions. PartUnknown, ImageError."""
    return _job(files, part, board, front).shape


def patchable(
    files: Mapping[str, str],
    part: str,
    board: str,
    base: Path,
    progress: Progress = lambda _: None,
    *,
    front: str = "uart",
) -> Kept | None:
    """What the folder `base` has placed, where that is this very shape by the installed tools; else None.

    A folder whose digests are wrong counts as one that has nothing, and that is said.
    """
    job = _job(files, part, board, front)
    try:
        found = kept.read(base)
    except Damaged as error:
        progress(f"{error}; nothing is patched into it, the design is placed anew")
        return None
    return found if found and _same(job, found) else None


def _same(job: Job, found: Kept) -> bool:
    own = (job.shape, versions(tools_of(job.part)))
    return job.part.family in FORMS and (found.facts.get("shape"), found.facts.get("tools")) == own


def patch(
    files: Mapping[str, str],
    part: str,
    board: str,
    base: Kept,
    out: Path,
    *,
    progress: Progress = lambda _: None,
    front: str = "uart",
) -> Figures:
    """As `bitstream`, of what `base` has placed: only block RAM contents change. NotPatchable when it is another shape."""
    job = _job(files, part, board, front)
    if not _same(job, base):
        raise NotPatchable("expected a placed design of the same shape, part, board and tools, found another")
    with workplace_inside(out, PREFIX) as work:
        for name, content in base.files.items():
            (work / name).write_bytes(content)
        (work / job.family.placed).write_bytes(base.text)
        figures = _finish(job, work, base.facts, progress, sealed=base.digest, fresh=False)
        _publish(job, work, out, figures)
    return figures


def _job(files: Mapping[str, str], part: str, board: str, front: str) -> Job:
    row = part_of(part)
    return Job(files=files, part=row, board=board_of(row, board, front), front=front)


def _publish(job: Job, work: Path, out: Path, figures: Figures) -> None:
    out.mkdir(parents=True, exist_ok=True)
    (work / job.pins).write_text(job.pin_text)
    for name in (*kept.FILES, job.pins, figures.bitstream):
        (work / name).replace(out / name)


def _finish(job: Job, work: Path, facts: Mapping[str, Any], progress: Progress, *, sealed: str, fresh: bool) -> Figures:
    """Images into the placed design, and pack. TooSlow."""
    clock = job.board.clock_mhz
    if facts["fmax_mhz"] < clock:
        found = f"{facts['fmax_mhz']:g} MHz at most"
        raise TooSlow(f"{job.part.name}: expected {clock:g} MHz, the clock of {job.board.name}, found {found}")
    took = {name: Ran(**ran) for name, ran in facts["took"].items()} if fresh else {}
    took["block RAM"] = _contents(job, work)
    took["pack"] = run(job.family.pack, job.family.pack_arguments, work, progress)
    made = work / f"bitstream.{job.family.suffix}"
    content = made.read_bytes()
    progress(f"{job.family.pack}: {len(content):,} bytes")
    return Figures(
        part=job.part.name,
        board=job.board.name,
        front=job.front,
        clock_mhz=clock,
        used=facts["used"],
        available=dataclasses.asdict(job.part.has),
        fmax_mhz=facts["fmax_mhz"],
        timing=job.part.experimental or "static, of nextpnr, for one placement seed",
        timing_verified=not job.part.experimental,
        floor=tuple((x, y, cells) for x, y, cells in facts["floor"]),
        bitstream=made.name,
        bytes=len(content),
        sha256=digests.of_bytes(content),
        shape=facts["shape"],
        placed_facts=sealed,
        seed=int(SEED),
        patched=not fresh,
        patchable=job.part.family in FORMS,
        seconds={name: round(ran.seconds, 2) for name, ran in took.items()},
        cpu_seconds={name: round(ran.cpu_seconds, 2) for name, ran in took.items()},
        peak_mib=round(max(ran.peak_mib for ran in took.values()), 1),
        tools=facts["tools"],
    )


def _contents(job: Job, work: Path) -> Ran:
    """Puts the images into the placed design. NotPatchable."""
    started_s, cpu_s = time.monotonic(), time.process_time()
    text = (work / job.family.placed).read_text()
    if job.part.family in FORMS:
        memories = memories_of(job.files)
        text = patched(text, FORMS[job.part.family], memories, placeholders(memories), job.files)
    (work / job.family.placed.replace("placed", "new")).write_text(text)
    return Ran(time.monotonic() - started_s, time.process_time() - cpu_s, 0.0)
