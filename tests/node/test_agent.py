"""The agent as a process beside real servers: everything arrives once, whatever is killed, cut, full or wrong."""

from __future__ import annotations

import http.client
import json
import random
import resource
import signal
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Eventually = Callable[..., Any]
ROW = {"flow": 0.3, "heat": -1.25, "mode": "b"}


def rows(count: int, first_window: int = 0, windows: int = 4) -> dict[str, Any]:
    return {"rows": [{"features": ROW, "time": 3600 * (first_window + i % windows)} for i in range(count)]}


def labels(first: int, count: int, version: int = 1, window: int = 0) -> dict[str, Any]:
    common = {"version": version, "time": 3600 * window + 5, "predicted": "run"}
    texts = ("run", "idle")
    return {"rows": [{**common, "id": f"r{i}", "label": texts[i % 2]} for i in range(first, first + count)]}


def test_counts_and_labels_reach_the_fleet(
    node: Any, model: Path, fleet: Any, serve_fleet: Any, request_json: Any, eventually: Eventually
) -> None:
    """Rows scored, labels and what is loaded arrive over HTTP, once, in small deliveries; then only heartbeats come."""
    server = node.serve(model, EDGELOOP_IMAGE="sha256:abc")
    with serve_fleet(fleet) as port:
        agent = node.agent("--https", f"http://127.0.0.1:{port}")
        assert request_json(server.port, "POST", "/score", rows(1000, windows=40))[0] == 200
        eventually(lambda: fleet.total() == 1000)
        status, answer = request_json(agent.port, "POST", "/v1/feedback", labels(0, 100))
        assert (status, answer) == (200, {"accepted": 100, "duplicates": 0, "refused": []})
        assert request_json(agent.port, "POST", "/v1/feedback", labels(50, 100))[1]["duplicates"] == 50
        eventually(lambda: fleet.total("labelled") == 150)
        assert fleet.total("correct") == 75
        eventually(lambda: request_json(agent.port, "GET", "/v1/state")[1]["spool"]["unacked"] == 0)
        (loaded,) = fleet.deliveries[-1].loaded
        assert (loaded.loop, loaded.version, loaded.image, loaded.ready) == ("pump", 1, "sha256:abc", True)
        assert max(fleet.sizes) <= 16 * 1024
        assert fleet.deliveries[-1].group == "g1"
        assert {r.group for r in fleet.reports.values()} == {"g1"}
        seen = len(fleet.deliveries)
        eventually(lambda: len(fleet.deliveries) >= seen + 2)
        assert all(not d.reports for d in fleet.deliveries[seen:])
        assert agent.stop() == 0


def test_an_ended_server_leaves_nothing_behind(
    node: Any, model: Path, fleet: Any, serve_fleet: Any, request_json: Any, eventually: Eventually
) -> None:
    """What a server counted while no agent ran is taken over from its final file, and the file goes."""
    server = node.serve(model)
    request_json(server.port, "POST", "/score", rows(50))
    assert server.stop() == 0
    assert len(list(node.run_dir.iterdir())) == 1
    with serve_fleet(fleet) as port:
        node.agent("--https", f"http://127.0.0.1:{port}")
        eventually(lambda: fleet.total() == 50)
        eventually(lambda: not list(node.run_dir.iterdir()))


def test_a_killed_server_is_buried(
    node: Any, model: Path, fleet: Any, serve_fleet: Any, request_json: Any, eventually: Eventually
) -> None:
    """A server that died leaves the list of what is loaded, its entry is removed, and what was read of it is kept."""
    server = node.serve(model)
    with serve_fleet(fleet) as port:
        node.agent("--https", f"http://127.0.0.1:{port}")
        request_json(server.port, "POST", "/score", rows(50))
        eventually(lambda: fleet.total() == 50)
        server.stop(signal.SIGKILL)
        eventually(lambda: not list(node.run_dir.iterdir()))
        eventually(lambda: fleet.deliveries[-1].loaded == ())
    assert fleet.total() == 50


