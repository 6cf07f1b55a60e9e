"""Whether answers are what they must be: probabilities of a classifier, and golden answers of any model.

A golden answer of a graph without classes holds as parity has it: within VALUE_LIMIT of the largest value of its row, or of
the output's typical size (`scale` in golden.json, at least 1) where that is larger; whole numbers, infinities and NaN exactly.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

__all__ = [
    "GOLDEN_LIMIT",
    "VALUE_LIMIT",
    "UnsoundScoreError",
    "apart",
    "checked",
    "first_unsound",
    "unanswered",
    "values_apart",
]

GOLDEN_LIMIT = 1e-5  # probability; the same graph on another processor differs by about 1e-6
VALUE_LIMIT = 1e-5
SUM_LIMIT = 1e-6
MOST_NAMED = 8  # missing features in a message
SOUND_LIMIT = 1e-3  # float32 rounding over thousands of classes stays below; a graph that does not normalise is above


class UnsoundScoreError(ArithmeticError):
    """The model's answer is no probability distribution, or its label is no class."""


def checked(label: int, probabilities: list[float]) -> list[float]:
    """The probabilities, summing to 1 within SUM_LIMIT. UnsoundScoreError when they are no distribution at all."""
    total = sum(probabilities)
    if -SUM_LIMIT <= total - 1.0 <= SUM_LIMIT and 0 <= label < len(probabilities) and min(probabilities) >= 0:
        return probabilities
    if not 0 <= label < len(probabilities):
        raise UnsoundScoreError(f"label: expected a class below {len(probabilities)}, got {label}")
    if not (abs(total - 1.0) <= SOUND_LIMIT and min(probabilities) >= 0):
        raise UnsoundScoreError(f"probabilities: expected numbers >= 0 with the sum 1, got the sum {total}")
    return [p / total for p in probabilities]


def first_unsound(labels: Sequence[int], scores: Sequence[list[float]]) -> int:
    """The place of the first answer that `checked` refuses; -1 for none."""
    for place, (label, row) in enumerate(zip(labels, scores, strict=True)):
        try:
            checked(label, row)
        except UnsoundScoreError:
            return place
    return -1


def unanswered(scores: Sequence[float], values: Sequence[float], names: Sequence[str]) -> str:
    """What to tell the caller whose row lacks features and got NaN; empty where the model is at fault."""
    missing = [name for name, value in zip(names, values, strict=True) if math.isnan(value)]
    if not missing or not math.isnan(sum(scores)):
        return ""
    shown = ", ".join([*missing[:MOST_NAMED], *["..."][: len(missing) > MOST_NAMED]])
    return f"features: the model has no answer to a row without {shown}"


def _apart(expected: float, got: float) -> float:
    if expected == got or (expected != expected and got != got):  # noqa: PLR0124  NaN is met by NaN
        return 0.0
    return abs(expected - got) if math.isfinite(expected) and math.isfinite(got) else math.inf


def apart(expected: Sequence[float], got: Sequence[float]) -> float:
    """The largest difference of two rows; infinite where one is a number and the other is not, or of other lengths."""
    if len(expected) != len(got):
        return math.inf
    return max(map(_apart, expected, got), default=math.inf)


def values_apart(expected: Sequence[float], got: Sequence[float], scale: float) -> float:
    """The same in parts of the row's largest finite value, or of `scale` where that is larger."""
    return apart(expected, got) / max([scale, *(abs(value) for value in expected if math.isfinite(value))])
