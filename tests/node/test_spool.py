"""The spool: transactions, cursors, labels counted once, pruning that loses nothing, and what a full or broken disk does."""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeloop_contracts import Report, from_json, newer, to_json
from edgeloop_node.agent.entries import Version, entry_of
from edgeloop_node.agent.feedback import Feedback, read_feedback
from edgeloop_node.agent.labels import Node, take
from edgeloop_node.agent.spool import Spool, SpoolInUseError, open_spool
from edgeloop_node.documents import BadRequestError

Make = Callable[..., Report]
ME = Node("n1", "g1")
PUMP = Version("pump", 1, "s" * 16, 3600, "sha256:1", ("bad", "good"))
HUGE = 2**40


@pytest.fixture
def spool(tmp_path: Path) -> Iterator[Spool]:
    spool = open_spool(tmp_path / "spool.db")
    spool.learn(PUMP)
    yield spool
    spool.close()


def entry(report: Report) -> Any:
    return entry_of(to_json(report))


def stored(spool: Spool) -> list[Report]:
    rows = spool._rows("SELECT body FROM reports")
    return [from_json(Report, json.loads(row[0])) for row in rows]


def test_the_newest_state_is_kept(spool: Spool, make_report: Make) -> None:
    """Reports replace each other by sequence, whatever the order; only what says more is reported as changed."""
    states = [make_report("b", 0, sequence, rows=sequence) for sequence in (2, 1, 3, 3)]
    changed = [bool(spool.store("b", state.sequence, [entry(state)])) for state in states]
    assert changed == [True, False, True, False]
    assert [r.counts.rows for r in stored(spool)] == [3]
    assert spool.cursor("b") == 3
    assert spool.cursor("other") == 0


@settings(deadline=None, max_examples=30)
@given(order=st.permutations([(w, s) for w in range(3) for s in range(1, 4)]))
def test_it_is_the_contracts_merge(order: list[tuple[int, int]], tmp_path_factory: Any, make_report: Make) -> None:
    """The spool ends with what `newer` gives, in any order."""
    spool = open_spool(tmp_path_factory.mktemp("spool") / "s.db")
    expected: dict[Any, Report] = {}
    for window, sequence in order:
        report = make_report("b", 3600 * window, sequence, rows=sequence)
        expected[report.key] = newer(expected.get(report.key, report), report)
        spool.store("b", sequence, [entry(report)])
    assert {r.key: r for r in stored(spool)} == expected
    spool.close()


def test_acknowledged_is_not_pending(spool: Spool, make_report: Make) -> None:
    """An acknowledgement settles a state; a newer one makes the report pending again; an impossible one is ignored."""
    first = entry(make_report("b", 0, 1))
    spool.store("b", 1, [first])
    assert [(k, s) for k, s, _ in spool.unacked()] == [(first.key, 1)]
    spool.acknowledge([(first.key, 7)])
    assert len(spool.unacked()) == 1
    spool.acknowledge([(first.key, 1)])
    assert spool.unacked() == []
    spool.store("b", 2, [entry(make_report("b", 0, 2))])
    assert [(k, s) for k, s, _ in spool.unacked()] == [(first.key, 2)]
    assert spool.counts() == {"reports": 1, "unacked": 1, "labels": 0}


def label(name: str, time_s: float = 10.0, **more: Any) -> Feedback:
    given = {"version": 1, "predicted": "good", "label": "good", "loop": "", **more}
    return Feedback(id=name, time_s=time_s, **given)


def counts(spool: Spool) -> dict[int, tuple[int, int]]:
    return {r.window_start_s: (r.counts.labelled, r.counts.correct) for r in stored(spool)}


def test_labels_are_counted_once(spool: Spool) -> None:
    """The same id again, in the same request or a later one, is a duplicate; windows go by the row's time."""
    rows = [label("1"), label("2", label="bad"), label("3", 3700.0), label("1"), label("4", predicted="bad")]
    taken = take(spool, ME, rows)
    assert (taken.accepted, taken.duplicates, taken.refused) == (4, 1, [])
    assert counts(spool) == {0: (3, 1), 3600: (1, 1)}
    again = take(spool, ME, [*rows, label("5")])
    assert (again.accepted, again.duplicates) == (1, 5)
    assert counts(spool) == {0: (4, 2), 3600: (1, 1)}
    report = next(r for r in stored(spool) if r.window_start_s == 0)
    assert (report.sequence, report.boot, report.node, report.image) == (2, spool.boot, "n1", "sha256:1")


