"""Model folders: what is not right is refused before anything is served, with the file and what was wrong."""

from __future__ import annotations

import dataclasses
import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeloop_node.runtimes import SCORERS, ModelError, scorer_for
from edgeloop_node.server.model import GOLDEN_LIMIT, UnsoundScoreError, checked, load_model, self_test


@pytest.fixture
def folder(model: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(model, tmp_path / "model"))


def edit(path: Path, change: Callable[[Any], None]) -> None:
    document = json.loads(path.read_text())
    change(document)
    path.write_text(json.dumps(document))


def test_a_sound_model_passes(folder: Path) -> None:
    """The golden rows give the golden answers, bit by bit on the machine that made them."""
    assert self_test(load_model(folder, "onnxruntime")) == 0.0


@pytest.mark.parametrize(
    ("file", "change", "says"),
    [
        ("version.json", lambda d: d.pop("loop"), r"version\.json: .*loop: expected"),
        ("version.json", lambda d: d.update(loop="other"), r"reference\.json: loop: expected 'other', got 'pump'"),
        ("version.json", lambda d: d.update(schema_hash="0" * 16), r"reference\.json: schema_hash: expected '0000"),
        ("reference.json", lambda d: d["classes"].append("more"), r"model\.onnx: classes: expected 4, got 3"),
        ("reference.json", lambda d: d["features"].pop(), r"model\.onnx: features: expected 2, got 3"),
        ("golden.json", lambda d: d.update(rows=[]), r"golden\.json: expected at least one row"),
        ("golden.json", lambda d: d.pop("labels"), r"golden\.json: expected rows, probabilities and labels"),
        ("golden.json", lambda d: d["rows"][0].__setitem__(0, "nan"), r'expected a number, null, "inf" or "-inf", got'),
    ],
)
def test_parts_that_do_not_fit(folder: Path, file: str, change: Callable[[Any], None], says: str) -> None:
    """A folder whose documents contradict each other is refused."""
    edit(folder / file, change)
    with pytest.raises(ModelError, match=says):
        load_model(folder, "onnxruntime")


@pytest.mark.parametrize("file", ["version.json", "reference.json", "golden.json", "model.onnx"])
def test_files_that_are_missing_or_broken(folder: Path, file: str) -> None:
    """A missing or broken file is named."""
    (folder / file).write_bytes(b"\x00 not this")
    with pytest.raises(ModelError, match=file):
        load_model(folder, "onnxruntime")
    (folder / file).unlink()
    with pytest.raises(ModelError, match=file):
        load_model(folder, "onnxruntime")


@pytest.mark.parametrize(
    ("change", "says"),
    [
        (lambda d: d["probabilities"][3].reverse(), "golden row 3: expected"),
        (lambda d: d["probabilities"][3].append(0.0), "golden row 3: expected"),
        (lambda d: d["labels"].__setitem__(5, (d["labels"][5] + 1) % 3), "golden row 5: expected the label"),
        (lambda d: d["rows"][0].append(1.0), "cannot score the golden rows"),
    ],
)
def test_a_model_that_answers_otherwise(folder: Path, change: Callable[[Any], None], says: str) -> None:
    """A difference from the golden answers fails the self-test and names the row."""
    edit(folder / "golden.json", change)
    with pytest.raises(ModelError, match=says):
        self_test(load_model(folder, "onnxruntime"))


def test_golden_rows_with_infinities(folder: Path) -> None:
    """Golden rows may hold the texts inf and -inf, which requests may not: they are scored as what they say."""
    scorer = scorer_for("onnxruntime", folder)
    rows = [[float("inf"), 0.0, 1.0], [0.5, float("-inf"), 1.0]]
    labels, probabilities = scorer.score(rows)
    texts = [["inf", 0.0, 1.0], [0.5, "-inf", 1.0]]
    edit(folder / "golden.json", lambda d: d.update(rows=texts, probabilities=probabilities, labels=labels))
    loaded = load_model(folder, "onnxruntime")
    assert loaded.golden.rows == tuple(map(tuple, rows))
    assert self_test(loaded) == 0.0


