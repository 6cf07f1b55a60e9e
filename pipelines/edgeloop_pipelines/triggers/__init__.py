"""Starts pipeline runs for everybody who may ask: the judge, schedules, REST and the command line alike.

`Triggers` puts the parts together: the policy decides, the ledger remembers and keeps two services from starting the same,
a starter does it. It also looks after what it has started: a run whose process died is started again under its key, three
times at most, by the one service that holds its lease.
"""

from __future__ import annotations

import functools
import os
import socket
import time
from collections.abc import Callable
from dataclasses import dataclass, field, replace

from edgeloop_contracts import Loop, RunRequest
from edgeloop_contracts.schedule import due
from edgeloop_fleet.ports import Decision
from edgeloop_pipelines.triggers.ledger import Entry, Ledger
from edgeloop_pipelines.triggers.policy import decide
from edgeloop_pipelines.triggers.starters import KfpStarter, LocalStarter, Starter, StarterError, starter_from

__all__ = [
    "LEASE_S",
    "MOST_TRIES",
    "KfpStarter",
    "Ledger",
    "LocalStarter",
    "StarterError",
    "Triggers",
    "due",
    "starter_from",
]

LEASE_S, MOST_TRIES = 30.0, 3


def _me() -> str:
    return f"{socket.gethostname()}/{os.getpid()}/{time.time_ns()}"


@dataclass
class Triggers:
    """The `edgeloop_fleet.ports.Trigger` of every platform. `loop_of` gives a loop by name, None for an unknown one."""

    ledger: Ledger
    starter: Starter
    loop_of: Callable[[str], Loop | None]
    wall_s: Callable[[], float] = time.time
    owner: str = field(default_factory=_me)

    def fire(self, request: RunRequest) -> Decision:
        """Starts the run, or says why not. A starter that fails now is tried again by `active`."""
        loop = self.loop_of(request.loop)
        if loop is None:
            return Decision(False, f"loop {request.loop} is not known")
        self.active(request.loop)  # what has ended meanwhile holds nothing up
        now_s = self.wall_s()
        request = replace(request, requested_s=request.requested_s or now_s)
        judge = functools.partial(decide, request, retrain=loop.retrain, now_s=request.requested_s)
        decision = self.ledger.claim(request, loop, judge, owner=self.owner, until_s=now_s + LEASE_S, now_s=now_s)
        if decision.started:
            self._start(request, loop)
        return decision

    def active(self, loop: str) -> tuple[str, ...]:
        """The keys of the loop's runs that have not ended; on the way, notes those that have and revives the dead."""
        return tuple(entry.key for entry in self.ledger.entries(loop, active=True) if not self._settled(entry))

    def _start(self, request: RunRequest, loop: Loop) -> None:
        try:
            self.starter.start(request, loop)
        except StarterError:
            return  # it is seen as dead at the next look, and tried again
        self.ledger.running(request.key)

    def _settled(self, entry: Entry) -> bool:
        """Whether the run has ended. One that is dead is started again by whoever gets its lease."""
        try:
            seen = self.starter.look(entry.request)
        except StarterError:
            return False  # nothing can be told now: it counts as active
        if seen.state == "running":
            self._renew(entry, again=False)
            return False
        if seen.state == "dead" and entry.tries < MOST_TRIES:
            mine = self._renew(entry, again=True)
            if mine is not None:
                self._start(entry.request, entry.loop)
            return False
        state = "failed" if seen.state == "dead" else seen.state
        why = f"it died {entry.tries} times; {seen.why}" if seen.state == "dead" else seen.why
        self.ledger.finish(entry.key, state, why, now_s=self.wall_s())
        return True

    def _renew(self, entry: Entry, *, again: bool) -> Entry | None:
        now_s = self.wall_s()
        return self.ledger.lease(entry, owner=self.owner, until_s=now_s + LEASE_S, now_s=now_s, again=again)