def test_labels_of_unknown_versions_are_refused(spool: Spool) -> None:
    """What cannot be counted is refused with its reason and may come again later."""
    spool.learn(Version("valve", 2, "t" * 16, 60, "", ("x",)))
    spool.learn(Version("pump", 2, "u" * 16, 3600, "", ("good",)))
    cases = [
        (label("a", version=9), "version 9 has not been served on this node"),
        (label("b", version=1, loop="valve"), "valve@1 has not been served"),
        (label("c", version=2), "loop: expected one of pump, valve, got nothing"),
        (label("d", predicted="ugly"), "predicted: expected one of bad, good, got 'ugly'"),
    ]
    taken = take(spool, ME, [row for row, _ in cases])
    assert taken.accepted == 0
    for refused, (row, says) in zip(taken.refused, cases, strict=True):
        assert refused.id == row.id
        assert says in refused.why
    assert take(spool, ME, [label("c", version=2, loop="valve", predicted="x", label="y")]).accepted == 1
    spool.learn(Version("pump", 9, "v" * 16, 3600, "", ("good",)))
    assert take(spool, ME, [label("a", version=9)]).accepted == 1


@pytest.mark.parametrize(
    ("row", "says"),
    [
        (7, "expected an object, got 7"),
        ({}, "version: expected a whole number >= 1, got null"),
        ({"version": True}, "version: expected"),
        ({"version": 1}, "id: expected text"),
        ({"version": 1, "id": ""}, "id: expected text"),
        ({"version": 1, "id": "x"}, "time: expected"),
        ({"version": 1, "id": "x", "time": 1}, "predicted: expected text"),
        ({"version": 1, "id": "x", "time": 1, "predicted": "a"}, "label: expected text"),
        ({"version": 1, "id": "x", "time": 1, "predicted": "a", "label": 1.5}, "label: expected text"),
        ({"version": 1, "id": "x", "time": 1, "predicted": "a", "label": "b", "loop": 3}, "loop: expected text"),
    ],
)
def test_wrong_feedback_rows(row: Any, says: str) -> None:
    """A wrong row is refused by name; the others are taken. Whole numbers are the text of a class."""
    good = {"version": 1, "id": "ok", "time": "1970-01-01T00:00:10", "predicted": 1, "label": "1"}
    rows, refused = read_feedback({"rows": [row, good]})
    assert [(r.id, r.time_s, r.correct) for r in rows] == [("ok", 10.0, True)]
    assert says in refused[0].why


@pytest.mark.parametrize("document", [{}, {"rows": {}}, {"rows": []}, {"rows": [{}] * 5001}])
def test_feedback_without_rows(document: Any) -> None:
    """A document that is no list of rows is refused whole."""
    with pytest.raises(BadRequestError, match="rows: expected a list"):
        read_feedback(document)


