"""The service over HTTP, as a real process: what it answers, what it refuses, and that a kill -9 loses nothing."""

import json
import random
import signal
import socket
import sqlite3
import subprocess
import sys
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import httpx
import pytest

from edgeloop_contracts import Acknowledgement, RunRequest, dumps, from_json, to_json

SCRIPT = Path(__file__).with_name("server_process.py")


def _free_port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def _start(url, port, *more):
    process = subprocess.Popen([sys.executable, str(SCRIPT), url, str(port), *more])
    deadline = time.monotonic() + 30
    while time.monotonic() < deadline:
        try:
            if httpx.get(f"http://127.0.0.1:{port}/v1/health").status_code == 200:
                return process
        except httpx.TransportError:
            time.sleep(0.05)
    process.kill()
    raise AssertionError("the service did not answer within 30 s")


def _stop(process):
    if process.poll() is None:
        process.send_signal(signal.SIGTERM)
    assert process.wait(15) in (0, -signal.SIGTERM, -signal.SIGKILL)


@pytest.fixture(scope="module")
def server(tmp_path_factory, make):
    """One running service that knows loop demo and version 1."""
    url, port = f"sqlite:///{tmp_path_factory.mktemp('fleet')}/fleet.db", _free_port()
    process = _start(url, port)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
        _introduce(client, make)
        yield client
    _stop(process)


def _introduce(client, make):
    assert client.post("/v1/loops", content=dumps(make.loop())).status_code == 200
    body = {
        "rollout": to_json(make.rollout(1)),
        "version": to_json(make.version(1)),
        "reference": to_json(make.reference()),
    }
    answer = client.post("/v1/rollouts", json=body)
    assert answer.status_code in (200, 201)
    return body


def _totals(client):
    rows = client.get("/v1/totals", params={"loop": "demo"}).json()["totals"]
    return {(row["version"], row["node"]): (row["rows"], row["labelled"], row["correct"]) for row in rows}


def test_a_delivery_is_acknowledged(server, make):
    """The answer names each stored report with its sequence; the same again is acknowledged again and counts once."""
    delivery = make.delivery("n1", make.report("n1", 0, 3, boot="ack"))
    for _ in range(2):
        answer = server.post("/v1/reports", content=dumps(delivery))
        assert answer.status_code == 200
        acknowledgement = from_json(Acknowledgement, answer.json())
        assert [(a.boot, a.sequence) for a in acknowledgement.reports] == [("ack", 3)]
    assert _totals(server)[1, "n1"][0] == 10


@pytest.mark.parametrize(
    ("body", "path"),
    [
        (b"", ""),
        (b"{", ""),
        (b"[1]", ""),
        (b'{"apiVersion": "edgeloop.dev/v1alpha1", "kind": "Delivery"}', "node"),
        (b'{"apiVersion": "edgeloop.dev/v1alpha1", "kind": "Report", "node": "n", "group": "g"}', "kind"),
        (b'{"apiVersion": "edgeloop.dev/v1alpha1", "kind": "Delivery", "node": "../n", "group": "g"}', "node"),
        (b'{"apiVersion": "edgeloop.dev/v1alpha1", "kind": "Delivery", "node": "n\\ud800", "group": "g"}', ""),
        (b'{"apiVersion": "edgeloop.dev/v1alpha1", "kind": "Delivery", "node": "n", "group": "g", "sent_s": NaN}', ""),
        (b"[" * 100_000, ""),
        (b"\xff\xfe", ""),
    ],
)
def test_what_is_no_delivery_is_answered_with_the_place(server, body, path):
    """Empty, truncated, of another kind, with bad names or numbers, bottomless: 400 with path, expected and got."""
    answer = server.post("/v1/reports", content=body)
    assert answer.status_code == 400
    document = answer.json()
    assert set(document) == {"error", "path", "expected", "got"}
    assert document["path"] == path


def test_truncated_deliveries_are_refused_at_every_length(server, make):
    """A real delivery cut anywhere is a 400 and stores nothing."""
    before = _totals(server)
    text = dumps(make.delivery("n1", make.report("n1", 0, boot="cut"))).encode()
    for length in random.Random(0).sample(range(len(text)), 25):
        assert server.post("/v1/reports", content=text[:length]).status_code == 400
    assert _totals(server) == before


