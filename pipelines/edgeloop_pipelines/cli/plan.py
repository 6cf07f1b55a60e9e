"""`edgeloop plan`: what each group of nodes keeps on disk for the time without a link, and the jobs that fetch it."""

from __future__ import annotations

import functools
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeloop_contracts import OfflinePlan, to_json
from edgeloop_contracts.fit import lent_in
from edgeloop_pipelines.cli.console import JsonOption, UserError, console, emit, say, table
from edgeloop_pipelines.cli.nodes import MirrorOption, NodesOption, RegistryOption
from edgeloop_pipelines.cli.stores import HomeOption

if TYPE_CHECKING:
    from edgeloop_contracts import KeptItem, Loop, Package

__all__ = ["command"]

HOME = Path(".edgeloop")


def command(
    loop_files: Annotated[list[Path], typer.Argument(metavar="LOOP.YAML...", help="the loops that share the nodes")],
    *,
    images: Annotated[Path, typer.Option(help="OCI image layout that holds the loops' images")],
    groups: Annotated[
        Path | None, typer.Option(help="YAML with storage, shares and link of the groups; none: as the loops say")
    ] = None,
    packages: Annotated[
        list[Path] | None,
        typer.Option(help="JSON with Package documents of one version, the preferred version first; none: the catalog"),
    ] = None,
    home: HomeOption = HOME,
    out: Annotated[
        Path | None, typer.Option("-o", "--out", help="folder of its own that gets one ImagePrePullJob a file")
    ] = None,
    nodes: NodesOption = None,
    registry: RegistryOption = "edgeloop.local",
    mirror: MirrorOption = None,
    lend: Annotated[
        str,
        typer.Option(envvar="EDGELOOP_NODES_LEND", help="what every node lends to images, such as python3.11"),
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Decide what each group of nodes keeps on disk for the time without a link.

    It keeps the images that serve the most requests, each counted as its loop's priority says, within the disk and what the
    link brings in time; a loop's images are its champion, its last good version, and smaller images of other targets that
    its nodes can run. Every keep and drop is explained. Apply the jobs of --out in the order in which they are printed.
    Which version a group runs is left to the rollout.

    Examples:

      edgeloop plan loop.yaml --images images
      edgeloop plan power.yaml pumps.yaml --images images --groups groups.yaml -o manifests/offline --nodes nodes.yaml
      edgeloop plan loop.yaml --images images --packages champion.json --packages last-good.json --json
    """
    from edgeloop_fleet.offline import plan_groups
    from edgeloop_fleet.offline.facts import groups_from
    from edgeloop_pipelines.cli import plan_inputs
    from edgeloop_pipelines.loopfile import load

    loops = [load(path) for path in loop_files]
    given = plan_inputs.from_files(loops, packages) if packages else plan_inputs.from_catalog(loops, home)
    layers_of = functools.cache(functools.partial(plan_inputs.layers_in, images))
    plan = plan_groups(groups_from(loops, given, plan_inputs.facts_in(groups), layers_of, lent_in(lend)))
    written: list[Path] = []
    if out is not None:
        known = {package.digest: package for versions in given.values() for one in versions for package in one.values()}
        written = _write(plan, loops, known, nodes, out, registry, mirror or ())
    document = {"plan": to_json(plan), "written": [str(path) for path in written]}
    emit(document, lambda: _show(plan, written), as_json)


def _write(  # noqa: PLR0917
    plan: OfflinePlan,
    loops: Sequence[Loop],
    packages: Mapping[str, Package],
    nodes: Path | None,
    out: Path,
    registry: str,
    mirrors: Sequence[str],
) -> list[Path]:
    import yaml

    from edgeloop_fleet.clusters.folder import read_nodes
    from edgeloop_fleet.offline import prepull_jobs
    from edgeloop_fleet.render import RenderError, Settings, files
    from edgeloop_fleet.render.values import mirrors_in

    try:
        known = read_nodes(nodes) if nodes else ()
        settings = Settings(registry=registry, mirrors=mirrors_in(mirrors, plan.groups))
        jobs = prepull_jobs(plan, loops, packages, known, settings)
        written = files.write_objects(out, jobs)
    except RenderError as error:
        raise UserError(str(error)) from error
    except yaml.YAMLError as error:
        raise UserError(f"{nodes}: expected YAML with Node objects: {error}") from error
    others = sorted({path.name for path in out.glob("imageprepulljob-*.yaml")} - {path.name for path in written})
    if others:
        console.print(f"{out}: not of this plan, do not apply: {', '.join(others)}", markup=False)
    return written


def _show(plan: OfflinePlan, written: Sequence[Path]) -> None:
    from edgeloop_fleet.offline.explain import size

    for group, items in plan.groups.items():
        seen = plan.outlook[group]
        room = "no limit" if seen.storage_bytes is None else size(seen.storage_bytes)
        brings = "no link forecast" if seen.link_bytes is None else f"the link brings {size(seen.link_bytes)}"
        say(
            f"{group}: serves {100 * seen.served_share:.1f} % of requests without a link "
            f"({100 * seen.weighted_share:.1f} % by priority), {_method(seen.method, seen.gap)}; "
            f"{size(seen.disk_bytes)} on disk of {room}; {size(seen.fetch_bytes)} to fetch, {brings}",
            style="bold",
        )
        table(("image", "target", "runtime", "", "why"), [_row(item) for item in items])
        say("")
    for path in written:
        say(str(path))


def _method(method: str, gap: float) -> str:
    return "the most that is possible" if method == "exact" else f"at most {100 * gap:.1f} % below the most possible"


def _row(item: KeptItem) -> tuple[Any, ...]:
    state = "serves" if item.serves else "reserve" if item.keep else "dropped"
    return f"{item.loop}@{item.version}", item.target, item.runtime, state, item.why.partition(": ")[2]
