"""Asks for the runs of `retrain.schedule`: one when the cron rule has fallen due since the loop last got a run or a version.

A due time is asked for once, with itself as the evidence, so its key is the same whichever service asks. Where several have
gone by, only the newest counts. One that the trigger refuses is passed over: it says why (a run is active or just was, the
budget is spent), and the next due time comes. While a rollout is unfinished nothing is asked for; the due time keeps.
"""

from __future__ import annotations

from datetime import UTC, datetime

from edgeloop_contracts import Loop, RunRequest, run_key
from edgeloop_contracts.schedule import due
from edgeloop_fleet import rollouts
from edgeloop_fleet.ports import Trigger
from edgeloop_fleet.store import Store
from edgeloop_fleet.tick import BY, Timeline, ask

__all__ = ["Scheduling"]


class Scheduling:
    """The schedule's hands: reads from the store when a run was last started, asks the trigger."""

    def __init__(self, store: Store, trigger: Trigger, timeline: Timeline) -> None:
        self._store, self._trigger, self._timeline = store, trigger, timeline

    def look(self, loop: Loop, now_s: float) -> None:
        """Fires at most one request. Nothing while no version serves. CronError when the rule cannot be read."""
        version = self._store.serving(loop.name) if loop.retrain.schedule else None
        if version is None or rollouts.current(self._store, loop.name) is not None:
            return
        due_s = self._due_s(loop, version, now_s)
        if due_s is not None:
            ask(self._store, self._trigger, self._timeline, _request(loop, version, due_s, now_s))

    def _due_s(self, loop: Loop, version: int, now_s: float) -> int | None:
        served_s = rollouts.served_since_s(self._store, loop.name, version)
        if served_s is None:
            return None
        runs = self._store.runs(loop.name)
        last_s = max([served_s, *(run.at_s for run in runs if run.started and run.at_s <= now_s)])
        due_s = due(loop.retrain.schedule, last_s, now_s)
        asked = {run.evidence for run in runs if run.cause == "schedule"}
        return None if due_s in asked else due_s


def _request(loop: Loop, version: int, due_s: int, now_s: float) -> RunRequest:
    when = datetime.fromtimestamp(due_s, UTC).strftime("%Y-%m-%d %H:%M UTC")
    return RunRequest(
        loop=loop.name,
        key=run_key(loop.name, version, "schedule", due_s),
        cause="schedule",
        version=version,
        evidence=due_s,
        requested_s=now_s,
        by=BY,
        reason=f"schedule {loop.retrain.schedule} fell due at {when}",
    )
