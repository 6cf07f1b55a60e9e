"""Frames of the link to an FPGA: what is written is read again, whatever lies before, between and behind it."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

import pytest
from hypothesis import example, given
from hypothesis import strategies as st

from edgeloop_contracts.fpga import DenseLayer, FpgaDesign, FpgaForest, FpgaPerceptron
from edgeloop_contracts.fpga_frame import (
    MAX_PAYLOAD,
    Fault,
    Frame,
    FrameError,
    FrameParser,
    Layout,
    Operation,
    Status,
    crc8,
    decode_id,
    decode_status,
    encode_error,
    encode_id,
    encode_reply,
    encode_request,
    encode_status,
    reply_parser,
    request_parser,
)

OPERATIONS = st.sampled_from(list(Operation))
BYTE = st.integers(0, 255)
PAYLOADS = st.binary(max_size=MAX_PAYLOAD)
FRAMES = st.lists(st.tuples(OPERATIONS, BYTE, PAYLOADS), max_size=5)
LAYOUT = Layout(features=3, scores=2, classes=2, code_bytes=2, score_bytes=3, signed=True)


def in_pieces(parser: FrameParser, data: bytes, sizes: Sequence[int]) -> list[Frame]:
    """Feeds the bytes in pieces of the sizes, then the rest."""
    found: list[Frame] = []
    for size in sizes:
        found += parser.feed(data[:size])
        data = data[size:]
    return found + parser.feed(data)


def test_the_crc_is_the_known_one() -> None:
    """CRC-8/SMBUS has the check value F4h."""
    assert crc8(b"123456789") == 0xF4
    assert crc8(b"") == 0


def test_a_frame_byte_by_byte() -> None:
    """The layout on the wire, worked out by hand."""
    assert encode_request(Operation.PING, 7) == bytes.fromhex("a5 04 07 00") + bytes((crc8(b"\x04\x07\x00"),))
    assert encode_error(Fault.CRC, 9) == bytes.fromhex("5a ff 09 01 01") + bytes((crc8(b"\xff\x09\x01\x01"),))
    assert encode_reply(Operation.ID, 1, b"ab")[:6] == bytes.fromhex("5a 82 01 02 61 62")


@given(FRAMES, st.lists(BYTE, max_size=20))
def test_frames_are_read_from_any_pieces(frames: list[tuple[Operation, int, bytes]], sizes: list[int]) -> None:
    """Requests and replies come out as they went in, however the bytes are cut, and no byte is left over."""
    for encode, parser in ((encode_request, request_parser()), (encode_reply, reply_parser())):
        data = b"".join(encode(*frame) for frame in frames)
        assert in_pieces(parser, data, sizes) == [Frame(*frame) for frame in frames]
        assert not parser.waiting
        assert (parser.skipped, parser.damaged) == (0, 0)


@given(st.binary(max_size=300), OPERATIONS, BYTE, PAYLOADS, st.lists(BYTE, max_size=8))
@example(noise=b"\x5a\x81\x00\xff", operation=Operation.PING, sequence=1, payload=b"", sizes=[])
def test_a_frame_behind_noise_is_found(
    noise: bytes, operation: Operation, sequence: int, payload: bytes, sizes: list[int]
) -> None:
    """Noise, even one with false starts, hides no frame for longer than until the line is quiet."""
    parser = reply_parser()
    found = in_pieces(parser, noise + encode_reply(operation, sequence, payload), sizes) + parser.give_up()
    assert Frame(operation, sequence, payload) in found
    assert not parser.waiting


@given(OPERATIONS, BYTE, PAYLOADS, st.data())
def test_one_damaged_bit_is_never_a_frame(
    operation: Operation, sequence: int, payload: bytes, data: st.DataObject
) -> None:
    """A crc finds every single flipped bit: what comes out is not the frame that went in with another content."""
    whole = bytearray(encode_reply(operation, sequence, payload))
    place = data.draw(st.integers(0, 8 * len(whole) - 1))
    whole[place // 8] ^= 1 << place % 8
    parser = reply_parser()
    found = parser.feed(bytes(whole)) + parser.give_up()
    sizes = {len(encode_reply(operation, sequence, payload))}
    assert all(len(frame.payload) + 5 not in sizes for frame in found)


@given(st.lists(st.binary(max_size=60), max_size=10))
def test_no_bytes_upset_a_parser(pieces: list[bytes]) -> None:
    """Every byte ends up in a frame, is skipped, or waits."""
    for parser in (reply_parser(), request_parser()):
        found = [frame for piece in pieces for frame in parser.feed(piece)] + parser.give_up()
        framed = sum(5 + len(frame.payload) for frame in found)
        assert framed + parser.skipped == sum(map(len, pieces))


def test_errors_are_named() -> None:
    """A known reason has a name; one that nobody knows is an error all the same."""
    (known,) = reply_parser().feed(encode_error(Fault.BROKEN_OFF, 3))
    body = bytes.fromhex("ff030177")
    (unknown,) = reply_parser().feed(b"\x5a" + body + bytes((crc8(body),)))
    assert (known.operation, known.fault) == (None, Fault.BROKEN_OFF)
    assert (unknown.operation, unknown.fault, unknown.payload) == (None, None, b"w")


@pytest.mark.parametrize(
    ("call", "says"),
    [
        (lambda: encode_request(Operation.INFER, 0, bytes(256)), "payload: expected at most 255 bytes, got 256"),
        (lambda: encode_id("md5:00"), "digest: expected sha256:<64 hex digits>"),
        (lambda: decode_id(bytes(32)), "answer to ID: expected 33 bytes, got 32"),
        (lambda: decode_id(b"\x02" + bytes(32)), "answer to ID: expected protocol 1, got 2"),
        (lambda: decode_status(b""), "answer to STATUS: expected 4 bytes, got 0"),
        (lambda: LAYOUT.encode_codes((1, 2)), "row: expected 3 codes, got 2"),
        (lambda: LAYOUT.encode_codes((1, 2, 40000)), "row: expected signed codes of 2 bytes, got"),
        (lambda: dataclasses.replace(LAYOUT, signed=False).encode_codes((1, 2, -1)), "row: expected unsigned codes"),
        (lambda: LAYOUT.decode_codes(bytes(5)), "row: expected 6 bytes, got 5"),
        (lambda: LAYOUT.decode_answer(bytes(8)), "answer to INFER: expected 7 bytes, got 8"),
        (lambda: LAYOUT.decode_answer(b"\x02" + bytes(6)), "answer to INFER: expected a label below 2, got 2"),
    ],
)
def test_what_does_not_fit_is_refused(call: object, says: str) -> None:
    """The message says what, expected and found."""
    with pytest.raises(FrameError) as caught:
        call()  # type: ignore[operator]
    assert says in str(caught.value)


@given(st.lists(st.integers(-(2**15), 2**15 - 1), min_size=3, max_size=3))
def test_codes_come_back(codes: list[int]) -> None:
    """A row's codes, signed."""
    payload = LAYOUT.encode_codes(codes)
    assert len(payload) == LAYOUT.row_bytes
    assert LAYOUT.decode_codes(payload) == tuple(codes)


