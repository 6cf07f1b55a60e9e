"""What the service takes from nodes, what it keeps waiting, and what it refuses."""

import json
import time
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeloop_contracts import Counts, Report, from_json
from edgeloop_fleet import checks
from edgeloop_fleet.service import RefusedError
from edgeloop_node.agent.entries import Version
from edgeloop_node.agent.feedback import Feedback
from edgeloop_node.agent.labels import Node, take
from edgeloop_node.agent.spool import open_spool
from edgeloop_node.monitor import Identity, Monitor

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
        ({"window_end_s": 3600 + 10**9}, "reports[0].window_end_s"),
        ({"window_end_s": 3600 + 1800}, "reports[0].window_end_s"),
        ({"window_start_s": 3601, "window_end_s": 7201}, "reports[0].window_start_s"),
    ],
)
def test_forged_reports_refuse_the_delivery(world, make, change, path):
    """Another node's name, a path in a name, another window than the version's, an absurd sequence: 400, nothing stored."""
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
        ({"rows": 1, "labelled": 10**11, "correct": 10**11}, "counts.labelled"),
        ({"classes": (1, 2, 3)}, "counts.classes"),
        ({"classes": (10, 1)}, "counts.classes"),
        ({"confidence": (10**9,) * 20}, "counts.confidence"),
        ({"confidence_sums": (*(0,) * 19, 1)}, "counts.confidence_sums[19]"),
        ({"latency": (0,) * 12 + (11,)}, "counts.latency"),
        ({"confidence": (1,), "confidence_sums": ()}, "counts.confidence"),
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


@pytest.mark.parametrize(
    ("change", "field"),
    [({"missing": 1}, "counts"), ({"counts": (1,) * 32}, "counts"), ({"out_of_range": 11}, "out_of_range")],
)
def test_a_feature_has_no_more_values_than_rows(world, make, change, field):
    """More values, or missing ones, than rows were scored: refused with the feature's path, what was expected and got."""
    world.serve()
    good = make.counts(10)
    features = {**good.features, "b": replace(good.features["b"], **change)}
    with pytest.raises(RefusedError, match=r"at most as many as rows \(10\) in all") as refused:
        world.fleet.take(make.delivery("n1", make.report("n1", 3600, counts=replace(good, features=features))))
    assert refused.value.problem.path == f"reports[0].counts.features.b.{field}"


def test_what_honest_nodes_send_is_taken(world, make):
    """Labels without rows, failures alone, sequences that jump, full histograms, one window of many: all stored."""
    world.serve()
    full = make.counts(10, latency=(*(0,) * 12, 10), refused=3, failed=2)
    labels = Counts(labelled=10, correct=9)
    reports = [
        make.report("n1", 3600, 1, full),
        make.report("n1", 3600, 7, labels, boot="spool"),
        make.report("n1", 7200, 10_000, full),
        make.report("n1", 0, 3, Counts(failed=4)),
    ]
    taken = world.fleet.take(make.delivery("n1", *reports))
    assert (len(taken.acknowledgement.reports), taken.refused) == (4, ())
    totals = world.fleet.store.totals("demo")[0]
    assert (totals["rows"], totals["labelled"], totals["correct"]) == (20, 10, 9)


VALUES = st.floats(allow_nan=True, allow_infinity=True)
REQUESTS = st.lists(
    st.tuples(
        st.lists(st.tuples(VALUES, VALUES, st.integers(0, 1), st.floats(0.5, 1.0000002)), max_size=4),
        st.floats(0, 1e9),
        st.floats(0, 1e9),
        st.sampled_from(["score", "fail", "refuse", "read"]),
    ),
    min_size=1,
    max_size=20,
)


def _problems(make, reports):
    reference = make.reference()
    found = checks.problems_in_delivery(make.delivery("n1", *reports), 500)
    for report in reports:
        found += checks.problems_in_window("", report, reference)
        found += checks.problems_in_counts("counts", report.counts, reference)
    return found


def _serve(monitor, rows, at_s, latency_us, act):
    if act == "score":
        places = [monitor.window_start(at_s)] * len(rows)
        monitor.record([r[:2] for r in rows], [r[2] for r in rows], [r[3] for r in rows], places, latency_us)
    elif act == "read":
        monitor.confirm(max((report.sequence for report in monitor.reports()), default=0))
    else:
        {"fail": monitor.fail, "refuse": monitor.refuse}[act](at_s)


@settings(max_examples=100, deadline=None)
@given(requests=REQUESTS)
def test_nothing_that_a_nodes_monitor_counts_is_refused(make, requests):
    """Whatever is asked of the real monitor, its reports pass every check, at each read."""
    who = Identity(loop="demo", node="n1", group="canary", boot="b1", version=1)
    monitor = Monitor(who, make.reference())
    for request in requests:
        _serve(monitor, *request)
        assert _problems(make, monitor.reports()) == []


def test_nothing_that_an_agent_counts_of_labels_is_refused(make, tmp_path):
    """The real spool's reports of labels have no rows; they pass every check, after each of two requests."""
    reference = make.reference()
    spool = open_spool(tmp_path / "spool.db")
    spool.learn(Version("demo", 1, reference.schema_hash, reference.window_s, "", reference.classes, "canary"))
    for part in range(2):
        rows = [Feedback(f"{part}-{i}", 1, 1000.0 * i, "yes", ("yes", "no")[i % 2], "demo") for i in range(20)]
        changed = take(spool, Node("n1", "canary"), rows).changed
        reports = [from_json(Report, json.loads(entry.body)) for entry in changed]
        assert sum(report.counts.labelled for report in reports) == 20 * (part + 1)
        assert {report.counts.rows for report in reports} == {0}
        assert _problems(make, reports) == []
