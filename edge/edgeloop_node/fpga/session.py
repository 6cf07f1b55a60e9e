"""A core that is served from: opened and proved to be the right one, and brought back when it is lost.

While it is away every row is answered with an UnavailableError that says what is wrong and where; a thread of its own loads and
opens it again, at growing distances, until its identity is right.
"""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Mapping, Sequence

from edgeloop_contracts import digest_of
from edgeloop_contracts.fpga import FpgaDesign
from edgeloop_contracts.fpga_frame import FrameError
from edgeloop_node.fpga import DeviceError
from edgeloop_node.fpga.board import Board
from edgeloop_node.fpga.driver import Driver, Figures, Timing
from edgeloop_node.log import log
from edgeloop_node.runtimes import UnavailableError

__all__ = ["Session"]

FIRST_PAUSE_S, LONGEST_PAUSE_S = 0.1, 10.0


class Session:
    """One board with one design. `infer` may be called from one thread at a time."""

    def __init__(self, board: Board, design: FpgaDesign, timing: Timing | None = None) -> None:
        self.board, self.digest = board, digest_of(design)
        self._design, self._timing = design, timing
        self._past, self._losses = Figures(), 0
        self._trouble, self._ended = "", threading.Event()
        self._thread: threading.Thread | None = None
        self._driver = self._opened()

    def _opened(self) -> Driver:
        """DeviceError; IdentityError when another core answers."""
        port = self.board.open(self.digest)
        try:
            driver = Driver(port, self._design, self._timing)
            driver.resynchronise()
            driver.expect(self.digest)
        except (DeviceError, FrameError):
            port.close()
            self.board.close()
            raise
        return driver

    def infer(self, codes: Sequence[int]) -> tuple[int, tuple[int, ...]]:
        """Label and raw scores of a row's codes. UnavailableError while the board is away."""
        if self._trouble:
            raise UnavailableError(f"{self.board.what}: {self._trouble}")
        try:
            return self._driver.infer(codes)
        except DeviceError as error:
            self._lose(error)
            raise UnavailableError(f"{self.board.what}: {error}") from error

    @property
    def trouble(self) -> str:
        """Why no row can be scored now; empty: they can."""
        return self._trouble

    def _lose(self, error: DeviceError) -> None:
        self._trouble = str(error)
        self._losses += 1
        _add(self._past, self._driver.figures)
        self._driver.figures = Figures()
        self._driver.port.close()
        log("error", "the board is lost", board=self.board.what, error=str(error))
        self._thread = threading.Thread(target=self._bring_back, name="fpga-recovery", daemon=True)
        self._thread.start()

    def _bring_back(self) -> None:
        began_s, pause_s = time.monotonic(), FIRST_PAUSE_S
        while not self._ended.wait(pause_s):
            try:
                self._driver = self._opened()
            except DeviceError as error:
                if str(error) != self._trouble:
                    log("warning", "the board is not back yet", board=self.board.what, error=str(error))
                self._trouble = str(error)
                pause_s = min(2 * pause_s, LONGEST_PAUSE_S)
                continue
            self._trouble = ""
            log("info", "the board is back", board=self.board.what, away_s=round(time.monotonic() - began_s, 3))
            return

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
            "fpga_board_ready": 0 if self._trouble else 1,
        }

    def close(self) -> None:
        """Ends recovery, and lets go of port and board."""
        self._ended.set()
        if self._thread is not None:
            self._thread.join()
        with contextlib.suppress(DeviceError):
            self._driver.port.close()
        self.board.close()


def _add(total: Figures, more: Figures) -> None:
    total.answers += more.answers
    total.retries += more.retries
    total.link_s += more.link_s
    for name, count in more.faults.items():
        total.faults[name] = total.faults.get(name, 0) + count
