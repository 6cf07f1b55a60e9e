"""The demo's stream against real sockets: a small scoring server that can drop and drain, and a small fleet that counts."""

from __future__ import annotations

import io
import json
import socket
import threading
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import pandas as pd
import pytest

from edgeloop_components.stores.memory import MemoryObjects
from edgeloop_pipelines.demo.fleet import FleetClient, ServiceError
from edgeloop_pipelines.demo.prepared import DemoNode, Prepared
from edgeloop_pipelines.demo.stream import Stream, StreamError, await_counts, bodies, recent_accuracy, run_step, score
from edgeloop_pipelines.demo.wire import Dropped, Line, Reply, WireError, exchange

DAY_S = 86_400
START = pd.Timestamp("2020-01-01", tz="UTC")


@dataclass
class Scorer:
    """A server of one node. It counts what it scores; `faults` maps the number of a request to what goes wrong with it."""

    node: str
    port: int = 0
    version: int = 1
    faults: dict[int, str] = field(default_factory=dict)
    seen: list[str] = field(default_factory=list)
    counted: list[str] = field(default_factory=list)
    connections: list[socket.socket] = field(default_factory=list)

    def serve(self, listener: socket.socket) -> None:
        while True:
            try:
                connection, _ = listener.accept()
            except OSError:
                return
            self.connections.append(connection)
            threading.Thread(target=self.talk, args=(connection,), daemon=True).start()

    def talk(self, connection: socket.socket) -> None:
        with connection, connection.makefile("rb") as stream:
            while head := self.head(stream):
                document = json.loads(stream.read(int(head["content-length"])))
                fault = self.faults.get(len(self.seen), "")
                self.seen.append(document["id"])
                if not self.answer(connection, document, fault):
                    return

    @staticmethod
    def head(stream: Any) -> dict[str, str]:
        try:
            lines = list(iter(lambda: stream.readline().decode().strip(), ""))
        except OSError:
            return {}
        return {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines[1:])}

    def answer(self, connection: socket.socket, document: Mapping[str, Any], fault: str) -> bool:
        if fault == "drop":
            return False
        self.counted.append(document["id"])
        if fault == "count and drop":
            return False
        label = "plus" if (document["features"]["x"] or 0) > 0 else "minus"
        body = json.dumps({"id": document["id"], "label": label, "confidence": 0.9, "version": self.version}).encode()
        status = b"400 Bad Request" if fault == "refuse" else b"200 OK"
        extra = b"Connection: close\r\n" if fault == "close" else b""
        reply = b"HTTP/1.1 %s\r\n%sContent-Length: %d\r\n\r\n%s" % (status, extra, len(body), body)
        pieces = [reply[i : i + 7] for i in range(0, len(reply), 7)] if fault == "slowly" else [reply]
        for piece in pieces:
            connection.sendall(piece)
        return fault != "close"


@pytest.fixture
def scorers() -> Iterator[dict[str, Scorer]]:
    """Two nodes' servers."""
    made, listeners = {}, []
    for node in ("a", "b"):
        listener = socket.create_server(("127.0.0.1", 0))
        listeners.append(listener)
        made[node] = Scorer(node, port=listener.getsockname()[1])
        threading.Thread(target=made[node].serve, args=(listener,), daemon=True).start()
    yield made
    for listener in listeners:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()


@dataclass
class Cloud:
    """Fleet service and agents in one HTTP server. It counts what the scorers counted, and labels by id."""

    scorers: dict[str, Scorer]
    url: str = ""
    labels: dict[str, tuple[str, bool]] = field(default_factory=dict)  # id: node, right
    unavailable: int = 0  # so many requests are answered with 503
    half: int = 0  # so many feedback requests are stored, but their answer is lost
    missing: int = 0  # rows that the fleet has not counted

    def totals(self) -> list[dict[str, Any]]:
        found = []
        for node, scorer in self.scorers.items():
            rows = len(scorer.counted) - (self.missing if node == "a" else 0)
            mine = [right for of, right in self.labels.values() if of == node]
            if rows:
                counts = {"rows": rows, "labelled": len(mine), "correct": sum(mine), "refused": 0, "failed": 0}
                found.append({"version": scorer.version, "node": node, **counts})
        return found

    def feedback(self, node: str, rows: list[dict[str, Any]]) -> dict[str, Any]:
        new = [row for row in rows if row["id"] not in self.labels]
        self.labels.update({row["id"]: (node, row["predicted"] == row["label"]) for row in new})
        return {"accepted": len(new), "duplicates": len(rows) - len(new), "refused": []}


