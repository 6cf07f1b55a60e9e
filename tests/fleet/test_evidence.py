"""Counts read back from the store as node blocks and as the sides of a comparison."""

from edgeloop_contracts import total
from edgeloop_fleet.evidence import Blocks, counts_of, side
from edgeloop_fleet.judge.judge import DRIFT_BLOCKS
from edgeloop_fleet.store import Store, report_row

HOUR_S, DAY_S = 3600, 86_400


def _take(store, make, *reports):
    for report in reports:
        store.take(make.delivery(report.node, report), [report], wall_s=0.0)


def test_counts_come_back_as_they_went_in(make):
    """What is stored of a report reads back as equal counts."""
    counts = make.counts(20, labelled=5, correct=4, quality={"x/a": 1}, latency=(1,) * 13, failed=2)
    assert counts_of(report_row(make.report(counts=counts))["counts"]) == counts


def test_blocks_are_exact_and_follow_every_change(url, make):
    """A block holds the windows of its day and no other, over boots; a later sequence and a late window change it."""
    store = Store(url)
    first, second = make.counts(10, labelled=2, correct=1), make.counts(25, labelled=9, correct=7)
    _take(store, make, make.report("n1", 0, 1, first), make.report("n1", 23 * HOUR_S, 1, first, boot="b2"))
    _take(store, make, make.report("n1", 24 * HOUR_S, 1, second), make.report("n2", 0, 1, first, version=2))
    blocks = Blocks(store, "demo", 1, make.reference(), DAY_S)
    assert [(b.node, b.start_s, b.counts) for b in blocks.read()] == [
        ("n1", 0, total([first, first])),
        ("n1", DAY_S, second),
    ]
    _take(store, make, make.report("n1", 0, 2, second), make.report("n1", 5 * HOUR_S, 1, first))
    assert blocks.read()[0].counts == total([second, first, first])
    assert blocks.read() == Blocks(store, "demo", 1, make.reference(), DAY_S).read()


def test_faults_are_found_when_a_block_is_read(url, make):
    """A block with a missing feature carries its fault."""
    store = Store(url)
    features = {"a": make.features(20, missing=30), "b": make.features(50)}
    _take(store, make, make.report("n1", 0, 1, make.counts(50, features=features)))
    block = Blocks(store, "demo", 1, make.reference(), DAY_S).read()[0]
    assert [(fault.kind, fault.feature) for fault in block.faults] == [("missing", "a")]


def test_old_blocks_keep_their_sums_and_lose_their_bins(url, make):
    """Memory is bounded: features of blocks that drift does not look at are dropped, labels are kept."""
    store = Store(url)
    counts = make.counts(10, labelled=2, correct=1)
    _take(store, make, *(make.report("n1", day * DAY_S, 1, counts) for day in range(DRIFT_BLOCKS + 20)))
    blocks = Blocks(store, "demo", 1, make.reference(), DAY_S).read()
    assert {block.counts.labelled for block in blocks} == {2}
    assert not blocks[0].counts.features
    assert all(block.counts.features for block in blocks[-DRIFT_BLOCKS:])


def test_a_side_sums_its_groups_since_a_time(url, make):
    """Only windows that began since, only members, only the version; the estimate comes from their confidence."""
    store = Store(url)
    counts = make.counts(100, labelled=10, correct=9, failed=1)
    _take(store, make, make.report("n1", 0, 1, counts), make.report("n1", HOUR_S, 1, counts))
    _take(store, make, make.report("n2", HOUR_S, 1, counts), make.report("n1", 2 * HOUR_S, 1, counts, version=2))
    found = side(store, make.reference(), 1, since_s=1.0, is_member=lambda group: group == "canary")
    assert (found.rows, found.failed, found.labelled, found.correct) == (100, 1, 10, 9)
    assert abs(found.estimate - 0.94) < 1e-6
    nobody = side(store, make.reference(), 1, since_s=1e9, is_member=lambda group: True)
    assert (nobody.rows, nobody.estimate) == (0, None)
