"""A core in software: answers frames as the one on an FPGA does, with the golden model in place of gates.

    python -m edgeloop_node.fpga.core DESIGN.JSON

It reads standard input and writes standard output, which behind a pseudo-terminal are one. It stands in for a board where
there is neither one nor a Verilated program, as in the tests of the driver.
"""

from __future__ import annotations

import os
import select
import sys
from pathlib import Path

from edgeloop_contracts import digest_of, loads
from edgeloop_contracts.fpga import FpgaDesign
from edgeloop_contracts.fpga_frame import (
    Fault,
    Frame,
    FrameError,
    Layout,
    Operation,
    Status,
    encode_error,
    encode_id,
    encode_reply,
    encode_status,
    request_parser,
)
from edgeloop_contracts.fpga_model import answer_of

__all__ = ["Core", "main"]

PIECE_BYTES = 4096
QUIET_S = 0.01  # in the middle of a frame


class Core:
    """One design behind a line: bytes in, bytes out."""

    def __init__(self, design: FpgaDesign) -> None:
        self._design, self._layout = design, Layout.of(design)
        self._identity = encode_id(digest_of(design))
        self._parser = request_parser()
        self._answered = self._refused = 0

    def take(self, data: bytes) -> bytes:
        """What the core sends for these bytes."""
        damaged = self._parser.damaged
        frames = self._parser.feed(data)
        errors = [self._refuse(Fault.CRC, 0) for _ in range(self._parser.damaged - damaged)]
        return b"".join([*errors, *(self._reply(frame) for frame in frames)])

    @property
    def waiting(self) -> bool:
        """Whether a frame has begun that is not complete."""
        return self._parser.waiting

    def quiet(self) -> bytes:
        """What the core sends when the line was quiet for long: it gives up a frame that broke off."""
        self._parser = request_parser()
        return self._refuse(Fault.BROKEN_OFF, 0)

    def _reply(self, frame: Frame) -> bytes:
        if frame.operation not in set(Operation):
            return self._refuse(Fault.UNKNOWN_OPERATION, frame.sequence)
        operation = Operation(frame.operation)
        wanted = self._layout.row_bytes if operation is Operation.INFER else 0
        if len(frame.payload) != wanted:
            return self._refuse(Fault.WRONG_LENGTH, frame.sequence)
        answer = encode_reply(operation, frame.sequence, self._payload(operation, frame.payload))
        self._answered += 1
        return answer

    def _refuse(self, fault: Fault, sequence: int) -> bytes:
        self._refused += 1
        return encode_error(fault, sequence)

    def _payload(self, operation: Operation, payload: bytes) -> bytes:
        if operation is Operation.INFER:
            return self._layout.encode_answer(*answer_of(self._design, self._layout.decode_codes(payload)))
        if operation is Operation.ID:
            return self._identity
        return encode_status(Status(self._answered, self._refused)) if operation is Operation.STATUS else b""


def main(arguments: list[str] | None = None) -> int:
    """Serves until the line is closed."""
    (name,) = sys.argv[1:] if arguments is None else arguments
    try:
        core = Core(loads(FpgaDesign, Path(name).read_bytes()))
    except (OSError, ValueError, FrameError) as error:
        print(f"{name}: {error}", file=sys.stderr)
        return 2
    line, out = 0, 1
    try:
        while True:
            if not select.select([line], [], [], QUIET_S if core.waiting else None)[0]:
                os.write(out, core.quiet())
            elif data := os.read(line, PIECE_BYTES):
                os.write(out, core.take(data))
            else:
                return 0
    except OSError:  # the other end is gone
        return 0
    return 0


if __name__ == "__main__":
    sys.exit(main())
