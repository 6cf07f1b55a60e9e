"""The arithmetic blocks against their definitions (reference.v): yosys builds a miter of the two, and a SAT solver finds no
input, or a proof by induction no state, in which they differ. Widths are small where the solver would not end soon.

Refuses with BlockDiffers, naming the block, what is not equal; the solver's counterexample is in the message.
"""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from importlib.resources import files as resources
from pathlib import Path

from edgeloop_components.fpga.rtl.text import fixed
from edgeloop_components.fpga.tools import ToolFailed, run
from edgeloop_components.workplace import workplace

__all__ = ["BLOCKS", "Block", "BlockDiffers", "prove_blocks"]


class BlockDiffers(RuntimeError):  # noqa: N818 - it is read as a sentence
    """A block is not what its definition says."""


@dataclass(frozen=True)
class Block:
    """A module with a reference, the parameters of both, and how the solver compares them."""

    name: str
    parameters: Mapping[str, int] = field(default_factory=dict)
    solver: str = ""

    @property
    def title(self) -> str:
        """`name(PARAMETER=value, ...)`."""
        listed = ", ".join(f"{name}={value}" for name, value in self.parameters.items())
        return f"{self.name}({listed})" if listed else self.name


CLOCKED = "-seq 1 -tempinduct -maxsteps 4"  # registers hold anything before the first clock
FOUR = "-seq 6 -prove-skip 1 -set-at 1 in_clear 1"  # all series of up to four values after a clear
ONE = "-seq 3 -prove-skip 1 -set-at 1 in_clear 1"
BLOCKS: tuple[Block, ...] = (
    Block("crc8"),
    *(Block("thermometer", {"BITS": bits}) for bits in (1, 2, 3, 4)),
    Block("requantise", {"SUM_BITS": 22, "SHIFT_BITS": 4, "BITS": 8}),
    Block("requantise", {"SUM_BITS": 12, "SHIFT_BITS": 3, "BITS": 5}),
    Block("larger", {"BITS": 12, "LABEL_BITS": 2}, CLOCKED),
    Block("lane", {"BITS": 4, "SUM_BITS": 12}, "-set-init-zero -tempinduct -maxsteps 4"),
    Block("largest", {"BITS": 4, "LABEL_BITS": 2}, FOUR),
    Block("largest", {"BITS": 5, "LABEL_BITS": 1, "SINGLE": 1}, ONE),
)


def prove_blocks(blocks: Sequence[Block] = BLOCKS, sources: Mapping[str, str] | None = None) -> list[str]:
    """Proves each block, and gives their titles. `sources` (name: text) stand in for the package's modules.

    BlockDiffers, ToolMissing, ToolFailed.
    """
    names = sorted({f"{block.name}.v" for block in blocks})
    with workplace(Path(tempfile.gettempdir()), "edgeloop-blocks-") as folder:
        (folder / "reference.v").write_text(resources(__package__).joinpath("reference.v").read_text("utf-8"))
        for name in names:
            (folder / name).write_text((sources or {}).get(name) or fixed(name))
        script = "\n".join(line for block in blocks for line in _script(block))
        (folder / "prove.ys").write_text(script + "\n")
        try:
            run("yosys", ["-s", "prove.ys"], folder)
        except ToolFailed as failure:
            said = failure.log.read_text(errors="replace")
            failed = said.rpartition("proving ")[2].partition("\n")[0]
            if "model found" not in said and "proof did fail" not in said:
                raise
            raise BlockDiffers(f"{failed}: expected what reference.v defines, found:\n{said[-1500:]}") from failure
    return [block.title for block in blocks]


def _script(block: Block) -> list[str]:
    chosen = "".join(f"chparam -set {name} {value} " for name, value in block.parameters.items())
    both = f"{block.name} {block.name}_reference"
    parameters = [f"chparam -set {name} {value} {both}" for name, value in block.parameters.items()] if chosen else []
    return [
        f"log proving {block.title}",
        "design -reset",
        f"read_verilog {block.name}.v reference.v",
        *parameters,
        f"miter -equiv -make_outputs {both} miter",
        "hierarchy -top miter",
        "proc",
        "flatten",
        "opt -full",
        "memory",
        f"sat -verify -prove trigger 0 {block.solver} -show-inputs -show-outputs miter",
    ]
