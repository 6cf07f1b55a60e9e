"""Reads cron rules of five fields (minute hour day month weekday, UTC) and says when they fall due.

Fields: `*`, numbers, `a-b`, `*/n`, `a-b/n` and lists of these; month and weekday names; Sunday is 0 or 7. As in cron, a rule
that names days and weekdays is due on both. Pure: the clock is the caller's.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta

__all__ = ["CronError", "Rule", "due", "parse"]

_MONTHS = ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec")
_DAYS = ("sun", "mon", "tue", "wed", "thu", "fri", "sat")
_FIELDS = (
    ("minute", 0, 59, ()),
    ("hour", 0, 23, ()),
    ("day", 1, 31, ()),
    ("month", 1, 12, _MONTHS),
    ("weekday", 0, 7, _DAYS),
)
_LOOK_BACK_DAYS = 8 * 366 + 1  # 29 February may be eight years away


class CronError(ValueError):
    """A cron rule that cannot be read; the message names the field, what was expected and what was found."""


@dataclass(frozen=True)
class Rule:
    """The values that each field allows, and whether day and weekday were restricted."""

    minutes: tuple[int, ...]
    hours: tuple[int, ...]
    days: frozenset[int]
    months: frozenset[int]
    weekdays: frozenset[int]
    any_day: bool
    any_weekday: bool

    def on(self, day: datetime) -> bool:
        """Whether the rule is due on this day at all."""
        if day.month not in self.months:
            return False
        by_day, by_weekday = day.day in self.days, day.isoweekday() % 7 in self.weekdays
        return by_day and by_weekday if self.any_day or self.any_weekday else by_day or by_weekday


def parse(cron: str) -> Rule:
    """Reads a rule; `CronError` when it is not one."""
    words = cron.split()
    if len(words) != len(_FIELDS):
        raise CronError(f"cron rule {cron!r}: expected five fields (minute hour day month weekday), got {len(words)}")
    minutes, hours, days, months, weekdays = (_values(word, *field) for word, field in zip(words, _FIELDS, strict=True))
    return Rule(
        minutes=tuple(sorted(minutes)),
        hours=tuple(sorted(hours)),
        days=frozenset(days),
        months=frozenset(months),
        weekdays=frozenset(day % 7 for day in weekdays),
        any_day=words[2].startswith("*"),
        any_weekday=words[4].startswith("*"),
    )


def due(cron: str, last_s: float, now_s: float) -> int | None:
    """The newest time in (last_s, now_s] at which the rule falls due, Unix seconds; None when there is none."""
    days = int(min(max(now_s - last_s, 0) // 86_400 + 2, _LOOK_BACK_DAYS))
    newest_s = next((at_s for at_s in _backwards(parse(cron), now_s, days) if at_s <= now_s), None)
    return newest_s if newest_s is not None and newest_s > last_s else None


def _backwards(rule: Rule, now_s: float, days: int) -> Iterator[int]:
    """The times at which the rule is due, from the end of now's day backwards through `days` days."""
    midnight = datetime.fromtimestamp(now_s, UTC).replace(hour=0, minute=0, second=0, microsecond=0)
    for back in range(days):
        day = midnight - timedelta(days=back)
        if rule.on(day):
            start_s = int(day.timestamp())
            yield from (
                start_s + 3600 * hour + 60 * minute for hour in rule.hours[::-1] for minute in rule.minutes[::-1]
            )


def _values(text: str, field: str, low: int, high: int, names: tuple[str, ...]) -> set[int]:
    values: set[int] = set()
    for part in text.lower().split(","):
        span, _, step = part.partition("/")
        try:
            first, last = _span(span, low, high, names, open_end=bool(step))
            values |= set(range(first, last + 1, int(step) if step else 1))
            right = low <= first <= last <= high and (not step or int(step) > 0)
        except ValueError:
            right = False
        if not right:
            raise CronError(
                f"cron rule, field {field}: expected numbers from {low} to {high}, *, a-b, */n, got {text!r}"
            )
    return values


def _span(span: str, low: int, high: int, names: tuple[str, ...], *, open_end: bool) -> tuple[int, int]:
    if span == "*":
        return low, high
    first, dash, last = span.partition("-")
    start = _number(first, low, names)
    return start, _number(last, low, names) if dash else high if open_end else start


def _number(text: str, low: int, names: tuple[str, ...]) -> int:
    return names.index(text) + low if text in names else int(text)
