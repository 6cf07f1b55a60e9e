"""Conducts the loop's life on the running platform: the first version, then the stream, step by step, and what it causes.

The loop itself is in the fleet service, the pipelines and the nodes; here is only the world around them: rows that come, labels
that come later, and time. Time is the stream's: while a run is active or a rollout is being deployed the stream waits, since
seconds of work would else cost weeks of rows (real time is about 100,000 times slower). Soaking passes by streaming.
"""

from __future__ import annotations

import math
import time
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from edgeloop_contracts import Loop, RunRequest, run_key, to_json, units
from edgeloop_pipelines.demo import chaos
from edgeloop_pipelines.demo.fleet import FleetClient
from edgeloop_pipelines.demo.live import Live
from edgeloop_pipelines.demo.prepared import Prepared, steps_of
from edgeloop_pipelines.demo.stream import Stream, parquet, recent_accuracy, run_step
from edgeloop_pipelines.local.platform import Platform, PlatformError
from edgeloop_pipelines.local.runfolder import RunFolder

__all__ = ["DemoError", "World", "commission", "last_start", "play"]

WORK_LIMIT_S = 600.0  # for a run, or for a wave to settle
TICK_S = 0.1
BUSY = ("pending", "deploying")


class DemoError(RuntimeError):
    """The demo cannot go on; the message says why and where the logs are."""


@dataclass
class World:
    """Everything that the demo holds on to while it runs."""

    platform: Platform
    prepared: Prepared
    loop: Loop
    fleet: FleetClient
    stream: Stream
    live: Live
    kills: list[chaos.Kill] = field(default_factory=list)
    killed: list[dict[str, Any]] = field(default_factory=list)
    timeline: list[dict[str, Any]] = field(default_factory=list)
    seen: int = 0  # number of the newest event of the fleet that was fetched
    active: set[str] = field(default_factory=set)  # runs under way
    at_s: float = 0.0
    step: int = -1
    waited_s: float = 0.0

    def show_events(self) -> None:
        """Fetches and shows what the fleet has written since the last time."""
        new = self.fleet.get("/v1/events", after=self.seen)["events"]
        self.seen = max((event["n"] for event in new), default=self.seen)
        self.timeline += new
        self.live.events(new)

    def show_ended(self, active: Iterable[str]) -> None:
        """Shows how the runs ended that were under way and are no more."""
        for key in sorted(self.active - set(active)):
            result = RunFolder(self.platform.home, key).result()
            if result is not None:
                event = {
                    "at_s": self.at_s,
                    "wall_s": time.time(),
                    "kind": f"run {result['state']}",
                    "text": ended(result),
                }
                self.timeline.append({"loop": self.loop.name, "numbers": {}, **event})
                self.live.events([self.timeline[-1]])
        self.active = set(active)

    def maybe_kill(self, moment: chaos.Moment) -> None:
        """Chaos: kills what the plan has for this moment."""
        kill = chaos.due(self.kills, moment, self.step)
        if kill is None:
            return
        try:
            self.platform.kill(kill.part)
        except (PlatformError, ProcessLookupError):
            return  # it is just being started again: at the next look
        self.kills.remove(kill)
        self.killed.append({"part": kill.part, "during": moment, "at_s": self.at_s, "wall_s": time.time()})
        self.live.event(self.at_s, "killed", f"{kill.part} with SIGKILL ({moment})")


def ended(result: Mapping[str, Any]) -> str:
    """How a run ended, in words."""
    gates = "; ".join(f"{gate['gate']}: {gate['got']}" for gate in result["gates"])
    words = {
        "succeeded": f"version {result['version']} is accepted{f' ({gates})' if gates else ''}",
        "rejected": f"version {result['version']} is kept but not used ({gates})",
        "failed": result["error"],
    }
    return f"{words[result['state']]}; {result['total_s']:.1f} s"


def commission(world: World) -> None:
    """Trains the first version on the history and brings it to every node.

    Nothing serves yet with which it could be compared, and no row comes that could pass the time: so its waves do not soak.
    """
    loop, prepared = world.loop, world.prepared
    start_s, _ = steps_of(prepared)[0]
    world.stream.historian.put(f"{loop.name}/history.parquet", parquet(prepared.history))
    world.fleet.post("/v1/loops", to_json(replace(loop, rollout=replace(loop.rollout, soak="0s"))))
    request = RunRequest(
        loop=loop.name,
        key=run_key(loop.name, 0, "manual", start_s),
        cause="manual",
        evidence=0,
        requested_s=float(start_s),
        by="demo",
        reason="the first version",
    )
    answer = world.fleet.post("/v1/runs", to_json(request))
    if not answer["started"]:
        raise DemoError(f"the first run was not started: {answer['why']}")
    settle(world, soaking=True)
    _must_serve(world)
    world.fleet.post("/v1/loops", to_json(loop))


