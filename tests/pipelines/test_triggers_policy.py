"""The policy that lets runs start: pure functions, so every case is a value."""

from __future__ import annotations

from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeloop_contracts import RunRequest
from edgeloop_contracts.loop import Retrain
from edgeloop_pipelines.local.runfolder import RunFolder, RunKeyError
from edgeloop_pipelines.triggers.policy import MOST_BACKOFF_S, Past, backoff_s, decide

HOUR, DAY, NOW = 3600.0, 86_400.0, 1_000_000_000.0
RETRAIN = Retrain(on=("drift", "performance"), cooldown="6h", budget="4/day")


def ask(cause: str = "drift", key: str = "new") -> RunRequest:
    return RunRequest(loop="turbine", key=key, cause=cause, requested_s=NOW)


def past(hours_ago: float, state: str = "succeeded", key: str | None = None) -> Past:
    return Past(key or f"run-{hours_ago}", state, NOW - hours_ago * HOUR)


@pytest.mark.parametrize(
    ("history", "cause", "said"),
    [
        ([], "drift", ""),
        ([past(100, key="new")], "drift", "run new was started before and is succeeded"),
        ([past(100, key="new")], "manual", "run new was started before"),
        ([], "new_data", "cause new_data is not in retrain.on"),
        ([], "schedule", "cause schedule is not in retrain.on"),
        ([], "manual", ""),
        ([past(100, "running")], "drift", "is active"),
        ([past(100, "starting")], "manual", "is active"),
        ([past(5.9)], "drift", "cooldown of 6h: 360 s are left"),
        ([past(6)], "drift", ""),
        ([past(1)], "manual", ""),
        ([past(h) for h in (7, 12, 18, 23)], "drift", "budget of 4/day is spent (4 runs)"),
        ([past(h) for h in (7, 12, 18, 24)], "drift", ""),
        ([past(7, "failed")], "drift", "the last 1 run(s) failed"),
        ([past(12, "failed")], "drift", ""),
        ([past(13, "failed"), past(40, "failed")], "drift", "the last 2 run(s) failed"),
        ([past(13, "succeeded"), past(14, "failed")], "drift", ""),
        ([past(7, "failed"), past(400, "failed")], "manual", ""),
        ([past(-1)], "drift", ""),
    ],
)
def test_each_rule_refuses_with_its_reason(history: list[Past], cause: str, said: str) -> None:
    """The first rule that says no gives the reason; without one the run starts; a person passes the pauses."""
    decision = decide(ask(cause), history, RETRAIN, NOW)
    assert decision.started == (said == "")
    assert said in decision.why


def test_a_schedule_allows_its_own_cause() -> None:
    """A loop with a cron rule may be started by it, though `on` does not name the schedule."""
    assert decide(ask("schedule"), [], Retrain(on=(), schedule="0 3 * * 0"), NOW).started


@pytest.mark.parametrize("key", ["", "../../etc", "a/b", "a b", ".hidden", "x" * 81])
def test_a_key_that_is_no_plain_name_is_refused(key: str) -> None:
    """A key becomes a folder and a part of object names, and it may come over the network."""
    assert "a run key is" in decide(ask("manual", key), [], RETRAIN, NOW).why
    with pytest.raises(RunKeyError):
        RunFolder(Path("home"), key)


@given(st.integers(0, 60), st.floats(0, 1e6))
def test_backoff_doubles_and_is_bounded(failures: int, cooldown_s: float) -> None:
    """Each failure doubles the pause, up to a week; without failures there is none."""
    pause_s = backoff_s(failures, cooldown_s)
    assert pause_s <= MOST_BACKOFF_S
    assert (pause_s == 0) == (failures == 0)
    assert backoff_s(failures + 1, cooldown_s) in (MOST_BACKOFF_S, 2 * pause_s) or failures == 0


@given(st.lists(st.tuples(st.floats(0, 1000), st.sampled_from(["succeeded", "failed", "rejected"])), max_size=8))
def test_the_order_of_the_history_does_not_matter(rows: list[tuple[float, str]]) -> None:
    """The ledger may give the runs in any order."""
    history = [past(hours, state, key=f"k{i}") for i, (hours, state) in enumerate(rows)]
    assert decide(ask(), history, RETRAIN, NOW).started == decide(ask(), history[::-1], RETRAIN, NOW).started
