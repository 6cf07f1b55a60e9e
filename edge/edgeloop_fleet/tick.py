"""What one tick does for one loop: steps its rollout, judges its serving version, and asks for a run where one is due.

It reads from the store, calls the pure parts, acts through the ports, and writes down what came of it. The timeline gets a
line when something has changed, and not otherwise.
"""

from __future__ import annotations

import re
import time
from collections.abc import Mapping, Sequence
from dataclasses import replace

from edgeloop_contracts import Loop, Rollout, RunRequest, Verdict, groups_of, run_key
from edgeloop_fleet import rollouts
from edgeloop_fleet.controller.gate import Evidence
from edgeloop_fleet.controller.reconcile import Hands, reconcile, started_from
from edgeloop_fleet.controller.step import Policy, Scene, current_wave, touched
from edgeloop_fleet.evidence import Blocks, side
from edgeloop_fleet.judge.blocks import block_s
from edgeloop_fleet.judge.judge import Case, judge
from edgeloop_fleet.ports import Clock, Decision, NodeState, Observed, Trigger
from edgeloop_fleet.settings import Settings
from edgeloop_fleet.store import Store

__all__ = ["Judging", "Rolling", "Timeline", "ask"]

BY = "fleet"
_KINDS = {"wave": "wave", "settled": "wave", "passed": "wave", "failed": "wave", "rolling_back": "rollout"}


class Timeline:
    """Writes lines to the timeline, and trouble that lasts only once."""

    def __init__(self, store: Store, clock: Clock) -> None:
        self._store, self._clock = store, clock
        self._told: dict[tuple[str, str], str] = {}

    def add(self, loop: str, kind: str, text: str, numbers: Mapping[str, float] | None = None) -> None:
        self._store.add_event(loop, kind, text, at_s=self._clock.now_s(), wall_s=time.time(), numbers=numbers)

    def once(self, loop: str, kind: str, text: str, numbers: Mapping[str, float] | None = None) -> None:
        """Adds a line, unless it is the last one of its kind again; numbers in it that only count on do not make it new."""
        plain = re.sub(r"\d+", "#", text)
        if self._told.get((loop, kind)) != plain:
            self._told[loop, kind] = plain
            self.add(loop, kind, text, numbers)

    def trouble(self, loop: str, part: str, text: str) -> None:
        """Something does not work: told when it begins or changes."""
        self.once(loop, f"trouble/{part}", text)

    def settle(self, loop: str, part: str) -> None:
        """It works (again): told when there was trouble before."""
        if self._told.pop((loop, f"trouble/{part}"), None) is not None:
            self.add(loop, f"trouble/{part}", "works again")


def ask(store: Store, trigger: Trigger, timeline: Timeline, request: RunRequest) -> Decision:
    """Fires a request, writes down what became of it, and tells it."""
    decision = trigger.fire(request)
    started = decision.started or request.key in decision.why  # it was started, but we died before we wrote it down
    store.put_run(request, started=started, why=decision.why)
    numbers = {"version": float(request.version), "evidence_s": float(request.evidence)}
    if started:
        timeline.add(request.loop, "run_requested", f"run {request.key} ({request.cause}): {decision.why}", numbers)
    else:
        timeline.once(request.loop, "run_refused", f"no run for {request.cause}: {decision.why}", numbers)
    return decision


class Judging:
    """The judge's hands: keeps the sums of the serving versions, stores verdicts, asks for runs."""

    def __init__(self, store: Store, trigger: Trigger, timeline: Timeline) -> None:
        self._store, self._trigger, self._timeline = store, trigger, timeline
        self._blocks: dict[tuple[str, int, int], Blocks] = {}

    def judge(self, loop: Loop, now_s: float) -> None:
        """Stores the verdicts on the serving version; fires at most one request. Nothing while no version is promoted."""
        case = self._case(loop, now_s)
        if case is None:
            return
        verdicts, before = judge(case), self._store.verdicts(loop.name)
        if [timeless(v) for v in verdicts] != [timeless(v) for v in before]:
            self._store.put_verdicts(loop.name, verdicts)
            self._tell(loop.name, before, verdicts)
        if rollouts.current(self._store, loop.name) is None:
            self._ask(verdicts[0], now_s)

    def _case(self, loop: Loop, now_s: float) -> Case | None:
        version = self._store.serving(loop.name)
        reference = self._store.reference(loop.name, version) if version else None
        if version is None or reference is None:
            return None
        place = (loop.name, version, block_s(loop))
        if place not in self._blocks:
            self._blocks = {key: kept for key, kept in self._blocks.items() if key[0] != loop.name}
            self._blocks[place] = Blocks(self._store, loop.name, version, reference, place[2])
        armed_s = max((run.at_s for run in self._store.runs(loop.name) if run.started), default=0.0)
        blocks = self._blocks[place].read()
        return Case(loop=loop, version=version, reference=reference, blocks=blocks, now_s=now_s, armed_s=armed_s)

    def _tell(self, loop: str, before: Sequence[Verdict], after: Sequence[Verdict]) -> None:
        old = {v.scope: (v.version, v.judgement) for v in before}
        for verdict in after:
            if old.get(verdict.scope) != (verdict.version, verdict.judgement):
                kind = "verdict" if verdict.scope == "fleet" else "quality"
                self._timeline.add(loop, kind, f"{verdict.judgement}: {verdict.sentence}", verdict.numbers)
        for scope in old.keys() - {v.scope for v in after}:
            self._timeline.add(loop, "quality", f"{scope}: the data is in order again")

    def _ask(self, verdict: Verdict, now_s: float) -> None:
        if verdict.cause is None:
            return
        evidence = verdict.window_start_s if verdict.cause != "drift" else 0  # drift: one run a version
        key = run_key(verdict.loop, verdict.version, verdict.cause, evidence)
        if any(run.key == key and run.started for run in self._store.runs(verdict.loop)):
            return
        request = RunRequest(
            loop=verdict.loop,
            key=key,
            cause=verdict.cause,
            version=verdict.version,
            evidence=verdict.window_start_s,
            requested_s=now_s,
            by=BY,
            reason=verdict.sentence,
        )
        ask(self._store, self._trigger, self._timeline, request)


