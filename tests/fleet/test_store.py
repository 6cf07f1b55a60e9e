"""The report store: merging is idempotent and exact, whatever the order; it runs on SQLite and PostgreSQL."""

import threading
import uuid
from dataclasses import replace

import pytest
import sqlalchemy as sa
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeloop_contracts import RunRequest, Verdict, newer
from edgeloop_fleet import rollouts
from edgeloop_fleet.store import Store


@pytest.fixture
def store(any_url):
    """A fresh store, on SQLite and on PostgreSQL."""
    made = Store(any_url)
    yield made
    made.close()


def _sums(store):
    return {
        (row["version"], row["node"]): (row["rows"], row["labelled"], row["correct"]) for row in store.totals("demo")
    }


def test_a_later_sequence_replaces_an_earlier_one_never_the_other_way_round(store, make):
    """Out of order and twice, the highest sequence of a key stays."""
    first = make.report(sequence=1, counts=make.counts(5))
    second = make.report(sequence=2, counts=make.counts(8, labelled=3, correct=2))
    for reports in ([second, first], [first], [first, second, first], []):
        store.take(make.delivery("n1", *reports), reports, wall_s=0.0)
        assert _sums(store) == {(1, "n1"): (8, 3, 2)}


KEYS = st.tuples(
    st.sampled_from(["n1", "n2"]), st.sampled_from(["b1", "b2"]), st.sampled_from([0, 3600]), st.sampled_from([1, 2])
)


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(data=st.data())
def test_totals_are_exact_in_any_order(tmp_path, make, data):
    """Any deliveries of any reports, repeated and shuffled, sum to the newest state of each key."""
    states = data.draw(st.lists(st.tuples(KEYS, st.integers(1, 4)), min_size=1, max_size=25))
    reports = [
        make.report(
            node, window, sequence, make.counts(3 * sequence, labelled=sequence, correct=1), boot=boot, version=v
        )
        for (node, boot, window, v), sequence in states
    ]
    newest = {}
    for report in reports:
        newest[report.key] = newer(newest.get(report.key, report), report)
    store = Store(f"sqlite:///{tmp_path}/{uuid.uuid4().hex}.db")
    for report in data.draw(st.permutations([*reports, *reports[::2]])):
        store.take(make.delivery(report.node, report), [report], wall_s=0.0)
    expected = {}
    for report in newest.values():
        place, c = (report.version, report.node), report.counts
        expected[place] = tuple(
            a + b for a, b in zip(expected.get(place, (0, 0, 0)), (c.rows, c.labelled, c.correct), strict=True)
        )
    assert _sums(store) == expected
    store.close()


def test_heartbeats_survive_reordering_and_a_clock_that_was_set_back(store, make):
    """A late heartbeat does not undo a newer one; one from a clock set back by a day does count."""
    for sent_s, version in ((100_000.0, 2), (99_000.0, 1)):
        store.take(make.delivery("n1", version=version, sent_s=sent_s), [], wall_s=sent_s)
    assert store.nodes()[0]["loaded"][0]["version"] == 2
    store.take(make.delivery("n1", version=3, sent_s=10_000.0), [], wall_s=100_001.0)
    assert store.nodes()[0]["loaded"][0]["version"] == 3
    assert store.nodes()[0]["seen_s"] == 100_001.0


def test_what_was_decided_is_read_back(store, make):
    """Loops, versions, packages, verdicts, runs and events come back as they were put in."""
    loop, version, reference = make.loop(), make.version(), make.reference()
    store.put_loop(loop)
    store.put_version(version, reference, make.packages(1))
    store.set_serving("demo", 1)
    store.put_loop(loop)
    verdict = Verdict(loop="demo", version=1, judgement="healthy", sentence="good")
    store.put_verdicts("demo", [verdict])
    store.put_run(RunRequest(loop="demo", key="k", cause="manual"), started=True, why="asked")
    store.add_event("demo", "verdict", "text", at_s=1.0, wall_s=2.0, numbers={"x": 1.5})
    assert (store.loop("demo"), store.serving("demo")) == (loop, 1)
    assert store.versions("demo") == {1: version}
    assert store.references() == {("demo", 1): reference}
    assert store.packages("demo", 1) == make.packages(1)
    assert store.verdicts() == [verdict]
    assert [(run.key, run.started) for run in store.runs("demo")] == [("k", True)]
    events = store.events()
    assert [(e["kind"], e["text"], e["numbers"]) for e in events] == [("verdict", "text", {"x": 1.5})]
    assert store.events(after=events[-1]["n"]) == []


def test_at_most_one_rollout_runs_and_one_waits(store, make):
    """A newer rollout takes the place of one that waits, not of one that runs; the same one twice is one."""
    store.put_loop(make.loop())
    first, new = rollouts.add(store, make.rollout(1), approved=True, now_s=0.0)
    assert new
    assert rollouts.add(store, make.rollout(1), approved=True, now_s=0.0) == (first, False)
    kept = rollouts.current(store, "demo")
    rollouts.save(store, kept.number, replace(kept.rollout, state="running"))
    for version in (2, 3):
        rollouts.add(store, make.rollout(version), approved=True, now_s=5.0)
    states = [(k.rollout.version, k.rollout.state) for k in rollouts.listed(store, "demo")]
    assert states == [(1, "running"), (2, "aborted"), (3, "waiting")]
    assert rollouts.current(store, "demo").rollout.version == 1
    assert "version 3 came before it began" in rollouts.listed(store)[1].rollout.history[-1].why


def test_a_version_that_was_rolled_back_may_be_tried_again(store, make):
    """A rollout of a version that failed before is a new one; of one that serves it is the old one."""
    store.put_loop(make.loop())
    rollouts.add(store, make.rollout(1), approved=True, now_s=0.0)
    number = rollouts.current(store, "demo").number
    rollouts.save(store, number, replace(make.rollout(1), state="rolled_back"))
    assert rollouts.add(store, make.rollout(1), approved=True, now_s=0.0)[1]
    number = rollouts.current(store, "demo").number
    rollouts.save(store, number, replace(make.rollout(1), state="done"))
    store.set_serving("demo", 1)
    assert not rollouts.add(store, make.rollout(1), approved=True, now_s=0.0)[1]


def test_a_failed_block_writes_nothing(store, make):
    """A transaction that raises leaves no trace, nested writes included."""

    def fail():
        with store.write():
            store.put_loop(make.loop())
            raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError, match="in the middle"):
        fail()
    assert store.loops() == {}


def test_threads_do_not_lose_reports(store, make):
    """Eight threads write at once; every report is there."""

    def write(i):
        for window in range(10):
            report = make.report("n1", window * 3600, boot=f"b{i}", counts=make.counts(1))
            store.take(make.delivery("n1", report), [report], wall_s=0.0)

    threads = [threading.Thread(target=write, args=(i,)) for i in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert _sums(store) == {(1, "n1"): (80, 0, 0)}


def test_sqlite_is_durable(url):
    """The database runs with a write-ahead log and synchronous=FULL, so a commit is on disk."""
    with Store(url).engine.connect() as connection:
        assert connection.execute(sa.text("PRAGMA journal_mode")).scalar() == "wal"
        assert connection.execute(sa.text("PRAGMA synchronous")).scalar() == 2


def test_other_databases_are_refused():
    """A URL of a database that is neither SQLite nor PostgreSQL is refused by name."""
    with pytest.raises(ValueError, match="expected a sqlite or postgresql URL, got mysql"):
        Store("mysql://localhost/fleet")
