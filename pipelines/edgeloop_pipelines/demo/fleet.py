"""Talks to the fleet service and to the agents over HTTP, and goes on when one of them was killed and comes back.

Everything that is sent here may be sent twice without harm (documents with a name, rows with an id), so a request that got no
answer is simply repeated, for a limited time.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

__all__ = ["FleetClient", "ServiceError"]

PATIENCE_S = 60.0
PAUSE_S = 0.1


class ServiceError(RuntimeError):
    """A service refused a request, or stayed away for too long."""


@dataclass
class FleetClient:
    """HTTP with patience. `idle` is called between two tries; it restarts what was killed."""

    url: str
    idle: Callable[[], None] = lambda: None
    patience_s: float = PATIENCE_S
    repeated: int = 0
    _client: Any = field(init=False, repr=False)

    def __post_init__(self) -> None:
        import httpx

        self._client = httpx.Client(timeout=30, trust_env=False)

    def get(self, path: str, **query: Any) -> Any:
        return self._ask("GET", f"{self.url}{path}", params=query)

    def post(self, url: str, document: Mapping[str, Any] | None = None) -> Any:
        """Posts to a path of the fleet service, or to a whole URL."""
        return self._ask("POST", url if "://" in url else f"{self.url}{url}", json=document or {})

    def totals(self, loop: str) -> list[dict[str, Any]]:
        """The fleet's exact sums by version and node."""
        found = self.get("/v1/totals", loop=loop)
        return list(found["totals"] if isinstance(found, dict) else found)

    def close(self) -> None:
        self._client.close()

    def _ask(self, method: str, url: str, **content: Any) -> Any:
        import httpx

        end = time.monotonic() + self.patience_s
        while True:
            try:
                answer = self._client.request(method, url, **content)
                trouble = f"answered {answer.status_code}: {answer.text[:300]}"
            except httpx.TransportError as error:
                answer, trouble = None, f"gave no answer for {self.patience_s:g} s: {error!r}"
            if answer is not None and answer.status_code < 500:
                break
            if time.monotonic() > end:
                raise ServiceError(f"{method} {url} {trouble}")
            self.repeated += 1
            self.idle()
            time.sleep(PAUSE_S)
        if answer.status_code >= 400:
            raise ServiceError(f"{method} {url} {trouble}")
        return answer.json()
