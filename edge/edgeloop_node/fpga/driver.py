"""Speaks with the core behind a port: one frame at a time, each repeated with a new sequence number until an answer is sound.

An answer of an earlier attempt has an earlier number and is passed over, so nothing late or doubled is taken for another's.
Between two attempts the driver waits until the line is quiet, which is also when a core gives up half a frame.
"""

from __future__ import annotations

import secrets
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Protocol, TypeVar

from edgeloop_contracts.fpga import FpgaDesign
from edgeloop_contracts.fpga_frame import (
    Frame,
    FrameError,
    Layout,
    Operation,
    Status,
    decode_id,
    decode_status,
    encode_request,
    line_s,
    reply_parser,
)
from edgeloop_contracts.fpga_model import label_of
from edgeloop_node.fpga import IdentityError, LinkError

__all__ = ["Driver", "Figures", "Port", "Timing"]

T = TypeVar("T")

QUIET_PIECES = 200  # of noise that resynchronising reads before it gives up on silence


class Port(Protocol):
    """What a driver needs of a port; `SerialPort` is one."""

    path: str
    baud: int

    def read(self, until_s: float) -> bytes: ...
    def write(self, data: bytes, until_s: float) -> None: ...
    def close(self) -> None: ...


@dataclass(frozen=True)
class Timing:
    """How long a core may take besides the time of its bytes on the line, how often it is asked, and what silence is."""

    answer_s: float = 0.5
    attempts: int = 4
    quiet_s: float = 0.02


@dataclass
class Figures:
    """What a link has seen since it was opened. `link_s` is from a request's first byte to its answer, all attempts of it."""

    answers: int = 0
    retries: int = 0
    link_s: float = 0.0
    faults: dict[str, int] = field(default_factory=dict)


class Driver:
    """One core behind one port. Every method raises DeviceLostError when the device goes, LinkError when nothing sound comes."""

    def __init__(self, port: Port, design: FpgaDesign, timing: Timing | None = None) -> None:
        self.port, self.figures = port, Figures()
        self._design, self._layout, self._timing = design, Layout.of(design), timing or Timing()
        self._parser = reply_parser()
        self._sequence = secrets.randbelow(
            256
        )  # a late answer to the last owner of the port is not taken for one of ours

    def infer(self, codes: Sequence[int]) -> tuple[int, tuple[int, ...]]:
        """Label and raw scores of a row's codes. An answer whose label is not that of its scores counts as damaged."""
        payload = self._layout.encode_codes(codes)
        return self._asked(Operation.INFER, payload, self._answer, self._layout.answer_bytes)

    def _answer(self, payload: bytes) -> tuple[int, tuple[int, ...]]:
        label, scores = self._layout.decode_answer(payload)
        if label != label_of(self._design, scores):
            raise FrameError(f"answer to INFER: expected the label of its scores {list(scores)}, got {label}")
        return label, scores

    def identify(self) -> str:
        """The digest of the design that the core was made of."""
        return self._asked(Operation.ID, b"", decode_id, 33)

    def expect(self, digest: str) -> None:
        """IdentityError when the core is of another design."""
        found = self.identify()
        if found != digest:
            raise IdentityError(f"{self.port.path}: expected a core of the design {digest}, got one of {found}")

    def status(self) -> Status:
        """What the core has counted."""
        return self._asked(Operation.STATUS, b"", decode_status, 4)

    def ping(self) -> None:
        """Returns when the core answers."""
        self._asked(Operation.PING, b"", bytes, 0)

    def resynchronise(self) -> None:
        """Waits until the line is quiet and forgets what came. LinkError when it never is."""
        for _ in range(QUIET_PIECES):
            if not self.port.read(time.monotonic() + self._timing.quiet_s):
                self._parser = reply_parser()
                return
        raise LinkError(f"{self.port.path}: expected a quiet line, got noise without end")

    def _asked(self, operation: Operation, payload: bytes, decode: Callable[[bytes], T], answer_bytes: int) -> T:
        """One exchange, repeated until `decode` takes the answer's payload."""
        on_line_s = line_s(len(payload) + answer_bytes, self.port.baud)
        began_s, trouble = time.monotonic(), ""
        for attempt in range(self._timing.attempts):
            if attempt:
                self.figures.retries += 1
                self.figures.faults[trouble] = self.figures.faults.get(trouble, 0) + 1
                self.resynchronise()
            reply = self._once(operation, payload, time.monotonic() + on_line_s + self._timing.answer_s)
            trouble = _trouble(reply)
            if reply is None or trouble:
                continue
            try:
                found = decode(reply.payload)
            except FrameError as error:
                trouble = str(error)
                continue
            self.figures.answers += 1
            self.figures.link_s += time.monotonic() - began_s
            return found
        raise LinkError(
            f"{self.port.path}: expected an answer to {operation.name} at {self.port.baud} baud, got in "
            f"{self._timing.attempts} attempts none that is sound; the last: {trouble}"
        )

    def _once(self, operation: Operation, payload: bytes, until_s: float) -> Frame | None:
        """The reply to one attempt, or the error that came in place of it; None when it did not come in time."""
        self._sequence = (self._sequence + 1) & 0xFF
        self.port.write(encode_request(operation, self._sequence, payload), until_s)
        while data := self.port.read(until_s):
            for frame in self._parser.feed(data):
                if self._fits(frame, operation):
                    return frame
        return next((frame for frame in self._parser.give_up() if self._fits(frame, operation)), None)

    def _fits(self, frame: Frame, operation: Operation) -> bool:
        """An error counts whatever its number: a core that missed the number cannot repeat it."""
        return frame.operation is None or (frame.operation == operation and frame.sequence == self._sequence)


def _trouble(reply: Frame | None) -> str:
    if reply is None:
        return "silence"
    if reply.operation is not None:
        return ""
    return f"refused: {reply.fault.name.lower().replace('_', ' ') if reply.fault else reply.payload.hex()}"
