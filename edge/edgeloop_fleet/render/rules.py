"""Messages between nodes and cloud through KubeEdge's router: RuleEndpoints, and one Rule per node and topic.

KubeEdge ignores updates of Rules and RuleEndpoints, so each is named by a hash of its content: other content is another
object. It also forgets a topic when any Rule for it is deleted, so delete what is superseded before applying what is new.
A Rule made before its node has connected never subscribes: nodes that are not ready get theirs at a later rendering.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeloop_fleet.render import labels
from edgeloop_fleet.render.values import Node, Settings

__all__ = ["ACKS", "REPORTS", "endpoints", "rules"]

REPORTS, ACKS = "reports", "acks"  # first words of the topics; the second is the node


def _object(kind: str, prefix: str, settings: Settings, spec: dict[str, Any]) -> dict[str, Any]:
    return {
        "apiVersion": "rules.kubeedge.io/v1",
        "kind": kind,
        "metadata": {
            "name": labels.hashed_name(prefix, {"namespace": settings.namespace, **spec}),
            "namespace": settings.namespace,
            "labels": labels.common(prefix),
        },
        "spec": spec,
    }


def _endpoint(kind: str, settings: Settings) -> dict[str, Any]:
    return _object("RuleEndpoint", kind, settings, {"ruleEndpointType": kind, "properties": {}})


def endpoints(settings: Settings) -> list[dict[str, Any]]:
    """The two ends that rules join: the nodes' event bus and REST."""
    return [_endpoint("eventbus", settings), _endpoint("rest", settings)]


def _reports(node: Node, bus: str, rest: str, settings: Settings) -> dict[str, Any]:
    """Carries what the node's agent publishes on `<namespace>/reports/<node>` to the fleet service."""
    spec = {
        "source": bus,
        "sourceResource": {"topic": f"{REPORTS}/{node.name}", "node_name": node.name},
        "target": rest,
        "targetResource": {"resource": f"{settings.fleet_url.rstrip('/')}/v1/reports"},
    }
    return _object("Rule", REPORTS, settings, spec)


def _acks(bus: str, rest: str, settings: Settings) -> dict[str, Any]:
    """Publishes POST `<router>/<node>/<namespace>/acks/<node>` on the node's topic `acks/<node>`; one rule for all nodes."""
    spec = {
        "source": rest,
        "sourceResource": {"path": f"/{ACKS}"},
        "target": bus,
        "targetResource": {"topic": ACKS},
    }
    return _object("Rule", ACKS, settings, spec)


def rules(nodes: Sequence[Node], settings: Settings) -> list[dict[str, Any]]:
    """A Rule for each node that is up, and the one for acknowledgements."""
    bus, rest = (endpoint["metadata"]["name"] for endpoint in endpoints(settings))
    up = [node for node in nodes if node.ready]
    return [*(_reports(node, bus, rest, settings) for node in up), _acks(bus, rest, settings)]
