"""The link document of a model folder for an FPGA: which files are in it, and which board on a node they are for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar

from edgeloop_contracts.codec import Contract, option

__all__ = ["BOARD_FILE", "CERTIFICATE_FILE", "DESIGN_FILE", "SIMULATION_FILE", "FpgaBoard"]

BOARD_FILE, DESIGN_FILE, CERTIFICATE_FILE, SIMULATION_FILE = (
    "board.json",
    "design.json",
    "certificate.json",
    "simulation",
)


@dataclass(frozen=True, kw_only=True)
class FpgaBoard(Contract):
    """Written by the compile step. Without a `device` the server runs the simulation, and says so."""

    KIND: ClassVar[str] = "FpgaBoard"

    design: str = option(doc="digest of design.json's document; the core answers ID with it")
    part: str = option("", doc="such as ice40-hx8k")
    board: str = option("", doc="as openFPGALoader names it, or fpga-manager; empty: it is not loaded, only asked")
    device: str = option("", doc="serial device on the node, such as /dev/ttyUSB1; empty: none")
    baud: int = option(115_200, minimum=1)
    bitstream: str = option("", doc="name of the file; empty: none was built")
    simulation: str = option("", doc="name of the Verilated program; empty: none for this platform")
