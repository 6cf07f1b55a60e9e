"""Deliveries by HTTP POST to `<url>/v1/reports`; the answer is the acknowledgement. One kept connection.

A failure makes it wait before the next attempt (doubling, up to 30 s), so that an unreachable cloud costs the agent no time.
"""

from __future__ import annotations

import http.client
import ssl
import time
from urllib.parse import urlsplit

from edgeloop_node.agent.transport import Heard, Outcome
from edgeloop_node.log import Changes

__all__ = ["Https"]

TIMEOUT_S = 5.0
LONGEST_WAIT_S = 30.0
MAX_ANSWER_BYTES = 4 * 1024 * 1024
SOME_TAKEN = 409  # the body acknowledges what was taken; the rest is not wrong, but cannot be taken yet
TROUBLE = "the fleet service cannot be reached"
REFUSED = "the fleet service refuses a delivery"


class Https:
    """A transport over HTTP(S). ValueError for a URL that is neither."""

    def __init__(self, heard: Heard, url: str, ca: str | None = None) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise ValueError(f"--https: expected a URL such as https://fleet.example, got {url!r}")
        self._heard, self._url = heard, url.rstrip("/")
        self._path = parts.path.rstrip("/") + "/v1/reports"
        self._connection: http.client.HTTPConnection
        if parts.scheme == "https":
            trust = ssl.create_default_context(cafile=ca)
            self._connection = http.client.HTTPSConnection(parts.hostname, parts.port, timeout=TIMEOUT_S, context=trust)
        else:
            self._connection = http.client.HTTPConnection(parts.hostname, parts.port, timeout=TIMEOUT_S)
        self._failures, self._again_s = 0, 0.0
        self._changes = Changes()

    def ready(self) -> bool:
        return time.monotonic() >= self._again_s

    def send(self, delivery: bytes) -> Outcome:
        try:
            status, body = self._post(delivery)
        except (OSError, http.client.HTTPException) as error:
            return self._failed(repr(error))
        if status >= 500 or status in (401, 403, 408, 429):
            return self._failed(f"status {status}: {body[:200]!r}")
        self._failures = 0
        self._changes.well(TROUBLE)
        if status == 200:
            self._changes.well(REFUSED)
        else:
            self._changes.trouble(REFUSED, f"status {status}: {body[:300]!r}", url=self._url)
        if status not in (200, SOME_TAKEN):
            return "refused"
        self._heard(body)
        return "sent"

    def _post(self, delivery: bytes) -> tuple[int, bytes]:
        kept = self._connection.sock is not None
        try:
            return self._exchange(delivery)
        except (OSError, http.client.HTTPException):
            self._connection.close()
            if not kept:
                raise
        return self._exchange(delivery)  # the kept connection had ended meanwhile; sending twice changes nothing

    def _exchange(self, delivery: bytes) -> tuple[int, bytes]:
        self._connection.request("POST", self._path, delivery, {"Content-Type": "application/json"})
        answer = self._connection.getresponse()
        body = answer.read(MAX_ANSWER_BYTES + 1)
        if len(body) > MAX_ANSWER_BYTES:
            self._connection.close()
            raise http.client.HTTPException(f"an answer of more than {MAX_ANSWER_BYTES} bytes")
        return answer.status, body

    def _failed(self, why: str) -> Outcome:
        self._connection.close()
        self._again_s = time.monotonic() + min(LONGEST_WAIT_S, 0.5 * 2.0 ** min(self._failures, 10))
        self._failures += 1
        self._changes.trouble(TROUBLE, why, url=self._url)
        return "failed"

    def close(self) -> None:
        self._connection.close()

    def describe(self) -> str:
        return f"https {self._url}"
