"""Frames between a host and the core on an FPGA: bytes in, frames out, and back. Pure; the wire is somebody else's.

    request: A5 | operation        | sequence | length | payload | crc8
    reply:   5A | operation + 80h  | sequence | length | payload | crc8      (FF in place of the operation: an error)

crc8 has the polynomial 07h and starts with 0; it covers everything between the first byte and itself. Bytes before a frame
are skipped. A false start (a 5A in noise) costs at most the frame that it swallows: what came behind it is read again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from enum import IntEnum

from edgeloop_contracts.fpga import FpgaDesign

__all__ = [
    "MAX_PAYLOAD",
    "PROTOCOL",
    "Fault",
    "Frame",
    "FrameError",
    "FrameParser",
    "Layout",
    "Operation",
    "Status",
    "crc8",
    "decode_id",
    "decode_status",
    "encode_error",
    "encode_id",
    "encode_reply",
    "encode_request",
    "encode_status",
    "line_s",
    "reply_parser",
    "request_parser",
]

REQUEST, REPLY = 0xA5, 0x5A
FRAME_BYTES, BITS_PER_BYTE = 5, 10  # of a frame without payload; of a byte on the line
ANSWERED, ERROR = 0x80, 0xFF  # ANSWERED is added to a reply's operation
PROTOCOL = 1
MAX_PAYLOAD = 255
HEAD_BYTES, CRC_BYTES = 4, 1
DIGEST_BYTES = 32
WRAP = 1 << 16  # of the counters in STATUS


class FrameError(ValueError):
    """A payload is not what it must be. The message says which, what was expected and what was found."""


class Operation(IntEnum):
    """What a host may ask."""

    INFER = 1
    ID = 2
    STATUS = 3
    PING = 4


class Fault(IntEnum):
    """Why a core refused a frame: the payload of an error."""

    CRC = 1
    UNKNOWN_OPERATION = 2
    WRONG_LENGTH = 3
    BROKEN_OFF = 4


def _crc_table() -> bytes:
    table = bytearray()
    for value in range(256):
        for _ in range(8):
            value = ((value << 1) ^ 0x07 if value & 0x80 else value << 1) & 0xFF  # noqa: PLW2901
        table.append(value)
    return bytes(table)


_CRC = _crc_table()


def crc8(data: bytes | bytearray) -> int:
    """Polynomial x^8 + x^2 + x + 1, initial value 0, nothing reflected (CRC-8/SMBUS: `123456789` gives F4h)."""
    value = 0
    for byte in data:
        value = _CRC[value ^ byte]
    return value


@dataclass(frozen=True)
class Frame:
    """One frame. Of a reply `operation` is what it answers, or None where it is an error, whose `fault` says which."""

    operation: int | None
    sequence: int
    payload: bytes = b""

    @property
    def fault(self) -> Fault | None:
        """Of an error: its reason. None for an answer, and for a reason that nobody knows."""
        known = self.operation is None and len(self.payload) == 1 and self.payload[0] in set(Fault)
        return Fault(self.payload[0]) if known else None


def _encoded(start: int, operation: int, sequence: int, payload: bytes) -> bytes:
    if len(payload) > MAX_PAYLOAD:
        raise FrameError(f"payload: expected at most {MAX_PAYLOAD} bytes, got {len(payload)}")
    body = bytes((operation, sequence & 0xFF, len(payload))) + payload
    return bytes((start,)) + body + bytes((crc8(body),))


def encode_request(operation: Operation, sequence: int, payload: bytes = b"") -> bytes:
    """A request's bytes. FrameError for a payload of more than 255 bytes."""
    return _encoded(REQUEST, operation, sequence, payload)


def encode_reply(operation: Operation, sequence: int, payload: bytes = b"") -> bytes:
    """An answer's bytes, as a core sends them. FrameError for a payload of more than 255 bytes."""
    return _encoded(REPLY, operation | ANSWERED, sequence, payload)


def encode_error(fault: Fault, sequence: int) -> bytes:
    """An error's bytes, as a core sends them."""
    return _encoded(REPLY, ERROR, sequence, bytes((fault,)))


class FrameParser:
    """Takes bytes in any pieces and gives the frames in them. `skipped` counts bytes that were of no frame."""

    def __init__(self, start: int, operations: dict[int, int | None]) -> None:
        self._start, self._operations = start, operations
        self._held = bytearray()
        self.skipped = 0
        self.damaged = 0  # frames whose crc was wrong

    @property
    def waiting(self) -> bool:
        """Whether a frame has begun that is not complete."""
        return bool(self._held)

    def feed(self, data: bytes) -> list[Frame]:
        """The frames that are complete now."""
        self._held += data
        return list(iter(self._next, None))

    def give_up(self) -> list[Frame]:
        """To be called when the line has been quiet for too long: frames behind a start that never became one."""
        found = []
        while self._held:
            self._skip(1)
            found += self.feed(b"")
        return found

    def _skip(self, count: int) -> None:
        del self._held[:count]
        self.skipped += count

    def _next(self) -> Frame | None:
        while self._held:
            at = self._held.find(self._start)
            self._skip(at if at >= 0 else len(self._held))
            if len(self._held) < 2:
                return None
            if self._held[1] not in self._operations:
                self._skip(1)
                continue
            size = HEAD_BYTES + CRC_BYTES + self._held[3] if len(self._held) >= HEAD_BYTES else len(self._held) + 1
            if len(self._held) < size:
                return None
            if crc8(self._held[1 : size - 1]) == self._held[size - 1]:
                return self._taken(size)
            self.damaged += 1
            self._skip(1)
        return None

    def _taken(self, size: int) -> Frame:
        operation, sequence, payload = self._held[1], self._held[2], bytes(self._held[HEAD_BYTES : size - CRC_BYTES])
        del self._held[:size]
        return Frame(self._operations[operation], sequence, payload)


