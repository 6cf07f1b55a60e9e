"""The real pipeline on this machine: real steps, a real object store, a real image layout, small data."""

from __future__ import annotations

import json
import os
import random
import signal
import subprocess
import sys
import time
import zlib
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeloop_components.catalog import audit, catalog
from edgeloop_components.stores import seaweed
from edgeloop_components.stores.objects import Objects, connect
from edgeloop_contracts import Loop, Rollout, RunRequest, from_json, loads
from edgeloop_pipelines.cli import main
from edgeloop_pipelines.local.run import execute
from edgeloop_pipelines.local.runfolder import RunFolder
from edgeloop_pipelines.triggers import LocalStarter

pytestmark = pytest.mark.slow
START_S, HOUR_S = 1_700_000_000, 3600


def write_rows(path: Path, rows: int = 400) -> None:
    """Two classes that one line parts, one row an hour, from two nodes."""
    chance = random.Random(7)
    lines = ["time,node,x,y,state"]
    for i in range(rows):
        x, y = chance.uniform(-1, 1), chance.uniform(-1, 1)
        lines.append(f"{START_S + i * HOUR_S},n{i % 2},{x:.4f},{y:.4f},{'up' if x + y > 0 else 'down'}")
    path.write_text("\n".join(lines) + "\n")


@pytest.fixture
def loop(tmp_path: Path) -> Loop:
    """A loop whose data lie in its own folder."""
    write_rows(tmp_path / "rows.csv")
    document = {
        "apiVersion": "edgeloop.dev/v1alpha1",
        "kind": "Loop",
        "metadata": {"name": f"turbine-{zlib.crc32(tmp_path.name.encode())}", "owner": "tests"},
        "data": {"source": "rows.csv", "time": "time", "node": "node", "label": "state", "features": ["x", "y"]},
        "train": {"estimator": "sklearn.linear_model.LogisticRegression"},
        "validate": {"require": {"accuracy": ">= 0.8"}},
        "targets": [
            {"name": "gate", "nodes": {"group": "gateways"}},
            {"name": "cab", "nodes": {"group": "cabinets"}},
        ],
        "rollout": {"waves": [["cabinets"], ["gateways"]]},
        "folder": str(tmp_path),
    }
    return from_json(Loop, document)


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[seaweed.Running]:
    running = seaweed.start(tmp_path_factory.mktemp("objects"))
    yield running
    running.stop()


@pytest.fixture
def objects(store: seaweed.Running, images: Path, monkeypatch: pytest.MonkeyPatch) -> Objects:
    """The store and the images, by the environment."""
    for name, value in {**store.env(), "EDGELOOP_IMAGES": str(images)}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("EDGELOOP_FLEET_URL", raising=False)
    return connect()


def ask(loop: Loop, key: str = "run-1") -> RunRequest:
    return RunRequest(
        loop=loop.name, key=f"{loop.name}-{key}", cause="drift", evidence=START_S, requested_s=START_S + 1e7, by="judge"
    )


def test_an_accepted_version_is_registered_packed_and_rolled_out(loop: Loop, objects: Objects, tmp_path: Path) -> None:
    """One run: a version with its cause and gates, an image for each target, the rollout, the record, a whole audit log."""
    seen: list[Any] = []
    result = execute(tmp_path / "home", ask(loop), loop, watch=seen.append)
    assert result["state"] == "succeeded", result["error"] + Path(result["log"]).read_text()[-3000:]
    version = catalog.version(objects, loop.name, result["version"])
    assert (version.number, version.state, version.cause, version.started_by) == (1, "accepted", "drift", "judge")
    assert version.created_s == START_S + 1e7, "documents are in the request's time"
    assert {m.name for m in version.metrics} >= {"accuracy"}
    packages = {p.target: p for p in catalog.packages(objects, loop.name, 1)}
    assert set(packages) == {"gate", "cab"}
    assert all(p.parity and p.parity.passed and p.profile for p in packages.values())
    rollout = loads(Rollout, objects.get(f"catalog/{loop.name}/rollouts/000001.json"))
    assert [wave.groups for wave in rollout.waves] == [("cabinets",), ("gateways",)]
    assert (rollout.packages, rollout.previous, rollout.evidence_s) == (packages, None, START_S)
    record = catalog.run(objects, loop.name, ask(loop).key)
    assert record is not None
    assert (record["state"], record["version"], record["reason"]) == ("succeeded", 1, "")
    assert catalog.alias(objects, loop.name, "candidate") == 1
    assert catalog.alias(objects, loop.name, "champion") is None, "the fleet promotes, not the pipeline"
    assert audit.verify(objects, loop.name) == []
    names = {"ingest", "train", "validate", "register", "rollout", "outcome"}
    steps = names | {f"{step}/{target}" for step in ("compile", "profile", "package") for target in packages}
    assert set(result["seconds"]) == steps
    assert [e["step"] for e in seen if e["event"] == "started"][:4] == ["ingest", "train", "validate", "register"]


