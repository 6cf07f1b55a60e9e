"""`edgeloop run`."""

from __future__ import annotations

import contextlib
import getpass
import os
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeloop_contracts import Loop, RunRequest, run_key
from edgeloop_pipelines.cli.console import JsonOption, console, emit, say, table
from edgeloop_pipelines.cli.stores import HomeOption


def command(
    loop_file: Annotated[
        Path, typer.Argument(metavar="LOOP.YAML", help="The loop to run.", exists=True, dir_okay=False)
    ],
    home: HomeOption = Path(".edgeloop"),
    key: Annotated[
        str, typer.Option("--run-key", help="Name of the run; a name that has run already runs nothing.")
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Run the training pipeline on this machine: the same pipeline that a cluster runs, one process a step.

    Data, model and image go to the object store that AWS_ENDPOINT_URL_S3 names; without one, to that which runs in HOME, or
    SeaweedFS is started for the run and keeps its data in HOME/objects. The fleet service that EDGELOOP_FLEET_URL names, or
    that runs in HOME, is asked to roll the version out.

    Exit codes: 0 the version is accepted, 4 a gate rejected it, 1 the run failed.

    Examples:

      edgeloop run loop.yaml
      edgeloop run loop.yaml --home /var/lib/edgeloop --json
    """
    from edgeloop_pipelines import loopfile
    from edgeloop_pipelines.local.progress import Progress
    from edgeloop_pipelines.local.run import EXIT_CODES, execute

    loop = with_folder(loopfile.load(loop_file), loop_file)
    request = manual_request(loop, key)
    with platform(home):
        with Progress(console) as progress:
            result = execute(home, request, loop, watch=progress)
        emit(result, lambda: show(result), as_json)
    raise typer.Exit(EXIT_CODES[result["state"]])


def with_folder(loop: Loop, loop_file: Path) -> Loop:
    """The loop with the folder of its file, where its relative paths and modules are looked for."""
    from dataclasses import replace

    return replace(loop, extra={**loop.extra, "folder": str(loop_file.resolve().parent)})


def manual_request(loop: Loop, key: str = "") -> RunRequest:
    """A request by the person who types: each is a new run, unless it is given a key."""
    now_s = time.time()
    return RunRequest(
        loop=loop.name,
        key=key or run_key(loop.name, 0, "manual", str(now_s)),
        cause="manual",
        requested_s=now_s,
        by=getpass.getuser(),
        reason="asked for by hand",
    )


@contextlib.contextmanager
def platform(home: Path) -> Iterator[None]:
    """The stores of a run: those of the environment, those that run in `home` now, or SeaweedFS for its duration.

    A SeaweedFS that another run has joined is stopped when that has ended too.
    """
    home, before = home.absolute(), dict(os.environ)
    from edgeloop_pipelines.local.installation import lent

    with contextlib.ExitStack() as stack:
        os.environ.setdefault("EDGELOOP_IMAGES", str(home / "images"))
        os.environ.update(lent())
        try:
            if not (os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")):
                from edgeloop_components.stores import seaweed

                os.environ.update(stack.enter_context(seaweed.shared(home / "objects", waits=console.print)))
                os.environ.update(_fleet(home))
            yield
        finally:
            os.environ.clear()
            os.environ.update(before)


def _fleet(home: Path) -> dict[str, str]:
    """How to reach the fleet service that runs in `home` now, unless the environment names one; nothing when none answers."""
    if os.environ.get("EDGELOOP_FLEET_URL") or not (home / "installation.json").exists():
        return {}
    from edgeloop_pipelines.local.children import listening
    from edgeloop_pipelines.local.installation import HOST, open_installation

    installation = open_installation(home)
    return {"EDGELOOP_FLEET_URL": installation.fleet_url} if listening(HOST, installation.fleet_port) else {}


def show(result: Mapping[str, Any]) -> None:
    """The result for people: the run, its gates, and why it failed."""
    if result.get("again"):
        say(f"run {result['run_key']} has ended before; nothing was run")
    rows = [("run", result["run_key"]), ("state", result["state"]), ("version", result["version"] or "none")]
    table(("", ""), [*rows, ("seconds", result["total_s"]), ("log", result["log"])])
    if result["gates"]:
        gates = [(g["gate"], "passed" if g["passed"] else "FAILED", g["expected"], g["got"]) for g in result["gates"]]
        table(("gate", "", "expected", "got"), gates)
    if result["error"]:
        say(f"error: {result['error']}", style="red")
