"""`edgeloop demo`."""

from __future__ import annotations

from collections.abc import Mapping
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeloop_pipelines.cli.console import JsonOption, Unavailable, UserError, console, emit, say, table


class Data(StrEnum):
    """The data sets of the demo."""

    wind = "wind"
    rainfall = "rainfall"


def command(  # noqa: PLR0917 - each is an option by name
    data: Annotated[Data, typer.Option(help="wind: about 8 minutes; rainfall: under 2.")] = Data.wind,
    out: Annotated[Path, typer.Option(help="Folder for the report and, meanwhile, for the platform's state.")] = Path(
        "demo-out"
    ),
    chaos: Annotated[
        bool, typer.Option("--chaos", help="Kill parts with SIGKILL meanwhile, and check every sum.")
    ] = False,
    days: Annotated[int, typer.Option(min=0, help="Stream only so many days; 0: all.")] = 0,
    keep: Annotated[bool, typer.Option("--keep", help="Keep the platform's state (OUT/state).")] = False,
    seed: Annotated[int, typer.Option(min=0, help="Seed of the moments of --chaos.")] = 0,
    as_json: JsonOption = False,
) -> None:
    """Close the loop on this machine: real data, real parts, nobody in between.

    Downloads public data once, trains a first model, serves it on simulated edge nodes, streams the rest of the data through
    it in fast time with labels that come late, and lets the loop judge, retrain and roll out. Writes report.json, report.html
    and accuracy.svg. Exit code 1 when the loop did not close, or a sum in the fleet is not what was answered.

    Examples:
      edgeloop demo
      edgeloop demo --data rainfall --out /tmp/demo
      edgeloop demo --data wind --chaos --days 60
    """
    document = _run(data.value, out=out, chaos=chaos, days=days, keep=keep, seed=seed)
    emit(document, lambda: _show(document, out), as_json)
    if not (document["loop_closed"] and document["mass"]["equal"]):
        raise typer.Exit(1)


def _run(data: str, *, out: Path, **wishes: Any) -> dict[str, Any]:
    from edgeloop_components.stores.objects import StoreError
    from edgeloop_pipelines.demo import run
    from edgeloop_pipelines.demo.conduct import DemoError
    from edgeloop_pipelines.demo.fetch import FetchError
    from edgeloop_pipelines.demo.fleet import ServiceError
    from edgeloop_pipelines.demo.live import Live
    from edgeloop_pipelines.demo.stream import StreamError
    from edgeloop_pipelines.demo.wire import WireError
    from edgeloop_pipelines.local.platform import PlatformError

    try:
        return run.run(run.Wishes(data=data, out=out, **wishes), Live(console))
    except FetchError as error:
        raise Unavailable(str(error)) from error
    except run.FolderError as error:
        raise UserError(str(error)) from error
    except (DemoError, ServiceError, StreamError, WireError, PlatformError, StoreError) as error:
        raise UserError(str(error), f"logs of every part are under {out / 'state'}") from error


def _percent(value: float) -> str:
    return f"{100 * value:.2f} %"


def _interval(difference: Mapping[str, float]) -> str:
    value, low, high = (100 * difference[name] for name in ("value", "low", "high"))
    return f"{value:+.2f} points, 95 % interval {low:+.2f} to {high:+.2f}"


def _show(found: Mapping[str, Any], out: Path) -> None:
    evaluation, mass = found["evaluation"], found["mass"]
    table(
        ("version", "state", "cause", "held out", "rows served"),
        [
            (
                f"v{v['version']}",
                "promoted" if v["promoted"] else v["state"],
                v["cause"],
                _percent(v["held_out_accuracy"]["value"]) if v["held_out_accuracy"] else "",
                f"{v['rows']:,}",
            )
            for v in found["versions"]
        ],
    )
    say("")
    names = {"left_alone": "the first model left alone", "calendar": "retrained by calendar", "loop": "the loop"}
    table(("on the same rows", "accuracy"), [(name, _percent(evaluation[arm])) for arm, name in names.items()])
    say(f"the loop minus left alone: {_interval(evaluation['loop_minus_left_alone'])}")
    say(f"the loop minus the calendar: {_interval(evaluation['loop_minus_calendar'])}")
    others = ", ".join(_percent(c["accuracy"]) for c in evaluation["calendars"] if c["shift"])
    say(f"shifted calendars: {others}", "dim")
    _show_checks(found, mass)
    say(f"the report: {out / 'report.html'}")


def _show_checks(found: Mapping[str, Any], mass: Mapping[str, Any]) -> None:
    say("")
    nodes = ", ".join(f"{n['node']} v{n['version']}" for n in found["nodes"])
    say(f"nodes: {nodes}")
    if found["chaos"]:
        say("killed with SIGKILL: " + ", ".join(f"{c['part']} ({c['during']})" for c in found["chaos"]))
    sums = f"{mass['rows']:,} rows, {mass['labelled']:,} labels, {mass['correct']:,} right"
    state = "equal, by version and node" if mass["equal"] else "NOT equal: " + "; ".join(mass["differences"])
    say(f"sums in the fleet against what was answered ({sums}): {state}")
    say(
        f"{found['requests']['rows_a_second_while_scoring']:,} rows/s while scoring; {found['seconds']['all']:.0f} s in all"
    )
    for line in found["stand_ins"]:
        say(f"stand-in: {line}", "dim")
    say(
        "the loop is closed" if found["loop_closed"] else "the loop is NOT closed: " + "; ".join(found["missing"]),
        "bold green" if found["loop_closed"] else "bold red",
    )
