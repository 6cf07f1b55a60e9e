"""Reads single values of a row: times, numbers, texts. Pure; what cannot be read is said to be so, never guessed.

A time is ISO 8601 text (UTC when it names no zone), or Unix seconds, or Unix milliseconds (numbers from 1e11 on). Times
are kept as whole microseconds since 1970, so that equal moments are equal.
"""

from __future__ import annotations

import math
import re
from collections.abc import Sequence
from datetime import UTC, date, datetime, timedelta
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["FLOAT32_MAX", "MISSING_NUMBERS", "NOT_A_NUMBER", "is_number_like", "number_of", "text_of", "time_us"]

FLOAT32_MAX = 3.4028234663852886e38
MISSING_NUMBERS = frozenset(("", "nan", "na", "n/a", "null", "none", "-"))
NOT_A_NUMBER = object()
_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND = timedelta(microseconds=1)
_UNIX = re.compile(r"\d{9,13}(\.\d*)?")
_MILLISECONDS_FROM, _LAST_S = 1e11, 253_402_300_799.0  # year 5138 as seconds, 1973 as milliseconds; end of 9999


def time_us(value: Any) -> int | None:
    """Microseconds since 1970 of a time, or None when it cannot be read as one."""
    if isinstance(value, str):
        return _time_of_text(value.strip())
    if _is_missing(value):
        return None
    if isinstance(value, datetime):
        return _moment(value)
    if isinstance(value, date):
        return _moment(datetime(value.year, value.month, value.day, tzinfo=UTC))
    if isinstance(value, bool) or not isinstance(value, (int, float)):
        return None
    return _unix(float(value))


def _time_of_text(text: str) -> int | None:
    if _UNIX.fullmatch(text):
        return _unix(float(text))
    try:
        return _moment(datetime.fromisoformat(text))
    except ValueError:
        return None


def _moment(time: datetime) -> int | None:
    aware = time if time.tzinfo else time.replace(tzinfo=UTC)
    try:
        return (aware - _EPOCH) // _MICROSECOND
    except (OverflowError, ValueError):
        return None


def _unix(number: float) -> int | None:
    seconds = number / 1000 if number >= _MILLISECONDS_FROM else number
    return round(seconds * 1_000_000) if 0 <= seconds <= _LAST_S else None  # NaN fails both


def number_of(value: Any) -> Any:
    """A float (NaN: missing), or NOT_A_NUMBER. Truth values are no numbers."""
    if _is_missing(value):
        return math.nan
    if isinstance(value, str):
        text = value.strip()
        if text.lower() in MISSING_NUMBERS:
            return math.nan
        if "_" in text:
            return NOT_A_NUMBER
        value = text
    elif _is_bool(value):
        return NOT_A_NUMBER
    try:
        return float(value)
    except (TypeError, ValueError, OverflowError):
        return NOT_A_NUMBER


def _is_missing(value: Any) -> bool:
    return value is None or type(value).__name__ in ("NAType", "NaTType")  # of pandas; they compare with nothing


def _is_bool(value: Any) -> bool:
    return isinstance(value, bool) or type(value).__name__ in ("bool_", "bool")


def text_of(value: Any) -> str | None:
    """A category's or label's text, None when it is missing: whole numbers without `.0`, truth values as true and false."""
    if _is_missing(value):
        return None
    if isinstance(value, str):
        return value.strip() or None
    if _is_bool(value):
        return "true" if value else "false"
    if isinstance(value, (int, float)) or hasattr(value, "__float__"):
        number = float(value)
        if math.isnan(number):
            return None
        return str(int(number)) if number.is_integer() and abs(number) < 2**63 else repr(number)
    return str(value)


def is_number_like(values: Sequence[Any] | npt.NDArray[np.float64]) -> bool:
    """Whether a column is a number column: more than half of its present values can be read as numbers."""
    if hasattr(values, "dtype"):
        return True
    numbers = [number_of(value) for value in values]
    present = [number for number in numbers if number is NOT_A_NUMBER or not math.isnan(number)]
    return sum(number is not NOT_A_NUMBER for number in present) * 2 > len(present) or not present
