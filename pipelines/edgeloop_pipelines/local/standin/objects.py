"""Small views of Kubernetes objects: nodes, which group they belong to, and which of them a pod may run on."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeloop_contracts import digest_of
from edgeloop_fleet.render.labels import BELONGING

__all__ = [
    "ManifestError",
    "NodeView",
    "Owner",
    "belonging",
    "names",
    "node_view",
    "revision_of",
    "selected",
    "texts",
]

Object = Mapping[str, Any]


class ManifestError(ValueError):
    """An object that the stand-in cannot do; the message says what is wrong with it."""


def texts(value: Any, where: str) -> None:
    """ManifestError for anything but a mapping of text to text."""
    if not isinstance(value, Mapping) or not all(isinstance(text, str) for pair in value.items() for text in pair):
        raise ManifestError(f"{where}: expected text: text, got {value!r}")


def names(value: Any, where: str) -> None:
    """ManifestError for anything but a list of texts."""
    if not isinstance(value, list) or not all(isinstance(text, str) for text in value):
        raise ManifestError(f"{where}: expected a list of texts, got {value!r}")


@dataclass(frozen=True)
class Owner:
    """The workload that a pod belongs to."""

    kind: str
    namespace: str
    name: str


@dataclass(frozen=True)
class NodeView:
    """A node: its labels, and the address that its pods have (they are on the host's network)."""

    name: str
    labels: Mapping[str, str]
    address: str


def node_view(document: Object) -> NodeView:
    """Reads a Node object. ManifestError when it has no name or no InternalIP."""
    name = (document.get("metadata") or {}).get("name")
    addresses = (document.get("status") or {}).get("addresses") or []
    internal = [item["address"] for item in addresses if item.get("type") == "InternalIP"]
    if document.get("kind") != "Node" or not name or not internal:
        raise ManifestError("expected a Node with metadata.name and an InternalIP in status.addresses")
    return NodeView(name, document["metadata"].get("labels") or {}, internal[0])


def _fits(labels: Mapping[str, str], wanted: Mapping[str, str]) -> bool:
    return all(labels.get(key) == value for key, value in wanted.items())


def belonging(groups: list[Object], nodes: list[NodeView]) -> dict[str, str]:
    """node: the NodeGroup it belongs to. A node can belong to one; the first by name has it."""
    found: dict[str, str] = {}
    for group in sorted(groups, key=lambda group: str(group["metadata"]["name"])):
        spec = group["spec"]
        for node in nodes:
            if _fits(node.labels, spec["matchLabels"]) or node.name in (spec.get("nodes") or []):
                found.setdefault(node.name, group["metadata"]["name"])
    return found


def selected(template: Object, nodes: list[NodeView], membership: Mapping[str, str]) -> list[str]:
    """The nodes that a pod template may run on, by name."""
    wanted = template["spec"].get("nodeSelector") or {}
    marked = ({**node.labels, BELONGING: membership.get(node.name, "")} for node in nodes)
    return sorted(node.name for node, labels in zip(nodes, marked, strict=True) if _fits(labels, wanted))


def revision_of(template: Object) -> str:
    """What the API server calls the pod template's hash: 10 hex digits."""
    return digest_of(template)[7:17]
