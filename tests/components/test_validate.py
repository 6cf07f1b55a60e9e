"""Validate: metrics against scikit-learn, intervals, gates, slices, champion against challenger, the page."""

from __future__ import annotations

import dataclasses
import re
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeloop_components.ingest.core import ingest
from edgeloop_components.train.core import train
from edgeloop_components.validate.core import ChampionModel, Validation, read_validation, validate
from edgeloop_components.validate.curves import roc_of
from edgeloop_components.validate.metrics import METRICS, answers_of, blocks_of, difference, measured
from edgeloop_contracts import Loop, dumps, from_json

CLASSES = ("a", "b", "c")
DAY = 86_400


def drawn(n: int = 2000, seed: int = 0, classes: int = 3) -> tuple[Any, Any, Any]:
    """Label texts, predicted codes and probabilities of an imagined model."""
    random = np.random.default_rng(seed)
    probabilities = random.dirichlet(np.ones(classes), n)
    codes = (probabilities.cumsum(axis=1) < random.random((n, 1))).sum(axis=1)
    return np.array(CLASSES[:classes], dtype=object)[codes], probabilities.argmax(axis=1), probabilities


@pytest.mark.parametrize("classes", [2, 3])
def test_metrics_are_those_of_scikit_learn(classes: int) -> None:
    """Accuracy, balanced accuracy, log loss and Brier score agree; the calibration error agrees with its definition."""
    from sklearn import metrics as sk

    labels, predicted, probabilities = drawn(classes=classes)
    names = list(CLASSES[:classes])
    found = measured(answers_of(labels, predicted, probabilities, names), blocks_of(None, len(labels), 0), 0)
    said = np.array(names)[predicted]
    truth = labels.astype(str)
    confidence, right = probabilities.max(axis=1), truth == said
    bins = [(confidence > i / 15) & (confidence <= (i + 1) / 15) for i in range(15)]
    expected = {
        "accuracy": sk.accuracy_score(truth, said),
        "balanced_accuracy": sk.balanced_accuracy_score(truth, said),
        "log_loss": sk.log_loss(truth, probabilities, labels=names),
        "ece": sum(abs(right[b].mean() - confidence[b].mean()) * b.mean() for b in bins if b.any()),
        "brier": sk.brier_score_loss(truth, probabilities, labels=names),  # halved for two classes, there as here
    }
    assert [metric.name for metric in found] == list(METRICS)
    for metric in found:
        assert metric.value == pytest.approx(expected[metric.name], rel=1e-9)
        assert metric.low <= metric.high
        assert metric.rows == len(labels)


def test_an_interval_is_as_wide_as_theory_says() -> None:
    """The interval of an accuracy on independent rows is about 1.96 standard errors to each side, and seeded."""
    labels, predicted, probabilities = drawn(4000)
    answers = answers_of(labels, predicted, probabilities, CLASSES)
    block = blocks_of(None, 4000, 0)
    accuracy = measured(answers, block, 0)[0]
    half = 1.96 * (accuracy.value * (1 - accuracy.value) / 4000) ** 0.5
    assert (accuracy.high - accuracy.low) / 2 == pytest.approx(half, rel=0.2)
    assert measured(answers, block, 0)[0] == accuracy
    assert measured(answers, block, 1)[0] != accuracy


