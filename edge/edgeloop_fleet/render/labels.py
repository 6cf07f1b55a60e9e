"""Names and labels of what is rendered. Names are functions of the loop and the group alone, so that any part can tell them.

No name is longer than 63 characters; one that would be is cut and keeps apart by a hash. Objects that KubeEdge cannot
update (Rules, RuleEndpoints) or that must run again when their content changes (ImagePrePullJobs) carry a hash of their
content in the name.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from edgeloop_contracts import Target, digest_of
from edgeloop_fleet.render.values import bounded, checked

__all__ = [
    "BELONGING",
    "GROUP",
    "LOOP",
    "application_name",
    "common",
    "deployment_name",
    "group_labels",
    "hashed_name",
    "node_group_name",
]

LOOP, GROUP = "edgeloop.dev/loop", "edgeloop.dev/group"
BELONGING = "apps.kubeedge.io/belonging-to"  # KubeEdge puts it on the nodes of a NodeGroup
NAME, PART_OF, MANAGED_BY = (f"app.kubernetes.io/{word}" for word in ("name", "part-of", "managed-by"))
_HALF = 31  # of a Deployment's name: <application>-<node group>


def application_name(loop: str) -> str:
    """The EdgeApplication of a loop."""
    return bounded(loop, _HALF)


def node_group_name(group: str) -> str:
    """The NodeGroup of a group."""
    return bounded(group, _HALF)


def deployment_name(loop: str, group: str) -> str:
    """The Deployment that KubeEdge makes of the loop's EdgeApplication for a group."""
    return f"{application_name(loop)}-{node_group_name(group)}"


def common(name: str, **more: str) -> dict[str, str]:
    return {NAME: name, PART_OF: "edgeloop", MANAGED_BY: "edgeloop", **more}


def group_labels(target: Target) -> dict[str, str]:
    """What a node must carry to be of the target's group. Never empty: a NodeGroup without labels takes every node."""
    given = {
        checked("label", f"target {target.name}: nodes.labels", key): checked(
            "label value", f"target {target.name}: nodes.labels.{key}", value
        )
        for key, value in target.nodes.labels.items()
    }
    return given or {GROUP: target.nodes.group}


def hashed_name(prefix: str, content: Mapping[str, Any]) -> str:
    """`<prefix>-<10 hex digits>`: the same content has the same name, and other content another."""
    return f"{bounded(prefix.replace('.', '-'), 52)}-{digest_of(content)[7:17]}"
