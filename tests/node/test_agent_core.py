"""The agent's decisions: what is sent when, in which deliveries, and what an answer settles."""

from __future__ import annotations

from dataclasses import replace

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeloop_contracts import Acknowledged, Acknowledgement
from edgeloop_node.agent import core
from edgeloop_node.agent.core import Link, Pending, Settings

PACE = Settings(publish_s=1, heartbeat_s=5, retry_s=4, retry_cap_s=30, delivery_bytes=1000)
KEY = ("pump", "b", 0, 1, "s")


def key(window: int) -> core.Key:
    return ("pump", "b", window, 1, "s")


def test_waits_double_up_to_the_cap() -> None:
    """4, 8, 16, 30, 30 s; after an acknowledgement the short pause between two states again."""
    assert [core.wait_s(n, PACE) for n in range(7)] == [1, 4, 8, 16, 30, 30, 30]
    assert core.wait_s(10_000, PACE) == 30


def test_a_new_report_is_due_at_once_and_then_waits() -> None:
    """One state is under way at a time; it comes again when its wait is over."""
    fresh = Pending(KEY, 1, 100)
    assert core.due([fresh], 0.0, PACE) == [fresh]
    sent = core.after_sending(fresh, 1, 0.0)
    changed = core.stored(sent, KEY, 2, 120)
    assert core.due([changed], 3.9, PACE) == []
    assert core.due([changed], 4.0, PACE) == [changed]
    again = core.after_sending(changed, 2, 4.0)
    assert core.due([again], 11.9, PACE) == []
    assert core.due([again], 12.0, PACE) == [again]


def test_an_acknowledgement_lets_the_next_state_go() -> None:
    """An acknowledged older state leaves the newer one to send, after publish_s and not after a long wait."""
    sent = core.after_sending(Pending(KEY, 1, 100), 1, 0.0)
    newer = core.stored(sent, KEY, 2, 100)
    assert core.settle(newer, 2) is None
    left = core.settle(newer, 1)
    assert left is not None
    assert core.due([left], 0.9, PACE) == []
    assert core.due([left], 1.0, PACE) == [left]


def test_oldest_windows_go_first() -> None:
    """The fleet sees time run forward."""
    reports = [Pending(key(w), 1, 10) for w in (7200, 0, 3600)]
    assert [p.key[2] for p in core.due(reports, 0.0, PACE)] == [0, 3600, 7200]


def test_an_older_state_never_replaces_a_newer() -> None:
    """A state that comes late (read twice after a crash) changes nothing."""
    known = Pending(KEY, 5, 100)
    assert core.stored(known, KEY, 4, 90) is known
    assert core.stored(known, KEY, 5, 90) is known


def ack(sequence: int, node: str = "n1", boot: str = "b") -> Acknowledgement:
    named = Acknowledged(loop="pump", boot=boot, window_start_s=0, version=1, schema_hash="s", sequence=sequence)
    return Acknowledgement(node=node, reports=(named,))


def test_acknowledgements_are_believed_only_when_they_can_be_true() -> None:
    """Another node's, an unknown key's and a state that never was settle nothing."""
    pending = {KEY: Pending(KEY, 5, 100)}
    assert core.acknowledged(pending, ack(5), "n1") == ([(KEY, 5)], [])
    assert core.acknowledged(pending, ack(3), "n1") == ([(KEY, 3)], [])
    assert core.acknowledged(pending, ack(5, boot="x"), "n1") == ([], [])
    settled, wrong = core.acknowledged(pending, ack(6), "n1")
    assert settled == []
    assert "expected at most 5, got 6" in wrong[0]
    settled, wrong = core.acknowledged(pending, ack(5, node="n2"), "n1")
    assert settled == []
    assert wrong == ["node: expected n1, got n2"]


def test_everything_is_due_when_the_cloud_is_heard_again() -> None:
    """After a silence the long waits end at once; while answers come regularly, a report nobody takes keeps waiting."""
    stuck = replace(Pending(KEY, 1, 100), attempts=6, sent_s=100.0)
    (awake,) = core.awake([stuck], Link(heard_s=50.0), 101.0, PACE)
    assert core.due([awake], 101.0, PACE) == [awake]
    assert core.awake([stuck], Link(heard_s=100.0), 101.0, PACE) == []


def test_heartbeats() -> None:
    """Silence never lasts longer than heartbeat_s."""
    assert core.heartbeat_due(Link(), 0.0, PACE)
    assert not core.heartbeat_due(Link(sent_s=10.0), 14.9, PACE)
    assert core.heartbeat_due(Link(sent_s=10.0), 15.0, PACE)


@given(st.lists(st.tuples(st.integers(1, 1500), st.booleans()), max_size=40), st.integers(0, 200))
def test_deliveries_are_small_and_complete(sizes: list[tuple[int, bool]], head: int) -> None:
    """Every report is in one delivery, in order; none is too large unless it is a single report; `alone` means alone."""
    reports = [Pending(key(i), 1, size, alone=alone) for i, (size, alone) in enumerate(sizes)]
    groups = core.pack(reports, head, PACE)
    assert [report for group in groups for report in group] == reports
    for group in groups:
        assert len(group) == 1 or head + sum(r.size_bytes + 1 for r in group) <= PACE.delivery_bytes
        assert len(group) == 1 or not any(r.alone for r in group)


@given(st.data())
def test_a_lossy_way_delivers_everything_in_the_end(data: st.DataObject) -> None:
    """Whatever is lost, repeated or late on the way: once it works, every newest state is acknowledged."""
    pending = {key(i): Pending(key(i), 1, 100) for i in range(3)}
    cloud: dict[core.Key, int] = {}
    now_s = 0.0
    for step in range(60):
        works = step >= 20
        if not works and data.draw(st.booleans()):
            k = key(data.draw(st.integers(0, 2)))
            old = pending.get(k)
            pending[k] = core.stored(old, k, (old.sequence if old else cloud.get(k, 0)) + 1, 100)
        for report in core.due(list(pending.values()), now_s, PACE):
            pending[report.key] = core.after_sending(report, report.sequence, now_s)
            if works or data.draw(st.booleans()):
                cloud[report.key] = max(cloud.get(report.key, 0), report.sequence)
                if works or data.draw(st.booleans()):
                    left = core.settle(pending[report.key], report.sequence)
                    if left is None:
                        del pending[report.key]
                    else:
                        pending[report.key] = left
        now_s += 8.0
    assert pending == {}


def test_a_refused_delivery_is_taken_apart() -> None:
    """Reports of a delivery that the cloud refused go alone the next time, so that one bad report holds up no other."""
    reports = [core.after_sending(Pending(key(i), 1, 100), 1, 0.0, refused=True) for i in range(3)]
    assert [len(group) for group in core.pack(reports, 50, PACE)] == [1, 1, 1]
    assert core.settle(replace(reports[0], sequence=2), 1) == Pending(key(0), 2, 100, 0, 0.0, False)


def test_settings_are_frozen() -> None:
    """The pace does not change while the agent runs."""
    with pytest.raises(AttributeError):
        PACE.retry_s = 1  # type: ignore[misc]
