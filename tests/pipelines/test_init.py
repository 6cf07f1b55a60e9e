"""`edgeloop init`: what it guesses of real shapes of data, and that `check` accepts what it writes."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from edgeloop_contracts import Loop, Target
from edgeloop_contracts.codec import fields_of
from edgeloop_contracts.loop import DataSource, LoopMetadata, NodeSelector, Train
from edgeloop_pipelines.cli import main
from edgeloop_pipelines.loopfile import load, loads
from edgeloop_pipelines.loopfile.guess import guess, pick_monitor_window, pick_window
from edgeloop_pipelines.loopfile.table import ColumnSummary, SourceError, Table, look, summarise
from edgeloop_pipelines.loopfile.write import EXAMPLES, contract_in, flow, write

DAY = 86_400


def wind(rows: int = 300) -> pd.DataFrame:
    """Four turbines every ten minutes, as the La Haute Borne data are, with a derived state."""
    rng = np.random.default_rng(0)
    times = pd.date_range("2014-01-01", periods=rows, freq="10min", tz="UTC").strftime("%Y-%m-%dT%H:%M:%S+01:00")
    parts = []
    for turbine in ("R80711", "R80721", "R80736", "R80790"):
        speed = rng.gamma(2, 3, rows)
        state = np.select([speed < 3, speed < 9], ["idle", "partial"], "rated")
        columns = {"Wind_turbine_name": turbine, "Date_time": times, "Ws_avg": speed, "Ot_avg": rng.normal(10, 5, rows)}
        parts.append(pd.DataFrame({**columns, "power_state": state}))
    return pd.concat(parts).sort_values("Date_time", kind="stable")


def rainfall(rows: int = 1200) -> pd.DataFrame:
    """One row a day without a date, numbered, as the NOAA rainfall data are."""
    values = np.random.default_rng(1).normal(size=(rows, 4))
    frame = pd.DataFrame(values, columns=["temperature", "dew point", "sea-level pressure", "visibility"])
    return frame.assign(rain=(values[:, 1] > 0.5).astype(int)).rename_axis(None).reset_index(names="Unnamed: 0")


def devices(rows: int = 900) -> pd.DataFrame:
    """Unix seconds, numbered devices, a truth value to predict, and columns that no model should see."""
    rng = np.random.default_rng(2)
    failed = rng.random(rows) < 0.2
    return pd.DataFrame(
        {
            "ts": 1_700_000_000 + np.arange(rows) // 3 * 60,
            "device_id": np.arange(rows) % 3,
            "load": rng.random(rows),
            "mode": rng.choice(["a", "b"], rows),
            "firmware": "1.2.3",
            "note": [f"row {i}" for i in range(rows)],
            "spare": np.nan,
            "failed_text": np.where(failed, "yes", "no"),
            "failed": failed,
        }
    )


EXPECTED = {
    "wind": (wind, "Date_time", "Wind_turbine_name", "power_state", ("Ws_avg", "Ot_avg"), {}),
    "rainfall": (
        rainfall,
        "",
        "",
        "rain",
        ("temperature", "dew point", "sea-level pressure", "visibility"),
        {"Unnamed: 0": "it numbers the rows"},
    ),
    "devices": (
        devices,
        "ts",
        "device_id",
        "failed",
        ("load", "mode"),
        {
            "firmware": "it has one value only",
            "note": "it names each row",
            "spare": "it is empty",
            "failed_text": "it says the same as the label",
        },
    ),
}


@pytest.mark.parametrize("form", ["csv", "parquet", "folder"])
@pytest.mark.parametrize("name", EXPECTED)
def test_guesses_and_round_trip(name, form, tmp_path, capsys):
    """The columns are guessed right from CSV, Parquet and folders, and `check --data` accepts the file that is written."""
    make, time, node, label, features, left_out = EXPECTED[name]
    source = _stored(make(), form, tmp_path)
    out = tmp_path / "loop.yaml"
    assert main(["init", str(source), "-o", str(out), "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    loop = load(out)
    assert (loop.data.time, loop.data.node, loop.data.label) == (time, node, label)
    assert loop.data.features == features
    assert {entry["column"]: entry["why"] for entry in document["left_out"]} == left_out
    assert all(g["why"] and g["sure"] in ("sure", "likely", "a guess") for g in document["guesses"])
    assert main(["check", str(out), "--data"]) == 0
    assert capsys.readouterr().out == f"{out}: no mistakes\n"


def _stored(frame: pd.DataFrame, form: str, folder: Path) -> Path:
    if form == "parquet":
        frame.to_parquet(folder / "rows.parquet")
        return folder / "rows.parquet"
    if form == "csv":
        frame.to_csv(folder / "rows.csv", index=False)
        return folder / "rows.csv"
    half = len(frame) // 2
    (folder / "rows" / "deep").mkdir(parents=True)
    frame.iloc[:half].to_csv(folder / "rows" / "a.csv", index=False)
    frame.iloc[half:].to_csv(folder / "rows" / "deep" / "b.csv", index=False)
    return folder / "rows"


@pytest.fixture
def wind_csv(tmp_path: Path) -> Path:
    path = tmp_path / "wind.csv"
    wind().to_csv(path, index=False)
    return path


def test_the_written_file_explains_itself(wind_csv, tmp_path, capsys):
    """Every field of the contract stands in the file with its meaning, and each guess with its reason."""
    out = tmp_path / "loop.yaml"
    assert main(["init", str(wind_csv), "-o", str(out)]) == 0
    text = out.read_text()
    assert text.startswith("# yaml-language-server: $schema=loop.schema.json\n")
    for section in (contract_in(f.type) for f in fields_of(Loop)):
        for f in fields_of(section):
            assert f"{f.name}:" in text
            assert contract_in(f.type) or f.metadata.get("doc", "") in text
    assert "# guessed (sure): 4 different values; its name; with the time it makes each row unique" in text
    shown = capsys.readouterr().out
    assert "Wind_turbine_name" in shown
    assert f"wrote {out}" in shown


def test_a_relative_source_is_found_from_the_file(wind_csv, tmp_path, monkeypatch, capsys):
    """The source is written as seen from the folder of loop.yaml, so that the file can be used from anywhere."""
    monkeypatch.chdir(tmp_path)
    (tmp_path / "loops").mkdir()
    assert main(["init", "wind.csv", "-o", "loops/w.yaml"]) == 0
    assert load("loops/w.yaml").data.source == "../wind.csv"
    monkeypatch.chdir("/")
    assert main(["check", str(tmp_path / "loops" / "w.yaml"), "--data"]) == 0
    capsys.readouterr()


def test_nothing_is_overwritten_unasked(wind_csv, tmp_path, capsys):
    """A file that is there stays as it is, unless --force is given."""
    out = tmp_path / "loop.yaml"
    out.write_text("mine")
    assert main(["init", str(wind_csv), "-o", str(out)]) == 1
    assert "--force overwrites it" in capsys.readouterr().err
    assert out.read_text() == "mine"
    assert main(["init", str(wind_csv), "-o", str(out), "--force"]) == 0
    assert load(out).name == "wind"


def test_options_override_guesses(tmp_path, capsys):
    """What the person says is taken, and '' means that there is none."""
    devices().to_csv(tmp_path / "d.csv", index=False)
    out = tmp_path / "l.yaml"
    words = [
        "init",
        str(tmp_path / "d.csv"),
        "-o",
        str(out),
        "--label",
        "mode",
        "--time",
        "",
        "--node",
        "",
        "--name",
        "pump",
    ]
    assert main(words) == 0
    loop = load(out)
    assert (loop.name, loop.data.label, loop.data.time, loop.data.node) == ("pump", "mode", "", "")
    assert "device_id" in loop.data.features
    assert "ts" not in loop.data.features
    capsys.readouterr()


BAD_DATA = [
    ("nothing.csv", None, [], "nothing.csv: no such file or folder"),
    ("empty.csv", "", [], "empty.csv: cannot be read as csv"),
    ("header.csv", "a,b\n", [], "expected rows, found only a header"),
    ("binary.csv", b"\xff\xfe\x00\x01\n\x80,\x81", [], "binary.csv: cannot be read as csv"),
    ("notes.txt", "a,b\n1,2\n", [], "expected a file that ends in .csv or .parquet, got .txt"),
    ("semi.csv", "a;b\n1;2\n3;4\n", [], "expected columns separated by commas"),
    ("wrong.parquet", "a,b\n1,2\n", [], "wrong.parquet: cannot be read as parquet"),
    ("numbers.csv", "a,b\n" + "\n".join(f"{i / 7},{i / 9}" for i in range(200)), [], "no column looks like a label"),
    ("ok.csv", "a,y\n" + "1.5,0\n2.5,1\n" * 50, ["--label", "z"], "--label: expected a column of the data, got z"),
    ("ok.csv", "a,y\n" + "1.5,0\n2.5,0\n" * 50, ["--label", "y"], "expected at least 2 different values, found 1"),
    ("only.csv", "y,w\n" + "0,5\n1,5\n" * 50, ["--label", "y"], "no column is left that could be a feature"),
]


@pytest.mark.parametrize(("name", "content", "options", "message"), BAD_DATA)
def test_bad_data_is_named_and_nothing_written(name, content, options, message, tmp_path, capsys):
    """Data that cannot serve are answered with what is wrong, and no file appears."""
    path, out = tmp_path / name, tmp_path / "loop.yaml"
    if content is not None:
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
    before = set(tmp_path.iterdir())
    assert main(["init", str(path), "-o", str(out), *options]) == 1
    assert message in capsys.readouterr().err
    assert set(tmp_path.iterdir()) == before


SMALL = {
    "six rows": ("a,b,y\n" + "".join(f"{i / 7},{i % 3},{'pq'[i % 2]}\n" for i in range(6)), ("a", "b"), ""),
    "unique numbers": ("x,y\n" + "".join(f"{(i * 7 % 50) / 3},{i % 2}\n" for i in range(50)), ("x",), ""),
    "only a copy of the label": (
        "c,y\n" + "up,1\ndown,0\n" * 50,
        ("c",),
        "taken for want of better: c (it says the same as the label)",
    ),
}


@pytest.mark.parametrize("name", SMALL)
def test_small_data_keep_their_features(name, tmp_path, capsys):
    """A few rows prove no column the label's copy, and where all columns are doubtful they are taken and said so."""
    content, features, remark = SMALL[name]
    (tmp_path / "d.csv").write_text(content)
    out = tmp_path / "l.yaml"
    assert main(["init", str(tmp_path / "d.csv"), "-o", str(out), "--label", "y", "--node", "", "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert load(out).data.features == features
    assert document["left_out"] == []
    assert ("want of better" in " ".join(document["remarks"])) is bool(remark)
    assert remark in " ".join(document["remarks"])
    assert remark in out.read_text()


def test_a_link_that_leads_nowhere_is_named(tmp_path, capsys):
    """A dangling link is answered with where it leads, not with its own name as a suggestion."""
    (tmp_path / "dangling.csv").symlink_to("gone.csv")
    assert main(["init", str(tmp_path / "dangling.csv"), "-o", str(tmp_path / "l.yaml")]) == 1
    error = capsys.readouterr().err
    assert "it is a link to gone.csv, which is not there" in error
    assert "did you mean" not in error
    assert main(["init", str(tmp_path / "dangling2.csv"), "-o", str(tmp_path / "l.yaml")]) == 1
    assert "did you mean" not in capsys.readouterr().err


def test_an_empty_name_is_no_folder(tmp_path, monkeypatch, capsys):
    """init '' does not read the folder that it happens to be in."""
    rainfall(60).to_csv(tmp_path / "rain.csv", index=False)
    monkeypatch.chdir(tmp_path)
    assert main(["init", ""]) == 1
    assert "expected a file or a folder, got an empty name" in capsys.readouterr().err
    assert not (tmp_path / "loop.yaml").exists()


@pytest.mark.parametrize("options", [[], ["--force"]])
def test_a_folder_is_no_output(options, wind_csv, tmp_path, capsys):
    """An output that is a folder is refused by its name; nothing is left in it."""
    out = tmp_path / "out"
    out.mkdir()
    assert main(["init", str(wind_csv), "-o", str(out), *options]) == 1
    error = capsys.readouterr().err
    assert f"{out}: expected a file to write, found a folder" in error
    assert f"-o {out / 'loop.yaml'}" in error
    assert sorted(p.name for p in tmp_path.rglob("*")) == ["out", "wind.csv"]


def test_broken_lines_are_counted(tmp_path, capsys):
    """Lines with too many fields are left out of the look, and said so."""
    path = tmp_path / "d.csv"
    path.write_text("a,y\n" + "".join(f"{i / 7},{i % 2}\n" for i in range(100)) + "1,2,3,4\n")
    assert main(["init", str(path), "-o", str(tmp_path / "l.yaml")]) == 0
    assert "1 broken line in the first rows, such as" in capsys.readouterr().out


def test_a_long_file_is_only_looked_at(tmp_path):
    """The look ends after its rows: a folder gives rows of each file."""
    pd.DataFrame({"a": range(9000)}).to_csv(tmp_path / "a.csv", index=False)
    pd.DataFrame({"a": range(9000, 9100)}).to_csv(tmp_path / "b.csv", index=False)
    frame = look(str(tmp_path)).frame
    assert len(frame) <= 5000
    assert frame["a"].max() > 9000


def summary(name: str, kind: str = "number", distinct: int = 500, **more: object) -> ColumnSummary:
    return ColumnSummary(name=name, kind=kind, missing=0, distinct=distinct, **more)


def test_two_possible_times_are_told():
    """Where two columns hold times, that with more different ones is taken, and the other named."""
    made, seen = summary("made", distinct=9, time="text"), summary("timestamp", time="milliseconds")
    guesses = guess(Table(500, (made, seen, summary("x"), summary("y", distinct=2, whole=True))))
    assert (guesses.time.value, guesses.time.sure) == ("timestamp", "likely")
    assert "Unix milliseconds; made could be it too" in guesses.time.why
    assert guesses.left_out == (("made", "it is a time"),)


def test_the_pipeline_reads_the_times_that_are_guessed():
    """Each form of time that `init` takes is read by ingest as the same moment."""
    from edgeloop_components.ingest.values import time_us
    from edgeloop_pipelines.loopfile.table import to_times

    for values in (["2024-01-01T00:00:00Z", "2024-01-01 02:30:00+01:00", "2024-01-01"], [1.7e9, 1.7e9 + 0.5]):
        frame = pd.DataFrame({"time": values})
        form = summarise(frame).columns[0].time
        assert form
        assert [time_us(value) / 1e6 for value in values] == list(to_times(frame["time"], form))
    frame = pd.DataFrame({"time": [1_700_000_000_000, 1_700_000_000_500]})
    assert summarise(frame).columns[0].time == "milliseconds"
    assert [time_us(v) / 1e6 for v in frame["time"].tolist()] == list(to_times(frame["time"], "milliseconds"))


def test_a_folder_is_seen_as_the_pipeline_sees_it(tmp_path):
    """Hidden files are left out, and a file of another kind is refused, as ingest does."""
    from edgeloop_pipelines.loopfile.table import files_of

    for name in ("a.csv", ".hidden.csv", "_tmp/b.csv", "deep/c.CSV"):
        path = tmp_path / name
        path.parent.mkdir(exist_ok=True)
        path.write_text("a\n1\n")
    assert files_of(str(tmp_path)) == [tmp_path / "a.csv", tmp_path / "deep" / "c.CSV"]
    (tmp_path / "readme.txt").write_text("x")
    with pytest.raises(SourceError, match=r"readme\.txt: expected a file that ends in"):
        files_of(str(tmp_path))


def test_two_possible_labels_are_told():
    """Where two columns could be the label the guess says so and is less sure."""
    columns = (summary("x"), summary("state", "text", 3, commonest=0.5), summary("status", "text", 3, commonest=0.6))
    label = guess(Table(500, columns)).label
    assert label.sure != "a guess" or "could be it too" in label.why
    alike = (summary("x"), summary("state", "text", 3), summary("status", "text", 3), summary("z"))
    label = guess(Table(500, alike)).label
    assert label.sure == "a guess"
    assert "status could be it too" in label.why


def test_a_number_is_no_label():
    """A measured number is refused as a label, with what to do instead."""
    with pytest.raises(SourceError, match="expected classes, found a number with 500 different values") as caught:
        guess(Table(500, (summary("x"), summary("power"))), label="power")
    assert "derive a column" in caught.value.hint


def test_a_node_needs_evidence():
    """A text column is taken for the node by its name, or because it tells rows of one moment apart; not for nothing."""
    time = summary("at", "text", 100, time="text")
    colour, label = summary("colour", "text", 4), summary("label", "text", 2)
    assert guess(Table(400, (time, colour, summary("x"), label))).node.value == ""
    told = Table(400, (time, colour, summary("x"), label), unique=frozenset({("at", "colour")}))
    assert guess(told).node.value == "colour"


@pytest.mark.parametrize(
    ("days", "window"), [(0.5, "1d"), (4, "1d"), (60, "14d"), (365, "90d"), (3650, "730d"), (None, "60d")]
)
def test_training_window(days, window):
    """The window is about a quarter of what the data span, and never less than a day."""
    assert pick_window(None if days is None else days * DAY)[0] == window


@pytest.mark.parametrize(
    ("step_s", "window"), [(1, "1m"), (60, "15m"), (600, "6h"), (DAY, "4w"), (40 * DAY, "52w"), (None, "1h")]
)
def test_monitor_window(step_s, window):
    """The monitor window is the shortest with enough rows of a node."""
    assert pick_monitor_window(step_s)[0] == window


def test_summaries():
    """What is said of each column is so."""
    found = {c.name: c for c in summarise(devices()).columns}
    assert found["ts"].time == "seconds"
    assert found["failed"].kind == "boolean"
    assert found["spare"].kind == "empty"
    assert found["note"].distinct == 900
    assert found["mode"].kind == "text"
    assert summarise(rainfall()).columns[0].counts_up
    assert summarise(wind()).step_s == 600
    assert ("Date_time", "Wind_turbine_name") in summarise(wind()).unique


def minimal() -> Loop:
    return Loop(
        metadata=LoopMetadata(name="a"),
        data=DataSource(source="a.csv", label="y", features=("x",)),
        train=Train(estimator="sklearn.linear_model.LogisticRegression"),
        targets=(Target(name="t", nodes=NodeSelector(group="edge")),),
    )


def test_examples_in_comments_are_right():
    """Taking away the '#' before an example gives a file that is read, for every example there is."""
    lines = write(minimal(), {}).splitlines()
    examples = [i for i, line in enumerate(lines) if line.lstrip().startswith("# ") and _is_example(line)]
    assert len(examples) >= len(EXAMPLES) - 1
    for i in examples:
        changed = list(lines)
        changed[i] = changed[i].replace("# ", "", 1)
        head = _section_in_comment(lines, i)
        if head is not None:
            changed[head] = changed[head].replace("# ", "", 1)
        name = changed[i].split(":")[0].strip()
        if name in ("entrypoint", "onnx"):  # exactly one of three
            changed = [line for line in changed if not line.strip().startswith("estimator:")]
        if name == "waves":
            changed[i] = changed[i].replace("[[canary], [edge]]", "[[edge]]")
        assert loads("\n".join(changed).encode()), name


def _section_in_comment(lines: list[str], place: int) -> int | None:
    """The line of the section around an example, where that is a comment too: `# budget:`."""

    def indent(line: str) -> int:
        return len(line) - len(line.lstrip())

    outer = (k for k in range(place, -1, -1) if indent(lines[k]) < indent(lines[place]) and ":" in lines[k])
    head = next(outer, None)
    return head if head is not None and lines[head].lstrip().startswith("# ") else None


def _is_example(line: str) -> bool:
    name = line.lstrip()[2:].split(":")[0]
    return any(path.rsplit(".", 1)[-1] == name for path in EXAMPLES)


NAMES = [
    "plain",
    "two words",
    "on",
    "yes",
    "1",
    "1.5",
    "",
    "a: b",
    "#x",
    "a, b",
    "[x]",
    "ü",
    "-",
    "'",
    '"',
    "~",
    "x y\n",
]
NAMES += ["0x1", "2014-01-01", "*a", "&a", "!a", "%a", "@a", "`a", "null", " lead"]


@pytest.mark.parametrize("text", NAMES)
def test_any_name_survives_writing(text):
    """A column of any name is read back as the same text, by our reader and by an old one."""
    import yaml

    from edgeloop_pipelines.loopfile.yamltext import parse

    line = f"a: {flow([text, {text: text}])}"
    assert parse(line.encode()).value == {"a": [text, {text: text}]}
    assert yaml.safe_load(line) == {"a": [text, {text: text}]}
