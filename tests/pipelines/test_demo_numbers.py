"""The demo's pure parts: sums, statistics, the evaluation, the plan of the chaos run."""

from __future__ import annotations

import itertools
from collections.abc import Sequence

import numpy as np
import pandas as pd
import pytest

from edgeloop_pipelines.demo import chaos, statistics
from edgeloop_pipelines.demo.answers import Answers, Sums, differences, sums_of_totals
from edgeloop_pipelines.demo.compare import Calendar, calendar_dates, known_rows
from edgeloop_pipelines.demo.evaluation import evaluate
from edgeloop_pipelines.demo.prepared import DemoNode, Prepared

DAY_S = 86_400


def prepared(days: int = 40, rows_a_day: int = 12) -> Prepared:
    """Days of rows on two nodes; the label says whether x is positive."""
    times = pd.date_range("2020-01-01", periods=days * rows_a_day, freq=f"{24 // rows_a_day}h", tz="UTC")
    x = np.sin(np.arange(len(times)))
    frame = pd.DataFrame({"time": times, "node": np.where(np.arange(len(times)) % 2, "b", "a"), "x": x})
    frame["label"] = np.where(x > 0, "plus", "minus")
    half = len(frame) // 4
    stream = frame.iloc[half:].reset_index(drop=True)
    return Prepared(
        name="tiny",
        loop_yaml="",
        history=frame.iloc[:half].reset_index(drop=True),
        stream=stream,
        periods=stream["time"].dt.strftime("%Y-%m"),
        nodes=[DemoNode("a", "canary"), DemoNode("b", "rest")],
        time_column="time",
        node_column="node",
        label_column="label",
        features=["x"],
        inputs=["x"],
        step_s=DAY_S,
        delay_s=DAY_S,
        block_s=7 * DAY_S,
        step_name="day",
        block_name="week",
        story=(),
    )


def test_second_answer_to_a_row_is_an_error() -> None:
    """A row is answered once; the sums by version and node follow the answers and labels."""
    answers = Answers.for_rows(3)
    answers.take(0, "a", {"version": 1, "label": "x", "confidence": 0.9})
    answers.take(2, "b", {"version": 2, "label": "y", "confidence": 0.8})
    answers.label(0, "a", "x")
    answers.label(2, "b", "x")
    assert answers.sums == {(1, "a"): Sums(1, 1, 1), (2, "b"): Sums(1, 1, 0)}
    assert answers.answered == 2
    with pytest.raises(ValueError, match="row 2 of the stream: expected one answer"):
        answers.take(2, "b", {"version": 2, "label": "y", "confidence": 0.8})


def test_every_difference_between_sums_is_named() -> None:
    """Too few, too many, and a version that nobody asked: each gives its own line; equal sums give none."""
    expected = {(1, "a"): Sums(10, 5, 4), (1, "b"): Sums(7, 0, 0)}
    totals = [
        {"version": 1, "node": "a", "rows": 11, "labelled": 5, "correct": 4, "refused": 0, "failed": 0},
        {"version": 2, "node": "a", "rows": 1, "labelled": 0, "correct": 0, "refused": 0, "failed": 0},
    ]
    assert differences(expected, sums_of_totals(totals)) == [
        "a, version 1, rows: expected 10, the fleet has 11",
        "b, version 1, rows: expected 7, the fleet has 0",
        "a, version 2, rows: expected 0, the fleet has 1",
    ]
    assert differences(expected, dict(expected)) == []


def test_difference_of_equal_arms_is_zero_and_a_sure_gain_excludes_zero() -> None:
    """The paired bootstrap gives 0 for the same answers, and an interval above 0 when every block gains."""
    chance = np.random.default_rng(1)
    blocks = np.repeat(np.arange(40), 50)
    worse = chance.random(2000) < 0.8
    assert statistics.difference(worse, worse, blocks) == (0.0, 0.0, 0.0)
    better = worse | (chance.random(2000) < 0.2)
    value, low, high = statistics.difference(better, worse, blocks)
    assert 0 < low < value < high
    assert value == pytest.approx(better.mean() - worse.mean())


def test_whole_blocks_make_the_interval_wider_than_single_rows() -> None:
    """When rows of a block hang together, blocks must be resampled: the interval is several times wider."""
    chance = np.random.default_rng(2)
    blocks = np.repeat(np.arange(40), 50)
    good = np.repeat(chance.random(40) < 0.5, 50)
    none = np.zeros(2000, dtype=bool)
    _, low, high = statistics.difference(good, none, blocks)
    _, row_low, row_high = statistics.difference(good, none, np.arange(2000))
    assert high - low > 4 * (row_high - row_low)


def test_no_judged_row_is_an_error() -> None:
    """Accuracy of nothing is no number."""
    with pytest.raises(ValueError, match="expected at least one"):
        statistics.accuracy(np.zeros(0, dtype=bool))


