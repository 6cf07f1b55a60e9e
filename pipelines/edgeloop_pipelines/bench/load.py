"""Asks a server over kept connections, and reads from /proc what the asking cost it.

The load is closed: each connection sends its next request when its answer is there. Only the server's processor time is
judged, so a slow client distorts nothing; wall-clock percentiles of a busy machine would. Refuses any answer but 200.
"""

from __future__ import annotations

import contextlib
import itertools
import os
import selectors
import socket
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["LoadError", "cpu_s", "drive", "first_answer", "memory_bytes", "post"]

TICKS = os.sysconf("SC_CLK_TCK")


class LoadError(RuntimeError):
    """A server answered otherwise than with 200, or not at all."""


def post(path: str, body: bytes) -> bytes:
    """The bytes of a request."""
    head = f"POST {path} HTTP/1.1\r\nHost: 127.0.0.1\r\nContent-Type: application/json\r\nContent-Length: {len(body)}"
    return f"{head}\r\n\r\n".encode() + body


@dataclass
class _Connection:
    socket: socket.socket
    got: bytes = field(default=b"")

    def complete(self) -> bool:
        """Whether the answer is there; LoadError when it is not 200."""
        head, end, body = self.got.partition(b"\r\n\r\n")
        if not end:
            return False
        if not head.startswith(b"HTTP/1.1 200"):
            raise LoadError(f"expected 200, got {self.got[:300]!r}")
        length = head.lower().partition(b"content-length:")[2].split(b"\r\n", 1)[0]
        return len(body) >= int(length)


def drive(port: int, requests: Sequence[bytes], connections: int, seconds: float) -> int:
    """Sends the requests in turn for some seconds. The number of answers. LoadError."""
    following, answered = itertools.cycle(requests), 0
    with contextlib.ExitStack() as stack:
        selector = stack.enter_context(selectors.DefaultSelector())
        for _ in range(connections):
            client = stack.enter_context(socket.create_connection(("127.0.0.1", port), 30))
            client.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            client.sendall(next(following))
            selector.register(client, selectors.EVENT_READ, _Connection(client))
        open_ones, until_s = connections, time.monotonic() + seconds
        while open_ones:
            for key, _ in selector.select(30):
                connection: _Connection = key.data
                if not _received(connection):
                    continue
                answered += 1
                if time.monotonic() < until_s:
                    connection.socket.sendall(next(following))
                else:
                    selector.unregister(connection.socket)
                    open_ones -= 1
    return answered


def _received(connection: _Connection) -> bool:
    part = connection.socket.recv(262144)
    if not part:
        raise LoadError(f"the server closed a connection after {connection.got[:300]!r}")
    connection.got += part
    if not connection.complete():
        return False
    connection.got = b""
    return True


def first_answer(port: int, request: bytes, limit_s: float) -> bytes:
    """Asks until somebody answers; the answer. LoadError after `limit_s`."""
    until_s = time.monotonic() + limit_s
    while time.monotonic() < until_s:
        try:
            with socket.create_connection(("127.0.0.1", port), 5) as client:
                client.sendall(request)
                connection = _Connection(client)
                while not connection.complete():
                    part = client.recv(262144)
                    if not part:
                        raise ConnectionError("closed")
                    connection.got += part
                return connection.got.partition(b"\r\n\r\n")[2]
        except ConnectionError:
            time.sleep(0.0005)
    raise LoadError(f"no answer on port {port} within {limit_s} s")


def _family(pid: int) -> Iterator[int]:
    """A process and its children."""
    yield pid
    for task in Path(f"/proc/{pid}/task").iterdir():
        for child in (task / "children").read_text().split():
            yield from _family(int(child))


def cpu_s(pid: int) -> float:
    """Processor seconds, user and system, of a process with its children."""
    total = 0
    for member in _family(pid):
        fields = Path(f"/proc/{member}/stat").read_text().rpartition(")")[2].split()
        total += int(fields[11]) + int(fields[12])
    return total / TICKS


def memory_bytes(pid: int) -> dict[str, int]:
    """`rss` and `pss` of a process with its children."""
    found = {"rss": 0, "pss": 0}
    for member in _family(pid):
        for line in Path(f"/proc/{member}/smaps_rollup").read_text().splitlines():
            name = line.partition(":")[0].lower()
            if name in found:
                found[name] += int(line.split()[1]) * 1024
    return found
