"""The catalog, on the simulator and on the real server: numbers, aliases, packages, runs, and interruptions."""

from __future__ import annotations

import subprocess
import sys
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from edgeloop_components.catalog import audit, catalog
from edgeloop_components.stores.objects import MemoryObjects, NotFound, Objects, S3Objects
from edgeloop_components.stores.seaweed import Running
from edgeloop_contracts import Loop, ModelVersion, Package, digest_of, from_json

Build = Callable[..., Callable[[int], ModelVersion]]


class Dying(MemoryObjects):
    """A store whose process dies (an exception that nobody handles) before a write of a key with `before` in it."""

    before = ""

    def put_new(self, key: str, data: bytes) -> bool:
        if self.before and self.before in key:
            raise SystemExit(f"died before {key}")
        return super().put_new(key, data)


def a_package(number: int, digest: str = "image") -> Package:
    return Package(
        loop="turbine",
        version=number,
        target="cabinet",
        platform="linux/amd64",
        runtime="onnxruntime",
        repository="edgeloop/turbine/cabinet",
        digest=digest_of(digest),
        size_bytes=10,
    )


def test_register_numbers_from_one(store: Objects, build: Build, version_files: dict[str, Path]) -> None:
    """Versions are numbered 1, 2, ... in each loop, read back as stored, with their files named and verified."""
    first = catalog.register(store, "turbine", build("r1"), "r1", version_files)
    second = catalog.register(store, "turbine", build("r2", state="rejected"), "r2", version_files)
    other = catalog.register(store, "rain", build("r1", loop="rain"), "r1", version_files)
    assert (first.number, second.number, other.number) == (1, 2, 1)
    assert catalog.version(store, "turbine", 1) == first
    assert catalog.versions(store, "turbine") == [first, second]
    assert catalog.blob(store, first.onnx) == b"content of model.onnx"
    assert first.extra["files"]["golden.json"] == first.golden


def test_rejected_version_is_kept_with_its_gates(store: Objects, build: Build, version_files: dict[str, Path]) -> None:
    """A rejected version can be read with the gate that it failed, and no alias may point to it."""
    made = catalog.register(store, "turbine", build("r1", state="rejected"), "r1", version_files)
    kept = catalog.version(store, "turbine", made.number)
    assert (kept.state, kept.gates[0].passed, kept.gates[0].got) == ("rejected", False, "0.5")
    with pytest.raises(catalog.CatalogError, match=r"was rejected \(require/accuracy: expected >= 0.9, got 0.5\)"):
        catalog.set_alias(store, "turbine", "champion", 1)
    assert catalog.aliases(store, "turbine") == {}


def test_same_run_key_same_version(store: Objects, build: Build, version_files: dict[str, Path]) -> None:
    """Registering a run again gives its version, makes no other, and logs nothing twice."""
    first = catalog.register(store, "turbine", build("r1"), "r1", version_files)
    catalog.register(store, "turbine", build("r2"), "r2", version_files)
    assert catalog.register(store, "turbine", build("r1"), "r1", version_files) == first
    assert [v.run_key for v in catalog.versions(store, "turbine")] == ["r1", "r2"]
    assert [e.subject for e in audit.entries(store, "turbine")] == ["turbine@1", "turbine@2"]


@pytest.mark.parametrize("before", ["versions/", "audit/"])
def test_interrupted_register(before: str, build: Build, version_files: dict[str, Path]) -> None:
    """A process that dies between blobs and version, or between version and log, leaves no half version: the run
    registered again has one version and one log entry."""
    store = Dying()
    store.before = before
    with pytest.raises(SystemExit):
        catalog.register(store, "turbine", build("r1"), "r1", version_files)
    if before == "versions/":
        assert catalog.versions(store, "turbine") == []
        assert catalog.blob(store, build("r1")(1).onnx)  # the blobs were there first
    store.before = ""
    made = catalog.register(store, "turbine", build("r1"), "r1", version_files)
    assert catalog.versions(store, "turbine") == [made]
    assert [e.subject for e in audit.entries(store, "turbine")] == ["turbine@1"]
    assert audit.verify(store, "turbine") == []


