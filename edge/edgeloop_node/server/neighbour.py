"""Who serves on a port already. Ports are shared, so that the next version of a model joins before the last one leaves; another
model must not join: each would get a part of the other's requests.
"""

from __future__ import annotations

import contextlib
import json
import socket
import time
from typing import Any

__all__ = ["stranger"]

PATIENCE_S = 0.2  # to connect, and again for the answer
ANSWER_MOST = 65536
REQUEST = b"GET /v2 HTTP/1.0\r\nHost: node\r\n\r\n"


def stranger(host: str, port: int, model: str) -> str:
    """What is wrong when a server of another model answers there; empty otherwise.

    Who does not answer in time, and what is no server of edgeloop, is nobody.
    """
    other = _model_in(_answer(host, port)) if port else ""
    if other in ("", model):
        return ""
    return (
        f"port {port}: expected a port of this model, {model}, or a free one, found a server of the model {other}: "
        "choose another --port"
    )


def _answer(host: str, port: int) -> bytes:
    """All that comes until the other side closes, or patience ends. A wildcard address means this machine."""
    got = b""
    with contextlib.suppress(OSError), socket.create_connection((host, port), PATIENCE_S) as connection:
        connection.sendall(REQUEST)
        until_s = time.monotonic() + PATIENCE_S
        while len(got) < ANSWER_MOST and time.monotonic() < until_s and (part := connection.recv(ANSWER_MOST)):
            got += part
    return got


def _model_in(answer: bytes) -> str:
    """The model of an answer to GET /v2; empty when it is no server of edgeloop."""
    try:
        document: Any = json.loads(answer.partition(b"\r\n\r\n")[2])
        name, model = document["name"], document["parameters"]["model"]
    except (ValueError, KeyError, TypeError):
        return ""
    return model if name == "edgeloop-node" and isinstance(model, str) else ""
