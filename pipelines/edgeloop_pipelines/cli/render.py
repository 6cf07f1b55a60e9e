"""`edgeloop render`: the KubeEdge objects of a loop, as files for `kubectl apply` or for the local stand-in."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeloop_contracts import ContractError, Loop, Package, from_json, groups_of
from edgeloop_contracts.fit import lent_in
from edgeloop_pipelines.cli.console import JsonOption, UserError, console, emit, say
from edgeloop_pipelines.cli.nodes import MirrorOption, NodesOption, RegistryOption

if TYPE_CHECKING:
    from edgeloop_fleet.render import Node

__all__ = ["command"]


def command(
    loop_file: Annotated[Path, typer.Argument(metavar="LOOP.YAML", help="the loop")],
    out: Annotated[Path, typer.Option("-o", "--out", help="folder that gets one object a file")],
    *,
    packages: Annotated[
        Path | None,
        typer.Option(help="JSON with Package documents: a list, target: package, or what `catalog show --json` gives"),
    ] = None,
    nodes: NodesOption = None,
    namespace: Annotated[str, typer.Option(help="namespace of the objects")] = "edgeloop",
    registry: RegistryOption = "edgeloop.local",
    mirror: MirrorOption = None,
    agent_image: Annotated[
        str, typer.Option(help="image of the node agent, by digest; empty: the release's name")
    ] = "",
    fleet_url: Annotated[
        str, typer.Option(help="the fleet service, as the cloud sees it")
    ] = "http://fleet.edgeloop-cloud.svc:8080",
    transport: Annotated[str, typer.Option(help="how reports travel: mqtt (KubeEdge's router) or https")] = "mqtt",
    mqtt: Annotated[str, typer.Option(help="HOST:PORT of the broker, as a node sees it")] = "127.0.0.1:1883",
    port: Annotated[int, typer.Option(help="where the servers listen on their nodes")] = 8080,
    key: Annotated[
        str,
        typer.Option(
            envvar="EDGELOOP_PUBLIC_KEY",
            metavar="FILE",
            help="public keys that must have signed what servers load: a file, a folder or PEM text; empty: not asked for",
        ),
    ] = "",
    lend: Annotated[
        str,
        typer.Option(
            envvar="EDGELOOP_NODES_LEND",
            help="what every node lends to images, with commas between, such as python3.11; empty: what loop.yaml says",
        ),
    ] = "",
    prune: Annotated[
        bool, typer.Option("--prune", help="remove objects of earlier renderings from the folder")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Write the KubeEdge objects of a loop: node groups, rules, the agent, and for the packages images and servers.

    Without --packages no server is rendered; without --nodes the groups have no nodes yet, so servers have 0 replicas.
    A package that needs more than its target has, or with --key one that is not signed, is refused and nothing is written.
    Apply the files in the order in which they are printed, after deleting those that are named as superseded.

    Examples:

      edgeloop catalog show turbine-power@candidate --json > packages.json
      edgeloop render loop.yaml --packages packages.json --nodes nodes.yaml -o manifests/rendered
      kubectl get nodes -o yaml > nodes.yaml
    """
    from edgeloop_components.signing.keys import PUBLIC_KEY, configured_trust
    from edgeloop_fleet.render import AGENT_IMAGE, RenderError, Settings, files, render_loop
    from edgeloop_fleet.render.values import mirrors_in
    from edgeloop_pipelines.loopfile import load

    loop = load(loop_file)
    try:
        settings = Settings(
            namespace=namespace,
            registry=registry,
            mirrors=mirrors_in(mirror or (), groups_of(loop)),
            agent_image=agent_image or AGENT_IMAGE,
            fleet_url=fleet_url,
            transport=_transport(transport),
            mqtt=mqtt,
            server_port=port,
            trusted=configured_trust({PUBLIC_KEY: key}),
            lent=lent_in(lend),
        )
        objects = render_loop(loop, _packages(packages, loop), _nodes(nodes), settings)
        stale = _superseded(out, objects, prune=prune)
        written = files.write_objects(out, objects)
    except RenderError as error:
        raise UserError(str(error)) from error
    if nodes is None and packages is not None:
        console.print("no --nodes: the groups have no nodes that are known, so servers have 0 replicas")
    document = {
        "written": [str(path) for path in written],
        "superseded": [str(path) for path in stale],
        "pruned": prune,
    }
    emit(document, lambda: _show(written, stale, prune=prune), as_json)


def _transport(name: str) -> Any:
    if name not in ("mqtt", "https"):
        raise UserError(f"--transport: expected mqtt or https, got {name!r}")
    return name


def _packages(path: Path | None, loop: Loop) -> dict[str, Package]:
    """group: package."""
    if path is None:
        return {}
    try:
        document = json.loads(path.read_text())
        if isinstance(document, dict) and isinstance(document.get("packages"), list):
            document = document["packages"]
        items = list(document.values()) if isinstance(document, dict) and "kind" not in document else document
        given = [from_json(Package, item) for item in (items if isinstance(items, list) else [items])]
    except (ValueError, ContractError) as error:
        raise UserError(f"{path}: expected JSON with Package documents: {error}") from error
    groups = {target.name: target.nodes.group for target in loop.targets}
    unknown = [package.target for package in given if package.target not in groups]
    if unknown:
        raise UserError(f"{path}: expected packages for the targets {', '.join(groups)}, got {', '.join(unknown)}")
    return {groups[package.target]: package for package in given}


def _nodes(path: Path | None) -> Sequence[Node]:
    if path is None:
        return ()
    import yaml

    from edgeloop_fleet.clusters.folder import read_nodes

    try:
        return read_nodes(path)
    except yaml.YAMLError as error:
        raise UserError(f"{path}: expected YAML with Node objects: {error}") from error


def _superseded(folder: Path, objects: Sequence[Mapping[str, Any]], *, prune: bool) -> list[Path]:
    """Files of earlier renderings whose objects have another name now; with `prune` they are removed."""
    from edgeloop_fleet.render import files, superseded

    texts = (path.read_text() for path in sorted(folder.glob("*.yaml")))
    found = [item for text in texts for item in files.load_all(text) if isinstance(item, dict)]
    stale = [folder / files.file_name(item) for item in superseded(found, objects)]
    for path in stale if prune else ():
        path.unlink(missing_ok=True)
    return stale


def _show(written: Sequence[Path], stale: Sequence[Path], *, prune: bool) -> None:
    for path in written:
        say(str(path))
    for path in stale:
        say(
            f"{path}: superseded, {'removed' if prune else 'delete it from the cluster first (--prune removes the file)'}"
        )
