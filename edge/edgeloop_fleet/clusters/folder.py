"""A cluster that is a folder: objects are files in `apply/`, what came of them are files in `status/`, nodes are `nodes.yaml`.

The local stand-in for KubeEdge reads the one and writes the other. This adapter does no more than an API server's client
would: it puts objects there and reads what the controllers say. It knows nothing of processes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeloop_fleet.ports import GroupState
from edgeloop_fleet.render import Node, RenderError, deployment_name, files, node_of, superseded
from edgeloop_fleet.render.labels import GROUP, node_group_name
from edgeloop_fleet.render.values import EDGE_ROLE

__all__ = ["FolderCluster", "node_document", "read_node_documents", "read_nodes", "write_nodes"]

APPLY, STATUS, NODES = "apply", "status", "nodes.yaml"


def node_document(name: str, *, group: str, address: str, labels: Mapping[str, str] | None = None) -> dict[str, Any]:
    """A Node object as KubeEdge registers it, with the label of its group. `address`: its own address, such as 127.0.1.1."""
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {"name": name, "labels": {EDGE_ROLE: "", GROUP: group, **(labels or {})}},
        "status": {
            "addresses": [{"type": "InternalIP", "address": address}, {"type": "Hostname", "address": name}],
            "conditions": [{"type": "Ready", "status": "True"}],
        },
    }


def write_nodes(folder: Path, documents: Iterable[Mapping[str, Any]]) -> None:
    """Writes `nodes.yaml` of a cluster folder, and makes the folder where there is none. OSError."""
    for part in (APPLY, STATUS):
        (folder / part).mkdir(parents=True, exist_ok=True)
    files.write_atomic(folder / NODES, "---\n".join(files.dump(document) for document in documents))


def read_node_documents(path: Path) -> list[Any]:
    """The Node objects of a YAML file: documents one after the other, or a List of them. OSError, yaml.YAMLError, RenderError."""
    documents = files.load_all(path.read_text())
    items = [item for doc in documents for item in (doc.get("items", [doc]) if isinstance(doc, dict) else [doc])]
    for item in items:
        if not isinstance(item, dict) or not isinstance(item.get("metadata"), dict):
            raise RenderError(f"{path}: expected Node objects with metadata, got {str(item)[:60]!r}")
    return items


def read_nodes(path: Path) -> tuple[Node, ...]:
    """The nodes of a YAML file, as rendering wants them. OSError, yaml.YAMLError, RenderError."""
    return tuple(node_of(document) for document in read_node_documents(path))


def _int(status: Mapping[str, Any], name: str) -> int:
    return int(status.get(name) or 0)


def _waiting(deployment: Mapping[str, Any], pods: Sequence[Mapping[str, Any]]) -> str:
    """Why the update does not go on: a pod's reason and message, else that of the Deployment; '' when it does."""
    for container in _containers(pods):
        waiting = container.get("state", {}).get("waiting") or {}
        if waiting.get("reason", "").endswith("BackOff"):
            return ": ".join(text for text in (waiting["reason"], waiting.get("message", "")) if text)
    for condition in deployment.get("status", {}).get("conditions", []):
        if condition["type"] == "Progressing" and condition["status"] == "False":
            return str(condition["reason"])
    return ""


def _containers(pods: Iterable[Mapping[str, Any]]) -> Iterator[Mapping[str, Any]]:
    return (container for pod in pods for container in pod.get("status", {}).get("containerStatuses", []))


class FolderCluster:
    """The `Cluster` port over a cluster folder. Every method raises FileNotFoundError when the folder is not there."""

    def __init__(self, folder: Path, namespace: str = "edgeloop") -> None:
        self._folder, self._namespace = folder, namespace

    def apply(self, objects: Sequence[Mapping[str, Any]]) -> None:
        """Writes the objects, after it has removed those of edgeloop's that they supersede (see `render.superseded`)."""
        self.delete(superseded(self._documents(APPLY, "*"), objects))
        files.write_objects(self._part(APPLY), objects)

    def delete(self, objects: Sequence[Mapping[str, Any]]) -> None:
        for document in objects:
            (self._part(APPLY) / files.file_name(document)).unlink(missing_ok=True)

    def observe(self, loop: str, groups: Sequence[str]) -> Mapping[str, GroupState]:
        return {group: self._group(loop, group) for group in groups}

    def _part(self, name: str) -> Path:
        if not self._folder.is_dir():
            raise FileNotFoundError(2, "no cluster folder here (is the stand-in running?)", str(self._folder))
        return self._folder / name

    def _documents(self, part: str, pattern: str) -> list[Mapping[str, Any]]:
        """The objects of one part; a file that another process removed or broke meanwhile counts as not there."""
        import yaml

        documents: list[Mapping[str, Any]] = []
        for path in sorted(self._part(part).glob(f"{pattern}.yaml")):
            try:
                documents += [document for document in files.load_all(path.read_text()) if isinstance(document, dict)]
            except (FileNotFoundError, yaml.YAMLError):
                continue
        return documents

    def _pods(self, deployment: str) -> list[Mapping[str, Any]]:
        """The pods of one Deployment: those of its ReplicaSets `<deployment>-<hash>`."""
        pods = self._documents(STATUS, f"pod-{self._namespace}-{deployment}-*")
        return [pod for pod in pods if pod["metadata"]["ownerReferences"][0]["name"].rpartition("-")[0] == deployment]

    def _nodes(self, group: str) -> tuple[str, ...]:
        found = self._documents(STATUS, f"nodegroup-{node_group_name(group)}")
        return tuple(
            node["nodeName"]
            for document in found
            for node in document.get("status", {}).get("nodeStatuses", [])
            if node["selectionStatus"] == "Succeeded"
        )

    def _group(self, loop: str, group: str) -> GroupState:
        name, nodes = deployment_name(loop, group), self._nodes(group)
        found = self._documents(STATUS, f"deployment-{self._namespace}-{name}")
        if not found:
            return GroupState(group=group, nodes=nodes)
        deployment, pods = found[0], self._pods(name)
        status = deployment.get("status", {})
        return GroupState(
            group=group,
            nodes=nodes,
            desired_digest=deployment["spec"]["template"]["spec"]["containers"][0]["image"].rpartition("@")[2],
            generation=_int(deployment["metadata"], "generation"),
            observed_generation=_int(status, "observedGeneration"),
            replicas=_int(status, "replicas"),
            updated=_int(status, "updatedReplicas"),
            available=_int(status, "availableReplicas"),
            waiting=_waiting(deployment, pods),
            restarts=sum(_int(container, "restartCount") for container in _containers(pods)),
        )
