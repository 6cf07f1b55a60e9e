"""`edgeloop check`: every mistake as a compiler prints them, of the file and of the data that it names."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgeloop_pipelines.cli import main

GOOD = """\
apiVersion: edgeloop.dev/v1alpha1
kind: Loop
metadata: {name: pump}
data:
  source: rows.csv
  label: state
  features: [flow rate, Pressure]
  time: at
train:
  estimator: sklearn.ensemble.RandomForestClassifier
  params: {n_estimators: 10}
validate: {slices: [site]}
targets:
  - {name: gateway, nodes: {group: edge}}
retrain: {schedule: "0 3 * * 0"}
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    (tmp_path / "rows.csv").write_text("at,site,flow rate,Pressure,state\n" + "2024-01-01T00:00:00Z,a,1.5,2.5,on\n" * 9)
    (tmp_path / "loop.yaml").write_text(GOOD)
    return tmp_path


def checked(path: Path, *options: str, capsys: pytest.CaptureFixture[str]) -> tuple[int, list[str]]:
    """Exit code and printed lines."""
    code = main(["check", str(path), *options])
    return code, capsys.readouterr().out.splitlines()


def test_a_good_file(folder, capsys):
    """A file without mistakes says so and ends with 0."""
    path = folder / "loop.yaml"
    assert checked(path, "--data", capsys=capsys) == (0, [f"{path}: no mistakes"])


WRONG = [
    ("label: state", "label: stat", "6:10: data.label: expected a column of the data, got stat", "state"),
    ("Pressure]", "pressure]", "7:25: data.features[1]: expected a column of the data, got pressure", "Pressure"),
    ("[site]", "[sites]", "12:21: validate.slices[0]: expected a column of the data, got sites", "site"),
    (
        "RandomForestClassifier",
        "RandomForestClasifier",
        "10:14: train.estimator: expected an estimator of sklearn.ensemble, got RandomForestClasifier",
        "sklearn.ensemble.RandomForestClassifier",
    ),
    (
        "sklearn.ensemble.Random",
        "sklearn.ensembl.Random",
        "10:14: train.estimator: expected a module of scikit-learn, got sklearn.ensembl",
        "sklearn.ensemble.RandomForestClassifier",
    ),
    (
        "n_estimators",
        "n_estimator",
        "11:12: train.params.n_estimator: expected a parameter of RandomForestClassifier, got n_estimator",
        "n_estimators",
    ),
    (
        "time: at",
        "time: zzz",
        "8:9: data.time: expected a column of the data, got zzz (the columns: at, site, flow rate,",
        "",
    ),
    ("source: rows.csv", "source: row.csv", "5:11: data.source: expected data that can be read", "rows.csv"),
    (
        "RandomForestClassifier",
        "RandomForestRegressor",
        "10:14: train.estimator: expected an estimator with predict_proba",
        "",
    ),
    ("0 3 * * 0", "0 3 * * 9", "15:21: retrain.schedule: expected a cron rule such as '0 3 * * 0', got 0 3 * * 9", ""),
]


@pytest.mark.parametrize(("old", "new", "start", "near"), WRONG)
def test_what_only_the_data_or_the_library_can_tell(old, new, start, near, folder, capsys):
    """Columns, estimators, parameters and cron rules that do not exist are shown at their place, with the nearest."""
    path = folder / "loop.yaml"
    assert old in GOOD
    path.write_text(GOOD.replace(old, new))
    code, printed = checked(path, "--data", capsys=capsys)
    assert code == 1
    assert len(printed) == 1
    assert printed[0].startswith(f"{path}:{start}")
    assert f"{near}?)" in printed[0] or not near


def test_all_of_them_at_once(folder, capsys):
    """Mistakes of several kinds come together, by line."""
    path = folder / "loop.yaml"
    path.write_text(GOOD.replace("label: state", "label: stat").replace("n_est", "n_ets").replace("[site]", "[sites]"))
    code, printed = checked(path, "--data", capsys=capsys)
    assert code == 1
    assert [line.removeprefix(f"{path}:").split(":")[0] for line in printed] == ["6", "11", "12"]


