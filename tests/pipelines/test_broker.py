"""The local MQTT broker, both kinds, with a real client."""

import shutil
import socket
import subprocess
import sys
import threading
import time
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


@pytest.mark.parametrize("kind", ["amqtt", "mosquitto"])
def test_the_broker_goes_with_its_parent(kind: str, tmp_path: Path) -> None:
    """kill -9 of the process that started the broker ends the broker too."""
    if kind == "mosquitto" and not shutil.which("mosquitto", path="/usr/sbin:/usr/local/sbin:/usr/bin:/usr/local/bin"):
        pytest.skip("mosquitto is not installed here (Debian: apt-get install mosquitto)")
    port = children.free_port()
    code = (
        "import sys, time, pathlib; from edgeloop_pipelines.local import broker; "
        f"broker.start(pathlib.Path({str(tmp_path)!r}), {port}, kind={kind!r}); print('up', flush=True); time.sleep(60)"
    )
    parent = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE)
    assert parent.stdout
    assert parent.stdout.readline() == b"up\n"
    parent.kill()
    parent.wait()
    parent.stdout.close()
    end = time.monotonic() + 5
    while children.listening("127.0.0.1", port) and time.monotonic() < end:
        time.sleep(0.05)
    assert not children.listening("127.0.0.1", port)
