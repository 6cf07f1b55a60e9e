"""The KFP wrappers, what they share (`steps`), and the rollout step's own function."""

from __future__ import annotations

import ast
import inspect
import json
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field, replace
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from importlib import import_module
from pathlib import Path
from typing import Any

import pytest

from edgeloop_components import steps, wrapping
from edgeloop_components.catalog import audit, catalog
from edgeloop_components.rollout.core import FleetError, make_rollout, tell_fleet
from edgeloop_components.stores.objects import S3Objects
from edgeloop_components.stores.seaweed import Running
from edgeloop_contracts import (
    CalibrationMap,
    ContractError,
    Loop,
    ModelVersion,
    Needs,
    Package,
    Reference,
    Rollout,
    digest_of,
    dumps,
    from_json,
)

DIGEST = "sha256:" + "0" * 64
WRAPPERS = {
    "ingest": ["ingest"],
    "train": ["train"],
    "validate": ["validate"],
    "catalog": ["register", "outcome"],
    "compile": ["compile"],
    "profile": ["profile"],
    "package": ["package"],
    "rollout": ["rollout"],
}
LOOP = from_json(
    Loop,
    {
        "apiVersion": "edgeloop.dev/v1alpha1",
        "kind": "Loop",
        "metadata": {"name": "turbine"},
        "data": {"source": "rows.csv", "label": "y", "features": ["x"]},
        "train": {"estimator": "sklearn.linear_model.LogisticRegression"},
        "targets": [
            {"name": "gate", "nodes": {"group": "gateways"}},
            {"name": "cab", "nodes": {"group": "cabinets"}},
        ],
        "rollout": {"waves": [["cabinets"], ["gateways"]], "soak": "15m", "tolerance": 0.02},
    },
)
VERSION = ModelVersion(
    loop="turbine",
    number=7,
    state="accepted",
    run_key="k",
    snapshot=DIGEST,
    onnx=DIGEST,
    reference=DIGEST,
    golden=DIGEST,
)
REFERENCE = Reference(
    loop="turbine",
    schema_hash="0" * 16,
    rows=0,
    features=(),
    classes=("a", "b"),
    calibration=CalibrationMap(x=(0.0,), y=(0.0,)),
)


def package_of(target: str, version: int = 7) -> Package:
    return Package(
        loop="turbine",
        version=version,
        target=target,
        platform="linux/amd64",
        runtime="onnxruntime",
        repository=f"edgeloop/turbine/{target}",
        digest=DIGEST,
        size_bytes=1,
    )


PACKAGES = [package_of("gate"), package_of("cab")]


@pytest.mark.parametrize(("folder", "name"), [(folder, name) for folder, names in WRAPPERS.items() for name in names])
def test_wrappers_are_thin_and_explained(folder: str, name: str) -> None:
    """A wrapper is at most ten statements, installs nothing, and every input and output has its line of documentation."""
    component = getattr(import_module(f"edgeloop_components.{folder}.component"), name)
    tree = ast.parse(inspect.getsource(component.python_func))
    function = tree.body[0]
    assert isinstance(function, ast.FunctionDef)
    statements = [node for node in ast.walk(function) if isinstance(node, ast.stmt)]
    assert len(statements) - 2 <= 10, "function and docstring not counted"
    spec = component.component_spec
    undocumented = [n for n, s in {**(spec.inputs or {}), **(spec.outputs or {})}.items() if not s.description]
    assert spec.description
    assert undocumented == []
    assert "pip install" not in str(component.pipeline_spec.deployment_spec["executors"][f"exec-{name}"])


def test_wrappers_import_nothing_but_kfp_at_the_top() -> None:
    """Compiling needs no scikit-learn: module scope holds KFP and the table of images only."""
    for folder in WRAPPERS:
        tree = ast.parse(inspect.getsource(import_module(f"edgeloop_components.{folder}.component")))
        modules = {node.module for node in tree.body if isinstance(node, ast.ImportFrom)}
        assert modules <= {"kfp", "edgeloop_components"}