def test_nan_answers_are_met_by_nan(folder: Path) -> None:
    """A golden answer of NaN (null) must be NaN again, whatever its label; a number in its place, or it in a number's, fails."""
    edit(folder / "golden.json", lambda d: d["probabilities"].__setitem__(3, [None, None, None]))
    loaded = load_model(folder, "onnxruntime")
    nan = float("nan")
    with pytest.raises(ModelError, match="golden row 3: expected"):
        self_test(loaded)

    def sometimes_nan(rows: Any) -> Any:
        labels, scores = loaded.scorer.score(rows)
        return [-1 if i == 3 else label for i, label in enumerate(labels)], [
            [nan] * 3 if i == 3 else row for i, row in enumerate(scores)
        ]

    scorer = dataclasses.replace(loaded.scorer, score=sometimes_nan)
    assert self_test(dataclasses.replace(loaded, scorer=scorer)) == 0.0
    everywhere = dataclasses.replace(loaded.scorer, score=lambda rows: ([0] * len(rows), [[nan] * 3 for _ in rows]))
    with pytest.raises(ModelError, match="cannot score the golden rows"):
        self_test(dataclasses.replace(loaded, scorer=everywhere))


def test_a_graph_with_other_names(folder: Path) -> None:
    """A graph whose input is not X is refused with what it has."""
    onnx = pytest.importorskip("onnx")
    graph = onnx.load(folder / "model.onnx")
    for node in graph.graph.node:
        node.input[:] = ["Z" if name == "X" else name for name in node.input]
    graph.graph.input[0].name = "Z"
    onnx.save(graph, folder / "model.onnx")
    with pytest.raises(ModelError, match=r"expected the one input .*'X'.*got .*'Z'"):
        load_model(folder, "onnxruntime")


def test_an_unknown_runtime_names_the_known() -> None:
    """The error lists the rows of SCORERS."""
    with pytest.raises(ModelError, match=f"expected one of {', '.join(SCORERS)}, got 'magic'"):
        scorer_for("magic", Path())


@pytest.mark.parametrize(
    ("label", "row"), [(0, [0.5, 0.6]), (0, [float("nan"), 1.0]), (0, [1.5, -0.5]), (2, [0.5, 0.5]), (-1, [0.5, 0.5])]
)
def test_answers_that_are_no_distribution(label: int, row: list[float]) -> None:
    """NaN, negative numbers, a wrong sum and a label that is no class are faults, not answers."""
    with pytest.raises(UnsoundScoreError):
        checked(label, row)


def test_rounding_is_mended() -> None:
    """Float32 rounding over many classes is divided out, so that every answer sums to 1 within 1e-6."""
    mended = checked(0, [0.5, 0.50002])
    assert sum(mended) == pytest.approx(1, abs=1e-12)
    exact = [0.25, 0.75]
    assert checked(1, exact) is exact


def test_several_threads_answer_the_golden_rows(folder: Path) -> None:
    """onnxruntime is told how many threads score together; the golden answers hold with two as with one."""
    from edgeloop_node.runtimes.onnxruntime import _session

    assert self_test(load_model(folder, "onnxruntime", 2)) <= GOLDEN_LIMIT
    for threads in (1, 2):
        session, _ = _session(folder / "model.onnx", threads)
        assert session.get_session_options().intra_op_num_threads == threads


@pytest.mark.parametrize("text", ["0", "-1", "two", "257", "1.5"])
def test_a_wrong_number_of_threads_is_refused(text: str, capsys: pytest.CaptureFixture[str]) -> None:
    """As a usage error, from the command line as from EDGELOOP_THREADS."""
    from edgeloop_node.__main__ import parser

    with pytest.raises(SystemExit) as ended:
        parser().parse_args(["server", f"--threads={text}"])
    assert ended.value.code == 2
    assert "--threads: expected a whole number from 1 to 256" in capsys.readouterr().err


@pytest.mark.parametrize(("variable", "text"), [("EDGELOOP_THREADS", "abc"), ("EDGELOOP_GROUP", "a b")])
def test_a_wrong_variable_is_named(
    variable: str, text: str, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Who set a variable did not type the option that the error is about."""
    from edgeloop_node.__main__ import parser

    monkeypatch.setenv(variable, text)
    with pytest.raises(SystemExit) as ended:
        parser().parse_args(["server"])
    assert ended.value.code == 2
    assert f"{variable} in the environment: expected " in (said := capsys.readouterr().err)
    assert f"got {text!r}" in said


def test_threads_come_from_the_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    """As the manifests say them; one without."""
    from edgeloop_node.__main__ import parser

    assert parser().parse_args(["server"]).threads == 1
    monkeypatch.setenv("EDGELOOP_THREADS", "4")
    assert parser().parse_args(["server"]).threads == 4
