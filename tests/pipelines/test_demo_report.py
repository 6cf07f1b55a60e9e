"""The demo's report: what closes the loop, the page without outside assets, the plot."""

from __future__ import annotations

import json
import re
import xml.etree.ElementTree as ET
from collections.abc import Mapping
from dataclasses import replace
from html.parser import HTMLParser
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from edgeloop_contracts import GateResult, Metric, ModelVersion
from edgeloop_pipelines.demo import report
from edgeloop_pipelines.demo.answers import Answers
from edgeloop_pipelines.demo.page import page
from edgeloop_pipelines.demo.prepared import DemoNode, Prepared
from edgeloop_pipelines.demo.svg import Curve, Mark, chart, date_ticks, value_ticks

DIGEST = "sha256:" + "0" * 64
START_S = 1_393_718_400.0
DAY_S = 86_400.0
NASTY = "<script>alert('1')</script> & \"more\""


def version(number: int, state: str = "accepted", cause: str = "performance") -> ModelVersion:
    return ModelVersion(
        loop="tiny",
        number=number,
        state=state,  # type: ignore[arg-type]
        run_key=f"tiny-{number}",
        snapshot=DIGEST,
        onnx=DIGEST,
        onnx_size_bytes=169_621,
        reference=DIGEST,
        golden=DIGEST,
        metrics=(Metric(name="accuracy", value=0.93, low=0.92, high=0.94, rows=100),),
        gates=(GateResult(gate="champion", passed=state == "accepted", expected="> 0.9", got="0.93"),),
        cause=cause,
    )


def run(number: int, cause: str = "performance", state: str = "succeeded") -> dict[str, Any]:
    return {
        "run_key": f"tiny-{number}",
        "cause": cause,
        "state": state,
        "version": number,
        "gates": [],
        "seconds": {"ingest": 1.5, "train": 2.5},
        "error": "",
        "by": "fleet",
        "reason": NASTY,
        "requested_s": START_S + number * DAY_S,
        "evidence_s": START_S,
        "asked_wall_s": 1000.0,
        "ended_wall_s": 1012.0,
        "total_s": 12.0,
    }


def rollout(number: int, state: str = "done") -> dict[str, Any]:
    times = {"started_s": START_S, "settled_s": START_S, "finished_s": START_S + number * 30 * DAY_S}
    waves = [{"groups": [group], "state": "passed", "evidence": "right", **times} for group in ("canary", "rest")]
    return {"version": number, "previous": number - 1 or None, "state": state, "waves": waves, "packages": {}}


def settled(number: int, wall_s: float) -> dict[str, Any]:
    text = f"wave 1 (canary) runs version {number} on every node in reach"
    return {
        "n": 1,
        "at_s": START_S,
        "wall_s": wall_s,
        "kind": "wave",
        "text": text,
        "numbers": {"version": float(number)},
    }


@pytest.fixture
def findings() -> report.Findings:
    times = pd.date_range("2014-03-02", periods=100, freq="D", tz="UTC")
    frame = pd.DataFrame({"time": times, "node": "a", "x": 1.0, "label": "plus"})
    prepared = Prepared(
        name="tiny",
        loop_yaml="metadata: {name: tiny}",
        history=frame,
        stream=frame,
        periods=frame["time"].dt.strftime("%Y-%m"),
        nodes=[DemoNode("a", "canary"), DemoNode("b", "rest")],
        time_column="time",
        node_column="node",
        label_column="label",
        features=["x"],
        inputs=["x"],
        step_s=86_400,
        delay_s=86_400,
        block_s=7 * 86_400,
        step_name="day",
        block_name="week",
        story=("A story.", NASTY),
    )
    answers = Answers.for_rows(100)
    for row in range(100):
        answers.take(row, "a", {"version": 1 if row < 40 else 2, "label": "plus", "confidence": 0.9})
        answers.label(row, "a", "plus")
    arms = {"left_alone": 0.88, "calendar": 0.9, "loop": 0.91}
    interval = {"value": 0.03, "low": 0.02, "high": 0.04}
    evaluation = {
        "rows": 100,
        **arms,
        "loop_minus_left_alone": interval,
        "loop_minus_calendar": interval,
        "block": "week",
        "calendars": [{"shift": s, "dates_s": [1], "accuracy": 0.9} for s in (0.0, 0.5)],
        "by_block": [{"start_s": START_S + i * 7 * DAY_S, "rows": 7, **arms} for i in range(14)],
        "by_period": [{"period": "2014-03", "rows": 30, **arms}],
        "by_node": [{"node": "a", "group": "canary", **arms}],
        "recomputed": {"rows": 40, "equal": 40},
    }
    return report.Findings(
        prepared=prepared,
        answers=answers,
        evaluation=evaluation,
        versions=[version(1, cause="manual"), version(2), version(3, state="rejected")],
        nodes={"a": ("canary", 2), "b": ("rest", 2)},
        runs=[run(1, cause="manual"), run(2), run(3, state="rejected")],
        rollouts=[rollout(1), rollout(2)],
        shipped=[{"version": 2, "node": "a", "bytes": 25_000}],
        timeline=[settled(1, 900.0), settled(2, 1015.0), settled(2, 1040.0)],
        counts_differ=[],
        data={"name": "tiny", "source": "made here", "licence": "none", "sha256": "0"},
        seconds={"all": 60.0, "stream": 30.0},
        stand_ins=["time", NASTY],
        chaos=[{"part": "broker", "during": "run", "at_s": START_S, "wall_s": 1.0}],
        requests={"answered": 100},
    )