@given(st.integers(0, 1), st.lists(st.integers(-(2**23), 2**23 - 1), min_size=2, max_size=2))
def test_answers_come_back(label: int, scores: list[int]) -> None:
    """Label and raw scores."""
    payload = LAYOUT.encode_answer(label, scores)
    assert len(payload) == LAYOUT.answer_bytes
    assert LAYOUT.decode_answer(payload) == (label, tuple(scores))


@given(st.integers(0, 10**6), st.integers(0, 10**6))
def test_identity_and_status_come_back(answered: int, refused: int) -> None:
    """The digest as it is, the counters modulo 65,536."""
    digest = "sha256:" + "0f" * 32
    assert decode_id(encode_id(digest)) == digest
    assert decode_status(encode_status(Status(answered, refused))) == Status(answered % 65536, refused % 65536)


def perceptron(features: int, code_bits: int) -> FpgaDesign:
    layer = DenseLayer(weights=((1,) * features,) * 2, biases=(0, 0))
    core = FpgaPerceptron(bits=code_bits, factors=(1.0,) * features, offsets=(0.0,) * features, layers=(layer,))
    return FpgaDesign(
        features=features,
        classes=2,
        scores=2,
        code_bits=code_bits,
        score_bits=20,
        fraction_bits=0,
        missing=(0,) * features,
        perceptron=core,
    )


def test_a_layout_follows_the_design() -> None:
    """Codes of a perceptron are signed, of a forest not; each number takes whole bytes."""
    assert Layout.of(perceptron(3, 9)) == dataclasses.replace(LAYOUT, code_bytes=2, score_bytes=3)
    forest = FpgaForest(thresholds=((0.5,), ()), trees=(), base=(0,))
    design = FpgaDesign(
        features=2, classes=2, scores=1, code_bits=8, score_bits=8, fraction_bits=0, missing=(1, 0), forest=forest
    )
    assert Layout.of(design) == Layout(features=2, scores=1, classes=2, code_bytes=1, score_bytes=1, signed=False)
    with pytest.raises(FrameError, match="a row's codes to fit into 255 bytes, got 256"):
        Layout.of(perceptron(128, 9))
