"""The sentences of the verdicts: what was seen, against what, since when; for people."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime

from edgeloop_contracts import Reference
from edgeloop_fleet.judge.blocks import Fault
from edgeloop_fleet.judge.drift import Moved
from edgeloop_fleet.judge.estimate import Estimate
from edgeloop_fleet.judge.performance import Performance

__all__ = ["day", "estimated", "fallen", "faulty", "holds", "moved", "percent"]

_FAULTS = {
    "missing": "{feature} is missing in {share} of the rows",
    "impossible": "{feature} is impossibly far from the training data in {share} of the rows",
    "stuck": "{feature} is stuck at one value",
    "unknown": "{feature} has categories that training never saw in {share} of the rows",
}


def percent(share: float) -> str:
    return f"{100 * share:.1f} %"


def day(time_s: float) -> str:
    """The day, with the hour where it is not midnight, in UTC."""
    moment = datetime.fromtimestamp(time_s, UTC)
    return moment.strftime("%Y-%m-%d" if time_s % 86_400 == 0 else "%Y-%m-%d %H:%M")


def moved(features: Sequence[Moved]) -> str:
    """` Inputs that moved most: ...`, or nothing."""
    if not features:
        return ""
    return " Inputs that moved most: " + ", ".join(f"{m.feature} ({m.effect:.2f} sd)" for m in features[:3]) + "."


def fallen(found: Performance, reference: Reference) -> str:
    return (
        f"Right in {percent(1 - found.error)} of {found.labelled:,} labelled rows since {day(found.since_s)}, "
        f"against {percent(reference.accuracy)} when it was accepted: more errors than the {percent(found.tolerated)} "
        f"that are tolerated, surely enough (evidence {found.statistic:.3g}, limit {found.limit:.3g})."
    )


def holds(found: Performance) -> str:
    return (
        f"Right in {percent(1 - found.error)} of {found.labelled:,} labelled rows since {day(found.since_s)}; "
        f"at least {percent(1 - found.tolerated)} is wanted (evidence of a fall {found.statistic:.3g}, limit {found.limit:.3g})."
    )


def estimated(found: Estimate, reference: Reference, *, low: bool) -> str:
    how = "surely below" if low else "no sure fall from"
    return (
        f"No labels are due yet; by its confidence the model is right in {percent(found.accuracy)} "
        f"(+- {percent(3 * found.error)}) of {found.rows:,} rows, {how} the {percent(reference.accuracy)} when it was accepted."
    )


def faulty(who: str, faults: Sequence[Fault]) -> str:
    seen = ", ".join(_FAULTS[f.kind].format(feature=f.feature, share=percent(f.share)) for f in faults[:3])
    return f"{who}: {seen}. In quarantine until it is mended: no retraining on broken data."
