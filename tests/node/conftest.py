"""Real parts for the tests of the node: trained models in model folders, server and agent processes, a fleet and a broker.

What a bare environment has not (numpy, onnxruntime, paho, a broker) makes the tests that need it skip, with the reason.
"""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from edgeloop_contracts import (
    Acknowledged,
    Acknowledgement,
    CalibrationMap,
    Delivery,
    FeatureReference,
    ModelVersion,
    Reference,
    Report,
    dumps,
    loads,
    newer,
    schema_hash_of,
)

LOOP = "pump"
CLASSES = ("fault", "idle", "run")
CATEGORIES = ("a", "b", "c")
WINDOW_S = 3600


def reference_of(window_s: int = WINDOW_S, loop: str = LOOP) -> Reference:
    """Two numbers and a category, with bins made by hand: no library is needed to make it."""
    heat = tuple(i / 4 for i in range(-8, 9))
    features = (
        FeatureReference(
            name="flow", kind="number", edges=(-1.0, 0.0, 0.5, 2.0), counts=(1,) * 5, quantum=2.0**-20,
            minimum=-3.0, maximum=3.0, std=1.0,
        ),
        FeatureReference(
            name="heat", kind="number", edges=heat, counts=(1,) * 18, quantum=2.0**-18,
            minimum=-4.0, maximum=4.0, std=2.0,
        ),
        FeatureReference(name="mode", kind="category", categories=CATEGORIES, counts=(1, 1, 1, 0)),
    )  # fmt: skip
    return Reference(
        loop=loop,
        schema_hash=schema_hash_of(features, CLASSES),
        rows=100,
        features=features,
        classes=CLASSES,
        calibration=CalibrationMap(x=(0.0, 1.0), y=(0.0, 1.0)),
        window_s=window_s,
    )


@pytest.fixture(scope="session")
def reference() -> Reference:
    return reference_of()


def write_model(folder: Path, number: int, *, seed: int = 0, loop: str = LOOP, window_s: int = WINDOW_S) -> Path:
    """Trains a small boosted forest and writes a model folder as the package step does."""
    np = pytest.importorskip("numpy", reason="trains a model: needs the extra `cloud`")
    for name in ("onnxruntime", "uvicorn", "sklearn", "skl2onnx"):
        pytest.importorskip(name, reason="trains and serves a model: needs the extra `cloud`")
    from skl2onnx import to_onnx
    from sklearn.ensemble import HistGradientBoostingClassifier

    random = np.random.default_rng(seed)
    rows = random.normal(size=(600, 3))
    rows[:, 2] = random.integers(-1, len(CATEGORIES), size=600)
    labels = (rows[:, 0] + 0.3 * rows[:, 1] > 0).astype(int) + (rows[:, 2] > 1)
    rows[random.random(rows.shape) < 0.05] = np.nan
    rows = rows.astype(np.float32)
    forest = HistGradientBoostingClassifier(max_iter=8, max_depth=4, random_state=seed).fit(rows, labels)
    graph = to_onnx(forest, rows[:1], options={"zipmap": False}, target_opset={"": 18, "ai.onnx.ml": 3})
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "model.onnx").write_bytes(graph.SerializeToString())
    _write_documents(folder, number, rows[:12].tolist(), reference_of(window_s, loop))
    return folder


def _write_documents(folder: Path, number: int, rows: list[list[float]], reference: Reference) -> None:
    from edgeloop_node.runtimes import onnxruntime

    zero = "sha256:" + "0" * 64
    version = ModelVersion(
        loop=reference.loop, number=number, state="accepted", run_key="test", snapshot=zero, onnx=zero, reference=zero,
        golden=zero, schema_hash=reference.schema_hash,
    )  # fmt: skip
    labels, probabilities = onnxruntime.load(folder).score(rows)
    plain = [[None if value != value else value for value in row] for row in rows]
    golden = {"rows": plain, "probabilities": probabilities, "labels": labels}
    (folder / "version.json").write_text(dumps(version))
    (folder / "reference.json").write_text(dumps(reference))
    (folder / "golden.json").write_text(json.dumps(golden))


@pytest.fixture(scope="session")
def make_model(tmp_path_factory: pytest.TempPathFactory) -> Callable[..., Path]:
    """Makes a model folder; the same arguments give the same folder."""
    made: dict[str, Path] = {}

    def make(number: int, **settings: Any) -> Path:
        name = f"{number}-{sorted(settings.items())}"
        if name not in made:
            made[name] = write_model(tmp_path_factory.mktemp("model") / "model", number, **settings)
        return made[name]

    return make


@pytest.fixture(scope="session")
def model(make_model: Callable[..., Path]) -> Path:
    """The folder of version 1."""
    return make_model(1)


