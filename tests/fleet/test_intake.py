"""What the service takes from nodes, what it keeps waiting, and what it refuses."""

import time
from dataclasses import replace

import pytest

from edgeloop_fleet.service import RefusedError

DAY_S = 86_400


def test_unknown_reports_are_named_and_kept_by_the_node(world, make):
    """Reports of an unknown loop, version or other bins are not acknowledged; the known one beside them is."""
    world.serve()
    good = make.report("n1", 0)
    bad = [replace(good, loop="other"), replace(good, version=7), replace(good, schema_hash="0" * 16)]
    taken = world.fleet.take(make.delivery("n1", *bad, good))
    assert [(a.loop, a.version) for a in taken.acknowledgement.reports] == [("demo", 1)]
    assert [problem.path for _, problem in taken.refused] == [
        f"reports[{i}].{p}" for i, p in enumerate(("loop", "version", "schema_hash"))
    ]


def test_reports_of_the_far_future_are_refused_by_the_wall_clock(make, url):
    """A window that ends two days ahead of the wall clock is refused; in event time there is no such thing."""
    world = make.world(url, clock="wall")
    world.fleet.put_loop(make.loop())
    world.fleet.put_rollout(make.rollout(1), make.version(1), make.reference())
    ahead = int(time.time()) + 2 * DAY_S
    taken = world.fleet.take(make.delivery("n1", make.report("n1", ahead)))
    assert taken.acknowledgement.reports == ()
    assert taken.refused[0][1].path == "reports[0].window_end_s"


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"node": "n2"}, "reports[0].node"),
        ({"boot": "b/../1"}, "reports[0].boot"),
        ({"window_end_s": 0}, "reports[0].window_end_s"),
        ({"sequence": 2**50}, "reports[0].sequence"),
    ],
)
def test_forged_reports_refuse_the_delivery(world, make, change, path):
    """Another node's name, a path in a name, a window that ends before it starts, an absurd sequence: 400, nothing stored."""
    world.serve()
    with pytest.raises(RefusedError) as refused:
        world.fleet.take(make.delivery("n1", replace(make.report("n1", 3600), **change)))
    assert (refused.value.status, refused.value.problem.path) == (400, path)
    assert world.fleet.store.totals("demo") == []


@pytest.mark.parametrize(
    ("counts", "path"),
    [
        ({"labelled": 1, "correct": 2}, "counts.correct"),
        ({"rows": 2**50}, "counts.rows"),
        ({"classes": (1, 2, 3)}, "counts.classes"),
        ({"confidence": (1,)}, "counts.confidence"),
    ],
)
def test_counts_that_would_break_a_sum_are_refused(world, make, counts, path):
    """More right than labelled, absurd numbers, other bins than the reference: refused before they are stored."""
    world.serve()
    report = make.report("n1", 3600, counts=replace(make.counts(10), **counts))
    with pytest.raises(RefusedError) as refused:
        world.fleet.take(make.delivery("n1", report))
    assert refused.value.problem.path == f"reports[0].{path}"


def test_feature_bins_are_those_of_the_reference(world, make):
    """An unknown feature, or one bin too few, is refused with its path."""
    world.serve()
    good = make.counts(10)
    short = replace(good.features["a"], counts=(1,) * 31)
    for features, path in (({"z": good.features["a"]}, "features.z"), ({"a": short}, "features.a.counts")):
        report = make.report("n1", 3600, counts=replace(good, features=features))
        with pytest.raises(RefusedError) as refused:
            world.fleet.take(make.delivery("n1", report))
        assert refused.value.problem.path == f"reports[0].counts.{path}"
