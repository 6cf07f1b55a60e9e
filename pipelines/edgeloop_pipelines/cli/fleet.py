"""`edgeloop fleet serve`: the fleet service with this installation's adapters behind its ports."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from edgeloop_pipelines.local.installation import HOME

app = typer.Typer(
    help="The fleet service: receives reports, judges, starts runs, rolls versions out.", no_args_is_help=True
)


@app.callback()
def _fleet() -> None:
    """The fleet service: receives reports, judges, starts runs, rolls versions out.

    Example: edgeloop fleet serve --home .edgeloop
    """


@app.command()
def serve(
    home: Annotated[
        Path, typer.Option(help="The installation's folder (made when it is not there).", envvar=HOME)
    ] = Path(".edgeloop"),
    host: Annotated[str, typer.Option(help="Address to listen on.")] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="Port; 0: the installation's own.")] = 0,
) -> None:
    """Serves until it is stopped. State is in the home's fleet.db; a restart goes on where it was.

    The object store is found by AWS_ENDPOINT_URL_S3, AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY.

    Examples:
      edgeloop fleet serve --home .edgeloop
      edgeloop fleet serve --home /var/lib/edgeloop --host 0.0.0.0 --port 8080
    """
    from edgeloop_pipelines.local import service
    from edgeloop_pipelines.local.installation import open_installation

    installation = open_installation(home)
    os.environ.update(installation.environment())
    service.serve(installation, host=host, port=port or installation.fleet_port)
