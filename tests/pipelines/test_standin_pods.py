"""The stand-in's decisions on pods: which a workload starts and stops, and how the life of one goes."""

from __future__ import annotations

from dataclasses import replace
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeloop_pipelines.local.standin import pods
from edgeloop_pipelines.local.standin.containers import Probe
from edgeloop_pipelines.local.standin.objects import Owner
from edgeloop_pipelines.local.standin.pods import Exited, Plan, Pod, Probed, Pulled, PullFailed
from edgeloop_pipelines.local.standin.rollouts import daemon_changes, deployment_changes

OWNER = Owner("Deployment", "edgeloop", "power-g")


def pod(
    name: str, node: str, revision: str = "new", *, ready: bool = True, deleting: bool = False, age: float = 0.0
) -> Pod:
    return Pod(name, "uid", OWNER, node, revision, {}, -age, state="running", ready=ready, deleting=deleting)


SURGE = {"replicas": 2, "strategy": {"rollingUpdate": {"maxSurge": 1, "maxUnavailable": 0}}}


@pytest.mark.parametrize(
    ("there", "start", "stop"),
    [
        ([], ("a", "b"), ()),
        ([pod("1", "a"), pod("2", "b")], (), ()),
        ([pod("1", "a", "old"), pod("2", "b", "old")], ("a",), ()),
        ([pod("1", "a", "old"), pod("2", "b", "old"), pod("3", "a", ready=False)], (), ()),
        ([pod("1", "a", "old"), pod("2", "b", "old"), pod("3", "a")], (), ("1",)),
        ([pod("2", "b", "old"), pod("3", "a")], ("b",), ()),
        ([pod("1", "a", "old"), pod("2", "b", "old", ready=False), pod("3", "a")], (), ("2",)),
        ([pod("1", "a", "old", deleting=True), pod("2", "b", "old"), pod("3", "a")], ("b",), ()),
        ([pod("1", "a"), pod("2", "b"), pod("3", "a", "bad", ready=False)], (), ("3",)),
        ([pod("1", "a"), pod("2", "gone")], ("b",), ("2",)),
        ([pod("1", "a", age=9), pod("2", "a"), pod("3", "b")], (), ("2",)),
    ],
)
def test_steps_of_a_surge_update(there: list[Pod], start: tuple[str, ...], stop: tuple[str, ...]) -> None:
    """One pod more than replicas, none less; doubled nodes give up their old pod; broken old pods go first."""
    changes = deployment_changes(SURGE, "new", ("a", "b"), there)
    assert (changes.start, changes.stop) == (start, stop)


@settings(max_examples=60, deadline=None)
@given(st.integers(1, 5), st.lists(st.integers(0, 3), max_size=40), st.randoms(use_true_random=False))
def test_no_update_ever_lacks_a_ready_pod(count: int, choices: list[int], random: Any) -> None:
    """Whatever becomes ready in whatever order, and however often the target changes: never fewer ready pods than replicas,
    never more than one above, and in the end one pod of the last revision on every node."""
    nodes = tuple(f"n{i}" for i in range(count))
    spec = {**SURGE, "replicas": count}
    live = [pod(f"p{i}", node, "r0") for i, node in enumerate(nodes)]
    revision, made = "r0", len(live)
    for choice in [*choices, *[3] * 6 * count]:
        if choice < 2:
            revision = f"r{choice}"
        elif waiting := [i for i, item in enumerate(live) if not item.ready]:
            i = random.choice(waiting)
            live[i] = replace(live[i], ready=True)
        changes = deployment_changes(spec, revision, nodes, live)
        live = [item for item in live if item.name not in changes.stop]
        for node in changes.start:
            live.append(pod(f"p{made}", node, revision, ready=False))
            made += 1
        assert sum(item.ready for item in live) >= count
        assert len(live) <= count + 1
    assert sorted(item.node for item in live) == sorted(nodes)
    assert {item.revision for item in live} == {revision}


def test_a_daemon_set_never_has_two_pods_on_a_node() -> None:
    """The old pod ends before the new one starts, and no more nodes than maxUnavailable are without one."""
    old = [pod("1", "a", "old"), pod("2", "b", "old"), pod("3", "c", "old")]
    assert daemon_changes({}, "new", ("a", "b", "c"), old).stop == ("1",)
    stopping = [replace(old[0], deleting=True, ready=False), *old[1:]]
    assert daemon_changes({}, "new", ("a", "b", "c"), stopping) == replace(daemon_changes({}, "new", (), []))
    changes = daemon_changes({}, "new", ("a", "b", "c"), old[1:])
    assert (changes.start, changes.stop) == (("a",), ())
    half = {"updateStrategy": {"rollingUpdate": {"maxUnavailable": "50%"}}}
    assert daemon_changes(half, "new", ("a", "b", "c"), old).stop == ("1", "2")
    assert daemon_changes({}, "old", ("a",), old).stop == ("2", "3")


