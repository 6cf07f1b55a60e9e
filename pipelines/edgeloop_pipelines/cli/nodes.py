"""The options of commands that write what nodes get: which nodes there are, and where they pull from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

NodesOption = Annotated[Path | None, typer.Option(help="YAML with Node objects, as `kubectl get nodes -o yaml` gives")]
RegistryOption = Annotated[str, typer.Option(help="where nodes pull images from")]
MirrorOption = Annotated[
    list[str] | None,
    typer.Option(metavar="GROUP=HOST[:PORT]", help="a site's pull-through registry, for the nodes of a group"),
]
