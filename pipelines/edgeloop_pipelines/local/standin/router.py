"""KubeEdge's router at the rim: an MQTT client for what nodes say, and an HTTP server for what is said to nodes.

At most once, both ways, as the real one: a report that its target does not take is lost, and a message to a node is
answered 200 before anybody has it. Whoever needs more sends again until it is acknowledged.
"""

from __future__ import annotations

import http.client
import threading
import urllib.parse
from collections.abc import Callable, Collection
from concurrent.futures import ThreadPoolExecutor
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from edgeloop_pipelines.local.standin.rules import RuleTable, matching

__all__ = ["Router"]

_LARGEST_BODY_BYTES = 12 << 20
_TIMEOUT_S = 5.0
_WAITING = 256  # messages on their way to a target; more are lost


class Router:
    """Routes by the newest table that `use` was given. `say` gets a line for what is lost."""

    def __init__(self, broker: tuple[str, int], port: int, say: Callable[[str], None]) -> None:
        self._table, self._nodes, self._say = RuleTable(), frozenset[str](), say
        self._subscribed: set[str] = set()
        self._port = port
        self._server: ThreadingHTTPServer | None = None
        self._posts, self._room = ThreadPoolExecutor(4, "router"), threading.Semaphore(_WAITING)
        self._client = self._connect(*broker)

    @property
    def port(self) -> int:
        """Where the HTTP side listens; 0 before the first rule that needs it."""
        return int(self._server.server_address[1]) if self._server else 0

    def use(self, table: RuleTable, nodes: Collection[str]) -> None:
        """Takes a new table: subscribes and unsubscribes; listens for HTTP from the first rule of that kind on."""
        self._table, self._nodes = table, frozenset(nodes)
        wanted = set(table.ups)
        for topic in self._subscribed - wanted:
            self._client.unsubscribe(topic)
        for topic in wanted - self._subscribed:
            self._client.subscribe(topic, qos=1)
        self._subscribed = wanted
        if table.downs and self._server is None:
            self._serve()

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()
        if self._server:
            self._server.shutdown()
            self._server.server_close()
        self._posts.shutdown(wait=False, cancel_futures=True)

    def publish(self, path: str, body: bytes) -> tuple[int, str]:
        """What a POST to the router comes to: status and text."""
        found = matching(self._table, path)
        if found is None:
            return 404, "Request error"
        node, topic = found
        if node not in self._nodes:
            return 500, f"node {node} is not connected"
        self._client.publish(topic, body, qos=0)
        return 200, "message delivered"

    def _connect(self, host: str, port: int) -> Any:
        import paho.mqtt.client as mqtt
        from paho.mqtt.enums import CallbackAPIVersion

        client = mqtt.Client(CallbackAPIVersion.VERSION2)
        client.on_connect = self._on_connect
        client.on_message = self._on_message
        client.reconnect_delay_set(min_delay=1, max_delay=2)
        client.connect_async(host, port)
        client.loop_start()
        return client

    def _on_connect(self, client: Any, *_: Any) -> None:
        """A broker that was restarted has forgotten the subscriptions."""
        for topic in sorted(self._subscribed):
            client.subscribe(topic, qos=1)

    def _on_message(self, _client: Any, _data: Any, message: Any) -> None:
        rule = self._table.ups.get(message.topic)
        if rule is None:
            return
        if not self._room.acquire(blocking=False):
            self._say(f"router: a message on {message.topic} is lost: {_WAITING} are waiting for {rule.url}")
            return
        self._posts.submit(self._post, message.topic, rule.url, bytes(message.payload))

    def _post(self, topic: str, url: str, payload: bytes) -> None:
        """Nothing but the raw payload: no topic, no node, no content type."""
        try:
            status = _posted(url, payload)
            if status >= 300:
                self._say(f"router: a message on {topic} is lost: {url} answered {status}")
        except (OSError, http.client.HTTPException) as error:
            self._say(f"router: a message on {topic} is lost: {url}: {error}")
        finally:
            self._room.release()

    def _serve(self) -> None:
        """Plain HTTP without authentication, as KubeEdge has it; on the loopback only."""
        self._server = ThreadingHTTPServer(("127.0.0.1", self._port), _handler(self.publish))
        threading.Thread(target=self._server.serve_forever, name="router-http", daemon=True).start()


def _posted(url: str, payload: bytes) -> int:
    """POSTs the payload and gives the status."""
    parts = urllib.parse.urlsplit(url)
    kinds = {"http": http.client.HTTPConnection, "https": http.client.HTTPSConnection}
    connection = kinds[parts.scheme](parts.netloc, timeout=_TIMEOUT_S)
    try:
        connection.request("POST", parts.path or "/", payload)
        answer = connection.getresponse()
        answer.read()
        return int(answer.status)
    finally:
        connection.close()


def _handler(publish: Callable[[str, bytes], tuple[int, str]]) -> type[BaseHTTPRequestHandler]:
    class Handler(BaseHTTPRequestHandler):
        timeout = 30

        def do_POST(self) -> None:
            size = int(self.headers.get("Content-Length") or 0)
            if size > _LARGEST_BODY_BYTES:
                self._answer(400, f"expected at most {_LARGEST_BODY_BYTES} bytes")
                return
            self._answer(*publish(self.path, self.rfile.read(size)))

        def _answer(self, status: int, text: str) -> None:
            self.send_response(status)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text.encode())

        def log_message(self, *_: Any) -> None:
            """Nothing: the router of the real one is silent too."""

    return Handler
