"""A board that is none: a program that speaks the core's bytes, as a child process behind a pseudo-terminal.

The child has one end as its standard input and output, the driver opens the other by its name, as it opens a serial device.
When the child ends, the driver sees what it sees of an unplugged board.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
from collections.abc import Sequence
from pathlib import Path

from edgeloop_node.fpga import LoadError
from edgeloop_node.fpga.serial import SerialPort, make_raw

__all__ = ["SimulatedBoard"]

END_S = 2.0


class SimulatedBoard:
    """Starts the program anew for every `open`, which is what loading a bitstream is here."""

    simulated = True
    device = ""

    def __init__(self, command: Sequence[str | Path], what: str, baud: int = 115_200) -> None:
        self.what = what
        self._command, self._baud = [str(part) for part in command], baud
        self._child: subprocess.Popen[bytes] | None = None
        self._end = -1

    def open(self, _digest: str) -> SerialPort:
        """The port of a fresh child. DeviceError."""
        self.close()
        inner, outer = os.openpty()
        try:
            make_raw(outer, self._baud)  # before a byte is written: a terminal echoes otherwise
            self._child = subprocess.Popen(self._command, stdin=inner, stdout=inner, stderr=subprocess.DEVNULL)
            self._end = outer  # held: the child would see the line closed while nobody has it open
            return SerialPort.open(os.ttyname(outer), self._baud)
        except OSError as error:
            os.close(outer)
            raise LoadError(f"{self._command[0]}: cannot be started as a simulated board: {error}") from error
        finally:
            os.close(inner)

    @property
    def process_id(self) -> int | None:
        """Of the child; None before the first `open`."""
        return self._child.pid if self._child else None

    def close(self) -> None:
        """Ends the child."""
        if self._end >= 0:
            os.close(self._end)
            self._end = -1
        child, self._child = self._child, None
        if child is None:
            return
        child.terminate()
        with contextlib.suppress(subprocess.TimeoutExpired):
            child.wait(END_S)
            return
        child.kill()
        child.wait()