PROBE = Probe(("check",), 0.0, 1.0, 1.0, 3)
PLAN = Plan(PROBE, replace(PROBE, period_s=30.0), 5.0, 10.0)


def advanced(item: Pod, now: float, *facts: pods.Fact, plan: Plan = PLAN) -> tuple[Pod, str]:
    for fact in facts:
        item = pods.heard(item, fact, plan, now)
    return pods.due(item, plan, now)


def running(now: float = 0.0) -> Pod:
    item, action = advanced(replace(pod("p", "a", ready=False), state="pending"), now)
    assert action == "pull"
    item, action = advanced(item, now, Pulled())
    assert action == "start"
    return item


def test_a_pod_comes_up() -> None:
    """Pull, start, startup probe every second, then at once the readiness probe, then that one every 30 s."""
    item, action = advanced(running(), 0.0)
    assert (action, item.ready) == ("probe-startup", False)
    item, action = advanced(item, 0.2, Probed(False, "not yet"))
    assert (action, item.ready) == ("", False)
    item, action = advanced(item, 1.2)
    assert action == "probe-startup"
    item, action = advanced(item, 1.3, Probed(True))
    assert (action, item.ready) == ("probe-readiness", False)
    item, action = advanced(item, 1.4, Probed(True))
    assert (action, item.ready) == ("", True)
    assert advanced(item, 31.0)[1] == ""
    assert advanced(item, 31.4)[1] == "probe-readiness"


def test_readiness_is_lost_after_three_misses_in_a_row() -> None:
    """One failed probe is forgiven, the third is not; a good one brings it back."""
    item = replace(running(), started=True, ready=True)
    for misses in (1, 2, 3):
        item = pods.heard(replace(item, probing=True), Probed(False), PLAN, 0.0)
        assert item.ready == (misses < 3)
    assert pods.heard(replace(item, probing=True), Probed(True), PLAN, 0.0).ready


def test_a_server_that_never_starts_is_killed_and_restarted() -> None:
    """The startup probe's threshold ends the process, which counts as a crash."""
    item = running()
    for i in range(3):
        item, action = advanced(item, i * 1.0)
        assert action == "probe-startup"
        item = pods.heard(item, Probed(False), PLAN, i * 1.0)
    item, action = advanced(item, 3.0)
    assert action == "kill"
    item, action = advanced(item, 3.1, Exited(-9))
    assert (action, item.restarts, item.exit_code) == ("start", 1, -9)


def test_restarts_back_off() -> None:
    """At once, then after 10, 20, 40 ... 300 s; a long run is forgiven."""
    item, now, pauses = running(), 0.0, []
    for _ in range(8):
        item = pods.heard(item, Exited(1), PLAN, now)
        pauses.append(item.due_s - now)
        now = item.due_s
        item, action = advanced(item, now)
        assert action == "start"
    assert pauses == [0, 10, 20, 40, 80, 160, 300, 300]
    assert item.restarts == 8
    item = pods.heard(item, Exited(1), PLAN, now + 601)
    assert item.due_s == now + 601


def test_a_missing_image_is_asked_for_again() -> None:
    """PullFailed: wait 10 s and more, and say why; a pull that works starts the container."""
    item, _ = advanced(replace(running(), state="pending"), 0.0)
    item, action = advanced(item, 0.0, PullFailed("no such digest"))
    assert (item.state, action, item.why, item.due_s) == ("pull-backoff", "", "no such digest", 10.0)
    item, action = advanced(item, 10.0)
    assert action == "pull"
    item, action = advanced(item, 10.0, PullFailed("no such digest"))
    assert item.due_s == 30.0
    item, _ = advanced(item, 30.0)
    assert advanced(item, 31.0, Pulled())[1] == "start"


def test_a_pod_is_stopped_with_grace() -> None:
    """SIGTERM, SIGKILL once after the grace, gone when the process has ended; without a process at once."""
    item, action = advanced(pods.asked_to_stop(running()), 1.0)
    assert (action, item.ready) == ("terminate", False)
    assert advanced(item, 5.9)[1] == ""
    item, action = advanced(item, 6.0)
    assert action == "kill"
    assert advanced(item, 7.0)[1] == ""
    assert advanced(item, 7.0, Exited(-9))[0].state == "gone"
    assert pods.asked_to_stop(replace(running(), state="backoff")).state == "gone"