def test_too_much_is_refused(server, make):
    """More than 1 MiB is a 413, with a stated length and without one; more than 500 reports are a 400."""
    assert server.post("/v1/reports", content=b" " * (2**20 + 1)).status_code == 413
    chunks = (b" " * 65_536 for _ in range(20))
    assert server.post("/v1/reports", content=chunks).status_code == 413
    small = make.report("n1", 0, counts=make.counts(0, features={}, classes=(), confidence=(), confidence_sums=()))
    many = [small] * 501
    answer = server.post("/v1/reports", content=dumps(make.delivery("n1", *many)))
    assert (answer.status_code, answer.json()["expected"]) == (400, "at most 500 reports")


def test_unknown_reports_get_a_409_that_acknowledges_the_others(server, make):
    """The body is an Acknowledgement of what is stored, and names what is not."""
    good = make.report("n1", 0, boot="known")
    bad = replace(good, version=99)
    answer = server.post("/v1/reports", content=dumps(make.delivery("n1", good, bad)))
    assert answer.status_code == 409
    document = answer.json()
    assert [a.boot for a in from_json(Acknowledgement, document).reports] == ["known"]
    assert document["path"] == "reports[1].version"
    assert [r["version"] for r in document["refused"]] == [99]


@pytest.mark.parametrize(
    ("path", "body", "status", "where"),
    [
        ("/v1/loops", {"kind": "Loop"}, 400, "apiVersion"),
        ("/v1/rollouts", [], 400, ""),
        ("/v1/rollouts", {"rollout": {}}, 400, "version"),
        ("/v1/rollouts/demo/7/approve", {}, 404, "version"),
        ("/v1/runs", to_json(RunRequest(loop="nobody", key="k", cause="manual")), 404, "loop"),
    ],
)
def test_other_documents_are_checked_too(server, path, body, status, where):
    """Each POST says what is wrong and where."""
    answer = server.post(path, json=body)
    assert (answer.status_code, answer.json()["path"]) == (status, where)


@pytest.mark.parametrize("query", ["after=x", "after=-1", "after=" + "9" * 40, "limit=²"])
def test_odd_queries_are_refused(server, query):
    """`after` and `limit` are whole numbers."""
    assert server.get(f"/v1/events?{query}").status_code == 400


def test_posting_a_rollout_twice_is_posting_it_once(server, make):
    """A pipeline step that is repeated changes nothing."""
    before = server.get("/v1/rollouts").json()
    _introduce(server, make)
    assert len(server.get("/v1/rollouts").json()["rollouts"]) == len(before["rollouts"]) == 1


def test_a_run_by_hand(server):
    """The answer holds the key and the decision."""
    request = RunRequest(loop="demo", key="hand-1", cause="manual", by="ada", reason="to see")
    answer = server.post("/v1/runs", content=dumps(request)).json()
    assert answer == {"key": "hand-1", "started": True, "why": "to see"}
    assert "hand-1" in server.post("/v1/tick").json()["active_runs"]


def test_reading(server, make):
    """Status, nodes, verdicts, events and metrics answer, and know the loop."""
    server.post("/v1/reports", content=dumps(make.delivery("n2")))
    status = server.get("/v1/status").json()
    assert [x["loop"] for x in status["loops"]] == ["demo"]
    assert status["loops"][0]["nodes"]["n2"] == [1]
    assert {n["node"] for n in server.get("/v1/nodes").json()["nodes"] if n["reachable"]} >= {"n2"}
    assert server.get("/v1/verdicts").json() == {"verdicts": []}
    events = server.get("/v1/events").json()["events"]
    assert events[0]["kind"] == "rollout"
    assert server.get("/v1/events", params={"after": events[-1]["n"]}).json()["events"] == []
    metrics = server.get("/metrics").text
    assert "edgeloop_fleet_deliveries_total" in metrics
    assert 'edgeloop_fleet_serving_version{loop="demo"}' in metrics
    assert server.get("/v1/totals").status_code == 400