def test_without_data_nothing_is_read(folder, capsys):
    """Without --data the source is not opened."""
    (folder / "rows.csv").unlink()
    assert checked(folder / "loop.yaml", capsys=capsys)[0] == 0


def test_a_strangers_module_is_not_imported(folder, capsys, monkeypatch):
    """Checking a file runs no code that the file names."""
    (folder / "evil.py").write_text("raise SystemExit('imported')")
    monkeypatch.syspath_prepend(str(folder))
    path = folder / "loop.yaml"
    path.write_text(GOOD.replace("sklearn.ensemble.RandomForestClassifier", "evil.Estimator"))
    assert checked(path, capsys=capsys)[0] == 0
    path.write_text(GOOD.replace("estimator: sklearn.ensemble.RandomForestClassifier", "entrypoint: evil:fit"))
    assert checked(path, capsys=capsys)[0] == 0


def test_several_files_and_json(folder, capsys):
    """Many files are checked in one go; --json holds each mistake as data."""
    bad = folder / "bad.yaml"
    bad.write_text(GOOD.replace("kind: Loop", "kind: Lop").replace("group: edge", "grup: edge"))
    assert main(["check", str(folder / "loop.yaml"), str(bad), "--json"]) == 1
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is False
    assert document["files"] == [str(folder / "loop.yaml"), str(bad)]
    found = {(p["file"], p["line"], p["path"]) for p in document["problems"]}
    assert found == {
        (str(bad), 2, "kind"),
        (str(bad), 14, "targets[0].nodes.grup"),
        (str(bad), 14, "targets[0].nodes.group"),
    }


def test_a_missing_file_hides_no_other(folder, capsys):
    """A file that is not there is a mistake of that file; the files before and after it are checked."""
    nope, bad = folder / "nope.yaml", folder / "bad.yaml"
    bad.write_text(GOOD.replace("kind: Loop", "kind: Lop"))
    assert main(["check", str(nope), str(bad), str(folder), str(folder / "loop.yaml")]) == 1
    printed = capsys.readouterr().out.splitlines()
    assert printed[0] == f"{nope}:1:1: document: expected a file that can be read, got No such file or directory"
    assert printed[1].startswith(f"{bad}:2:")
    assert printed[2] == f"{folder}:1:1: document: expected a file that can be read, got Is a directory"
    assert printed[3:] == [f"{folder / 'loop.yaml'}: no mistakes"]


