"""`edgeloop submit`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

import typer

from edgeloop_pipelines.cli.compile import ImageOption
from edgeloop_pipelines.cli.console import JsonOption, emit, say
from edgeloop_pipelines.cli.kfp import (
    AccountOption,
    CaOption,
    ExperimentOption,
    HostOption,
    NamespaceOption,
    TokenOption,
)


def command(  # noqa: PLR0917 (the options of the command line)
    loop_file: Annotated[
        Path, typer.Argument(metavar="LOOP.YAML", help="The loop to run.", exists=True, dir_okay=False)
    ],
    host: HostOption = "",
    image: ImageOption = "",
    namespace: NamespaceOption = "",
    experiment: ExperimentOption = "edgeloop",
    service_account: AccountOption = "",
    token: TokenOption = "",
    ca_file: CaOption = "",
    key: Annotated[str, typer.Option("--run-key", help="Name of the run; a name that is there starts nothing.")] = "",
    parallel: Annotated[
        bool, typer.Option("--parallel", help="Start even when a run of the loop has not ended.")
    ] = False,
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end of the run.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and ask no server.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Start a run on Kubeflow Pipelines. The pipeline is uploaded when its content is new there.

    A loop has one run at a time: while one has not ended, another is refused.

    Exit codes: 0 the run is started (with --wait: it has succeeded), 1 it failed or was refused, 3 the host does not answer.

    Examples:

      edgeloop submit loop.yaml --host http://localhost:8080 --image registry.example/edgeloop-steps@sha256:...
      edgeloop submit loop.yaml --namespace team-a --service-account default-editor --wait
      edgeloop submit loop.yaml --dry-run --json
    """
    from edgeloop_pipelines import loopfile
    from edgeloop_pipelines import submit as submitting
    from edgeloop_pipelines.cli.run import manual_request
    from edgeloop_pipelines.cli.runs import follow

    settings = submitting.Settings(
        host=host,
        image=image,
        namespace=namespace,
        experiment=experiment,
        service_account=service_account,
        token=token,
        ca_file=ca_file,
    )
    loop = loopfile.load(loop_file)
    request = manual_request(loop, key)
    if dry_run:
        planned = submitting.plan(request, loop, settings)
        emit(planned, lambda: say(json.dumps(planned, indent=2)), as_json)
        return
    done = submitting.submit(request, loop, settings, alone=not parallel)
    state = follow(settings, done.run.run_id).state if wait else done.run.state
    document = {"run": request.key, "run_id": done.run.run_id, "state": state, "created": done.created}
    document |= {"version": done.version, "url": done.url}
    what = "started" if done.created else "was there already"
    emit(document, lambda: say(f"run {request.key} {what}: {state}\n{done.url}"), as_json)