@pytest.mark.parametrize("same_run", [False, True])
def test_racing_threads_never_share_a_number(
    store: Objects, build: Build, version_files: dict[str, Path], same_run: bool
) -> None:
    """Three registrations at once get three numbers without a gap; three of the same run get one."""
    made: list[ModelVersion] = []
    barrier = threading.Barrier(3)

    def work(i: int) -> None:
        key = "r" if same_run else f"r{i}"
        barrier.wait()
        made.append(catalog.register(store, "turbine", build(key), key, version_files))

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    expected = [1] if same_run else [1, 2, 3]
    assert sorted({v.number for v in made}) == expected
    assert len(made) == 3
    assert [v.number for v in catalog.versions(store, "turbine")] == expected
    assert {v.run_key: v.number for v in made} == {v.run_key: v.number for v in catalog.versions(store, "turbine")}
    assert audit.verify(store, "turbine") == []


PROCESS = """
import sys
from pathlib import Path
from edgeloop_components.catalog import catalog
from edgeloop_components.stores.objects import connect
from edgeloop_contracts import ModelVersion, digest_of
import hashlib
name, file = sys.argv[1], Path(sys.argv[2])
digest = "sha256:" + hashlib.sha256(file.read_bytes()).hexdigest()
objects = connect()
print("ready", flush=True)
sys.stdin.readline()
for i in range(3):
    key = f"{name}-{i}"
    build = lambda number: ModelVersion(loop="turbine", number=number, state="accepted", run_key=key,
        snapshot=digest, onnx=digest, reference=digest, golden=digest)
    print(catalog.register(objects, "turbine", build, key, {"model.onnx": file}).number, flush=True)
"""


