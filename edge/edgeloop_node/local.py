"""Speaks with the servers of this node through their private Unix sockets, and finds them in the run folder.

A server announces itself as `<boot>.json` beside `<boot>.sock`. Whether it lives is asked of the socket and never of the
process id: server and agent may run in different containers, where ids mean different processes. A refused connection is
the proof that nobody listens any more. Standard library only, and little of it: a readiness probe starts in milliseconds.
"""

from __future__ import annotations

import json
import socket
import struct
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeloop_node.files import socket_address
from edgeloop_node.log import log

__all__ = ["Answer", "DeadError", "Server", "UnreachableError", "ask", "connect", "peer_pid", "servers_in"]

FINAL = ".final.json"
MAX_ANSWER_BYTES = 64 * 1024 * 1024


class UnreachableError(OSError):
    """The server did not answer as it should; it may do so later."""


class DeadError(UnreachableError):
    """Nobody listens on the socket any more."""


@dataclass(frozen=True)
class Server:
    """What a server says about itself in the run folder. `document` holds all of it."""

    boot: str
    pid: int
    socket: Path
    loop: str
    version: int
    started_s: float
    document: Mapping[str, Any] = field(repr=False)


@dataclass(frozen=True)
class Answer:
    """A status and the JSON body that came with it (None when the body was not JSON)."""

    status: int
    body: Any


def connect(path: Path, timeout_s: float) -> socket.socket:
    """A connected socket. DeadError when nobody listens, UnreachableError for anything else."""
    connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    connection.settimeout(timeout_s)
    try:
        with socket_address(path) as address:
            connection.connect(address)
    except (ConnectionRefusedError, FileNotFoundError) as error:
        connection.close()
        raise DeadError(f"{path}: nobody listens: {error}") from error
    except OSError as error:
        connection.close()
        raise UnreachableError(f"{path}: {error}") from error
    return connection


def peer_pid(connection: socket.socket) -> int:
    """The process that listens at the other end, as this process's namespace numbers it; 0 when it is in another one."""
    pid, _, _ = struct.unpack("3i", connection.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i")))
    return int(pid)


def _read_all(connection: socket.socket) -> bytes:
    parts, size = [], 0
    while part := connection.recv(1 << 18):
        parts.append(part)
        size += len(part)
        if size > MAX_ANSWER_BYTES:
            raise UnreachableError(f"expected an answer of at most {MAX_ANSWER_BYTES} bytes, got more")
    return b"".join(parts)


def _parsed(raw: bytes, target: str) -> Answer:
    head, _, body = raw.partition(b"\r\n\r\n")
    words = head.split(b" ", 2)
    if len(words) < 2 or not words[1].isdigit():
        raise UnreachableError(f"GET {target}: expected an HTTP answer, got {raw[:80]!r}")
    try:
        return Answer(int(words[1]), json.loads(body))
    except ValueError:
        return Answer(int(words[1]), None)


def exchange(connection: socket.socket, target: str) -> Answer:
    """One GET over a connection that ends with the answer. UnreachableError when it does not come."""
    try:
        connection.sendall(f"GET {target} HTTP/1.0\r\nHost: node\r\n\r\n".encode())
        return _parsed(_read_all(connection), target)
    except UnreachableError:
        raise
    except OSError as error:
        raise UnreachableError(f"GET {target}: {error}") from error


def ask(path: Path, target: str, timeout_s: float = 5.0) -> Answer:
    """GET `target` from the server behind a private socket. DeadError or UnreachableError."""
    with connect(path, timeout_s) as connection:
        return exchange(connection, target)


def _server(path: Path) -> Server | None:
    try:
        document = json.loads(path.read_bytes())
        return Server(
            boot=str(document["boot"]),
            pid=int(document["pid"]),
            socket=path.with_name(Path(str(document["socket"])).name),
            loop=str(document["loop"]),
            version=int(document["version"]),
            started_s=float(document["started_s"]),
            document=document,
        )
    except FileNotFoundError:
        return None
    except (OSError, ValueError, KeyError, TypeError) as error:
        log("warning", "not the announcement of a server", file=path.name, error=repr(error))
        return None


def servers_in(run_dir: Path) -> Iterator[Server]:
    """The servers that are announced in a run folder (not each of them lives), oldest first."""
    paths = [p for p in run_dir.glob("*.json") if not p.name.endswith(FINAL) and not p.name.startswith(".")]
    found = [server for path in paths if (server := _server(path))]
    yield from sorted(found, key=lambda server: (server.started_s, server.boot))
