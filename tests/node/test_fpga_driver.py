"""The driver over a real pseudo-terminal whose other end garbles, delays, repeats, cuts and goes away."""

from __future__ import annotations

import contextlib
import os
import random
import select
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace

import pytest
import samples

from edgeloop_contracts import digest_of
from edgeloop_contracts.fpga import FpgaDesign
from edgeloop_contracts.fpga_frame import Fault, encode_error, encode_reply
from edgeloop_contracts.fpga_model import codes_of, label_of, scores_of
from edgeloop_node.fpga import DeviceError, DeviceLostError, IdentityError, LinkError
from edgeloop_node.fpga.core import Core
from edgeloop_node.fpga.driver import Driver, Timing
from edgeloop_node.fpga.serial import SerialPort, make_raw

FAST = Timing(answer_s=0.15, attempts=4, quiet_s=0.01)
Spoil = Callable[[int, bytes], bytes | None]  # number of the exchange and what the core sends -> what comes; None: gone
DESIGN = samples.perceptron()


@dataclass
class Line:
    """The board's end of a pseudo-terminal, with a core in software behind it."""

    design: FpgaDesign
    spoil: Spoil
    path: str = ""
    hear: Spoil = lambda _, heard: heard  # of a request, the same
    exchanges: int = 0
    requests: int = 0
    ended: threading.Event = field(default_factory=threading.Event)

    def serve(self, end: int) -> None:
        core = Core(self.design)
        while not self.ended.is_set():
            if not select.select([end], [], [], 0.01)[0]:
                os.write(end, core.quiet() if core.waiting else b"")
                continue
            self.requests += 1
            sent = core.take(self.hear(self.requests, os.read(end, 4096)) or b"")
            if sent:
                self.exchanges += 1
                spoilt = self.spoil(self.exchanges, sent)
                if spoilt is None:
                    return
                os.write(end, spoilt)


@contextlib.contextmanager
def line(
    design: FpgaDesign = DESIGN,
    spoil: Spoil = lambda _, sent: sent,
    hear: Spoil = lambda _, heard: heard,
) -> Iterator[Line]:
    end, outer = os.openpty()
    make_raw(outer, 115_200)
    made = Line(design, spoil, os.ttyname(outer), hear)
    thread = threading.Thread(target=_serve, args=(made, end))
    thread.start()
    try:
        yield made
    finally:
        made.ended.set()
        thread.join()
        os.close(outer)


def _serve(made: Line, end: int) -> None:
    try:
        made.serve(end)
    finally:
        os.close(end)


@contextlib.contextmanager
def driver(design: FpgaDesign = DESIGN, spoil: Spoil = lambda _, sent: sent) -> Iterator[Driver]:
    with line(design, spoil) as made, contextlib.closing(SerialPort.open(made.path, 115_200)) as port:
        yield Driver(port, design, FAST)


@pytest.mark.parametrize("name", samples.SAMPLES)
def test_answers_are_the_golden_models(name: str) -> None:
    """Label and raw scores of every row, and the counters of a core that was asked so often."""
    design = samples.SAMPLES[name]()
    with driver(design) as speaks:
        for row in samples.rows(design, 40):
            codes = codes_of(design, row)
            scores = scores_of(design, codes)
            assert speaks.infer(codes) == (label_of(design, scores), scores)
        assert speaks.status().answered == 40
        assert speaks.figures.retries == 0
        assert speaks.figures.answers == 41


def test_another_core_is_refused() -> None:
    """By the digest of its design, whatever else it answers."""
    other = samples.perceptron(seed=6)
    with driver(other) as speaks:
        speaks.expect(digest_of(other))
        with pytest.raises(IdentityError, match=f"expected a core of the design {digest_of(DESIGN)}, got one of"):
            speaks.expect(digest_of(DESIGN))


WRONG = encode_reply(1, 0, bytes(10))