def test_a_rejected_version_is_kept_with_its_reasons(loop: Loop, objects: Objects, tmp_path: Path) -> None:
    """A bound that no model keeps: the version is in the catalog as rejected, nothing is packed, the run says why."""
    strict = replace(loop, validate=replace(loop.validate, require={"log_loss": "<= 0.0001"}))
    result = execute(tmp_path / "home", ask(strict), strict)
    assert result["state"] == "rejected", result["error"]
    assert not all(gate["passed"] for gate in result["gates"])
    assert catalog.version(objects, loop.name, 1).state == "rejected"
    assert catalog.packages(objects, loop.name, 1) == ()
    assert list(objects.list(f"catalog/{loop.name}/rollouts/")) == []
    record = catalog.run(objects, loop.name, ask(loop).key)
    assert record is not None
    assert record["state"] == "rejected"
    assert "log_loss" in record["reason"]


def test_a_run_that_fails_before_the_entry_leaves_no_version(loop: Loop, objects: Objects, tmp_path: Path) -> None:
    """An estimator that does not exist: the run has failed in training, and the catalog holds the reason and no version."""
    broken = replace(loop, train=replace(loop.train, estimator="sklearn.linear_model.NoSuchThing"))
    result = execute(tmp_path / "home", ask(broken), broken)
    assert result["state"] == "failed"
    assert "step train" in result["error"]
    assert "NoSuchThing" in result["error"]
    assert catalog.versions(objects, loop.name) == []
    record = catalog.run(objects, loop.name, ask(loop).key)
    assert record is not None
    assert (record["state"], record["version"]) == ("failed", None)
    assert "NoSuchThing" in record["reason"]
    assert result["log"] in record["reason"]


def test_a_run_that_fails_after_the_entry_rolls_nothing_out(loop: Loop, objects: Objects, tmp_path: Path) -> None:
    """One target's budget is broken: the run has failed and says so; its version is withdrawn, and no candidate."""
    gate, cab = loop.targets
    tight = replace(loop, targets=(gate, replace(cab, budget=replace(cab.budget, memory_mib=4.0))))
    result = execute(tmp_path / "home", ask(tight), tight)
    assert (result["state"], result["version"]) == ("failed", 1)
    assert "step profile/cab" in result["error"]
    assert "memory_mib" in result["error"]
    assert "rollout" not in result["seconds"]
    assert {p.target for p in catalog.packages(objects, loop.name, 1)} <= {"gate"}
    assert catalog.alias(objects, loop.name, "candidate") is None
    record = catalog.run(objects, loop.name, ask(loop).key)
    assert record is not None
    assert (record["state"], record["version"]) == ("failed", 1)
    assert "profile cab" in record["reason"]
    version = catalog.version(objects, loop.name, 1)
    assert version.state == "rejected"
    assert [gate.gate for gate in version.gates if not gate.passed] == ["build"]


def test_a_model_that_is_no_better_than_the_champion_is_rejected(loop: Loop, objects: Objects, tmp_path: Path) -> None:
    """The same data give the same model; compared with itself as the champion it is not better, and is rejected."""
    first = execute(tmp_path / "home", ask(loop, "one"), loop)
    catalog.set_alias(objects, loop.name, "champion", first["version"])
    second = execute(tmp_path / "home", ask(loop, "two"), loop)
    assert (first["state"], second["state"]) == ("succeeded", "rejected"), second["error"]
    assert [gate["gate"] for gate in second["gates"] if not gate["passed"]] == ["champion"]
    assert catalog.version(objects, loop.name, 2).champion == 1


