"""How the demo conducts the loop's life: when the last run may begin, and what a person reads."""

from __future__ import annotations

import io
from pathlib import Path

import pytest
from rich.console import Console

from edgeloop_contracts import dumps, loads
from edgeloop_contracts.loop import Loop
from edgeloop_pipelines.demo import rainfall, wind
from edgeloop_pipelines.demo.conduct import ended, last_start
from edgeloop_pipelines.demo.live import Live, day, short
from edgeloop_pipelines.demo.prepared import Prepared, steps_of
from edgeloop_pipelines.loopfile.load import load


@pytest.fixture
def farm(tmp_path: Path) -> Prepared:
    """The wind farm in a file of one row a day."""
    lines = ["Wind_turbine_name,Date_time,P_avg,Ws_avg,Ot_avg,Va_avg,Wa_avg,Ya_avg"]
    lines += [f"R80711,2014-{1 + d // 28:02d}-{1 + d % 28:02d}T12:00:00Z,{d},5,4,0.1,180,181" for d in range(28 * 6)]
    path = tmp_path / "wind.csv"
    path.write_text("\n".join(lines))
    return wind.prepare(path)


def loop_of(text: str, folder: Path) -> Loop:
    path = folder / "loop.yaml"
    path.write_text(text)
    return load(path)


@pytest.mark.parametrize(("soak", "left"), [("0s", 3), ("1d", 3), ("2d", 5), ("36h", 5), ("5d", 11)])
def test_a_run_begins_only_while_its_rollout_can_end(farm: Prepared, tmp_path: Path, soak: str, left: int) -> None:
    """After the last step at which a run may begin, two waves of `soak` and a step of margin still fit into the stream."""
    loop = loop_of(wind.LOOP_YAML.replace("soak: 2d", f"soak: {soak}"), tmp_path)
    steps = len(steps_of(farm))
    assert steps - 1 - last_start(farm, loop) == left


def result(state: str, **more: object) -> dict[str, object]:
    gates = [{"gate": "champion", "passed": state == "succeeded", "expected": "> 0.8", "got": "0.7 against 0.8"}]
    return {"state": state, "version": 3, "gates": gates, "error": "", "total_s": 12.34, **more}


@pytest.mark.parametrize(
    ("document", "text"),
    [
        (result("succeeded"), "version 3 is accepted (champion: 0.7 against 0.8); 12.3 s"),
        (result("succeeded", gates=[]), "version 3 is accepted; 12.3 s"),
        (result("rejected"), "version 3 is kept but not used (champion: 0.7 against 0.8); 12.3 s"),
        (result("failed", error="step train: no"), "step train: no; 12.3 s"),
    ],
)
def test_the_end_of_a_run_is_told_with_its_reason(document: dict[str, object], text: str) -> None:
    """Accepted, rejected and failed runs each say why, and how long they took."""
    assert ended(document) == text


def test_timeline_shows_date_kind_and_text_in_one_line() -> None:
    """One line an event, however long; brackets in it are text, not markup; what repeats or says nothing is left out."""
    out = io.StringIO()
    live = Live(Console(file=out, width=40, force_terminal=False))
    long = "performance: " + "word " * 30 + "[red]not markup[/red]"
    live.events(
        [
            {"at_s": 1_397_520_000.0, "kind": "verdict", "text": long},
            {"at_s": 1_397_520_000.0, "kind": "verdict", "text": "insufficient: nothing yet"},
            {"at_s": 1_397_520_000.0, "kind": "rollout", "text": "version 2 begins"},
            {"at_s": 0.0, "kind": "wave", "text": "wave 1"},
        ]
    )
    first, second, end = out.getvalue().split("\n")
    assert first == f"2014-04-15  verdict       {long}"
    assert second == f"{' ' * 10}  wave          wave 1"
    assert end == ""


def test_request_for_a_run_does_not_repeat_the_verdict() -> None:
    """The sentence stands in the line above; the request names the run and the cause only."""
    line = {"kind": "run_requested", "text": "run x-1 (performance): performance: Right in 90 %."}
    assert short(line) == "run x-1 (performance)"
    assert short({"kind": "verdict", "text": "performance: Right"}) == "performance: Right"


def test_date_is_blank_before_the_stream_begins() -> None:
    """Time 0 is no date."""
    assert day(0) == " " * 10
    assert day(1_397_520_000) == "2014-04-15"


@pytest.mark.parametrize("text", [wind.LOOP_YAML, rainfall.LOOP_YAML])
def test_only_labels_start_runs(text: str, tmp_path: Path) -> None:
    """Labels come in both data sets, so drift alone starts nothing; the loop survives its JSON form."""
    loop = loop_of(text, tmp_path)
    assert loop.retrain.on == ("performance",)
    assert loads(Loop, dumps(loop)) == loop
