"""The counting core: exact, order-free, and honest about what it cannot keep."""

from __future__ import annotations

import math
import random
from bisect import bisect_left

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeloop_contracts import Reference, from_json, to_json, total
from edgeloop_contracts.reference import CONFIDENCE_BINS, bin_of
from edgeloop_contracts.report import LATENCY_EDGES_US
from edgeloop_node.monitor import FARTHEST, KEEP_WINDOWS, MAX_WINDOWS, Identity, Monitor, rows_in

WHO = Identity(loop="pump", node="n1", group="g1", boot="b", version=3, image="sha256:1")
numbers = st.one_of(
    st.just(math.nan), st.floats(-1e30, 1e30), st.sampled_from([-1.0, 0.0, -0.0, 0.5, 2.0, -3.0, 3.0]), st.floats(-5, 5)
)
codes = st.one_of(st.just(math.nan), st.sampled_from([-1.0, 0.0, 1.0, 2.0, 3.0, 1.5, 7.0]))
scored = st.tuples(
    st.tuples(numbers, numbers, codes),
    st.integers(0, 2),
    st.floats(0, 1),
    st.sampled_from([0, 3600, 7200]),
    st.floats(0, 1e6),
)


def counted(reference: Reference, rows: list) -> Monitor:
    monitor = Monitor(WHO, reference)
    for values, label, confidence, start_s, latency_us in rows:
        monitor.record([values], [label], [confidence], [start_s], latency_us)
    return monitor


@settings(deadline=None)
@given(st.lists(scored, max_size=40))
def test_counts_equal_what_numpy_computes(rows: list) -> None:
    """Bins, sums, missing, out of range, extremes, classes, confidence and latency are numpy's over the same rows."""
    np = pytest.importorskip("numpy", reason="the other way to count")
    reference = _reference()
    for report in counted(reference, rows).reports():
        mine = [row for row in rows if row[3] == report.window_start_s]
        assert report.counts.rows == len(mine)
        for i, feature in enumerate(reference.features):
            column = np.array([row[0][i] for row in mine], dtype=np.float64)
            seen, counts = column[~np.isnan(column)], report.counts.features[feature.name]
            assert counts.missing == len(column) - len(seen)
            if feature.kind == "category":
                known = np.isin(seen, range(len(feature.categories)))
                place = np.where(known, seen, len(feature.categories)).astype(int)
                assert counts.counts == tuple(np.bincount(place, minlength=feature.bins))
                continue
            place = np.searchsorted(feature.edges, seen, side="left")
            assert counts.counts == tuple(np.bincount(place, minlength=feature.bins))
            quanta = [int(value) for value in np.clip(np.rint(seen / feature.quantum), -FARTHEST, FARTHEST)]
            sums = [sum(q for q, p in zip(quanta, place, strict=True) if p == b) for b in range(feature.bins)]
            assert counts.sums == tuple(sums)
            assert counts.out_of_range == int(((seen < feature.minimum) | (seen > feature.maximum)).sum())
            assert counts.minimum == (seen.min() if len(seen) else None)
            assert counts.maximum == (seen.max() if len(seen) else None)
        assert report.counts.classes == tuple(np.bincount([row[1] for row in mine], minlength=3))
        confidence = [bin_of(row[2]) for row in mine]
        assert report.counts.confidence == tuple(np.bincount(confidence, minlength=CONFIDENCE_BINS))
        millionths = [round(row[2] * 1e6) for row in mine]
        assert sum(report.counts.confidence_sums) == sum(millionths)
        latency = np.searchsorted(LATENCY_EDGES_US, [row[4] for row in mine], side="left")
        assert report.counts.latency == tuple(np.bincount(latency, minlength=len(LATENCY_EDGES_US) + 1))


def _reference() -> Reference:
    from edgeloop_contracts import CalibrationMap, FeatureReference, schema_hash_of

    features = (
        FeatureReference(name="x", kind="number", edges=(-1.0, 0.0, 0.5, 2.0), quantum=2.0**-20, minimum=-3, maximum=3),
        FeatureReference(name="y", kind="number", edges=(0.0,), quantum=0.5, minimum=-1, maximum=1),
        FeatureReference(name="c", kind="category", categories=("a", "b", "c")),
    )
    return Reference(
        loop="pump", schema_hash=schema_hash_of(features, ("u", "v", "w")), rows=1, features=features,
        classes=("u", "v", "w"), calibration=CalibrationMap(x=(0.0,), y=(0.0,)),
    )  # fmt: skip


@settings(deadline=None)
@given(st.lists(scored, max_size=30), st.randoms(use_true_random=False))
def test_the_order_of_rows_changes_nothing(rows: list, order: random.Random) -> None:
    """Shuffled rows give the same counts, and reports survive JSON."""
    shuffled = list(rows)
    order.shuffle(shuffled)
    reference = _reference()
    one = {r.window_start_s: r.counts for r in counted(reference, rows).reports()}
    two = {r.window_start_s: r.counts for r in counted(reference, shuffled).reports()}
    assert one == two
    for report in counted(reference, rows).reports():
        assert from_json(type(report), to_json(report)) == report


@settings(deadline=None)
@given(st.lists(scored, max_size=30), st.integers(0, 30))
def test_parts_add_up(rows: list, cut: int) -> None:
    """Two servers that share the rows count together what one would have counted."""
    reference = _reference()
    parts = counted(reference, rows[:cut]).reports() + counted(reference, rows[cut:]).reports()
    whole = counted(reference, rows).reports()
    assert total(r.counts for r in parts) == total(r.counts for r in whole)


