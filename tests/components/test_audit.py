"""The audit log: it only grows, survives races, and shows every later change."""

from __future__ import annotations

import json
import threading
from collections.abc import Callable
from typing import Any

import pytest

from edgeloop_components.catalog import audit
from edgeloop_components.stores.objects import MemoryObjects, Objects


def add(store: Objects, number: int) -> audit.Entry:
    return audit.append(
        store,
        "loop",
        at_s=float(number),
        actor="me",
        action="act",
        subject=f"s{number}",
        why="",
        evidence={"n": number},
    )


@pytest.fixture
def log() -> MemoryObjects:
    """A store with a log of five entries."""
    store = MemoryObjects()
    for number in range(1, 6):
        add(store, number)
    return store


def key(number: int) -> str:
    return f"catalog/loop/audit/{number:08d}.json"


def edit(store: Objects, number: int, **changes: Any) -> None:
    store.put(key(number), json.dumps({**json.loads(store.get(key(number))), **changes}).encode())


def test_chain(store: Objects) -> None:
    """Entries are numbered from 1, each holds the hash of the one before, and a whole chain has no problems."""
    assert audit.verify(store, "loop") == []
    assert audit.head(store, "loop") == (0, audit.START)
    first, second = add(store, 1), add(store, 2)
    assert list(audit.entries(store, "loop")) == [first, second]
    assert (first.previous, second.previous) == (audit.START, first.hash)
    assert audit.head(store, "loop") == (2, second.hash)
    assert audit.verify(store, "loop") == []
    assert audit.find(store, "loop", "act", "s1") == first
    assert audit.find(store, "loop", "act", "s3") is None


def test_racing_appends(store: Objects) -> None:
    """Three threads that append at once lose no entry and leave a whole chain."""
    barrier = threading.Barrier(3)

    def work(i: int) -> None:
        barrier.wait()
        for k in range(2):
            add(store, 10 * i + k)

    threads = [threading.Thread(target=work, args=(i,)) for i in range(3)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sorted(e.evidence["n"] for e in audit.entries(store, "loop")) == [0, 1, 10, 11, 20, 21]
    assert [e.sequence for e in audit.entries(store, "loop")] == list(range(1, 7))
    assert audit.verify(store, "loop") == []


def reseal(store: Objects, number: int) -> None:
    """What a careful forger does: change an entry and give it a hash that fits."""
    entry = audit.Entry(**{**json.loads(store.get(key(number))), "actor": "somebody else"})
    edit(store, number, actor="somebody else", hash=entry.computed_hash())


@pytest.mark.parametrize(
    ("tamper", "named", "says"),
    [
        (lambda s: edit(s, 3, actor="somebody else"), 3, "this entry was changed"),
        (lambda s: edit(s, 3, evidence={"n": 99}), 3, "this entry was changed"),
        (lambda s: reseal(s, 3), 4, "the entry before it was changed"),
        (lambda s: s.delete(key(3)), 4, "entries are missing before it"),
        (lambda s: s.delete(key(1)), 2, "entries are missing before it"),
        (lambda s: s.put(key(3), s.get(key(4))), 3, "expected the entry of this name, found entry 4"),
        (lambda s: s.put(key(3), b"not json"), 3, "not an audit entry"),
        (lambda s: s.put(key(3), b'{"sequence": 3}'), 3, "not an audit entry"),
    ],
)
def test_tampering_is_named(log: MemoryObjects, tamper: Callable[[MemoryObjects], None], named: int, says: str) -> None:
    """Every kind of change to the log is found, and the message names the entry where the chain breaks."""
    tamper(log)
    problems = audit.verify(log, "loop")
    assert any(problem.startswith(key(named)) and says in problem for problem in problems), problems


def test_cut_off_end_needs_a_noted_head(log: MemoryObjects) -> None:
    """A log cut off at its end is whole in itself; compared with a head noted before, it is not."""
    head = audit.head(log, "loop")
    assert audit.verify(log, "loop", expected_head=head) == []
    log.delete(key(5))
    assert audit.verify(log, "loop") == []
    assert audit.verify(log, "loop", expected_head=head) == [
        f"{key(5)}: expected hash {head[1]}, found no such entry",
    ]
    add(log, 6)  # the forger goes on
    assert audit.verify(log, "loop", expected_head=head)


def test_append_once(store: Objects) -> None:
    """Repeating an act that is logged adds nothing and gives the entry of the first time."""
    act = {"action": "act", "subject": "s", "actor": "me", "why": "because"}
    first = audit.append_once(store, "loop", at_s=1.0, **act)
    assert audit.append_once(store, "loop", at_s=2.0, **act) == first
    assert list(audit.entries(store, "loop")) == [first]
