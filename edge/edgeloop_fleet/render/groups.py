"""The objects of a node group: which nodes it has, and the images they pull before they need them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

from edgeloop_contracts import Package, Target
from edgeloop_fleet.render import labels
from edgeloop_fleet.render.values import Node, Settings, checked

__all__ = ["image_of", "node_group", "prepull_job"]


def image_of(package: Package, settings: Settings, group: str = "") -> str:
    """The full name of a package's image, by digest, as the group's nodes ask for it."""
    repository = checked("repository", f"package {package.target}: repository", package.repository)
    return f"{settings.registry_of(group)}/{repository}@{checked('digest', 'package digest', package.digest)}"


def node_group(target: Target) -> dict[str, Any]:
    """The NodeGroup. It selects by labels only: by `nodes` it would take every unlabelled node too."""
    return {
        "apiVersion": "apps.kubeedge.io/v1alpha1",
        "kind": "NodeGroup",
        "metadata": {
            "name": labels.node_group_name(target.nodes.group),
            "labels": labels.common("node-group", **{labels.GROUP: target.nodes.group}),
        },
        "spec": {"matchLabels": labels.group_labels(target)},
    }


def prepull_job(loop: str, group: str, image: str, nodes: Sequence[Node]) -> dict[str, Any]:
    """The job that brings one image to the group's nodes: those known by name, else whatever belongs to the group.

    It tries every node whatever happens on the others; a rollout looks at Deployments and agents, not at this job.
    """
    ready = [node.name for node in nodes if node.ready]
    belonging = {"matchLabels": {labels.BELONGING: labels.node_group_name(group)}}
    template = {
        "images": [image],
        **({"nodeNames": ready} if ready else {"labelSelector": belonging}),
        "checkItems": ["disk"],
        "concurrency": 10,
        "failureTolerate": "1",
        "retryTimes": 3,
        "timeoutSeconds": 900,
    }
    spec = {"imagePrePullTemplate": template}
    return {
        "apiVersion": "operations.kubeedge.io/v1alpha2",
        "kind": "ImagePrePullJob",
        "metadata": {
            "name": labels.hashed_name(f"prepull-{labels.deployment_name(loop, group)}", spec),
            "labels": labels.common("prepull", **{labels.LOOP: loop, labels.GROUP: group}),
        },
        "spec": spec,
    }
