"""The stand-in with what edgeloop really ships: a packaged model, its server and the agent, broker and Rule between them."""

from __future__ import annotations

import json
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import pytest

from edgeloop_contracts import (
    CalibrationMap,
    Delivery,
    FeatureReference,
    Loop,
    ModelVersion,
    Package,
    Reference,
    Report,
    dumps,
    from_json,
    loads,
    newer,
    schema_hash_of,
)
from edgeloop_fleet.clusters.folder import FolderCluster, node_document, read_nodes, write_nodes
from edgeloop_fleet.render import Settings, render_loop
from edgeloop_pipelines.local import children

ADDRESS = "127.0.1.1"
LOOP = from_json(
    Loop,
    {
        "apiVersion": "edgeloop.dev/v1alpha1",
        "kind": "Loop",
        "metadata": {"name": "pump"},
        "data": {"source": "rows.csv", "label": "y", "features": ["flow"]},
        "train": {"estimator": "sklearn.linear_model.LogisticRegression"},
        "targets": [{"name": "t", "nodes": {"group": "g"}}],
    },
)


def _model(folder: Path) -> Path:
    """A trained model with its reference and golden rows."""
    import numpy as np
    import onnxruntime
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    rows = np.linspace(-2, 2, 40, dtype=np.float32).reshape(-1, 1)
    fitted = LogisticRegression().fit(rows, (rows[:, 0] > 0).astype(int))
    graph = to_onnx(
        fitted, rows[:1], options={"zipmap": False}, target_opset={"": 18, "ai.onnx.ml": 3}
    ).SerializeToString()
    labels, probabilities = onnxruntime.InferenceSession(graph).run(None, {"X": rows})
    feature = FeatureReference(name="flow", kind="number", edges=(-1.0, 0.0, 1.0), counts=(10,) * 4, quantum=2.0**-20)
    reference = Reference(
        loop="pump", schema_hash=schema_hash_of([feature], ("low", "high")), rows=40, features=(feature,),
        classes=("low", "high"), calibration=CalibrationMap(x=(0.0, 1.0), y=(0.0, 1.0)),
    )  # fmt: skip
    folder.mkdir()
    (folder / "model.onnx").write_bytes(graph)
    (folder / "reference.json").write_text(dumps(reference))
    golden = {"rows": rows.tolist(), "labels": labels.tolist(), "probabilities": probabilities.tolist()}
    (folder / "golden.json").write_text(json.dumps(golden))
    return folder


def _package(model: Path, number: int, layout: Path) -> Package:
    from edgeloop_components.package.core import package

    zero = "sha256:" + "0" * 64
    version = ModelVersion(
        loop="pump", number=number, state="accepted", run_key=f"r{number}", snapshot=zero, onnx=zero, reference=zero,
        golden=zero, schema_hash=loads(Reference, (model / "reference.json").read_text()).schema_hash,
    )  # fmt: skip
    return package(LOOP, version, LOOP.targets[0], model, layout)


class Fleet:
    """An HTTP server that keeps the newest report of each key, and acknowledges nothing."""

    def __init__(self) -> None:
        self.reports: dict[Any, Report] = {}
        self.loaded: tuple[int, ...] = ()
        fleet = self

        class Handler(BaseHTTPRequestHandler):
            def do_POST(self) -> None:
                delivery = loads(Delivery, self.rfile.read(int(self.headers["Content-Length"])))
                for report in delivery.reports:
                    fleet.reports[report.key] = newer(fleet.reports.get(report.key, report), report)
                fleet.loaded = tuple(item.version for item in delivery.loaded if item.ready)
                self.send_response(200)
                self.end_headers()

            def log_message(self, *_: Any) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.server.server_address[1]}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def rows(self) -> dict[int, int]:
        """Rows that were counted, for each version."""
        found: dict[int, int] = {}
        for report in list(self.reports.values()):
            found[report.version] = found.get(report.version, 0) + report.counts.rows
        return found


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    made = Fleet()
    yield made
    made.server.shutdown()
    made.server.server_close()


def score(port: int) -> int:
    """Scores one row; gives the version that answered. OSError, AssertionError."""
    connection = HTTPConnection(ADDRESS, port, timeout=10)
    try:
        connection.request("POST", "/score", json.dumps({"features": {"flow": 0.5}}))
        answer = connection.getresponse()
        body = json.loads(answer.read())
        assert answer.status == 200, body
        return int(body["version"])
    finally:
        connection.close()


@contextmanager
def load_on(port: int) -> Iterator[list[object]]:
    """Scores one row after the other until the block ends; gives versions and errors."""
    answers: list[object] = []
    stop = threading.Event()

    def run() -> None:
        while not stop.wait(0.005):
            try:
                answers.append(score(port))
            except (OSError, AssertionError, ValueError) as error:
                answers.append(repr(error))

    thread = threading.Thread(target=run)
    thread.start()
    yield answers
    stop.set()
    thread.join()


@pytest.mark.slow
def test_a_new_version_reaches_the_node_without_a_lost_request_or_count(
    tmp_path: Path, start_standin: Callable[..., Any], fleet: Fleet
) -> None:
    """Two packaged versions, one after the other, under load: no request fails, each row is counted exactly once, with its
    version and group, and the second version costs the node little more than its model."""
    from edgeloop_components.package.core import agent_image

    model = _model(tmp_path / "model")
    first, second = (_package(model, number, tmp_path / "images") for number in (1, 2))
    agent = agent_image(tmp_path / "images")
    cluster_folder = tmp_path / "cluster"
    write_nodes(cluster_folder, [node_document("n1", group="g", address=ADDRESS)])
    standin = start_standin()
    port = children.free_port(ADDRESS)
    settings = Settings(
        agent_image=f"edgeloop.local/{agent.repository}@{agent.digest}", fleet_url=fleet.url, server_port=port, poll_s=0.3,
        mqtt=f"127.0.0.1:{standin.broker_port}", feedback_port=children.free_port(ADDRESS), lent=("python3.11",),
    )  # fmt: skip
    cluster = FolderCluster(cluster_folder)

    def deploy(package: Package) -> None:
        cluster.apply(render_loop(LOOP, {"g": package}, read_nodes(cluster_folder / "nodes.yaml"), settings))

        def settled() -> bool:
            state = cluster.observe("pump", ["g"])["g"]
            current = state.desired_digest == package.digest and state.observed_generation == state.generation
            return current and state.replicas == state.updated == state.available == 1

        standin.until(settled, 60)

    def pulled() -> int:
        (node,) = standin.status("node-n1")
        return int(node["metadata"]["annotations"]["edgeloop.dev/bytes-pulled"])

    deploy(first)
    standin.until(lambda: fleet.loaded == (1,), 30)
    before = pulled()
    with load_on(port) as answers:
        time.sleep(0.5)
        deploy(second)
        time.sleep(0.5)
    assert set(answers) == {1, 2}
    expected = {version: answers.count(version) for version in (1, 2)}
    standin.until(lambda: fleet.rows() == expected, 30)
    assert {report.group for report in fleet.reports.values()} == {"g"}
    assert {report.image for report in fleet.reports.values()} == {first.digest, second.digest}
    standin.until(lambda: fleet.loaded == (2,), 30)
    assert pulled() - before < second.model_layer_bytes + 8192 < before
