"""One HTTP/1.1 connection to a node's server that is kept open: single-row requests as fast as one process can ask.

A request is never asked twice on a guess. A connection that the server closed while nothing was asked is opened anew; one that
says `Connection: close` is left after its answer. If a connection ends between a request and its answer, nobody here can know
whether the row was counted: that is `Dropped`, and the caller decides by what the fleet has counted.
"""

from __future__ import annotations

import contextlib
import re
import select
import socket
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field

__all__ = ["Dropped", "Line", "Reply", "WireError", "exchange"]

ANSWER_LIMIT_S = 20.0
_LENGTH = re.compile(rb"content-length:\s*(\d+)", re.IGNORECASE)
_CLOSE = re.compile(rb"connection:\s*close", re.IGNORECASE)
_READ_BYTES = 65_536


class WireError(RuntimeError):
    """A node's server cannot be reached, does not answer in time, or answers no HTTP."""


@dataclass(frozen=True)
class Reply:
    """What a server answered to the request `key` of a node."""

    node: str
    key: int
    status: int
    body: bytes


@dataclass(frozen=True)
class Dropped:
    """The connection ended before the answer to the request `key` came."""

    node: str
    key: int


@dataclass
class Line:
    """The connection to one node's server; it connects when it is first used."""

    node: str
    host: str
    port: int
    path: str = "/score"
    key: int = -1  # of the request that waits for its answer; -1: none
    connections: int = 0
    _socket: socket.socket | None = None
    _buffer: bytearray = field(default_factory=bytearray)
    _head: bytes = b""

    def __post_init__(self) -> None:
        head = f"POST {self.path} HTTP/1.1\r\nhost: {self.host}:{self.port}\r\ncontent-type: application/json\r\n"
        self._head = f"{head}content-length: ".encode()

    def ask(self, key: int, body: bytes) -> int:
        """Sends a request and gives the file descriptor on which the answer comes. WireError when nobody listens."""
        if self._socket is None or self._ended():
            self._connect()
        assert self._socket is not None
        self.key = key
        with contextlib.suppress(ConnectionError):  # then reading says that it was dropped
            self._socket.sendall(b"%s%d\r\n\r\n%s" % (self._head, len(body), body))
        return self._socket.fileno()

    def read(self) -> Reply | Dropped | None:
        """Takes what has come: the answer, the end of the connection, or None while the answer is not complete."""
        assert self._socket is not None
        try:
            data = self._socket.recv(_READ_BYTES)
        except ConnectionError:
            data = b""
        if not data:
            self.close()
            key, self.key = self.key, -1
            return Dropped(self.node, key)
        self._buffer += data
        return self._reply()

    def _reply(self) -> Reply | None:
        end = self._buffer.find(b"\r\n\r\n")
        if end < 0:
            return None
        head = bytes(self._buffer[:end])
        length = _LENGTH.search(head)
        if length is None or not head.startswith(b"HTTP/1."):
            raise WireError(f"{self}: expected an HTTP answer with a content-length, got {head[:80]!r}")
        if len(self._buffer) < end + 4 + int(length[1]):
            return None
        reply = Reply(self.node, self.key, int(head[9:12]), bytes(self._buffer[end + 4 :]))
        self._buffer.clear()
        self.key = -1
        if _CLOSE.search(head):
            self.close()
        return reply

    def close(self) -> None:
        if self._socket is not None:
            self._socket.close()
        self._socket = None
        self._buffer.clear()

    def _connect(self) -> None:
        self.close()
        try:
            self._socket = socket.create_connection((self.host, self.port), timeout=5)
        except OSError as error:
            raise WireError(f"{self} cannot be reached: {error}") from error
        self._socket.settimeout(
            None
        )  # a socket with a time limit would wait in _ended; reading is done when poll says so
        self._socket.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.connections += 1

    def _ended(self) -> bool:
        """Whether the server has closed a connection on which nothing was asked: then no row is in doubt."""
        assert self._socket is not None
        try:
            return self._socket.recv(1, socket.MSG_PEEK | socket.MSG_DONTWAIT) == b""
        except BlockingIOError:
            return False
        except ConnectionError:
            return True

    def __str__(self) -> str:
        return f"the server of node {self.node} at {self.host}:{self.port}"


def exchange(
    lines: Mapping[str, Line], requests: Mapping[str, Sequence[tuple[int, bytes]]], limit_s: float = ANSWER_LIMIT_S
) -> Iterator[Reply | Dropped]:
    """Asks each node its requests (key, body) in their order, one at a time, the nodes side by side; gives what comes back.

    WireError when a server cannot be reached or lets `limit_s` pass.
    """
    poll = select.poll()  # keeps numbers, not sockets: a new connection may have the number of an old one
    waiting: dict[int, Line] = {}
    queues = {node: iter(of_node) for node, of_node in requests.items()}
    for node, queue in queues.items():
        _next(poll, waiting, lines[node], queue)
    while waiting:
        for descriptor in _ready(poll, waiting, limit_s):
            line = waiting[descriptor]
            result = line.read()
            if result is not None:
                _next(poll, waiting, line, queues[line.node], descriptor)
                yield result


def _ready(poll: select.poll, waiting: Mapping[int, Line], limit_s: float) -> list[int]:
    ready = [descriptor for descriptor, _ in poll.poll(1000 * limit_s)]
    if not ready:
        raise WireError(f"no answer within {limit_s:g} s from {', '.join(str(line) for line in waiting.values())}")
    return ready


def _next(
    poll: select.poll, waiting: dict[int, Line], line: Line, queue: Iterator[tuple[int, bytes]], old: int = -1
) -> None:
    """Asks the line's next request, if there is one; `old` is the descriptor that it waited on before."""
    request = next(queue, None)
    new = -1 if request is None else line.ask(*request)
    if new == old:
        return
    if old >= 0:
        poll.unregister(old)
        del waiting[old]
    if new >= 0:
        poll.register(new, select.POLLIN)
        waiting[new] = line
