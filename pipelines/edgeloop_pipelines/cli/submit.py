"""`edgeloop submit`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeloop_pipelines.cli.compile import ImageOption
from edgeloop_pipelines.cli.console import JsonOption, UserError, console, emit, say

if TYPE_CHECKING:
    from edgeloop_pipelines.submit import Found, Settings


def command(  # noqa: PLR0917 (the options of the command line)
    loop_file: Annotated[
        Path, typer.Argument(metavar="LOOP.YAML", help="The loop to run.", exists=True, dir_okay=False)
    ],
    host: Annotated[str, typer.Option(envvar="KF_PIPELINES_ENDPOINT", help="URL of Kubeflow Pipelines.")] = "",
    image: ImageOption = "",
    namespace: Annotated[str, typer.Option(envvar="EDGELOOP_KFP_NAMESPACE", help="Your namespace.")] = "",
    experiment: Annotated[
        str, typer.Option(envvar="EDGELOOP_KFP_EXPERIMENT", help="Experiment of the run.")
    ] = "edgeloop",
    service_account: Annotated[
        str, typer.Option(envvar="EDGELOOP_KFP_SERVICE_ACCOUNT", help="Service account of the run's pods.")
    ] = "",
    token: Annotated[
        str, typer.Option(envvar="EDGELOOP_KFP_TOKEN", help="Bearer token; in a pod, its projected token is used.")
    ] = "",
    ca_file: Annotated[str, typer.Option(envvar="EDGELOOP_KFP_CA_FILE", help="CA certificate of the host.")] = "",
    key: Annotated[str, typer.Option("--run-key", help="Name of the run; a name that is there starts nothing.")] = "",
    wait: Annotated[bool, typer.Option("--wait", help="Wait for the end of the run.")] = False,
    dry_run: Annotated[bool, typer.Option("--dry-run", help="Say what would be done, and ask no server.")] = False,
    as_json: JsonOption = False,
) -> None:
    """Start a run on Kubeflow Pipelines. The pipeline is uploaded when its content is new there.

    Exit codes: 0 the run is started (with --wait: it has succeeded), 1 it failed or was refused, 3 the host does not answer.

    Examples:

      edgeloop submit loop.yaml --host http://localhost:8080 --image registry.example/edgeloop-steps@sha256:...
      edgeloop submit loop.yaml --dry-run --json
    """
    from edgeloop_pipelines import loopfile
    from edgeloop_pipelines import submit as submitting
    from edgeloop_pipelines.cli.run import manual_request

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
    done = submitting.submit(request, loop, settings)
    run = _waited(settings, done.run) if wait else done.run
    document = {"run": request.key, "run_id": run.run_id, "state": run.state, "created": done.created}
    document |= {"version": done.version, "url": done.url}
    what = "started" if done.created else "was there already"
    emit(document, lambda: say(f"run {request.key} {what}: {run.state}\n{done.url}"), as_json)


def _waited(settings: Settings, run: Found) -> Found:
    from edgeloop_pipelines import submit as submitting

    with console.status(f"waiting for run {run.run_id}"):
        ended = submitting.wait(settings, run.run_id)
    if ended.state != "SUCCEEDED":
        raise UserError(f"run {run.run_id} ended as {ended.state}: {ended.error or 'see its page'}")
    return ended
