"""What rendering starts from besides a loop and its packages: settings of the installation, and the nodes that are known.

Texts that end up in image names, topics, URLs or label selectors are checked here, once, before anything is rendered.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Literal

from edgeloop_contracts.ecdsa import PublicKey

__all__ = [
    "AGENT_IMAGE",
    "EDGE_ROLE",
    "Node",
    "RenderError",
    "Settings",
    "bounded",
    "mirrors_in",
    "node_of",
    "short_hash",
]

EDGE_ROLE = "node-role.kubernetes.io/edge"  # KubeEdge puts this label on every edge node
AGENT_IMAGE = "edgeloop.local/edgeloop/agent:0.1.0"  # a name; overlays and callers say the digest

_DNS = r"[a-z0-9]([-a-z0-9]*[a-z0-9])?"
_FORMS: Mapping[str, tuple[str, str]] = {
    "namespace": (_DNS, "a Kubernetes namespace such as edgeloop"),
    "registry": (
        r"[a-z0-9.-]+(:\d{1,5})?(/[a-z0-9._-]+)*",
        "a registry such as registry.example:5000 or one with a path",
    ),
    "host": (
        r"(?=[^:]*\.|.*:|localhost$)[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:\d{1,5})?",
        "a registry's HOST or HOST:PORT with a dot or a port, such as cache.site-a:5000",
    ),
    "repository": (
        r"[a-z0-9]+([._/-]+[a-z0-9]+)*",
        "an image's name without tag and digest, such as loops/power-gateway",
    ),
    "image": (r"[a-zA-Z0-9][a-zA-Z0-9._/:@-]*", "an image such as registry.example/agent@sha256:<64 hex digits>"),
    "digest": (r"sha256:[0-9a-f]{64}", "a digest sha256:<64 hex digits>"),
    "url": (r"https?://[A-Za-z0-9.\[\]:-]+(/[A-Za-z0-9._~/-]*)?", "an http or https URL without query"),
    "device": (r"/dev/[A-Za-z0-9][A-Za-z0-9._-]{0,62}", "a device of the node directly in /dev, such as /dev/ttyUSB1"),
    "resource": (r"[a-z0-9]([-a-z0-9.]*[a-z0-9])?", "the first part of an extended resource's name"),
    "address": (r"[A-Za-z0-9.\[\]:-]+:\d{1,5}", "HOST:PORT"),
    "node": (rf"{_DNS}(\.{_DNS})*", "a node's name of lower-case letters, digits, '-' and '.'"),
    "label": (r"([a-z0-9.-]+/)?[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", "a Kubernetes label key"),
    "label value": (r"|[A-Za-z0-9]([A-Za-z0-9._-]{0,61}[A-Za-z0-9])?", "a Kubernetes label value"),
}


class RenderError(ValueError):
    """A value cannot stand in a Kubernetes object; the message says which, what was expected and what was got."""


def checked(form: str, where: str, value: str) -> str:
    """The value, when it has the form. RenderError otherwise."""
    pattern, meaning = _FORMS[form]
    if not re.fullmatch(pattern, value):
        raise RenderError(f"{where}: expected {meaning}, got {value!r}")
    return value


def mirrors_in(words: Iterable[str], groups: Iterable[str]) -> dict[str, str]:
    """Of words GROUP=HOST[:PORT] what `Settings.mirrors` holds. RenderError for another form and for an unknown group."""
    known, found = tuple(groups), {}
    for word in words:
        group, equals, host = word.partition("=")
        if not equals or group not in known:
            raise RenderError(f"mirror: expected GROUP=HOST[:PORT] with a group of {', '.join(known)}, got {word!r}")
        found[group] = checked("host", f"mirror of {group}", host)
    return found


def short_hash(text: str, digits: int = 8) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:digits]


def bounded(name: str, limit: int) -> str:
    """The name itself, or one of at most `limit` characters that a hash keeps apart from others."""
    return name if len(name) <= limit else f"{name[: limit - 9].rstrip('-.')}-{short_hash(name)}"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """What is the same for all loops of an installation.

    `server_port` is where a node's applications ask for scores. Two loops whose groups share a node need two ports: servers
    of one port share its connections (SO_REUSEPORT), which is right for two versions of one model and wrong for two models.
    `transport` says how reports travel: over the node's broker and KubeEdge's router, or straight to the fleet service.
    `trusted`: servers that hold Python load only what one of these keys has signed; none: they ask for no signature. The keys
    are in the pods themselves, where they outlive a power cut without a link (docs/decisions/0008). No image is rendered that
    none of them signed, nor one that needs more than its nodes have and `lent`, what all nodes lend to images (fits.py).
    `mirrors`: group: HOST[:PORT] of its site's pull-through registry, from which its nodes get the loops' images.
    `device_resource` and `device_gid`: how nodes offer FPGA boards (boards.py), and the group that owns them, Debian's dialout.
    """

    namespace: str = "edgeloop"
    registry: str = "edgeloop.local"
    agent_image: str = AGENT_IMAGE
    fleet_url: str = "http://fleet.edgeloop-cloud.svc:8080"
    transport: Literal["mqtt", "https"] = "mqtt"
    mqtt: str = "127.0.0.1:1883"
    server_port: int = 8080
    feedback_port: int = 8081
    poll_s: float = 5.0
    trusted: tuple[PublicKey, ...] = ()
    lent: tuple[str, ...] = ()
    mirrors: Mapping[str, str] = field(default_factory=dict)
    device_resource: str = "smarter-devices"
    device_gid: int = 20

    def __post_init__(self) -> None:
        checked("namespace", "settings.namespace", self.namespace)
        checked("registry", "settings.registry", self.registry)
        for group, mirror in self.mirrors.items():
            checked("host", f"settings.mirrors.{group}", mirror)
        checked("image", "settings.agent_image", self.agent_image)
        checked("url", "settings.fleet_url", self.fleet_url)
        checked("address", "settings.mqtt", self.mqtt)
        checked("resource", "settings.device_resource", self.device_resource)

    def registry_of(self, group: str) -> str:
        """Where the group's nodes get images: the registry, or the same path behind the mirror of their site."""
        mirror = self.mirrors.get(group)
        if mirror is None:
            return self.registry
        host, slash, path = self.registry.partition("/")
        named = any(mark in host for mark in ".:") or host == "localhost"
        return f"{mirror}{slash}{path}" if named else f"{mirror}/{self.registry}"

    def ack_url(self, router_url: str) -> str:
        """Where the fleet service posts acknowledgements: KubeEdge's router, which publishes them on `acks/<node>`."""
        checked("url", "router_url", router_url)
        return f"{router_url.rstrip('/')}/{{node}}/{self.namespace}/acks/{{node}}"


@dataclass(frozen=True, kw_only=True)
class Node:
    """A node as far as rendering needs it. `ready` is False when its Ready condition says anything but True."""

    name: str
    labels: Mapping[str, str] = field(default_factory=dict)
    ready: bool = True

    def __post_init__(self) -> None:
        checked("node", "node", self.name)

    def fits(self, labels: Mapping[str, str]) -> bool:
        return all(self.labels.get(key) == value for key, value in labels.items())


def node_of(document: Mapping[str, Any]) -> Node:
    """Reads a Kubernetes Node object. One without conditions was written by hand: it counts as ready."""
    metadata = document.get("metadata") or {}
    conditions = (document.get("status") or {}).get("conditions") or []
    told = [condition.get("status") == "True" for condition in conditions if condition.get("type") == "Ready"]
    return Node(name=str(metadata.get("name", "")), labels=metadata.get("labels") or {}, ready=all(told))


def members(nodes: Iterable[Node], labels: Mapping[str, str]) -> tuple[Node, ...]:
    """The nodes that carry all the labels, by name."""
    return tuple(sorted((node for node in nodes if node.fits(labels)), key=lambda node: node.name))
