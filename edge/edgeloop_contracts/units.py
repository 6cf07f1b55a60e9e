"""The short texts that people write in loop.yaml: durations (`60d`), rates (`4/day`) and bounds (`>= 0.95`)."""

from __future__ import annotations

import operator
import re
from collections.abc import Callable
from dataclasses import dataclass

__all__ = [
    "BOUND",
    "BOUND_FORM",
    "DURATION",
    "DURATION_FORM",
    "RATE",
    "RATE_FORM",
    "Bound",
    "Rate",
    "bound",
    "duration_s",
    "rate",
]

_SECONDS = {
    "s": 1,
    "m": 60,
    "min": 60,
    "h": 3600,
    "d": 86_400,
    "day": 86_400,
    "w": 604_800,
    "week": 604_800,
    "month": 2_629_746,
    "year": 31_556_952,
}  # mean Gregorian month and year
_OPERATORS: dict[str, Callable[[float, float], bool]] = {
    ">=": operator.ge,
    "<=": operator.le,
    ">": operator.gt,
    "<": operator.lt,
}

DURATION, DURATION_FORM = r"\d+(s|m|h|d|w)", "a duration such as 90s, 15m, 1h, 60d or 8w"
RATE, RATE_FORM = r"\d+/(h|day|week|month|year)", "a rate such as 4/day or 1/year"
BOUND, BOUND_FORM = r"(>=|<=|>|<)\s*-?\d+(\.\d+)?", "a bound such as '>= 0.95' or '<= 0.05'"


@dataclass(frozen=True)
class Rate:
    """At most `count` events in `per_s` seconds."""

    count: int
    per_s: int


@dataclass(frozen=True)
class Bound:
    """A limit that a number must keep."""

    operator: str
    limit: float

    def holds(self, value: float) -> bool:
        return _OPERATORS[self.operator](value, self.limit)

    def __str__(self) -> str:
        return f"{self.operator} {self.limit:g}"


def duration_s(text: str) -> int:
    """Seconds of `1h`, `60d`, ...; ValueError for anything else."""
    if not re.fullmatch(DURATION, text):
        raise ValueError(f"expected {DURATION_FORM}, got {text!r}")
    number, unit = re.fullmatch(r"(\d+)(\w+)", text).groups()  # type: ignore[union-attr]
    return int(number) * _SECONDS[unit]


def rate(text: str) -> Rate:
    """Reads `4/day`; ValueError for anything else."""
    if not re.fullmatch(RATE, text):
        raise ValueError(f"expected {RATE_FORM}, got {text!r}")
    count, unit = text.split("/")
    return Rate(int(count), _SECONDS[unit])


def bound(text: str) -> Bound:
    """Reads `>= 0.95`; ValueError for anything else."""
    match = re.fullmatch(r"(>=|<=|>|<)\s*(-?\d+(?:\.\d+)?)", text)
    if not match:
        raise ValueError(f"expected {BOUND_FORM}, got {text!r}")
    return Bound(match[1], float(match[2]))
