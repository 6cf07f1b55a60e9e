"""Counts what a server scores, in the reference's bins, window by window, and tells it as Reports.

Pure: rows, times and a reference go in, Reports come out; no clock, no files. All counts are whole numbers, so the order of
the rows changes nothing. A row costs a few microseconds, because the counters are plain lists and the contracts are built
when they are read.

Sequence numbers: the server has one counter. A read stamps each window that changed since the last read with the next
number, so "all reports above S" is what a reader that has stored everything up to S still lacks.

What a confirmed reader has stored is forgotten once it is KEEP_WINDOWS older than the newest window. A row that comes for a
forgotten window later is counted under a fresh boot id (`<boot>.<k>`), since counts that start again at 0 under the old
key would replace the old ones.

A broken sensor may say 1e30. One value adds at most FARTHEST quanta to a sum (millions of standard deviations), so that
one row cannot make a report unreadable; minimum, maximum and out_of_range tell what was really seen.

What nobody has read is never forgotten; instead, at MAX_WINDOWS, no new window is opened:
rows are scored but counted only in `uncounted` (a metric), never in a wrong window.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterable, Sequence
from dataclasses import dataclass, field
from itertools import repeat

from edgeloop_contracts import Counts, FeatureCounts, FeatureReference, Reference, Report
from edgeloop_contracts.reference import CONFIDENCE_BINS, bin_of
from edgeloop_contracts.report import CONFIDENCE_UNIT, LATENCY_EDGES_US

__all__ = ["KEEP_WINDOWS", "MAX_WINDOWS", "Identity", "Monitor"]

KEEP_WINDOWS = 48
MAX_WINDOWS = 1000  # of about 20 kB each for 32 features
FARTHEST = 2**44  # quanta that one value adds at most: float32 tells apart no values that are farther from each other
LARGEST_SUM = 2**63 - 1  # what a contract can carry
PER_UNIT = round(1 / CONFIDENCE_UNIT)


@dataclass(frozen=True, kw_only=True)
class Identity:
    """Who counts: what every report of one server start says about itself."""

    loop: str
    node: str
    group: str
    boot: str
    version: int
    image: str = ""


class _Cells:
    """The mutable counts of one feature in one window."""

    __slots__ = ("counts", "maximum", "minimum", "missing", "out_of_range", "sums")

    def __init__(self, feature: FeatureReference) -> None:
        self.counts = [0] * feature.bins
        self.sums = [0] * (feature.bins if feature.kind == "number" else 0)
        self.missing = self.out_of_range = 0
        self.minimum, self.maximum = float("inf"), float("-inf")

    def read(self) -> FeatureCounts:
        seen = bool(self.sums) and self.minimum <= self.maximum
        return FeatureCounts(
            counts=tuple(self.counts),
            sums=tuple(max(-LARGEST_SUM, min(LARGEST_SUM, total)) for total in self.sums),
            missing=self.missing,
            out_of_range=self.out_of_range,
            minimum=self.minimum if seen else None,
            maximum=self.maximum if seen else None,
        )


class _Window:
    """The mutable counts of one window."""

    __slots__ = (
        "boot",
        "classes",
        "confidence",
        "confidence_sums",
        "dirty",
        "failed",
        "features",
        "latency",
        "refused",
        "rows",
        "sequence",
        "start_s",
    )

    def __init__(self, start_s: int, boot: str, reference: Reference) -> None:
        self.start_s, self.boot = start_s, boot
        self.rows = self.refused = self.failed = self.sequence = 0
        self.features = [_Cells(feature) for feature in reference.features]
        self.classes = [0] * len(reference.classes)
        self.confidence = [0] * (CONFIDENCE_BINS if reference.classes else 0)
        self.confidence_sums = [0] * len(self.confidence)
        self.latency = [0] * (len(LATENCY_EDGES_US) + 1)
        self.dirty = True

    def read(self, names: Sequence[str]) -> Counts:
        return Counts(
            rows=self.rows,
            refused=self.refused,
            failed=self.failed,
            features={name: cells.read() for name, cells in zip(names, self.features, strict=True)},
            classes=tuple(self.classes),
            confidence=tuple(self.confidence),
            confidence_sums=tuple(self.confidence_sums),
            latency=tuple(self.latency),
        )


@dataclass
class Totals:
    """Counts since the start, over all windows: what /metrics shows."""

    rows: int = 0
    uncounted: int = 0
    latency: list[int] = field(default_factory=lambda: [0] * (len(LATENCY_EDGES_US) + 1))
    latency_sum_us: float = 0.0


_Plan = tuple[tuple[float, ...] | None, float, float, float]  # edges (None: a category), quantum, minimum, maximum


def _plan_of(feature: FeatureReference) -> _Plan:
    if feature.kind == "category":
        return None, 1.0, 0.0, float(len(feature.categories))
    if not feature.quantum > 0:
        raise ValueError(f"reference.features.{feature.name}.quantum: expected > 0, got {feature.quantum}")
    return feature.edges, feature.quantum, feature.minimum, feature.maximum


class Monitor:
    """The counters of one server. Not thread-safe: one event loop owns it.

    Raises ValueError when the reference has a quantum that is not above 0.
    """

    def __init__(self, identity: Identity, reference: Reference) -> None:
        self.identity, self.reference = identity, reference
        self.window_s = reference.window_s
        self.totals = Totals()
        self.sequence = 0
        self.confirmed = 0
        self._plan = [_plan_of(feature) for feature in reference.features]
        self._names = [feature.name for feature in reference.features]
        self._windows: dict[int, _Window] = {}
        self._newest_s: int | None = None
        self._forgotten_s: int | None = None  # newest window that was forgotten
        self._reopened = 0

    def window_start(self, time_s: float) -> int:
        """The start of the window that a time falls into."""
        return int(time_s // self.window_s) * self.window_s

    def record(
        self,
        rows: Sequence[Sequence[float]],
        labels: Sequence[int],
        confidences: Sequence[float],
        starts_s: Sequence[int],
        latency_us: float,
    ) -> None:
        """Counts the rows of one answered request.

        `rows` [n][features] with NaN for missing and category codes as numbers, `labels` [n] class indices, `confidences`
        [n] largest probabilities, `starts_s` [n] window starts; `latency_us` is the whole request's and holds for each row.
        A model without classes has neither labels nor confidences: both are empty.
        """
        place = bisect_left(LATENCY_EDGES_US, latency_us)
        totals = self.totals
        totals.rows += len(rows)
        totals.latency[place] += len(rows)
        totals.latency_sum_us += latency_us * len(rows)
        answers = zip(labels, confidences, strict=True) if self.reference.classes else repeat(None, len(rows))
        for row, answer, start_s in zip(rows, answers, starts_s, strict=True):
            window = self._windows.get(start_s) or self._open(start_s)
            if window is None:
                totals.uncounted += 1
                continue
            window.rows += 1
            window.dirty = True
            window.latency[place] += 1
            if answer:
                label, confidence = answer
                window.classes[label] += 1
                scaled = bin_of(confidence)
                window.confidence[scaled] += 1
                window.confidence_sums[scaled] += round(confidence * PER_UNIT)
            self._count_row(row, window.features)

    def _count_row(self, row: Sequence[float], features: list[_Cells]) -> None:
        for x, (edges, quantum, low, high), cells in zip(row, self._plan, features, strict=True):
            if x != x:  # noqa: PLR0124  NaN: the only value that is not itself
                cells.missing += 1
            elif edges is None:
                code = int(x)
                cells.counts[code if 0 <= x < high and code == x else -1] += 1
            else:
                place = bisect_left(edges, x)
                cells.counts[place] += 1
                quanta = x / quantum
                if not -FARTHEST < quanta < FARTHEST:
                    quanta = math.copysign(FARTHEST, quanta)
                cells.sums[place] += round(quanta)
                if x < cells.minimum:  # noqa: PLR1730  half the time of min()
                    cells.minimum = x
                if x > cells.maximum:  # noqa: PLR1730
                    cells.maximum = x
                if x < low or x > high:
                    cells.out_of_range += 1

    def _open(self, start_s: int) -> _Window | None:
        if len(self._windows) >= MAX_WINDOWS:
            self._forget()
            if len(self._windows) >= MAX_WINDOWS:
                return None
        boot = self.identity.boot
        if self._forgotten_s is not None and start_s <= self._forgotten_s:
            self._reopened += 1
            boot = f"{boot}.{self._reopened}"
        window = self._windows[start_s] = _Window(start_s, boot, self.reference)
        if self._newest_s is None or start_s > self._newest_s:
            self._newest_s = start_s
        return window

    def _current(self, now_s: float) -> _Window | None:
        """The window for what has no row: the newest one, so that replayed data keeps to its own time; else the clock's."""
        start_s = self.window_start(now_s) if self._newest_s is None else self._newest_s
        return self._windows.get(start_s) or self._open(start_s)

    def refuse(self, now_s: float) -> None:
        """Counts a scoring request that was answered with 4xx."""
        if window := self._current(now_s):
            window.refused += 1
            window.dirty = True

    def fail(self, now_s: float) -> None:
        """Counts a scoring request that was answered with 5xx."""
        if window := self._current(now_s):
            window.failed += 1
            window.dirty = True

    def confirm(self, sequence: int) -> None:
        """The reader has stored everything up to `sequence`; what is old of it may be forgotten."""
        self.confirmed = max(self.confirmed, min(sequence, self.sequence))
        self._forget()

    def _forget(self) -> None:
        if self._newest_s is None:
            return
        oldest_s = self._newest_s - KEEP_WINDOWS * self.window_s
        old = [w for w in self._windows.values() if w.start_s < oldest_s and self._stored(w)]
        for window in old:
            del self._windows[window.start_s]
            self._forgotten_s = max(window.start_s, self._forgotten_s or window.start_s)

    def _stored(self, window: _Window) -> bool:
        return not window.dirty and window.sequence <= self.confirmed

    def _stamp(self) -> None:
        for window in sorted(self._windows.values(), key=lambda w: w.start_s):
            if window.dirty:
                self.sequence += 1
                window.sequence, window.dirty = self.sequence, False

    def reports(self, after: int = 0, limit: int | None = None) -> list[Report]:
        """The windows with a sequence above `after`, lowest sequence first, `limit` at most."""
        self._stamp()
        changed = sorted((w for w in self._windows.values() if w.sequence > after), key=lambda w: w.sequence)
        return [self._report(window) for window in changed[:limit]]

    def unread(self) -> list[Report]:
        """What no reader has confirmed yet: a server that ends leaves it behind."""
        return self.reports(self.confirmed)

    def _report(self, window: _Window) -> Report:
        who = self.identity
        return Report(
            loop=who.loop,
            node=who.node,
            group=who.group,
            boot=window.boot,
            sequence=window.sequence,
            version=who.version,
            image=who.image,
            schema_hash=self.reference.schema_hash,
            window_start_s=window.start_s,
            window_end_s=window.start_s + self.window_s,
            counts=window.read(self._names),
        )


def rows_in(reports: Iterable[Report]) -> int:
    """Rows in all reports together: the mass that must not be lost on the way."""
    return sum(report.counts.rows for report in reports)
