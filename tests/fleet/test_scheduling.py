"""`retrain.schedule`: a cron rule that falls due starts one run, on the fleet's clock."""

import pytest

from edgeloop_contracts import RunRequest, run_key

HOUR_S, DAY_S = 3600, 86_400
NIGHT = {"on": ["performance"], "schedule": "0 3 * * *", "cooldown": "1h"}


@pytest.fixture
def served(world, make):
    """Version 1 serves since day 10 (before 03:00 of day 11); the rule is due at 03:00 every day."""
    world.fleet.put_loop(make.loop(retrain=NIGHT))
    world.serve()
    return world


def _at(world, day, hour):
    world.fleet.clock.advance(day * DAY_S + hour * HOUR_S)
    world.fleet.tick()


def _fired(world):
    return [(r.cause, r.version, r.evidence) for r in world.trigger.fired]


def _due(day):
    return ("schedule", 1, day * DAY_S + 3 * HOUR_S)


def test_it_fires_when_due_and_once(served):
    """Nothing before 03:00, one request after it however often the service ticks, the next one the day after."""
    _at(served, 11, 2)
    assert _fired(served) == []
    for hour in (3, 3, 4):
        _at(served, 11, hour)
    served.trigger.running.clear()
    _at(served, 11, 5)
    assert _fired(served) == [_due(11)]
    request = served.trigger.fired[0]
    assert request.key == run_key("demo", 1, "schedule", 11 * DAY_S + 3 * HOUR_S)
    assert "0 3 * * * fell due at 1970-01-12 03:00 UTC" in request.reason
    _at(served, 12, 3)
    assert _fired(served) == [_due(11), _due(12)]


def test_a_restart_asks_for_no_second_run(served, make, url):
    """A second service over the same database knows what was asked for, and asks for the next due time under its key."""
    _at(served, 11, 4)
    served.fleet.store.close()
    again = make.world(url)
    _at(again, 11, 5)
    assert _fired(again) == []
    _at(again, 12, 4)
    assert _fired(again) == [_due(12)]


def test_a_run_that_was_started_before_a_crash_is_not_lost(served):
    """The trigger knows a key that was not written down: it counts as started, no second run starts."""
    forgetful = served.fleet.store.put_run
    served.fleet.store.put_run = lambda *a, **k: (_ for _ in ()).throw(OSError("disk full"))
    _at(served, 11, 4)
    served.fleet.store.put_run = forgetful
    served.trigger.running.clear()
    _at(served, 11, 5)
    assert _fired(served) == [_due(11)]
    assert [run.started for run in served.fleet.store.runs("demo")] == [True]


def test_it_waits_while_a_rollout_is_unfinished(served, make):
    """A due time that comes during a rollout is not asked for; once the new version serves, the rule counts from there."""
    served.fleet.put_rollout(make.rollout(2, previous=1), make.version(2), make.reference())
    _at(served, 11, 4)
    _at(served, 11, 5)
    assert _fired(served) == []


def test_it_asks_when_a_rollout_was_rolled_back(served, make):
    """The due time kept: after a rollout that came to nothing the old version is still to be trained anew, once."""
    served.cluster.broken[make.package(2, "t-canary").digest] = "CrashLoopBackOff: exit 1"
    served.fleet.put_rollout(make.rollout(2, previous=1), make.version(2), make.reference())
    _at(served, 11, 4)
    assert _fired(served) == []
    for _ in range(4):
        served.heartbeat(1)
        _at(served, 11, 5)
    assert "rolled_back" in served.kinds()
    assert _fired(served) == [_due(11)]


def test_a_long_gap_is_caught_up_once(served):
    """After 20 days of silence one run is asked for, for the newest due time."""
    _at(served, 31, 4)
    served.trigger.running.clear()
    _at(served, 31, 5)
    assert _fired(served) == [_due(31)]


def test_another_run_since_the_due_time_is_enough(served):
    """A run by hand at 03:30, before the service looked again: the schedule has nothing to ask for until the next day."""
    served.fleet.clock.advance(11 * DAY_S + 3.5 * HOUR_S)
    served.fleet.put_run(RunRequest(loop="demo", key="by-hand", cause="manual"))
    served.trigger.running.clear()
    _at(served, 11, 5)
    _at(served, 12, 4)
    assert _fired(served) == [("manual", 0, 0), _due(12)]


def test_a_refused_due_time_is_passed_over_and_told(served):
    """A refusal is told once and not argued with; the next due time is asked for."""
    served.trigger.refuses = "budget of 1/day is spent"
    _at(served, 11, 4)
    served.trigger.refuses = ""
    _at(served, 11, 5)
    assert _fired(served) == []
    assert served.kinds().count("run_refused") == 1
    _at(served, 12, 4)
    assert _fired(served) == [_due(12)]


def test_without_a_serving_version_or_a_schedule_nothing_is_asked_for(world, make):
    """A loop that was never rolled out has nothing to train anew; a loop without a rule is left alone."""
    world.fleet.put_loop(make.loop(retrain=NIGHT))
    _at(world, 9, 4)
    world.fleet.put_loop(make.loop())
    world.serve()
    _at(world, 31, 4)
    assert _fired(world) == []


def test_a_rule_that_cannot_be_read_is_told_once(world, make):
    """The tick goes on; the timeline names the rule."""
    world.fleet.put_loop(make.loop(retrain={**NIGHT, "schedule": "0 99 * * *"}))
    world.serve()
    _at(world, 31, 4)
    _at(world, 31, 5)
    assert world.kinds().count("trouble/schedule") == 1
    assert any("cron rule, field hour" in text for text in world.texts())