def _must_serve(world: World) -> None:
    rollouts = world.fleet.get("/v1/rollouts", loop=world.loop.name)["rollouts"]
    if not rollouts or rollouts[-1]["state"] != "done":
        state = f"its rollout is {rollouts[-1]['state']}" if rollouts else "it did not come to a rollout"
        raise DemoError(f"the first version does not serve: {state}; see {world.platform.home / 'runs'}")


def settle(world: World, *, soaking: bool = False) -> None:
    """Ticks until no run is active and no wave is being deployed: then the stream may go on. DemoError after a time limit.

    With `soaking` it waits for waves that soak, too: where no row has to come for that.
    """
    began_s = time.monotonic()
    while True:
        state = world.fleet.post("/v1/tick")
        world.show_ended(state["active_runs"])
        world.show_events()
        during = _work(world, state, soaking=soaking)
        if during is None:
            break
        if time.monotonic() - began_s > WORK_LIMIT_S:
            raise DemoError(f"after {WORK_LIMIT_S:g} s still at work: {state}; logs: {world.platform.home}")
        world.maybe_kill(during)
        time.sleep(TICK_S)
    world.waited_s += time.monotonic() - began_s


def _work(world: World, state: Mapping[str, Any], *, soaking: bool) -> chaos.Moment | None:
    """What the stream has to wait for."""
    if state["active_runs"]:
        return "run"
    states = {rollout["state"] for rollout in state["rollouts"]}
    if states & {"waiting", "rolling_back"}:
        return "rollout"
    return "rollout" if "running" in states and (soaking or _is_deploying(world)) else None


def _is_deploying(world: World) -> bool:
    rollouts = world.fleet.get("/v1/rollouts", loop=world.loop.name)["rollouts"]
    waves = [wave for r in rollouts if r["state"] == "running" for wave in r["waves"]]
    under_way = next(
        (wave["state"] for wave in waves if wave["state"] != "passed"), "deploying"
    )  # else: just about to end
    return under_way in BUSY


def last_start(prepared: Prepared, loop: Loop) -> int:
    """The last step after which a run may begin, so that its rollout can end before the stream does."""
    steps_a_wave: int = max(1, math.ceil(units.duration_s(loop.rollout.soak) / prepared.step_s))
    return len(steps_of(prepared)) - 2 - len(loop.waves) * steps_a_wave


def play(world: World) -> None:
    """Streams everything. From `last_start` on no run may begin: the fleet is told so with a loop that lists no cause."""
    prepared, steps = world.prepared, steps_of(world.prepared)
    last, rows_a_block = last_start(prepared, world.loop), _rows_a_block(prepared)
    began_s, world.waited_s = time.monotonic(), 0.0
    with world.live.streaming(len(prepared.stream)):
        for world.step, (start_s, end_s) in enumerate(steps):
            if world.step == last + 1:
                world.fleet.post("/v1/loops", to_json(_without_causes(world.loop)))
            world.maybe_kill("streaming")
            run_step(world.stream, start_s, end_s)
            world.at_s = float(end_s)
            settle(world)
            rows = world.stream.rows_until(end_s)
            rate = rows / max(time.monotonic() - began_s - world.waited_s, 1e-3)
            world.live.moved(end_s, rows, rate, recent_accuracy(world.stream, rows_a_block))
    alive = [kill.part for kill in world.kills if kill.moment == "streaming"]
    if alive:
        raise DemoError(f"chaos: {', '.join(alive)} could not be killed, so nothing is shown by it")


def _rows_a_block(prepared: Prepared) -> int:
    """About how many rows one block of time (a point of the plot) has."""
    times = prepared.stream[prepared.time_column]
    span_s: float = max((times.iloc[-1] - times.iloc[0]).total_seconds(), 1.0)
    return max(1, round(len(times) * min(1.0, prepared.block_s / span_s)))


def _without_causes(loop: Loop) -> Loop:
    return replace(loop, retrain=replace(loop.retrain, on=()))
