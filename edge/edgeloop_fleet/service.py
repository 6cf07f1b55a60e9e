"""The fleet service without HTTP: takes deliveries, rollouts and requests, and ticks.

Every method may be called from any thread. What it answers is plain values or contracts; what it refuses, it refuses with
`RefusedError`, which names where, expected and got. It does no networking of its own: the ports do.
"""

from __future__ import annotations

import logging
import threading
import time
from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgeloop_contracts import (
    Acknowledged,
    Acknowledgement,
    Delivery,
    Loop,
    ModelVersion,
    Problem,
    Reference,
    Report,
    Rollout,
    RunRequest,
    groups_of,
)
from edgeloop_contracts.ecdsa import PublicKey, SignatureError
from edgeloop_contracts.signature import check_image
from edgeloop_fleet import checks, rollouts
from edgeloop_fleet.clocks import ReportClock, WallClock
from edgeloop_fleet.controller.reconcile import Hands
from edgeloop_fleet.ports import Decision, Trigger
from edgeloop_fleet.scheduling import Scheduling
from edgeloop_fleet.settings import Settings
from edgeloop_fleet.store import Store
from edgeloop_fleet.tick import Judging, Rolling, Timeline, ask

__all__ = ["Fleet", "RefusedError", "Taken"]

log = logging.getLogger("edgeloop.fleet")


class RefusedError(ValueError):
    """Something was asked that cannot be. `status` is the HTTP status that says so."""

    def __init__(self, status: int, error: str, problem: Problem) -> None:
        self.status, self.error, self.problem = status, error, problem
        super().__init__(f"{error}: {problem}")


@dataclass(frozen=True)
class Taken:
    """What became of a delivery: what is stored, and what was refused, each with the reason."""

    acknowledgement: Acknowledgement
    refused: tuple[tuple[Report, Problem], ...] = ()


def _acknowledged(report: Report) -> Acknowledged:
    return Acknowledged(
        loop=report.loop,
        boot=report.boot,
        window_start_s=report.window_start_s,
        version=report.version,
        schema_hash=report.schema_hash,
        sequence=report.sequence,
    )


