"""Guesses what the columns of a data set mean: time, node, label, features, windows. Pure: summaries in, guesses out.

Each guess says why and how sure it is, so that a person can check it in one look. It does not guess what a wrong guess would
make expensive: where no column can be a label it says so and asks.
"""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import Literal

from edgeloop_pipelines.loopfile.table import FEW, ColumnSummary, SourceError, Table

__all__ = ["Guess", "Guesses", "guess", "pick_monitor_window", "pick_window"]

Sure = Literal["given", "sure", "likely", "a guess"]
MAX_CLASSES = 20
NODE_WORDS = ("node", "device", "machine", "turbine", "sensor", "station", "site", "unit", "asset", "host", "gateway")
NODE_WORDS_WEAK = ("id", "name", "location", "line", "robot", "vehicle", "subject", "user")
LABEL_WORDS = ("label", "target", "class", "outcome", "y")
LABEL_WORDS_WEAK = (
    *("state", "status", "fault", "failure", "failed", "alarm", "anomaly", "result", "activity", "diagnosis"),
    *("category", "type", "rain", "quality", "condition", "event", "mode", "defect"),
)
DAY = 86_400
WINDOWS = {"1d": 1, "2d": 2, "7d": 7, "14d": 14, "30d": 30, "60d": 60, "90d": 90, "180d": 180, "365d": 365, "730d": 730}
MONITOR_WINDOWS = {
    "1m": 60,
    "15m": 900,
    "1h": 3600,
    "6h": 21_600,
    "1d": DAY,
    "1w": 7 * DAY,
    "4w": 28 * DAY,
    "52w": 364 * DAY,
}
EMPTY, TIME, CONSTANT = "it is empty", "it is a time", "it has one value only"
HOPELESS = (EMPTY, TIME, CONSTANT)  # no model learns from these; other columns are taken where nothing else is left
ENOUGH_ROWS = 12  # a window with fewer rows of one node says little


@dataclass(frozen=True)
class Guess:
    """One field of loop.yaml, guessed. An empty value means that there is none."""

    path: str
    value: str
    why: str
    sure: Sure


@dataclass(frozen=True)
class Guesses:
    """All guesses, the columns taken as features, those left out with the reason, and those taken for want of better."""

    time: Guess
    node: Guess
    label: Guess
    features: tuple[str, ...]
    left_out: tuple[tuple[str, str], ...]
    doubtful: tuple[tuple[str, str], ...] = ()  # columns among the features, and why they would else be left out

    def column(self, path: str) -> str:
        return next(g.value for g in (self.time, self.node, self.label) if g.path == path)


def guess(table: Table, *, time: str | None = None, node: str | None = None, label: str | None = None) -> Guesses:
    """Guesses the meaning of each column; what is given is taken (an empty text: there is none). SourceError without label."""
    for given, option in ((time, "--time"), (node, "--node"), (label, "--label")):
        _must_exist(table, given, option)
    time_guess = _given("data.time", time) or guess_time(table)
    node_guess = _given("data.node", node) or guess_node(table, time_guess.value)
    taken = {time_guess.value, node_guess.value} - {""}
    label_guess = _given("data.label", label) or guess_label(table, taken)
    _must_be_classes(table, label_guess.value)
    features, left_out = choose_features(table, time_guess.value, node_guess.value, label_guess.value)
    doubtful = () if features else tuple(pair for pair in left_out if pair[1] not in HOPELESS)
    features = features or tuple(name for name, _ in doubtful)
    if not features:
        raise SourceError("no column is left that could be a feature", "; ".join(f"{n}: {why}" for n, why in left_out))
    left_out = tuple(pair for pair in left_out if pair not in doubtful)
    return Guesses(time_guess, node_guess, label_guess, features, left_out, doubtful)


def _given(path: str, value: str | None) -> Guess | None:
    return None if value is None else Guess(path, value, "you said so", "given")


def _must_exist(table: Table, name: str | None, option: str) -> None:
    names = [c.name for c in table.columns]
    if name and name not in names:
        near = difflib.get_close_matches(name, names, n=1)
        hint = f"did you mean {near[0]}?" if near else "the columns: " + ", ".join(names)
        raise SourceError(f"{option}: expected a column of the data, got {name}", hint)


def _must_be_classes(table: Table, name: str) -> None:
    column = next(c for c in table.columns if c.name == name)
    if column.distinct < 2:
        raise SourceError(f"label {name}: expected at least 2 different values, found {column.distinct}")
    if column.kind == "number" and column.distinct > FEW:
        text = f"label {name}: expected classes, found a number with {column.distinct} different values"
        raise SourceError(
            text, "edgeloop predicts classes: derive a column with a few of them, such as low/middle/high"
        )


def _words(name: str) -> set[str]:
    return set("".join(c.lower() if c.isalnum() else " " for c in name).split())


def _has(name: str, words: Iterable[str]) -> bool:
    return bool(_words(name) & set(words))


_TIME_FORMS = {"text": "ISO 8601 times", "seconds": "Unix seconds", "milliseconds": "Unix milliseconds"}


def guess_time(table: Table) -> Guess:
    """The column with the most different times."""
    times = [c for c in table.columns if c.time]
    if not times:
        return Guess("data.time", "", "no column holds times", "sure")
    best = max(times, key=lambda c: c.distinct)
    others = [c.name for c in times if c is not best]
    if others:
        why = f"{best.distinct} different {_TIME_FORMS[best.time]}; {', '.join(others)} could be it too"
        return Guess("data.time", best.name, why, "likely")
    return Guess("data.time", best.name, f"every value reads as {_TIME_FORMS[best.time]}", "sure")


