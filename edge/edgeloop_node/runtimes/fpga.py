"""Scores with a core on an FPGA: at a serial device of this node, or simulated, and then it says so.

The model folder holds design.json (the sidecar), board.json, certificate.json, the bitstream and, for the platform it was
compiled on, the Verilated program. With a device the board must answer with the design's digest, before and after a load;
without one the program is run behind a pseudo-terminal, through the same driver. EDGELOOP_DEVICE names another device than
board.json, where it is set; `simulation` means none.

`load_model_only` is the runtime `fpga-sim`: the golden model on this machine's processor, the same bits and no board at all.

Refuses a folder whose files are of different designs, a core of another design, and graphs that are no classifiers.
"""

from __future__ import annotations

import hashlib
import json
import os
import struct
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from edgeloop_contracts import ContractError, digest_of, loads
from edgeloop_contracts.codec import Contract
from edgeloop_contracts.fpga import FpgaDesign
from edgeloop_contracts.fpga_board import BOARD_FILE, CERTIFICATE_FILE, DESIGN_FILE, SIMULATION_FILE, FpgaBoard
from edgeloop_contracts.fpga_frame import FrameError, Layout
from edgeloop_contracts.fpga_model import answer_of, codes_of, probabilities_of
from edgeloop_node.fpga import DeviceError
from edgeloop_node.fpga.board import Board, SerialBoard
from edgeloop_node.fpga.driver import Timing
from edgeloop_node.fpga.session import Session
from edgeloop_node.fpga.simulated import SimulatedBoard
from edgeloop_node.log import log
from edgeloop_node.runtimes import ModelError, Scorer, Scores

__all__ = ["load", "load_model_only"]

C = TypeVar("C", bound=Contract)
Infer = Callable[[Sequence[int]], tuple[int, tuple[int, ...]]]
SIMULATED = Timing(answer_s=5.0)  # a simulation shares the processor with everybody


def load(folder: Path) -> Scorer:
    """The model of a folder on its board or its simulation. ModelError when either is not what it should be."""
    design, board = _design(folder), _board(folder)
    digest = digest_of(design)
    if board.design != digest:
        raise ModelError(f"{BOARD_FILE}: expected the digest of {DESIGN_FILE}, {digest}, got {board.design}")
    _certified(folder, digest, board)
    place = _place(folder, design, board)
    try:
        session = Session(place, design, SIMULATED if place.simulated else None)
    except (DeviceError, FrameError) as error:
        raise ModelError(f"{place.what}: {error}") from error
    log("info", "the core is right", board=place.what, simulated=place.simulated, design=digest)
    row_ms = 1e3 * Layout.of(design).row_s(board.baud)
    link = f"{row_ms:.2f} ms a row at {board.baud} baud, computed" + (", not waited for" if place.simulated else "")
    facts = {
        "fpga_board": place.what,
        "fpga_link": link,
        "fpga_part": board.part,
        "fpga_simulated": str(place.simulated).lower(),
    }
    return replace(
        _scorer("fpga", design, session.infer, {**facts, "fpga_design": digest}),
        trouble=lambda: session.trouble,
        counts=lambda: {**session.counts(), "fpga_line_seconds": row_ms / 1e3},
    )


def load_model_only(folder: Path) -> Scorer:
    """The golden model of a folder's design, in Python. ModelError."""
    design = _design(folder)
    facts = {"fpga_board": "none: the golden model on this processor", "fpga_simulated": "true"}
    return _scorer("fpga-sim", design, partial(answer_of, design), {**facts, "fpga_design": digest_of(design)})


def _scorer(runtime: str, design: FpgaDesign, infer: Infer, facts: Mapping[str, str]) -> Scorer:
    pack = struct.Struct(f"<{design.classes}f")

    def one(row: Sequence[float]) -> tuple[int, list[float]]:
        label, scores = infer(codes_of(design, row))
        return label, list(pack.unpack(pack.pack(*probabilities_of(design, scores))))

    def score(rows: Sequence[Sequence[float]]) -> Scores:
        answers = [one(row) for row in rows]
        return [label for label, _ in answers], [probabilities for _, probabilities in answers]

    return Scorer(
        runtime=runtime,
        platform="edgeloop_fpga",
        version=facts["fpga_board"],
        features=design.features,
        classes=design.classes,
        score=score,
        facts=facts,
    )


def _contract(cls: type[C], path: Path) -> C:
    try:
        return loads(cls, path.read_bytes())
    except (OSError, ContractError) as error:
        raise ModelError(f"{path.name}: {error}") from error


def _design(folder: Path) -> FpgaDesign:
    return _contract(FpgaDesign, folder / DESIGN_FILE)


def _board(folder: Path) -> FpgaBoard:
    """board.json, with the device that the environment names. ModelError."""
    board = _contract(FpgaBoard, folder / BOARD_FILE)
    device = os.environ.get("EDGELOOP_DEVICE") or board.device
    return replace(board, device="" if device == SIMULATION_FILE else device)


def _certified(folder: Path, digest: str, board: FpgaBoard) -> None:
    """ModelError when there is no certificate, or one of another design or bitstream."""
    path = folder / CERTIFICATE_FILE
    try:
        document: Any = json.loads(path.read_bytes())
        found = document.get("design") if isinstance(document, dict) else None
    except (OSError, ValueError) as error:
        raise ModelError(f"{path.name}: expected the certificate of the design, got: {error}") from error
    if found != digest:
        raise ModelError(f"{path.name}: expected a certificate of the design {digest}, got one of {found}")
    if board.bitstream:
        figures = document.get("bitstream")
        _same_bitstream(folder / board.bitstream, figures.get("sha256") if isinstance(figures, dict) else None)


def _same_bitstream(path: Path, expected: object) -> None:
    try:
        found = f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}"
    except OSError as error:
        raise ModelError(f"{path.name}: expected the bitstream that {BOARD_FILE} names, got: {error}") from error
    if found != expected:
        raise ModelError(f"{path.name}: expected {expected}, as {CERTIFICATE_FILE} has it, got {found}")


def _place(folder: Path, design: FpgaDesign, board: FpgaBoard) -> Board:
    if board.device:
        return SerialBoard(board.device, board.baud, board.board, folder / (board.bitstream or "bitstream"), design)
    program = folder / board.simulation
    if not board.simulation or not os.access(program, os.X_OK):
        raise ModelError(
            f"{BOARD_FILE}: expected a device, or a simulation that runs here, got device {board.device!r} and simulation "
            f"{board.simulation!r}; the runtime fpga-sim serves the same bits without either"
        )
    what = (
        f"simulated: {board.simulation}, the Verilated design for {board.part or 'no part'}, behind a pseudo-terminal"
    )
    return SimulatedBoard([program], what, board.baud)
