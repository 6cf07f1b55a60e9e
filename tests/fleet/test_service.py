"""The service without HTTP: the loop closes over simulators, at most one run a cause, and restarts change nothing."""

from dataclasses import replace

import pytest

from edgeloop_contracts import CalibrationMap, RunRequest
from edgeloop_fleet import rollouts
from edgeloop_fleet.service import RefusedError

DAY_S, HOUR_S = 86_400, 3600
SERVED_S = 10 * DAY_S


def _serve(world, make, version=1, at_s=SERVED_S, previous=None, **reference):
    """Rolls a version out until it serves."""
    found = make.reference(**reference)
    rollout = make.rollout(version, previous=previous)
    world.fleet.put_rollout(rollout, make.version(version), found)
    world.settle(version, at_s)


def _report_days(world, make, first, last, *, version=1, broken=(), **labels):
    """Reports of a day from every node, with labels; of nodes in `broken` with a missing feature."""
    for day in range(first, last):
        for node in ("n1", "n2", "n3"):
            changes = dict(labels)
            if node in broken:
                changes["features"] = {"a": make.features(40, missing=104), "b": make.features(144)}
            report = make.report(node, day * DAY_S, counts=make.counts(**{"rows": 144, **changes}), version=version)
            world.fleet.take(make.delivery(node, replace(report, window_end_s=(day + 1) * DAY_S), version=version))


def test_the_first_version_is_rolled_out_and_promoted(world, make):
    """Two waves settle, soak in event time and pass; the alias moves; every group runs the image; the timeline tells it."""
    _serve(world, make)
    assert world.fleet.store.serving("demo") == 1
    assert world.aliases.promoted == [("demo", 1, world.aliases.promoted[0][2])]
    assert {world.cluster.image_of(g) for g in make.NODES} == {p.digest for p in make.packages(1).values()}
    assert world.kinds() == [
        "rollout",
        "rollout",
        "wave",
        "wave",
        "wave",
        "wave",
        "wave",
        "wave",
        "promoted",
        "verdict",
    ]


def test_a_fall_in_accuracy_starts_one_run(world, make):
    """Bad labels after good ones fire one request with the deterministic key, however often the service ticks."""
    _serve(world, make)
    _report_days(world, make, 12, 30, labelled=144, correct=136)
    world.fleet.tick()
    assert world.trigger.fired == []
    _report_days(world, make, 30, 45, labelled=144, correct=110)
    for _ in range(5):
        world.fleet.tick()
    assert [(r.cause, r.version) for r in world.trigger.fired] == [("performance", 1)]
    assert world.trigger.fired[0].evidence > 30 * DAY_S
    assert world.kinds().count("run_requested") == 1
    assert "labelled rows" in world.trigger.fired[0].reason


def test_the_loop_closes_on_either_database(any_url, make):
    """From the first rollout to the request for a run, on SQLite and on PostgreSQL."""
    world = make.world(any_url)
    world.fleet.put_loop(make.loop())
    test_a_fall_in_accuracy_starts_one_run(world, make)
    assert not [kind for kind in world.kinds() if kind.startswith("trouble")]
    world.fleet.store.close()


def test_while_nothing_new_is_seen_no_second_run_starts(world, make):
    """After a run ended without a better model the same counts ask for nothing; new bad days do."""
    test_a_fall_in_accuracy_starts_one_run(world, make)
    world.trigger.running.clear()
    world.fleet.tick()
    assert len(world.trigger.fired) == 1
    _report_days(world, make, 46, 60, labelled=144, correct=110)
    world.fleet.tick()
    assert len(world.trigger.fired) == 2


def test_a_refused_run_is_asked_for_again_and_told_once(world, make):
    """While the trigger refuses, the request is repeated, but the timeline has one line; then it starts."""
    _serve(world, make)
    _report_days(world, make, 12, 40, labelled=144, correct=110)
    for minutes in (9, 8, 7):
        world.trigger.refuses = f"cooldown: {minutes} minutes to go"
        world.fleet.tick()
    assert world.kinds().count("run_refused") == 1
    world.trigger.refuses = ""
    world.fleet.tick()
    assert len(world.trigger.fired) == 1


def test_a_run_that_started_before_a_crash_is_not_lost(world, make):
    """The trigger knows a key that we did not write down: it counts as started, and is not asked for again."""
    _serve(world, make)
    _report_days(world, make, 12, 40, labelled=144, correct=110)
    forgetful = world.fleet.store.put_run
    world.fleet.store.put_run = lambda *a, **k: (_ for _ in ()).throw(OSError("disk full"))
    world.fleet.tick()
    world.fleet.store.put_run = forgetful
    world.trigger.running.clear()
    world.fleet.tick()
    world.fleet.tick()
    assert len(world.trigger.fired) == 1
    assert [run.started for run in world.fleet.store.runs("demo")] == [True]