def test_periods_and_blocks_add_up_to_all_rows() -> None:
    """The tables by period and by block hold every row once and average to the whole."""
    right = np.arange(100) % 4 != 0
    table = statistics.by_period({"loop": right}, np.array(["p", "q"], dtype=object).repeat(50))
    assert [row["period"] for row in table] == ["p", "q"]
    assert sum(int(row["rows"]) * float(row["loop"]) for row in table) == pytest.approx(right.sum())
    blocks = statistics.by_block(right, np.arange(100) // 30)
    assert [rows for _, _, rows in blocks] == [30, 30, 30, 10]
    assert sum(rows * share for _, share, rows in blocks) == pytest.approx(right.sum())


@pytest.mark.parametrize("runs", [0, 1, 3, 7])
def test_calendar_is_evenly_spaced(runs: int) -> None:
    """So many dates, all starts of steps, with gaps that differ by at most one step; a shift moves all of them."""
    dates = calendar_dates(prepared(), runs)
    assert len(dates) == runs
    assert all(date % DAY_S == 0 for date in dates)
    gaps = {b - a for a, b in itertools.pairwise(dates)}
    assert not gaps or max(gaps) - min(gaps) <= DAY_S
    assert all(later >= date for date, later in zip(dates, calendar_dates(prepared(), runs, 0.5), strict=True))


def test_calendar_knows_only_labels_that_were_due() -> None:
    """At a time, rows younger than the label delay are not there, nor rows older than the window."""
    made = prepared()
    at = pd.Timestamp("2020-01-21", tz="UTC")
    rows = known_rows(made, int(at.timestamp()), 5 * DAY_S)
    assert rows["time"].max() < at - pd.Timedelta(days=1)
    assert rows["time"].max() >= at - pd.Timedelta(days=1, hours=3)
    assert rows["time"].min() >= rows["time"].max() - pd.Timedelta(days=5)
    assert len(rows) == 61  # 12 rows a day, both ends


def answered(made: Prepared, wrong_from: int) -> tuple[Answers, np.ndarray]:
    """All rows answered rightly by version 1 up to a row, by version 2 from there on; and a first model wrong from there."""
    answers = Answers.for_rows(len(made.stream))
    labels = made.stream["label"].to_numpy(dtype=object)
    for row, (label, node) in enumerate(zip(labels, made.stream["node"], strict=True)):
        answers.take(row, node, {"version": 1 if row < wrong_from else 2, "label": label, "confidence": 0.7})
    first = labels.copy()
    first[wrong_from:] = "neither"
    return answers, first


def test_evaluation_compares_on_the_same_rows() -> None:
    """A first model that fails from the middle on, a calendar that mends it later, and the loop: in this order."""
    made = prepared()
    middle = len(made.stream) // 2
    answers, first = answered(made, middle)
    mended = first.copy()
    mended[middle + 50 :] = made.stream["label"].to_numpy(dtype=object)[middle + 50 :]
    found = evaluate(made, answers, first, [Calendar(0.0, (1,), mended), Calendar(0.5, (2,), first)])
    assert found["rows"] == len(made.stream)
    assert found["left_alone"] == pytest.approx(0.5)
    assert found["calendar"] == pytest.approx(1 - 50 / len(made.stream))
    assert found["loop"] == 1.0
    assert found["loop_minus_left_alone"]["low"] > 0
    assert found["recomputed"] == {"rows": middle, "equal": middle}
    assert [c["accuracy"] for c in found["calendars"]] == [found["calendar"], found["left_alone"]]
    assert sum(block["rows"] for block in found["by_block"]) == found["rows"]
    assert [row["node"] for row in found["by_node"]] == ["a", "b"]


def test_rows_without_answer_or_label_are_left_out_for_everybody() -> None:
    """A row that was not asked, and a row whose truth never came, count for none of the three."""
    made = prepared()
    answers, first = answered(made, len(made.stream))
    answers.version[:10] = 0
    made.stream.loc[10:14, "label"] = None
    found = evaluate(made, answers, first, [Calendar(0.0, (), first)])
    assert found["rows"] == len(made.stream) - 15


@pytest.mark.parametrize("seed", range(20))
def test_chaos_kills_every_part_at_least_once(seed: int) -> None:
    """Each part is killed while streaming; one is killed during a run and one during a rollout; the same seed, the same plan."""
    nodes = ["n1", "n2"]
    plan = chaos.plan(seed, 30, nodes)
    assert plan == chaos.plan(seed, 30, nodes)
    kinds = {kill.part.partition("/")[0] for kill in plan if kill.moment == "streaming"}
    assert kinds == {"objects", "broker", "fleet", "agent"}
    assert {kill.moment for kill in plan} == {"streaming", "run", "rollout"}
    assert all(kill.step < 30 for kill in plan)


@pytest.mark.parametrize("steps", [1, 2, 5])
def test_chaos_fits_a_short_stream(steps: int) -> None:
    """Every kill of the plan comes due within the stream, however short it is."""
    plan = chaos.plan(3, steps, ["n1"])
    assert all(kill.step <= steps - 1 for kill in plan)


def drained(plan: Sequence[chaos.Kill], steps: int) -> list[chaos.Kill]:
    left, done = list(plan), []
    for step in range(-1, steps):
        for moment in ("run", "rollout", "streaming"):
            while kill := chaos.due(left, moment, step):  # type: ignore[arg-type]
                left.remove(kill)
                done.append(kill)
    return done


def test_due_gives_each_kill_once_and_not_before_its_step() -> None:
    """Going through the stream, everything of the plan comes due, and nothing twice."""
    plan = chaos.plan(1, 12, ["n1"])
    assert sorted(map(str, drained(plan, 12))) == sorted(map(str, plan))
    assert chaos.due(plan, "streaming", -1) is None
