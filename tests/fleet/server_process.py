"""The real service over simulated ports, as a process: `python server_process.py DATABASE_URL PORT [ACK_URL]`.

Imported (fixture `process`) it starts and stops such processes.
"""

import signal
import socket
import subprocess
import sys
import time

import httpx

from edgeloop_contracts import dumps, to_json
from edgeloop_fleet.app import create_app, serve
from edgeloop_fleet.settings import Settings
from edgeloop_fleet.store import Store
from edgeloop_fleet.testing import SimulatedAliases, SimulatedCluster, SimulatedTrigger, simulated_render


def free_port():
    """A port of the loopback that nobody listens on now."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def start(url, port, *more):
    """A running service that answers; AssertionError after 30 s."""
    process = subprocess.Popen([sys.executable, __file__, url, str(port), *more])
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/v1/health").status_code == 200:
                return process
        except httpx.TransportError:
            time.sleep(0.05)
    process.kill()
    raise AssertionError("the service did not answer within 30 s")


def stop(process):
    """Ends a service and waits for it."""
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    assert process.wait(15) in (0, -signal.SIGTERM, -signal.SIGKILL)


def introduce(client, make):
    """Posts the loop and the rollout of version 1."""
    assert client.post("/v1/loops", content=dumps(make.loop())).status_code == 200
    parts = {"rollout": make.rollout(1), "version": make.version(1), "reference": make.reference()}
    answer = client.post("/v1/rollouts", json={name: to_json(part) for name, part in parts.items()})
    assert answer.status_code in (200, 201)


def totals(client):
    """(version, node): rows, labelled and correct, as the service sums them."""
    rows = client.get("/v1/totals", params={"loop": "demo"}).json()["totals"]
    return {(row["version"], row["node"]): (row["rows"], row["labelled"], row["correct"]) for row in rows}


if __name__ == "__main__":
    settings = Settings(clock="reports", tick_s=0.2, ack_url=sys.argv[3] if len(sys.argv) > 3 else "")
    cluster = SimulatedCluster({"canary": ["n1"], "rest": ["n2", "n3"]})
    store = Store(sys.argv[1])
    app = create_app(store, settings, SimulatedTrigger(), cluster, SimulatedAliases(), simulated_render)
    serve(app, "127.0.0.1", int(sys.argv[2]))
