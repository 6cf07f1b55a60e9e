"""Ingest: what is read, what is refused, and that equal rows give an equal digest."""

from __future__ import annotations

import csv
import random
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeloop_components.ingest.core import DataError, ingest
from edgeloop_components.ingest.rows import encode, read_rows
from edgeloop_components.ingest.values import time_us
from edgeloop_components.stores.objects import MemoryObjects
from edgeloop_contracts import FeatureReference, Loop, from_json

NOON = 1_400_000_000


def make_loop(**data: Any) -> Loop:
    document = {
        "apiVersion": "edgeloop.dev/v1alpha1",
        "kind": "Loop",
        "metadata": {"name": "toy"},
        "data": {"source": "x", "time": "time", "node": "node", "label": "y", "features": ["a", "kind"], **data},
        "train": {"estimator": "sklearn.linear_model.LogisticRegression"},
        "targets": [{"name": "t", "nodes": {"group": "g"}}],
    }
    return from_json(Loop, document)


def make_rows(n: int) -> list[dict[str, Any]]:
    return [
        {
            "time": NOON + 600 * (i // 2),
            "node": f"n{i % 2}",
            "a": i / 8,
            "kind": "xyz"[i % 3],
            "y": "no" if i % 3 else "yes",
        }
        for i in range(n)
    ]


def write_csv(path: Path, rows: list[dict[str, Any]]) -> Path:
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, list(rows[0]))
        writer.writeheader()
        writer.writerows(rows)
    return path


def quarantined(out: Path) -> list[tuple[str, str, str]]:
    with (out / "quarantine.csv").open(newline="") as stream:
        return [(row["file"], row["line"], row["reason"]) for row in csv.DictReader(stream)]


@settings(max_examples=30, deadline=None)
@given(st.integers(0, 2**32), st.integers(1, 4))
def test_equal_rows_in_any_files_and_order_give_an_equal_digest(tmp_path_factory: Any, seed: int, files: int) -> None:
    """The digest is that of the values: neither the order of rows nor their split into files changes it."""
    rows, draw = make_rows(30), random.Random(seed)
    folder = tmp_path_factory.mktemp("digest")
    (folder / "in").mkdir()
    shuffled = draw.sample(rows, len(rows))
    cuts = sorted(draw.sample(range(1, 30), files - 1))
    for i, (a, b) in enumerate(zip([0, *cuts], [*cuts, 30], strict=True)):
        write_csv(folder / "in" / f"{i}.csv", shuffled[a:b])
    one = ingest(make_loop(source=str(write_csv(folder / "all.csv", rows))), folder / "one", objects=None)
    many = ingest(make_loop(source=str(folder / "in")), folder / "many", objects=None)
    assert one.digest == many.digest
    assert len(many.parts) == files
    assert sum(part.rows for part in many.parts) == many.rows == 30


def test_one_other_value_gives_another_digest(tmp_path: Path) -> None:
    """A digest that never changed would be worth nothing."""
    rows = make_rows(30)
    first = ingest(make_loop(source=str(write_csv(tmp_path / "a.csv", rows))), tmp_path / "one", objects=None)
    rows[7]["a"] += 1e-9
    second = ingest(make_loop(source=str(write_csv(tmp_path / "b.csv", rows))), tmp_path / "two", objects=None)
    assert first.digest != second.digest


def test_parquet_and_csv_of_the_same_rows_are_the_same_snapshot(tmp_path: Path) -> None:
    """Types of a file do not matter where the values are the same."""
    import pandas as pd

    rows = make_rows(40)
    frame = pd.DataFrame(rows).assign(time=lambda f: pd.to_datetime(f["time"], unit="s", utc=True))
    frame.to_parquet(tmp_path / "rows.parquet", index=False)
    by_csv = ingest(make_loop(source=str(write_csv(tmp_path / "rows.csv", rows))), tmp_path / "one", objects=None)
    by_parquet = ingest(make_loop(source=str(tmp_path / "rows.parquet")), tmp_path / "two", objects=None)
    assert by_csv.digest == by_parquet.digest
    assert (by_csv.start_s, by_csv.end_s) == (NOON, NOON + 600 * 19)


@pytest.mark.parametrize(
    "value",
    [
        "2014-05-13T16:53:20Z",
        "2014-05-13 16:53:20",
        "2014-05-13T18:53:20+02:00",
        "1400000000",
        "1400000000.0",
        "1400000000000",
        1_400_000_000,
        1_400_000_000_000.0,
    ],
)
def test_a_moment_has_many_forms(value: Any) -> None:
    """ISO text with or without an offset, seconds and milliseconds are the same moment."""
    assert time_us(value) == NOON * 1_000_000