@pytest.mark.parametrize(
    ("what", "spoil"),
    [
        ("silence", lambda n, sent: sent if n > 1 else b""),
        ("cut off", lambda n, sent: sent if n > 1 else sent[:-3]),
        ("a flipped bit", lambda n, sent: sent if n > 1 else sent[:5] + bytes((sent[5] ^ 4,)) + sent[6:]),
        ("noise before it", lambda n, sent: (b"\x00\xff" * 20 if n == 1 else b"") + sent),
        ("a false start before it", lambda n, sent: (b"\x5a\x81\x07\xff" if n == 1 else b"") + sent),
        ("an answer of another time", lambda n, sent: (WRONG if n == 1 else b"") + sent),
        ("the same twice", lambda _, sent: sent + sent),
        ("an error", lambda n, sent: sent if n > 1 else encode_error(Fault.CRC, 0)),
        ("half of it, three times", lambda n, sent: sent if n > 3 else sent[: len(sent) // 2]),
    ],
)
def test_a_bad_line_is_got_over(what: str, spoil: Spoil) -> None:
    """The row that meets it and those after it are answered rightly."""
    with driver(spoil=spoil) as speaks:
        for row in samples.rows(DESIGN, 4):
            codes = codes_of(DESIGN, row)
            scores = scores_of(DESIGN, codes)
            assert speaks.infer(codes) == (label_of(DESIGN, scores), scores), what
        assert speaks.figures.answers == 4
        assert speaks.figures.retries <= 3


@pytest.mark.parametrize(
    ("what", "hear"),
    [
        ("a byte lost", lambda n, heard: heard if n > 1 else heard[:3] + heard[4:]),
        ("the head lost", lambda n, heard: heard if n > 1 else heard[2:]),
        ("the end lost", lambda n, heard: heard if n > 1 else heard[:-2]),
        ("all of it lost", lambda n, heard: heard if n > 1 else b""),
        ("a flipped bit", lambda n, heard: heard if n > 1 else heard[:4] + bytes((heard[4] ^ 1,)) + heard[5:]),
        ("another length", lambda n, heard: heard if n > 1 else heard[:3] + b"\xf0" + heard[4:]),
        ("another operation", lambda n, heard: heard if n > 1 else heard[:1] + b"\x03" + heard[2:]),
        ("noise before it", lambda n, heard: (b"\xa5\x01\x09" if n == 1 else b"") + heard),
        ("the same twice", lambda n, heard: heard * (1 + (n == 1))),
    ],
)
def test_a_request_that_is_damaged_on_its_way_is_asked_again(what: str, hear: Spoil) -> None:
    """The core refuses it, or says nothing; this row and those after it are answered rightly."""
    with line(hear=hear) as made, contextlib.closing(SerialPort.open(made.path, 115_200)) as port:
        speaks = Driver(port, DESIGN, FAST)
        for row in samples.rows(DESIGN, 4):
            codes = codes_of(DESIGN, row)
            assert speaks.infer(codes)[1] == scores_of(DESIGN, codes), what
        assert speaks.figures.answers == 4
        assert speaks.figures.retries <= 2


def test_an_answer_that_comes_late_is_of_no_other_row() -> None:
    """A delay longer than the limit: the next row does not get the last one's scores."""

    def late(number: int, sent: bytes) -> bytes:
        if number % 3 == 1:
            time.sleep(1.4 * FAST.answer_s)
        return sent

    rows = [codes_of(DESIGN, row) for row in samples.rows(DESIGN, 6)]
    with driver(spoil=late) as speaks:
        assert [speaks.infer(codes)[1] for codes in rows] == [scores_of(DESIGN, codes) for codes in rows]
        assert speaks.figures.retries > 0


def test_a_row_is_right_or_refused_on_a_line_that_garbles_at_random() -> None:
    """One byte in sixty is another: a crc of 8 bits and the label beside the scores let nothing wrong through here."""
    rng = random.Random(3)

    def garble(_: int, sent: bytes) -> bytes:
        return bytes(rng.randrange(256) if rng.random() < 1 / 60 else byte for byte in sent)

    with driver(spoil=garble) as speaks:
        for row in samples.rows(DESIGN, 60):
            codes = codes_of(DESIGN, row)
            assert speaks.infer(codes)[1] == scores_of(DESIGN, codes)
        assert speaks.figures.retries > 0


@pytest.mark.parametrize(
    ("spoil", "says"),
    [
        (lambda _n, _sent: b"", "expected an answer to INFER at 115200 baud, got in 4 attempts none that is sound; .* silence"),
        (lambda _n, _sent: encode_error(Fault.WRONG_LENGTH, 1), "the last: refused: wrong length"),
        (lambda _n, sent: encode_reply(1, sent[2], b"\x00"), "the last: answer to INFER: expected .* bytes, got 1"),
    ],
)  # fmt: skip
def test_a_core_that_never_answers_soundly_is_named(spoil: Spoil, says: str) -> None:
    """With the device, how often it was asked, and what came last."""
    with driver(spoil=spoil) as speaks, pytest.raises(LinkError, match=says) as caught:
        speaks.infer(codes_of(DESIGN, [0.0] * 4))
    assert speaks.port.path in str(caught.value)


def test_a_label_that_is_not_that_of_its_scores_is_damaged() -> None:
    """Even in a frame with the right crc."""

    def lie(number: int, sent: bytes) -> bytes:
        payload = sent[4:-1]
        return encode_reply(1, sent[2], bytes(((payload[0] + 1) % 3,)) + payload[1:]) if number == 1 else sent

    with driver(spoil=lie) as speaks:
        codes = codes_of(DESIGN, [1.0, -2.0, 0.5, 3.0])
        assert speaks.infer(codes)[1] == scores_of(DESIGN, codes)
        (fault,) = speaks.figures.faults
        assert "expected the label of its scores" in fault


def test_a_device_that_goes_is_lost_at_once() -> None:
    """The error names it, and comes long before any time limit."""
    with driver(spoil=lambda _n, _sent: None) as speaks:
        began_s = time.monotonic()
        with pytest.raises(DeviceLostError, match=f"{speaks.port.path}: the device is gone"):
            speaks.infer(codes_of(DESIGN, [0.0] * 4))
        assert time.monotonic() - began_s < FAST.answer_s
        with pytest.raises(DeviceLostError):
            speaks.ping()


def test_noise_without_end_is_no_quiet_line() -> None:
    """Resynchronising ends, with an error that says why."""

    class Noisy:
        path, baud = "noise", 115_200

        def read(self, _until_s: float) -> bytes:
            return b"\x5a"

        def write(self, _data: bytes, _until_s: float) -> None:
            """Nobody hears it."""

        def close(self) -> None:
            """Nothing is held."""

    with pytest.raises(LinkError, match="noise: expected a quiet line"):
        Driver(Noisy(), DESIGN, replace(FAST, quiet_s=0.001)).resynchronise()


def test_ports_that_are_none(tmp_path: object) -> None:
    """What is wrong with a path is said with the path."""
    file = f"{tmp_path}/plain"
    with open(file, "w"):  # noqa: PTH123
        pass
    for path, says in (
        (file, "got a file that is none"),
        (f"{tmp_path}/absent", "No such file"),
        ("/dev/null", "none"),
    ):
        with pytest.raises(DeviceError, match=says) as caught:
            SerialPort.open(path, 115_200)
        assert path in str(caught.value)


def test_a_port_has_one_owner_and_a_speed_that_there_is() -> None:
    """A second one is refused while the first has it, and takes it afterwards."""
    with line() as made:
        first = SerialPort.open(made.path, 9600)
        with pytest.raises(DeviceError, match="another process holds"):
            SerialPort.open(made.path, 9600)
        first.close()
        first.close()
        with pytest.raises(
            DeviceError, match=r"baud: expected a speed that the kernel knows, got 115201 \(nearest: 115200\)"
        ):
            SerialPort.open(made.path, 115_201)
        SerialPort.open(made.path, 9600).close()
        with pytest.raises(DeviceLostError):
            first.read(time.monotonic())
