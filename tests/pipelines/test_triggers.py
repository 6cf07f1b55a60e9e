"""`Triggers` over a simulated starter: what it starts, revives and gives up; and the local starter's processes."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest

from edgeloop_contracts import Loop, RunRequest, from_json
from edgeloop_fleet.conformance import trigger_laws
from edgeloop_pipelines.local.runfolder import RunBusyError, RunFolder
from edgeloop_pipelines.triggers import LEASE_S, Ledger, LocalStarter, StarterError, Triggers
from edgeloop_pipelines.triggers.starters import Seen

LOOP = from_json(
    Loop,
    {
        "apiVersion": "edgeloop.dev/v1alpha1",
        "kind": "Loop",
        "metadata": {"name": "turbine"},
        "data": {"source": "rows.csv", "label": "y", "features": ["x"]},
        "train": {"estimator": "sklearn.linear_model.LogisticRegression"},
        "targets": [{"name": "cabinet", "nodes": {"group": "cabinets"}}],
        "retrain": {"cooldown": "0s", "budget": "100/day"},
    },
)
REQUEST = RunRequest(loop="turbine", key="run-1", cause="drift", requested_s=50.0)


@dataclass
class SimulatedStarter:
    """A starter whose runs do what the test says."""

    runs: dict[str, Seen] = field(default_factory=dict)
    started: list[str] = field(default_factory=list)
    down: bool = False

    def start(self, request: RunRequest, loop: Loop) -> None:
        self._answering()
        self.started.append(request.key)
        self.runs[request.key] = Seen("running")

    def look(self, request: RunRequest) -> Seen:
        self._answering()
        return self.runs.get(request.key, Seen("dead", "never seen"))

    def _answering(self) -> None:
        if self.down:
            raise StarterError("no answer")


@dataclass
class Clock:
    now_s: float = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def starter() -> SimulatedStarter:
    return SimulatedStarter()


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def service(tmp_path: Path, starter: SimulatedStarter, clock: Clock) -> Callable[[], Triggers]:
    """Gives one more service on the same database and the same runs."""
    url = f"sqlite:///{tmp_path / 'fleet.db'}"
    return lambda: Triggers(Ledger(url), starter, {"turbine": LOOP}.get, wall_s=clock)


def test_it_keeps_the_laws_of_the_fleets_trigger(service: Callable[[], Triggers]) -> None:
    """The conformance suite that the fleet service holds every trigger to."""
    trigger_laws(service(), "turbine")


def test_a_run_starts_ends_and_leaves_room(service: Callable[[], Triggers], starter: SimulatedStarter) -> None:
    """While it runs another is refused; once it has ended the next starts."""
    triggers = service()
    assert triggers.fire(REQUEST).started
    assert triggers.active("turbine") == ("run-1",)
    assert "is active" in triggers.fire(replace(REQUEST, key="run-2")).why
    starter.runs["run-1"] = Seen("rejected")
    assert triggers.active("turbine") == ()
    assert triggers.fire(replace(REQUEST, key="run-2", requested_s=51.0)).started
    assert starter.started == ["run-1", "run-2"]


def test_the_same_request_starts_nothing_twice(service: Callable[[], Triggers], starter: SimulatedStarter) -> None:
    """Neither at once nor after the run has ended, nor from another service."""
    assert service().fire(REQUEST).started
    assert "run-1 was started before and is running" in service().fire(REQUEST).why
    starter.runs["run-1"] = Seen("succeeded")
    assert "is succeeded" in service().fire(REQUEST).why
    assert starter.started == ["run-1"]


def test_an_unknown_loop_is_refused(service: Callable[[], Triggers]) -> None:
    """Nothing is started for a loop that nobody has submitted."""
    assert service().fire(replace(REQUEST, loop="other")).why == "loop other is not known"


def test_a_dead_run_is_revived_three_times_in_all(service: Callable[[], Triggers], starter: SimulatedStarter) -> None:
    """Started under the same key again while it keeps dying; after the third time it has failed, with the reason."""
    triggers = service()
    triggers.fire(REQUEST)
    for tries in (2, 3):
        starter.runs["run-1"] = Seen("dead", "killed")
        assert triggers.active("turbine") == ("run-1",)
        assert starter.started == ["run-1"] * tries
    starter.runs["run-1"] = Seen("dead", "killed")
    assert triggers.active("turbine") == ()
    (entry,) = triggers.ledger.entries("turbine")
    assert (entry.state, entry.why) == ("failed", "it died 3 times; killed")


def test_another_service_revives_only_after_the_lease(
    service: Callable[[], Triggers], starter: SimulatedStarter, clock: Clock
) -> None:
    """The service that started a run looks after it; when it is gone, its lease runs out and another one takes over."""
    service().fire(REQUEST)
    starter.runs["run-1"] = Seen("dead", "killed")
    other = service()
    assert other.active("turbine") == ("run-1",)
    assert starter.started == ["run-1"]
    clock.now_s += LEASE_S + 1
    assert other.active("turbine") == ("run-1",)
    assert starter.started == ["run-1", "run-1"]


def test_a_starter_that_does_not_answer_costs_no_try(
    service: Callable[[], Triggers], starter: SimulatedStarter
) -> None:
    """What cannot be told counts as active; when the starter is back, the run is started."""
    triggers, starter.down = service(), True
    assert triggers.fire(REQUEST).started
    assert [triggers.active("turbine") for _ in range(5)] == [("run-1",)] * 5
    starter.down = False
    assert triggers.active("turbine") == ("run-1",)
    assert starter.started == ["run-1"]


def test_failures_double_the_pause(service: Callable[[], Triggers], starter: SimulatedStarter) -> None:
    """What the policy says of failed runs holds through the ledger: 600 s after one failure, with no cooldown."""
    triggers = service()
    triggers.fire(REQUEST)
    starter.runs["run-1"] = Seen("failed", "out of disk")
    assert "the last 1 run(s) failed" in triggers.fire(replace(REQUEST, key="run-2", requested_s=649.0)).why
    assert triggers.fire(replace(REQUEST, key="run-2", requested_s=650.0)).started


HOLDER = """
import sys, time
from pathlib import Path
from edgeloop_fleet.conformance import trigger_laws
from edgeloop_pipelines.local.runfolder import RunFolder
with RunFolder(Path(sys.argv[1]), sys.argv[2]).held():
    print("held", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def holder(tmp_path: Path) -> subprocess.Popen[str]:
    """A process that holds the lock of run `r`."""
    process = subprocess.Popen(
        [sys.executable, "-c", HOLDER, str(tmp_path), "r"], stdout=subprocess.PIPE, text=True, start_new_session=True
    )
    assert process.stdout is not None
    assert process.stdout.readline() == "held\n"
    yield process  # type: ignore[misc]
    process.kill()
    process.communicate()


def test_a_runs_lock_goes_with_its_process(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    """While the process lives nobody else gets the run, and its name is told; after SIGKILL the run is free."""
    folder = RunFolder(tmp_path, "r")
    assert folder.alive()
    with pytest.raises(RunBusyError, match=f"process {holder.pid}"), folder.held():
        pass
    holder.send_signal(signal.SIGKILL)
    holder.wait()
    assert not folder.alive()
    with folder.held():
        assert folder.alive()


def test_stopping_reaches_the_process(tmp_path: Path, holder: subprocess.Popen[str]) -> None:
    """`stop` ends whoever holds the run, and says when there is nobody."""
    starter = LocalStarter(tmp_path)
    assert starter.stop() == ["r"]
    assert holder.wait(5) == -signal.SIGTERM
    assert starter.stop() == []


def test_a_started_process_is_seen_from_its_first_moment(tmp_path: Path) -> None:
    """The child has the lock when `start` returns; killed, it is dead; there is no moment in which it looks dead before."""
    starter = LocalStarter(tmp_path, {"AWS_ENDPOINT_URL_S3": "http://127.0.0.1:9"})
    starter.start(REQUEST, LOOP)
    assert starter.look(REQUEST) == Seen("running")
    starter.start(REQUEST, LOOP)  # it runs: nothing happens
    (pid,) = (child.pid for child in starter._children.values())
    os.killpg(pid, signal.SIGKILL)
    end = time.monotonic() + 5
    while starter.look(REQUEST).state == "running" and time.monotonic() < end:
        time.sleep(0.01)
    assert starter.look(REQUEST).state == "dead"


def test_a_result_ends_a_run_for_good(tmp_path: Path) -> None:
    """A run with a result is not started again, and its state is the result's."""
    folder = RunFolder(tmp_path, REQUEST.key)
    folder.path.mkdir(parents=True)
    folder.write_result({"state": "failed", "error": "out of disk"})
    starter = LocalStarter(tmp_path)
    starter.start(REQUEST, LOOP)
    assert starter.look(REQUEST) == Seen("failed", "out of disk")
    assert not folder.alive()
