"""The policy that lets runs start, and the cron rules: pure functions, so every case is a value."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeloop_contracts import RunRequest
from edgeloop_contracts.loop import Retrain
from edgeloop_pipelines.local.runfolder import RunFolder, RunKeyError
from edgeloop_pipelines.triggers.policy import MOST_BACKOFF_S, Past, backoff_s, decide
from edgeloop_pipelines.triggers.schedule import CronError, due, parse

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


def matches(cron: str, at: datetime) -> bool:
    """The slow way, straight from cron's own words, for the rules that the test below makes."""
    minute, hour, day, month, weekday = cron.split()

    def fits(field: str, value: int, low: int) -> bool:
        if field == "*":
            return True
        if field.startswith("*/"):
            return (value - low) % int(field[2:]) == 0
        return any(int(p.split("-")[0]) <= value <= int(p.split("-")[-1]) for p in field.split(","))

    by_day, by_weekday = fits(day, at.day, 1), fits(weekday, at.isoweekday() % 7, 0)
    both = by_day and by_weekday if "*" in (day[0], weekday[0]) else by_day or by_weekday
    return fits(minute, at.minute, 0) and fits(hour, at.hour, 0) and fits(month, at.month, 1) and both


def field(low: int, high: int) -> st.SearchStrategy[str]:
    number = st.integers(low, high)
    span = st.tuples(number, number).map(lambda pair: f"{min(pair)}-{max(pair)}")
    return st.one_of(
        st.just("*"),
        number.map(str),
        span,
        st.integers(1, 20).map(lambda n: f"*/{n}"),
        st.tuples(span, number.map(str)).map(",".join),
    )


@given(
    st.tuples(field(0, 59), field(0, 23), field(1, 31), field(1, 12), field(0, 6)).map(" ".join),
    st.integers(1_390_000_000, 1_710_000_000),
    st.integers(1, 3 * 24 * 60),
)
def test_due_agrees_with_trying_every_minute(cron: str, last_s: int, minutes: int) -> None:
    """`due` gives the newest minute in (last, now] that the rule names, or None."""
    now_s = last_s + minutes * 60
    start = datetime.fromtimestamp(now_s, UTC).replace(second=0)
    tried = (start - timedelta(minutes=back) for back in range(minutes + 1))
    expected = next((int(at.timestamp()) for at in tried if at.timestamp() > last_s and matches(cron, at)), None)
    assert due(cron, last_s, now_s) == expected


def test_rules_that_fall_due_rarely() -> None:
    """29 February, names, and Sunday as 7."""
    leap = datetime(2024, 2, 29, tzinfo=UTC).timestamp()
    assert due("0 0 29 2 *", 0, datetime(2027, 6, 1, tzinfo=UTC).timestamp()) == leap
    assert due("0 0 31 2 *", 0, leap) is None
    assert parse("0 0 * jan-mar sun").months == {1, 2, 3}
    assert parse("0 0 * * 7") == parse("0 0 * * sun")


@pytest.mark.parametrize(
    "cron", ["", "* * * *", "60 * * * *", "* 24 * * *", "* * 0 * *", "5-1 * * * *", "*/0 * * * *", "a * * * *"]
)
def test_a_wrong_rule_is_refused(cron: str) -> None:
    """The message says which field and what was expected."""
    with pytest.raises(CronError, match="expected"):
        due(cron, 0, NOW)
