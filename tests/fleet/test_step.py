"""The rollout controller: laws over random fleets, and each way a rollout can go."""

from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeloop_contracts import Rollout, from_json, to_json
from edgeloop_fleet.controller.gate import Evidence, Side
from edgeloop_fleet.controller.step import Apply, Policy, Promote, Scene, Withdraw, step, touched, wanted
from edgeloop_fleet.ports import GroupState, NodeState, Observed

TARGETS = {"canary": "t-canary", "rest": "t-rest"}
POLICY = Policy(targets=TARGETS)
GOOD = Evidence(wave=Side(rows=500, labelled=500, correct=480), accuracy=0.94, accuracy_rows=5000)
BAD = Evidence(wave=Side(rows=500, labelled=500, correct=250), accuracy=0.94, accuracy_rows=5000)


def _fleet(make, images, versions, *, wall_s=0.0, unreachable=(), **states):
    """Every group settled on its image (group: package), every node with its version (group: number)."""
    groups, nodes = {}, {}
    for group, members in make.NODES.items():
        n = len(members)
        digest = images[group].digest if group in images else ""
        state = GroupState(group=group, nodes=members, desired_digest=digest, replicas=n, updated=n, available=n)
        groups[group] = replace(state, **states.get(group, {}))
        for node in members:
            mine = (versions[group],) if versions.get(group) else ()
            nodes[node] = NodeState(node=node, group=group, versions=mine, reachable=node not in unreachable)
    return Observed(groups=groups, nodes=nodes, wall_s=wall_s)


def _as_told(make, rollout, **changes):
    return _fleet(make, wanted(rollout, POLICY), rollout.desired, **changes)


def _step(rollout, observed, now_s, evidence=GOOD, policy=POLICY):
    return step(rollout, Scene(observed=observed, policy=policy, now_s=now_s, evidence=evidence))


def _events(rollout):
    return [event.event for event in rollout.history]


def test_two_waves_to_the_end(make):
    """Each wave deploys, settles, soaks and passes before the next one begins; then the version is promoted."""
    rollout, now_s, actions = make.rollout(2, previous=1), 0.0, ()
    for _ in range(8):
        rollout, actions = _step(rollout, _as_told(make, rollout), now_s)
        now_s += 3600
        if rollout.finished:
            break
    assert rollout.state == "done"
    assert actions == (Promote(2, rollout.history[-1].why.partition(": ")[2]),)
    assert _events(rollout) == ["rollout", "wave", "settled", "passed", "wave", "settled", "passed", "promoted"]
    assert all("labelled rows" in wave.evidence for wave in rollout.waves)
    assert from_json(Rollout, to_json(rollout)) == rollout


def _soaking(make, previous=1):
    """A rollout whose first wave soaks since 0."""
    rollout, _ = _step(make.rollout(2, previous=previous), _fleet(make, {}, {}), 0.0)
    rollout, _ = _step(rollout, _as_told(make, rollout), 0.0)
    assert rollout.waves[0].state == "soaking"
    return rollout


def test_the_second_wave_keeps_the_old_version_until_the_first_has_passed(make):
    """While wave 1 soaks, wave 2's group is told the old version."""
    rollout = _soaking(make)
    assert rollout.desired == {"canary": 2, "rest": 1}
    assert _step(rollout, _as_told(make, rollout), 3599.0) == (rollout, ())


def test_a_bad_wave_goes_back_to_the_last_good_version(make):
    """A wave that is surely worse is rolled back, with the reason kept; it is over when the old version runs again."""
    rollout, actions = _step(_soaking(make), _as_told(make, _soaking(make)), 60.0, BAD)
    assert rollout.state == "rolling_back"
    assert rollout.waves[0].state == "failed"
    assert "surely worse" in rollout.waves[0].evidence
    assert actions == (Apply({**wanted(rollout, POLICY)}),)
    assert rollout.desired == {"canary": 1, "rest": 1}
    back, actions = _step(rollout, _as_told(make, rollout), 120.0)
    assert (back.state, actions) == ("rolled_back", ())


def test_the_first_rollout_has_nothing_to_go_back_to(make):
    """Without a last good version a failing wave aborts the rollout and takes the workload off."""
    rollout = _soaking(make, previous=None)
    rollout, actions = _step(rollout, _as_told(make, rollout), 60.0, BAD)
    assert rollout.state == "aborted"
    assert [type(action) for action in actions] == [Withdraw]
    assert list(actions[0].packages) == ["canary"]


