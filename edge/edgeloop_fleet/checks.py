"""What a delivery must keep beyond its contract, so that nothing that is stored can break a sum later.

Two kinds of trouble. A forged or broken delivery is refused whole (`problems_in_delivery`). A report that is right in itself
but unknown here (loop, version, bins) or of a strange date is refused alone and named (`refusal`); it is not acknowledged, so
its node keeps it and sends it again, and no counts are lost while a version is not yet known.

Counts must agree with each other as a node's monitor makes them: no histogram holds more than its rows. What an honest node
may send is not refused: labels come in reports of their own without rows, so they have a limit instead; and sequences jump,
as one counter numbers all windows of a server.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping

from edgeloop_contracts import Counts, Delivery, FeatureCounts, FeatureReference, Problem, Reference, Report
from edgeloop_contracts.reference import CONFIDENCE_BINS
from edgeloop_contracts.report import CONFIDENCE_UNIT, LATENCY_EDGES_US

__all__ = ["problems_in_counts", "problems_in_delivery", "problems_in_window", "refusal"]

NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,252}")
MOST = 2**40  # rows, sequences and times beyond this are forged; sums of what is below fit 64 bits
MOST_LABELLED = 10**9  # in one window of one node: a label costs the agent a stored row, so that many cannot come
LONGEST_WINDOW_S = 366 * 86_400
CONFIDENCE_SLACK = 1.01  # a probability may be a little above 1 by rounding in the model
NUMBERS = ("rows", "refused", "failed", "labelled", "correct")


def _names(path: str, names: Mapping[str, str]) -> Iterator[Problem]:
    for field, name in names.items():
        if not NAME.fullmatch(name):
            yield Problem(f"{path}{field}", "a name of letters, digits and . _ : -, at most 253", repr(name[:40]))


def _report(path: str, report: Report, node: str) -> Iterator[Problem]:
    yield from _names(path, {"loop": report.loop, "node": report.node, "group": report.group, "boot": report.boot})
    if report.node != node:
        yield Problem(f"{path}node", f"the delivery's own node {node}", report.node[:60])
    if report.sequence > MOST:
        yield Problem(f"{path}sequence", f"<= {MOST}", str(report.sequence))
    if not 0 <= report.window_start_s < report.window_end_s <= MOST:
        got = f"{report.window_start_s} to {report.window_end_s}"
        yield Problem(f"{path}window_end_s", "a window of Unix seconds that ends after it starts", got)
    elif report.window_end_s - report.window_start_s > LONGEST_WINDOW_S:
        got = f"{report.window_end_s - report.window_start_s} s"
        yield Problem(f"{path}window_end_s", f"a window of at most {LONGEST_WINDOW_S} s", got)
    yield from _sums(f"{path}counts", report.counts)


def _limits(counts: Counts) -> Iterator[tuple[str, float, float, str]]:
    """Field, what it says, the most that it may, and that in words."""
    for field in NUMBERS:
        yield field, getattr(counts, field), MOST, f"<= {MOST}"
    yield "labelled", counts.labelled, MOST_LABELLED, f"<= {MOST_LABELLED} in one window"
    yield "correct", counts.correct, counts.labelled, f"at most as many as labelled ({counts.labelled})"
    rows = f"at most as many as rows ({counts.rows}) in all"
    yield "classes", sum(counts.classes), counts.rows, rows
    yield "confidence", sum(counts.confidence), counts.rows, rows
    asked = counts.rows + counts.failed + counts.refused
    yield "latency", sum(counts.latency), asked, f"at most as many as rows, failed and refused ({asked}) in all"
    for name, seen in counts.features.items():
        path = f"features.{name[:60]}"
        yield f"{path}.counts", sum(seen.counts) + seen.missing, counts.rows, f"{rows}, with the missing"
        yield f"{path}.out_of_range", seen.out_of_range, counts.rows, rows
    for i, (n, total) in enumerate(zip(counts.confidence, counts.confidence_sums, strict=False)):
        most = n * CONFIDENCE_SLACK / CONFIDENCE_UNIT
        yield f"confidence_sums[{i}]", total, most, f"<= {most:.0f} for {n} rows"


def _sums(path: str, counts: Counts) -> Iterator[Problem]:
    for field, got, most, expected in _limits(counts):
        if got > most:
            yield Problem(f"{path}.{field}", expected, str(got))


def problems_in_delivery(delivery: Delivery, most: int) -> list[Problem]:
    """What is forged or broken in a delivery that fits its contract; empty when nothing is."""
    if len(delivery.reports) > most:
        return [Problem("reports", f"at most {most} reports", str(len(delivery.reports)))]
    problems = list(_names("", {"node": delivery.node, "group": delivery.group}))
    for i, report in enumerate(delivery.reports):
        problems += _report(f"reports[{i}].", report, delivery.node)
    return problems


def problems_in_window(path: str, report: Report, reference: Reference) -> list[Problem]:
    """Where a report's window is not one of the version's: as long as its reference says, at a multiple of that."""
    length_s, window_s = report.window_end_s - report.window_start_s, reference.window_s
    problems = []
    if length_s != window_s:
        problems.append(Problem(f"{path}window_end_s", f"a window of {window_s} s, as the version's", f"{length_s} s"))
    if report.window_start_s % window_s:
        expected = f"a multiple of the version's window of {window_s} s"
        problems.append(Problem(f"{path}window_start_s", expected, str(report.window_start_s)))
    return problems


def _lists(counts: Counts, reference: Reference) -> Iterator[tuple[str, int, int]]:
    yield "classes", len(counts.classes), len(reference.classes)
    yield "confidence", len(counts.confidence), CONFIDENCE_BINS
    yield "confidence_sums", len(counts.confidence_sums), CONFIDENCE_BINS
    yield "latency", len(counts.latency), len(LATENCY_EDGES_US) + 1


def _feature(path: str, seen: FeatureCounts, feature: FeatureReference) -> Iterator[Problem]:
    sizes = [("counts", len(seen.counts), feature.bins)]
    sizes += [("sums", len(seen.sums), feature.bins)] if seen.sums else []
    for field, got, expected in sizes:
        if got != expected:
            yield Problem(f"{path}.{field}", f"{expected} bins", str(got))


def problems_in_counts(path: str, counts: Counts, reference: Reference) -> list[Problem]:
    """Where counts do not have the bins of the reference whose schema hash they carry."""
    problems = [
        Problem(f"{path}.{field}", f"{expected} bins, or none", str(got))
        for field, got, expected in _lists(counts, reference)
        if got not in (0, expected)
    ]
    known = {feature.name: feature for feature in reference.features}
    for name, seen in counts.features.items():
        if name not in known:
            problems.append(Problem(f"{path}.features.{name[:60]}", "a feature of the version", "another one"))
        else:
            problems += _feature(f"{path}.features.{name}", seen, known[name])
    return problems


def refusal(
    report: Report, loops: Mapping[str, object], reference: Reference | None, latest_s: float
) -> Problem | None:
    """Why a report cannot be taken (now); None when it can. `latest_s`: windows may not end after it."""
    if report.loop not in loops:
        return Problem("loop", "a loop that the fleet service knows", report.loop)
    if reference is None:
        return Problem("version", f"a version of {report.loop} that the fleet service knows", str(report.version))
    if report.schema_hash != reference.schema_hash:
        return Problem("schema_hash", reference.schema_hash, report.schema_hash[:60])
    if report.window_end_s > latest_s:
        return Problem("window_end_s", f"<= {latest_s:.0f} (one day ahead of this clock)", str(report.window_end_s))
    return None
