"""A board in use: the right core or none, loss in the middle of serving, and the way back; simulated and at a device."""

from __future__ import annotations

import os
import signal
import stat
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
import samples

from edgeloop_contracts import digest_of, dumps
from edgeloop_contracts.fpga_model import codes_of, scores_of
from edgeloop_node.fpga import DeviceError, IdentityError, LoadError, loader
from edgeloop_node.fpga.board import SerialBoard
from edgeloop_node.fpga.driver import Timing
from edgeloop_node.fpga.serial import SerialPort
from edgeloop_node.fpga.session import Session
from edgeloop_node.fpga.simulated import SimulatedBoard
from edgeloop_node.runtimes import UnavailableError

DESIGN = samples.boosting()
PATIENT = Timing(answer_s=5.0, attempts=3)
CODES = [codes_of(DESIGN, row) for row in samples.rows(DESIGN, 20)]
SCORES = [scores_of(DESIGN, codes) for codes in CODES]


def write_design(folder: Path, design: Any = DESIGN) -> Path:
    path = folder / f"{digest_of(design)[7:15]}.json"
    path.write_text(dumps(design))
    return path


def simulated(folder: Path, design: Any = DESIGN) -> SimulatedBoard:
    return SimulatedBoard([sys.executable, "-m", "edgeloop_node.fpga.core", write_design(folder, design)], "simulated")


@pytest.fixture
def session(tmp_path: Path) -> Iterator[Session]:
    made = Session(simulated(tmp_path), DESIGN, PATIENT)
    yield made
    made.close()


def answers(session: Session) -> list[tuple[int, ...]]:
    return [session.infer(codes)[1] for codes in CODES]


def test_a_simulated_board_answers_as_the_golden_model(session: Session) -> None:
    """Through the very driver that a device has."""
    assert answers(session) == SCORES
    assert session.trouble == ""
    counts = session.counts()
    assert (counts["fpga_answers_total"], counts["fpga_losses_total"], counts["fpga_board_ready"]) == (21, 0, 1)
    assert counts["fpga_link_seconds_total"] > 0


def test_the_loss_of_a_board_is_said_and_got_over(session: Session, eventually: Callable[..., Any]) -> None:
    """While it is away every row is refused with what and where; then it is the same again, and the counts went on."""
    answers(session)
    child = session.board.process_id  # type: ignore[attr-defined]
    os.kill(child, signal.SIGKILL)
    with pytest.raises(UnavailableError, match=r"simulated: /dev/pts/\d+: the device is gone"):
        answers(session)
    assert "the device is gone" in session.trouble
    assert session.counts()["fpga_board_ready"] == 0
    with pytest.raises(UnavailableError):
        session.infer(CODES[0])
    eventually(lambda: not session.trouble)
    assert answers(session) == SCORES
    assert session.board.process_id != child  # type: ignore[attr-defined]
    counts = session.counts()
    assert counts["fpga_losses_total"] == 1
    assert counts["fpga_answers_total"] >= 2 * len(CODES)


def test_a_board_that_hangs_is_started_anew(tmp_path: Path, eventually: Callable[..., Any]) -> None:
    """Silence for all attempts counts as a loss."""
    session = Session(simulated(tmp_path), DESIGN, Timing(answer_s=1.0, attempts=3))
    child = session.board.process_id  # type: ignore[attr-defined]
    os.kill(child, signal.SIGSTOP)
    with pytest.raises(UnavailableError, match="none that is sound; the last: silence"):
        session.infer(CODES[0])
    os.kill(child, signal.SIGCONT)
    eventually(lambda: not session.trouble)
    assert answers(session) == SCORES
    session.close()


def test_the_wrong_core_is_not_served_from(tmp_path: Path) -> None:
    """Neither at the start, nor when a board comes back with another core."""
    with pytest.raises(IdentityError, match=f"expected a core of the design {digest_of(DESIGN)}"):
        Session(simulated(tmp_path, samples.forest()), DESIGN, PATIENT)


def test_a_program_that_cannot_be_started(tmp_path: Path) -> None:
    """It is named."""
    with pytest.raises(LoadError, match=f"{tmp_path}/absent: cannot be started as a simulated board"):
        Session(SimulatedBoard([tmp_path / "absent"], "simulated"), DESIGN)