def test_a_wave_that_nobody_asked_is_rolled_back(make):
    """Without a scored row a second version is not promoted on silence: it soaks on and goes back, with the reason."""
    rollout, told = _soaking(make), _as_told(make, _soaking(make))
    assert _step(rollout, told, 3 * 3600.0 - 1, Evidence()) == (rollout, ())
    failed, _ = _step(rollout, told, 3 * 3600.0, Evidence())
    assert failed.state == "rolling_back"
    assert "no row was scored" in failed.waves[0].evidence
    assert _step(rollout, told, 3 * 3600.0, GOOD)[0].waves[0].state == "passed"


@pytest.mark.parametrize("reason", ["ImagePullBackOff: no such digest", "CrashLoopBackOff", "ProgressDeadlineExceeded"])
def test_a_pod_that_cannot_start_fails_the_wave(make, reason):
    """Pull failure, crash loop and progress deadline fail the wave at once and say so."""
    rollout, _ = _step(make.rollout(2, previous=1), _fleet(make, {}, {}), 0.0)
    observed = _as_told(make, rollout, canary={"waiting": reason, "available": 1, "replicas": 2, "updated": 1})
    rollout, _ = _step(rollout, observed, 1.0)
    assert rollout.state == "rolling_back"
    assert reason in rollout.waves[0].evidence


def test_the_reason_of_an_old_pod_does_not_count(make):
    """A crash loop that the Deployment showed before it saw the new image fails nothing."""
    rollout, _ = _step(make.rollout(2, previous=1), _fleet(make, {}, {}), 0.0)
    image = {"canary": make.package(1, "t-canary")}
    old = _fleet(make, image, {"canary": 1}, canary={"waiting": "CrashLoopBackOff"})
    stepped, actions = _step(rollout, old, 1.0)
    assert stepped == rollout
    assert actions == (Apply(wanted(rollout, POLICY)),)


@pytest.mark.parametrize(
    "state",
    [
        {"generation": 2, "observed_generation": 1},
        {"updated": 0},
        {"available": 0},
        {"desired_digest": ""},
    ],
)
def test_a_wave_settles_only_when_the_deployment_is_through(make, state):
    """An unobserved generation, pods of the old template, or unavailable ones: not settled."""
    rollout, _ = _step(make.rollout(2, previous=1), _fleet(make, {}, {}), 0.0)
    stepped, _ = _step(rollout, _as_told(make, rollout, canary=state), 1.0)
    assert stepped.waves[0].state == "deploying"


def test_a_wave_settles_only_when_the_agents_say_so(make):
    """A Deployment that is through does not settle a wave whose agent has not loaded the version."""
    rollout, _ = _step(make.rollout(2, previous=1), _fleet(make, {}, {}), 0.0)
    observed = _fleet(make, wanted(rollout, POLICY), {"canary": 1, "rest": 1})
    assert _step(rollout, observed, 1.0)[0].waves[0].state == "deploying"


def test_a_node_out_of_reach_is_not_waited_for(make):
    """One of two nodes silent and its pod unavailable: settled; both silent: not."""
    rollout = make.rollout(2, previous=1)
    for now_s in (0.0, 0.0, 3600.0):
        rollout, _ = _step(rollout, _as_told(make, rollout), now_s)
    assert rollout.waves[1].state == "deploying"
    one = _as_told(make, rollout, unreachable=("n3",), rest={"available": 1})
    both = _as_told(make, rollout, unreachable=("n2", "n3"), rest={"available": 0})
    assert _step(rollout, one, 3601.0)[0].waves[1].state == "soaking"
    assert _step(rollout, both, 3601.0)[0].waves[1].state == "deploying"


def test_settling_has_a_deadline_on_the_wall_clock(make):
    """A wave that is not through in time fails, and the words name what lacks."""
    rollout, _ = _step(make.rollout(2, previous=1), _fleet(make, {}, {}, wall_s=100.0), 0.0)
    slow = _as_told(make, rollout, wall_s=701.0, unreachable=("n1",), canary={"updated": 0, "available": 0})
    rollout, _ = _step(rollout, slow, 1.0)
    assert rollout.state == "rolling_back"
    assert "not heard from: n1" in rollout.waves[0].evidence


