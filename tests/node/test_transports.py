"""What every way to the cloud must do, run over the simulator, real HTTP and a real MQTT broker."""

from __future__ import annotations

import contextlib
import json
import socket
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from edgeloop_contracts import Acknowledgement, Delivery, dumps, loads
from edgeloop_node.agent.https import Https
from edgeloop_node.agent.mqtt import Mqtt
from edgeloop_node.agent.transport import Memory, Transport

Eventually = Callable[..., Any]


@dataclass
class Way:
    """A transport, the fleet at its other end, and what came back; `cut` and `mend` break and restore the way."""

    transport: Transport
    fleet: Any
    heard: list[bytes]
    cut: Callable[[], None]
    mend: Callable[[], None]
    patience_s: float = 0.0
    stack: contextlib.ExitStack = field(default_factory=contextlib.ExitStack)


def memory(fleet: Any, **_: Any) -> Way:
    heard: list[bytes] = []
    transport = Memory(heard.append, fleet.take)
    return Way(
        transport, fleet, heard, lambda: setattr(transport, "open", False), lambda: setattr(transport, "open", True)
    )


def https(fleet: Any, serve_fleet: Any, free_port: Any, **_: Any) -> Way:
    port, heard, stack = free_port(), [], contextlib.ExitStack()
    stack.enter_context(serve_fleet(fleet, port))
    transport = Https(heard.append, f"http://127.0.0.1:{port}/")
    mend = lambda: stack.enter_context(serve_fleet(fleet, port))  # noqa: E731
    return Way(transport, fleet, heard, stack.close, mend, 20.0, stack)


def mqtt(fleet: Any, broker: Any, free_port: Any, tmp_path: Path, **_: Any) -> Way:
    paho = pytest.importorskip("paho.mqtt.client", reason="needs paho-mqtt")
    port, heard, stack = free_port(), [], contextlib.ExitStack()
    stack.enter_context(broker(tmp_path, port))
    cloud = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="cloud")

    def answer(client: Any, _data: Any, message: Any) -> None:
        if (back := fleet.take(message.payload)) is not None:
            client.publish(f"acks/{loads(Delivery, message.payload).node}", back, qos=1)

    cloud.on_connect = lambda client, *_: client.subscribe("edgeloop/reports/+", qos=1)
    cloud.on_message = answer
    cloud.reconnect_delay_set(1, 1)
    cloud.connect("127.0.0.1", port)
    cloud.loop_start()
    transport = Mqtt(heard.append, "127.0.0.1", port, "edgeloop", "n1")
    outer = contextlib.ExitStack()
    outer.callback(stack.close)
    outer.callback(cloud.loop_stop)
    mend = lambda: stack.enter_context(broker(tmp_path, port))  # noqa: E731
    return Way(transport, fleet, heard, stack.close, mend, 20.0, outer)


WAYS: dict[str, Callable[..., Way]] = {"memory": memory, "https": https, "mqtt": mqtt}


@pytest.fixture(params=WAYS)
def way(
    request: pytest.FixtureRequest, fleet: Any, serve_fleet: Any, broker: Any, free_port: Any, tmp_path: Path
) -> Iterator[Way]:
    made = WAYS[request.param](fleet, serve_fleet=serve_fleet, broker=broker, free_port=free_port, tmp_path=tmp_path)
    yield made
    made.transport.close()
    made.stack.close()


def delivery(*reports: Any) -> bytes:
    return dumps(Delivery(node="n1", group="g1", reports=reports)).encode()


def test_a_delivery_arrives_and_is_answered(way: Way, make_report: Any, eventually: Eventually) -> None:
    """The bytes arrive as they are, and the acknowledgement comes back."""
    eventually(way.transport.ready)
    assert way.transport.send(delivery(make_report("b", 0, 3))) == "sent"
    (payload,) = eventually(lambda: list(way.heard))
    (named,) = loads(Acknowledgement, payload).reports
    assert (named.boot, named.sequence) == ("b", 3)
    assert way.fleet.total() == 1
    assert way.transport.describe()


