"""The ledger, and two services that race for it: real processes on one SQLite file."""

from __future__ import annotations

import subprocess
import sys
import textwrap
from pathlib import Path

import pytest

from edgeloop_contracts import Loop, RunRequest, from_json
from edgeloop_fleet.ports import Decision
from edgeloop_pipelines.triggers.ledger import Ledger

NOW = 1000.0
LOOP = from_json(
    Loop,
    {
        "apiVersion": "edgeloop.dev/v1alpha1",
        "kind": "Loop",
        "metadata": {"name": "turbine"},
        "data": {"source": "rows.csv", "label": "y", "features": ["x"]},
        "train": {"estimator": "sklearn.linear_model.LogisticRegression"},
        "targets": [{"name": "cabinet", "nodes": {"group": "cabinets"}}],
    },
)


def ask(key: str, loop: str = "turbine") -> RunRequest:
    return RunRequest(loop=loop, key=key, cause="drift", requested_s=NOW)


def claim(ledger: Ledger, key: str, owner: str = "a") -> Decision:
    yes = Decision(True, "drift")
    return ledger.claim(ask(key), LOOP, lambda _: yes, owner=owner, until_s=NOW + 30, now_s=NOW)


@pytest.fixture
def ledger(tmp_path: Path) -> Ledger:
    return Ledger(f"sqlite:///{tmp_path / 'fleet.db'}")


def test_a_row_comes_back_as_it_was_written(ledger: Ledger) -> None:
    """Request and loop survive the table, so that another service can start the run again."""
    assert claim(ledger, "one").started
    (entry,) = ledger.entries("turbine")
    assert (entry.request, entry.loop, entry.state, entry.tries) == (ask("one"), LOOP, "starting", 1)


def test_a_key_and_a_loop_are_taken_once(ledger: Ledger) -> None:
    """Even when the policy says yes, the second run of an active loop, and a key that ran, are refused by the table."""
    assert claim(ledger, "one").started
    assert not claim(ledger, "two").started
    assert ledger.finish("one", "succeeded", "", now_s=NOW + 1)
    assert not claim(ledger, "one").started
    assert claim(ledger, "two").started


def test_a_run_ends_once(ledger: Ledger) -> None:
    """The first end stays; a late one changes nothing."""
    claim(ledger, "one")
    assert ledger.finish("one", "failed", "out of disk", now_s=NOW + 1)
    assert not ledger.finish("one", "succeeded", "", now_s=NOW + 2)
    (entry,) = ledger.entries("turbine")
    assert (entry.state, entry.why, entry.finished_s) == ("failed", "out of disk", NOW + 1)
    assert ledger.entries("turbine", active=True) == []


def test_a_lease_is_taken_when_it_has_run_out(ledger: Ledger) -> None:
    """While it runs nobody else gets it; after that the first who asks does, and counts the try once."""
    claim(ledger, "one", owner="a")
    (entry,) = ledger.entries("turbine")
    assert ledger.lease(entry, owner="b", until_s=NOW + 90, now_s=NOW + 20, again=True) is None
    assert ledger.lease(entry, owner="b", until_s=NOW + 90, now_s=NOW + 31, again=True) is not None
    assert ledger.lease(entry, owner="c", until_s=NOW + 200, now_s=NOW + 100, again=True) is None, "the row has changed"
    assert ledger.entries("turbine")[0].tries == 2


RACER = """
import sys, time
sys.path[:0] = {path!r}
from edgeloop_contracts import Loop, RunRequest, loads
from edgeloop_fleet.ports import Decision
from edgeloop_pipelines.triggers.ledger import Ledger
url, owner, loop_file, start_s = sys.argv[1:]
loop, ledger = loads(Loop, open(loop_file).read()), Ledger(url)
yes = lambda _: Decision(True, "drift")
while time.time() < float(start_s): pass
won = []
for i in range(40):
    same, own = (RunRequest(loop="loop-%d" % i, key=k, cause="drift") for k in ("same-%d" % i, "%s-%d" % (owner, i)))
    request = same if i % 2 else own  # the same key, or two keys of one loop
    if ledger.claim(request, loop, yes, owner=owner, until_s=1, now_s=0).started: won.append(i)
print(*won)
"""


def test_two_processes_start_each_run_once(tmp_path: Path) -> None:
    """Two services that fire at the same moment, with one key or with two keys of one loop: exactly one of them starts."""
    import time

    from edgeloop_contracts import dumps

    (tmp_path / "loop.json").write_text(dumps(LOOP))
    code = textwrap.dedent(RACER).format(path=[p for p in sys.path if p])
    start_s = str(time.time() + 1.5)
    racers = [
        subprocess.Popen(
            [
                sys.executable,
                "-c",
                code,
                f"sqlite:///{tmp_path / 'fleet.db'}",
                owner,
                str(tmp_path / "loop.json"),
                start_s,
            ],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        for owner in "ab"
    ]
    outputs = [racer.communicate(timeout=60) for racer in racers]
    assert [racer.returncode for racer in racers] == [0, 0], outputs
    won = [set(map(int, out.split())) for out, _ in outputs]
    assert won[0] | won[1] == set(range(40))
    assert not won[0] & won[1]
