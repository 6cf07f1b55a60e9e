"""The stand-in's router with a real broker, and its agents: Rules both ways, at most once, and a DaemonSet's processes."""

from __future__ import annotations

import http.client
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from edgeloop_fleet.clusters.folder import FolderCluster, node_document, write_nodes
from edgeloop_fleet.render import Node, Settings, render_platform
from edgeloop_pipelines.local import children

NODE = Node(name="n1", labels={"edgeloop.dev/group": "g"})


class Target:
    """An HTTP server that keeps what is posted to it: path, headers, body."""

    def __init__(self) -> None:
        self.posts: queue.Queue[tuple[str, dict[str, str], bytes]] = queue.Queue()
        posts = self.posts

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                body = self.rfile.read(int(self.headers["Content-Length"]))
                posts.put((self.path, dict(self.headers), body))
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def close(self) -> None:
        self.server.shutdown()
        self.server.server_close()


@pytest.fixture
def target() -> Iterator[Target]:
    made = Target()
    yield made
    made.close()


@pytest.fixture
def client(broker_port: int) -> Iterator[Any]:
    """A connected MQTT client, as a node's agent has one; `heard` gets (topic, payload)."""
    import paho.mqtt.client as mqtt

    made = mqtt.Client(mqtt.CallbackAPIVersion.VERSION2)
    made.heard = queue.Queue()  # type: ignore[attr-defined]
    made.on_message = lambda _c, _d, message: made.heard.put((message.topic, message.payload))  # type: ignore[attr-defined]
    made.connect("127.0.0.1", broker_port)
    made.subscribe("acks/n1", qos=1)
    made.loop_start()
    yield made
    made.disconnect()
    made.loop_stop()


@pytest.fixture
def cluster(tmp_path: Path) -> FolderCluster:
    write_nodes(tmp_path / "cluster", [node_document("n1", group="g", address="127.0.1.1")])
    return FolderCluster(tmp_path / "cluster")


def rules_of(url: str) -> list[dict[str, Any]]:
    return [item for item in render_platform([NODE], Settings(fleet_url=url)) if item["kind"] != "DaemonSet"]


def router_port(standin: Any) -> int:
    def port() -> int:
        found = standin.status("standin-*")
        return found[0]["status"]["routerPort"] if found else 0

    return standin.until(port)


def post(port: int, path: str, body: bytes = b"{}") -> tuple[int, str]:
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=5)
    try:
        connection.request("POST", path, body)
        answer = connection.getresponse()
        return answer.status, answer.read().decode()
    finally:
        connection.close()


def test_reports_go_up_and_acknowledgements_come_down(
    cluster: FolderCluster, start_standin: Callable[..., Any], target: Target, client: Any
) -> None:
    """The raw payload is posted with nothing else; a POST to the router is answered at once and arrives under acks/<node>."""
    standin = start_standin()
    cluster.apply(rules_of(target.url))
    port = router_port(standin)
    client.publish("edgeloop/reports/n1", b'{"node":"n1"}', qos=1)
    path, headers, body = target.posts.get(timeout=5)
    assert (path, body) == ("/v1/reports", b'{"node":"n1"}')
    assert "Content-Type" not in headers
    assert post(port, "/n1/edgeloop/acks/n1", b'{"ok":1}') == (200, "message delivered")
    assert client.heard.get(timeout=5) == ("acks/n1", b'{"ok":1}')
    assert post(port, "/n1/edgeloop/other")[0] == 404
    assert post(port, "/n1/elsewhere/acks/n1")[0] == 404
    assert post(port, "/n7/edgeloop/acks/n7")[0] == 500


