"""The service over HTTP, as a real process: what it answers and what it refuses."""

import json
import random
import sqlite3
import threading
import time
from dataclasses import replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import httpx
import pytest

from edgeloop_contracts import Acknowledgement, RunRequest, dumps, from_json, to_json


@pytest.fixture(scope="module")
def server(tmp_path_factory, make, process):
    """One running service that knows loop demo and version 1."""
    url, port = f"sqlite:///{tmp_path_factory.mktemp('fleet')}/fleet.db", process.free_port()
    running = process.start(url, port)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}", timeout=20) as client:
        process.introduce(client, make)
        yield client
    process.stop(running)


def test_a_delivery_is_acknowledged(server, make, process):
    """The answer names each stored report with its sequence; the same again is acknowledged again and counts once."""
    delivery = make.delivery("n1", make.report("n1", 0, 3, boot="ack"))
    for _ in range(2):
        answer = server.post("/v1/reports", content=dumps(delivery))
        assert answer.status_code == 200
        acknowledgement = from_json(Acknowledgement, answer.json())
        assert [(a.boot, a.sequence) for a in acknowledgement.reports] == [("ack", 3)]
    assert process.totals(server)[1, "n1"][0] == 10


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


def test_truncated_deliveries_are_refused_at_every_length(server, make, process):
    """A real delivery cut anywhere is a 400 and stores nothing."""
    before = process.totals(server)
    text = dumps(make.delivery("n1", make.report("n1", 0, boot="cut"))).encode()
    for length in random.Random(0).sample(range(len(text)), 25):
        assert server.post("/v1/reports", content=text[:length]).status_code == 400
    assert process.totals(server) == before


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


def test_posting_a_rollout_twice_is_posting_it_once(server, make, process):
    """A pipeline step that is repeated changes nothing."""
    before = server.get("/v1/rollouts").json()
    process.introduce(server, make)
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


def test_acknowledgements_are_posted_to_the_router_too(tmp_path, make, process):
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
    port, template = process.free_port(), f"http://127.0.0.1:{router.server_port}/{{node}}/{{namespace}}/acks/{{node}}"
    running = process.start(f"sqlite:///{tmp_path}/fleet.db", port, template)
    with httpx.Client(base_url=f"http://127.0.0.1:{port}") as client:
        client.post("/v1/reports", content=dumps(make.delivery("n1")))
        _wait(lambda: got)
        router.shutdown()
        router.server_close()
        assert client.post("/v1/reports", content=dumps(make.delivery("n1"))).status_code == 200
        _wait(lambda: "edgeloop_fleet_acks_failed_total 1" in client.get("/metrics").text)
    process.stop(running)
    assert got[0][0] == "/n1/edgeloop/acks/n1"
    assert from_json(Acknowledgement, got[0][1]).node == "n1"


def _wait(condition, seconds=15):
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "it did not happen in time"
        time.sleep(0.05)


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


def test_it_stops_when_told(tmp_path, process):
    """SIGTERM ends the process within seconds, with its database in order."""
    path, port = tmp_path / "fleet.db", process.free_port()
    running = process.start(f"sqlite:///{path}", port)
    start = time.monotonic()
    process.stop(running)
    assert time.monotonic() - start < 10
    assert sqlite3.connect(path).execute("PRAGMA integrity_check").fetchone() == ("ok",)