def test_a_cut_way_fails_and_comes_back(way: Way, make_report: Any, eventually: Eventually) -> None:
    """While the other end is away a delivery is `failed` and nothing raises; afterwards it goes through again.

    `sent` is not yet heard: a broker that is back before the cloud has subscribed again keeps a delivery for nobody. So it is
    sent until it is acknowledged, as the agent does, and merging makes one report of however many arrived.
    """
    eventually(way.transport.ready)
    way.cut()
    eventually(lambda: not way.transport.ready() or way.transport.send(delivery()) == "failed")
    assert way.transport.send(delivery(make_report("b", 0, 1))) == "failed"
    way.mend()
    again = delivery(make_report("b", 0, 2))
    eventually(lambda: way.transport.ready() and way.transport.send(again) == "sent", 40)

    def acknowledged() -> bool:
        return any(named.sequence == 2 for heard in way.heard for named in loads(Acknowledgement, heard).reports)

    def heard_or_sent_again() -> bool:
        if not acknowledged():
            way.transport.send(again)
            time.sleep(0.2)
        return acknowledged()

    eventually(heard_or_sent_again, 40)
    assert [r.sequence for r in way.fleet.reports.values()] == [2]
    assert way.fleet.total() == 1


def test_what_the_cloud_says_is_handed_on_as_it_is(way: Way, eventually: Eventually) -> None:
    """A transport does not read answers: a broken one goes on to the core, which judges it."""
    way.fleet.spoil = lambda answer: b"\xff nonsense"
    eventually(way.transport.ready)
    way.transport.send(delivery())
    assert eventually(lambda: way.heard) == [b"\xff nonsense"]


@pytest.mark.parametrize(("status", "outcome"), [(400, "refused"), (413, "refused"), (500, "failed"), (429, "failed")])
def test_https_tells_refused_from_failed(fleet: Any, serve_fleet: Any, status: int, outcome: str) -> None:
    """4xx is about the delivery, 5xx and limits are about the moment."""
    fleet.status = status
    with serve_fleet(fleet) as port:
        transport = Https(lambda _: None, f"http://127.0.0.1:{port}")
        assert transport.send(delivery()) == outcome
        assert transport.ready() == (outcome == "refused")
        transport.close()


def test_https_reads_the_answer_of_a_partly_taken_delivery(fleet: Any, serve_fleet: Any) -> None:
    """409 acknowledges what was taken; the rest comes again when its wait is over."""
    heard: list[bytes] = []
    fleet.status = 409
    with serve_fleet(fleet) as port:
        transport = Https(heard.append, f"http://127.0.0.1:{port}")
        assert transport.send(delivery()) == "sent"
        transport.close()
    assert len(heard) == 1


def test_https_gives_up_on_silence() -> None:
    """A server that never answers costs a few seconds, and then a pause."""
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        transport = Https(lambda _: None, f"http://127.0.0.1:{silent.getsockname()[1]}")
        began = time.monotonic()
        assert transport.send(delivery()) == "failed"
        assert time.monotonic() - began < 8
        assert not transport.ready()
        transport.close()


def test_https_uses_one_connection(fleet: Any, serve_fleet: Any) -> None:
    """Deliveries go over a kept connection."""
    with serve_fleet(fleet) as port:
        transport = Https(lambda _: None, f"http://127.0.0.1:{port}")
        transport.send(delivery())
        kept = transport._connection.sock
        transport.send(delivery())
        assert transport._connection.sock is kept
        transport.close()


@pytest.mark.parametrize("url", ["ftp://x", "fleet.example", "https://"])
def test_https_refuses_other_urls(url: str) -> None:
    """A URL that is no URL is an error at the start."""
    with pytest.raises(ValueError, match="--https: expected a URL"):
        Https(lambda _: None, url)


def test_mqtt_waits_for_a_broker_that_is_not_there_yet(
    fleet: Any, broker: Any, free_port: Any, tmp_path: Path, eventually: Eventually, capfd: pytest.CaptureFixture[str]
) -> None:
    """Without a broker nothing is queued in memory and one line is logged; it connects by itself when the broker comes."""
    pytest.importorskip("paho.mqtt.client", reason="needs paho-mqtt")
    port, threads = free_port(), threading.active_count()
    transport = Mqtt(lambda _: None, "127.0.0.1", port, "edgeloop", "n1")
    time.sleep(2.5)
    assert transport.send(delivery()) == "failed"
    lines = [json.loads(line) for line in capfd.readouterr().err.splitlines()]
    assert [line["what"] for line in lines] == ["the broker cannot be reached"]
    with broker(tmp_path, port):
        eventually(transport.ready)
        assert transport.send(delivery()) == "sent"
        transport.close()
    eventually(lambda: threading.active_count() <= threads)