def test_a_killed_run_goes_on_under_its_key(loop: Loop, objects: Objects, tmp_path: Path) -> None:
    """SIGKILL in the middle: the run is seen as dead; started again it ends well, with one version."""
    starter, request = LocalStarter(tmp_path / "home"), ask(loop)
    starter.start(request, loop)
    folder, end = RunFolder(tmp_path / "home", request.key), time.monotonic() + 60
    while '"validate"' not in (folder.events.read_text() if folder.events.exists() else ""):
        assert time.monotonic() < end, folder.log.read_text()
        time.sleep(0.02)
    os.killpg(starter._children[request.key].pid, signal.SIGKILL)
    while starter.look(request).state == "running":
        assert time.monotonic() < end
        time.sleep(0.02)
    assert starter.look(request).state == "dead"
    starter.start(request, loop)
    while starter.look(request).state == "running":
        assert time.monotonic() < end + 60, folder.log.read_text()
        time.sleep(0.1)
    assert starter.look(request).state == "succeeded"
    assert [v.number for v in catalog.versions(objects, loop.name)] == [1]


LOOP_YAML = """
apiVersion: edgeloop.dev/v1alpha1
kind: Loop
metadata: {name: small}
data: {source: rows.csv, time: time, label: state, features: [x, y]}
train: {estimator: sklearn.linear_model.LogisticRegression}
targets: [{name: gate, nodes: {group: gateways}}]
"""


def test_the_command_brings_its_own_store(
    tmp_path: Path, images: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    """`edgeloop run` without an object store: exit code 0, one JSON document; the same key again runs nothing."""
    for name in ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "EDGELOOP_FLEET_URL"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("EDGELOOP_IMAGES", str(images))
    write_rows(tmp_path / "rows.csv", 200)
    (tmp_path / "loop.yaml").write_text(LOOP_YAML)
    words = ["run", str(tmp_path / "loop.yaml"), "--home", str(tmp_path / "home"), "--run-key", "k", "--json"]
    assert main(words) == 0, capsys.readouterr()
    first = json.loads(capsys.readouterr().out)
    assert (first["state"], first["version"]) == ("succeeded", 1)
    assert "AWS_ENDPOINT_URL_S3" not in os.environ
    assert main(words) == 0
    assert json.loads(capsys.readouterr().out) == {**first, "again": True}
    (tmp_path / "loop.yaml").write_text(LOOP_YAML + 'validate: {require: {accuracy: "> 1"}}\n')
    assert main([*words[:-3], "--run-key", "other"]) == 4
    shown = capsys.readouterr()
    assert "rejected" in shown.out
    assert "FAILED" in shown.out
    assert "validate" in shown.err, "progress goes to standard error"


def test_two_runs_share_one_home(tmp_path: Path, images: Path) -> None:
    """Two `edgeloop run` started together on a new home, one shorter: both end well, neither takes the other's store away."""
    write_rows(tmp_path / "rows.csv", 200)
    (tmp_path / "long.yaml").write_text(LOOP_YAML.replace("small", "long"))
    (tmp_path / "short.yaml").write_text(
        LOOP_YAML.replace("small", "short") + 'validate: {require: {accuracy: "> 1"}}\n'
    )
    away = ("AWS_ENDPOINT_URL_S3", "AWS_ENDPOINT_URL", "EDGELOOP_FLEET_URL")
    env = {**{k: v for k, v in os.environ.items() if k not in away}, "EDGELOOP_IMAGES": str(images)}
    argv = [sys.executable, "-m", "edgeloop_pipelines.cli", "run", "--home", str(tmp_path / "home"), "--json"]
    runs = {
        name: subprocess.Popen([*argv, str(tmp_path / f"{name}.yaml")], env=env, stdout=subprocess.PIPE, text=True)
        for name in ("short", "long")
    }
    ended = {name: (json.loads(run.communicate(timeout=180)[0]), run.returncode) for name, run in runs.items()}
    assert {name: (result["state"], code) for name, (result, code) in ended.items()} == {
        "short": ("rejected", 4),
        "long": ("succeeded", 0),
    }, ended
    assert seaweed.running_env(tmp_path / "home" / "objects") is None
