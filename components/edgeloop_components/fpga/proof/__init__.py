"""Proof of a design's Verilog by simulation: the simulated board, row comparisons, and equivalence of its arithmetic blocks."""

from edgeloop_components.fpga.proof.blocks import BlockDiffers
from edgeloop_components.fpga.proof.netlist import NetlistError
from edgeloop_components.fpga.proof.program import answers, program
from edgeloop_components.fpga.proof.prove import prove
from edgeloop_components.fpga.proof.rows import ProofError
from edgeloop_components.fpga.proof.verilate import SimulatorFailed, SimulatorMissing

__all__ = [
    "BlockDiffers", "NetlistError", "ProofError", "SimulatorFailed", "SimulatorMissing", "answers", "program", "prove",
]  # fmt: skip
