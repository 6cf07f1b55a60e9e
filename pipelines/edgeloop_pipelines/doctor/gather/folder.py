"""Reads objects from files: what `edgeloop render` wrote, or the cluster folder of the local stand-in for KubeEdge."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgeloop_fleet.render import files
from edgeloop_pipelines.doctor.facts import Cluster
from edgeloop_pipelines.doctor.gather.cluster import RESOURCES

__all__ = ["read_folder"]

LAYERS = ("apply", ".")  # of a stand-in's folder, `status` holds what came of the objects; it is not read


def read_folder(folder: Path) -> Cluster:
    """The objects of a folder's YAML files as a cluster that is not live. `away` says which file cannot be read."""
    kinds = {kind: resource for resource, (_, kind) in RESOURCES.items() if " " not in resource}
    objects: dict[str, list[Mapping[str, Any]]] = {resource: [] for resource in kinds.values() if resource != "nodes"}
    try:
        if not folder.is_dir():
            raise FileNotFoundError(f"{folder}: no such folder")
        for document in _documents(folder):
            if document.get("kind") in kinds:
                objects.setdefault(kinds[document["kind"]], []).append(document)
    except Exception as error:  # whatever YAML makes of a strange file
        return Cluster(where=str(folder), live=False, away=" ".join(str(error).split())[:300])
    return Cluster(where=str(folder), live=False, objects=objects)


def _documents(folder: Path) -> Iterator[dict[str, Any]]:
    for layer in LAYERS:
        for path in sorted((folder / layer).glob("*.yaml")):
            for document in files.load_all(path.read_text(encoding="utf-8")):
                if isinstance(document, dict):
                    items = document.get("items") if document.get("kind") == "List" else [document]
                    yield from (item for item in items or [] if isinstance(item, dict))
