"""How a new server takes a board over from the one that has it, on one node: an update runs both for a moment.

The owner listens on an abstract Unix socket that is named after the device. Whoever connects as the same user gets the device:
the owner lets go of it, answers `FREE`, and has it back when that connection ends, which it does with the other process.
Abstract sockets belong to the network namespace, which the pods of a node share (hostNetwork).
"""

from __future__ import annotations

import contextlib
import os
import socket
import struct
import threading
from collections.abc import Callable

from edgeloop_node.fpga import DeviceError

__all__ = ["Owner", "ask_for"]

FREE = b"free\n"
ASK_S = 10.0  # the owner finishes the row that it is at
CREDENTIALS = struct.Struct("3i")  # process, user, group


def _address(device: str) -> str:
    return f"\0edgeloop-fpga:{device}"


def _user(connection: socket.socket) -> int:
    found = connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, CREDENTIALS.size)
    return int(CREDENTIALS.unpack(found)[1])


def ask_for(device: str) -> socket.socket:
    """Makes the owner let go; the device is this process's while the connection is open. DeviceError when nobody does."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(ASK_S)
    try:
        connection.connect(_address(device))
        if _user(connection) != os.getuid():
            raise DeviceError(
                f"{device}: expected a server of this user to have it, found one of user {_user(connection)}"
            )
        if connection.recv(len(FREE)) != FREE:
            raise DeviceError(f"{device}: expected the server that has it to let go, it did not")
    except OSError as error:
        connection.close()
        raise DeviceError(f"{device}: another process holds it, which is no server that lets go: {error}") from error
    except DeviceError:
        connection.close()
        raise
    return connection


class Owner:
    """Waits for somebody who wants the device. `lend` lets go of it, `take_back` is called when it is free again."""

    def __init__(self, device: str, lend: Callable[[], None], take_back: Callable[[], None]) -> None:
        self._device, self._lend, self._take_back = device, lend, take_back
        self._listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            self._listener.bind(_address(device))
        except OSError as error:
            self._listener.close()
            raise DeviceError(f"{device}: another server waits to lend it: {error}") from error
        self._listener.listen(1)
        threading.Thread(target=self._wait, name="fpga-handover", daemon=True).start()

    def _wait(self) -> None:
        with contextlib.suppress(OSError):  # closed
            while True:
                connection, _ = self._listener.accept()
                if _user(connection) == os.getuid():
                    break
                connection.close()
            self.close()  # the name is the other's now
            self._lend()
            with connection, contextlib.suppress(OSError):
                connection.sendall(FREE)
                connection.recv(1)  # ends with the other process
            self._take_back()

    def close(self) -> None:
        """Stops waiting."""
        with contextlib.suppress(OSError):
            self._listener.shutdown(socket.SHUT_RDWR)
        self._listener.close()