def reply_parser() -> FrameParser:
    """A host's parser."""
    return FrameParser(REPLY, {operation | ANSWERED: operation for operation in Operation} | {ERROR: None})


def request_parser() -> FrameParser:
    """A core's parser. Operations that nobody knows are passed on, since a core answers them with an error."""
    return FrameParser(REQUEST, {operation: operation for operation in range(256)})


def encode_id(digest: str) -> bytes:
    """The payload of an answer to ID, of the design's digest `sha256:<hex>`. FrameError."""
    kind, _, text = digest.partition(":")
    if kind != "sha256" or len(text) != 2 * DIGEST_BYTES:
        raise FrameError(f"digest: expected sha256:<64 hex digits>, got {digest!r}")
    return bytes((PROTOCOL,)) + bytes.fromhex(text)


def decode_id(payload: bytes) -> str:
    """The design's digest in an answer to ID. FrameError for another length or protocol."""
    if len(payload) != 1 + DIGEST_BYTES:
        raise FrameError(f"answer to ID: expected {1 + DIGEST_BYTES} bytes, got {len(payload)}")
    if payload[0] != PROTOCOL:
        raise FrameError(f"answer to ID: expected protocol {PROTOCOL}, got {payload[0]}")
    return f"sha256:{payload[1:].hex()}"


@dataclass(frozen=True)
class Status:
    """What a core has counted since it was loaded, modulo 65,536."""

    answered: int
    refused: int


def encode_status(status: Status) -> bytes:
    """The payload of an answer to STATUS."""
    return b"".join((count % WRAP).to_bytes(2, "little") for count in (status.answered, status.refused))


def decode_status(payload: bytes) -> Status:
    """The counters in an answer to STATUS. FrameError."""
    if len(payload) != 4:
        raise FrameError(f"answer to STATUS: expected 4 bytes, got {len(payload)}")
    return Status(int.from_bytes(payload[:2], "little"), int.from_bytes(payload[2:], "little"))


def line_s(payload_bytes: int, baud: int) -> float:
    """Seconds that a request and its answer take on a serial line (8N1), with `payload_bytes` in both together."""
    return (2 * FRAME_BYTES + payload_bytes) * BITS_PER_BYTE / baud


@dataclass(frozen=True)
class Layout:
    """How rows and scores of one design lie in payloads: code_bytes and score_bytes a number, little-endian."""

    features: int
    scores: int
    classes: int
    code_bytes: int
    score_bytes: int
    signed: bool  # codes; scores always are

    @staticmethod
    def of(design: FpgaDesign) -> Layout:
        """The layout of a design. FrameError when a row or its scores do not fit into a frame."""
        layout = Layout(
            features=design.features,
            scores=design.scores,
            classes=design.classes,
            code_bytes=-(-design.code_bits // 8),
            score_bytes=-(-design.score_bits // 8),
            signed=design.perceptron is not None,
        )
        for what, size in (("a row's codes", layout.row_bytes), ("label and scores", layout.answer_bytes)):
            if size > MAX_PAYLOAD:
                raise FrameError(f"design: expected {what} to fit into {MAX_PAYLOAD} bytes, got {size}")
        return layout

    @property
    def row_bytes(self) -> int:
        """Of INFER's payload."""
        return self.features * self.code_bytes

    @property
    def answer_bytes(self) -> int:
        """Of the answer's."""
        return 1 + self.scores * self.score_bytes

    def row_s(self, baud: int) -> float:
        """Seconds that a row and its answer take on a serial line, computed."""
        return line_s(self.row_bytes + self.answer_bytes, baud)

    def encode_codes(self, codes: Sequence[int]) -> bytes:
        """INFER's payload. FrameError for another number of codes, or one that does not fit."""
        if len(codes) != self.features:
            raise FrameError(f"row: expected {self.features} codes, got {len(codes)}")
        try:
            return b"".join(code.to_bytes(self.code_bytes, "little", signed=self.signed) for code in codes)
        except OverflowError as error:
            kind = "signed" if self.signed else "unsigned"
            raise FrameError(f"row: expected {kind} codes of {self.code_bytes} bytes, got {list(codes)}") from error

    def decode_codes(self, payload: bytes) -> tuple[int, ...]:
        """The codes in INFER's payload. FrameError for another length."""
        if len(payload) != self.row_bytes:
            raise FrameError(f"row: expected {self.row_bytes} bytes, got {len(payload)}")
        return _numbers(payload, self.code_bytes, signed=self.signed)

    def encode_answer(self, label: int, scores: Sequence[int]) -> bytes:
        """The payload of the answer to INFER, as a core makes it."""
        return bytes((label,)) + b"".join(score.to_bytes(self.score_bytes, "little", signed=True) for score in scores)

    def decode_answer(self, payload: bytes) -> tuple[int, tuple[int, ...]]:
        """Label and raw scores of an answer to INFER. FrameError for another length or a label that there is not."""
        if len(payload) != self.answer_bytes:
            raise FrameError(f"answer to INFER: expected {self.answer_bytes} bytes, got {len(payload)}")
        if payload[0] >= self.classes:
            raise FrameError(f"answer to INFER: expected a label below {self.classes}, got {payload[0]}")
        return payload[0], _numbers(payload[1:], self.score_bytes, signed=True)


def _numbers(payload: bytes, size: int, *, signed: bool) -> tuple[int, ...]:
    parts = (payload[at : at + size] for at in range(0, len(payload), size))
    return tuple(int.from_bytes(part, "little", signed=signed) for part in parts)
