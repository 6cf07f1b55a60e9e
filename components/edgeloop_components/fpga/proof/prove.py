"""The proof of a design, and what its certificate says of it.

In order: the arithmetic blocks against their definitions (blocks), the Verilog at the level of bytes over all rows, the front end
at its pins over a few, and the netlist of synthesis over some hundreds. Whatever differs ends it with ProofError.
"""

from __future__ import annotations

import itertools
import tempfile
import time
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeloop_components.fpga import digests
from edgeloop_components.fpga.proof.blocks import BLOCKS, prove_blocks
from edgeloop_components.fpga.proof.fronts import front_bench
from edgeloop_components.fpga.proof.netlist import NETLIST, netlist
from edgeloop_components.fpga.proof.program import BYTES, program
from edgeloop_components.fpga.proof.rows import Expected, compared, compared_slowly, expected
from edgeloop_components.fpga.proof.verilate import versions
from edgeloop_components.workplace import workplace
from edgeloop_contracts.codec import digest_of
from edgeloop_contracts.fpga import FpgaDesign

__all__ = ["prove"]

Say = Callable[[str], None]


def prove(
    design: FpgaDesign,
    files: Mapping[str, str],
    rows: Sequence[Any],
    *,
    golden: Sequence[Any] = (),
    synthesis: str = "synth_ice40 -dsp",
    netlist_rows: int = 300,
    front_rows: int = 4,
    blocks: bool = True,
    say: Say = lambda _: None,
) -> dict[str, Any]:
    """Proves the files against the golden model on rows and golden rows [n, features]; gives the certificate's values.

    `synthesis` is the yosys command of the part; with `netlist_rows` 0 nothing is synthesised, with `front_rows` 0 no pin moves.
    ProofError, BlockDiffers, NetlistError; SimulatorMissing, SimulatorFailed, ToolMissing, ToolFailed.
    """
    started_s = time.monotonic()
    want = expected(design, [*golden, *rows])
    with workplace(Path(tempfile.gettempdir()), "edgeloop-proof-") as work:
        proven = _blocks(blocks, files, say)
        whole = _bytes(files, want, work, say)
        front = _front(files, want.first(front_rows), work, say)
        cells = _netlist(files, want.first(netlist_rows), synthesis, work, say)
    return {
        "design": digest_of(design),
        "files": digests.of_texts(files),
        "rows": len(rows),
        "golden_rows": len(golden),
        **whole,
        "front": front,
        "netlist": cells,
        "blocks": proven,
        "tools": {**versions(), **_yosys()},
        "seconds": round(time.monotonic() - started_s, 1),
    }


def _blocks(wanted: bool, files: Mapping[str, str], say: Say) -> list[str]:
    """Those that the design's own files hold."""
    chosen = [block for block in BLOCKS if wanted and f"{block.name}.v" in files]
    if not chosen:
        return []
    say(f"proof: {len(chosen)} arithmetic blocks against their definitions")
    return prove_blocks(chosen, files)


def _bytes(files: Mapping[str, str], want: Expected, work: Path, say: Say) -> dict[str, Any]:
    say(f"proof: {len(want.requests)} rows through the simulated board")
    found = compared(want, program(files, work / "board", BYTES), "simulation")
    return {"exact": found.rows, "cycles": {"least": found.least, "most": found.most}}


def _front(files: Mapping[str, str], want: Expected, work: Path, say: Say) -> dict[str, Any]:
    if not want.requests:
        return {}
    kind, bench = front_bench(files)
    say(f"proof: {len(want.requests)} rows through the pins of the front end ({kind})")
    exact = compared_slowly(want, program(files, work / "pins", bench), f"front end {kind}")
    return {"kind": kind, "rows": len(want.requests), "exact": exact}


def _netlist(files: Mapping[str, str], want: Expected, synthesis: str, work: Path, say: Say) -> dict[str, Any]:
    if not want.requests:
        return {}
    say(f"proof: synthesis ({synthesis})")
    cells = netlist(files, synthesis, say)
    say(f"proof: {len(want.requests)} rows through the netlist")
    found = compared(want, program(cells, work / "cells", NETLIST), "netlist")
    return {
        "synthesis": synthesis,
        "digest": digests.of_texts(dict(itertools.islice(cells.items(), 1))),
        "rows": len(want.requests),
        "exact": found.rows,
    }


def _yosys() -> dict[str, str]:
    from edgeloop_components.fpga.tools import versions as tools

    return tools(["yosys"])
