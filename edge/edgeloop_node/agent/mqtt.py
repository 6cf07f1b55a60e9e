"""Deliveries over the node's MQTT broker: published to `<namespace>/reports/<node>` (QoS 1), answers on `acks/<node>`.

A broker's receipt says nothing about the cloud, so it settles nothing; and nothing is queued while the broker is away, since
the spool keeps it better than memory does.
"""

from __future__ import annotations

import threading
from typing import Any

from edgeloop_node.agent.transport import Heard, Outcome
from edgeloop_node.log import Changes, log

__all__ = ["Mqtt"]

QUEUE = 100  # messages that paho may hold; more are refused and come again from the spool
KEEP_ALIVE_S = 30
RECONNECT_S = (1, 30)


class Mqtt:
    """A transport over paho-mqtt, which reconnects in a thread of its own."""

    def __init__(self, heard: Heard, host: str, port: int, namespace: str, node: str) -> None:
        import paho.mqtt.client as paho
        from paho.mqtt.enums import CallbackAPIVersion

        self._heard, self._where, self._node = heard, f"{host}:{port}", node
        self._topic, self._acks = f"{namespace}/reports/{node}", f"acks/{node}"
        self._changes, self._subscribed = Changes(), threading.Event()
        self._client = client = paho.Client(CallbackAPIVersion.VERSION2, client_id=f"edgeloop-agent-{node}")
        client.max_queued_messages_set(QUEUE)
        client.reconnect_delay_set(*RECONNECT_S)
        client.on_connect, client.on_disconnect = self._on_connect, self._on_disconnect
        client.on_connect_fail, client.on_subscribe = self._on_connect_fail, self._on_subscribe
        client.on_message = self._on_message
        client.connect_async(host, port, KEEP_ALIVE_S)
        client.loop_start()

    def _on_connect(self, client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        if reason.is_failure:
            self._changes.trouble("the broker refuses the agent", reason, broker=self._where)
            return
        self._changes.well("the broker refuses the agent")
        self._changes.well("the broker cannot be reached")
        log("info", "connected to the broker", broker=self._where)
        client.subscribe(self._acks, qos=1)

    def _on_subscribe(self, _client: Any, _data: Any, _mid: Any, reasons: Any, _properties: Any) -> None:
        if any(reason.is_failure for reason in reasons):
            log("error", "the broker refuses the subscription", topic=self._acks, reasons=[str(r) for r in reasons])
        self._subscribed.set()

    def _on_disconnect(self, _client: Any, _data: Any, _flags: Any, reason: Any, _properties: Any) -> None:
        self._subscribed.clear()
        if reason.is_failure:
            self._changes.trouble("the broker cannot be reached", f"disconnected: {reason}", broker=self._where)

    def _on_connect_fail(self, _client: Any, _data: Any) -> None:
        self._changes.trouble("the broker cannot be reached", "connecting failed", broker=self._where)

    def _on_message(self, _client: Any, _data: Any, message: Any) -> None:
        self._heard(bytes(message.payload))

    def ready(self) -> bool:
        """Connected, and listening for answers: what went out before could be acknowledged to nobody."""
        return self._client.is_connected() and self._subscribed.is_set()

    def send(self, delivery: bytes) -> Outcome:
        if not self.ready():
            return "failed"
        code = self._client.publish(self._topic, delivery, qos=1).rc
        if code != 0:
            self._changes.trouble("a delivery cannot be handed to the broker", f"code {code}", broker=self._where)
            return "failed"
        self._changes.well("a delivery cannot be handed to the broker")
        return "sent"

    def close(self) -> None:
        self._client.disconnect()
        self._client.loop_stop()

    def describe(self) -> str:
        return f"mqtt {self._where} {self._topic}"