def test_days_that_err_together_widen_the_interval() -> None:
    """When whole days are right or wrong, rows of a day are one observation."""
    labels = np.array(["a"] * 2000, dtype=object)
    times = np.arange(2000) * DAY / 50  # 40 days
    wrong_day = np.random.default_rng(0).random(40) < 0.3
    predicted = wrong_day[(times // DAY).astype(int)].astype(np.int64)
    probabilities = np.eye(2)[predicted]
    answers = answers_of(labels, predicted, probabilities, ("a", "b"))
    by_day = measured(answers, blocks_of(times, 2000, 0), 0)[0]
    by_row = measured(answers, blocks_of(None, 2000, 0), 0)[0]
    assert by_day.high - by_day.low > 4 * (by_row.high - by_row.low)


def test_few_days_are_cut_into_stretches() -> None:
    """Five days are twenty stretches of time; fifteen days are days."""
    assert len(np.unique(blocks_of(np.arange(1000) * DAY / 200, 1000, 0))) == 20
    assert len(np.unique(blocks_of(np.arange(1500) * DAY / 100, 1500, 0))) == 15


def test_a_paired_difference_is_sharper_than_two_intervals() -> None:
    """Two models that differ in few rows: the interval of their difference is far narrower than those of the two."""
    labels, predicted, probabilities = drawn(3000)
    better = predicted.copy()
    mend = np.flatnonzero(np.array(CLASSES)[predicted] != labels.astype(str))[:60]
    better[mend] = [CLASSES.index(label) for label in labels[mend]]
    old, new = (answers_of(labels, p, probabilities, CLASSES) for p in (predicted, better))
    block = blocks_of(None, 3000, 0)
    gap = difference("accuracy", new, old, block, 0)
    single = measured(old, block, 0)[0]
    assert gap.value == pytest.approx(0.02)
    assert 0 < gap.low < gap.value < gap.high
    assert gap.high - gap.low < (single.high - single.low) / 2


def test_a_label_that_no_class_has_is_wrong() -> None:
    """It counts against accuracy and is a class of recall 0."""
    labels = np.array(["a", "a", "new", "b"], dtype=object)
    answers = answers_of(labels, np.array([0, 0, 0, 1]), np.eye(2)[[0, 0, 0, 1]], ("a", "b"))
    found = {m.name: m.value for m in measured(answers, np.zeros(4, dtype=np.int64), 0)}
    assert found["accuracy"] == 0.75
    assert found["balanced_accuracy"] == pytest.approx(2 / 3)


def test_the_roc_curve_has_scikit_learns_area() -> None:
    """The area is exact, the curve goes from (0, 0) to (1, 1) and is finite everywhere."""
    from sklearn.metrics import roc_auc_score

    labels, _, probabilities = drawn()
    curve = roc_of(labels == "a", probabilities[:, 0])
    assert curve is not None
    assert curve.area == pytest.approx(roc_auc_score(labels == "a", probabilities[:, 0]))
    assert (curve.fpr[0], curve.tpr[0], curve.fpr[-1], curve.tpr[-1]) == (0, 0, 1, 1)
    assert len(curve.fpr) == len(curve.tpr) == len(curve.thresholds) <= 100
    assert max(curve.thresholds) <= 1.0
    assert roc_of(labels == "z", probabilities[:, 0]) is None


# the step


def make_loop(estimator: str = "sklearn.linear_model.LogisticRegression", **validate_: Any) -> Loop:
    document = {
        "apiVersion": "edgeloop.dev/v1alpha1",
        "kind": "Loop",
        "metadata": {"name": "toy"},
        "data": {"source": "x", "time": "time", "node": "node", "label": "y", "features": ["a", "kind"]},
        "train": {"estimator": estimator},
        "validate": {"slices": ["node", "b"], **validate_},
        "targets": [{"name": "t", "nodes": {"group": "g"}}],
    }
    return from_json(Loop, document)


def make_rows(n: int, kinds: str = "xyz") -> list[dict[str, Any]]:
    random = np.random.default_rng(0)
    a, b = random.normal(size=(2, n))
    kind = random.integers(0, len(kinds), n)
    warm = a + (kind - 1) + random.normal(size=n) * 0.4 > 0
    return [
        {
            "time": 1_400_000_000 + 3600 * (i // 2),
            "node": f"<n{i % 2}>",
            "a": float(a[i]),
            "b": float(b[i]),
            "kind": kinds[kind[i]],
            "y": "warm & wet" if warm[i] else "cold",
        }
        for i in range(n)
    ]


def prepared(folder: Path, loop: Loop, rows: list[dict[str, Any]]) -> tuple[Path, Path]:
    """A snapshot and a model of it."""
    import pandas as pd

    folder.mkdir()
    pd.DataFrame(rows).to_parquet(folder / "rows.parquet", index=False)
    sourced = dataclasses.replace(loop, data=dataclasses.replace(loop.data, source=str(folder / "rows.parquet")))
    ingest(sourced, folder / "snapshot", objects=None)
    train(loop, folder / "snapshot", folder / "model")
    return folder / "snapshot", folder / "model"


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    return prepared(tmp_path_factory.mktemp("good") / "x", make_loop(), make_rows(1600))


@pytest.fixture(scope="module")
def poor(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A model that always says the same, of rows with one category that others lack, and without one that others have."""
    loop = make_loop()
    stiff = dataclasses.replace(loop, train=dataclasses.replace(loop.train, params={"C": 1e-9}))
    return prepared(tmp_path_factory.mktemp("poor") / "x", stiff, make_rows(900, kinds="wxy"))


def named(found: Validation, gate: str) -> Any:
    return next(g for g in found.gates if g.gate == gate)


def test_a_model_is_judged_on_its_holdout(good: tuple[Path, Path], tmp_path: Path) -> None:
    """Metrics of all rows and of each slice; numbers with many values are cut at their quartiles; what is written is read."""
    found = validate(make_loop(), *good, tmp_path / "out", champion=None)
    assert found.accepted
    assert found.gates == ()
    assert found.rows == 320
    slices = [metric for metric in found.metrics if metric.name == "accuracy"]
    assert [metric.slice for metric in slices[:3]] == ["", "node=<n0>", "node=<n1>"]
    assert sum(metric.slice.startswith("b=") for metric in slices) == 4
    assert sum(metric.rows for metric in slices if metric.slice.startswith("b=")) == 320
    assert sum(sum(row) for row in found.confusion.matrix) == 320
    assert all(metric.low <= metric.value <= metric.high for metric in slices)
    assert set(found.roc) == {"cold", "warm & wet"}
    assert read_validation(tmp_path / "out") == found


def test_gates_ask_and_a_rejected_model_keeps_the_reasons(good: tuple[Path, Path], tmp_path: Path) -> None:
    """A gate that holds and one that does not: the model is rejected, with both numbers."""
    loop = make_loop(require={"accuracy": ">= 0.5", "log_loss": "<= 0.001"})
    found = validate(loop, *good, tmp_path / "out", champion=None)
    assert not found.accepted
    assert named(found, "require/accuracy").passed
    failed = named(found, "require/log_loss")
    assert (failed.passed, failed.expected) == (False, "<= 0.001")
    assert re.match(r"0\.\d{4} \(0\.\d{4} \.\. 0\.\d{4}\) on 320 rows", failed.got)
    assert "rejected" in (tmp_path / "out" / "summary.html").read_text()


def test_a_better_challenger_wins_and_a_worse_one_loses(
    good: tuple[Path, Path], poor: tuple[Path, Path], tmp_path: Path
) -> None:
    """Both score the same newest rows, the champion in its own categories; the difference changes its sign with the roles."""
    loop = make_loop()
    won = validate(loop, *good, tmp_path / "won", champion=ChampionModel(3, poor[1]))
    assert won.accepted
    assert won.champion == 3
    assert won.difference is not None
    assert won.difference.low > 0
    accuracy = {m.name: m.value for m in won.metrics if not m.slice}["accuracy"]
    before = {m.name: m.value for m in won.champion_metrics}["accuracy"]
    assert won.difference.value == pytest.approx(accuracy - before)
    assert "toy@3" in named(won, "champion").expected
    lost = validate(loop, *poor, tmp_path / "lost", champion=ChampionModel(3, good[1]))
    assert not lost.accepted
    assert lost.difference is not None
    assert lost.difference.value < 0


@pytest.mark.parametrize("metric", METRICS)
def test_an_equal_challenger_does_not_replace_the_champion(
    good: tuple[Path, Path], tmp_path: Path, metric: str
) -> None:
    """The same model is not better than itself, in any metric."""
    loop = make_loop(champion={"metric": metric})
    found = validate(loop, *good, tmp_path / "out", champion=ChampionModel(1, good[1]))
    assert found.difference is not None
    assert (found.accepted, found.difference.value) == (False, 0.0)


def test_the_margin_must_be_exceeded(good: tuple[Path, Path], poor: tuple[Path, Path], tmp_path: Path) -> None:
    """A challenger that is better by less than the margin is rejected."""
    free = validate(make_loop(), *good, tmp_path / "free", champion=ChampionModel(1, poor[1]))
    assert free.difference is not None
    loop = make_loop(champion={"metric": "accuracy", "margin": free.difference.value + 0.01})
    assert not validate(loop, *good, tmp_path / "out", champion=ChampionModel(1, poor[1])).accepted


def test_a_champion_that_lacks_its_columns_cannot_be_beaten(good: tuple[Path, Path], tmp_path: Path) -> None:
    """Without a comparison there is no promotion, and the gate says what to do."""
    loop = make_loop()
    wider = dataclasses.replace(loop, data=dataclasses.replace(loop.data, features=("a", "kind", "old")))
    rows = [{**row, "old": float(i)} for i, row in enumerate(make_rows(300))]
    _, champion = prepared(tmp_path / "old", wider, rows)
    found = validate(loop, *good, tmp_path / "out", champion=ChampionModel(2, champion))
    assert not found.accepted
    assert "expected a column 'old'" in named(found, "champion").got
    assert "validate.slices" in named(found, "champion").got


def test_the_page_needs_nothing_else(good: tuple[Path, Path], tmp_path: Path) -> None:
    """One small HTML file: no address of anything outside, two plots, texts of the data escaped."""
    from html.parser import HTMLParser

    found = validate(make_loop(require={"accuracy": ">= 0.5"}), *good, tmp_path / "out", champion=None)
    text = (tmp_path / "out" / "summary.html").read_text()
    seen: list[str] = []
    words: list[str] = []

    class Reader(HTMLParser):
        def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
            seen.append(tag)
            assert not {"src", "href"} & {name for name, _ in attrs}

        def handle_data(self, data: str) -> None:
            words.append(data)

    Reader(convert_charrefs=True).feed(text)
    assert seen.count("svg") == 2
    assert not {"script", "link", "img"} & set(seen)
    assert "http" not in text
    assert "node=<n0>" in words
    assert "warm & wet" in words
    assert f"{found.metrics[0].value:.4f}" in words
    assert len(text) < 60_000


def test_validation_pays_for_no_heavy_library(good: tuple[Path, Path], tmp_path: Path) -> None:
    """numpy, pyarrow and onnxruntime are enough: scikit-learn, scipy and pandas cost a step seconds."""
    program = (
        "import sys; from pathlib import Path; from edgeloop_components.validate.core import validate; "
        "from edgeloop_contracts import Loop, loads; "
        "validate(loads(Loop, sys.argv[1]), *map(Path, sys.argv[2:]), champion=None); "
        "print(sorted({'pandas', 'sklearn', 'scipy', 'onnx', 'kfp'} & set(sys.modules)))"
    )
    argv = [sys.executable, "-c", program, dumps(make_loop()), *map(str, good), str(tmp_path / "out")]
    done = subprocess.run(argv, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[]"