def test_a_broken_sensor_alarms_and_starts_no_run(world, make):
    """A feature that goes missing on all nodes, with all labels wrong: quality verdicts, no run."""
    _serve(world, make)
    _report_days(world, make, 12, 40, broken=("n1", "n2", "n3"), labelled=144, correct=0)
    world.fleet.tick()
    assert world.trigger.fired == []
    assert {v.judgement for v in world.fleet.store.verdicts("demo")} == {"quality"}
    assert "quality" in world.kinds()


def test_a_mended_sensor_is_told(world, make):
    """When the data is in order again the alarm goes."""
    _serve(world, make)
    _report_days(world, make, 12, 14, broken=("n2",), labelled=144, correct=136)
    world.fleet.tick()
    assert [v.scope for v in world.fleet.store.verdicts("demo")] == ["fleet", "node/n2"]
    _report_days(world, make, 14, 17, labelled=144, correct=136)
    world.fleet.tick()
    assert [v.scope for v in world.fleet.store.verdicts("demo")] == ["fleet"]
    assert "node/n2: the data is in order again" in world.texts()


def test_drift_asks_for_one_run_a_version(world, make):
    """Persistent large drift without labels fires once; more of it fires nothing while the version serves."""
    _serve(world, make, window_s=DAY_S)
    for days in ((12, 20), (20, 40)):
        _report_days(world, make, *days, rows=1000, shift=12.0)
        world.fleet.tick()
        world.trigger.running.clear()
    assert [r.cause for r in world.trigger.fired] == ["drift"]


