"""Runs a service under uvicorn's HTTP protocol: two listeners, time limits, and an end that loses no request.

uvicorn's own runner closes idle keep-alive connections at once when it ends, which costs clients that are just sending a
request (about 190 of 9,000 were lost so). Here, on SIGTERM: connections that wait in the accept queue are taken, the
listener is closed, every answer from then on says `Connection: close`, and the process leaves when all connections are
closed, or nobody has asked anything for QUIET_S.
"""

from __future__ import annotations

import asyncio
import contextlib
import importlib
import logging
import signal
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from uvicorn import Config
from uvicorn.server import ServerState

from edgeloop_contracts import to_json
from edgeloop_node.log import log
from edgeloop_node.server.announce import Entry
from edgeloop_node.server.app import Service
from edgeloop_node.server.asgi import MAX_CONNECTIONS, application_of
from edgeloop_node.server.protocol import hardened

__all__ = ["listen", "run", "software"]

REQUEST_LIMIT_S = 10.0  # from a request's first byte (or the connection) to its answer
KEEP_ALIVE_S = 75
QUIET_S = 2.0
DRAIN_LIMIT_S = 15.0
BACKLOG = 1024
SWEEP_S = 1.0
CLOSE = [(b"connection", b"close")]
LOOPS = ("uvloop", "asyncio")
PARSERS = ("httptools", "h11")


def _first(modules: tuple[str, ...]) -> str:
    for name in modules:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
            return name
    raise ImportError(f"none of {', '.join(modules)} can be imported")


def software() -> dict[str, str]:
    """What this server runs on: event loop and HTTP parser are the fast ones where they are installed."""
    return {"event_loop": _first(LOOPS), "http_parser": _first(PARSERS)}


def listen(host: str, port: int) -> socket.socket:
    """A listening TCP socket that another process may share (SO_REUSEPORT). OSError."""
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    listener = socket.socket(family, socket.SOCK_STREAM)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
    listener.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
    listener.bind((host, port))
    listener.listen(BACKLOG)
    listener.setblocking(False)
    return listener


@dataclass
class _Door:
    """One application on one listener, with the connections that came through it."""

    config: Config
    protocol_class: Callable[..., Any]
    state: ServerState
    server: asyncio.Server | None = None
    watched: dict[Any, tuple[Any, float]] = field(default_factory=dict)

    def protocol(self) -> asyncio.Protocol:
        loop, make = asyncio.get_running_loop(), self.protocol_class
        return make(config=self.config, server_state=self.state, app_state={}, _loop=loop)  # type: ignore[no-any-return]

    async def open(self, listener: socket.socket) -> None:
        loop = asyncio.get_running_loop()
        make = loop.create_unix_server if listener.family == socket.AF_UNIX else loop.create_server
        self.server = await make(self.protocol, sock=listener, backlog=BACKLOG)

    def sweep(self, now_s: float) -> None:
        """Closes connections that have been in the middle of one request for longer than REQUEST_LIMIT_S."""
        seen = {}
        connections: list[Any] = list(self.state.connections)
        for connection in connections:
            if _idle(connection):
                continue
            cycle, since_s = self.watched.get(connection, (connection.cycle, now_s))
            if cycle is not connection.cycle:
                since_s = now_s
            elif now_s - since_s > REQUEST_LIMIT_S:
                _time_out(connection)
                continue
            seen[connection] = (connection.cycle, since_s)
        self.watched = seen


def _idle(connection: Any) -> bool:
    """Between two requests: uvicorn has its keep-alive timer on exactly then."""
    return connection.timeout_keep_alive_task is not None


def _time_out(connection: Any) -> None:
    if connection.cycle is None or not connection.cycle.response_started or connection.cycle.response_complete:
        connection.refuse(408, f"the request did not come within {REQUEST_LIMIT_S:.0f} s")
    connection.transport.close()
    if connection.transport.get_write_buffer_size():  # of a client that does not read
        connection.transport.abort()