def test_loop_is_closed_when_evidence_made_the_version_that_all_nodes_serve(findings: report.Findings) -> None:
    """A run that the fleet started, promoted, on every node: nothing is missing."""
    assert report.closed(findings) == []
    assert report.document(findings)["loop_closed"] is True


def without_own_run(f: report.Findings) -> report.Findings:
    return replace(f, runs=[run(1, cause="manual"), run(2, cause="manual")])


def without_promotion(f: report.Findings) -> report.Findings:
    return replace(
        f, rollouts=[rollout(1), rollout(2, state="rolled_back")], nodes={"a": ("canary", 1), "b": ("rest", 1)}
    )


def with_a_node_behind(f: report.Findings) -> report.Findings:
    return replace(f, nodes={"a": ("canary", 2), "b": ("rest", 1)})


def with_a_silent_node(f: report.Findings) -> report.Findings:
    return replace(f, nodes={"a": ("canary", 2), "b": ("rest", None)})


@pytest.mark.parametrize(
    ("change", "missing"),
    [
        (without_own_run, "no version of a run that the fleet started"),
        (without_promotion, "no version of a run that the fleet started"),
        (with_a_node_behind, "nodes that do not serve version 2: b"),
        (with_a_silent_node, "nodes that do not serve version 2: b"),
    ],
)
def test_loop_is_not_closed_when_a_link_lacks(findings: report.Findings, change: Any, missing: str) -> None:
    """Each missing link is named, and `loop_closed` is false."""
    found = report.document(change(findings))
    assert found["loop_closed"] is False
    assert any(text.startswith(missing) for text in found["missing"])


def test_seconds_from_evidence_to_serving_are_those_of_the_wall(findings: report.Findings) -> None:
    """From the moment the run was asked for: its end, the first wave that settled, the last one."""
    assert report.seconds_to_serving(findings.runs, findings.timeline) == [
        {"version": 2, "run_ended": 12.0, "first_nodes": 15.0, "all_nodes": 40.0}
    ]


def test_document_counts_rows_by_version_and_names_what_differs(findings: report.Findings) -> None:
    """Rows served by each version, who served, and the check of the sums are in report.json."""
    found = report.document(replace(findings, counts_differ=["a, version 1, rows: expected 40, the fleet has 41"]))
    assert [v["rows"] for v in found["versions"]] == [40, 60, 0]
    assert found["served"] == [1, 2]
    assert found["mass"]["equal"] is False
    assert (found["mass"]["rows"], found["mass"]["labelled"], found["mass"]["correct"]) == (100, 100, 100)
    assert [v["promoted"] for v in found["versions"]] == [True, True, False]


class Page(HTMLParser):
    """Collects what a page would load, its headings, and whether its tags are in order."""

    VOID = ("meta", "br", "hr", "rect", "line", "path", "img", "link")

    def __init__(self) -> None:
        super().__init__()
        self.open: list[str] = []
        self.loads: list[str] = []
        self.headings: list[str] = []
        self.scripts = 0

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        if tag not in self.VOID or tag == "path":
            self.open.append(tag)
        self.scripts += tag == "script"
        self.loads += [str(value) for name, value in attrs if name in ("src", "href", "data", "srcset")]

    def handle_startendtag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.loads += [str(value) for name, value in attrs if name in ("src", "href")]

    def handle_endtag(self, tag: str) -> None:
        assert self.open, f"</{tag}> without a start"
        assert self.open.pop() == tag

    def handle_data(self, data: str) -> None:
        if self.open and self.open[-1] in ("h1", "h2"):
            self.headings.append(data)


def test_page_is_whole_and_loads_nothing(findings: report.Findings) -> None:
    """Every tag is closed, no script, no outside asset, the chapters are there, dark and light are both meant."""
    text = page(report.document(findings))
    parsed = Page()
    parsed.feed(text)
    parsed.close()
    assert parsed.open == []
    assert parsed.loads == []
    assert parsed.scripts == 0
    assert re.findall(r"url\(|@import|https?://(?!www\.w3\.org/2000/svg)", text) == []
    assert "prefers-color-scheme:dark" in text
    assert {"Versions", "Waves", "Timeline", "Runs", "What is a stand-in here"} <= set(parsed.headings)


