"""`edgeloop runs`."""

from __future__ import annotations

import time
from collections.abc import Sequence
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeloop_pipelines.cli.console import JsonOption, UserError, console, emit, say, table
from edgeloop_pipelines.cli.kfp import CaOption, ExperimentOption, HostOption, NamespaceOption, TokenOption

if TYPE_CHECKING:
    from edgeloop_pipelines.kfpruns import RunRow
    from edgeloop_pipelines.kfpserver import Settings

COLUMNS = ("run", "loop", "state", "cause", "started", "took", "by")


def command(  # noqa: PLR0917 (the options of the command line)
    loop: Annotated[
        str, typer.Argument(metavar="LOOP", help="Name of a loop, or its loop.yaml; none: all loops.")
    ] = "",
    host: HostOption = "",
    namespace: NamespaceOption = "",
    experiment: ExperimentOption = "edgeloop",
    token: TokenOption = "",
    ca_file: CaOption = "",
    key: Annotated[str, typer.Option("--run", help="Key or id of one run.")] = "",
    most: Annotated[int, typer.Option("--limit", min=1, help="Most runs that are shown.")] = 20,
    wait: Annotated[bool, typer.Option("--wait", help="Follow the newest of these runs to its end.")] = False,
    poll_s: Annotated[float, typer.Option("--poll", min=0.1, help="Seconds between two looks with --wait.")] = 5.0,
    as_json: JsonOption = False,
) -> None:
    """List a loop's runs on Kubeflow Pipelines, the newest first: run key, state, cause; or follow one to its end.

    Exit codes: 0 done (with --wait: the run has succeeded), 1 it failed or there is none, 3 the host does not answer.

    Examples:

      edgeloop runs turbine-power --host http://localhost:8080
      edgeloop runs loop.yaml --limit 5 --json
      edgeloop runs turbine-power --wait
      edgeloop runs --run turbine-power-0123456789ab --wait
    """
    from edgeloop_pipelines import kfpruns
    from edgeloop_pipelines.kfpserver import Settings

    settings = Settings(host=host, namespace=namespace, experiment=experiment, token=token, ca_file=ca_file)
    name = _loop_name(loop)
    rows = kfpruns.runs_of(settings, name, key=key, most=1 if wait else most)
    if (wait or key) and not rows:
        sought = (f" of loop {name}" if name else "") + (f" with the key or id {key}" if key else "")
        raise UserError(f"no run{sought} in experiment {experiment}", "edgeloop runs lists those that are there")
    if wait:
        rows = [follow(settings, rows[0].run_id, poll_s=poll_s)]
    emit({"runs": [_document(row) for row in rows]}, lambda: _show(rows, name), as_json)


def follow(settings: Settings, run_id: str, *, poll_s: float = 5.0) -> RunRow:
    """Waits for the end of a run and tells its state meanwhile; `UserError` unless it has succeeded."""
    from edgeloop_pipelines import kfpruns

    with console.status(f"waiting for run {run_id}") as status:
        row = kfpruns.followed(settings, run_id, poll_s=poll_s, tell=lambda row: status.update(_progress(row)))
    if row.state != "SUCCEEDED":
        failed = [name for name, state in row.tasks if state == "FAILED"]
        where = f" in {', '.join(failed)}" if failed else ""
        raise UserError(
            f"run {row.key} ended as {row.state}{where}: {row.error or 'the server gives no reason'}",
            f"its page: {settings.base}/#/runs/details/{row.run_id}",
            details={"run": _document(row)},
        )
    return row


def _loop_name(loop: str) -> str:
    """The name of the loop: that in the file, where it is one."""
    if not loop.endswith((".yaml", ".yml")):
        return loop
    from edgeloop_pipelines import loopfile

    return loopfile.load(Path(loop)).name


def _progress(row: RunRow) -> str:
    now = [name for name, state in row.tasks if state == "RUNNING"]
    return f"run {row.key}: {row.state}" + (f" ({', '.join(now)})" if now else "")


def _document(row: RunRow) -> dict[str, Any]:
    return {**asdict(row), "tasks": [{"name": name, "state": state} for name, state in row.tasks]}


def _show(rows: Sequence[RunRow], loop: str) -> None:
    from edgeloop_pipelines.cli.times import ago

    if not rows:
        say(f"no runs of loop {loop}" if loop else "no runs")
        return
    now_s = time.time()
    table(
        COLUMNS,
        [
            (row.key, row.loop, row.state, row.cause, ago(row.created_s, now_s), _took(row), row.by or "-")
            for row in rows
        ],
    )
    for row in rows:
        if row.error:
            say(f"{row.key}: {row.error}")


def _took(row: RunRow) -> str:
    return f"{row.finished_s - row.created_s:.0f} s" if row.finished_s else "-"
