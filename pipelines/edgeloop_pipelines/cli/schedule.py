"""`edgeloop schedule`."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeloop_pipelines.cli.compile import ImageOption
from edgeloop_pipelines.cli.console import JsonOption, UserError, emit, say, table
from edgeloop_pipelines.cli.kfp import (
    AccountOption,
    CaOption,
    ExperimentOption,
    HostOption,
    NamespaceOption,
    TokenOption,
)

if TYPE_CHECKING:
    from edgeloop_pipelines.kfpserver import Settings
    from edgeloop_pipelines.triggers.recurring import Change

_DONE = {"create": "created", "change": "changed", "keep": "kept", "remove": "removed"}


def command(  # noqa: PLR0917 (the options of the command line)
    loop_files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="LOOP.YAML", help="Loops to schedule; none: list what is there.", show_default=False),
    ] = None,
    host: HostOption = "",
    image: ImageOption = "",
    namespace: NamespaceOption = "",
    experiment: ExperimentOption = "edgeloop",
    service_account: AccountOption = "",
    token: TokenOption = "",
    ca_file: CaOption = "",
    prune: Annotated[
        bool, typer.Option("--prune", help="Remove the recurring runs of loops that are not given, too.")
    ] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Ask the server, change nothing, say what would.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Make the recurring runs on Kubeflow Pipelines what `retrain.schedule` of these loops says. Again changes nothing.

    A loop without a schedule loses its recurring run. One that was paused on the server stays paused.

    Exit codes: 0 done, 1 refused, 3 the host does not answer.

    Examples:

      edgeloop schedule loop.yaml --host http://localhost:8080 --image registry.example/edgeloop-steps@sha256:...
      edgeloop schedule loops/*.yaml --prune --dry-run
      edgeloop schedule --json
    """
    from edgeloop_pipelines import loopfile
    from edgeloop_pipelines.kfpserver import Settings
    from edgeloop_pipelines.triggers.recurring import reconcile

    settings = Settings(host, image, namespace, experiment, service_account, token, ca_file)
    if not loop_files:
        if prune or dry_run:
            raise UserError("--prune and --dry-run need loops", "name the loop.yaml of every loop that stays")
        _list(settings, as_json)
        return
    loops = [loopfile.load(path) for path in loop_files]
    names = [loop.name for loop in loops]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise UserError(f"loop {twice[0]} is given twice", "names of loops are unique: one loop.yaml each")
    found = reconcile(loops, settings, prune=prune, dry_run=dry_run)
    document = {"dry_run": dry_run, "changes": [_document(change) for change in found]}
    emit(document, lambda: _show(found, dry_run), as_json)


def _document(change: Change) -> dict[str, Any]:
    return {"action": change.action, "name": change.name, "why": change.why}


def _show(found: tuple[Change, ...], dry_run: bool) -> None:
    words = {action: action for action in _DONE} if dry_run else _DONE
    table(("recurring run", "would" if dry_run else "was", "why"), [(c.name, words[c.action], c.why) for c in found])


def _list(settings: Settings, as_json: bool) -> None:
    from edgeloop_pipelines.triggers.recurring import recurring_runs

    there = recurring_runs(settings)
    shown = ("name", "cron", "enabled", "version_id", "service_account", "recurring_id")
    document = {"schedules": [{name: asdict(each)[name] for name in shown} for each in there]}

    def human() -> None:
        if not there:
            say("no recurring runs of loops")
            return
        rows = [
            (each.name, each.cron, "on" if each.enabled else "paused", each.service_account or "-") for each in there
        ]
        table(("recurring run", "schedule (s min h day month weekday)", "is", "account"), rows)

    emit(document, human, as_json)
