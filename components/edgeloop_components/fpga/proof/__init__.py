"""Proof of a design's Verilog by simulation: the simulated board, row comparisons, and equivalence of its arithmetic blocks."""

from edgeloop_components.fpga.proof.program import answers, program
from edgeloop_components.fpga.proof.verilate import SimulatorFailed, SimulatorMissing

__all__ = ["SimulatorFailed", "SimulatorMissing", "answers", "program"]
