"""The ImagePrePullJobs of a plan: what has to be fetched, in the order in which the plan wants it."""

from __future__ import annotations

import math
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgeloop_contracts import KeptItem, Loop, OfflinePlan, Package
from edgeloop_fleet.render import Node, Settings
from edgeloop_fleet.render.groups import image_of, prepull_job
from edgeloop_fleet.render.labels import group_labels
from edgeloop_fleet.render.values import members

__all__ = ["prepull_jobs"]


def prepull_jobs(
    plan: OfflinePlan,
    loops: Iterable[Loop],
    packages: Mapping[str, Package],
    nodes: Sequence[Node],
    settings: Settings,
) -> list[dict[str, Any]]:
    """One job for each image that a group has to fetch; what its nodes have already gets none.

    `packages`: digest: package, of every image of the plan. Groups come in the plan's order, and in a group the images in the
    order of their arrival. RenderError when a name cannot stand in an object.
    """
    labels = {target.nodes.group: group_labels(target) for loop in loops for target in loop.targets}
    return [
        prepull_job(item.loop, group, image_of(packages[item.digest], settings, group), members(nodes, labels[group]))
        for group, items in plan.groups.items()
        for item in sorted((item for item in items if item.keep and item.fetch_bytes), key=_arrival)
    ]


def _arrival(item: KeptItem) -> tuple[bool, float]:
    return not item.serves, math.inf if item.ready_s is None else item.ready_s
