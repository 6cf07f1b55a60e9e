"""The judge: from what was counted of the serving version to verdicts.

The order is fixed: labels; where they are silent the estimate; a data fault (alarm, never a run); drift of the inputs, which
explains, and asks for a run only where no label speaks, loop.yaml lists it, and it is large. Node blocks with a data fault are
left out of everything but the search for faults, so that a broken sensor cannot ask for a run by way of its errors.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass

from edgeloop_contracts import Counts, Loop, Reference, Verdict, total
from edgeloop_contracts.loop import CauseName
from edgeloop_fleet.judge import blocks as b
from edgeloop_fleet.judge import words
from edgeloop_fleet.judge.blocks import NodeBlock
from edgeloop_fleet.judge.drift import LARGE, Moved, drifted
from edgeloop_fleet.judge.estimate import Estimate, estimate, has_fallen
from edgeloop_fleet.judge.performance import ErrorBlock, Performance, judge_errors

__all__ = ["DRIFT_BLOCKS", "Case", "judge"]

DRIFT_BLOCKS = 28  # how far back drift is looked for
SILENT_BLOCKS = 3  # labels are silent when so many mature blocks running have none


@dataclass(frozen=True, kw_only=True)
class Case:
    """What is judged: the version that serves, its reference, and what nodes counted of it in blocks.

    Only blocks from `armed_s` on count: the start of the last run that was started, 0 where there was none. After a run the
    tests begin anew, whether its model was promoted or not.
    """

    loop: Loop
    version: int
    reference: Reference
    blocks: Sequence[NodeBlock]
    now_s: float
    armed_s: float = 0.0


@dataclass(frozen=True, kw_only=True)
class _Findings:
    performance: Performance | None
    silent: bool
    estimates: tuple[Estimate | None, ...]
    faulty: tuple[NodeBlock, ...]
    moved: tuple[Moved, ...]
    start_s: int
    end_s: int


def _by_start(blocks: Iterable[NodeBlock]) -> dict[int, list[NodeBlock]]:
    found: dict[int, list[NodeBlock]] = defaultdict(list)
    for block in blocks:
        found[block.start_s].append(block)
    return dict(sorted(found.items()))


def _errors(by_start: Mapping[int, Sequence[NodeBlock]], until_s: float, length_s: int) -> list[ErrorBlock]:
    mature = {start: nodes for start, nodes in by_start.items() if start + length_s <= until_s}
    return [
        ErrorBlock(
            start_s=start,
            labelled=sum(block.counts.labelled for block in nodes),
            errors=sum(block.counts.labelled - block.counts.correct for block in nodes),
        )
        for start, nodes in mature.items()
    ]


def _estimate(nodes: Sequence[NodeBlock], reference: Reference) -> Estimate | None:
    counts = total(Counts(confidence=n.counts.confidence, confidence_sums=n.counts.confidence_sums) for n in nodes)
    return estimate(counts.confidence, counts.confidence_sums, reference)


def _moved(case: Case, by_start: Mapping[int, Sequence[NodeBlock]]) -> tuple[Moved, ...]:
    recent = list(by_start.items())[-DRIFT_BLOCKS:]
    merged = [(start, total(Counts(features=n.counts.features) for n in nodes)) for start, nodes in recent]
    return drifted(merged, case.reference, b.block_s(case.loop), b.run_length(case.loop))


def _findings(case: Case) -> _Findings | None:
    """What the modules find; None while no block is complete."""
    length, complete_s = b.block_s(case.loop), b.complete_until_s(case.loop, case.now_s)
    complete = [x for x in case.blocks if x.start_s + length <= complete_s and x.start_s + length > case.armed_s]
    if not complete:
        return None
    newest = max(block.start_s for block in complete)
    healthy = _by_start(block for block in complete if not block.faults)
    errors = _errors(healthy, b.mature_until_s(case.loop, case.now_s), length)
    return _Findings(
        performance=judge_errors(
            [e for e in errors if e.start_s >= case.armed_s], case.reference, b.run_length(case.loop)
        ),
        silent=not any(e.labelled for e in errors[-SILENT_BLOCKS:]),
        estimates=tuple(_estimate(nodes, case.reference) for nodes in list(healthy.values())[-2:]),
        faulty=tuple(block for block in complete if block.start_s == newest and block.faults),
        moved=_moved(case, healthy),
        start_s=newest,
        end_s=newest + length,
    )


def _verdict(
    case: Case,
    found: _Findings,
    judgement: str,
    sentence: str,
    numbers: Mapping[str, float],
    *,
    evidence_s: int | None = None,
    cause: CauseName | None = None,
) -> Verdict:
    drift = {f"moved/{m.feature}": round(m.effect, 4) for m in found.moved}
    return Verdict(
        loop=case.loop.name,
        version=case.version,
        judgement=judgement,  # type: ignore[arg-type]
        sentence=sentence,
        numbers={**{name: float(value) for name, value in numbers.items()}, **drift},
        window_start_s=found.start_s if evidence_s is None else evidence_s,
        window_end_s=found.end_s,
        at_s=case.now_s,
        cause=cause if cause in case.loop.retrain.on else None,
    )


def _performance_numbers(found: Performance) -> dict[str, float]:
    return {
        "accuracy": 1 - found.error,
        "tolerated": 1 - found.tolerated,
        "labelled": found.labelled,
        "evidence": min(found.statistic, 1e12),
        "limit": min(found.limit, 1e12),
        "since_s": found.since_s,
    }


def _estimate_numbers(found: Estimate) -> dict[str, float]:
    return {"estimated_accuracy": found.accuracy, "standard_error": found.error, "rows": found.rows}


def _from_labels(case: Case, found: _Findings) -> Verdict | None:
    seen = found.performance
    if seen is None or seen.alarm_s is None:
        return None
    sentence = words.fallen(seen, case.reference) + words.moved(found.moved)
    numbers = _performance_numbers(seen)
    return _verdict(case, found, "performance", sentence, numbers, evidence_s=seen.alarm_s, cause="performance")


def _from_estimate(case: Case, found: _Findings) -> Verdict | None:
    newest = found.estimates[-1] if found.estimates else None
    if not found.silent or newest is None or not has_fallen(found.estimates, case.reference):
        return None
    sentence = words.estimated(newest, case.reference, low=True) + words.moved(found.moved)
    return _verdict(case, found, "estimated_performance", sentence, _estimate_numbers(newest), cause="performance")


def _from_quality(case: Case, found: _Findings) -> Verdict | None:
    if not found.faulty:
        return None
    sentence = " ".join(words.faulty(block.node, block.faults) for block in found.faulty[:3])
    return _verdict(case, found, "quality", sentence, {"faulty_nodes": len(found.faulty)})


def _from_drift(case: Case, found: _Findings) -> Verdict | None:
    if not found.moved or not found.silent:
        return None
    large = found.moved[0].effect >= LARGE
    sentence = "The inputs have left the training data, and no label says whether it matters." + words.moved(
        found.moved
    )
    since = min(m.since_s for m in found.moved)
    return _verdict(case, found, "drift", sentence, {}, evidence_s=since, cause="drift" if large else None)


def _good(case: Case, found: _Findings) -> Verdict:
    newest = found.estimates[-1] if found.estimates else None
    if found.performance is not None:
        sentence = words.holds(found.performance) + words.moved(found.moved)
        return _verdict(case, found, "healthy", sentence, _performance_numbers(found.performance))
    if newest is not None and found.silent:
        return _verdict(
            case, found, "healthy", words.estimated(newest, case.reference, low=False), _estimate_numbers(newest)
        )
    return _verdict(case, found, "insufficient", "Rows were counted; their labels are not due yet.", {})


_ORDER = (_from_labels, _from_estimate, _from_quality, _from_drift)


def _nothing(case: Case) -> Verdict:
    since = f" since the run of {words.day(case.armed_s)}" if case.armed_s else ""
    return Verdict(
        loop=case.loop.name,
        version=case.version,
        judgement="insufficient",
        sentence=f"No complete block of windows has been counted yet{since}.",
        at_s=case.now_s,
    )


def _scoped(case: Case, found: _Findings, scope: str, who: str, block: NodeBlock) -> Verdict:
    numbers = {f"{fault.kind}/{fault.feature}": fault.share for fault in block.faults}
    return Verdict(
        loop=case.loop.name,
        version=case.version,
        scope=scope,
        judgement="quality",
        sentence=words.faulty(who, block.faults),
        numbers=numbers,
        window_start_s=found.start_s,
        window_end_s=found.end_s,
        at_s=case.now_s,
    )


def _scopes(case: Case, found: _Findings) -> list[Verdict]:
    """A verdict for each node with a fault, and for each group of which two nodes or more, and half of them, share one."""
    nodes = [_scoped(case, found, f"node/{block.node}", block.node, block) for block in found.faulty]
    newest = [block for block in case.blocks if block.start_s == found.start_s]
    groups = []
    for group in sorted({block.group for block in found.faulty}):
        sick = [block for block in found.faulty if block.group == group]
        if len(sick) >= 2 and 2 * len(sick) >= sum(block.group == group for block in newest):
            groups.append(_scoped(case, found, f"group/{group}", f"{len(sick)} nodes of {group}", sick[0]))
    return groups + nodes


def judge(case: Case) -> tuple[Verdict, ...]:
    """The fleet's verdict first, then one for each group and node with a data fault. Only the first may ask for a run."""
    found = _findings(case)
    if found is None:
        return (_nothing(case),)
    first = next((verdict for rule in _ORDER if (verdict := rule(case, found))), None) or _good(case, found)
    return (first, *_scopes(case, found))
