"""A core that is served from: opened and proved to be the right one, and brought back when it is lost.

While it is away every row is answered with an UnavailableError that says what is wrong and where; a thread of its own loads and
opens it again, at growing distances, until its identity is right. A new server of the node may take the board over: from then
on the golden model answers here, and the board comes back should that server end first.
"""

from __future__ import annotations

import socket
import threading
import time
from collections.abc import Mapping, Sequence

from edgeloop_contracts import digest_of
from edgeloop_contracts.fpga import FpgaDesign
from edgeloop_contracts.fpga_frame import FrameError
from edgeloop_contracts.fpga_model import answer_of
from edgeloop_node.fpga import BusyError, DeviceError
from edgeloop_node.fpga.board import Board
from edgeloop_node.fpga.driver import Driver, Figures, Port, Timing
from edgeloop_node.fpga.handover import Owner, ask_for
from edgeloop_node.log import log
from edgeloop_node.runtimes import UnavailableError

__all__ = ["Session"]

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0
QUIET_S = 1.0  # that a board is taken to be there after an answer


class Session:
    """One board with one design."""

    def __init__(self, board: Board, design: FpgaDesign, timing: Timing | None = None) -> None:
        self.board, self.digest = board, digest_of(design)
        self._design, self._timing = design, timing
        self._past, self._losses = Figures(), 0
        self._trouble, self._lent = "", False
        self._ended, self._lock = threading.Event(), threading.Lock()
        self._asked_s = 0.0
        self._thread: threading.Thread | None = None
        self._owner: Owner | None = None
        self._from: socket.socket | None = None  # who lent the board to this process
        self._driver = self._opened(ask=True)

    def _opened(self, *, ask: bool = False) -> Driver:
        """With `ask`, from another server that has the device. DeviceError; IdentityError when another core answers."""
        port = self._port(ask)
        try:
            driver = Driver(port, self._design, self._timing)
            driver.resynchronise()
            driver.expect(self.digest)
            if self.board.device:
                self._owner = Owner(self.board.device, self._lend, self._start_recovery)
        except (DeviceError, FrameError):
            port.close()
            self.board.close()
            self._let_go()
            raise
        self._asked_s = time.monotonic()
        return driver

    def _port(self, ask: bool) -> Port:
        try:
            return self.board.open(self.digest)
        except BusyError:
            if not ask or not self.board.device:
                raise
        self._from = ask_for(self.board.device)
        log("info", "another server lets go of the board", board=self.board.what)
        try:
            return self.board.open(self.digest)
        except DeviceError:
            self._let_go()
            raise

    def _let_go(self) -> None:
        """Gives the device back to the server that lent it."""
        lender, self._from = self._from, None
        if lender is not None:
            lender.close()

    def infer(self, codes: Sequence[int]) -> tuple[int, tuple[int, ...]]:
        """Label and raw scores of a row's codes. UnavailableError while the board is away.

        While another server has the board, the golden model answers: the same bits.
        """
        with self._lock:
            if self._lent:
                return answer_of(self._design, codes)
            if self._trouble:
                raise UnavailableError(f"{self.board.what}: {self._trouble}")
            try:
                found = self._driver.infer(codes)
            except DeviceError as error:
                self._lose(error)
                raise UnavailableError(f"{self.board.what}: {error}") from error
            self._asked_s = time.monotonic()
            return found

    @property
    def trouble(self) -> str:
        """Why no row can be scored now; empty: they can. A board that was not asked for a while is asked whether it is there."""
        with self._lock:
            if not (self._trouble or self._lent) and time.monotonic() - self._asked_s > QUIET_S:
                try:
                    self._driver.ping()
                    self._asked_s = time.monotonic()
                except DeviceError as error:
                    self._lose(error)
            return self._trouble

    def _lend(self) -> None:
        with self._lock:
            self._lent = True
            self._close_port()
        log("info", "another server takes the board over: the golden model answers", board=self.board.what)

    def _close_port(self) -> None:
        _add(self._past, self._driver.figures)
        self._driver.figures = Figures()
        self._driver.port.close()

    def _lose(self, error: DeviceError) -> None:
        self._trouble = str(error)
        self._losses += 1
        self._close_port()
        if self._owner is not None:
            self._owner.close()
        log("error", "the board is lost", board=self.board.what, error=str(error))
        self._start_recovery()

    def _start_recovery(self) -> None:
        if not self._ended.is_set():
            self._thread = threading.Thread(target=self._bring_back, name="fpga-recovery", daemon=True)
            self._thread.start()

    def _bring_back(self) -> None:
        began_s, pause_s = time.monotonic(), FIRST_PAUSE_S
        while not self._ended.wait(pause_s):
            try:
                driver = self._opened()
            except DeviceError as error:
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                self._still_away(error)
                continue
            with self._lock:
                self._driver, self._trouble, self._lent = driver, "", False
            log("info", "the board is back", board=self.board.what, away_s=round(time.monotonic() - began_s, 3))
            return

    def _still_away(self, error: DeviceError) -> None:
        if str(error) != self._trouble:
            log("warning", "the board is not back yet", board=self.board.what, error=str(error))
        with self._lock:
            self._trouble, self._lent = str(error), False

    def counts(self) -> Mapping[str, float]:
        """Figures since the server began, for /metrics."""
        now = Figures()
        for figures in (self._past, self._driver.figures):
            _add(now, figures)
        return {
            "fpga_answers_total": now.answers,
            "fpga_retries_total": now.retries,
            "fpga_losses_total": self._losses,
            "fpga_link_seconds_total": now.link_s,
            "fpga_board_ready": 0 if self._trouble or self._lent else 1,
        }

    def close(self) -> None:
        """Ends recovery, and gives up port and board."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        if self._owner is not None:
            self._owner.close()
        self._driver.port.close()
        self.board.close()
        self._let_go()


def _add(total: Figures, more: Figures) -> None:
    total.answers += more.answers
    total.retries += more.retries
    total.link_s += more.link_s
    for name, count in more.faults.items():
        total.faults[name] = total.faults.get(name, 0) + count
