"""Which pods a workload starts and stops now: surge updates of Deployments, node by node updates of DaemonSets.

Pure, and after Kubernetes' own controllers: a Deployment has at most replicas + maxSurge pods and at least replicas -
maxUnavailable available ones; it removes broken old pods first, then old pods on nodes that have two. Where a new pod goes
follows the topology spread: to the node with the fewest pods of its revision.
"""

from __future__ import annotations

import math
import re
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeloop_pipelines.local.standin.pods import Pod

__all__ = ["Changes", "count_of", "daemon_changes", "deployment_changes", "limits_of"]


@dataclass(frozen=True)
class Changes:
    """Nodes that get a pod, and names of pods that are stopped."""

    start: tuple[str, ...] = ()
    stop: tuple[str, ...] = ()


def count_of(value: int | str, total: int, *, up: bool) -> int:
    """A number of pods that may be written as a share of all, such as 25%. ValueError for anything else."""
    if isinstance(value, int) and not isinstance(value, bool) and value >= 0:
        return value
    if not isinstance(value, str) or not re.fullmatch(r"\d{1,3}%", value):
        raise ValueError(f"expected a number of pods or a share such as 25%, got {value!r}")
    share = total * int(value.removesuffix("%")) / 100
    return math.ceil(share) if up else math.floor(share)


def _deployment_limits(spec: Mapping[str, Any]) -> tuple[int, int]:
    """maxSurge and maxUnavailable; Kubernetes lets at least one of them be 1."""
    rolling = (spec.get("strategy") or {}).get("rollingUpdate") or {}
    surge = count_of(rolling.get("maxSurge", "25%"), spec["replicas"], up=True)
    unavailable = count_of(rolling.get("maxUnavailable", "25%"), spec["replicas"], up=False)
    return surge, unavailable if surge or unavailable else 1


def _daemon_limit(spec: Mapping[str, Any], nodes: int) -> int:
    rolling = (spec.get("updateStrategy") or {}).get("rollingUpdate") or {}
    return max(count_of(rolling.get("maxUnavailable", 1), nodes, up=True), 1)


def limits_of(document: Mapping[str, Any]) -> tuple[int, ...]:
    """The limits of a workload's update. ValueError when they, or the replicas, are no numbers."""
    spec = document["spec"]
    if document["kind"] == "DaemonSet":
        return (_daemon_limit(spec, 1),)
    replicas = spec["replicas"]
    if not isinstance(replicas, int) or isinstance(replicas, bool) or replicas < 0:
        raise ValueError(f"replicas: expected a whole number >= 0, got {replicas!r}")
    return _deployment_limits(spec)


def _place(nodes: Sequence[str], new: Sequence[Pod], count: int) -> tuple[str, ...]:
    """Where `count` new pods go: each to the node that has the fewest pods of this revision."""
    load = Counter(dict.fromkeys(nodes, 0))
    load.update(pod.node for pod in new)
    chosen = []
    for _ in range(count if nodes else 0):
        node = min(nodes, key=lambda name: (load[name], name))
        load[node] += 1
        chosen.append(node)
    return tuple(chosen)


def _surplus(old: Sequence[Pod], every: Sequence[Pod], count: int) -> list[str]:
    """Which of the old pods go: broken ones, then those on a node that has several, then the youngest."""
    crowd = Counter(pod.node for pod in every if pod.ready)
    order = sorted(old, key=lambda pod: (pod.ready, -crowd[pod.node], -pod.created_s, pod.name))
    return [pod.name for pod in order[: max(count, 0)]]


def deployment_changes(spec: Mapping[str, Any], revision: str, nodes: Sequence[str], pods: Sequence[Pod]) -> Changes:
    """One step of a Deployment. `nodes` may take its pods; a pod on another node is stopped at once."""
    live = [pod for pod in pods if not pod.deleting]
    strays = [pod.name for pod in live if pod.node not in nodes]
    live = [pod for pod in live if pod.node in nodes]
    new, old = [p for p in live if p.revision == revision], [p for p in live if p.revision != revision]
    replicas, (surge, unavailable) = spec["replicas"] if nodes else 0, _deployment_limits(spec)
    wanted = min(replicas - len(new), replicas + surge - len(live)) if old else replicas - len(new)
    start = _place(nodes, new, max(wanted, 0))
    spare = len(live) - (replicas - unavailable) - sum(not pod.ready for pod in new)
    stop = _surplus(old, live, min(spare, len(old)) if replicas else len(old))
    extra = _surplus(new, live, len(new) - replicas)
    return Changes(start, (*strays, *stop, *extra))


def daemon_changes(spec: Mapping[str, Any], revision: str, nodes: Sequence[str], pods: Sequence[Pod]) -> Changes:
    """One step of a DaemonSet: the old pod of a node ends before the new one starts, on at most maxUnavailable nodes."""
    limit = _daemon_limit(spec, len(nodes))
    taken = {pod.node for pod in pods}
    start = tuple(node for node in nodes if node not in taken)
    strays = [pod.name for pod in pods if pod.node not in nodes and not pod.deleting]
    mine = [pod for pod in pods if pod.node in nodes]
    down = len(start) + sum(not pod.ready for pod in mine)
    old = sorted((p for p in mine if p.revision != revision and not p.deleting), key=lambda p: (p.ready, p.node))
    stop = []
    for pod in old:
        if not pod.ready or down < limit:
            stop.append(pod.name)
            down += pod.ready
    return Changes(start, (*strays, *stop))