def test_a_message_is_lost_while_the_target_is_down(
    cluster: FolderCluster, start_standin: Callable[..., Any], target: Target, client: Any
) -> None:
    """At most once: what could not be delivered is never tried again; what comes later is."""
    standin = start_standin()
    port = children.free_port()
    cluster.apply(rules_of(f"http://127.0.0.1:{port}"))
    router_port(standin)
    client.publish("edgeloop/reports/n1", b"lost", qos=1)
    standin.until(lambda: "a message on edgeloop/reports/n1 is lost" in standin.log())
    cluster.apply(rules_of(target.url))
    standin.until(lambda: _answered(client, target, b"later"))
    assert target.posts.empty(), "and nothing else came"


def _answered(client: Any, target: Target, body: bytes) -> bool:
    """Whether the target gets what is published now."""
    client.publish("edgeloop/reports/n1", body, qos=1)
    try:
        got = target.posts.get(timeout=0.5)[2]
    except queue.Empty:
        return False
    assert got == body
    return True


def test_rules_survive_a_restart_of_the_broker(
    cluster: FolderCluster, start_standin: Callable[..., Any], target: Target, tmp_path: Path
) -> None:
    """A broker that comes back has forgotten the subscriptions; the router makes them anew."""
    import paho.mqtt.publish as publish

    from edgeloop_pipelines.local import broker

    standin = start_standin()
    cluster.apply(rules_of(target.url))
    router_port(standin)

    def arrives() -> bool:
        publish.single("edgeloop/reports/n1", b"x", qos=1, hostname="127.0.0.1", port=port)
        try:
            return bool(target.posts.get(timeout=0.5))
        except queue.Empty:
            return False

    port = standin.broker_port
    standin.until(arrives)
    _kill_listener(port)
    again = broker.start(tmp_path / "again", port)
    try:
        standin.until(arrives)
    finally:
        again.stop()


def _kill_listener(port: int) -> None:
    """kill -9 of the broker that listens on the port: the child of this process whose command line names it."""
    import subprocess

    found = subprocess.run(
        ["ps", "-o", "pid=,args=", "--ppid", str(os.getpid())], capture_output=True, text=True
    ).stdout
    (pid,) = (int(line.split()[0]) for line in found.splitlines() if "mosquitto" in line or "local.broker" in line)
    os.kill(pid, signal.SIGKILL)
    end = threading.Event()
    while children.listening("127.0.0.1", port):
        end.wait(0.02)


def test_an_agent_runs_on_each_edge_node_and_comes_back(
    cluster: FolderCluster, start_standin: Callable[..., Any], tiny_image: Callable[..., str], tmp_path: Path
) -> None:
    """A DaemonSet has one process on every edge node and none elsewhere; one that is killed is restarted."""
    nodes = [node_document(f"n{i}", group="g", address=f"127.0.1.{i}") for i in (1, 2)]
    cloud = node_document("cloud", group="g", address="127.0.1.9")
    del cloud["metadata"]["labels"]["node-role.kubernetes.io/edge"]
    write_nodes(tmp_path / "cluster", [*nodes, cloud])
    digest = tiny_image("agent")
    image = f"edgeloop.local/edgeloop/agent@{digest}"
    port = children.free_port("127.0.1.1")
    (agent,) = render_platform([], Settings(agent_image=image, transport="https", feedback_port=port))
    standin = start_standin()
    cluster.apply([agent])

    def ready() -> int:
        found = standin.status("daemonset-edgeloop-agent")
        return found[0]["status"]["numberReady"] if found else 0

    standin.until(lambda: ready() == 2)
    pods = {item["spec"]["nodeName"]: item for item in standin.status("pod-*")}
    assert set(pods) == {"n1", "n2"}
    os.kill(int(pods["n1"]["metadata"]["annotations"]["edgeloop.dev/process"]), signal.SIGKILL)

    def restarts() -> list[int]:
        return [item["status"]["containerStatuses"][0]["restartCount"] for item in standin.status("pod-*")]

    standin.until(lambda: sorted(restarts()) == [0, 1] and ready() == 2)
    write_nodes(tmp_path / "cluster", nodes[:1])
    standin.until(lambda: [item["spec"]["nodeName"] for item in standin.status("pod-*")] == ["n1"])
