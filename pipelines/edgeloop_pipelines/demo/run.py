"""The demo from beginning to end: data, platform, first version, stream, comparison, report.

Everything is kept under `out`; the platform's state is in `out/state`, which is removed at a good end unless it shall be kept.
Whatever happens, no process of it is left: the platform stops them, and they die with this process.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from types import FrameType
from typing import TYPE_CHECKING, Any, NoReturn
from urllib.parse import urlsplit

from edgeloop_contracts import Loop
from edgeloop_pipelines.demo import chaos, collect, compare, conduct, report
from edgeloop_pipelines.demo.answers import differences, sums_of_totals
from edgeloop_pipelines.demo.conduct import World
from edgeloop_pipelines.demo.evaluation import evaluate
from edgeloop_pipelines.demo.fetch import DATA_SETS, fetch
from edgeloop_pipelines.demo.fleet import FleetClient
from edgeloop_pipelines.demo.live import Live
from edgeloop_pipelines.demo.prepared import Prepared, shortened, steps_of
from edgeloop_pipelines.demo.stream import Stream
from edgeloop_pipelines.demo.wire import Line
from edgeloop_pipelines.local import platform

if TYPE_CHECKING:
    from edgeloop_components.stores.objects import S3Objects

__all__ = ["FolderError", "Wishes", "run"]

HISTORIAN = "telemetry"  # bucket
POLL_S = 0.1  # how often agents look at their servers: in fast time a day passes in less than a second
STAND_INS = (
    "time: the stream runs as fast as it can; while a run is active or a wave is deployed it waits",
    "KubeEdge: a process that reads the same rendered manifests and does what they say; what it leaves out:",
)


class FolderError(RuntimeError):
    """The folder is in use, or holds what no demo made. Nothing in it was touched."""


@dataclass(frozen=True, kw_only=True)
class Wishes:
    """What the person asked for."""

    data: str = "wind"
    out: Path = Path("demo-out")
    chaos: bool = False
    days: int = 0  # of the stream; 0: all
    keep: bool = False
    seed: int = 0


def run(wishes: Wishes, live: Live) -> dict[str, Any]:
    """Runs the demo and writes the report; gives the report's document.

    FetchError without the data; DemoError, StreamError, WireError, ServiceError or PlatformError when something breaks. Then
    `out/state` is kept, with the logs.
    """
    seconds: dict[str, float] = {}
    began_s = time.monotonic()
    with _folder(wishes.out) as out, _terminable():
        prepared = _data(wishes, live, seconds)
        (out / "loop.yaml").write_text(prepared.loop_yaml)
        loop = _load(out / "loop.yaml")
        _introduce(live, prepared)
        seen = _live(wishes, prepared, loop, live, seconds)
        found = _compared(seen, prepared, loop, live, seconds)
        seconds["all"] = time.monotonic() - began_s
        document = report.document(found)
        report.write(document, out)
        if not wishes.keep:
            shutil.rmtree(out / "state")
    return document


@contextlib.contextmanager
def _folder(out: Path) -> Iterator[Path]:
    """The folder, made if needed and locked, with the state of an earlier demo removed. FolderError when it is in use."""
    out = out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    state = out / "state"
    with (out / ".lock").open("w") as lock:
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError as error:
            raise FolderError(
                f"another demo is running in {out}: wait for it, or name another folder with --out"
            ) from error
        if state.exists() and not (state / "installation.json").exists() and any(state.iterdir()):
            raise FolderError(f"{state} is not the state of a demo: move it away, or name another folder with --out")
        shutil.rmtree(state, ignore_errors=True)
        yield out


@contextlib.contextmanager
def _terminable() -> Iterator[None]:
    """SIGTERM and SIGHUP end the demo as Ctrl-C does, so that everything is stopped."""

    def end(number: int, _frame: FrameType | None) -> NoReturn:
        raise SystemExit(128 + number)

    before = {number: signal.signal(number, end) for number in (signal.SIGTERM, signal.SIGHUP)}
    try:
        yield
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)


def _load(path: Path) -> Loop:
    from edgeloop_pipelines.loopfile.load import load

    return load(path)


def _data(wishes: Wishes, live: Live, seconds: dict[str, float]) -> Prepared:
    from edgeloop_pipelines.demo import rainfall, wind

    began_s = time.monotonic()
    with live.download(DATA_SETS[wishes.data].file_name) as progress:
        csv = fetch(wishes.data, progress=progress)
    seconds["download"] = time.monotonic() - began_s
    prepared = {"wind": wind, "rainfall": rainfall}[wishes.data].prepare(csv)
    return shortened(prepared, wishes.days) if wishes.days else prepared


def _introduce(live: Live, prepared: Prepared) -> None:
    for line in prepared.story:
        live.say(line)
    live.say(
        f"{len(prepared.nodes)} nodes, {len(prepared.history):,} rows to begin with, {len(prepared.stream):,} rows to stream. "
        f"Time is the stream's: while a model is trained or deployed the stream waits."
    )


def _live(
    wishes: Wishes, prepared: Prepared, loop: Loop, live: Live, seconds: dict[str, float]
) -> tuple[World, dict[str, Any]]:
    """Runs the platform, the first version and the stream; gives the world and what was collected at its end."""
    nodes = [platform.NodeSpec(node.name, node.group) for node in prepared.nodes]
    with contextlib.ExitStack() as stack:
        with live.timed("start_of_the_platform", seconds):
            place = stack.enter_context(
                platform.start(wishes.out.absolute() / "state", nodes, clock="reports", poll_s=POLL_S, tick_s=0)
            )
        world = _world(wishes, prepared, loop, place, live)
        stack.callback(world.fleet.close)
        with live.timed("first_version", seconds):
            conduct.commission(world)
        with live.timed("stream", seconds):
            conduct.play(world)
        facts = _collected(world)
        with live.timed("stop_of_the_platform", seconds):
            stack.close()
    seconds["stream_waiting"] = world.waited_s
    seconds["stream_scoring"] = world.stream.scoring_s
    return world, facts


def _world(wishes: Wishes, prepared: Prepared, loop: Loop, place: platform.Platform, live: Live) -> World:
    fleet = FleetClient(place.fleet_url)
    stream = Stream(
        prepared=prepared,
        lines={node.name: _line(node.name, place.server_url(node.name)) for node in prepared.nodes},
        agents={node.name: place.agent_url(node.name) for node in prepared.nodes},
        fleet=fleet,
        historian=_store(place, HISTORIAN),
        loop=loop.name,
    )
    steps = len(steps_of(prepared))
    kills = chaos.plan(wishes.seed, steps, [node.name for node in prepared.nodes]) if wishes.chaos else []
    return World(place, prepared, loop, fleet, stream, live, kills)


def _line(node: str, url: str) -> Line:
    address = urlsplit(url)
    return Line(node, str(address.hostname), int(address.port or 80))


def _store(place: platform.Platform, bucket: str | None = None) -> S3Objects:
    from edgeloop_components.stores.objects import connect

    objects = connect(bucket, environment=place.env)
    objects.make_bucket()
    return objects


def _collected(world: World) -> dict[str, Any]:
    objects, loop = _store(world.platform), world.loop.name
    rollouts = world.fleet.get("/v1/rollouts", loop=loop)["rollouts"]
    totals = world.fleet.totals(loop)
    return {
        "versions": collect.versions(objects, loop),
        "nodes": collect.nodes(world),
        "runs": collect.runs(world),
        "rollouts": rollouts,
        "shipped": collect.shipped(world, rollouts),
        "counts_differ": differences(world.stream.answers.sums, sums_of_totals(totals)),
        "requests": _requests(world, totals),
        "first": collect.first_model(objects, loop, world.platform.home / "first"),
    }


def _requests(world: World, totals: list[dict[str, Any]]) -> dict[str, Any]:
    answers, stream = world.stream.answers, world.stream
    return {
        "answered": answers.answered,
        "refused": sum(int(t["refused"]) for t in totals) + answers.refused,
        "failed": sum(int(t["failed"]) for t in totals),
        "dropped_and_asked_again": answers.dropped,
        "rows_with_every_input_empty_not_scored": answers.empty,
        "connections": sum(line.connections for line in stream.lines.values()),
        "repeated_to_fleet_and_agents": world.fleet.repeated,
        "rows_a_second_while_scoring": round(answers.answered / max(stream.scoring_s, 1e-6)),
        "restarts_of_parts": len(world.platform.restarts),
    }


def _compared(
    seen: tuple[World, dict[str, Any]], prepared: Prepared, loop: Loop, live: Live, seconds: dict[str, float]
) -> report.Findings:
    world, facts = seen
    folder = facts.pop("first")
    started = sum(1 for run in facts["runs"] if run["cause"] != "manual")
    with live.timed("comparison", seconds):
        first = compare.predict(folder, prepared.stream)
        calendars = compare.calendars(loop, prepared, first, runs=started, folder=folder.parent / "calendar")
        evaluation = evaluate(prepared, world.stream.answers, first, calendars)
    data = DATA_SETS[prepared.name]
    return report.Findings(
        prepared=prepared,
        answers=world.stream.answers,
        evaluation=evaluation,
        timeline=world.timeline,
        data={"name": prepared.name, "source": data.source, "licence": data.licence, "sha256": data.sha256},
        seconds=seconds,
        stand_ins=_stand_ins(),
        chaos=world.killed,
        **facts,
    )


def _stand_ins() -> list[str]:
    from edgeloop_pipelines.local.standin import LIMITS

    return [*STAND_INS, *LIMITS]