def test_over_mqtt(
    node: Any,
    model: Path,
    fleet: Any,
    broker: Any,
    free_port: Any,
    tmp_path: Path,
    request_json: Any,
    eventually: Eventually,
) -> None:
    """The same over a real broker: topics, acknowledgements, and a broker that is killed in between."""
    paho = pytest.importorskip("paho.mqtt.client", reason="needs paho-mqtt")
    port = free_port()
    topics: set[str] = set()

    def answer(client: Any, _data: Any, message: Any) -> None:
        topics.add(message.topic)
        client.publish("acks/n1", fleet.take(message.payload), qos=1)

    cloud = paho.Client(paho.CallbackAPIVersion.VERSION2, client_id="cloud")
    cloud.on_connect = lambda client, *_: client.subscribe("edgeloop/reports/n1", qos=1)
    cloud.on_message = answer
    cloud.reconnect_delay_set(1, 1)
    server = node.serve(model)
    with broker(tmp_path, port):
        cloud.connect("127.0.0.1", port)
        cloud.loop_start()
        agent = node.agent("--mqtt", f"127.0.0.1:{port}")
        request_json(server.port, "POST", "/score", rows(30))
        eventually(lambda: fleet.total() == 30)
        assert topics == {"edgeloop/reports/n1"}
    request_json(server.port, "POST", "/score", rows(30, first_window=10))
    eventually(lambda: request_json(agent.port, "GET", "/v1/state")[1]["spool"]["unacked"] == 4)
    assert request_json(agent.port, "GET", "/v1/state")[1]["connected"] is False
    with broker(tmp_path, port):
        eventually(lambda: fleet.total() == 60, 40)
        eventually(lambda: request_json(agent.port, "GET", "/v1/state")[1]["spool"]["unacked"] == 0)
        assert agent.stop() == 0
    assert len(agent.said("the broker cannot be reached")) == 1
    cloud.loop_stop()


@pytest.mark.parametrize(
    ("spoil", "line"),
    [
        (lambda answer: b"{ not json", "an answer of the cloud cannot be read"),
        (lambda answer: b'{"kind": "Delivery"}', "an answer of the cloud cannot be read"),
        (lambda answer: answer.replace(b'"n1"', b'"n2"'), "an acknowledgement is wrong"),
        (lambda answer: answer.replace(b'"sequence": ', b'"sequence": 99'), "an acknowledgement is wrong"),
        (lambda answer: answer.replace(b'"boot": "', b'"boot": "x'), ""),
        (lambda answer: None, "the fleet service cannot be reached"),
    ],
    ids=["no-json", "other-kind", "other-node", "never-was", "unknown-key", "no-answer"],
)
def test_wrong_answers_settle_nothing(
    node: Any, model: Path, fleet: Any, serve_fleet: Any, request_json: Any, eventually: Eventually,
    spoil: Callable[[bytes], bytes | None], line: str,
) -> None:  # fmt: skip
    """A wrong, malformed or missing acknowledgement is logged, the report is sent again, and settled by a right one."""
    server = node.serve(model)
    fleet.spoil = spoil
    with serve_fleet(fleet) as port:
        agent = node.agent("--https", f"http://127.0.0.1:{port}", "--retry-cap-s", "1")
        request_json(server.port, "POST", "/score", rows(8, windows=1))
        eventually(lambda: sum(bool(d.reports) for d in fleet.deliveries) >= 2)
        if line:
            eventually(lambda: agent.said(line))
        assert request_json(agent.port, "GET", "/v1/state")[1]["spool"]["unacked"] == 1
        fleet.spoil = lambda answer: answer
        eventually(lambda: request_json(agent.port, "GET", "/v1/state")[1]["spool"]["unacked"] == 0)
    assert fleet.total() == 8
    assert agent.child.poll() is None


def test_a_refused_report_holds_up_no_other(
    node: Any, model: Path, fleet: Any, serve_fleet: Any, request_json: Any, eventually: Eventually
) -> None:
    """When the cloud refuses a delivery for one of its reports, the others arrive by themselves."""
    server = node.serve(model)
    fleet.refuses = lambda delivery: any(r.window_start_s == 3600 for r in delivery.reports)
    request_json(server.port, "POST", "/score", rows(40))
    with serve_fleet(fleet) as port:
        agent = node.agent("--https", f"http://127.0.0.1:{port}")
        eventually(lambda: fleet.total() == 30)
        assert agent.said("the fleet service refuses a delivery")


