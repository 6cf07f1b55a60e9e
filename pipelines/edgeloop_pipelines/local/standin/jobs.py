"""ImagePrePullJobs: each node of a job pulls its images, and the job says what came of it.

As observed: `nodeNames` of nodes that are not there give no line in the status; a missing image makes its node fail with the
reason while the others are still pulled; a finished job never runs again.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from concurrent.futures import Future
from typing import Any

from edgeloop_fleet.render.labels import BELONGING
from edgeloop_pipelines.local.standin import store
from edgeloop_pipelines.local.standin.objects import NodeView

__all__ = ["Jobs", "job_status", "nodes_of"]

Object = Mapping[str, Any]
Pulls = Mapping[tuple[str, str], Future[int]]  # (node, image)


def nodes_of(job: Object, nodes: Iterable[NodeView], membership: Mapping[str, str]) -> list[str]:
    """The nodes that a job is for."""
    template = job["spec"]["imagePrePullTemplate"]
    if template.get("nodeNames"):
        there = {node.name for node in nodes}
        return [name for name in template["nodeNames"] if name in there]
    wanted = template["labelSelector"].get("matchLabels") or {}
    marked = {node.name: {**node.labels, BELONGING: membership.get(node.name, "")} for node in nodes}
    return sorted(name for name, has in marked.items() if all(has.get(key) == value for key, value in wanted.items()))


def _image_status(image: str, pull: Future[int]) -> dict[str, str]:
    _, why = store.outcome(pull)
    return {"image": image, "status": "Failed", "reason": why} if why else {"image": image, "status": "Successful"}


def _node_status(node: str, pulls: Pulls) -> dict[str, Any]:
    mine = {image: pull for (where, image), pull in pulls.items() if where == node}
    if not all(pull.done() for pull in mine.values()):
        return {"nodeName": node, "phase": "InProgress"}
    images = [_image_status(image, pull) for image, pull in mine.items()]
    reasons = "; ".join(image["reason"] for image in images if image["status"] == "Failed")
    phase = {"phase": "Failure", "reason": reasons} if reasons else {"phase": "Successful"}
    flow = [{"action": "Check", "status": "True"}, {"action": "Pull", "status": str(not reasons)}]
    return {"nodeName": node, **phase, "actionFlow": flow, "imageStatus": images}


def job_status(pulls: Pulls) -> dict[str, Any]:
    """The job's status from its pulls."""
    nodes = [_node_status(node, pulls) for node in dict.fromkeys(node for node, _ in pulls)]
    phases = {node["phase"] for node in nodes}
    phase = "InProgress" if "InProgress" in phases else "Failure" if "Failure" in phases else "Completed"
    return {"phase": phase, "nodeStatus": nodes}


class Jobs:
    """The jobs that were begun. `fetch` starts a pull; `finished` are the statuses of jobs that ended in an earlier life."""

    def __init__(self, fetch: Callable[[str, str], Future[int]], finished: Mapping[str, Mapping[str, Any]]) -> None:
        self._fetch, self._finished = fetch, dict(finished)
        self._pulls: dict[str, dict[tuple[str, str], Future[int]]] = {}

    def update(self, jobs: Iterable[Object], nodes: list[NodeView], membership: Mapping[str, str]) -> None:
        """Begins the jobs that are new, and forgets those that are gone."""
        named = {str(job["metadata"]["name"]): job for job in jobs}
        self._pulls = {name: pulls for name, pulls in self._pulls.items() if name in named}
        self._finished = {name: status for name, status in self._finished.items() if name in named}
        for name, job in named.items():
            if name not in self._pulls and name not in self._finished:
                images = job["spec"]["imagePrePullTemplate"]["images"]
                chosen = nodes_of(job, nodes, membership)
                self._pulls[name] = {(node, image): self._fetch(node, image) for node in chosen for image in images}

    def statuses(self) -> dict[str, Mapping[str, Any]]:
        """job: its status."""
        return {**self._finished, **{name: job_status(pulls) for name, pulls in self._pulls.items()}}