def _door(service: Service, parser: str, *, private: bool) -> _Door:
    state = ServerState()
    config = Config(
        application_of(service, private=private, crowded=lambda: len(state.connections) > MAX_CONNECTIONS),
        http=parser,
        ws="none",
        lifespan="off",
        interface="asgi3",
        log_config=None,
        log_level="critical",
        access_log=False,
        proxy_headers=False,
        server_header=False,
        date_header=False,
        timeout_keep_alive=KEEP_ALIVE_S,
    )
    config.load()
    return _Door(config, hardened(config.http_protocol_class), state)


async def _keep_house(public: _Door, private: _Door, entry: Entry) -> None:
    """Once a second: time limits, and the entry in the run folder, should somebody have removed it."""
    while True:
        await asyncio.sleep(SWEEP_S)
        for door in (public, private):
            door.sweep(time.monotonic())
        if entry.missing():
            log("warning", "the entry in the run folder was gone: writing it again", file=str(entry.json))
            try:
                await _announce(private, entry)
            except OSError as error:
                log("error", "the entry cannot be written", file=str(entry.json), error=str(error))


async def _announce(private: _Door, entry: Entry) -> None:
    old = private.server
    await private.open(entry.listen())
    if old is not None:
        old.close()
    entry.write()


async def _take_queued(door: _Door, listener: socket.socket) -> None:
    """Accepts every connection that waits, then closes the listener."""
    loop, waiting = asyncio.get_running_loop(), []
    with contextlib.suppress(BlockingIOError):
        while True:
            waiting.append(listener.accept()[0])
    listener.close()
    for connection in waiting:
        connection.setblocking(False)
        with contextlib.suppress(OSError):
            await loop.connect_accepted_socket(door.protocol, connection)


async def _drain(door: _Door, listener: socket.socket) -> None:
    door.state.default_headers = CLOSE
    if door.server is not None:
        door.server.close()
    await _take_queued(door, listener)
    began_s = quiet_since_s = time.monotonic()
    answered = door.state.total_requests
    while door.state.connections and time.monotonic() - began_s < DRAIN_LIMIT_S:
        if answered != door.state.total_requests:
            answered, quiet_since_s = door.state.total_requests, time.monotonic()
        elif time.monotonic() - quiet_since_s > QUIET_S:
            break
        await asyncio.sleep(0.02)
    for connection in list(door.state.connections):
        connection.transport.close()


async def _serve(service: Service, listener: socket.socket, entry: Entry, parser: str) -> None:
    loop, stop = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, stop.set)
    public, private = (_door(service, parser, private=private) for private in (False, True))
    last = listener.dup()  # outlives the event loop's copy, so that the accept queue can be emptied at the end
    await public.open(listener)
    await _announce(private, entry)
    log("info", "ready", **{k: v for k, v in entry.document.items() if k not in ("classes", "features")})
    house = asyncio.create_task(_keep_house(public, private, entry))
    await stop.wait()
    log("info", "stopping: draining connections", connections=len(public.state.connections))
    service.ready = False
    private.state.default_headers = CLOSE
    house.cancel()
    await _drain(public, last)
    if private.server is not None:
        private.server.close()


def run(service: Service, listener: socket.socket, entry: Entry, on: dict[str, str]) -> None:
    """Serves until SIGTERM or SIGINT, then leaves the unread counts in the run folder. `on` is `software()`."""
    logging.getLogger("uvicorn").setLevel(logging.CRITICAL)
    factory: Any = importlib.import_module(on["event_loop"]).new_event_loop
    with asyncio.Runner(loop_factory=factory) as runner:
        runner.run(_serve(service, listener, entry, on["http_parser"]))
    reports = service.monitor.unread()
    entry.leave([to_json(report) for report in reports])
    log("info", "stopped", rows=service.monitor.totals.rows, reports_left=len(reports))
