"""Posts acknowledgements to the nodes by way of KubeEdge's router. Best effort: the queue is bounded, a failure is counted.

Nothing hangs on it: a node that hears nothing sends its reports again, which changes nothing here.
"""

from __future__ import annotations

import asyncio
from collections import Counter

from edgeloop_contracts import Acknowledgement, dumps

__all__ = ["AckPoster"]

WAITING = 1000
TIMEOUT_S = 5.0


class AckPoster:
    """A queue and one task that empties it. `url` is a template with {node} and {namespace}."""

    def __init__(self, url: str, namespace: str, metrics: Counter[str]) -> None:
        self._url, self._namespace, self._metrics = url, namespace, metrics
        self._queue: asyncio.Queue[Acknowledgement] = asyncio.Queue(WAITING)

    def put(self, acknowledgement: Acknowledgement) -> None:
        """Queues one; drops it where the queue is full."""
        try:
            self._queue.put_nowait(acknowledgement)
        except asyncio.QueueFull:
            self._metrics["acks_dropped"] += 1

    async def run(self) -> None:
        """Posts until it is cancelled."""
        import httpx

        async with httpx.AsyncClient(timeout=TIMEOUT_S) as client:
            while True:
                await self._post(client, await self._queue.get())

    async def _post(self, client: object, acknowledgement: Acknowledgement) -> None:
        import httpx

        assert isinstance(client, httpx.AsyncClient)
        url = self._url.format(node=acknowledgement.node, namespace=self._namespace)
        try:
            answer = await client.post(
                url, content=dumps(acknowledgement), headers={"content-type": "application/json"}
            )
            self._metrics["acks_posted" if answer.is_success else "acks_failed"] += 1
        except httpx.HTTPError:
            self._metrics["acks_failed"] += 1