def test_racing_processes_never_share_a_number(seaweed: Running, objects: S3Objects, tmp_path: Path) -> None:
    """Three processes that register three versions each get nine numbers, 1 to 9, each once."""
    file = tmp_path / "model.onnx"
    file.write_bytes(b"model")
    environment = {**seaweed.env(), "EDGELOOP_BUCKET": objects.bucket}
    children = [
        subprocess.Popen(
            [sys.executable, "-c", PROCESS, f"run-{i}", str(file)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
        )
        for i in range(3)
    ]
    for child in children:
        assert child.stdout is not None
        assert child.stdout.readline() == "ready\n"
    outputs = []
    for child in children:
        assert child.stdin is not None
        child.stdin.write("go\n")
        child.stdin.flush()
    for child in children:
        outputs += child.communicate(timeout=60)[0].split()
    assert sorted(map(int, outputs)) == list(range(1, 10))
    assert len({v.run_key for v in catalog.versions(objects, "turbine")}) == 9
    assert audit.verify(objects, "turbine") == []


def test_version_must_speak_of_its_files(store: Objects, build: Build, version_files: dict[str, Path]) -> None:
    """A version whose model is not among the files, or of another loop or run, is refused and nothing is entered."""
    only_model = {"model.onnx": version_files["model.onnx"]}
    with pytest.raises(catalog.CatalogError, match="turbine@1: expected its reference sha256:"):
        catalog.register(store, "turbine", build("r1"), "r1", only_model)
    with pytest.raises(catalog.CatalogError, match=r"expected \(loop, number, run key\) \('turbine', 1, 'r2'\)"):
        catalog.register(store, "turbine", build("r1"), "r2", version_files)
    assert catalog.versions(store, "turbine") == []
    assert list(audit.entries(store, "turbine")) == []


def test_unknown_version_says_what_is_known(store: Objects, build: Build, version_files: dict[str, Path]) -> None:
    """Asking for a version that is not there names those that are."""
    catalog.register(store, "turbine", build("r1"), "r1", version_files)
    with pytest.raises(NotFound, match="turbine@7: not in the catalog; known: 1"):
        catalog.version(store, "turbine", 7)


def test_damaged_blob_is_refused(store: Objects, build: Build, version_files: dict[str, Path], tmp_path: Path) -> None:
    """A blob whose bytes are not what its digest says is never given out, nor written to a file."""
    made = catalog.register(store, "turbine", build("r1"), "r1", version_files)
    store.put(f"blobs/sha256/{made.onnx.removeprefix('sha256:')}", b"something else")
    with pytest.raises(catalog.CatalogError, match="damaged"):
        catalog.blob(store, made.onnx)
    with pytest.raises(catalog.CatalogError, match="damaged"):
        catalog.fetch_blob(store, made.onnx, tmp_path / "out" / "model.onnx")
    assert list((tmp_path / "out").iterdir()) == []
    catalog.fetch_blob(store, made.golden, tmp_path / "out" / "golden.json")
    assert (tmp_path / "out" / "golden.json").read_bytes() == b"content of golden.json"
    with pytest.raises(catalog.CatalogError, match="expected a digest"):
        catalog.blob(store, "../turbine")


@pytest.fixture
def three(store: Objects, build: Build, version_files: dict[str, Path]) -> Objects:
    """A store with turbine@1, @2 and @3."""
    for key in ("r1", "r2", "r3"):
        catalog.register(store, "turbine", build(key), key, version_files)
    return store


def test_alias_compare_and_set(three: Objects) -> None:
    """An alias moves from what was expected only; None expects that it does not exist; the old number is given back."""
    assert catalog.alias(three, "turbine", "champion") is None
    assert catalog.set_alias(three, "turbine", "champion", 1, expect=None) is None
    assert catalog.set_alias(three, "turbine", "champion", 2, expect=1) == 1
    with pytest.raises(catalog.AliasConflict, match="expected 1 before it moves to 3, found 2"):
        catalog.set_alias(three, "turbine", "champion", 3, expect=1)
    with pytest.raises(catalog.AliasConflict, match="expected None"):
        catalog.set_alias(three, "turbine", "champion", 3, expect=None)
    assert catalog.set_alias(three, "turbine", "last-good", 1) is None
    assert catalog.aliases(three, "turbine") == {"champion": 2, "last-good": 1}
    with pytest.raises(NotFound):
        catalog.set_alias(three, "turbine", "champion", 9)


def test_racing_alias_moves(three: Objects) -> None:
    """Of two moves that expect the same state one wins, the other is told; the log holds the one that happened."""
    catalog.set_alias(three, "turbine", "champion", 1)
    barrier, results = threading.Barrier(2), {}

    def work(number: int) -> None:
        barrier.wait()
        try:
            results[number] = catalog.set_alias(three, "turbine", "champion", number, expect=1)
        except catalog.AliasConflict:
            results[number] = "conflict"

    threads = [threading.Thread(target=work, args=(number,)) for number in (2, 3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(map(str, results.values())) == ["1", "conflict"]
    winner = next(number for number, result in results.items() if result == 1)
    assert catalog.alias(three, "turbine", "champion") == winner
    moves = [e.subject for e in audit.entries(three, "turbine") if e.action == "set_alias"]
    assert moves == ["champion -> turbine@1 (move 1)", f"champion -> turbine@{winner} (move 2)"]


def test_alias_moves_are_logged_once_each(three: Objects) -> None:
    """Each move is in the log with actor and reason, moving back too; repeating the last move adds nothing."""
    for number in (1, 2, 1, 1):
        catalog.set_alias(three, "turbine", "champion", number, actor="fleet", why=f"to {number}", at_s=5.0)
    moves = [e for e in audit.entries(three, "turbine") if e.action == "set_alias"]
    assert [(e.actor, e.why, e.at_s, e.evidence["previous"]) for e in moves] == [
        ("fleet", "to 1", 5.0, None),
        ("fleet", "to 2", 5.0, 1),
        ("fleet", "to 1", 5.0, 2),
    ]


def test_packages(three: Objects) -> None:
    """A package is read back; packing again replaces it, and the log keeps both digests; no package without version."""
    catalog.put_package(three, a_package(2, "first"))
    catalog.put_package(three, a_package(2, "second"))
    catalog.put_package(three, a_package(2, "second"))
    assert catalog.packages(three, "turbine", 2) == (a_package(2, "second"),)
    assert catalog.packages(three, "turbine", 1) == ()
    logged = [e.subject for e in audit.entries(three, "turbine") if e.action == "put_package"]
    assert logged == [f"turbine@2 for cabinet: {digest_of(d)}" for d in ("first", "second")]
    with pytest.raises(NotFound, match="turbine@9"):
        catalog.put_package(three, a_package(9))


def test_run_records(store: Objects) -> None:
    """A run's records are merged into one document; an unknown state is refused; each change is logged once."""
    catalog.record_run(store, "turbine", "r1", {"state": "running", "cause": "drift", "started_s": 1.0})
    catalog.record_run(store, "turbine", "r1", {"state": "succeeded", "version": 4})
    catalog.record_run(store, "turbine", "r1", {"state": "succeeded", "version": 4})
    expected = {"run_key": "r1", "state": "succeeded", "cause": "drift", "started_s": 1.0, "version": 4}
    assert catalog.run(store, "turbine", "r1") == expected
    assert catalog.runs(store, "turbine") == [expected]
    assert catalog.run(store, "turbine", "r2") is None
    with pytest.raises(catalog.CatalogError, match="found 'odd'"):
        catalog.record_run(store, "turbine", "r1", {"state": "odd"})
    assert [e.evidence["state"] for e in audit.entries(store, "turbine")] == ["running", "succeeded"]


def test_loop_documents(store: Objects) -> None:
    """The loop is kept as last submitted; submitting it unchanged logs nothing more; an unknown one names the known."""
    document = {
        "apiVersion": "edgeloop.dev/v1alpha1",
        "kind": "Loop",
        "metadata": {"name": "turbine"},
        "data": {"source": "rows.csv", "label": "y", "features": ["a"]},
        "train": {"onnx": "model.onnx"},
        "targets": [{"name": "t", "nodes": {"group": "g"}}],
    }
    loop = from_json(Loop, document)
    assert catalog.put_loop(store, loop) == catalog.put_loop(store, loop) == digest_of(loop)
    assert catalog.get_loop(store, "turbine") == loop
    assert catalog.loops(store) == ["turbine"]
    assert len(list(audit.entries(store, "turbine"))) == 1
    with pytest.raises(NotFound, match="known: turbine"):
        catalog.get_loop(store, "turbin")


def test_a_withdrawn_version_is_seen_as_rejected(store: Objects, build: Build, version_files: dict[str, Path]) -> None:
    """Withdrawing leaves the document as it is; readers see a rejected version with the reason, and no alias takes it;
    its run registered again gives it as it was made; admitted again it is as before, and the log holds each act once."""
    made = catalog.register(store, "turbine", build("r1"), "r1", version_files)
    other = catalog.register(store, "turbine", build("r2"), "r2", version_files)
    key = "catalog/turbine/versions/000001.json"
    written = store.get(key)
    for why in ("no compiler", "no compiler", "no disk"):
        seen = catalog.withdraw(store, "turbine", 1, why, actor="judge", at_s=5.0)
    assert (seen.state, seen.gates[:-1]) == ("rejected", made.gates)
    assert (seen.gates[-1].gate, seen.gates[-1].passed, seen.gates[-1].got) == ("build", False, "no disk")
    assert catalog.version(store, "turbine", 1) == seen
    assert catalog.versions(store, "turbine") == [seen, other]
    assert store.get(key) == written
    with pytest.raises(catalog.CatalogError, match=r"was rejected \(build: expected every target .*, got no disk"):
        catalog.set_alias(store, "turbine", "candidate", 1)
    assert catalog.register(store, "turbine", build("r1"), "r1", version_files) == made
    assert catalog.readmit(store, "turbine", 1, "went through")
    assert not catalog.readmit(store, "turbine", 1, "went through")
    assert catalog.versions(store, "turbine") == [made, other]
    catalog.withdraw(store, "turbine", 1, "no disk")
    acts = [(e.action, e.subject, e.why) for e in audit.entries(store, "turbine") if e.action != "register"]
    assert acts == [
        ("withdraw", "turbine@1", "no compiler"),
        ("withdraw", "turbine@1", "no disk"),
        ("readmit", "turbine@1", "went through"),
        ("withdraw", "turbine@1", "no disk"),
    ]
    assert audit.verify(store, "turbine") == []


def test_what_cannot_be_withdrawn(store: Objects, build: Build, version_files: dict[str, Path]) -> None:
    """A version that an alias points to is refused, one that its gates rejected keeps its reasons, one that is not
    there is named; nothing of that is logged."""
    catalog.register(store, "turbine", build("r1"), "r1", version_files)
    rejected = catalog.register(store, "turbine", build("r2", state="rejected"), "r2", version_files)
    catalog.set_alias(store, "turbine", "champion", 1)
    with pytest.raises(catalog.CatalogError, match="turbine@1: expected no alias to point to it, found champion"):
        catalog.withdraw(store, "turbine", 1, "why")
    assert catalog.withdraw(store, "turbine", 2, "why") == rejected
    with pytest.raises(NotFound, match="turbine@9"):
        catalog.withdraw(store, "turbine", 9, "why")
    assert catalog.version(store, "turbine", 1).state == "accepted"
    assert {e.action for e in audit.entries(store, "turbine")} == {"register", "set_alias"}


@pytest.mark.parametrize("act", ["withdraw", "readmit"])
def test_interrupted_withdrawal(act: str, build: Build, version_files: dict[str, Path]) -> None:
    """A process that dies before the log entry of a withdrawal, or of its end: repeated, there is one entry of each."""
    store = Dying()
    catalog.register(store, "turbine", build("r1"), "r1", version_files)
    acts = {"withdraw": catalog.withdraw, "readmit": catalog.readmit}
    if act == "readmit":
        catalog.withdraw(store, "turbine", 1, "why")
    store.before = "audit/"
    with pytest.raises(SystemExit):
        acts[act](store, "turbine", 1, "why")
    assert catalog.version(store, "turbine", 1).state == "rejected"
    store.before = ""
    acts[act](store, "turbine", 1, "why")
    assert catalog.version(store, "turbine", 1).state == ("rejected" if act == "withdraw" else "accepted")
    logged = [e.action for e in audit.entries(store, "turbine")]
    assert logged == (["register", "withdraw"] if act == "withdraw" else ["register", "withdraw", "readmit"])


def test_standing_says_what_a_version_lacks(store: Objects, build: Build, version_files: dict[str, Path]) -> None:
    """An accepted version is not packed, then packed and not rolled out, then whole; a rejected one is just that."""
    made = catalog.register(store, "turbine", build("r1"), "r1", version_files)
    said = [catalog.standing(store, made)]
    catalog.put_package(store, a_package(1))
    said.append(catalog.standing(store, made))
    store.put(catalog.rollout_key("turbine", 1), b"{}")
    said.append(catalog.standing(store, made))
    assert said == ["accepted, not packed", "accepted, not rolled out", "accepted"]
    rejected = catalog.register(store, "turbine", build("r2", state="rejected"), "r2", version_files)
    assert catalog.standing(store, rejected) == "rejected"


def test_loops_that_only_have_a_run_are_known(store: Objects, build: Build, version_files: dict[str, Path]) -> None:
    """A loop is known by the record of a run alone, or by a version; its loop document is still said to be missing."""
    catalog.record_run(store, "pump", "r1", {"state": "failed", "reason": "no rows"})
    catalog.register(store, "turbine", build("r1"), "r1", version_files)
    assert catalog.loops(store) == ["pump", "turbine"]
    with pytest.raises(NotFound, match="loop pump: not in the catalog; known: none"):
        catalog.get_loop(store, "pump")
