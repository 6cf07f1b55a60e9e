"""A quantised design into a folder that can be served and loaded: Verilog, proof, bitstream, and the papers beside it.

    design.json             the sidecar: what a row becomes, and what scores mean
    bitstream.*, pins.*     for the board; placed.gz and placed-facts.json: what a later version is patched into
    rtl/                    the sources that were proven and synthesised
    simulation              the same sources as a program that answers on a line as the board would
    certificate.json        digests, proof, figures, tools

Where `base` holds a placed design of the same shape, part, board and tools, only block RAM contents change; the proof is as
full as that of a fresh build. A base that is damaged is said before the proof, and the design placed anew.
The folder gets its files when all are there.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_components.fpga import digests
from edgeloop_components.fpga.backend import Figures, bitstream, patch, patchable
from edgeloop_components.fpga.boards import Board, board_of
from edgeloop_components.fpga.estimate import check, shape_range, ways_to_fit
from edgeloop_components.fpga.kept import Kept
from edgeloop_components.fpga.parts import Part, part_of
from edgeloop_components.fpga.tools import keeping_log
from edgeloop_components.fpga.whole import RTL_FOLDER
from edgeloop_components.workplace import workplace_inside
from edgeloop_contracts import digest_of, dumps
from edgeloop_contracts.fpga import FpgaDesign
from edgeloop_contracts.fpga_board import CERTIFICATE_FILE, DESIGN_FILE, SIMULATION_FILE

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Rows = npt.NDArray[np.float32]

__all__ = ["HARDWARE", "RTL_FOLDER", "Built", "Order", "build", "checked", "difference", "proven", "sources"]

Progress = Callable[[str], None]
PREFIX = ".build-"  # of the folder to work in, inside the one that is written
PROVEN_ROWS = 4_000
HARDWARE = "not run on hardware: simulation, and static timing of nextpnr"


@dataclass(frozen=True, kw_only=True)
class Order:
    """What is to be built: a part, a board of it (empty: the part's own), the link, and how far a perceptron is folded."""

    part: str
    board: str = ""
    front: str = "uart"
    baud: int = 115_200
    multipliers: int = 4

    @property
    def row(self) -> Part:
        """The part's row. PartUnknown."""
        return part_of(self.part)

    @property
    def place(self) -> Board:
        """The board's row. PartUnknown."""
        return board_of(self.row, self.board, self.front)


@dataclass(frozen=True)
class Built:
    """Figures of the bitstream, and the certificate as it was written."""

    figures: Figures
    certificate: Mapping[str, Any]


def sources(design: FpgaDesign, order: Order) -> dict[str, str]:
    """The Verilog and images of a design, for the clock of the order's board. RtlError, PartUnknown."""
    from edgeloop_components.fpga.rtl import RtlOptions, emit

    return emit(
        design,
        RtlOptions(
            front=order.front,  # type: ignore[arg-type]
            clock_hz=round(order.place.clock_mhz * 1e6),
            baud=order.baud,
            multipliers=order.multipliers,
            tables=order.row.tables,
            table_words=order.row.table_words,
            table_width=order.row.table_width,
        ),
    )


def checked(design: FpgaDesign, order: Order) -> list[str]:
    """Remarks on a fit that looks tight by the design's shape, at no cost. DoesNotFit."""
    found = shape_range(design, order.row, order.multipliers)
    over = found.low.beyond(order.row.has)
    advice = ways_to_fit(design, order.row, order.multipliers) if over else []
    return check(found, order.row, advice=advice)


def build(
    design: FpgaDesign,
    rows: Rows,
    order: Order,
    out: Path,
    *,
    progress: Progress = lambda _: None,
    base: Path | None = None,
    golden: Rows | None = None,
    log: Path | None = None,
) -> Built:
    """Builds into `out`, proving on the golden rows, the rows [n, features] and more. The errors of rtl, proof and backend.

    What a tool that failed has said is kept as `log`, `<out>.log` where that is None.
    """
    from edgeloop_components.fpga.proof import program

    files = sources(design, order)
    for remark in checked(design, order):
        progress(remark)
    placed = None if base is None else patchable(files, order.part, order.board, base, progress, front=order.front)
    with keeping_log(log or out.with_name(f"{out.name}.log")), workplace_inside(out, PREFIX) as work:
        (work / DESIGN_FILE).write_text(dumps(design) + "\n")
        _write_sources(files, work / RTL_FOLDER)
        proof = proven(design, files, rows, order, progress, golden=golden)
        figures = _bits(files, order, work, placed, progress)
        progress("verilator: the simulated board")
        program(files, work / SIMULATION_FILE)
        certificate = _certificate(design, files, proof, figures, _digests(work))
        (work / CERTIFICATE_FILE).write_text(json.dumps(certificate, indent=1) + "\n")
        _publish(work, out)
    return Built(figures, certificate)


def _write_sources(files: Mapping[str, str], folder: Path) -> None:
    folder.mkdir()
    for name, text in files.items():
        (folder / name).write_text(text)


def proven(
    design: FpgaDesign,
    files: Mapping[str, str],
    rows: Rows,
    order: Order,
    progress: Progress = lambda _: None,
    *,
    golden: Rows | None = None,
) -> dict[str, Any]:
    """What `proof.prove` finds for the rows, and as many made-up ones as PROVEN_ROWS lacks. ProofError when a bit differs.

    Made-up rows are the given ones with every value taken from another row: each feature keeps its own distribution.
    """
    from edgeloop_components.fpga.proof import prove

    netlist = order.row.netlist or order.row.synth
    first = [] if golden is None else list(golden)
    found: dict[str, Any] = prove(design, files, list(_more(rows)), golden=first, synthesis=netlist, say=progress)
    return {**found, "rows_given": len(rows)}


def _more(rows: Rows) -> Rows:
    import numpy as np

    lacking = max(0, PROVEN_ROWS - len(rows))
    draw = np.random.default_rng(0)
    places = draw.integers(len(rows), size=(lacking, rows.shape[1]))
    return np.concatenate([rows, rows[places, np.arange(rows.shape[1])]])


def _bits(files: Mapping[str, str], order: Order, work: Path, placed: Kept | None, progress: Progress) -> Figures:
    settings: dict[str, Any] = {"front": order.front}
    if placed is not None:
        progress("the same shape is placed already: block RAM contents alone change")
        return patch(files, order.part, order.board, placed, work, progress=progress, **settings)
    return bitstream(files, order.part, order.board, work, progress, **settings)


def _certificate(
    design: FpgaDesign,
    files: Mapping[str, str],
    proof: Mapping[str, Any],
    figures: Figures,
    others: Mapping[str, str],
) -> dict[str, Any]:
    return {
        "design": digest_of(design),
        "files": dict(others),
        "sources": {name: digests.of_bytes(text.encode()) for name, text in sorted(files.items())},
        "proof": dict(proof),
        "bitstream": figures.document(),
        "hardware": HARDWARE if figures.timing_verified else f"{HARDWARE}, whose model of this part is unverified",
    }


def _digests(work: Path) -> dict[str, str]:
    """Of the sidecar, the simulation and the pins; others have theirs in the figures."""
    names = [DESIGN_FILE, SIMULATION_FILE, *(path.name for path in work.glob("pins.*"))]
    return {name: digests.of_bytes((work / name).read_bytes()) for name in sorted(names)}


def _publish(work: Path, out: Path) -> None:
    """Moves the files into `out`, each at once, the certificate last."""
    out.mkdir(parents=True, exist_ok=True)
    shutil.rmtree(out / RTL_FOLDER, ignore_errors=True)
    for path in sorted(work.iterdir(), key=lambda path: path.name == CERTIFICATE_FILE):
        path.replace(out / path.name)


def difference(one: bytes, other: bytes) -> dict[str, int]:
    """How two bitstreams of one shape differ: bytes that are not the same, and a delta of runs (gap, length, bytes).

    Gap and length are numbers of 7 bits a byte. Runs that are less than 3 bytes apart are one: a head costs that much. The
    delta is counted, not written.
    """
    longest = max(len(one), len(other))
    places = [at for at in range(longest) if one[at : at + 1] != other[at : at + 1]]
    runs: list[tuple[int, int]] = []
    for at in places:
        if runs and at - runs[-1][1] < 3:
            runs[-1] = runs[-1][0], at + 1
        else:
            runs.append((at, at + 1))
    ends = [0, *(end for _, end in runs)]
    delta = sum(
        _size(start - before) + _size(end - start) + end - start
        for before, (start, end) in zip(ends, runs, strict=False)
    )
    return {"bytes": len(places), "delta_bytes": delta}


def _size(number: int) -> int:
    """Bytes of a number, 7 bits each."""
    return max(1, -(-number.bit_length() // 7))
