"""The agent's own small HTTP server, on the standard library: POST /v1/feedback and GET /v1/state.

It limits what a client may cost: body bytes, seconds, and the number of connections served at once.
"""

from __future__ import annotations

import json
import socketserver
import sqlite3
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from edgeloop_node.documents import BadRequestError, decode
from edgeloop_node.log import log

__all__ = ["MAX_BODY_BYTES", "serve"]

MAX_BODY_BYTES = 1024 * 1024
MAX_DISCARDED_BYTES = 16 * 1024 * 1024
TIMEOUT_S = 30.0
CONNECTIONS = 32

Feedback = Callable[[dict[str, Any]], bytes]
State = Callable[[], dict[str, Any]]


class _Server(ThreadingHTTPServer):
    daemon_threads = True
    request_queue_size = 128

    def __init__(self, address: tuple[str, int], feedback: Feedback, state: State) -> None:
        self.feedback, self.state = feedback, state
        self.slots = threading.BoundedSemaphore(CONNECTIONS)
        super().__init__(address, _Handler)

    def server_bind(self) -> None:
        socketserver.TCPServer.server_bind(self)  # HTTPServer's asks the name service, which may be far away
        self.server_name, self.server_port = str(self.server_address[0]), int(self.server_address[1])

    def process_request(self, request: Any, client_address: Any) -> None:
        if self.slots.acquire(timeout=TIMEOUT_S):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        try:
            super().process_request_thread(request, client_address)
        finally:
            self.slots.release()

    def handle_error(self, _request: Any, client_address: Any) -> None:
        log("warning", "a connection to the agent failed", client=client_address)


class _Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server_version, sys_version = "edgeloop-agent", ""
    timeout = TIMEOUT_S
    wbufsize = -1  # head and body leave in one packet ...
    disable_nagle_algorithm = True  # ... at once: together 40 ms less
    server: _Server

    def do_GET(self) -> None:
        self._answer(*self._guarded(self._get))

    def do_POST(self) -> None:
        self._answer(*self._guarded(self._post))

    def send_error(self, code: int, message: str | None = None, explain: str | None = None) -> None:
        """What the base class refuses (methods, broken requests), in our form; the connection ends."""
        self.close_connection = True
        self._answer(405 if code == 501 else int(code), _error(explain or message or "bad request"))

    def handle_expect_100(self) -> bool:
        more = super().handle_expect_100()
        self.wfile.flush()
        return more

    def _guarded(self, handle: Callable[[], bytes]) -> tuple[int, bytes]:
        try:
            return 200, handle()
        except BadRequestError as error:
            return error.status, _error(str(error))
        except sqlite3.Error as error:
            log("error", "the spool cannot be used for a request", path=self.path[:100], error=str(error))
            return 503, _error(f"the spool cannot be written now, nothing was taken: {error}")

    def _get(self) -> bytes:
        if self.path == "/v1/state":
            return json.dumps(self.server.state()).encode()
        raise BadRequestError(*self._elsewhere("POST"))

    def _post(self) -> bytes:
        body = self._body()
        if self.path == "/v1/feedback":
            return self.server.feedback(decode(body))
        raise BadRequestError(*self._elsewhere("GET"))

    def _elsewhere(self, method: str) -> tuple[str, int]:
        if self.path == {"POST": "/v1/feedback", "GET": "/v1/state"}[method]:
            return f"{self.path}: expected {method}, got {self.command}", 405
        return f"{self.path[:100]}: expected POST /v1/feedback or GET /v1/state", 404

    def _body(self) -> bytes:
        length = self.headers.get("Content-Length", "")
        if not (length.isascii() and length.isdigit()) or "Transfer-Encoding" in self.headers:
            self.close_connection = True
            raise BadRequestError("body: expected a Content-Length and no transfer encoding", 411)
        if len(length) > 9 or int(length) > MAX_BODY_BYTES:
            self.close_connection = True
            self._discard(int(length[:9]))
            raise BadRequestError(f"body: expected at most {MAX_BODY_BYTES} bytes, got {length[:20]}", 413)
        return self.rfile.read(int(length))

    def _discard(self, length: int) -> None:
        """Reads what is too large, within reason, so that the client gets to see the answer."""
        left = min(length, MAX_DISCARDED_BYTES)
        while left > 0 and (part := self.rfile.read(min(left, 1 << 16))):
            left -= len(part)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body)))
        if self.close_connection:
            self.send_header("Connection", "close")
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002
        """Requests are not logged one by one."""


def _error(text: str) -> bytes:
    return json.dumps({"error": text}).encode()


def serve(host: str, port: int, feedback: Feedback, state: State) -> ThreadingHTTPServer:
    """Serves in threads of its own until `shutdown()`. OSError when the port is taken."""
    server = _Server((host, port), feedback, state)
    threading.Thread(target=server.serve_forever, args=(0.5,), name="http", daemon=True).start()
    return server