@pytest.fixture
def cloud(scorers: dict[str, Scorer]) -> Iterator[Cloud]:
    state = Cloud(scorers)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.reply({"totals": state.totals()})

        def do_POST(self) -> None:
            document = json.loads(self.rfile.read(int(self.headers["Content-Length"])))
            answer = state.feedback(self.path.split("/")[1], document["rows"])
            if state.half:
                state.half -= 1
                self.close_connection = True
                return
            self.reply(answer)

        def reply(self, document: object) -> None:
            status = 503 if state.unavailable else 200
            state.unavailable = max(0, state.unavailable - 1)
            body = json.dumps(document).encode()
            self.send_response(status)
            self.send_header("Content-Length", str(len(body)))
            self.end_headers()
            self.wfile.write(body)

        def log_message(self, *_: object) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    server.daemon_threads = True
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    state.url = f"http://127.0.0.1:{server.server_port}"
    yield state
    server.shutdown()
    server.server_close()
    thread.join(5)


def prepared(days: int = 3, rows_a_day: int = 8) -> Prepared:
    """Rows of two nodes; one row has no input, one no label; the truth is the sign of x but for every fifth row."""
    times = pd.date_range(START, periods=days * rows_a_day, freq="3h")
    number = pd.Series(range(len(times)))
    frame = pd.DataFrame(
        {"time": times, "node": number.map(lambda i: "ab"[i % 2]), "x": number.map(lambda i: (-1.0) ** (i // 2))}
    )
    frame["label"] = frame["x"].map(lambda x: "plus" if x > 0 else "minus").where(number % 5 != 0, "plus")
    frame.loc[3, "x"] = None
    frame.loc[4, "label"] = None
    return Prepared(
        name="tiny",
        loop_yaml="",
        history=frame.iloc[:0],
        stream=frame,
        periods=frame["time"].dt.strftime("%Y"),
        nodes=[DemoNode("a", "canary"), DemoNode("b", "rest")],
        time_column="time",
        node_column="node",
        label_column="label",
        features=["x", "node"],
        inputs=["x"],
        step_s=DAY_S,
        delay_s=DAY_S,
        block_s=DAY_S,
        step_name="day",
        block_name="day",
        story=(),
    )


@pytest.fixture
def stream(scorers: dict[str, Scorer], cloud: Cloud) -> Iterator[Stream]:
    fleet = FleetClient(cloud.url, patience_s=3)
    lines = {node: Line(node, "127.0.0.1", scorer.port) for node, scorer in scorers.items()}
    agents = {node: f"{cloud.url}/{node}" for node in scorers}
    yield Stream(prepared(), lines, agents, fleet, MemoryObjects(), "tiny")
    fleet.close()
    for line in lines.values():
        line.close()


def days(stream: Stream, count: int = 3, *, first: int = 0) -> None:
    """Streams `count` days from day `first` on."""
    begin = int(START.timestamp())
    for day in range(first, first + count):
        run_step(stream, begin + day * DAY_S, begin + (day + 1) * DAY_S)


def test_every_row_with_an_input_is_asked_once_in_order_of_time(stream: Stream, scorers: dict[str, Scorer]) -> None:
    """24 rows, one without input: 23 answers on two kept connections; each node sees its rows in the order of time."""
    days(stream)
    assert stream.answers.answered == 23
    assert stream.answers.empty == 1
    for scorer in scorers.values():
        moments = [int(name.rpartition("-")[2]) for name in scorer.seen]
        assert moments == sorted(moments)
        assert len(set(scorer.seen)) == len(scorer.seen)
        assert len(scorer.connections) == 1


def test_labels_come_a_day_late_to_the_node_that_answered(stream: Stream, cloud: Cloud) -> None:
    """After three days the labels of the first two are there, but for the row without answer and the one without label."""
    days(stream, 1)
    assert cloud.labels == {}
    days(stream, 2, first=1)
    assert len(cloud.labels) == 16 - 2
    assert Counter(node for node, _ in cloud.labels.values()) == {"a": 7, "b": 7}
    assert all(name.startswith(f"{node}-") for name, (node, _) in cloud.labels.items())
    right = sum(part.correct for part in stream.answers.sums.values())
    assert right == sum(ok for _, ok in cloud.labels.values()) == 12


def test_labelled_rows_that_are_due_are_stored_as_parts(stream: Stream) -> None:
    """The historian gets each labelled row once, in the step in which its label is due, readable as Parquet."""
    days(stream)
    assert isinstance(stream.historian, MemoryObjects)
    keys = list(stream.historian.list("tiny/"))
    begin = int(START.timestamp())
    assert keys == [f"tiny/part-{begin + DAY_S}.parquet", f"tiny/part-{begin + 2 * DAY_S}.parquet"]
    rows = pd.concat([pd.read_parquet(io.BytesIO(stream.historian.get(key))) for key in keys])
    expected = stream.prepared.stream.iloc[:16].dropna(subset=["label"])
    assert rows.reset_index(drop=True).equals(expected.reset_index(drop=True))


def test_idle_connection_that_the_server_closed_is_opened_anew(stream: Stream, scorers: dict[str, Scorer]) -> None:
    """Between two steps the server goes: the next row is asked on a new connection, and nothing was in doubt."""
    days(stream, 1)
    for scorer in scorers.values():
        scorer.connections[0].shutdown(socket.SHUT_RDWR)
    days(stream, 1, first=1)
    assert stream.answers.dropped == 0
    assert [line.connections for line in stream.lines.values()] == [2, 2]
    assert all(len(set(s.seen)) == len(s.seen) for s in scorers.values())


def test_answer_that_closes_the_connection_is_an_answer(stream: Stream, scorers: dict[str, Scorer]) -> None:
    """A draining server says `Connection: close` with its answer: the row counts, the next one goes to a new connection."""
    scorers["a"].faults = {1: "close", 2: "close"}
    days(stream)
    assert stream.answers.answered == 23
    assert stream.answers.dropped == 0
    assert stream.lines["a"].connections == 3


def test_answer_in_pieces_is_put_together(stream: Stream, scorers: dict[str, Scorer]) -> None:
    """An answer that comes in many segments is one answer."""
    scorers["a"].faults = dict.fromkeys(range(5), "slowly")
    days(stream)
    assert stream.answers.answered == 23


def test_row_in_doubt_is_asked_again_once_the_fleet_shows_that_it_was_not_counted(
    stream: Stream, scorers: dict[str, Scorer]
) -> None:
    """The connection ends between request and answer, the row was not counted: it is asked a second time and counted once."""
    scorers["a"].faults = {2: "drop"}
    days(stream)
    assert stream.answers.dropped == 1
    assert stream.answers.answered == 23
    assert Counter(scorers["a"].seen).most_common(1)[0][1] == 2
    assert Counter(scorers["a"].counted).most_common(1)[0][1] == 1


def test_row_in_doubt_that_was_counted_is_not_asked_again(stream: Stream, scorers: dict[str, Scorer]) -> None:
    """The server counted the row and then went: the stream stops with a clear error rather than count it twice."""
    scorers["a"].faults = {2: "count and drop"}
    score(stream, 0, 8)
    assert len(stream.aside) == 1
    with pytest.raises(StreamError, match="a, version 1, rows: expected 3, the fleet has 4"):
        await_counts(stream, limit_s=0.3)
    assert Counter(scorers["a"].seen).most_common(1)[0][1] == 1


def test_refused_row_stops_the_stream_and_shows_the_answer(stream: Stream, scorers: dict[str, Scorer]) -> None:
    """A 400 is not skipped over: it names the row, the node and what the server said."""
    scorers["b"].faults = {0: "refuse"}
    with pytest.raises(StreamError, match="row 1 of the stream: node b answered 400"):
        days(stream)


def test_counts_that_never_come_are_named(stream: Stream, cloud: Cloud) -> None:
    """When the fleet lacks a row, waiting ends with the sums that differ."""
    score(stream, 0, 8)
    cloud.missing = 1
    with pytest.raises(StreamError, match=r"after 0\.2 s .*a, version 1, rows: expected 4, the fleet has 3"):
        await_counts(stream, limit_s=0.2)


def test_services_that_come_back_are_asked_again_and_labels_count_once(stream: Stream, cloud: Cloud) -> None:
    """503 and lost answers are repeated; a label that was stored before its answer was lost is a duplicate, not a second one."""
    cloud.unavailable, cloud.half = 3, 2
    days(stream)
    assert stream.fleet.repeated == 5
    assert sum(part.labelled for part in stream.answers.sums.values()) == len(cloud.labels) == 14


def test_service_that_stays_away_is_named(cloud: Cloud) -> None:
    """After its patience the client says whom it asked, and calls `idle` meanwhile."""
    calls: list[int] = []
    client = FleetClient("http://127.0.0.1:9", idle=lambda: calls.append(1), patience_s=0.3)
    with pytest.raises(ServiceError, match=r"GET http://127\.0\.0\.1:9/v1/totals gave no answer for 0\.3 s"):
        client.totals("tiny")
    assert calls


def test_server_that_nobody_runs_is_named() -> None:
    """A connection that is refused names node and address."""
    with pytest.raises(WireError, match=r"the server of node x at 127\.0\.0\.1:9 cannot be reached"):
        list(exchange({"x": Line("x", "127.0.0.1", 9)}, {"x": [(0, b"{}")]}))


def test_server_that_does_not_answer_is_named() -> None:
    """A server that accepts and stays silent ends the wait after the limit."""
    with socket.create_server(("127.0.0.1", 0)) as listener:
        line = Line("x", "127.0.0.1", listener.getsockname()[1])
        with pytest.raises(WireError, match=r"no answer within 0\.2 s from the server of node x"):
            list(exchange({"x": line}, {"x": [(0, b"{}")]}, limit_s=0.2))
        line.close()


def test_answers_carry_node_and_key(scorers: dict[str, Scorer]) -> None:
    """What comes back names the request that it belongs to, a dropped one too."""
    scorers["a"].faults = {0: "drop"}
    lines = {node: Line(node, "127.0.0.1", scorer.port) for node, scorer in scorers.items()}
    body = b'{"id":"n-1","features":{"x":1.0}}'
    found = list(exchange(lines, {"a": [(7, body), (8, body)], "b": [(9, body)]}))
    kinds = {(type(r), r.node, r.key) for r in found}
    assert kinds == {(Dropped, "a", 7), (Reply, "a", 8), (Reply, "b", 9)}
    for line in lines.values():
        line.close()


def test_body_holds_the_features_and_null_for_what_is_missing() -> None:
    """A request has every feature by name, null where the value is missing, the row's time and a stable id."""
    made = prepared()
    made = replace(made, inputs=["x", "node"])
    found = [json.loads(body) for _, body in bodies(made, made.stream.iloc[2:4]) if body]
    second = int(START.timestamp()) + 3 * 10_800
    assert found[1] == {"features": {"x": None, "node": "b"}, "time": second, "id": f"b-{second}"}


def test_recent_accuracy_is_by_version(stream: Stream, scorers: dict[str, Scorer]) -> None:
    """The display's accuracy is that of the newest labelled rows, by the version that answered."""
    days(stream, 1)
    scorers["b"].version = 2
    score(stream, 8, 16)
    stream.posted = 16
    found = recent_accuracy(stream, 8)
    assert sorted(found) == [1, 2]
    assert found == {1: 0.75, 2: 0.75}  # rows 10 and 15 of the stream have another truth