def test_pruning_takes_only_what_is_acknowledged_and_old(spool: Spool, make_report: Make) -> None:
    """Age counts from the newest window, so replayed data is pruned as live data is."""
    day = 86_400
    for i in range(40):
        spool.store("b", i + 1, [entry(make_report("b", day * i, i + 1))])
    acked = [(key, sequence) for key, sequence, _ in spool.unacked() if key[2] != 0]
    spool.acknowledge(acked)
    removed = spool.prune(30 * day, HUGE, 0.0)
    left = sorted(r.window_start_s // day for r in stored(spool))
    assert removed == 8
    assert left == [0, *range(9, 40)]


def test_a_spool_that_is_too_large_loses_acknowledged_reports_first(spool: Spool, make_report: Make) -> None:
    """Above the limit the oldest acknowledged reports go early, the file shrinks, and nothing unacknowledged goes."""
    for i in range(600):
        spool.store("b", i + 1, [entry(make_report("b", 3600 * i, i + 1, image="x" * 900))])
    pending = spool.unacked()
    spool.acknowledge([(key, sequence) for key, sequence, _ in pending[:-50]])
    before = spool.size_bytes()
    spool.prune(HUGE, before // 2, 0.0)
    assert spool.size_bytes() <= before // 2
    assert len(spool.unacked()) == 50
    spool.prune(HUGE, 1000, 0.0)
    assert spool.counts()["reports"] == 50


def test_late_labels_of_a_pruned_window_get_a_key_of_their_own(spool: Spool) -> None:
    """Counts that were delivered are not replaced by counts that start again: the totals over all keys stay right."""
    cloud: dict[Any, Report] = {}

    def deliver() -> None:
        for report in stored(spool):
            cloud[report.key] = newer(cloud.get(report.key, report), report)
        spool.acknowledge([(key, sequence) for key, sequence, _ in spool.unacked()])

    take(spool, ME, [label("1"), label("2")])
    deliver()
    take(spool, ME, [label("3", 1e7)])
    deliver()
    assert spool.prune(3600, HUGE, 0.0) == 1
    take(spool, ME, [label("4"), label("5", 1e7)])
    deliver()
    assert sum(r.counts.labelled for r in cloud.values()) == 5
    assert len({r.boot for r in cloud.values()}) == 2


def test_it_is_all_there_after_reopening(tmp_path: Path, make_report: Make) -> None:
    """A spool that was not closed (kill -9) has every stored report, cursor, version, label id, and the same boot id."""
    import os
    import signal

    path = tmp_path / "s.db"
    child = os.fork()
    if child == 0:
        spool = open_spool(path)
        spool.learn(PUMP)
        spool.store("b", 4, [entry(make_report("b", 0, 4, rows=9))])
        take(spool, ME, [label("1")])
        (tmp_path / "boot").write_text(spool.boot)
        os.kill(os.getpid(), signal.SIGKILL)
    os.waitpid(child, 0)
    spool = open_spool(path)
    assert spool.boot == (tmp_path / "boot").read_text()
    assert spool.cursor("b") == 4
    assert spool.versions() == [PUMP]
    assert sorted(r.counts.rows for r in stored(spool)) == [0, 9]
    assert take(spool, ME, [label("1")]).duplicates == 1
    spool.close()


def test_a_full_disk_changes_nothing(spool: Spool, make_report: Make) -> None:
    """When SQLite says that the disk is full nothing of the transaction stays: no report, no cursor, no label."""
    pages = spool._rows("PRAGMA page_count")[0][0]
    spool._rows(f"PRAGMA max_page_count = {pages}")
    with pytest.raises(sqlite3.OperationalError, match="full"):
        spool.store("b", 9, [entry(make_report("b", 3600 * i, 9, image="x" * 900)) for i in range(90)])
    assert (stored(spool), spool.cursor("b")) == ([], 0)
    rows = [label(f"{i}-{'x' * 150}") for i in range(3000)]
    with pytest.raises(sqlite3.OperationalError, match="full"):
        take(spool, ME, rows)
    assert (stored(spool), spool.counts()["labels"]) == ([], 0)
    spool._rows("PRAGMA max_page_count = 100000")
    assert take(spool, ME, rows).accepted == 3000


def test_a_second_agent_is_refused(tmp_path: Path, spool: Spool) -> None:
    """Two agents on one spool would both send and count: the second one may not open it."""
    with pytest.raises(SpoolInUseError, match="expected to be the only agent"):
        open_spool(tmp_path / "spool.db")


def test_a_damaged_spool_is_set_aside(tmp_path: Path, capfd: pytest.CaptureFixture[str]) -> None:
    """A file that is no SQLite is kept under another name, a new one begun, and the log says so."""
    path = tmp_path / "s.db"
    path.write_bytes(b"not a database at all, but long enough to look at" * 100)
    spool = open_spool(path)
    assert spool.unacked() == []
    spool.close()
    assert len(list(tmp_path.glob("s.db.damaged-*"))) == 1
    assert "the spool is damaged" in capfd.readouterr().err


@pytest.mark.parametrize("change", [{"sequence": "1"}, {"kind": "Delivery"}, {"boot": None}, {"window_start_s": 1.5}])
def test_a_report_without_a_key_is_refused(make_report: Make, change: dict[str, Any]) -> None:
    """What the spool cannot key it does not keep."""
    with pytest.raises(ValueError, match="report"):
        entry_of({**to_json(make_report("b", 0, 1)), **change})