def test_page_escapes_every_text(findings: report.Findings) -> None:
    """Text from outside (a verdict's sentence, a story, a stand-in's remark) cannot become markup."""
    text = page(report.document(findings))
    assert "<script" not in text
    assert text.count("&lt;script&gt;") >= 3


def test_page_shows_the_numbers(findings: report.Findings) -> None:
    """Accuracies, the difference with its interval, bytes, and the kill are on the page."""
    text = page(report.document(findings))
    for shown in (
        "91.00 %",
        "+3.00 points (95 %: +2.00 to +4.00)",
        "25 kB",
        "broker",
        "equal",
        "champion: wanted &gt; 0.9",
    ):
        assert shown in text


def test_report_files_are_written_whole(findings: report.Findings, tmp_path: Path) -> None:
    """Three files and nothing else; the JSON is the document, the plot is XML by itself."""
    found = report.document(findings)
    paths = report.write(found, tmp_path)
    assert sorted(path.name for path in tmp_path.iterdir()) == ["accuracy.svg", "report.html", "report.json"]
    assert json.loads(paths[0].read_text()) == json.loads(json.dumps(found))
    root = ET.fromstring(paths[2].read_text())
    assert root.tag == "{http://www.w3.org/2000/svg}svg"


def texts(svg: str) -> list[str]:
    return ["".join(e.itertext()) for e in ET.fromstring(svg).iter("{http://www.w3.org/2000/svg}text")]


def curves(points: Mapping[str, list[float | None]]) -> list[Curve]:
    return [Curve(n, [(START_S + i * 7 * DAY_S, v) for i, v in enumerate(values)]) for n, values in points.items()]


def test_chart_names_its_curves_axes_and_marks() -> None:
    """Title, legend, dates, shares and the mark of a version are there as text; a name is escaped."""
    svg = chart(
        "Accuracy",
        curves({"left & alone": [0.9, 0.85] * 10, "loop": [0.9, 0.95] * 10}),
        marks=[Mark(START_S + 30 * DAY_S, "v2")],
    )
    found = texts(svg)
    assert {"Accuracy", "left & alone", "loop", "v2", "Apr", "90 %"} <= set(found)
    assert len(re.findall(r'<path class="c[01]" d="M[\d. ]+L', svg)) == 4  # two curves, two keys of the legend


def test_gap_breaks_the_line() -> None:
    """A missing value starts the line anew instead of bridging it."""
    svg = chart("x", curves({"a": [0.5, 0.6, None, 0.7, 0.8]}))
    line = re.search(r'<path class="c0" d="([^"]+)"><title>', svg)
    assert line is not None
    assert (line[1].count("M"), line[1].count("L")) == (2, 2)


def test_chart_of_nothing_is_an_error() -> None:
    """No point, no chart."""
    with pytest.raises(ValueError, match="expected at least one point"):
        chart("x", [Curve("a", [])])


def test_all_points_lie_inside_the_frame() -> None:
    """Whatever the values, each coordinate of a curve is inside the picture."""
    svg = chart("x", curves({"a": [0.123, 0.987, 0.5]}), width=400, height=200)
    line = re.search(r'<path class="c0" d="([^"]+)"><title>', svg)
    assert line is not None
    pairs = [tuple(map(float, pair.split())) for pair in re.split("[ML]", line[1]) if pair]
    assert all(0 <= x <= 400 and 0 <= y <= 200 for x, y in pairs)


@pytest.mark.parametrize(("low", "high"), [(0.83, 0.95), (0.9, 0.9), (-10.0, 4000.0), (0.0, 1e-6)])
def test_value_ticks_cover_the_values(low: float, high: float) -> None:
    """Ticks rise, cover the values, and are few."""
    ticks = value_ticks(low, high)
    assert ticks[0] <= low + 1e-9
    assert ticks[-1] >= high - 1e-9
    assert ticks == sorted(set(ticks))
    assert 2 <= len(ticks) <= 8


@pytest.mark.parametrize("days", [2, 20, 60, 305, 1200, 15_000])
def test_date_ticks_are_few_and_inside(days: int) -> None:
    """Between two and fifteen dates, all inside the span, in order."""
    end_s = START_S + days * DAY_S
    ticks = date_ticks(START_S, end_s)
    assert 1 <= len(ticks) <= 15
    assert all(START_S <= at <= end_s for at, _ in ticks)
    assert [at for at, _ in ticks] == sorted(at for at, _ in ticks)