class Plug:
    """A device file that a board can be plugged into and pulled out of: a link to a pseudo-terminal with a core behind it."""

    def __init__(self, folder: Path) -> None:
        self.path, self._folder = folder / "ttyUSB0", folder
        self.loads: list[str] = []
        self._board: SimulatedBoard | None = None

    def plug(self, design: Any) -> None:
        self.pull()
        self._board = simulated(self._folder, design)
        port = self._board.open("")
        port.close()
        self.path.symlink_to(port.path)

    def pull(self) -> None:
        self.path.unlink(missing_ok=True)
        if self._board is not None:
            self._board.close()

    def load(self, bitstream: Path, board: str) -> str:
        """In place of openFPGALoader: the board answers as the bitstream's design from then on."""
        self.loads.append(f"{board} {bitstream.name}")
        self.plug(DESIGN)
        return "a test"


@pytest.fixture
def plug(tmp_path: Path) -> Iterator[Plug]:
    made = Plug(tmp_path)
    yield made
    made.pull()


def board_at(plug: Plug) -> SerialBoard:
    (plug.path.parent / "b.bin").write_bytes(b"bits")
    return SerialBoard(str(plug.path), 115_200, "icebreaker", plug.path.parent / "b.bin", DESIGN, load=plug.load)


def test_a_board_that_holds_the_design_is_not_loaded_again(plug: Plug) -> None:
    """A restart costs no load."""
    plug.plug(DESIGN)
    session = Session(board_at(plug), DESIGN, PATIENT)
    assert answers(session) == SCORES
    assert plug.loads == []
    session.close()


def test_a_board_with_another_core_is_loaded(plug: Plug) -> None:
    """Once, by its name, and asked for its identity afterwards."""
    plug.plug(samples.forest())
    session = Session(board_at(plug), DESIGN, PATIENT)
    assert answers(session) == SCORES
    assert plug.loads == ["icebreaker b.bin"]
    session.close()


def test_a_board_that_is_pulled_and_plugged_in_again(plug: Plug, eventually: Callable[..., Any]) -> None:
    """It comes back with another core, as after a power cut: it is loaded, and serves."""
    plug.plug(DESIGN)
    session = Session(board_at(plug), DESIGN, PATIENT)
    plug.pull()
    with pytest.raises(UnavailableError, match=f"{plug.path}: the device is gone"):
        answers(session)
    eventually(lambda: "No such file" in session.trouble)
    with pytest.raises(UnavailableError, match=f"{plug.path}: expected a serial device, got: No such file"):
        session.infer(CODES[0])
    plug.plug(samples.forest())
    eventually(lambda: not session.trouble)
    assert answers(session) == SCORES
    assert plug.loads == ["icebreaker b.bin"]
    session.close()


def tool(folder: Path, text: str) -> None:
    (folder / "openFPGALoader").write_text(f"#!/bin/sh\n{text}\n")
    (folder / "openFPGALoader").chmod(0o755)