@pytest.mark.parametrize("value", ["yesterday", "", "2014-13-01", "17", True, None, float("nan"), -5.0, 1e20])
def test_what_is_no_time_is_not_guessed(value: Any) -> None:
    """Anything else is unreadable."""
    assert time_us(value) is None


BAD = {
    "unreadable time": "soon,n0,1,x,yes",
    "missing label": f"{NOON},n0,1,x,",
    "missing node": f"{NOON},,1,x,yes",
    "not a number in a": f"{NOON},n0,warm,x,yes",
    "infinite value in a": f"{NOON},n0,inf,x,yes",
    "wrong number of fields": f"{NOON},n0,1,x,yes,extra",
}


@pytest.mark.parametrize(("reason", "line"), BAD.items())
def test_a_bad_row_is_quarantined_with_file_line_and_reason(tmp_path: Path, reason: str, line: str) -> None:
    """The other rows make the snapshot; the bad one is in quarantine.csv with where it stood and why."""
    path = write_csv(tmp_path / "rows.csv", make_rows(20))
    lines = path.read_text().splitlines()
    path.write_text("\n".join([*lines[:8], line, *lines[8:]]) + "\n")
    snapshot = ingest(make_loop(source=str(path)), tmp_path / "out", objects=None)
    assert snapshot.rows == 20
    assert snapshot.quarantined == {reason: 1}
    assert quarantined(tmp_path / "out") == [("rows.csv", "9", reason)]


def test_a_line_number_counts_lines_within_quotes(tmp_path: Path) -> None:
    """A quoted field over two lines shifts the lines after it."""
    path = write_csv(tmp_path / "rows.csv", make_rows(20))
    lines = path.read_text().splitlines()
    lines[2] = f'{NOON},n0,1,"x\ny",yes'
    lines[5] = "soon,n0,1,x,yes"
    path.write_text("\n".join(lines) + "\n")
    ingest(make_loop(source=str(path)), tmp_path / "out", objects=None)
    assert quarantined(tmp_path / "out") == [("rows.csv", "7", "unreadable time")]


def test_more_bad_rows_than_good_ones_are_refused_and_nothing_is_left(tmp_path: Path) -> None:
    """The message counts the reasons and shows the first row; the folder does not come to be."""
    rows = make_rows(20)
    for row in rows[:7]:
        row["time"] = "soon"
    for row in rows[7:11]:
        row["y"] = ""
    path = write_csv(tmp_path / "rows.csv", rows)
    with pytest.raises(DataError, match=r"11 of 20: 7 unreadable time, 4 missing label; the first: rows.csv line 2"):
        ingest(make_loop(source=str(path)), tmp_path / "out", objects=None)
    assert not (tmp_path / "out").exists()


