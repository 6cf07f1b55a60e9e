"""`edgeloop standin`: runs the local stand-in for KubeEdge in the foreground."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeloop_pipelines.cli.console import UserError, console

__all__ = ["command"]


def command(
    folder: Annotated[Path, typer.Option(help="cluster folder: nodes.yaml, apply/, status/, nodes/")],
    images: Annotated[Path, typer.Option(help="OCI image layout that nodes pull from")],
    broker: Annotated[str, typer.Option(metavar="HOST:PORT", help="MQTT broker of the nodes")] = "127.0.0.1:1883",
    router_port: Annotated[int, typer.Option(help="port of the router's HTTP side on 127.0.0.1; 0: any")] = 0,
) -> None:
    """Run the local stand-in for KubeEdge until it is stopped.

    It reads the manifests in FOLDER/apply and does to node processes what they say. What it leaves out it says first.
    """
    from edgeloop_pipelines.local.standin import LIMITS
    from edgeloop_pipelines.local.standin.__main__ import run
    from edgeloop_pipelines.local.standin.engine import Options

    host, colon, port = broker.rpartition(":")
    if not (colon and host and port.isdigit()):
        raise UserError(f"--broker: expected HOST:PORT, got {broker!r}")
    console.print("a stand-in for KubeEdge, not KubeEdge:", style="bold")
    for limit in LIMITS:
        console.print(f"  - {limit}", markup=False)
    options = Options(folder.resolve(), images.resolve(), (host, int(port)), router_port)
    raise typer.Exit(run(options))