def test_a_full_disk_loses_nothing(
    node: Any, model: Path, fleet: Any, serve_fleet: Any, request_json: Any, eventually: Eventually
) -> None:
    """While the spool cannot grow the agent says so, refuses labels with 503 and keeps running; afterwards all arrives."""
    server = node.serve(model)
    with serve_fleet(fleet) as port:
        agent = node.agent("--https", f"http://127.0.0.1:{port}")
        less_than_a_page = 2048  # a log that was written before would be written anew within its size
        resource.prlimit(agent.child.pid, resource.RLIMIT_FSIZE, (less_than_a_page, resource.RLIM_INFINITY))
        request_json(server.port, "POST", "/score", rows(200, windows=200))
        eventually(lambda: agent.said("the spool cannot be used"))
        status, answer = request_json(agent.port, "POST", "/v1/feedback", labels(0, 1000))
        assert (status, "nothing was taken" in answer["error"]) == (503, True)
        resource.prlimit(agent.child.pid, resource.RLIMIT_FSIZE, (resource.RLIM_INFINITY, resource.RLIM_INFINITY))
        eventually(lambda: fleet.total() == 200)
        assert request_json(agent.port, "POST", "/v1/feedback", labels(0, 1000))[1]["accepted"] == 1000
        eventually(lambda: fleet.total("labelled") == 1000)
        assert agent.said("over: the spool cannot be used")


class Worker(threading.Thread):
    """Does a small piece of work again and again until it is told to stop, and adds up what came of it."""

    def __init__(self, work: Callable[[int], int]) -> None:
        super().__init__(daemon=True)
        self.work, self.done, self.over = work, 0, threading.Event()
        self.start()

    def run(self) -> None:
        turn = 0
        while not self.over.is_set():
            got = self.work(turn)
            self.done, turn = self.done + got, turn + bool(got)
            time.sleep(0.005)

    def finish(self) -> int:
        self.over.set()
        self.join(30)
        assert not self.is_alive()
        return self.done


