"""Sedna's objects become a loop.yaml that `edgeloop check` accepts; no field is lost without a word."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeloop_pipelines.cli import main
from edgeloop_pipelines.imports.documents import Document, DocumentError, leaves, read_files
from edgeloop_pipelines.imports.sedna import Columns, translate
from edgeloop_pipelines.imports.sedna_fields import UNKNOWN, advice_for
from edgeloop_pipelines.loopfile import load, loads
from edgeloop_pipelines.loopfile.write import write

GOLDEN = Path(__file__).resolve().parents[1] / "golden" / "sedna"
CASES = sorted(path.name.removesuffix(".input.yaml") for path in GOLDEN.glob("*.input.yaml"))
WORDS = {"selector": ["--label", "state", "--feature", "speed", "--feature", "load"]}


@pytest.mark.parametrize("case", CASES)
def test_golden(case, tmp_path, monkeypatch, capsys, golden):
    """The loop.yaml and the lists are those on file; `edgeloop check` has no objection to it."""
    (tmp_path / "job.yaml").write_text((GOLDEN / f"{case}.input.yaml").read_text())
    monkeypatch.chdir(tmp_path)
    assert main(["import", "sedna", "job.yaml", "--json", *WORDS.get(case, [])]) == 0
    golden(GOLDEN / f"{case}.json", capsys.readouterr().out)
    golden(GOLDEN / f"{case}.loop.yaml", (tmp_path / "loop.yaml").read_text())
    assert main(["check", "loop.yaml"]) == 0


def _accounted(documents, imported):
    """Paths of the documents that are in none of the two lists; what the API server sets is not asked for."""
    mapped = [tuple(key.split(" ", 1)) for key in imported.mapped]
    missing = []
    for document in documents:
        for path, _ in leaves(document.value):
            taken = any(kind == document.kind and _begins(path, at) for kind, at in mapped)
            named = f"{document.kind} {document.name}".strip()
            left = any(each.object == named and (not each.path or _begins(path, each.path)) for each in imported.left)
            if not taken and not left and advice_for(document.kind, path)[1]:
                missing.append(f"{document.kind} {path}")
    return missing


def _begins(path, beginning):
    return path == beginning or path.startswith((f"{beginning}.", f"{beginning}["))


@pytest.mark.parametrize("case", CASES)
def test_every_field_is_accounted_for(case):
    """A field became something, or is listed with its line and with what to do."""
    documents = read_files([GOLDEN / f"{case}.input.yaml"])
    imported = translate(documents)
    assert _accounted(documents, imported) == []
    text = (GOLDEN / f"{case}.input.yaml").read_text().splitlines()
    for left in imported.left:
        word = re.findall(r"\w+", left.path)[-1] if left.path and not left.path.endswith("]") else ""
        assert word in text[left.line - 1], f"{left.path} is not in line {left.line}"
        assert left.do


def test_what_is_said_is_taken():
    """The values of the job that loop.yaml can say."""
    loop = translate(read_files([GOLDEN / "pump.input.yaml"])).loop
    assert loop.name == "pump-states"
    assert loop.data.source == "/data/pumps/rows.txt"
    assert loop.train.entrypoint == "learn:fit"
    assert loop.train.params == {"epochs": 20, "rate": 0.01, "classes": "good,worn"}
    assert loop.validate.holdout == 0.25
    assert (loop.validate.champion.metric, loop.validate.champion.margin) == ("accuracy", 0.02)
    assert loop.retrain.on[0] == "new_data"
    target = loop.targets[0]
    assert target.nodes.labels == {"kubernetes.io/hostname": "edge-07"}
    assert (target.budget.memory_mib, target.budget.cpu_m) == (256, 500)


def test_selectors_and_gates():
    """Node labels, their platform, a metric that edgeloop computes, and data in S3."""
    imported = translate(read_files([GOLDEN / "selector.input.yaml"]), columns=Columns("y", ("x",)))
    target = imported.loop.targets[0]
    assert (target.platform, target.nodes.group) == ("linux/arm64", "belt")
    assert target.nodes.labels == {"site": "north", "kubernetes.io/arch": "arm64"}
    assert imported.loop.validate.require == {"accuracy": ">= 0.93"}
    assert imported.loop.retrain.on == ("performance",)
    assert imported.loop.data.source == "s3://telemetry/belt/"
    assert not {"data.label", "data.features", "data.source", "targets[0].platform"} & set(imported.open)


def test_a_field_unknown_to_sedna_is_listed_last():
    """Whoever invents fields is told so."""
    left = translate(read_files([GOLDEN / "bare.input.yaml"])).left
    assert (left[-1].path, left[-1].value, left[-1].do) == ("spec.speed", "fast", UNKNOWN)


def test_columns_are_guessed_from_a_sample(tmp_path, capsys):
    """With --data the label, the features and the time are those of `edgeloop init`, and nothing of them is open."""
    rows = [f"2024-01-01T{i % 24:02d}:00:00Z,{i % 7 + 0.5},{'worn' if i % 7 > 4 else 'good'}" for i in range(80)]
    (tmp_path / "sample.csv").write_text("\n".join(["time,vibration,state", *rows]))
    out = tmp_path / "loop.yaml"
    words = ["import", "sedna", str(GOLDEN / "pump.input.yaml"), "-o", str(out), "--data", str(tmp_path / "sample.csv")]
    assert main([*words, "--json"]) == 0
    data = load(out).data
    assert (data.label, data.features, data.time) == ("state", ("vibration",), "time")
    assert not {"data.label", "data.features"} & {each["path"] for each in json.loads(capsys.readouterr().out)["open"]}


def test_nothing_is_overwritten_without_force(tmp_path, capsys):
    """A file that is there stays as it is; --force replaces it; a failed import writes nothing."""
    out = tmp_path / "loop.yaml"
    out.write_text("mine")
    job = str(GOLDEN / "bare.input.yaml")
    assert main(["import", "sedna", job, "-o", str(out)]) == 1
    assert "--force overwrites it" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert main(["import", "sedna", job, "-o", str(out), "--force", "--job", "nobody"]) == 1
    assert out.read_text() == "mine"
    assert main(["import", "sedna", job, "-o", str(out), "--force"]) == 0
    assert load(out).name == "bare"
    text = capsys.readouterr().out
    assert "without counterpart:" in text
    assert f"{job}:18" in text


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("kind: Dataset\nmetadata: {name: d}\n", "expected an IncrementalLearningJob, found Dataset d"),
        ("", "found nothing"),
        ("- a\n", ":1: expected a Kubernetes object, found list"),
        ("---\n---\na: [\n", ":4:1: "),
        ("a: !!python/object:os.system x\n", "tag"),
        ("kind: IncrementalLearningJob\nmetadata: {name: a}\n", "expected apiVersion sedna.io/v1alpha1, found None"),
        ("kind: LifelongLearningJob\nmetadata: {name: l}\n", "found LifelongLearningJob l"),
    ],
)
def test_refusals(text, said, tmp_path, capsys):
    """What is no job is refused in one line that says what was found."""
    (tmp_path / "job.yaml").write_text(text)
    assert main(["import", "sedna", str(tmp_path / "job.yaml"), "-o", str(tmp_path / "loop.yaml")]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert error.startswith("error: ")
    assert not (tmp_path / "loop.yaml").exists()


def test_of_several_jobs_one_is_named(tmp_path):
    """Two jobs are two loops: --job says which."""
    job = "apiVersion: sedna.io/v1alpha1\nkind: IncrementalLearningJob\nmetadata: {name: %s}\n"
    (tmp_path / "jobs.yaml").write_text(f"{job % 'a'}---\n{job % 'b'}")
    documents = read_files([tmp_path / "jobs.yaml"])
    with pytest.raises(DocumentError, match="expected one IncrementalLearningJob, found a, b"):
        translate(documents)
    imported = translate(documents, job="b")
    assert imported.loop.name == "b"
    assert [(left.object, left.path) for left in imported.left] == [("IncrementalLearningJob a", "")]


KNOWN = sorted({word for document in read_files(GOLDEN.glob("*.input.yaml")) for path, _ in leaves(document.value)
                for word in re.findall(r"[\w]+", path)})  # fmt: skip
TYPICAL = [
    "num_of_samples",
    "accuracy",
    "precision_delta",
    ">",
    "lt",
    "2Gi",
    "edge-1",
    "model",
    "train.py",
    "s3://b/p/",
    "csv",
]
PLAIN = st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.text(max_size=8), st.sampled_from(TYPICAL))
VALUES = st.recursive(
    PLAIN,
    lambda inner: st.one_of(st.lists(inner, max_size=3), st.dictionaries(st.sampled_from(KNOWN), inner, max_size=4)),
)


@given(
    spec=st.fixed_dictionaries(
        {},
        optional={
            "dataset": VALUES,
            "trainSpec": st.one_of(VALUES, st.fixed_dictionaries({"trigger": VALUES, "template": VALUES})),
            "deploySpec": st.one_of(VALUES, st.fixed_dictionaries({"trigger": VALUES, "template": VALUES})),
            "outputDir": VALUES,
        },
    ),
    name=st.text(min_size=1, max_size=60),
)
def test_whatever_a_job_holds(spec, name):
    """Any job gives a loop.yaml without mistakes, and every field of it is accounted for."""
    value = {
        "apiVersion": "sedna.io/v1alpha1",
        "kind": "IncrementalLearningJob",
        "metadata": {"name": name},
        "spec": spec,
    }
    documents = [Document("job.yaml", value)]
    imported = translate(documents)
    assert loads(write(imported.loop, {}).encode()) == imported.loop
    assert _accounted(documents, imported) == []