def _bad_canary(world, make):
    """Version 1 serves well; version 2 is surely worse on the canary, in the same windows."""
    _serve(world, make)
    world.fleet.put_rollout(make.rollout(2, previous=1), make.version(2), make.reference())
    world.fleet.tick()
    world.heartbeat(2)
    world.fleet.tick()
    start = int(world.fleet.clock.now_s() // DAY_S + 1)
    settled = rollouts.current(world.fleet.store, "demo").rollout.waves[0].settled_s
    lucky = make.counts(4000, labelled=4000, correct=4000)  # before it settled: no evidence of this wave
    early = make.report("n1", int(settled) - HOUR_S, counts=lucky, version=2)
    world.fleet.take(make.delivery("n1", early, version=2))
    odd = make.counts(4000, labelled=4000, correct=800)  # the old version on the canary itself: not the rest
    world.fleet.take(make.delivery("n1", make.report("n1", start * DAY_S, counts=odd), version=2))
    mine = make.counts(400, labelled=400, correct=200)
    rest = make.counts(400, labelled=400, correct=380)
    world.fleet.take(make.delivery("n1", make.report("n1", start * DAY_S, counts=mine, version=2), version=2))
    world.fleet.take(make.delivery("n2", make.report("n2", start * DAY_S, counts=rest)))


def test_a_worse_version_is_rolled_back_and_the_old_one_serves(world, make):
    """The canary's labels against the rest's fail the wave; the group gets its old image; the alias does not move."""
    _bad_canary(world, make)
    world.fleet.tick()
    world.heartbeat(1)
    world.fleet.tick()
    last = world.fleet.store.serving("demo")
    assert last == 1
    assert world.cluster.image_of("canary") == make.package(1, "t-canary").digest
    assert "rolled_back" in world.kinds()
    assert any("surely worse" in text and "old version" in text for text in world.texts())
    assert [p[1] for p in world.aliases.promoted] == [1]


def test_the_second_wave_never_saw_the_bad_version(world, make):
    """Nothing but the canary group was ever told the bad version."""
    _bad_canary(world, make)
    world.fleet.tick()
    assert world.cluster.image_of("rest") == make.package(1, "t-rest").digest


def test_no_run_is_asked_for_while_a_rollout_is_under_way(world, make):
    """The cure is on its way: an alarm waits until the rollout has ended."""
    _serve(world, make)
    _report_days(world, make, 12, 40, labelled=144, correct=110)
    world.fleet.put_rollout(make.rollout(2, previous=1), make.version(2), make.reference())
    world.fleet.tick()
    assert world.trigger.fired == []


def test_a_waiting_rollout_starts_from_what_serves_then(world, make):
    """A rollout made against a version that was rolled back goes back to the one that serves, not to that."""
    _bad_canary(world, make)
    world.fleet.put_rollout(make.rollout(3, previous=2), make.version(3), make.reference())
    world.fleet.tick()
    world.heartbeat(1)
    world.fleet.tick()
    world.fleet.tick()
    rollout = world.fleet.tick()["rollouts"][0]
    assert (rollout["version"], rollout["state"]) == (3, "running")

    assert rollouts.current(world.fleet.store, "demo").rollout.previous == 1


def test_a_restart_changes_nothing(world, make, url):
    """A second service over the same database reaches the same verdict with the same numbers, and asks for no second run."""
    test_a_fall_in_accuracy_starts_one_run(world, make)
    before = world.fleet.store.verdicts("demo")
    world.fleet.store.close()
    again = make.world(url)
    assert again.fleet.clock.now_s() == world.fleet.clock.now_s()
    again.fleet.tick()
    assert again.fleet.store.verdicts("demo") == before
    assert again.trigger.fired == []


def test_trouble_with_the_cluster_is_told_once_and_the_rollout_goes_on(world, make):
    """While the cluster is away nothing is saved; when it is back the rollout ends well."""
    world.fleet.put_rollout(make.rollout(1), make.version(1), make.reference())
    observe = world.cluster.observe

    def away(*_):
        raise OSError("no cluster here")

    world.cluster.observe = away
    for _ in range(3):
        world.fleet.tick()
    assert world.kinds().count("trouble/rollout") == 1
    world.cluster.observe = observe
    world.settle(1, SERVED_S)
    assert world.fleet.store.serving("demo") == 1
    assert world.texts().count("works again") == 1


def test_approval_by_hand(world, make):
    """With approval: manual nothing is applied until somebody approves."""
    loop = make.loop(rollout={"waves": [["canary"], ["rest"]], "soak": "1h", "approval": "manual"})
    world.fleet.put_loop(loop)
    world.fleet.put_rollout(make.rollout(1), make.version(1), make.reference())
    world.settle(1, SERVED_S)
    assert world.cluster.applied == 0
    world.fleet.approve("demo", 1)
    world.settle(1, SERVED_S + DAY_S)
    assert world.fleet.store.serving("demo") == 1
    with pytest.raises(RefusedError, match="expected the version of a rollout that waits"):
        world.fleet.approve("demo", 1)


@pytest.mark.parametrize(
    ("change", "path"),
    [
        ({"waves": ()}, "rollout.waves"),
        ({"packages": {}}, "rollout.packages"),
        ({"version": 2}, "version"),
        ({"loop": "other"}, "loop"),
    ],
)
def test_a_rollout_that_cannot_be_done_is_refused(world, make, change, path):
    """Waves that miss a group, a missing package, another version's reference, an unknown loop: refused, nothing stored."""
    with pytest.raises(RefusedError) as refused:
        world.fleet.put_rollout(replace(make.rollout(1), **change), make.version(1), make.reference())
    assert refused.value.problem.path == path
    assert world.fleet.store.references() == {}


def test_unknown_reports_are_named_and_kept_by_the_node(world, make):
    """Reports of an unknown loop, version or other bins are not acknowledged; the known one beside them is."""
    _serve(world, make)
    good = make.report("n1", 0)
    bad = [replace(good, loop="other"), replace(good, version=7), replace(good, schema_hash="0" * 16)]
    taken = world.fleet.take(make.delivery("n1", *bad, good))
    assert [(a.loop, a.version) for a in taken.acknowledgement.reports] == [("demo", 1)]
    assert [problem.path for _, problem in taken.refused] == [
        f"reports[{i}].{p}" for i, p in enumerate(("loop", "version", "schema_hash"))
    ]


def test_reports_of_the_far_future_are_refused_by_the_wall_clock(make, url):
    """A window that ends two days ahead of the wall clock is refused; in event time there is no such thing."""
    import time

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
    _serve(world, make)
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
    _serve(world, make)
    report = make.report("n1", 3600, counts=replace(make.counts(10), **counts))
    with pytest.raises(RefusedError) as refused:
        world.fleet.take(make.delivery("n1", report))
    assert refused.value.problem.path == f"reports[0].{path}"


def test_feature_bins_are_those_of_the_reference(world, make):
    """An unknown feature, or one bin too few, is refused with its path."""
    _serve(world, make)
    good = make.counts(10)
    short = replace(good.features["a"], counts=(1,) * 31)
    for features, path in (({"z": good.features["a"]}, "features.z"), ({"a": short}, "features.a.counts")):
        report = make.report("n1", 3600, counts=replace(good, features=features))
        with pytest.raises(RefusedError) as refused:
            world.fleet.take(make.delivery("n1", report))
        assert refused.value.problem.path == f"reports[0].counts.{path}"


def test_a_run_by_hand_is_stamped_told_and_started_once(world, make):
    """POST /v1/runs gives the trigger's decision; the second of one key starts nothing; an unknown loop is refused."""
    world.fleet.clock.advance(5.0)
    request = RunRequest(loop="demo", key="by-hand", cause="manual", by="ada")
    assert world.fleet.put_run(request).started
    assert world.trigger.fired[0].requested_s == 5.0
    assert not world.fleet.put_run(request).started
    with pytest.raises(RefusedError, match="known: demo"):
        world.fleet.put_run(replace(request, loop="dmeo"))


def test_the_estimate_alone_can_start_a_run(world, make):
    """Without any label two days of low confidence start a run for performance."""
    _serve(world, make, calibration=CalibrationMap(x=(0.5, 1.0), y=(0.5, 1.0), rows=5000))
    _report_days(world, make, 12, 20, rows=2000, **make.confidence(2000, 0.6))
    world.fleet.tick()
    assert [r.cause for r in world.trigger.fired] == ["performance"]
