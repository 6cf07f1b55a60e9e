"""Sends an answer's head and body in one packet. uvicorn writes them apart: one more system call here, one more wake-up there.

A head is held until the body is written, which uvicorn does next; only an answer to HEAD has none, so those must close the
connection (the application sees to it).
"""

from __future__ import annotations

from typing import Any

__all__ = ["OnePacket"]

END = b"\r\n\r\n"
CONTINUE = b"HTTP/1.1 100 "


class OnePacket:
    """Stands for an asyncio transport; everything but `write` and `close` goes straight to it."""

    def __init__(self, transport: Any) -> None:
        self._transport, self._head = transport, b""
        self.is_closing, self.get_extra_info = transport.is_closing, transport.get_extra_info
        self.pause_reading, self.resume_reading = transport.pause_reading, transport.resume_reading

    def write(self, data: bytes) -> None:
        if data.endswith(END) and not self._head and not data.startswith(CONTINUE):
            self._head = data
            return
        self._transport.write(self._head + data)
        self._head = b""

    def close(self) -> None:
        if self._head:
            self._transport.write(self._head)
            self._head = b""
        self._transport.close()

    def __getattr__(self, name: str) -> Any:
        return getattr(self._transport, name)