def test_a_step_tells_how_it_went(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Start and end are one line each, with the seconds and the step's notes."""
    monkeypatch.setenv(steps.EVENTS, str(tmp_path / "events"))
    with steps.running("train", dumps(LOOP), "k", "gate") as step:
        assert step.loop == LOOP
        step.note(rows=3)
    first, last = map(json.loads, (tmp_path / "events").read_text().splitlines())
    assert (first["step"], first["target"], first["event"]) == ("train", "gate", "started")
    assert (last["event"], last["notes"]) == ("finished", {"rows": 3})
    assert 0 <= last["seconds"] < 5


def test_a_long_step_says_what_it_does(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """On its output, and to who watches the run; outside of a step only the output."""
    monkeypatch.setenv(steps.EVENTS, str(tmp_path / "events"))
    with steps.running("compile", dumps(LOOP), "k", "gate"):
        steps.say("placing")
    steps.say("nobody's")
    _, said, last = map(json.loads, (tmp_path / "events").read_text().splitlines())
    assert (said["step"], said["target"], said["event"], said["text"]) == ("compile", "gate", "said", "placing")
    assert last["event"] == "finished"
    assert capsys.readouterr().out == "placing\nnobody's\n"


def test_a_failed_step_names_itself_its_error_and_its_log(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The error goes on, and the note of it holds step, error and log, though the object store is not there."""
    monkeypatch.setenv(steps.EVENTS, str(tmp_path / "events"))
    monkeypatch.setenv(steps.LOG, "/logs/run.log")
    monkeypatch.delenv("AWS_ENDPOINT_URL_S3", raising=False)
    monkeypatch.delenv("AWS_ENDPOINT_URL", raising=False)
    with pytest.raises(OSError, match="disk is full"), steps.running("train", dumps(LOOP), "k"):
        raise OSError("disk is full")
    last = json.loads((tmp_path / "events").read_text().splitlines()[-1])
    assert (last["event"], last["error"], last["log"]) == ("failed", "OSError: disk is full", "/logs/run.log")
    assert "step train failed: OSError: disk is full" in capsys.readouterr().err


def test_a_wrong_loop_fails_as_a_step(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A document that is no Loop is told like any other failure."""
    monkeypatch.setenv(steps.EVENTS, str(tmp_path / "events"))
    with pytest.raises(ContractError), steps.running("train", "{}", "k"):
        pytest.fail("the body must not run")
    assert '"event": "failed"' in (tmp_path / "events").read_text()


def rollout_of(version: ModelVersion = VERSION, packages: list[Package] = PACKAGES) -> Rollout:
    return make_rollout(
        LOOP,
        version,
        packages,
        previous=5,
        previous_packages={"cab": package_of("cab", 5)},
        evidence_s=3.0,
        created_s=9.0,
    )


def test_a_rollout_says_what_goes_where_and_what_to_go_back_to() -> None:
    """Waves, soak and tolerance as the loop has them, a package for each target, and the champion's packages."""
    made = rollout_of()
    assert [wave.groups for wave in made.waves] == [("cabinets",), ("gateways",)]
    assert (made.soak_s, made.tolerance, made.created_s, made.evidence_s) == (900, 0.02, 9.0, 3.0)
    assert (made.previous, made.previous_packages["cab"].version) == (5, 5)
    assert set(made.packages) == {"gate", "cab"}
    assert made.state == "waiting"


@pytest.mark.parametrize(
    ("version", "packages", "said"),
    [
        (replace(VERSION, state="rejected"), PACKAGES, "expected an accepted version"),
        (VERSION, PACKAGES[:1], r"no package for \['cab'\]"),
        (VERSION, [*PACKAGES, package_of("gate", 6)], r"another version for \['gate'\]"),
    ],
)
def test_an_incomplete_rollout_is_refused(version: ModelVersion, packages: list[Package], said: str) -> None:
    """A rejected version, a target without a package, or a package of another version: nothing is rolled out."""
    with pytest.raises(ValueError, match=said):
        rollout_of(version, packages)


@pytest.mark.parametrize(
    ("needs", "said"),
    [
        (
            Needs(instruction_set="x86-64-v3"),
            "target gate does not fit .*instruction set: needs x86-64-v3.*nearest: target cab",
        ),
        (Needs(platform="linux/riscv64"), "target gate does not fit .*platform: needs linux/riscv64, has linux/a"),
        (Needs(accelerator="ice40-up5k"), "accelerator: needs ice40-up5k, has none"),
        (Needs(driver="ftdi"), "driver: needs ftdi, has none"),
        (Needs(runtime="python3.11"), "runtime: needs python3.11 beside the image, has none.*nearest: target cab"),
    ],
)
def test_a_package_that_its_target_cannot_run_is_refused_at_plan_time(needs: Needs, said: str) -> None:
    """What a package needs and the target's nodes have not: refused with the reason and the nearest fit."""
    with pytest.raises(ValueError, match=said):
        rollout_of(VERSION, [replace(PACKAGES[0], needs=needs), PACKAGES[1]])


@dataclass
class Fleet:
    """An HTTP server that answers as told, and remembers what it was asked."""

    url: str = ""
    answers: list[int] = field(default_factory=list)
    asked: list[tuple[str, Any]] = field(default_factory=list)


@pytest.fixture
def fleet() -> Iterator[Fleet]:
    state = Fleet()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            body = json.loads(self.rfile.read(int(self.headers["content-length"])))
            state.asked.append((self.path, body))
            self.send_response(state.answers.pop(0) if state.answers else 200)
            self.end_headers()
            self.wfile.write(b"because")

        def log_message(self, *args: Any) -> None:
            """Quiet."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, args=(0.02,), daemon=True).start()
        state.url = f"http://127.0.0.1:{server.server_port}"
        yield state
        server.shutdown()


def test_the_fleet_hears_the_loop_first_then_the_rollout(fleet: Fleet) -> None:
    """Both documents arrive whole, and the answer says who was told."""
    told = tell_fleet(fleet.url + "/", LOOP, rollout_of(), VERSION, REFERENCE)
    (first, loop), (second, body) = fleet.asked
    assert (first, second) == ("/v1/loops", "/v1/rollouts")
    assert from_json(Loop, loop) == LOOP
    assert from_json(Rollout, body["rollout"]) == rollout_of()
    assert from_json(ModelVersion, body["version"]) == VERSION
    assert from_json(Reference, body["reference"]) == REFERENCE
    assert told.told
    assert fleet.url in told.why


def test_a_fleet_that_restarts_is_asked_again(fleet: Fleet) -> None:
    """An error of the server is waited out; a refusal is not."""
    pauses: list[float] = []
    fleet.answers = [503, 500, 200, 200]
    assert tell_fleet(fleet.url, LOOP, rollout_of(), VERSION, REFERENCE, sleep=pauses.append).told
    assert pauses == [0.2, 0.5]
    fleet.answers = [200, 422]
    with pytest.raises(FleetError, match=r"refused: POST .*rollouts answered 422: because"):
        tell_fleet(fleet.url, LOOP, rollout_of(), VERSION, REFERENCE, sleep=pauses.append)


def test_a_fleet_that_stays_away_is_given_up_with_its_url() -> None:
    """After the patience is over the error names the URL and the tries."""
    pauses: list[float] = []
    with pytest.raises(FleetError, match=r"127\.0\.0\.1:9/v1/loops did not answer.*gave up after 5 tries"):
        tell_fleet("http://127.0.0.1:9", LOOP, rollout_of(), VERSION, REFERENCE, patience_s=3.0, sleep=pauses.append)
    assert sum(pauses) >= 3.0


def test_without_a_fleet_the_answer_says_so() -> None:
    """No URL: nobody is told, and that is what the result says."""
    told = tell_fleet("", LOOP, rollout_of(), VERSION, REFERENCE)
    assert not told.told
    assert "no fleet service was told of turbine@7" in told.why


@dataclass
class Registered:
    """A run that has made turbine@1 in a real store, and what its last steps do."""

    objects: S3Objects
    folder: Path
    made: ModelVersion
    register: Callable[[], ModelVersion]

    def record(self, state: str, message: str = "") -> dict[str, Any]:
        facts = {"cause": "drift", "started_by": "judge"}
        wrapping.record(steps.Step("outcome", "", LOOP, "k"), facts, state=state, message=message, now_s=50.0)
        return catalog.run(self.objects, "turbine", "k") or {}

    def roll_out(self, needs: Needs = Needs(), *, index: str = "") -> None:
        """`index` is known to the last package alone, as to the packing step that completed it."""
        step, folders = steps.Step("rollout", "", LOOP, "k"), []
        made = [replace(package_of(target.name, 1), needs=needs) for target in LOOP.targets]
        for package in (*made[:-1], replace(made[-1], index=index)):
            catalog.put_package(self.objects, package)
            folders.append(self.folder / package.target)
            folders[-1].mkdir(exist_ok=True)
            (folders[-1] / "package.json").write_text(dumps(package))
        (self.folder / "version.json").write_text(dumps(self.register()))
        (self.folder / "reference.json").write_text(dumps(REFERENCE))
        out = str(self.folder / "out")
        wrapping.roll_out(step, str(self.folder), list(map(str, folders)), out, evidence_s=0.0, now_s=60.0)

    def seen(self) -> ModelVersion:
        return catalog.version(self.objects, "turbine", 1)


@pytest.fixture
def registered(
    seaweed: Running,
    objects: S3Objects,
    build: Callable[..., Callable[[int], ModelVersion]],
    version_files: dict[str, Path],
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> Registered:
    for name, value in {**seaweed.env(), "EDGELOOP_BUCKET": objects.bucket}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("EDGELOOP_FLEET_URL", raising=False)

    def register() -> ModelVersion:
        return catalog.register(objects, "turbine", build("k"), "k", version_files)

    folder = tmp_path / "version"
    folder.mkdir()
    return Registered(objects, folder, register(), register)


def test_a_failed_run_leaves_no_accepted_version(registered: Registered) -> None:
    """A step after the entry fails: the version is rejected with the step's error as the reason, and no alias takes it."""
    with pytest.raises(OSError, match="disk"), steps.running("compile", dumps(LOOP), "k", "cab"):
        raise OSError("disk is full")
    record = registered.record("FAILED")
    assert (record["state"], record["version"]) == ("failed", 1)
    seen = registered.seen()
    assert (seen.state, seen.gates[-1].gate, seen.gates[-1].got) == ("rejected", "build", record["reason"])
    assert "step compile cab: OSError: disk is full" in seen.gates[-1].got
    with pytest.raises(catalog.CatalogError, match="disk is full"):
        catalog.set_alias(registered.objects, "turbine", "candidate", 1)
    withdrawn = next(e for e in audit.entries(registered.objects, "turbine") if e.action == "withdraw")
    assert (withdrawn.actor, withdrawn.at_s, withdrawn.why) == ("judge", 50.0, record["reason"])


def test_a_failed_run_without_a_message_still_says_why(registered: Registered) -> None:
    """A run that was cancelled, with no note and no message: the reason names how it ended."""
    assert registered.record("CANCELLED")["reason"] == "the run ended as CANCELLED"
    assert registered.seen().gates[-1].got == "the run ended as CANCELLED"


def test_a_run_tried_again_admits_its_version(registered: Registered) -> None:
    """The same key goes through the second time: the version is accepted as it was made, candidate, and the log says all."""
    registered.record("FAILED", "no compiler")
    assert registered.seen().state == "rejected"
    registered.roll_out()
    assert registered.record("SUCCEEDED")["state"] == "succeeded"
    assert registered.seen() == registered.made
    assert catalog.alias(registered.objects, "turbine", "candidate") == 1
    assert catalog.standing(registered.objects, registered.seen()) == "accepted"
    acts = [e.action for e in audit.entries(registered.objects, "turbine")]
    assert acts.index("withdraw") < acts.index("readmit") < acts.index("set_alias")


def test_an_image_without_python_goes_only_where_one_is_lent(
    registered: Registered, monkeypatch: pytest.MonkeyPatch
) -> None:
    """On a cluster, whose nodes lend nothing, the rollout step refuses it and writes nothing; on one machine it goes out."""
    monkeypatch.delenv("EDGELOOP_NODES_LEND", raising=False)
    with pytest.raises(ValueError, match=r"runtime: needs python3\.11 beside the image, has none: pack it on a base"):
        registered.roll_out(Needs(runtime="python3.11"))
    assert catalog.alias(registered.objects, "turbine", "candidate") is None
    monkeypatch.setenv("EDGELOOP_NODES_LEND", "java21, python3.11 ")
    registered.roll_out(Needs(runtime="python3.11"))
    assert catalog.alias(registered.objects, "turbine", "candidate") == 1


def test_the_catalog_has_one_index_for_all_packages(registered: Registered) -> None:
    """The rollout step tells the catalog, too, of the index that the first packing steps did not see yet."""
    index = digest_of("index")
    registered.roll_out(index=index)
    assert [package.index for package in catalog.packages(registered.objects, "turbine", 1)] == [index] * len(
        LOOP.targets
    )
    assert len(LOOP.targets) > 1


def test_a_version_that_was_rolled_out_is_not_withdrawn(registered: Registered) -> None:
    """A run that fails after its rollout was written (nobody told, or tried again later): the version is whole and stays."""
    registered.roll_out()
    record = registered.record("FAILED", "the fleet stays away")
    assert (record["state"], record["reason"]) == ("failed", "the fleet stays away")
    assert registered.seen() == registered.made
    assert "withdraw" not in {e.action for e in audit.entries(registered.objects, "turbine")}