def test_acknowledgements_are_posted_to_the_router_too(tmp_path, make):
    """With an ack_url the acknowledgement goes to the node's own path; a router that is away disturbs nothing."""
    got = []

    class Router(BaseHTTPRequestHandler):
        def do_POST(self):
            got.append((self.path, json.loads(self.rfile.read(int(self.headers["content-length"])))))
            self.send_response(200)
            self.end_headers()

        def log_message(self, *_):
            """Silent."""

    router = ThreadingHTTPServer(("127.0.0.1", 0), Router)
    threading.Thread(target=router.serve_forever, daemon=True).start()
    port, template = _free_port(), f"http://127.0.0.1:{router.server_port}/{{node}}/{{namespace}}/acks/{{node}}"
    process = _start(f"sqlite:///{tmp_path}/fleet.db", port, template)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        client.post("/v1/reports", content=dumps(make.delivery("n1")))
        _wait(lambda: got)
        router.shutdown()
        router.server_close()
        assert client.post("/v1/reports", content=dumps(make.delivery("n1"))).status_code == 200
        _wait(lambda: "edgeloop_fleet_acks_failed_total 1" in client.get("/metrics").text)
    _stop(process)
    assert got[0][0] == "/n1/edgeloop/acks/n1"
    assert from_json(Acknowledgement, got[0][1]).node == "n1"


def _wait(condition, seconds=15):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


class _Agent(threading.Thread):
    """Sends states of its windows, again and again, out of order, until each newest one is acknowledged."""

    def __init__(self, base, make, node, seed):
        super().__init__(daemon=True)
        self.base, self.make, self.node, self.rng = base, make, node, random.Random(seed)
        self.failed = self.sent = 0

    def states(self):
        """30 windows in 4 states each; a later state counts more."""
        return [(window, sequence) for window in range(30) for sequence in range(1, 5)]

    def expected(self):
        return (30 * 8, 30 * 4, 30 * 3)

    def report(self, window, sequence):
        counts = self.make.counts(2 * sequence, labelled=sequence, correct=sequence - 1)
        return self.make.report(self.node, window * 3600, sequence, counts)

    def run(self):
        waiting = self.states() * 2
        self.rng.shuffle(waiting)
        with httpx.Client(base_url=self.base, timeout=10) as client:
            while waiting:
                batch = [waiting.pop() for _ in range(min(5, len(waiting)))]
                delivery = self.make.delivery(self.node, *(self.report(*state) for state in batch))
                if not self._acknowledged(client, delivery, batch):
                    waiting = [*batch, *waiting]
                    time.sleep(0.02)

    def _acknowledged(self, client, delivery, batch):
        self.sent += 1
        try:
            answer = client.post("/v1/reports", content=dumps(delivery))
        except httpx.TransportError:
            self.failed += 1
            return False
        acknowledged = from_json(Acknowledgement, answer.json()).reports
        got = {(a.window_start_s // 3600, a.sequence) for a in acknowledged}
        return answer.status_code == 200 and set(batch) <= got


def test_kill_9_during_ingest_loses_nothing_and_counts_nothing_twice(tmp_path, make):
    """Three agents send shuffled, doubled states while the service is killed four times: the sums are exact."""
    url, port = f"sqlite:///{tmp_path}/fleet.db", _free_port()
    base, process = f"http://127.0.0.1:{port}", None
    process = _start(url, port)
    with httpx.Client(base_url=base) as client:
        _introduce(client, make)
    agents = [_Agent(base, make, node, seed) for seed, node in enumerate(("n1", "n2", "n3"))]
    for agent in agents:
        agent.start()
    kills = 0
    while any(agent.is_alive() for agent in agents) and kills < 4:
        time.sleep(0.12)
        process.kill()
        process.wait()
        process, kills = _start(url, port), kills + 1
    for agent in agents:
        agent.join(60)
        assert not agent.is_alive(), "the agent is still not acknowledged"
    with httpx.Client(base_url=base) as client:
        totals = _totals(client)
    _stop(process)
    assert sum(agent.failed for agent in agents) > 0, "no kill hit a delivery: the test shows nothing"
    assert totals == {(1, agent.node): agent.expected() for agent in agents}


def test_ingest_is_fast_enough(server, make):
    """Deliveries of five reports are taken at more than 100 reports a second, also on a busy machine (300 on a free core)."""
    reports = [make.report("n3", window * 3600, boot="fast") for window in range(200)]
    bodies = [dumps(make.delivery("n3", *reports[i : i + 5])) for i in range(0, 200, 5)]
    start = time.monotonic()
    for body in bodies:
        assert server.post("/v1/reports", content=body).status_code == 200
    rate = 200 / (time.monotonic() - start)
    print(f"{rate:.0f} reports/s")
    assert rate > 100


def test_it_stops_when_told(tmp_path):
    """SIGTERM ends the process within seconds, with its database in order."""
    path, port = tmp_path / "fleet.db", _free_port()
    process = _start(f"sqlite:///{path}", port)
    start = time.monotonic()
    _stop(process)
    assert time.monotonic() - start < 10
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)
