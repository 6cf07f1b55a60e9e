"""Asks a Verilated core for rows, as a host asks a board, and reads its answers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from edgeloop_contracts.fpga import FpgaDesign
from edgeloop_contracts.fpga_frame import FrameError, Layout, Operation, encode_request, reply_parser

__all__ = ["SimulationError", "simulated"]


class SimulationError(RuntimeError):
    """The program does not answer as a core does; the message says to what, what was expected and what was found."""


def simulated(program: Path, design: FpgaDesign, codes: Sequence[Sequence[int]]) -> list[tuple[int, tuple[int, ...]]]:
    """Label and raw scores of each row of codes. SimulationError, SimulatorFailed."""
    from edgeloop_components.fpga.proof.program import answers

    layout, parser = Layout.of(design), reply_parser()
    requests = (encode_request(Operation.INFER, n & 0xFF, layout.encode_codes(row)) for n, row in enumerate(codes))
    frames = parser.feed(answers(program, b"".join(requests)))
    found = [(frame.operation, frame.sequence) for frame in frames]
    wanted = [(Operation.INFER, n & 0xFF) for n in range(len(codes))]
    if found != wanted or parser.skipped or parser.waiting:
        wrong = next((n for n, pair in enumerate(wanted) if found[n : n + 1] != [pair]), len(wanted))
        raise SimulationError(
            f"{program.name}: expected {len(wanted)} answers to INFER, row {wrong} has none that is right"
        )
    try:
        return [layout.decode_answer(frame.payload) for frame in frames]
    except FrameError as error:
        raise SimulationError(f"{program.name}: {error}") from error
