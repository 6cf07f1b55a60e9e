"""uvicorn's HTTP protocol with what a server on an open port needs on top.

The head of a request is limited, what is no HTTP is answered in JSON as everything else is, and an answer leaves in one
packet (packets.py).
"""

from __future__ import annotations

import http
import json
from collections import deque
from typing import Any

from edgeloop_node.server.packets import OnePacket

__all__ = ["MAX_HEAD_BYTES", "hardened"]

MAX_HEAD_BYTES = 16 * 1024
NO_HTTP = "request: expected HTTP/1.1, got bytes that are not"
LARGE_HEAD = f"header: expected at most {MAX_HEAD_BYTES} bytes, got more"


class LargeHeadError(Exception):
    """The head is over the limit."""


class _Limits:
    """Goes before one of uvicorn's protocols. `in_head`: from a request's first byte to the end of its headers (httptools).

    Whole requests that came before bytes that are no HTTP, or before the client's end of sending, are answered first.
    """

    transport: Any
    url: bytes
    headers: list[tuple[bytes, bytes]]
    cycle: Any

    in_head, head_bytes, large = False, 0, False
    refusal: tuple[int, str] | None = (
        None  # what is said once the requests before it are answered; nothing more is read
    )
    ended = False  # the client sends no more
    cycles: deque[Any]

    def connection_made(self, transport: Any) -> None:
        self.cycles = deque()
        super().connection_made(OnePacket(transport))  # type: ignore[misc]

    def data_received(self, data: bytes) -> None:
        if self.refusal:
            return
        super().data_received(data)  # type: ignore[misc]
        if self.in_head:
            self.head_bytes += len(data)
            if self.head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.large = True
                self.send_400_response("")

    def on_message_begin(self) -> None:
        self.in_head, self.head_bytes = True, 0
        super().on_message_begin()  # type: ignore[misc]

    def on_headers_complete(self) -> None:
        self.in_head = False
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > MAX_HEAD_BYTES:
            self.large = True
            raise LargeHeadError
        super().on_headers_complete()  # type: ignore[misc]
        self._whole()
        self.cycles.append(self.cycle)

    def _whole(self) -> bool:
        """Whether a request is still to be answered that came to its end. They are answered in turn; only the last may lack."""
        while self.cycles and self.cycles[0].response_complete:
            self.cycles.popleft()
        return bool(self.cycles) and not self.cycles[0].more_body

    def send_400_response(self, _: str) -> None:
        self.refusal = (431, LARGE_HEAD) if self.large else (400, NO_HTTP)
        self._settle()

    def eof_received(self) -> bool:
        self.ended = self._whole()
        return self.ended  # true: the transport stays open for the answers

    def on_response_complete(self) -> None:
        super().on_response_complete()  # type: ignore[misc]
        if self.refusal or self.ended:
            self._settle()

    def _settle(self) -> None:
        """Ends the connection when all that is owed was answered."""
        if self._whole() or self.transport.is_closing():
            return
        if self.refusal:
            self.refuse(*self.refusal)
        else:
            self.transport.close()

    def refuse(self, status: int, text: str) -> None:
        """Answers without a request that could be counted, and closes."""
        body = json.dumps({"error": text}, separators=(",", ":")).encode()
        head = f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
        self.transport.write(f"{head}connection: close\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
        self.transport.close()


def hardened(base: Any) -> Any:
    """A protocol class on top of one of uvicorn's."""
    return type("Protocol", (_Limits, base), {})