def guess_node(table: Table, time: str) -> Guess:
    """The column that says which machine made the row: by its name, and because it tells rows of one moment apart."""
    best, best_score = None, 0.0
    for column in table.columns:
        score = _node_score(column, table, time)
        if score > best_score:
            best, best_score = column, score
    if best is None or best_score < 2:
        return Guess("data.node", "", "no column tells machines apart: all rows are of one node", "likely")
    parts = [f"{best.distinct} different values" if best.distinct > 1 else "one value in the first rows"]
    parts += ["its name"] if _has(best.name, (*NODE_WORDS, *NODE_WORDS_WEAK)) else []
    parts += ["with the time it makes each row unique"] if _tells_apart(best, table, time) else []
    return Guess("data.node", best.name, "; ".join(parts), "sure" if best_score >= 5 else "likely")


def _tells_apart(column: ColumnSummary, table: Table, time: str) -> bool:
    times = next((c for c in table.columns if c.name == time), None)
    return times is not None and times.distinct < 0.9 * table.rows and (time, column.name) in table.unique


def _node_score(column: ColumnSummary, table: Table, time: str) -> float:
    fits = column.kind == "text" or (column.kind == "number" and column.whole)
    if column.time or not fits or column.counts_up or column.missing or column.distinct > table.rows / 5:
        return 0.0
    score = 3.0 * _has(column.name, NODE_WORDS) + 1.0 * _has(column.name, NODE_WORDS_WEAK)
    score += 3.0 * _tells_apart(column, table, time)
    return score if column.distinct > 1 or score >= 3 else 0.0


def guess_label(table: Table, taken: set[str]) -> Guess:
    """The column with a few values that is most like a class. SourceError, with what was seen, when there is none."""
    scored = sorted(
        ((_label_score(c, i, table), c) for i, c in enumerate(table.columns) if c.name not in taken and _few(c, table)),
        key=lambda pair: -pair[0],
    )
    if not scored:
        seen = ", ".join(f"{c.name} ({c.distinct} values)" for c in table.columns if c.name not in taken)
        hint = "derive a column with 2 to 20 classes, or name one with --label"
        raise SourceError(f"no column looks like a label; seen: {seen}", hint)
    (score, best), margin = scored[0], scored[0][0] - (scored[1][0] if len(scored) > 1 else 0.0)
    why = [f"{best.distinct} classes, the most common in {best.commonest:.0%} of the rows"]
    why += ["its name"] if _has(best.name, (*LABEL_WORDS, *LABEL_WORDS_WEAK)) else []
    why += ["the last column"] if best is table.columns[-1] else []
    why += [f"{scored[1][1].name} could be it too"] if len(scored) > 1 and margin < 2 else []
    sure: Sure = "sure" if score >= 4 and margin >= 2 else "likely" if margin >= 1 else "a guess"
    return Guess("data.label", best.name, "; ".join(why), sure)


def _few(column: ColumnSummary, table: Table) -> bool:
    classes = 2 <= column.distinct <= min(MAX_CLASSES, max(2, table.rows // 5))
    return classes and not column.time and (column.kind != "number" or column.whole)


def _label_score(column: ColumnSummary, index: int, table: Table) -> float:
    kinds = {"boolean": 2.0, "text": 1.5, "number": 1.0 if column.distinct == 2 else 0.0, "empty": 0.0}
    score = kinds[column.kind] + 4.0 * _has(column.name, LABEL_WORDS) + 3.0 * _has(column.name, LABEL_WORDS_WEAK)
    score += 2.0 * (index == len(table.columns) - 1)
    return score - 4.0 * _has(column.name, NODE_WORDS) - column.missing / table.rows


def choose_features(
    table: Table, time: str, node: str, label: str
) -> tuple[tuple[str, ...], tuple[tuple[str, str], ...]]:
    """The columns that a model may see, and why the others are left out."""
    features, left_out = [], []
    for column in table.columns:
        if column.name in (time, node, label):
            continue
        why = next((why for test, why in _UNFIT if test(column, table, label)), "")
        if why:
            left_out.append((column.name, why.format(column=column)))
        else:
            features.append(column.name)
    return tuple(features), tuple(left_out)


_UNFIT: tuple[tuple[Callable[[ColumnSummary, Table, str], bool], str], ...] = (
    (lambda c, _t, _l: c.kind == "empty", EMPTY),
    (lambda c, _t, _l: bool(c.time), TIME),
    (lambda c, _t, _l: c.distinct == 1, CONSTANT),
    (lambda c, _t, _l: c.counts_up, "it numbers the rows"),
    (
        lambda c, t, _l: c.distinct == t.rows and (c.kind == "text" or _has(c.name, ("id", "index"))),
        "it names each row",
    ),
    (lambda c, t, label: (c.name, label) in t.decides, "it says the same as the label"),
    (lambda c, _t, _l: c.kind == "text" and c.distinct > FEW, "text with {column.distinct} different values"),
)


def pick_window(span_s: float | None) -> tuple[str, str]:
    """How far back training looks: a quarter of the time that the data span, so that the rest can show how it ages."""
    if span_s is None:
        return "60d", "nothing says how long the data run"
    quarter = span_s / 4 / DAY
    window = max((w for w, days in WINDOWS.items() if days <= max(quarter, 1)), key=lambda w: WINDOWS[w])
    return window, f"about a quarter of the {span_s / DAY:.0f} days that the data span"


def pick_monitor_window(step_s: float | None) -> tuple[str, str]:
    """The shortest usual window in which a node makes enough rows to say something."""
    if not step_s:
        return "1h", "rows have no time of their own: the server's clock counts"
    for window, length in MONITOR_WINDOWS.items():
        if length / step_s >= ENOUGH_ROWS:
            return window, f"a node makes a row every {step_s:g} s, so {length / step_s:.0f} rows a window"
    return "52w", f"a node makes a row every {step_s:g} s"
