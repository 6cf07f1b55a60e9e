"""`edgeloop status` and `edgeloop catalog`, against a real fleet service and a real object store."""

from __future__ import annotations

import json
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import uvicorn

from edgeloop_components.catalog import catalog
from edgeloop_components.stores import seaweed
from edgeloop_components.stores.objects import Objects
from edgeloop_contracts import (
    Delivery,
    GateResult,
    Loaded,
    Loop,
    Metric,
    ModelVersion,
    Package,
    digest_of,
    dumps,
    from_json,
)
from edgeloop_fleet.app import create_app
from edgeloop_fleet.settings import Settings
from edgeloop_fleet.store import Store
from edgeloop_fleet.testing import SimulatedAliases, SimulatedCluster, SimulatedTrigger, simulated_render
from edgeloop_pipelines.cli import main
from edgeloop_pipelines.cli.times import ago, shown

LOOP = {
    "apiVersion": "edgeloop.dev/v1alpha1",
    "kind": "Loop",
    "metadata": {"name": "pump"},
    "data": {"source": "rows.csv", "label": "y", "features": ["a"]},
    "train": {"estimator": "sklearn.linear_model.LogisticRegression"},
    "targets": [{"name": "gateway", "nodes": {"group": "edge"}}],
}


@pytest.fixture(autouse=True)
def _bare_environment(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """No store and no service but those that a test names."""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "EDGELOOP_FLEET_URL", "EDGELOOP_BUCKET"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EDGELOOP_HOME", str(tmp_path / "nothing-here"))


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A home whose object store runs and holds two versions of a loop, one accepted and one rejected."""
    folder = tmp_path_factory.mktemp("home")
    running = seaweed.start(folder / "objects")
    _fill(running.objects(), folder)
    yield folder
    running.stop()


def _fill(objects: Objects, folder: Path) -> None:
    files = {name: folder / name for name in ("model.onnx", "reference.json", "golden.json")}
    for name, path in files.items():
        path.write_text(name)
    catalog.put_loop(objects, from_json(Loop, LOOP), at_s=1.0)
    for key, state, accuracy in (("pump-1", "accepted", 0.91), ("pump-2", "rejected", 0.55)):
        catalog.register(objects, "pump", _version(files, key, state, accuracy), key, files)
        catalog.record_run(
            objects, "pump", key, {"state": "succeeded" if state == "accepted" else "rejected", "at_s": 9.0}
        )
    catalog.set_alias(objects, "pump", "champion", 1, why="test")
    package = Package(
        loop="pump",
        version=1,
        target="gateway",
        platform="linux/amd64",
        runtime="onnxruntime",
        repository="edgeloop/pump",
        digest=digest_of("image"),
        size_bytes=12345,
    )
    catalog.put_package(objects, package)
    objects.put(catalog.rollout_key("pump", 1), b"{}")


def _version(files, key, state, accuracy):
    import hashlib

    digests = {name: f"sha256:{hashlib.sha256(path.read_bytes()).hexdigest()}" for name, path in files.items()}
    return lambda number: ModelVersion(
        loop="pump",
        number=number,
        state=state,
        run_key=key,
        snapshot=digest_of("rows"),
        onnx=digests["model.onnx"],
        reference=digests["reference.json"],
        golden=digests["golden.json"],
        metrics=(Metric(name="accuracy", value=accuracy, low=accuracy - 0.01, high=accuracy + 0.01, rows=500),),
        gates=(GateResult(gate="require/accuracy", passed=state == "accepted", expected=">= 0.9", got=f"{accuracy}"),),
        created_s=1_700_000_000.0,
    )


@pytest.fixture
def fleet_url(tmp_path: Path) -> Iterator[str]:
    """A fleet service over simulated ports that knows a loop and has heard of two nodes; one listens no more."""
    groups = {"edge": ("n1", "n2")}
    settings = Settings(tick_s=0, node_timeout_s=3600)
    app = create_app(
        Store(f"sqlite:///{tmp_path / 'fleet.db'}"),
        settings,
        SimulatedTrigger(),
        SimulatedCluster(groups),
        SimulatedAliases(),
        simulated_render,
    )
    server = uvicorn.Server(uvicorn.Config(app, log_level="warning"))
    listening = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=server.run, kwargs={"sockets": [listening]}, daemon=True)
    thread.start()
    url = f"http://127.0.0.1:{listening.getsockname()[1]}"
    _post(url, "/v1/loops", dumps(from_json(Loop, LOOP)))
    for node in ("n1", "n2"):
        loaded = (Loaded(loop="pump", version=1),) if node == "n1" else ()
        _post(url, "/v1/reports", dumps(Delivery(node=node, group="edge", sent_s=time.time(), loaded=loaded)))
    yield url
    server.should_exit = True
    thread.join(timeout=10)


def _post(url: str, path: str, body: str) -> None:
    import httpx

    with httpx.Client(transport=httpx.HTTPTransport(retries=5)) as client:
        client.post(url + path, content=body, timeout=10).raise_for_status()


def test_status_of_a_fleet(fleet_url, capsys, monkeypatch):
    """Loops, serving version, verdict, last run and nodes are shown as the service says them."""
    monkeypatch.setenv("EDGELOOP_FLEET_URL", fleet_url)
    assert main(["status", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["source"] == "fleet"
    assert [loop["loop"] for loop in document["loops"]] == ["pump"]
    assert {node["node"]: node["reachable"] for node in document["nodes"]} == {"n1": True, "n2": True}
    assert main(["status"]) == 0
    words = capsys.readouterr().out
    assert "pump: no verdict yet" in words
    assert "pump@1" in words
    assert "nothing" in words


def test_status_from_the_catalog_says_so(home, capsys):
    """Without a fleet service the catalog is shown, and that it is, and why."""
    assert main(["status", "--home", str(home)]) == 0
    out, err = capsys.readouterr()
    assert "EDGELOOP_FLEET_URL is not set" in err
    assert "from the catalog" in err
    assert "2 (1 accepted)" in out
    assert "champion -> 1" in out
    assert "pump-2 rejected" in out
    assert main(["status", "--home", str(home), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["source"] == "catalog"
    assert document["loops"][0]["versions"] == [{"number": 1, "state": "accepted"}, {"number": 2, "state": "rejected"}]
    assert document["loops"][0]["last_run"]["run_key"] == "pump-2"


def test_a_fleet_that_is_away_is_named(home, capsys):
    """A service that was asked for and does not answer is named before the catalog is shown."""
    assert main(["status", "--home", str(home), "--url", "http://127.0.0.1:9"]) == 0
    assert "the fleet service at http://127.0.0.1:9 does not answer" in capsys.readouterr().err


def test_nothing_reachable_is_exit_3(capsys, tmp_path):
    """With neither service nor catalog the command says what was tried and ends with 3, in JSON too; no folder is made."""
    before = set(tmp_path.iterdir())
    assert main(["status"]) == 3
    error = capsys.readouterr().err
    assert "EDGELOOP_FLEET_URL is not set" in error
    assert "no object store" in error
    assert main(["status", "--json"]) == 3
    assert json.loads(capsys.readouterr().out)["error"]["exit_code"] == 3
    assert set(tmp_path.iterdir()) == before


def test_something_else_at_the_url(capsys):
    """A server that is no fleet service is not taken for one."""
    with socket.create_server(("127.0.0.1", 0)) as other:
        thread = threading.Thread(target=_answer_nonsense, args=(other,), daemon=True)
        thread.start()
        assert main(["status", "--url", f"http://127.0.0.1:{other.getsockname()[1]}"]) == 3
        thread.join(timeout=10)
    assert "does not answer" in capsys.readouterr().err


def _answer_nonsense(listening: socket.socket) -> None:
    connection, _ = listening.accept()
    connection.recv(4096)
    connection.sendall(b"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n[]")
    connection.close()


def test_catalog_lists_and_shows(home, capsys):
    """Loops, versions and one version are listed, by number or alias, with gates, metrics and packages."""
    assert main(["catalog", "list", "--home", str(home), "--json"]) == 0
    assert json.loads(capsys.readouterr().out) == [{"loop": "pump", "versions": 2, "aliases": {"champion": 1}}]
    assert main(["catalog", "versions", "pump", "--home", str(home)]) == 0
    words = capsys.readouterr().out
    assert "0.9100 (0.9000 to 0.9200)" in words
    assert "rejected" in words
    assert main(["catalog", "show", "pump@champion", "--home", str(home)]) == 0
    words = capsys.readouterr().out
    assert "pump@1: accepted, made 2023-11-14 22:13:20Z" in words
    assert digest_of("image") in words
    assert "require/accuracy" in words
    assert main(["catalog", "show", "pump@2", "--home", str(home), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["version"]["gates"][0]["passed"] is False


WRONG = [
    (["versions", "pumps"], "did you mean pump?"),
    (["show", "pump"], "expected LOOP@NUMBER or LOOP@ALIAS, got pump"),
    (["show", "pump@7"], "known: 1, 2"),
    (["show", "pump@chapion"], "known: champion -> 1"),
    (["audit", "x"], "known: pump"),
]


@pytest.mark.parametrize(("words", "message"), WRONG)
def test_what_the_catalog_does_not_hold(words, message, home, capsys):
    """An unknown loop, version or alias is an error that names what there is."""
    assert main(["catalog", *words, "--home", str(home)]) == 1
    assert message in capsys.readouterr().err


def test_audit_verifies_and_finds_a_change(home, capsys, tmp_path):
    """A whole chain is said to be whole; one changed entry is named and ends with 1."""
    assert main(["catalog", "audit", "pump", "--home", str(home)]) == 0
    words = capsys.readouterr().out
    assert "entries is whole" in words
    assert "set_alias" in words
    objects = seaweed_objects(home)
    key = "catalog/pump/audit/00000002.json"
    before = objects.get(key)
    try:
        objects.put(key, before.replace(b"register", b"registre").replace(b"put_loop", b"get_loop"))
        assert objects.get(key) != before
        assert main(["catalog", "audit", "pump", "--home", str(home)]) == 1
        assert "00000002.json" in capsys.readouterr().out
    finally:
        objects.put(key, before)


def seaweed_objects(home: Path) -> Objects:
    """A client of the store that runs in this home."""
    from edgeloop_components.stores.objects import connect
    from edgeloop_pipelines.cli.stores import running_store

    environment = running_store(home / "objects")
    assert environment is not None
    return connect(environment=environment)


def test_versions_that_are_not_whole_are_not_taken_for_it(tmp_path, capsys):
    """A killed run's version is `accepted, not packed`, a withdrawn one rejected with the reason; a loop whose only run
    failed before it made a version is listed with the state and the reason of that run."""
    running = seaweed.start(tmp_path / "objects")
    try:
        objects = running.objects()
        _fill(objects, tmp_path)
        files = {name: tmp_path / name for name in ("model.onnx", "reference.json", "golden.json")}
        for key in ("pump-3", "pump-4"):
            catalog.register(objects, "pump", _version(files, key, "accepted", 0.9), key, files)
        catalog.withdraw(objects, "pump", 3, "step compile gateway: no compiler")
        catalog.record_run(
            objects, "well", "well-1", {"state": "failed", "reason": "step ingest: no rows", "at_s": 9.0}
        )
        home = ["--home", str(tmp_path)]
        assert main(["status", *home]) == 0
        words = capsys.readouterr().out
        assert "4 (1 accepted; @4 accepted, not packed)" in words
        assert "0 (0 accepted)" in words
        assert "well: run well-1 failed: step ingest: no rows" in words
        assert main(["status", *home, "--json"]) == 0
        loops = {loop["loop"]: loop for loop in json.loads(capsys.readouterr().out)["loops"]}
        assert loops["well"]["last_run"]["reason"] == "step ingest: no rows"
        assert [v["state"] for v in loops["pump"]["versions"]][2:] == ["rejected", "accepted, not packed"]
        assert main(["catalog", "versions", "pump", *home]) == 0
        assert "accepted, not packed" in capsys.readouterr().out
        assert main(["catalog", "versions", "well", *home]) == 0
        assert "well has no version yet" in capsys.readouterr().out
        assert main(["catalog", "show", "pump@4", *home]) == 0
        assert "pump@4: accepted, not packed, made" in capsys.readouterr().out
        assert main(["catalog", "show", "pump@3", *home]) == 0
        assert "step compile gateway: no compiler" in capsys.readouterr().out
    finally:
        running.stop()


def test_a_store_that_rests_is_started_for_the_command(tmp_path, capsys):
    """A home whose store does not run is opened for the command and left as it was."""
    running = seaweed.start(tmp_path / "objects")
    _fill(running.objects(), tmp_path)
    running.stop()
    assert main(["catalog", "list", "--home", str(tmp_path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)[0]["loop"] == "pump"
    from edgeloop_pipelines.cli.stores import running_store

    assert running_store(tmp_path / "objects") is None


def test_a_store_that_is_named_and_away(monkeypatch, capsys):
    """A store in the environment that does not answer is exit 3, with its address."""
    monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", "a")
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", "b")
    assert main(["catalog", "list"]) == 3
    assert "127.0.0.1:9" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("passed", "words"),
    [(0, "0 s ago"), (119, "119 s ago"), (180, "3 min ago"), (8000, "2 h ago"), (3e5, "3 d ago"), (-5, "0 s ago")],
)
def test_ago(passed, words):
    """A time span is said in its largest unit."""
    assert ago(1e9 - passed, 1e9) == words


def test_shown():
    """Times are shown in UTC, and none as nothing."""
    assert shown(0.0) == ""
    assert shown(1_700_000_000.9) == "2023-11-14 22:13:20Z"
