"""The service without HTTP: verdicts and runs over simulated ports; at most one run a cause; restarts change nothing."""

from dataclasses import replace

import pytest

from edgeloop_contracts import CalibrationMap, RunRequest
from edgeloop_fleet.service import RefusedError

DAY_S = 86_400


def test_a_fall_in_accuracy_starts_one_run(world, make):
    """Bad labels after good ones fire one request with the deterministic key, however often the service ticks."""
    world.serve()
    world.report_days(12, 30, labelled=144, correct=136)
    world.fleet.tick()
    assert world.trigger.fired == []
    world.report_days(30, 45, labelled=144, correct=110)
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
    world.report_days(46, 60, labelled=144, correct=110)
    world.fleet.tick()
    assert len(world.trigger.fired) == 2


def test_a_refused_run_is_asked_for_again_and_told_once(world, make):
    """While the trigger refuses, the request is repeated, but the timeline has one line; then it starts."""
    world.serve()
    world.report_days(12, 40, labelled=144, correct=110)
    for minutes in (9, 8, 7):
        world.trigger.refuses = f"cooldown: {minutes} minutes to go"
        world.fleet.tick()
    assert world.kinds().count("run_refused") == 1
    world.trigger.refuses = ""
    world.fleet.tick()
    assert len(world.trigger.fired) == 1


def test_a_run_that_started_before_a_crash_is_not_lost(world, make):
    """The trigger knows a key that we did not write down: it counts as started, and is not asked for again."""
    world.serve()
    world.report_days(12, 40, labelled=144, correct=110)
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
    world.serve()
    world.report_days(12, 40, broken=("n1", "n2", "n3"), labelled=144, correct=0)
    world.fleet.tick()
    assert world.trigger.fired == []
    assert {v.judgement for v in world.fleet.store.verdicts("demo")} == {"quality"}
    assert "quality" in world.kinds()


def test_a_mended_sensor_is_told(world, make):
    """When the data is in order again the alarm goes."""
    world.serve()
    world.report_days(12, 14, broken=("n2",), labelled=144, correct=136)
    world.fleet.tick()
    assert [v.scope for v in world.fleet.store.verdicts("demo")] == ["fleet", "node/n2"]
    world.report_days(14, 17, labelled=144, correct=136)
    world.fleet.tick()
    assert [v.scope for v in world.fleet.store.verdicts("demo")] == ["fleet"]
    assert "node/n2: the data is in order again" in world.texts()


def test_drift_asks_for_one_run_a_version(world, make):
    """Persistent large drift without labels fires once; more of it fires nothing while the version serves."""
    world.serve(window_s=DAY_S)
    for days in ((12, 20), (20, 40)):
        world.report_days(*days, rows=1000, shift=12.0)
        world.fleet.tick()
        world.trigger.running.clear()
    assert [r.cause for r in world.trigger.fired] == ["drift"]


def test_no_run_is_asked_for_while_a_rollout_is_under_way(world, make):
    """The cure is on its way: an alarm waits until the rollout has ended."""
    world.serve()
    world.report_days(12, 40, labelled=144, correct=110)
    world.fleet.put_rollout(make.rollout(2, previous=1), make.version(2), make.reference())
    world.fleet.tick()
    assert world.trigger.fired == []


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
    world.serve(calibration=CalibrationMap(x=(0.5, 1.0), y=(0.5, 1.0), rows=5000))
    world.report_days(12, 20, rows=2000, **make.confidence(2000, 0.6))
    world.fleet.tick()
    assert [r.cause for r in world.trigger.fired] == ["performance"]
