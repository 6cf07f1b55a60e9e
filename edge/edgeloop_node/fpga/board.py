"""A board at a serial device of this node: loaded where it does not hold the design yet, and waited for when it comes back."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Protocol

from edgeloop_contracts.fpga import FpgaDesign
from edgeloop_node.fpga import DeviceError
from edgeloop_node.fpga.driver import Driver, Port, Timing
from edgeloop_node.fpga.loader import load_bitstream
from edgeloop_node.fpga.serial import SerialPort
from edgeloop_node.log import log

__all__ = ["Board", "SerialBoard"]

COMES_BACK_S, LOOK_S = 10.0, 0.1  # boards whose loader and serial port share a chip are gone for seconds after a load


class Board(Protocol):
    """Where a core comes from: a device, or a simulation that says so."""

    what: str
    simulated: bool
    device: str  # that processes may quarrel about; empty: it is this process's own

    def open(self, digest: str) -> Port:
        """A port with a loaded core behind it. DeviceError."""

    def close(self) -> None:
        """Gives up what it holds besides the port."""


class SerialBoard:
    """A device such as /dev/ttyUSB1. A core that has the digest already is not loaded again."""

    simulated = False

    def __init__(
        self,
        device: str,
        baud: int,
        board: str,
        bitstream: Path,
        design: FpgaDesign,
        *,
        load: Callable[[Path, str], str] = load_bitstream,
    ) -> None:
        self.what = f"board {board or 'of no name'} at {device}, {baud} baud"
        self.device, self._baud, self._board = device, baud, board
        self._bitstream, self._design, self._load = bitstream, design, load

    def open(self, digest: str) -> Port:
        """The port of the board, loaded. DeviceError."""
        if (port := self._holding(digest)) is not None:
            return port
        by = self._load(self._bitstream, self._board)
        log("info", "bitstream loaded", device=self.device, board=self._board, file=self._bitstream.name, by=by)
        return self._back()

    def _holding(self, digest: str) -> Port | None:
        """The port, when the board answers with the digest already."""
        port = SerialPort.open(self.device, self._baud)
        try:
            Driver(port, self._design, Timing(attempts=2)).expect(digest)
        except DeviceError as error:
            log("info", "the board does not hold the design yet", device=self.device, found=str(error))
            port.close()
            return None
        return port

    def _back(self) -> Port:
        until_s = time.monotonic() + COMES_BACK_S
        while True:
            try:
                return SerialPort.open(self.device, self._baud)
            except DeviceError:
                if time.monotonic() > until_s:
                    raise
                time.sleep(LOOK_S)

    def close(self) -> None:
        """It holds nothing."""