def timeless(verdict: Verdict) -> tuple[object, ...]:
    """A verdict without the time at which it was reached."""
    v = verdict
    return (v.version, v.scope, v.judgement, v.sentence, dict(v.numbers), v.window_start_s, v.window_end_s, v.cause)


class Rolling:
    """The controller's hands: sees, steps, acts, saves."""

    def __init__(self, store: Store, settings: Settings, hands: Hands, timeline: Timeline) -> None:
        self._store, self._settings, self._hands, self._timeline = store, settings, hands, timeline

    def step(self, loop: Loop, now_s: float) -> None:
        """One step of the loop's rollout, if there is one. OSError when a port is not there; then nothing has changed."""
        kept = rollouts.current(self._store, loop.name)
        if kept is None:
            return
        serving = self._store.serving(loop.name)
        packages = self._store.packages(loop.name, serving) if serving else {}
        rollout = started_from(kept.rollout, serving, packages)
        stepped = reconcile(loop, rollout, self._scene(loop, rollout, kept.approved, now_s), self._hands)
        if stepped != kept.rollout:
            self._save(kept, stepped)

    def _save(self, kept: rollouts.Kept, stepped: Rollout) -> None:
        with self._store.write():
            if stepped.state == "done":
                self._store.set_serving(stepped.loop, stepped.version)
            rollouts.save(self._store, kept.number, stepped)
            for event in stepped.history[len(kept.rollout.history) :]:
                kind = _KINDS.get(event.event, event.event)
                self._timeline.add(stepped.loop, kind, event.why, {"version": float(stepped.version)})

    def _scene(self, loop: Loop, rollout: Rollout, approved: bool, now_s: float) -> Scene:
        policy = Policy(
            targets={target.nodes.group: target.name for target in loop.targets},
            approved=approved,
            deadline_s=self._settings.deploy_deadline_s,
            max_failed_share=self._settings.max_failed_share,
        )
        evidence = self._evidence(rollout)
        return Scene(observed=self._observed(loop), policy=policy, now_s=now_s, evidence=evidence)

    def _observed(self, loop: Loop) -> Observed:
        wall_s = time.time()
        nodes = {}
        for row in self._store.nodes():
            mine = [x for x in row["loaded"] if x["loop"] == loop.name and x["ready"]]
            nodes[row["node"]] = NodeState(
                node=row["node"],
                group=row["group"],
                versions=tuple(x["version"] for x in mine),
                images=tuple(x["image"] for x in mine),
                reachable=wall_s - row["seen_s"] <= self._settings.node_timeout_s,
            )
        groups = self._hands.cluster.observe(loop.name, groups_of(loop))
        return Observed(groups=groups, nodes=nodes, wall_s=wall_s)

    def _evidence(self, rollout: Rollout) -> Evidence:
        i = current_wave(rollout)
        reference = self._store.reference(rollout.loop, rollout.version)
        if rollout.state != "running" or i is None or reference is None or rollout.waves[i].state != "soaking":
            return Evidence()
        wave, since_s = rollout.waves[i].groups, rollout.waves[i].settled_s or 0.0
        mine = side(self._store, reference, rollout.version, since_s=since_s, is_member=lambda g: g in wave)
        found = Evidence(
            wave=mine,
            accuracy=reference.accuracy,
            accuracy_rows=reference.accuracy_rows,
            design_effect=reference.error_design_effect,
            window_s=reference.window_s,
        )
        return self._with_rest(found, rollout, since_s)

    def _with_rest(self, found: Evidence, rollout: Rollout, since_s: float) -> Evidence:
        old = self._store.reference(rollout.loop, rollout.previous) if rollout.previous else None
        if old is None or rollout.previous is None:
            return found
        gone = touched(rollout)
        rest = side(self._store, old, rollout.previous, since_s=since_s, is_member=lambda g: g not in gone)
        return replace(found, rest=rest)