def test_restarts_while_soaking_fail_the_wave(make):
    """Three restarts since the wave settled fail it; two do not."""
    rollout = _soaking(make)
    assert _step(rollout, _as_told(make, rollout, canary={"restarts": 2}), 60.0)[0] == rollout
    assert _step(rollout, _as_told(make, rollout, canary={"restarts": 3}), 60.0)[0].state == "rolling_back"


def test_it_waits_for_approval(make):
    """Where a person decides, a waiting rollout stays as it is until they have."""
    rollout = make.rollout(2, previous=1)
    assert _step(rollout, _fleet(make, {}, {}), 0.0, policy=replace(POLICY, approved=False)) == (rollout, ())


def test_a_change_by_another_hand_is_put_right(make):
    """A Deployment of a touched group that holds another image gets the wanted one again."""
    rollout = _soaking(make)
    other = _fleet(make, {"canary": make.package(9, "t-canary")}, rollout.desired)
    assert _step(rollout, other, 60.0)[1] == (Apply(wanted(rollout, POLICY)),)


@st.composite
def _looks(draw):
    """What one tick shows of a live fleet: lag, trouble, silence and evidence, in any mixture."""
    flags = st.sampled_from([False, False, False, True])
    return {
        "lag": draw(st.booleans()),
        "silent": draw(st.sets(st.sampled_from(["n1", "n2", "n3"]), max_size=1)),
        "stuck": draw(flags),
        "evidence": draw(st.sampled_from([GOOD, GOOD, Evidence(), BAD])),
        "seconds": draw(st.sampled_from([0.0, 60.0, 1800.0, 4000.0])),
    }


def _seen(make, rollout, before, look, wall_s):
    """The fleet as the last step left it, or lagging one step behind."""
    told = before if look["lag"] else rollout
    versions = told.desired
    images = wanted(told, POLICY)
    stuck = {"waiting": "CrashLoopBackOff: exit 1"} if look["stuck"] and not rollout.state.startswith("roll") else {}
    return _fleet(make, images, versions, wall_s=wall_s, unreachable=look["silent"], canary=stuck)


@settings(max_examples=150, deadline=None)
@given(
    looks=st.lists(_looks(), min_size=1, max_size=30),
    previous=st.sampled_from([None, 1]),
    end=st.sampled_from([GOOD, Evidence()]),
)
def test_laws_of_any_rollout(make, looks, previous, end):
    """Never a wave before its gate; a step is idempotent; every end is explained; a live fleet ends it."""
    now_s = wall_s = 0.0
    rollout = before = make.rollout(2, previous=previous)
    calm = {"lag": False, "silent": set(), "stuck": False, "evidence": end, "seconds": 4000.0}
    for look in [*looks, *[calm] * 12]:
        now_s, wall_s = now_s + look["seconds"], wall_s + look["seconds"] / 10
        observed = _seen(make, rollout, before, look, wall_s)
        stepped, actions = _step(rollout, observed, now_s, look["evidence"])
        assert _step(rollout, observed, now_s, look["evidence"]) == (stepped, actions)
        _check(rollout, stepped, actions)
        unseen = previous is not None and look["evidence"] == Evidence()
        assert not unseen or _passed(stepped) == _passed(rollout), "a wave passed of which nothing was seen"
        before, rollout = rollout, stepped
    assert rollout.finished
    assert _step(rollout, observed, now_s) == (rollout, ())


def _passed(rollout):
    return [wave.state == "passed" for wave in rollout.waves]


def _check(old, new, actions):
    states = [wave.state for wave in new.waves]
    begun = [i for i, state in enumerate(states) if state != "pending"]
    assert all(states[j] == "passed" for i in begun for j in range(i)), "a wave began before an earlier one had passed"
    for wave in new.waves:
        if wave.state == "passed":
            assert wave.finished_s - wave.settled_s >= new.soak_s
            assert wave.evidence
        assert wave.state != "failed" or wave.evidence
    assert (new == old) or len(new.history) > len(old.history), "a change without a word"
    assert all(event.why for event in new.history)
    if new.state in ("rolling_back", "rolled_back"):
        assert all(new.desired[group] == new.previous for group in touched(new))
    assert any(isinstance(a, Promote) for a in actions) == (new.state == "done" and old.state != "done")
