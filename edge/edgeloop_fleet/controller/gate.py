"""May a wave be called good? A pure look at what its nodes counted since they settled, against the rest of the fleet.

Two things speak against a wave: a share of failed requests that is surely above the limit, and an accuracy that is surely
below that of the rest (nodes on the old version, in the same windows; where there are none, the version's own held-out rows)
by more than the tolerance. Accuracy is that of labelled rows, or estimated where there are too few. "Surely" is a one-sided
test with rows divided by the design effect of errors: at 3 standard errors while the wave soaks and 2.33 (1 %) when the time
is up, so that looking often does not find what is not there (the Haybittle-Peto rule). When the time is up and nothing speaks
against the wave it passes, and the words say on what evidence.

A wave that scored no row has shown nothing. On the first rollout of a loop health is all there is, and it passes when the
soak is up. Otherwise it goes on soaking until a row was scored, for PATIENCE times the soak in all, and then fails. Rows are
known by window, and only windows that began after the wave settled are its own; so where the soak is shorter than a window
(it may be 0) the patience is that many windows.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from math import sqrt
from typing import Literal

__all__ = ["PATIENCE", "Evidence", "Gate", "Side", "Soak", "look"]

EARLY, LAST = 3.0, 2.33
LEAST_EFFECTIVE = 20.0  # labelled rows, after division by the design effect, from which labels are believed
LEAST_FAILED = 5
PATIENCE = 3


@dataclass(frozen=True, kw_only=True)
class Side:
    """Sums over the windows since the wave settled. `estimate` is None without confidence counts."""

    rows: int = 0
    failed: int = 0
    labelled: int = 0
    correct: int = 0
    estimate: float | None = None
    estimate_error: float = 0.0


@dataclass(frozen=True, kw_only=True)
class Evidence:
    """Both sides of the comparison, and the version's held-out accuracy for where there is no rest. Windows are `window_s`
    long."""

    wave: Side = field(default_factory=Side)
    rest: Side = field(default_factory=Side)
    accuracy: float = 0.0
    accuracy_rows: int = 0
    design_effect: float = 1.0
    window_s: int = 0


@dataclass(frozen=True, kw_only=True)
class Soak:
    """How long a wave shall soak and has soaked, on the fleet's clock; `first`: the loop has no last good version."""

    shall_s: float
    soaked_s: float
    first: bool = False

    @property
    def time_is_up(self) -> bool:
        return self.soaked_s >= self.shall_s


@dataclass(frozen=True, kw_only=True)
class Gate:
    """What a look at a wave came to, with words and numbers."""

    state: Literal["wait", "passed", "failed"]
    why: str
    numbers: Mapping[str, float] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class _Comparison:
    what: str
    got: float
    against: float
    whom: str
    error: float
    rows: int


def _percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def _variance(correct: int, rows: int, inflation: float) -> float:
    share = (correct + 1) / (rows + 2)  # never 0 or 1: a few lucky rows are not certain
    return share * (1 - share) * inflation / rows


def _labelled(evidence: Evidence) -> _Comparison | None:
    wave, rest, inflation = evidence.wave, evidence.rest, evidence.design_effect
    if wave.labelled / inflation < LEAST_EFFECTIVE:
        return None
    own = _variance(wave.correct, wave.labelled, inflation)
    if rest.labelled / inflation >= LEAST_EFFECTIVE:
        against, whom = rest.correct / rest.labelled, "on the nodes with the old version"
        other = _variance(rest.correct, rest.labelled, inflation)
    elif evidence.accuracy_rows > 0:
        against, whom = evidence.accuracy, "when it was accepted"
        other = _variance(round(against * evidence.accuracy_rows), evidence.accuracy_rows, inflation)
    else:
        return None
    got, error = wave.correct / wave.labelled, sqrt(own + other)
    return _Comparison(what="labels", got=got, against=against, whom=whom, error=error, rows=wave.labelled)


def _estimated(evidence: Evidence) -> _Comparison | None:
    wave, rest = evidence.wave, evidence.rest
    if wave.estimate is None:
        return None
    against, other = (evidence.accuracy, 0.0) if rest.estimate is None else (rest.estimate, rest.estimate_error)
    return _Comparison(
        what="estimate",
        got=wave.estimate,
        against=against,
        whom="when it was accepted" if rest.estimate is None else "estimated on the nodes with the old version",
        error=sqrt(wave.estimate_error**2 + other**2),
        rows=wave.rows,
    )


def _failures(evidence: Evidence, limit: float, sure: float) -> Gate | None:
    wave, rest = evidence.wave, evidence.rest
    asked = wave.rows + wave.failed
    usual = rest.failed / (rest.rows + rest.failed) if rest.rows + rest.failed else 0.0
    bound = max(limit, 2 * usual)
    if wave.failed < LEAST_FAILED:
        return None
    share = wave.failed / asked
    if share - sure * sqrt(share * (1 - share) / asked) <= bound:
        return None
    why = f"{wave.failed:,} of {asked:,} requests failed ({_percent(share)}; {_percent(bound)} is the limit)"
    return Gate(state="failed", why=why, numbers={"failed_share": share, "failed_limit": bound})


def _numbers(found: _Comparison) -> dict[str, float]:
    return {"accuracy": found.got, "against": found.against, "standard_error": found.error, "rows": float(found.rows)}


def _words(found: _Comparison) -> str:
    how = (
        f"right in {_percent(found.got)} of {found.rows:,} labelled rows"
        if found.what == "labels"
        else f"by its confidence right in {_percent(found.got)} of {found.rows:,} rows (no labels)"
    )
    return f"{how}, {_percent(found.against)} {found.whom}"


def _without(evidence: Evidence) -> str:
    if evidence.wave.rows == 0:
        return "no row was scored while it soaked; it is the first version and its nodes are well"
    return f"{evidence.wave.rows:,} rows scored, too few labels to compare; nothing speaks against it"


def _unseen(evidence: Evidence, soak: Soak) -> Gate | None:
    """What becomes of a wave of which nothing was seen when its time is up; None when rows were, or need not be."""
    if evidence.wave.rows or soak.first:
        return None
    if soak.soaked_s < PATIENCE * max(soak.shall_s, evidence.window_s):
        return Gate(state="wait", why="the time is up; soaking until a row is scored")
    why = f"no row was scored in {soak.soaked_s:,.0f} s of soaking (soak {soak.shall_s:,.0f} s)"
    return Gate(state="failed", why=why, numbers={"rows": 0.0, "soaked_s": soak.soaked_s})


def look(evidence: Evidence, soak: Soak, *, tolerance: float, max_failed_share: float) -> Gate:
    """One look at a wave. `tolerance` is in accuracy, `max_failed_share` in requests; both between 0 and 1."""
    sure = LAST if soak.time_is_up else EARLY
    failed = _failures(evidence, max_failed_share, sure)
    if failed:
        return failed
    found = _labelled(evidence) or _estimated(evidence)
    if found and found.got - found.against + tolerance < -sure * found.error:
        why = f"{_words(found)}: surely worse by more than {_percent(tolerance)}"
        return Gate(state="failed", why=why, numbers=_numbers(found))
    if not soak.time_is_up:
        return Gate(state="wait", why="soaking")
    return _unseen(evidence, soak) or _passed(evidence, found)


def _passed(evidence: Evidence, found: _Comparison | None) -> Gate:
    numbers = _numbers(found) if found else {"rows": float(evidence.wave.rows)}
    return Gate(state="passed", why=_words(found) if found else _without(evidence), numbers=numbers)
