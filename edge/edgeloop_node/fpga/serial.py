"""A serial port by termios: raw 8N1 at one speed, one owner, reads and writes with a time limit.

Refuses what is no terminal, a speed that the kernel has no name for, and a port that another process holds.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import select
import termios
import time
import tty
from pathlib import Path

from edgeloop_node.fpga import BusyError, DeviceError, DeviceLostError

__all__ = ["SPEEDS", "SerialPort", "make_raw"]

SPEEDS: dict[int, int] = {
    int(name[1:]): getattr(termios, name) for name in dir(termios) if name[:1] == "B" and name[1:].isdigit()
}
PIECE_BYTES = 4096


def make_raw(handle: int, baud: int) -> None:
    """8N1 without echo, translation, flow control and hang-up; input of another time is thrown away. DeviceError."""
    if baud not in SPEEDS or baud == 0:
        near = min(SPEEDS, key=lambda known: abs(known - baud))
        raise DeviceError(f"baud: expected a speed that the kernel knows, got {baud} (nearest: {near})")
    tty.setraw(handle, termios.TCSANOW)
    flags = termios.tcgetattr(handle)
    flags[2] = (flags[2] | termios.CLOCAL | termios.CREAD) & ~(termios.CSTOPB | termios.PARENB | termios.HUPCL)
    with contextlib.suppress(AttributeError):
        flags[2] &= ~termios.CRTSCTS
    flags[4] = flags[5] = SPEEDS[baud]
    termios.tcsetattr(handle, termios.TCSANOW, flags)
    termios.tcflush(handle, termios.TCIOFLUSH)


class SerialPort:
    """An open port. Every method raises DeviceLostError when the device is gone."""

    def __init__(self, path: str, handle: int, baud: int) -> None:
        self.path, self.baud = path, baud
        self._handle = handle

    @classmethod
    def open(cls, path: str | Path, baud: int) -> SerialPort:
        """Opens and locks the port. DeviceError says what is wrong with it; BusyError: another process has it."""
        name = str(path)
        try:
            handle = os.open(name, os.O_RDWR | os.O_NOCTTY | os.O_NONBLOCK | os.O_CLOEXEC)
        except OSError as error:
            raise DeviceError(f"{name}: expected a serial device, got: {error.strerror}") from error
        try:
            if not os.isatty(handle):
                raise DeviceError(f"{name}: expected a serial device, got a file that is none")
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            make_raw(handle, baud)
        except BlockingIOError as error:
            os.close(handle)
            raise BusyError(f"{name}: expected a device that is free, got one that another process holds") from error
        except (OSError, termios.error) as error:
            os.close(handle)
            raise DeviceError(f"{name}: cannot be set to {baud} baud: {error}") from error
        except DeviceError:
            os.close(handle)
            raise
        return cls(name, handle, baud)

    def _lost(self, error: OSError | None) -> DeviceLostError:
        found = "end of file" if error is None else error.strerror or repr(error)
        return DeviceLostError(f"{self.path}: the device is gone: {found}")

    def _ready(self, *, write: bool, until_s: float) -> bool:
        wait_s = max(0.0, until_s - time.monotonic())
        reads, writes = ([], [self._handle]) if write else ([self._handle], [])
        try:
            return any(select.select(reads, writes, [], wait_s)[:2])
        except (OSError, ValueError) as error:  # ValueError: the port was closed
            raise DeviceLostError(f"{self.path}: the device is gone: {error}") from error

    def read(self, until_s: float) -> bytes:
        """What has come; waits for the first byte, and gives nothing when it has not come by then (time.monotonic())."""
        if not self._ready(write=False, until_s=until_s):
            return b""
        try:
            data = os.read(self._handle, PIECE_BYTES)
        except BlockingIOError:
            return b""
        except OSError as error:
            raise self._lost(error) from error
        if not data:
            raise self._lost(None)
        return data

    def write(self, data: bytes, until_s: float) -> None:
        """Writes all of it. DeviceLostError also where it was not taken by then."""
        while data:
            if not self._ready(write=True, until_s=until_s):
                raise DeviceLostError(f"{self.path}: the device took no byte in time: {len(data)} left")
            try:
                data = data[os.write(self._handle, data) :]
            except BlockingIOError:
                continue
            except OSError as error:
                raise self._lost(error) from error

    def close(self) -> None:
        """Closes it; a second time does nothing."""
        handle, self._handle = self._handle, -1
        if handle >= 0:
            with contextlib.suppress(OSError):
                os.close(handle)
