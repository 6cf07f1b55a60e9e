"""Carries a service's answers over ASGI: reads bodies within limits, looks at the few headers that matter, writes answers.

What is too large is read to its end and thrown away, so that a client that sends first and reads later sees the answer.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, MutableMapping
from typing import Any

from edgeloop_node.documents import BadRequestError, shown
from edgeloop_node.server.app import Answer, Request, Service, error_answer
from edgeloop_node.server.binary import HEADER

__all__ = ["MAX_BODY_BYTES", "MAX_CONNECTIONS", "application_of"]

MAX_BODY_BYTES = 1024 * 1024
MAX_DISCARDED_BYTES = 16 * 1024 * 1024
MAX_CONNECTIONS = 512
VERSIONS = ("1.1", "1.0")
JSON_BYTES = HEADER.lower().encode()
CLOSE = (b"connection", b"close")

Scope = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[MutableMapping[str, Any]]]
Send = Callable[[MutableMapping[str, Any]], Awaitable[None]]


class _GoneError(Exception):
    """The client went away before its request was complete."""


async def _body(receive: Receive) -> bytes:
    """The whole body. BadRequestError when it is too large."""
    message = await receive()
    body: bytes = message.get("body", b"")
    size = len(body)
    while message.get("more_body") and size <= MAX_DISCARDED_BYTES:
        message = await receive()
        part = message.get("body", b"")
        size += len(part)
        body = body + part if size <= MAX_BODY_BYTES else b""
    if message["type"] == "http.disconnect":
        raise _GoneError
    if size > MAX_BODY_BYTES:
        raise BadRequestError(f"body: expected at most {MAX_BODY_BYTES} bytes, got more", 413)
    return body


def _headers(scope: Scope) -> str | None:
    """The value of the binary extension's header. BadRequestError for an encoded body, and for what HTTP/1.1 forbids."""
    lengths, hosts, version = [], 0, scope["http_version"]
    for name, value in scope["headers"]:
        if name == b"host":
            hosts += 1
        elif name == b"content-encoding" and value.strip().lower() != b"identity":
            raise BadRequestError(f"content-encoding: expected none, got {shown(value.decode('latin-1'))}", 415)
        elif name == JSON_BYTES:
            lengths.append(value.strip().decode("latin-1"))
    if version not in VERSIONS:
        raise BadRequestError(f"request: expected HTTP/1.1, got version {version}")
    if hosts != 1 and not (hosts == 0 and version == "1.0"):
        raise BadRequestError(f"request: expected the header Host once, got it {hosts} times")
    return ", ".join(lengths) if lengths else None


def _written(answer: Answer) -> list[tuple[bytes, bytes]]:
    headers = [(b"content-type", answer.content_type), (b"content-length", b"%d" % len(answer.body))]
    if answer.json_bytes is not None:
        headers.append((JSON_BYTES, b"%d" % answer.json_bytes))
    return headers


def application_of(
    service: Service, *, private: bool, crowded: Callable[[], bool]
) -> Callable[[Scope, Receive, Send], Awaitable[None]]:
    """The bare ASGI application around a service; while it is `crowded` it sends everybody away."""

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        path, extra = scope["path"], []
        try:
            body = await _body(receive)
            json_bytes = _headers(scope)
            if crowded():
                raise BadRequestError(f"connections: expected at most {MAX_CONNECTIONS}, got more", 503)
        except _GoneError:
            return
        except BadRequestError as error:
            answer = service.counted(service.routes.get(path), error_answer(error.status, str(error)))
            extra = [CLOSE]  # there may be more of the body
        else:
            request = Request(path, scope["query_string"], body, private, json_bytes)
            answer = service.answer(scope["method"], request)
            if answer.status == 405:
                extra = [(b"allow", service.routes[path].method.encode())]
        if scope["method"] == "HEAD":
            extra = [*extra, CLOSE]  # as packets.py asks
        headers = [*_written(answer), *extra]
        await send({"type": "http.response.start", "status": answer.status, "headers": headers})
        await send({"type": "http.response.body", "body": answer.body})

    return application