def test_a_failure_leaves_an_older_snapshot_as_it_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A snapshot folder that fails in the middle of writing keeps what it had, and gets no half file."""
    path = write_csv(tmp_path / "rows.csv", make_rows(20))
    ingest(make_loop(source=str(path)), tmp_path / "out", objects=None)
    before = {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()}
    write_csv(path, make_rows(30))
    monkeypatch.setattr(
        "edgeloop_components.ingest.core._write_quarantine", lambda *_: (_ for _ in ()).throw(OSError(28))
    )
    with pytest.raises(OSError, match="28"):
        ingest(make_loop(source=str(path)), tmp_path / "out", objects=None)
    assert {p.name: p.read_bytes() for p in (tmp_path / "out").iterdir()} == before


def test_a_missing_column_is_answered_with_the_nearest_name(tmp_path: Path) -> None:
    """The file, the column and what may be meant are in the message."""
    path = write_csv(tmp_path / "rows.csv", make_rows(20))
    with pytest.raises(DataError, match=r"rows\.csv: no column 'kinds' \(did you mean kind\?\)"):
        ingest(make_loop(source=str(path), features=["a", "kinds"]), tmp_path / "out", objects=None)


def test_rows_of_the_same_time_and_node_count_once(tmp_path: Path) -> None:
    """Rows delivered twice are duplicates, also when a value differs; the choice does not depend on the order."""
    rows = make_rows(20)
    again = [{**rows[3], "a": 99.0}, rows[5]]
    forth = ingest(make_loop(source=str(write_csv(tmp_path / "a.csv", rows + again))), tmp_path / "a", objects=None)
    back = ingest(make_loop(source=str(write_csv(tmp_path / "b.csv", again + rows))), tmp_path / "b", objects=None)
    assert (forth.rows, forth.duplicates) == (20, 2)
    assert forth.digest == back.digest


def test_without_time_only_identical_rows_are_duplicates(tmp_path: Path) -> None:
    """A value that differs makes another row."""
    rows = [{key: value for key, value in row.items() if key != "time"} for row in make_rows(20)]
    rows += [rows[4], {**rows[4], "a": 99.0}]
    snapshot = ingest(
        make_loop(source=str(write_csv(tmp_path / "rows.csv", rows)), time=""), tmp_path / "out", objects=None
    )
    assert (snapshot.rows, snapshot.duplicates, snapshot.start_s) == (21, 1, None)


def test_the_window_reaches_back_from_the_newest_row_before_now(tmp_path: Path) -> None:
    """Older rows and rows after now are left out and counted; bad rows there are not held against the data."""
    rows = [{**row, "time": NOON + 86_400 * i} for i, row in enumerate(make_rows(20))]
    rows[0]["y"] = ""
    path = write_csv(tmp_path / "rows.csv", rows)
    loop = make_loop(source=str(path), window="5d")
    snapshot = ingest(loop, tmp_path / "out", objects=None, now_s=NOON + 86_400 * 14.5)
    assert (snapshot.start_s, snapshot.end_s) == (NOON + 86_400 * 9, NOON + 86_400 * 14)
    assert snapshot.rows == 6
    assert snapshot.quarantined == {}
    assert snapshot.extra["left_out"] == {"after_now": 5, "before_window": 9}


def test_missing_values_of_features_are_allowed(tmp_path: Path) -> None:
    """Empty numbers become NaN, empty categories stay missing, and the snapshot counts them."""
    rows = make_rows(20)
    rows[2]["a"], rows[3]["a"], rows[4]["kind"] = "", "NaN", ""
    snapshot = ingest(make_loop(source=str(write_csv(tmp_path / "rows.csv", rows))), tmp_path / "out", objects=None)
    assert {column.name: column.missing for column in snapshot.columns} == {"node": 0, "a": 2, "kind": 1, "y": 0}
    kind = FeatureReference(name="kind", kind="category", categories=("x", "z"))
    codes = encode(read_rows(tmp_path / "out"), [kind])[:, 0].tolist()
    assert codes[:4] == [0.0, -1.0, 1.0, 0.0]  # y is unknown to these categories
    assert codes[4] != codes[4]


def test_numbers_may_be_taken_as_categories_but_texts_not_as_numbers(tmp_path: Path) -> None:
    """An older model may hold a column for a category: its numbers go by their text. The other way round is refused."""
    path = write_csv(tmp_path / "rows.csv", [{**row, "a": i % 3} for i, row in enumerate(make_rows(20))])
    ingest(make_loop(source=str(path)), tmp_path / "out", objects=None)
    rows = read_rows(tmp_path / "out")
    codes = encode(rows, [FeatureReference(name="a", kind="category", categories=("2", "1"))])[:, 0].tolist()
    assert codes[:3] == [-1.0, 1.0, 0.0]
    with pytest.raises(DataError, match="column kind: expected numbers, the snapshot has texts"):
        encode(rows, [FeatureReference(name="kind", kind="number")])


def test_labels_of_any_type_become_text(tmp_path: Path) -> None:
    """Whole numbers have no .0, truth values are true and false, and the kind of the column is kept."""
    for name, values, kind, texts in (
        ("ints", [0, 1], "number", {"0", "1"}),
        ("floats", [0.0, 1.0], "number", {"0", "1"}),
        ("bools", [False, True], "category", {"false", "true"}),
    ):
        rows = [{**row, "y": values[i % 2]} for i, row in enumerate(make_rows(20))]
        module = tmp_path / f"labels_{name}.py"
        module.write_text(f"def rows():\n    return {rows!r}\n")
        sys.path.insert(0, str(tmp_path))
        try:
            ingest(make_loop(source=f"labels_{name}:rows"), tmp_path / name, objects=None)
        finally:
            sys.path.remove(str(tmp_path))
        found = read_rows(tmp_path / name)
        assert found.column("y").kind == kind
        assert set(found.texts("y")) == texts


def test_a_function_may_give_a_data_frame(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A DataFrame and the same rows as mappings are the same snapshot; modules beside the working folder are found."""
    (tmp_path / "own_source.py").write_text(
        f"import pandas as pd\nROWS = {make_rows(20)!r}\ndef frame():\n    return pd.DataFrame(ROWS)\n"
        "def mappings():\n    yield from ROWS\n"
    )
    monkeypatch.chdir(tmp_path)
    frame = ingest(make_loop(source="own_source:frame"), tmp_path / "one", objects=None)
    mappings = ingest(make_loop(source="own_source:mappings"), tmp_path / "two", objects=None)
    assert frame.digest == mappings.digest