@dataclass
class Process:
    """A child process and its log. `extra` is the log line that said it was ready."""

    child: subprocess.Popen[bytes]
    log: Path
    extra: dict[str, Any] = field(default_factory=dict)

    @property
    def port(self) -> int:
        return int(self.extra["port"])

    def lines(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.log.read_text().splitlines() if line.startswith("{")]

    def said(self, what: str) -> list[dict[str, Any]]:
        return [line for line in self.lines() if line["what"] == what]

    def wait_for(self, what: str, limit_s: float = 40.0) -> dict[str, Any]:
        """The first log line that says `what`."""
        until = time.monotonic() + limit_s
        while time.monotonic() < until:
            if found := self.said(what):
                return found[0]
            assert self.child.poll() is None, f"ended with {self.child.returncode}: {self.log.read_text()}"
            time.sleep(0.02)
        raise AssertionError(f"no log line {what!r} in {limit_s} s: {self.log.read_text()}")

    def stop(self, number: int = signal.SIGTERM, limit_s: float = 30.0) -> int:
        if self.child.poll() is None:
            self.child.send_signal(number)
        return self.child.wait(limit_s)


class Node:
    """One node's folder and processes."""

    def __init__(self, folder: Path) -> None:
        self.folder, self.run_dir, self.spool = folder, folder / "run", folder / "spool.db"
        self.run_dir.mkdir(parents=True)
        self.started: list[Process] = []

    def run(self, *command: str | Path, **environment: str) -> Process:
        """Any program, with its log in this node's folder."""
        log = self.folder / f"log-{len(self.started)}.txt"
        with log.open("wb") as file:
            child = subprocess.Popen([*map(str, command)], stderr=file, stdout=file, env={**os.environ, **environment})
        self.started.append(Process(child, log))
        return self.started[-1]

    def start(self, *arguments: str | Path, **environment: str) -> Process:
        """`python -m edgeloop_node ...`."""
        return self.run(sys.executable, "-m", "edgeloop_node", *arguments, **environment)

    def serve(self, model: Path, *arguments: str, port: int = 0, **environment: str) -> Process:
        """A server that is ready."""
        where = ("--model", model, "--port", str(port), "--run-dir", self.run_dir)
        process = self.start("server", *where, "--node", "n1", "--group", "g1", *arguments, **environment)
        process.extra = process.wait_for("ready")
        return process

    def agent(self, *arguments: str) -> Process:
        """An agent that is ready; it polls fast. Give it a transport."""
        where = ("--run-dir", self.run_dir, "--spool", self.spool, "--port", "0", "--node", "n1")
        pace = ("--poll-s", "0.05", "--publish-s", "0.05", "--heartbeat-s", "0.5", "--retry-s", "0.3")
        process = self.start("agent", *where, *pace, *arguments)
        process.extra = process.wait_for("agent ready")
        return process

    def end(self) -> None:
        for process in self.started:
            if process.child.poll() is None:
                process.child.kill()
                process.child.wait()


@pytest.fixture
def node(tmp_path: Path) -> Iterator[Node]:
    """A node of the test's own; every process of it is killed when the test ends."""
    node = Node(tmp_path / "node")
    yield node
    node.end()


@pytest.fixture(scope="module")
def shared_node(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Node]:
    """A node for tests that change nothing that others see."""
    node = Node(tmp_path_factory.mktemp("shared") / "node")
    yield node
    node.end()


