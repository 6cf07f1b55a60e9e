"""Is the model wrong more often than it was when it was accepted? Answered from labels, block after block.

The test is a Shiryaev-Roberts sum of bets (Shafer and Vovk's testing by betting; Waudby-Smith and Ramdas for bounded means):
with e0 the version's error on held-out rows, q = e0 + margin and x the error rate of one block,

    M_f <- (1 + M_f) * (1 + f * (x - q) / q)    for f in 0.1, 0.2, 0.4, 0.8;   M_f = 0 at the start
    alarm  <=>  mean of M_f over f  >=  A

Under "the error to be expected, given the past, is at most q" each M_f - t is a supermartingale, so that the average number
of blocks to a false alarm is at least A. A block enters as one bounded number: nothing is assumed about the rows in it, and
no design effect is needed. Old good blocks do not hide a late fall, as every bet starts anew in every block.

The margin is the effect-size gate: a fall of less starts nothing, however sure it is. It is 0.01, or half the standard error
of e0 where that is larger: with few held-out rows e0 itself is a guess. A, the bets and 0.01 come from the project's offline
simulation on the wind and rain data; half (in place of a whole standard error, which made the judge blind for months after a
promotion) was chosen there too, on the wind data of 2014. Days are not quite independent there, so A is nominal.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from edgeloop_contracts import Reference

__all__ = ["BETS", "MARGIN", "ErrorBlock", "Performance", "bets", "judge_errors", "tolerated_error"]

BETS = (0.1, 0.2, 0.4, 0.8)
MARGIN = 0.01
CEILING = 1e12  # keeps a long alarm from lasting for ever after recovery


@dataclass(frozen=True, kw_only=True)
class ErrorBlock:
    """Labelled rows of one block and how many of them were predicted wrong."""

    start_s: int
    labelled: int
    errors: int


@dataclass(frozen=True, kw_only=True)
class Performance:
    """The state of the test. `alarm_s` is the start of the block in which the present alarm arose, None without one."""

    alarm_s: int | None
    since_s: int
    statistic: float
    limit: float
    error: float
    tolerated: float
    labelled: int
    blocks: int


def tolerated_error(reference: Reference) -> float:
    """q: the held-out error plus the margin, at most 0.95."""
    error = 1.0 - reference.accuracy
    rows = max(reference.accuracy_rows, 1)
    spread = sqrt(max(error * (1.0 - error), 1.0 / rows) * reference.error_design_effect / rows)
    return min(error + max(MARGIN, spread / 2), 0.95)


def bets(rates: Sequence[float], q: float) -> list[float]:
    """The statistic after each block, for error rates in [0, 1] and a tolerated rate 0 < q < 1."""
    sums, path = [0.0] * len(BETS), []
    for x in rates:
        sums = [min((1.0 + m) * (1.0 + f * (x - q) / q), CEILING) for m, f in zip(sums, BETS, strict=True)]
        path.append(sum(sums) / len(sums))
    return path


def _start_of_change(rates: Sequence[float], q: float) -> int:
    """The block from which on the rates speak most for a fall: where the excess over q, summed to the end, is largest."""
    best, best_at, excess = 0.0, len(rates) - 1, 0.0
    for i in range(len(rates) - 1, -1, -1):
        excess += rates[i] - q
        if excess > best:
            best, best_at = excess, i
    return best_at


def _start_of_alarm(path: Sequence[float], limit: float) -> int | None:
    """The first block of the present alarm."""
    start = None
    for i, value in enumerate(path):
        start = (i if start is None else start) if value >= limit else None
    return start


def judge_errors(blocks: Sequence[ErrorBlock], reference: Reference, limit: float) -> Performance | None:
    """The test over a version's blocks, oldest first; blocks without labels are skipped. None when there is no label."""
    seen = [block for block in blocks if block.labelled > 0]
    if not seen:
        return None
    q = tolerated_error(reference)
    rates = [block.errors / block.labelled for block in seen]
    path = bets(rates, q)
    alarm = _start_of_alarm(path, limit)
    since = seen[_start_of_change(rates, q)] if alarm is not None else seen[0]
    recent = [block for block in seen if block.start_s >= since.start_s]
    labelled = sum(block.labelled for block in recent)
    return Performance(
        alarm_s=None if alarm is None else seen[alarm].start_s,
        since_s=since.start_s,
        statistic=path[-1],
        limit=limit,
        error=sum(block.errors for block in recent) / labelled,
        tolerated=q,
        labelled=labelled,
        blocks=len(recent),
    )