def test_a_batch_counts_as_its_rows_do(reference: Reference) -> None:
    """One record call with many rows equals many calls with one."""
    rows = [([0.1 * i, -0.1 * i, i % 4 - 1.0], i % 3, 0.5 + i / 100, 3600 * (i % 2), 75.0) for i in range(40)]
    batch = Monitor(WHO, reference)
    columns = list(zip(*rows, strict=True))
    batch.record(columns[0], columns[1], columns[2], columns[3], 75.0)
    assert [r.counts for r in batch.reports()] == [r.counts for r in counted(reference, rows).reports()]
    assert batch.totals.rows == 40


def record(monitor: Monitor, start_s: int, rows: int = 1) -> None:
    monitor.record([[0.0, 0.0, 0.0]] * rows, [0] * rows, [0.9] * rows, [start_s] * rows, 10.0)


def test_sequence_rises_with_each_change_and_only_then(reference: Reference) -> None:
    """A reader that asks for what is above the sequence it has gets exactly the windows that changed."""
    monitor = Monitor(WHO, reference)
    record(monitor, 0)
    record(monitor, 3600)
    assert [r.sequence for r in monitor.reports()] == [1, 2]
    assert monitor.reports(after=2) == []
    record(monitor, 0)
    (changed,) = monitor.reports(after=2)
    assert (changed.sequence, changed.window_start_s, changed.counts.rows) == (3, 0, 2)
    assert [r.sequence for r in monitor.reports(after=0)] == [2, 3]
    assert [r.sequence for r in monitor.reports(after=0, limit=1)] == [2]


def test_refused_requests_keep_to_the_time_of_the_rows(reference: Reference) -> None:
    """Replayed data of 1970 with one bad request opens no window of today; without rows the clock decides."""
    monitor = Monitor(WHO, reference)
    record(monitor, 7200)
    monitor.refuse(1.7e9)
    monitor.fail(1.7e9)
    (report,) = monitor.reports()
    assert (report.window_start_s, report.counts.refused, report.counts.failed) == (7200, 1, 1)
    empty = Monitor(WHO, reference)
    empty.refuse(7300.0)
    assert [(r.window_start_s, r.counts.refused) for r in empty.reports()] == [(7200, 1)]


def test_what_nobody_read_is_never_forgotten(reference: Reference) -> None:
    """Windows go only when they are confirmed and old."""
    monitor = Monitor(WHO, reference)
    for i in range(KEEP_WINDOWS + 20):
        record(monitor, 3600 * i)
    assert len(monitor.reports()) == KEEP_WINDOWS + 20
    monitor.confirm(5)
    assert len(monitor.reports()) == KEEP_WINDOWS + 20 - 5
    monitor.confirm(10**9)
    assert len(monitor.reports()) == KEEP_WINDOWS + 1
    assert monitor.unread() == []


def test_a_late_row_of_a_forgotten_window_gets_a_key_of_its_own(reference: Reference) -> None:
    """Counts that start again do not replace the ones that were delivered."""
    monitor, seen = Monitor(WHO, reference), {}
    for i in range(KEEP_WINDOWS + 3):
        record(monitor, 3600 * i)
    for _ in range(3):
        seen.update({r.key: r for r in monitor.reports()})
        monitor.confirm(monitor.sequence)
        record(monitor, 0, rows=5)
        record(monitor, 3600 * (KEEP_WINDOWS + 9))
    seen.update({r.key: r for r in monitor.reports()})
    assert rows_in(seen.values()) == monitor.totals.rows
    assert {r.boot for r in seen.values()} > {"b", "b.1"}


def test_too_many_unread_windows_are_not_counted_wrongly(reference: Reference) -> None:
    """At the limit rows of new windows are only counted as uncounted; known windows go on."""
    monitor = Monitor(WHO, reference)
    for i in range(MAX_WINDOWS):
        record(monitor, 3600 * i)
    record(monitor, 3600 * MAX_WINDOWS, rows=4)
    record(monitor, 0)
    assert monitor.totals.uncounted == 4
    assert rows_in(monitor.reports()) == MAX_WINDOWS + 1
    monitor.confirm(monitor.sequence)
    record(monitor, 3600 * MAX_WINDOWS)
    assert monitor.totals.uncounted == 4


def test_a_reference_without_quantum_is_refused() -> None:
    """A quantum of 0 would make every sum meaningless: the error names the feature."""
    from dataclasses import replace

    reference = _reference()
    features = (replace(reference.features[0], quantum=0.0), *reference.features[1:])
    with pytest.raises(ValueError, match=r"reference\.features\.x\.quantum: expected > 0"):
        Monitor(WHO, replace(reference, features=features))


def test_bins_close_on_the_right() -> None:
    """A value on an edge belongs to the bin that the edge closes, as in the reference."""
    monitor = counted(_reference(), [((0.5, 0.0, 0.0), 0, 0.5, 0, 50.0)])
    (report,) = monitor.reports()
    assert report.counts.features["x"].counts == (0, 0, 1, 0, 0)
    assert report.counts.latency[bisect_left(LATENCY_EDGES_US, 50)] == 1


def test_an_absurd_value_does_not_make_a_report_unreadable() -> None:
    """Sums stay within 64 bits whatever a broken sensor says; the extremes tell the truth."""
    row = ((3e38, -3e38, 0.0), 0, 0.5, 0, 50.0)
    (report,) = counted(_reference(), [row] * 3).reports()
    assert from_json(type(report), to_json(report)) == report
    assert report.counts.features["x"].sums[-1] == 3 * FARTHEST
    assert (report.counts.features["x"].maximum, report.counts.features["y"].minimum) == (3e38, -3e38)