@pytest.mark.parametrize("source", ["s3://bucket/rows/", "src:rows"])
def test_a_source_that_is_not_on_disk_is_no_mistake(source, folder, capsys):
    """For s3:// and functions the person is told that the data were not looked into, and the loop is right."""
    path = folder / "loop.yaml"
    path.write_text(GOOD.replace("source: rows.csv", f"source: {source}"))
    assert main(["check", str(path), "--data"]) == 0
    said = capsys.readouterr()
    assert said.out == f"{path}: no mistakes\n"
    assert said.err.startswith(f"{path}: data.source: the data were not looked into")
    assert main(["check", str(path), "--data", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert document["ok"] is True
    assert [(n["file"], n["path"]) for n in document["notes"]] == [(str(path), "data.source")]
    assert main(["check", str(path)]) == 0
    assert capsys.readouterr().err == ""


def test_a_source_that_nothing_reads_is_a_mistake(folder, capsys):
    """A source of a form that the pipeline cannot read is reported, not taken for a remote one."""
    path = folder / "loop.yaml"
    path.write_text(GOOD.replace("source: rows.csv", "source: https://x/rows.csv"))
    code, printed = checked(path, "--data", capsys=capsys)
    assert code == 1
    assert "5:11: data.source: expected a file, a folder, s3://bucket/prefix/ or module:function" in printed[0]


def test_a_broken_field_hides_no_other_question(folder, capsys):
    """Beside mistakes of form, the schedule, the estimator, its parameters, the label and the features are still asked."""
    path = folder / "loop.yaml"
    changes = {
        "kind: Loop": "kind: Lop",
        "group: edge": "grup: edge",
        "time: at": "time: [at]",
        "label: state": "label: stat",
        "Pressure]": "pressure]",
        "RandomForestClassifier": "RandomForestClasifier",
        "0 3 * * 0": "99 * * * *",
    }
    text = GOOD
    for old, new in changes.items():
        text = text.replace(old, new)
    path.write_text(text)
    assert main(["check", str(path), "--data", "--json"]) == 1
    found = [p["path"] for p in json.loads(capsys.readouterr().out)["problems"]]
    assert found == [
        "kind",
        "data.label",
        "data.features[1]",
        "data.time",
        "train.estimator",
        "targets[0].nodes.group",
        "targets[0].nodes.grup",
        "retrain.schedule",
    ]


def test_a_schedule_is_reported_once(folder, capsys):
    """A schedule whose form is wrong already gets no second mistake."""
    path = folder / "loop.yaml"
    path.write_text(GOOD.replace("0 3 * * 0", "daily"))
    code, printed = checked(path, capsys=capsys)
    assert code == 1
    assert len(printed) == 1


MISFITS = [  # target, where, what runs there
    (
        "platform: linux/arm/v7, runtime: onnxruntime",
        "14:54: targets[0].runtime",
        "linux/arm/v7: native, got onnxruntime",
    ),
    ("platform: linux/riscv64", "14:5: targets[0].runtime", "linux/riscv64: native, got onnxruntime"),
    ("platform: linux/arm/v7, runtime: fpga-sim", "14:54: targets[0].runtime", "linux/arm/v7: native, got fpga-sim"),
]


@pytest.mark.parametrize(("target", "place", "said"), MISFITS)
@pytest.mark.parametrize("command", ["check", "compile", "submit"])
def test_a_runtime_that_does_not_run_on_the_platform_is_a_mistake(command, target, place, said, folder, capsys):
    """It is refused when the loop is read, not after training: with the runtimes that fit and where this one would run."""
    path = folder / "loop.yaml"
    path.write_text(GOOD.replace("{name: gateway, ", f"{{name: gateway, {target}, "))
    further = {"compile": ["--out", str(folder / "compiled")], "submit": ["--dry-run"]}.get(command, [])
    assert main([command, str(path), *further]) == 1
    printed = capsys.readouterr()
    found = printed.out + printed.err
    assert f"{path}:{place}: expected a runtime that runs on {said}" in found
    assert "runs on linux/amd64, linux/arm64)" in found
    assert not (folder / "compiled").exists()


def test_a_misfit_is_reported_beside_other_mistakes(folder, capsys):
    """A mistake elsewhere hides no misfit; a platform that does not exist makes none."""
    path = folder / "loop.yaml"
    targets = (
        "  - {name: a, nodes: {group: e}, platform: linux/arm/v7}\n  - {name: b, nodes: {group: f}, platform: odd}\n"
    )
    path.write_text(GOOD.replace("label:", "labell:").replace("  - {name: gateway, nodes: {group: edge}}\n", targets))
    _, lines = checked(path, capsys=capsys)
    assert [line.split(": ")[1] for line in lines if "targets" in line] == ["targets[0].runtime", "targets[1].platform"]


@pytest.mark.parametrize(
    ("base", "code"),
    [
        ("debian", 0),
        (f"registry.example/base@sha256:{'0' * 64}", 0),
        (f"oci:images@sha256:{'0' * 64}", 0),
        ("debian:12", 1),
        ("registry.example/base:latest", 1),
        ("ubuntu", 1),
    ],
)
def test_what_a_base_may_be_is_what_packaging_takes(base, code, folder, capsys):
    """The check of loop.yaml and the step that builds the image agree: docs/images.md."""
    path = folder / "loop.yaml"
    path.write_text(GOOD.replace("{name: gateway, ", f'{{name: gateway, base: "{base}", '))
    found, lines = checked(path, capsys=capsys)
    assert (found, any("targets[0].base: expected debian" in line for line in lines)) == (code, bool(code))
    from edgeloop_components.package.base import _named
    from edgeloop_components.package.layers import PackageError

    if base != "debian" and code:
        with pytest.raises(PackageError, match="base: expected debian"):
            _named(base)


@pytest.mark.parametrize(
    ("estimator", "said"),
    [
        ("os.system", "expected a scikit-learn classifier, got os.system"),
        ("RandomForestClassifier", "expected a dotted name"),
        ("yaml.SafeLoader", "expected a scikit-learn classifier, got yaml.SafeLoader (it has no fit)"),
        ("yaml.safe_load", "expected an estimator of yaml, got safe_load"),
        ("yaml.nothing.X", "expected a module of yaml, got yaml.nothing"),
        ("sklearn.preprocessing.StandardScaler", "expected an estimator with predict_proba"),
    ],
)
def test_what_is_no_classifier(estimator, said, folder, capsys):
    """A name of the standard library, of an installed package or of scikit-learn that is no classifier is reported."""
    path = folder / "loop.yaml"
    path.write_text(GOOD.replace("sklearn.ensemble.RandomForestClassifier", estimator).replace("n_estimators: 10", ""))
    code, printed = checked(path, capsys=capsys)
    assert code == 1
    assert len(printed) == 1
    assert printed[0].startswith(f"{path}:10:14: train.estimator: ")
    assert said in printed[0]


def test_an_onnx_file_is_looked_at(folder, capsys):
    """A missing file and one that is not ONNX are reported at train.onnx; a real one, beside the loop's file, is right."""
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    path = folder / "loop.yaml"
    onnx = GOOD.replace("estimator: sklearn.ensemble.RandomForestClassifier", "onnx: m.onnx").replace(
        "  params: {n_estimators: 10}\n", ""
    )
    path.write_text(onnx)
    code, printed = checked(path, capsys=capsys)
    assert (code, len(printed)) == (1, 1)
    assert printed[0].startswith(f"{path}:10:9: train.onnx: expected an ONNX model, got m.onnx")
    (folder / "m.onnx").write_text("a,b\n1,2\n")
    code, printed = checked(path, capsys=capsys)
    assert code == 1
    assert "found text that begins" in printed[0]
    x = np.array([[0.0], [1.0], [2.0], [3.0]], dtype=np.float32)
    fitted = LogisticRegression().fit(x, [0, 0, 1, 1])
    (folder / "m.onnx").write_bytes(to_onnx(fitted, x[:1]).SerializeToString())
    assert checked(path, capsys=capsys) == (0, [f"{path}: no mistakes"])


def test_the_tables_in_the_manual_are_up_to_date():
    """docs/loop.md holds what the contract says now; if not: python -m edgeloop_pipelines.loopfile.describe docs/loop.md."""
    from edgeloop_pipelines.loopfile.describe import main as describe

    assert describe([str(Path(__file__).parents[2] / "docs" / "loop.md"), "--check"]) == 0


def test_the_manual_names_every_field_of_the_schema():
    """Each property of loop.yaml's JSON Schema has a row in the manual, and each row is a property."""
    from edgeloop_contracts import Loop
    from edgeloop_contracts.schema import json_schema
    from edgeloop_pipelines.loopfile.describe import BEGIN, END

    page = (Path(__file__).parents[2] / "docs" / "loop.md").read_text().split(BEGIN)[1].split(END)[0]
    sections = page.split("\n### ")[1:]
    documented = {
        (section.split("\n", 1)[0].removesuffix("[]"), line.split("`")[1])
        for section in sections
        for line in section.splitlines()
        if line.startswith("| `")
    }
    assert documented == set(_properties(json_schema(Loop, strict=True)))


def _properties(schema):
    """(section, field) of every section in a JSON Schema, references followed."""

    def walk(part, path):
        part = schema["$defs"][part["$ref"].rsplit("/", 1)[1]] if "$ref" in part else part
        part = part.get("items", part)
        part = schema["$defs"][part["$ref"].rsplit("/", 1)[1]] if "$ref" in part else part
        for name, inner in part.get("properties", {}).items():
            if path:
                yield path.replace("targets.", "targets[]."), name
            yield from walk(inner, f"{path}.{name}" if path else name)

    yield from walk(schema, "")
