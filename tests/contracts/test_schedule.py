"""Cron rules: when they fall due, against a slow reading of cron's own words."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeloop_contracts.schedule import CronError, due, parse

NOW = 1_000_000_000.0


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
