"""The stand-in's one loop: look at the files, decide, do, show. It alone starts processes, and it never waits for one.

A tick every tenth of a second. What is expensive (reading, rendering status) happens only when something has changed.
"""

from __future__ import annotations

import os
import secrets
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from edgeloop_contracts import API_VERSION
from edgeloop_pipelines.local.standin import LIMITS, jobs, objects, pods, rules, status, workloads
from edgeloop_pipelines.local.standin.admission import admit
from edgeloop_pipelines.local.standin.kubelet import Kubelet
from edgeloop_pipelines.local.standin.manifests import Manifests
from edgeloop_pipelines.local.standin.publish import Publisher, earlier
from edgeloop_pipelines.local.standin.router import Router
from edgeloop_pipelines.local.standin.store import ImageStore
from edgeloop_pipelines.local.standin.workloads import Workload

__all__ = ["Engine", "Options"]

TICK_S = 0.1
_LATER_S = 1.0  # how often rules that wait for their endpoints are tried again

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Options:
    """Where the cluster folder and the site's images are, where the broker listens, and the router's port (0: any)."""

    folder: Path
    images: Path
    broker: tuple[str, int]
    router_port: int = 0
    back_off_s: float = 10.0


class Engine:
    """All of the stand-in. `say` gets a line for everything that a person may want to know."""

    def __init__(self, options: Options, say: Callable[[str], None]) -> None:
        before = earlier(options.folder)
        self._say = say
        self._manifests = Manifests(options.folder, admit)
        self._images = ImageStore(options.folder, options.images, before.pulled_bytes)
        self._kubelet = Kubelet(options.folder, self._images, say=say, back_off_s=options.back_off_s)
        self._jobs = jobs.Jobs(self._images.fetch, before.jobs)
        self._router = Router(options.broker, options.router_port, say)
        self._publisher = Publisher(options.folder)
        self._generations = dict(before.generations)
        self._table, self._rules_s = rules.RuleTable(), float("-inf")
        self._nodes: dict[str, objects.NodeView] = {}
        self._membership: dict[str, str] = {}
        self._workloads: list[Workload] = []
        self._progress: dict[objects.Owner, tuple[tuple[Any, ...], float]] = {}
        self._shown: object = None
        self._problems: dict[str, str] = {}

    def run(self, stop: threading.Event) -> None:
        """Ticks until `stop` is set, then ends every process that it started."""
        try:
            while not stop.is_set():
                self.tick(time.monotonic())
                stop.wait(TICK_S)
        finally:
            self._kubelet.close()
            self._router.close()
            self._images.close()

    def tick(self, now: float) -> None:
        """One look and what follows from it. `now` is monotonic."""
        changed = self._manifests.poll()
        if changed:
            self._take_in()
            self._shown = None
        if changed or now - self._rules_s > _LATER_S:
            self._route(now)
        self._reconcile(now)
        self._kubelet.tick(now)
        self._show(now)

    def _take_in(self) -> None:
        """What the files say now, as nodes, groups, workloads and jobs."""
        found = self._manifests.objects
        nodes = [objects.node_view(document) for document in self._manifests.nodes]
        self._nodes = {node.name: node for node in nodes}
        self._membership = objects.belonging(self._of_kind("NodeGroup"), nodes)
        asked = workloads.workloads_of(found, nodes, self._membership)
        self._workloads = [self._numbered(workload) for workload in asked]
        self._jobs.update(self._of_kind("ImagePrePullJob"), nodes, self._membership)

    def _of_kind(self, kind: str) -> list[Object]:
        return [document for document in self._manifests.objects if document["kind"] == kind]

    def _numbered(self, workload: Workload) -> Workload:
        """With its generation, which rises when the spec is another one than before."""
        digest, generation = self._generations.get(workload.owner, ("", 0))
        generation += digest != workload.spec_digest
        self._generations[workload.owner] = (workload.spec_digest, generation)
        return replace(workload, generation=generation)

    def _route(self, now: float) -> None:
        routes = [*self._of_kind("RuleEndpoint"), *self._of_kind("Rule")]
        self._table = rules.updated(self._table, routes, self._nodes, now)
        self._router.use(self._table, self._nodes.keys())
        self._rules_s = now

    def _reconcile(self, now: float) -> None:
        """Starts and stops pods as their workloads ask; a pod without a workload is stopped."""
        by_owner = self._by_owner()
        owners = {workload.owner for workload in self._workloads}
        for pod in list(self._kubelet.pods.values()):
            if pod.owner not in owners and not pod.deleting:
                self._kubelet.stop(pod.name)
        for workload in self._workloads:
            changes = workloads.changes_of(workload, by_owner.get(workload.owner, []))
            for name in changes.stop:
                self._kubelet.stop(name)
            for node in changes.start:
                self._kubelet.add(self._pod(workload, node, now), self._nodes[node])

    def _by_owner(self) -> dict[objects.Owner, list[pods.Pod]]:
        found: dict[objects.Owner, list[pods.Pod]] = {}
        for pod in self._kubelet.pods.values():
            found.setdefault(pod.owner, []).append(pod)
        return found

    def _pod(self, workload: Workload, node: str, now: float) -> pods.Pod:
        owner = workload.owner
        stem = f"{owner.name}-{workload.revision}" if owner.kind == "Deployment" else owner.name
        return pods.Pod(
            name=f"{stem}-{secrets.token_hex(3)}",
            uid=str(uuid.uuid4()),
            owner=owner,
            node=node,
            revision=workload.revision,
            template=workload.template,
            created_s=now,
        )

    def _late(self, workload: Workload, mine: list[pods.Pod], now: float) -> bool:
        """Whether a Deployment has made no progress for longer than its deadline."""
        counts = tuple(sorted((pod.revision, pod.node, pod.ready) for pod in mine if not pod.deleting))
        seen, since_s = self._progress.get(workload.owner, ((), now))
        mark = (workload.generation, *counts)
        if seen != mark:
            self._progress[workload.owner] = (mark, now)
            return False
        deadline_s = workload.document["spec"].get("progressDeadlineSeconds", 600)
        return not status.settled(workload, mine) and now - since_s > deadline_s

    def _show(self, now: float) -> None:
        """Writes the status when anything in it has changed."""
        by_owner = self._by_owner()
        late = {w.owner: self._late(w, by_owner.get(w.owner, []), now) for w in self._workloads if _is_deployment(w)}
        problems = {**self._manifests.problems, **{f"rule {k}": v for k, v in self._table.problems().items()}}
        self._complain(problems)
        shown = (
            tuple(_visible(pod) for pod in self._kubelet.pods.values()),
            [(w.owner, w.generation, w.nodes) for w in self._workloads],
            (late, problems, self._jobs.statuses(), dict(self._images.pulled_bytes), self._router.port),
            (
                self._membership,
                self._manifests.nodes,
                [document["metadata"]["name"] for document in self._manifests.objects],
            ),
        )
        if shown != self._shown:
            self._publisher.publish(self._documents(by_owner, late, problems, now))
            self._shown = shown

    def _complain(self, problems: Mapping[str, str]) -> None:
        for name, problem in problems.items():
            if self._problems.get(name) != problem:
                self._say(f"{name}: {problem}")
        self._problems = dict(problems)

    def _documents(
        self,
        by_owner: Mapping[objects.Owner, list[pods.Pod]],
        late: Mapping[objects.Owner, bool],
        problems: Mapping[str, str],
        now: float,
    ) -> Iterator[Object]:
        for workload in self._workloads:
            mine = by_owner.get(workload.owner, [])
            if _is_deployment(workload):
                yield status.deployment(workload, mine, late=late[workload.owner])
            else:
                yield status.daemon_set(workload, mine)
        yield from self._pod_documents(now)
        for document in self._of_kind("EdgeApplication"):
            yield status.application(document, self._workloads)
        for document in self._of_kind("NodeGroup"):
            yield status.node_group(document, list(self._nodes.values()), self._membership)
        for document in self._manifests.nodes:
            name = document["metadata"]["name"]
            yield status.node(document, self._membership.get(name, ""), self._images.pulled_bytes.get(name, 0))
        for document in self._of_kind("ImagePrePullJob"):
            yield {**document, "status": self._jobs.statuses()[document["metadata"]["name"]]}
        yield self._own(problems)

    def _pod_documents(self, now: float) -> Iterator[Object]:
        wall_s = time.time() - now
        for pod in self._kubelet.pods.values():
            since_s = wall_s + (pod.since_s or pod.created_s)
            yield status.pod(pod, self._kubelet.node(pod.node), pid=self._kubelet.pid(pod.name), wall_s=since_s)

    def _own(self, problems: Mapping[str, str]) -> Object:
        """What the stand-in says of itself."""
        return {
            "apiVersion": API_VERSION,
            "kind": "StandIn",
            "metadata": {"name": "kubeedge"},
            "status": {
                "process": os.getpid(),
                "routerPort": self._router.port,
                "problems": dict(problems),
                "limits": list(LIMITS),
            },
        }


def _is_deployment(workload: Workload) -> bool:
    return workload.owner.kind == "Deployment"


def _visible(pod: pods.Pod) -> tuple[Any, ...]:
    """What of a pod its document shows."""
    return pod.name, pod.state, pod.ready, pod.started, pod.restarts, pod.deleting, pod.exit_code, pod.why
