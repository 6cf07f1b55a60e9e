"""`edgeloop check`: every mistake as a compiler prints them, of the file and of the data that it names."""

from __future__ import annotations

import json
from pathlib import Path

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


def test_a_missing_file(tmp_path, capsys):
    """A file that is not there is an error with its name."""
    assert main(["check", str(tmp_path / "nope.yaml")]) == 1
    assert "nope.yaml: No such file or directory" in capsys.readouterr().err


def test_a_source_that_is_not_on_disk_is_not_guessed_at(folder, capsys):
    """For s3:// the person is told that its columns were not looked at."""
    path = folder / "loop.yaml"
    path.write_text(GOOD.replace("source: rows.csv", "source: s3://bucket/rows/"))
    assert checked(path, capsys=capsys)[0] == 0
    code, printed = checked(path, "--data", capsys=capsys)
    assert code == 1
    assert "only files and folders can be looked at" in printed[0]


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