@pytest.mark.parametrize(
    ("source", "said"),
    [
        ("nowhere.csv", "found no file or folder 'nowhere.csv'"),
        ("no_such_module:rows", "no module no_such_module can be imported"),
        ("os.path:joyn", r"module os.path has no 'joyn' \(did you mean join\?\)"),
        ("s3://edgeloop/empty/", "under s3://edgeloop/empty/, found none"),
    ],
)
def test_a_source_that_is_not_there_is_named(tmp_path: Path, source: str, said: str) -> None:
    """What was looked for, and where, is in the message."""
    with pytest.raises(ValueError, match=said):
        ingest(make_loop(source=source), tmp_path / "out", objects=MemoryObjects())


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("rows.csv", b"", "expected a header line"),
        ("rows.csv", b"time,node,a,kind,y\n1,n,1,\xe9,yes\n", "line 2: expected UTF-8 text, found the byte 0xe9"),
        ("rows.parquet", b"PAR1 not really", "expected a Parquet file"),
        ("rows.xlsx", b"PK", r"expected a file named \*.csv or \*.parquet"),
        ("rows.csv", b"time,node,a,a,kind,y\n", "expected each column once, found a more than once"),
    ],
)
def test_a_file_that_cannot_be_read_is_named(tmp_path: Path, name: str, data: bytes, said: str) -> None:
    """The file, the line where there is one, what was expected and what was found are in the message."""
    (tmp_path / name).write_bytes(data)
    with pytest.raises(DataError, match=said):
        ingest(make_loop(source=str(tmp_path / name)), tmp_path / "out", objects=None)


def test_objects_below_a_prefix_are_read_and_neighbours_are_not(tmp_path: Path) -> None:
    """`turbines` means the folder: an object of `turbines-old` is no part of it; marks of writers are left out."""
    objects, rows = MemoryObjects(), make_rows(40)
    for key, part in (("turbines/b.csv", rows[:20]), ("turbines/a.csv", rows[20:]), ("turbines-old/c.csv", rows[:1])):
        objects.put(key, write_csv(tmp_path / "part.csv", part).read_bytes())
    objects.put("turbines/_SUCCESS", b"")
    snapshot = ingest(make_loop(source="s3://edgeloop/turbines"), tmp_path / "out", objects=objects)
    assert [part.name for part in snapshot.parts] == ["a.csv", "b.csv"]
    assert snapshot.rows == 40


def test_another_bucket_of_a_real_store_is_read(tmp_path: Path, seaweed: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bucket that is not the default is opened by the environment's endpoint and credentials."""
    bucket = seaweed.objects("telemetry")
    bucket.make_bucket()
    bucket.put("toy/day-1.csv", write_csv(tmp_path / "part.csv", make_rows(20)).read_bytes())
    for name, value in seaweed.env().items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("EDGELOOP_BUCKET", "another")
    snapshot = ingest(make_loop(source="s3://telemetry/toy/"), tmp_path / "out", objects=MemoryObjects())
    assert snapshot.rows == 20


def test_free_text_is_no_feature(tmp_path: Path) -> None:
    """A category of hundreds of values is refused with some of them."""
    rows = [{**row, "kind": f"note {i}"} for i, row in enumerate(make_rows(300))]
    path = write_csv(tmp_path / "rows.csv", rows)
    with pytest.raises(DataError, match=r"at most 256 different texts in kind, found 300 \(note 0"):
        ingest(make_loop(source=str(path)), tmp_path / "out", objects=None)


def test_ingest_pays_for_no_heavy_library(tmp_path: Path) -> None:
    """CSV in, Parquet out, without pandas or scikit-learn: they cost a step seconds."""
    path = write_csv(tmp_path / "rows.csv", make_rows(20))
    program = (
        "import sys; from pathlib import Path; from edgeloop_components.ingest.core import ingest; "
        "from edgeloop_contracts import Loop, loads; "
        "ingest(loads(Loop, sys.argv[1]), Path(sys.argv[2]), objects=None); "
        "print(sorted({'pandas', 'sklearn', 'scipy', 'onnx', 'kfp'} & set(sys.modules)))"
    )
    from edgeloop_contracts import dumps

    argv = [sys.executable, "-c", program, dumps(make_loop(source=str(path))), str(tmp_path / "out")]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