def test_loading_calls_open_fpga_loader(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With the board's name and the file; what it says when it fails is passed on."""
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    file = tmp_path / "b.bit"
    with pytest.raises(LoadError, match=r"b\.bit: expected a bitstream to load, found no such file"):
        loader.load_bitstream(file, "ulx3s")
    file.write_bytes(b"bits")
    with pytest.raises(LoadError, match="expected the target's `board`"):
        loader.load_bitstream(file, "")
    tool(tmp_path, f'echo "$@" > {tmp_path}/called')
    assert loader.load_bitstream(file, "ulx3s") == str(tmp_path / "openFPGALoader")
    assert (tmp_path / "called").read_text() == f"-b ulx3s {file}\n"
    tool(tmp_path, "echo 'unable to open ftdi device' >&2; exit 3")
    with pytest.raises(LoadError, match=r"openFPGALoader -b ulx3s b\.bit: ended with 3: unable to open ftdi device"):
        loader.load_bitstream(file, "ulx3s")
    tool(tmp_path, "echo 'Wait for CDONE'; echo Fail >&2")
    with pytest.raises(LoadError, match="ended with 0: Fail") as caught:
        loader.load_bitstream(file, "ice40_generic")
    assert "is the board plugged in" in caught.value.hint
    monkeypatch.setenv("PATH", "/nowhere")
    with pytest.raises(LoadError, match="expected openFPGALoader on this node"):
        loader.load_bitstream(file, "ulx3s")


def test_loading_through_the_kernel(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The file goes where the kernel looks for firmware, its name to the manager, and the state is read afterwards."""
    manager, firmware = tmp_path / "managers" / "fpga1", tmp_path / "firmware"
    monkeypatch.setattr(loader, "MANAGERS", tmp_path / "managers")
    monkeypatch.setattr(loader, "FIRMWARE", firmware)
    file = tmp_path / "b.bin"
    file.write_bytes(b"bits")
    with pytest.raises(LoadError, match="a mainline kernel loads through a device-tree overlay"):
        loader.load_bitstream(file, "fpga-manager:fpga1")
    for folder in (manager, firmware):
        folder.mkdir(parents=True)
    (manager / "firmware").write_text("")
    (manager / "state").write_text("operating\n")
    assert loader.load_bitstream(file, "fpga-manager:fpga1") == str(manager)
    assert ((manager / "firmware").read_text(), (firmware / "b.bin").read_bytes()) == ("b.bin", b"bits")
    (manager / "state").write_text("write error\n")
    with pytest.raises(LoadError, match=r"expected operating after loading b\.bin, got write error"):
        loader.load_bitstream(file, "fpga-manager:fpga1")


@pytest.mark.board
def test_a_real_board(tmp_path: Path) -> None:
    """Loads and asks a board: EDGELOOP_TEST_DEVICE, EDGELOOP_TEST_BOARD and a served folder in EDGELOOP_TEST_FPGA_MODEL."""
    names = ("EDGELOOP_TEST_DEVICE", "EDGELOOP_TEST_BOARD", "EDGELOOP_TEST_FPGA_MODEL")
    given = [os.environ.get(name, "") for name in names]
    if not all(given):
        pytest.skip(f"needs an FPGA board: set {', '.join(names)}")
    device, board, model = given
    assert stat.S_ISCHR(Path(device).stat().st_mode)
    from edgeloop_contracts import loads
    from edgeloop_contracts.fpga import FpgaDesign

    design = loads(FpgaDesign, (Path(model) / "design.json").read_bytes())
    (bitstream,) = Path(model).glob("bitstream.*")
    session = Session(SerialBoard(device, 115_200, board, bitstream, design), design)
    for row in samples.rows(design, 200):
        codes = codes_of(design, row)
        assert session.infer(codes)[1] == scores_of(design, codes)
    session.close()


def test_a_new_server_takes_the_board_over(plug: Plug, eventually: Callable[..., Any]) -> None:
    """The old one answers on, with the same bits, and has the board back should the new one end first."""
    plug.plug(DESIGN)
    old = Session(board_at(plug), DESIGN, PATIENT)
    assert answers(old) == SCORES
    asked = old.counts()["fpga_answers_total"]
    new = Session(board_at(plug), DESIGN, PATIENT)
    assert answers(new) == answers(old) == SCORES
    assert old.trouble == new.trouble == ""
    assert old.counts()["fpga_answers_total"] == asked, "the golden model answered"
    assert (old.counts()["fpga_board_ready"], new.counts()["fpga_board_ready"]) == (0, 1)
    new.close()
    eventually(lambda: old.counts()["fpga_board_ready"] == 1)
    assert answers(old) == SCORES
    assert old.counts()["fpga_answers_total"] > asked
    assert old.counts()["fpga_losses_total"] == 0
    old.close()


def test_a_new_server_that_fails_leaves_the_board_to_the_old_one(plug: Plug, eventually: Callable[..., Any]) -> None:
    """Its design is another, and its bitstream cannot be loaded."""
    plug.plug(DESIGN)
    old = Session(board_at(plug), DESIGN, PATIENT)
    other = samples.forest()
    board = SerialBoard(str(plug.path), 115_200, "", plug.path.parent / "absent.bin", other)
    with pytest.raises(LoadError, match="expected a bitstream to load"):
        Session(board, other, PATIENT)
    eventually(lambda: old.counts()["fpga_board_ready"] == 1)
    assert answers(old) == SCORES
    old.close()


def test_a_port_that_another_program_holds_is_not_waited_for(plug: Plug) -> None:
    """A program that lends nothing is said at once."""
    plug.plug(DESIGN)
    began_s = time.monotonic()
    first = SerialPort.open(plug.path, 115_200)
    with pytest.raises(DeviceError, match="another process holds it, which is no server that lets go"):
        Session(board_at(plug), DESIGN, PATIENT)
    assert time.monotonic() - began_s < 5
    first.close()


def test_an_idle_board_that_went_is_found_by_the_probe(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    """Readiness asks a board that nobody asked for a while."""
    monkeypatch.setattr("edgeloop_node.fpga.session.QUIET_S", 0.0)
    assert session.trouble == ""
    os.kill(session.board.process_id, signal.SIGKILL)  # type: ignore[attr-defined]
    assert "the device is gone" in session.trouble
