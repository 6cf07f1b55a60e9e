"""The local MQTT broker, both kinds, with a real client."""

import socket
import threading
from pathlib import Path

import paho.mqtt.client as mqtt
import pytest

from edgeloop_pipelines.local import broker, children


def _client(port: int) -> mqtt.Client:
    client = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    client.connect("127.0.0.1", port)
    client.loop_start()
    return client


def _round_trip(port: int) -> bool:
    arrived = threading.Event()
    reader, writer = _client(port), _client(port)
    reader.on_subscribe = lambda *_: writer.publish("edgeloop/reports/n1", b"{}", qos=1)
    reader.on_message = lambda *_: arrived.set()
    reader.subscribe("edgeloop/reports/n1", qos=1)
    try:
        return arrived.wait(5)
    finally:
        reader.loop_stop()
        writer.loop_stop()


@pytest.mark.parametrize("kind", ["amqtt", "mosquitto"])
def test_a_message_goes_through_and_a_restart_on_the_same_port_works(kind: str, tmp_path: Path) -> None:
    """What is published arrives, before and after a kill -9 of the broker."""
    port = children.free_port()
    for _ in range(2):
        try:
            child = broker.start(tmp_path, port, kind=kind)
        except children.ChildError as error:
            pytest.skip(str(error))
        assert _round_trip(port)
        child.kill()
        assert not children.listening("127.0.0.1", port)


def test_a_port_that_is_taken_is_a_clear_error(tmp_path: Path) -> None:
    """A broker that cannot listen says why, with the end of its log."""
    with socket.socket() as holder:
        holder.bind(("127.0.0.1", 0))
        with pytest.raises(children.ChildError, match="broker"):
            broker.start(tmp_path, holder.getsockname()[1], kind="amqtt")
