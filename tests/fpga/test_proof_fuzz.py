"""A line with noise: garbage, cut frames and flipped bits are answered with errors or not at all, and the next frame is right."""

from __future__ import annotations

import os
import random
import select
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
import samples
from simulation import answer_to, frames, infer, needs_simulator

from edgeloop_components.fpga.proof import answers, program
from edgeloop_components.fpga.rtl import RtlOptions, emit
from edgeloop_contracts.fpga_frame import (
    ERROR,
    REQUEST,
    Fault,
    Frame,
    Operation,
    Status,
    crc8,
    decode_status,
    encode_request,
    reply_parser,
)

pytestmark = [needs_simulator]

DESIGN = samples.perceptron()
QUIET_MS = 5


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return program(emit(DESIGN, RtlOptions()), tmp_path_factory.mktemp("board") / "board")


class Line:
    """A running board, asked as over a line: answers are read until the line has been quiet for long enough."""

    def __init__(self, board: Path) -> None:
        words = [board, "--quiet-ms", str(QUIET_MS)]
        self.child = subprocess.Popen(words, stdin=subprocess.PIPE, stdout=subprocess.PIPE)

    def say(self, data: bytes, wait_s: float = 0.1) -> list[Frame]:
        """Sends, and gives the replies up to a pause of `wait_s`, in which an unfinished frame is broken off."""
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.child.stdin.write(data)
        self.child.stdin.flush()
        raw = b""
        while select.select([self.child.stdout], [], [], wait_s)[0]:
            read = os.read(self.child.stdout.fileno(), 4096)
            assert read, "the board ended"
            raw += read
        return frames(raw)

    def asks(self, request: bytes) -> Frame:
        """The one reply to a good frame, without a wait for silence."""
        assert self.child.stdin is not None
        assert self.child.stdout is not None
        self.child.stdin.write(request)
        self.child.stdin.flush()
        parser, found = reply_parser(), []
        while not found:
            assert select.select([self.child.stdout], [], [], 10)[0], "no answer"
            found = parser.feed(os.read(self.child.stdout.fileno(), 4096))
        assert len(found) == 1
        return found[0]


@pytest.fixture
def line(board: Path) -> Iterator[Line]:
    made = Line(board)
    yield made
    made.child.kill()
    made.child.communicate()


def _raw(operation: int, sequence: int, payload: bytes, *, spoil: int = 0, length: int | None = None) -> bytes:
    body = bytes((operation, sequence, len(payload) if length is None else length)) + payload
    return bytes((REQUEST,)) + body + bytes((crc8(body) ^ spoil,))


@pytest.mark.parametrize(
    ("request_", "fault"),
    [
        (_raw(Operation.PING, 7, b"", spoil=0x10), Fault.CRC),
        (_raw(Operation.INFER, 7, bytes(4), spoil=1), Fault.CRC),
        (_raw(0, 7, b""), Fault.UNKNOWN_OPERATION),
        (_raw(5, 7, b"xyz"), Fault.UNKNOWN_OPERATION),
        (_raw(0x81, 7, b""), Fault.UNKNOWN_OPERATION),
        (_raw(0xFF, 7, bytes(255)), Fault.UNKNOWN_OPERATION),
        (_raw(Operation.PING, 7, b"!"), Fault.WRONG_LENGTH),
        (_raw(Operation.ID, 7, bytes(255)), Fault.WRONG_LENGTH),
        (_raw(Operation.INFER, 7, b""), Fault.WRONG_LENGTH),
        (_raw(Operation.INFER, 7, bytes(3)), Fault.WRONG_LENGTH),
        (_raw(Operation.INFER, 7, bytes(5)), Fault.WRONG_LENGTH),
        (_raw(Operation.INFER, 7, bytes(255)), Fault.WRONG_LENGTH),
    ],
)
def test_a_bad_frame_is_answered_with_its_fault_and_the_next_one_works(
    board: Path, request_: bytes, fault: Fault
) -> None:
    row = samples.rows(DESIGN, 1)[0]
    asked = request_ + infer(DESIGN, row, 8) + encode_request(Operation.STATUS, 9)
    bad, good, status = frames(answers(board, asked))
    assert (bad.fault, bad.sequence) == (fault, 7)
    assert (good.operation, good.sequence, good.payload) == (Operation.INFER, 8, answer_to(DESIGN, row))
    assert decode_status(status.payload) == Status(answered=1, refused=1)


