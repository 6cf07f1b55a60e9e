"""Collects what the platform knows when the stream has ended: versions, runs, rollouts, nodes, bytes, and the first model.

Reads the fleet service, the catalog, the run folders and the image layout; changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_pipelines.demo.conduct import World

if TYPE_CHECKING:
    from edgeloop_components.stores.objects import Objects
    from edgeloop_contracts import ModelVersion

__all__ = ["first_model", "nodes", "runs", "shipped", "versions"]


def versions(objects: Objects, loop: str) -> list[ModelVersion]:
    """All versions of the catalog, rejected ones too."""
    from edgeloop_components.catalog import catalog

    return catalog.versions(objects, loop)


def first_model(objects: Objects, loop: str, folder: Path) -> Path:
    """Writes model.onnx and reference.json of version 1 into a folder; gives the folder."""
    from edgeloop_components.catalog import catalog

    first = catalog.version(objects, loop, 1)
    for name, digest in (("model.onnx", first.onnx), ("reference.json", first.reference)):
        catalog.fetch_blob(objects, digest, folder / name)
    return folder


def runs(world: World) -> list[dict[str, Any]]:
    """The results of all runs that were asked for, in order, with who asked, why, and wall times."""
    from edgeloop_pipelines.local.runfolder import RunFolder

    found = []
    for event in world.timeline:
        if event["kind"] != "run_requested":
            continue
        key = event["text"].split()[1]
        folder = RunFolder(world.platform.home, key)
        result, (request, _) = folder.result(), folder.read_order()
        if result is None:
            continue
        found.append(
            {
                **{
                    name: result[name] for name in ("run_key", "cause", "state", "version", "gates", "seconds", "error")
                },
                "by": request.by,
                "reason": request.reason,
                "requested_s": request.requested_s,
                "evidence_s": request.evidence,
                "asked_wall_s": event["wall_s"],
                "ended_wall_s": result["started_s"] + result["total_s"],
                "total_s": result["total_s"],
            }
        )
    return found


def nodes(world: World) -> dict[str, tuple[str, int | None]]:
    """node: (group, version that its agent says it serves); the newest where two are loaded, None where none is."""
    found = {}
    for row in world.fleet.get("/v1/nodes")["nodes"]:
        loaded = [x["version"] for x in row["loaded"] if x["loop"] == world.loop.name and x["ready"]]
        found[row["node"]] = (row["group"], max(loaded, default=None))
    return found


def shipped(world: World, rollouts: Sequence[Mapping[str, Any]]) -> list[dict[str, Any]]:
    """For each version and node: the bytes of the image's blobs that the node did not have from earlier versions."""
    has: dict[str, set[str]] = {node.name: set() for node in world.prepared.nodes}
    targets = {target.nodes.group: target.name for target in world.loop.targets}
    found = []
    for rollout in rollouts:
        took = {group for wave in rollout["waves"] if wave["state"] != "pending" for group in wave["groups"]}
        for node in world.prepared.nodes:
            if node.group in took:
                image = rollout["packages"][targets[node.group]]["digest"]
                blobs = dict(_blobs(world, image))
                new = sum(size for digest, size in blobs.items() if digest not in has[node.name])
                has[node.name] |= set(blobs)
                found.append({"version": rollout["version"], "node": node.name, "bytes": new})
    return found


def _blobs(world: World, image: str) -> Iterator[tuple[str, int]]:
    """Digest and size of an image's manifest, config and layers."""
    from edgeloop_components.package import blobs, layout

    document = layout.manifest(world.platform.installation.images, image)
    yield image, len(blobs.read_blob(world.platform.installation.images, image))
    for part in (document["config"], *document["layers"]):
        yield part["digest"], int(part["size"])
