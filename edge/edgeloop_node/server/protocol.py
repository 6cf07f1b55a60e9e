"""uvicorn's HTTP protocol with what a server on an open port needs on top.

The head of a request is limited, what is no HTTP is answered in JSON as everything else is, and an answer leaves in one
packet (packets.py).
"""

from __future__ import annotations

import http
import json
from typing import Any

from edgeloop_node.server.packets import OnePacket

__all__ = ["MAX_HEAD_BYTES", "hardened"]

MAX_HEAD_BYTES = 16 * 1024
NO_HTTP = "request: expected HTTP/1.1, got bytes that are not"
LARGE_HEAD = f"header: expected at most {MAX_HEAD_BYTES} bytes, got more"


class LargeHeadError(Exception):
    """The head is over the limit."""


class _Limits:
    """Goes before one of uvicorn's protocols. `in_head`: from a request's first byte to the end of its headers (httptools)."""

    transport: Any
    url: bytes
    headers: list[tuple[bytes, bytes]]
    in_head, head_bytes, large = False, 0, False

    def connection_made(self, transport: Any) -> None:
        super().connection_made(OnePacket(transport))  # type: ignore[misc]

    def data_received(self, data: bytes) -> None:
        if self.large:  # what a client still sends after it was refused
            return
        super().data_received(data)  # type: ignore[misc]
        if self.in_head:
            self.head_bytes += len(data)
            if self.head_bytes > MAX_HEAD_BYTES and not self.transport.is_closing():
                self.large = True
                self.refuse(431, LARGE_HEAD)

    def on_message_begin(self) -> None:
        self.in_head, self.head_bytes = True, 0
        super().on_message_begin()  # type: ignore[misc]

    def on_headers_complete(self) -> None:
        self.in_head = False
        if len(self.url) + sum(len(name) + len(value) + 4 for name, value in self.headers) > MAX_HEAD_BYTES:
            self.large = True
            raise LargeHeadError
        super().on_headers_complete()  # type: ignore[misc]

    def send_400_response(self, _: str) -> None:
        self.refuse(431 if self.large else 400, LARGE_HEAD if self.large else NO_HTTP)

    def refuse(self, status: int, text: str) -> None:
        """Answers without a request that could be counted, and closes."""
        body = json.dumps({"error": text}, separators=(",", ":")).encode()
        head = f"HTTP/1.1 {status} {http.HTTPStatus(status).phrase}\r\ncontent-type: application/json\r\n"
        self.transport.write(f"{head}connection: close\r\ncontent-length: {len(body)}\r\n\r\n".encode() + body)
        self.transport.close()


def hardened(base: Any) -> Any:
    """A protocol class on top of one of uvicorn's."""
    return type("Protocol", (_Limits, base), {})