def test_what_comes_before_a_frame_is_skipped(board: Path) -> None:
    noise = bytes(value for value in range(256) if value != REQUEST) * 3
    (good,) = frames(answers(board, noise + encode_request(Operation.PING, 3)))
    assert (good.operation, good.sequence) == (Operation.PING, 3)


@pytest.mark.parametrize("cut", [1, 2, 3, 4, 5, 8])
def test_a_frame_that_is_cut_is_broken_off_when_the_line_is_quiet(line: Line, cut: int) -> None:
    row = samples.rows(DESIGN, 1)[0]
    (broken,) = line.say(infer(DESIGN, row, 5)[:cut], 1.0)
    assert broken.fault == Fault.BROKEN_OFF
    assert broken.sequence == (5 if cut > 2 else 0), "of the frame, as far as it is known"
    good = line.asks(infer(DESIGN, row, 6))
    assert (good.operation, good.sequence, good.payload) == (Operation.INFER, 6, answer_to(DESIGN, row))


def _noise(rng: random.Random, good: bytes) -> bytes:
    kind = rng.randrange(4)
    if kind == 0:  # garbage, rich in starts
        return bytes(rng.choice((REQUEST, rng.randrange(256))) for _ in range(rng.randrange(1, 40)))
    if kind == 1:  # cut
        return good[: rng.randrange(1, len(good))]
    if kind == 2:  # a byte is lost
        at = rng.randrange(len(good))
        return good[:at] + good[at + 1 :]
    spoiled = bytearray(good)  # bits flip on the line
    for _ in range(rng.randrange(1, 4)):
        spoiled[rng.randrange(len(spoiled))] ^= 1 << rng.randrange(8)
    return bytes(spoiled)


@pytest.mark.parametrize("seed", range(4))
def test_after_noise_and_silence_the_next_frame_is_answered_rightly(line: Line, seed: int) -> None:
    rng = random.Random(seed)
    rows = samples.rows(DESIGN, 50, seed)
    for place, row in enumerate(rows):
        good = infer(DESIGN, row, place)
        if rng.random() < 0.6:
            for reply in line.say(_noise(rng, good), 0.05):
                right = reply.operation == Operation.INFER and reply.payload == answer_to(DESIGN, row)
                assert reply.operation == ERROR or reply.operation != Operation.INFER or right
        reply = line.asks(good)
        assert (reply.operation, reply.sequence, reply.payload) == (
            Operation.INFER, place, answer_to(DESIGN, row),
        )  # fmt: skip


@pytest.mark.parametrize("seed", range(3))
def test_nothing_makes_the_board_hang_or_lie(board: Path, seed: int) -> None:
    """A stream without pauses: every reply is well formed, and what is answered to INFER belongs to a frame that was sent."""
    rng = random.Random(seed)
    rows = samples.rows(DESIGN, 300, seed)
    sent = b"".join(infer(DESIGN, row, 1) if rng.random() < 0.5 else _noise(rng, infer(DESIGN, row, 1)) for row in rows)
    calm = bytes(300)  # ends whatever is open
    replies = frames(answers(board, sent + calm + encode_request(Operation.PING, 77)))
    assert (replies[-1].operation, replies[-1].sequence) == (Operation.PING, 77)
    possible = {answer_to(DESIGN, row) for row in rows}
    inferred = [reply for reply in replies if reply.operation == Operation.INFER]
    assert inferred
    assert {reply.payload for reply in inferred} <= possible