class Fleet:
    """Store, ports and clock, and what is done with them."""

    def __init__(self, store: Store, settings: Settings, trigger: Trigger, hands: Hands) -> None:
        self.store, self.settings, self.trigger, self.hands = store, settings, trigger, hands
        self.clock = WallClock() if settings.clock == "wall" else ReportClock(store.newest_s())
        self.timeline = Timeline(store, self.clock)
        self.metrics: Counter[str] = Counter()
        self._judging = Judging(store, trigger, self.timeline)
        self._rolling = Rolling(store, settings, hands, self.timeline)
        self._scheduling = Scheduling(store, trigger, self.timeline)
        self._ticking = threading.Lock()
        self._loops, self._references = store.loops(), store.references()

    # ---- what nodes send

    def take(self, delivery: Delivery) -> Taken:
        """Stores a delivery; when this returns what it acknowledges is on disk. `RefusedError` when it is forged or broken."""
        problems = checks.problems_in_delivery(delivery, self.settings.max_reports)
        good, bad = self._sorted(delivery, problems)
        if problems:
            self.metrics["deliveries_refused"] += 1
            raise RefusedError(400, "Delivery", problems[0])
        self.store.take(delivery, good, wall_s=time.time())
        if isinstance(self.clock, ReportClock) and good:
            self.clock.advance(max(report.window_end_s for report in good))
        self.metrics["deliveries"] += 1
        self.metrics["reports"] += len(good)
        self.metrics["reports_refused"] += len(bad)
        return Taken(Acknowledgement(node=delivery.node, reports=tuple(map(_acknowledged, good))), tuple(bad))

    def _sorted(self, delivery: Delivery, problems: list[Problem]) -> tuple[list[Report], list[tuple[Report, Problem]]]:
        good, bad = [], []
        latest_s = time.time() + self.settings.max_future_s if self.settings.clock == "wall" else float("inf")
        for i, report in enumerate(delivery.reports):
            reference = self._references.get((report.loop, report.version))
            why = checks.refusal(report, self._loops, reference, latest_s)
            if why:
                bad.append((report, replace(why, path=f"reports[{i}].{why.path}")))
                continue
            assert reference is not None
            problems += checks.problems_in_window(f"reports[{i}].", report, reference)
            problems += checks.problems_in_counts(f"reports[{i}].counts", report.counts, reference)
            good.append(report)
        return good, bad

    # ---- what pipelines and people send

    def put_loop(self, loop: Loop) -> None:
        self.store.put_loop(loop)
        self._loops = self.store.loops()

    def _loop(self, name: str) -> Loop:
        if name not in self._loops:
            known = ", ".join(self._loops) or "none yet"
            raise RefusedError(
                404, "Loop", Problem("loop", "a loop that was posted to /v1/loops", name, f"known: {known}")
            )
        return self._loops[name]

    def put_rollout(self, rollout: Rollout, version: ModelVersion, reference: Reference) -> tuple[Rollout, bool]:
        """Takes a rollout in. Gives the one that is stored, and whether it is new. `RefusedError` when it cannot be done."""
        loop = self._loop(rollout.loop)
        problem = _rollout_problem(loop, rollout, version, reference)
        if problem:
            raise RefusedError(400, "Rollout", problem)
        if problem := _unsigned(rollout, self.settings.trusted):
            raise RefusedError(403, "Rollout", problem)
        with self.store.write():
            self.store.put_version(version, reference, rollout.packages)
            approved = loop.rollout.approval == "auto"
            stored, new = rollouts.add(self.store, rollout, approved=approved, now_s=self.clock.now_s())
            if new:
                text = f"version {rollout.version} is ready" + ("" if approved else "; it waits for approval")
                self.timeline.add(loop.name, "rollout", text)
        self._references = self.store.references()
        return stored, new

    def approve(self, loop: str, version: int) -> None:
        """Lets a waiting rollout begin. `RefusedError` when there is none."""
        self._loop(loop)
        if not rollouts.approve(self.store, loop, version):
            raise RefusedError(404, "Rollout", Problem("version", "the version of a rollout that waits", str(version)))
        self.timeline.add(loop, "rollout", f"version {version} is approved")

    def put_run(self, request: RunRequest) -> Decision:
        """Asks the trigger for a run, by hand."""
        self._loop(request.loop)
        now_s = self.clock.now_s()
        stamped = request if request.requested_s else replace(request, requested_s=now_s)
        return ask(self.store, self.trigger, self.timeline, stamped)

    # ---- the clock's hand

    def tick(self) -> dict[str, Any]:
        """Judges and steps now: for each loop its rollout, its verdicts, its schedule. Trouble in one stops no other."""
        with self._ticking:
            now_s = self.clock.now_s()
            for loop in self._loops.values():
                self._tick_loop(loop, now_s)
            self.metrics["ticks"] += 1
        unfinished = [kept for name in self._loops if (kept := rollouts.current(self.store, name))]
        return {
            "now_s": now_s,
            "active_runs": [key for name in self._loops for key in self.trigger.active(name)],
            "rollouts": [
                {"loop": k.rollout.loop, "version": k.rollout.version, "state": k.rollout.state, "approved": k.approved}
                for k in unfinished
            ],
        }

    def _tick_loop(self, loop: Loop, now_s: float) -> None:
        parts = (
            ("rollout", self._rolling.step),
            ("judge", self._judging.judge),
            ("schedule", self._scheduling.look),  # after the judge: a run that it has started is the scheduled one too
        )
        for part, act in parts:
            try:
                act(loop, now_s)
                self.timeline.settle(loop.name, part)
            except Exception as error:  # a broken port or loop must not stop the fleet; it is told once
                log.exception("%s of loop %s failed", part, loop.name)
                self.metrics["tick_errors"] += 1
                self.timeline.trouble(loop.name, part, f"{type(error).__name__}: {error}")


def _unsigned(rollout: Rollout, trusted: Sequence[PublicKey]) -> Problem | None:
    """The first image of a rollout, new or to go back to, that no trusted key has signed."""
    for field in ("packages", "previous_packages") if trusted else ():
        for target, package in getattr(rollout, field).items():
            try:
                check_image(package.digest, package.signatures, trusted)
            except SignatureError as error:
                return Problem(f"rollout.{field}.{target}", "an image that a trusted key has signed", str(error))
    return None


def _rollout_problem(loop: Loop, rollout: Rollout, version: ModelVersion, reference: Reference) -> Problem | None:
    named = (version.loop, version.number, reference.loop)
    if named != (rollout.loop, rollout.version, rollout.loop):
        got = f"{version.name}, reference of {reference.loop}"
        return Problem("version", f"the version and reference of {rollout.loop}@{rollout.version}", got)
    if version.schema_hash and version.schema_hash != reference.schema_hash:
        return Problem("reference.schema_hash", version.schema_hash, reference.schema_hash)
    targets = {target.nodes.group: target.name for target in loop.targets}
    groups = [group for wave in rollout.waves for group in wave.groups]
    if sorted(groups) != sorted(groups_of(loop)):
        expected = f"each group of the loop in one wave ({', '.join(groups_of(loop))})"
        return Problem("rollout.waves", expected, ", ".join(groups) or "none")
    lacking = [targets[group] for group in groups if targets[group] not in rollout.packages]
    if lacking:
        return Problem("rollout.packages", "a package for every target", f"none for {', '.join(lacking)}")
    return None
