"""Rows through a simulated board, beside the golden model: label and every raw score have to be the same."""

from __future__ import annotations

import os
import select
import subprocess
import tempfile
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeloop_components.fpga.proof.program import answers
from edgeloop_components.fpga.quantise import vector
from edgeloop_components.workplace import workplace
from edgeloop_contracts.codec import digest_of
from edgeloop_contracts.fpga import FpgaDesign
from edgeloop_contracts.fpga_frame import Frame, Layout, Operation, encode_id, encode_request, reply_parser

__all__ = ["Compared", "Expected", "ProofError", "compared", "compared_slowly", "expected"]

ANSWER_S = 60.0  # of a frame through pins: a second of simulation in most cases


class ProofError(RuntimeError):
    """What was simulated is not what the golden model says."""


@dataclass(frozen=True)
class Expected:
    """A request for each row, and the payload of its answer."""

    design: FpgaDesign
    requests: tuple[bytes, ...]
    payloads: tuple[bytes, ...]

    def first(self, count: int) -> Expected:
        """The same of the first rows."""
        return Expected(self.design, self.requests[:count], self.payloads[:count])


@dataclass(frozen=True)
class Compared:
    """Rows that were the same, which are all, and the clocks that a row took: least and most."""

    rows: int
    least: int
    most: int


def expected(design: FpgaDesign, rows: Any) -> Expected:
    """What the golden model says of rows [n, features]."""
    layout = Layout.of(design)
    codes = vector.codes(design, rows)
    scores = vector.scores(design, codes)
    labels = vector.labels(design, scores)
    requests = (layout.encode_codes([int(code) for code in row]) for row in codes)
    answered = zip(labels.tolist(), scores.tolist(), strict=True)
    return Expected(
        design,
        tuple(encode_request(Operation.INFER, place & 0xFF, payload) for place, payload in enumerate(requests)),
        tuple(layout.encode_answer(label, each) for label, each in answered),
    )


def compared(want: Expected, board: Path, what: str) -> Compared:
    """All rows at once through a board that takes bytes; then its ID. ProofError, beginning with `what`; SimulatorFailed."""
    with workplace(Path(tempfile.gettempdir()), "edgeloop-cycles-") as made:
        cycles = made / "cycles"
        raw = answers(board, b"".join(want.requests) + encode_request(Operation.ID, 0), cycles)
        clocks = [int(line) for line in cycles.read_text().split()][: len(want.requests)]
    _check(want, reply_parser().feed(raw), what)
    return Compared(len(want.requests), min(clocks, default=0), max(clocks, default=0))


def compared_slowly(want: Expected, board: Path, what: str) -> int:
    """Row after row, each sent when the one before was answered, as on a real line; then its ID. How many rows. ProofError."""
    parser = reply_parser()
    with _running(board) as child:
        requests = (*want.requests, encode_request(Operation.ID, 0))
        frames = [_asked(child, request, parser, what) for request in requests]
    _check(want, frames, what)
    return len(want.requests)


@contextmanager
def _running(board: Path) -> Iterator[subprocess.Popen[bytes]]:
    words = [os.fspath(board.absolute())]
    with subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL) as child:
        try:
            yield child
        finally:
            child.kill()


def _asked(child: subprocess.Popen[bytes], request: bytes, parser: Any, what: str) -> Frame:
    assert child.stdin is not None
    assert child.stdout is not None
    child.stdin.write(request)
    child.stdin.flush()
    until = time.monotonic() + ANSWER_S
    while (left := until - time.monotonic()) > 0:
        if not select.select([child.stdout], [], [], left)[0]:
            break
        found: list[Frame] = parser.feed(os.read(child.stdout.fileno(), 4096))
        if found:
            return found[0]
        if child.poll() is not None:
            break
    raise ProofError(f"{what}: expected an answer to {request.hex()} within {ANSWER_S:g} s, found none")


def _check(want: Expected, frames: Sequence[Frame], what: str) -> None:
    for place, payload in enumerate(want.payloads):
        frame = frames[place] if place < len(frames) else None
        if frame is None or frame.operation != Operation.INFER or frame.payload != payload:
            raise ProofError(
                f"{what}: row {place}: expected {_said(want.design, payload)}, found {_shown(want, frame)}"
            )
        if frame.sequence != place & 0xFF:
            raise ProofError(f"{what}: row {place}: expected sequence number {place & 0xFF}, found {frame.sequence}")
    digest = digest_of(want.design)
    found = b"".join(frame.payload for frame in frames[len(want.payloads) :] if frame.operation == Operation.ID)
    if found != encode_id(digest):
        raise ProofError(f"{what}: ID: expected {encode_id(digest).hex()}, found {found.hex() or 'no answer'}")


def _said(design: FpgaDesign, payload: bytes) -> str:
    label, scores = Layout.of(design).decode_answer(payload)
    return f"label {label} and raw scores {list(scores)}"


def _shown(want: Expected, frame: Frame | None) -> str:
    if frame is None:
        return "no answer"
    if frame.operation == Operation.INFER and len(frame.payload) == Layout.of(want.design).answer_bytes:
        try:
            return _said(want.design, frame.payload)
        except ValueError:
            pass
    return f"operation {frame.operation!r} with {frame.payload.hex()}"