def call(port: int, method: str, path: str, body: Any = None, **headers: str) -> tuple[int, Any]:
    """One request on a connection of its own: status and body (JSON where it is JSON)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    raw = body if body is None or isinstance(body, (bytes, str)) else json.dumps(body)
    try:
        connection.request(method, path, raw, {name.replace("_", "-"): value for name, value in headers.items()})
        answer = connection.getresponse()
        data = answer.read()
        return answer.status, json.loads(data) if "json" in answer.headers.get("Content-Type", "") else data.decode()
    finally:
        connection.close()


@pytest.fixture(scope="session")
def request_json() -> Callable[..., tuple[int, Any]]:
    return call


def eventually(true: Callable[[], Any], limit_s: float = 20.0) -> Any:
    """What `true` gives once it is true."""
    until = time.monotonic() + limit_s
    while time.monotonic() < until:
        if value := true():
            return value
        time.sleep(0.02)
    raise AssertionError(f"not true within {limit_s} s")


@pytest.fixture(scope="session", name="eventually")
def _eventually() -> Callable[..., Any]:
    return eventually


def report_of(boot: str, window: int, sequence: int, rows: int = 1, **more: Any) -> Report:
    """A report with little in it."""
    given = {"loop": LOOP, "node": "n1", "group": "g1", "version": 1, "schema_hash": "s" * 16, **more}
    counts = given.pop("counts", None) or {"rows": rows}
    document = {"boot": boot, "sequence": sequence, "window_start_s": window, "window_end_s": window + WINDOW_S}
    head = {"apiVersion": "edgeloop.dev/v1alpha1", "kind": "Report"}
    return loads(Report, json.dumps({**head, **given, **document, "counts": counts}))


@pytest.fixture(scope="session")
def make_report() -> Callable[..., Report]:
    return report_of


class Fleet:
    """The fleet service's merge, small: keeps the newest report of each key and acknowledges what it has kept.

    `spoil` turns the answer's bytes into what is sent (None: no answer comes back); over HTTP `status` other than 200, or
    `refuses`, refuses a delivery.
    """

    def __init__(self) -> None:
        self.reports: dict[Any, Report] = {}
        self.deliveries: list[Delivery] = []
        self.sizes: list[int] = []
        self.spoil: Callable[[bytes], bytes | None] = lambda answer: answer
        self.status = 200
        self.refuses: Callable[[Delivery], bool] = lambda delivery: False
        self._lock = threading.Lock()

    def take(self, payload: bytes) -> bytes | None:
        delivery = loads(Delivery, payload)
        with self._lock:
            self.sizes.append(len(payload))
            self.deliveries.append(delivery)
            for report in delivery.reports:
                old = self.reports.get(report.key)
                self.reports[report.key] = report if old is None else newer(old, report)
            named = [self._named(self.reports[report.key]) for report in delivery.reports]
        return self.spoil(dumps(Acknowledgement(node=delivery.node, reports=tuple(named))).encode())

    def _named(self, report: Report) -> Acknowledged:
        return Acknowledged(
            loop=report.loop, boot=report.boot, window_start_s=report.window_start_s, version=report.version,
            schema_hash=report.schema_hash, sequence=report.sequence,
        )  # fmt: skip

    def total(self, name: str = "rows") -> int:
        with self._lock:
            return sum(getattr(report.counts, name) for report in self.reports.values())


@pytest.fixture
def fleet() -> Fleet:
    return Fleet()


class FleetHttp(ThreadingHTTPServer):
    """A Fleet behind POST /v1/reports."""

    daemon_threads = True
    fleet: Fleet


class _FleetHandler(BaseHTTPRequestHandler):
    protocol_version, timeout, wbufsize = "HTTP/1.1", 20, -1

    def do_POST(self) -> None:
        fleet: Fleet = self.server.fleet  # type: ignore[attr-defined]
        payload = self.rfile.read(int(self.headers["Content-Length"]))
        status = 400 if fleet.refuses(loads(Delivery, payload)) else fleet.status
        answer = fleet.take(payload) if status == 200 else b'{"error": "no"}'
        if answer is None:
            self.close_connection = True
            return
        self.send_response(status)
        self.send_header("Content-Length", str(len(answer)))
        self.end_headers()
        self.wfile.write(answer)

    def log_request(self, *_: Any) -> None:
        """Quiet."""


@contextlib.contextmanager
def fleet_http(fleet: Fleet, port: int = 0) -> Iterator[int]:
    server = FleetHttp(("127.0.0.1", port), _FleetHandler)
    server.fleet = fleet
    thread = threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True)
    thread.start()
    try:
        yield int(server.server_address[1])
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


@pytest.fixture(scope="session")
def serve_fleet() -> Callable[..., contextlib.AbstractContextManager[int]]:
    """A context in which a fleet listens: its port."""
    return fleet_http


@pytest.fixture(scope="session")
def free_port() -> Callable[[], int]:
    """A port that was free a moment ago."""

    def find() -> int:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            return int(probe.getsockname()[1])

    return find


@contextlib.contextmanager
def mosquitto(folder: Path, port: int) -> Iterator[None]:
    """A broker on a port."""
    program = shutil.which("mosquitto") or shutil.which("mosquitto", path="/usr/sbin")
    command = [program, "-c", str(folder / "mosquitto.conf")] if program else _amqtt(folder)
    (folder / "mosquitto.conf").write_text(f"listener {port} 127.0.0.1\nallow_anonymous true\n")
    (folder / "amqtt.yaml").write_text(
        f"listeners:\n  default:\n    type: tcp\n    bind: 127.0.0.1:{port}\nplugins:\n"
        "  amqtt.plugins.authentication.AnonymousAuthPlugin:\n    allow_anonymous: true\n"
    )
    child = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    try:
        eventually(lambda: _answers(port))
        yield
    finally:
        child.kill()
        child.wait()


def _amqtt(folder: Path) -> list[str]:
    pytest.importorskip("amqtt", reason="needs a broker: mosquitto or amqtt")
    return [str(Path(sys.executable).with_name("amqtt")), "-c", str(folder / "amqtt.yaml")]


def _answers(port: int) -> bool:
    with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), 1):
        return True
    return False


@pytest.fixture(scope="session")
def broker() -> Callable[..., contextlib.AbstractContextManager[None]]:
    """A context in which a real MQTT broker listens on a port: mosquitto, else amqtt."""
    return mosquitto