def scoring(request_json: Any, port: int) -> Callable[[int], int]:
    """Scores 20 rows at a time; 0 when the server has gone."""

    def work(turn: int) -> int:
        try:
            status, answer = request_json(port, "POST", "/score", rows(20, first_window=turn // 10))
        except ConnectionRefusedError:
            return 0
        assert status == 200
        return len(answer["rows"])

    return work


def labelling(request_json: Any, agents: list[Any]) -> Callable[[int], int]:
    """Sends ten labels to the newest agent. When it died meanwhile it has taken all or none: the same ten go again."""

    def work(turn: int) -> int:
        try:
            answer = request_json(agents[-1].port, "POST", "/v1/feedback", labels(10 * turn, 10, window=turn // 20))[1]
        except (OSError, json.JSONDecodeError, http.client.HTTPException):
            return 0
        assert sorted([answer["accepted"], answer["duplicates"]]) == [0, 10]
        return 10

    return work


@pytest.mark.slow
def test_kill_minus_nine_loses_and_doubles_nothing(
    node: Any, model: Path, make_model: Any, fleet: Any, serve_fleet: Any, request_json: Any, eventually: Eventually
) -> None:
    """The agent is killed again and again while two servers score, labels come, answers get lost and a server ends:
    in the end the fleet has exactly the rows that were scored and the labels that were accepted."""
    dice = random.Random(4)
    servers = [node.serve(model), node.serve(make_model(2, seed=1))]
    fleet.spoil = lambda answer: None if dice.random() < 0.2 else answer
    with serve_fleet(fleet) as port:
        url = f"http://127.0.0.1:{port}"
        agents = [node.agent("--https", url)]
        eventually(lambda: len(agents[0].said("a server was found")) == 2)
        scorers = [Worker(scoring(request_json, server.port)) for server in servers]
        labeller = Worker(labelling(request_json, agents))
        for turn in range(8):
            time.sleep(dice.uniform(0.1, 0.7))
            agents[-1].stop(signal.SIGKILL)
            if turn == 4:
                assert servers[1].stop() == 0
            agents.append(node.agent("--https", url))
        time.sleep(0.5)
        scored, labelled = sum(scorer.finish() for scorer in scorers), labeller.finish()
        fleet.spoil = lambda answer: answer
        assert servers[0].stop() == 0
        eventually(lambda: not list(node.run_dir.glob("*")), 30)
        eventually(lambda: request_json(agents[-1].port, "GET", "/v1/state")[1]["spool"]["unacked"] == 0, 30)
    assert (scored > 1000, labelled > 100) == (True, True)
    assert (fleet.total(), fleet.total("labelled"), fleet.total("correct")) == (scored, labelled, labelled // 2)
    assert [line for process in node.started for line in process.said("a turn failed")] == []


@pytest.mark.parametrize(
    ("method", "path", "body", "status"),
    [
        ("POST", "/v1/feedback", b"{", 400),
        ("POST", "/v1/feedback", b"[]", 400),
        ("POST", "/v1/feedback", b"\xff", 400),
        ("POST", "/v1/feedback", {"rows": []}, 400),
        ("POST", "/v1/feedback", {"rows": [None, 3, [], {"id": "\ud800"}]}, 200),
        ("POST", "/v1/feedback", b'{"rows": [' + b" " * 1024 * 1024 + b"]}", 413),
        ("GET", "/v1/feedback", None, 405),
        ("POST", "/v1/state", {}, 405),
        ("PUT", "/v1/state", {}, 405),
        ("GET", "/v2", None, 404),
        ("POST", "/v2", {}, 404),
    ],
)
def test_the_agents_http(quiet_agent: Any, request_json: Any, method: str, path: str, body: Any, status: int) -> None:
    """Wrong requests to the agent get a 4xx with an error; wrong rows are refused one by one."""
    got, answer = request_json(quiet_agent.port, method, path, body)
    assert got == status
    if status == 200:
        assert (answer["accepted"], len(answer["refused"])) == (0, 4)
    else:
        assert list(answer) == ["error"]


@pytest.fixture(scope="module")
def quiet_agent(shared_node: Any) -> Any:
    return shared_node.agent("--https", "http://127.0.0.1:9")


def test_the_state_is_told(quiet_agent: Any, request_json: Any) -> None:
    """GET /v1/state says who, where to, what is loaded and what waits."""
    status, state = request_json(quiet_agent.port, "GET", "/v1/state")
    assert (status, state["node"], state["servers"], state["connected"]) == (200, "n1", [], state["connected"])
    assert state["spool"]["unacked"] == 0
    assert state["transport"] == "https http://127.0.0.1:9"


def test_an_agent_that_cannot_start_says_why(node: Any, quiet_agent: Any) -> None:
    """A spool in use, a taken port and a wrong address end the agent with a line and a code."""
    where = ("agent", "--run-dir", node.run_dir, "--node", "n1", "--https", "http://127.0.0.1:9")
    cases = [
        (("--spool", quiet_agent.log.parent / "spool.db", "--port", "0"), 1, "only agent"),
        (("--spool", node.spool, "--port", str(quiet_agent.port)), 1, "in use"),
    ]
    for arguments, code, says in cases:
        process = node.start(*where, *arguments)
        assert process.child.wait(20) == code
        assert says in process.said("the agent cannot start")[0]["error"]
    process = node.start("agent", "--spool", node.spool, "--port", "0", "--mqtt", "nowhere")
    assert process.child.wait(20) == 2


def test_an_idle_agent_costs_little(node: Any, model: Path) -> None:
    """Polling one quiet server once a second takes the agent below 3 % of a processor."""
    node.serve(model)
    where = ("--run-dir", node.run_dir, "--spool", node.spool, "--port", "0", "--node", "n1")
    agent = node.start("agent", *where, "--https", "http://127.0.0.1:9")
    agent.wait_for("a server was found")
    time.sleep(0.5)
    began = processor_s(agent.child.pid)
    time.sleep(4)
    assert processor_s(agent.child.pid) - began < 0.12


def processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()
    return (int(fields[11]) + int(fields[12])) / 100
