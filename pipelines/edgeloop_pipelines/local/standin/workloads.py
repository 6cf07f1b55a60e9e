"""From the objects in force to the workloads that shall run: Deployments of EdgeApplications, and DaemonSets.

Pure. A generation counts the changes of a workload's spec, as the API server does.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeloop_contracts import digest_of
from edgeloop_fleet.render import identity
from edgeloop_pipelines.local.standin import containers
from edgeloop_pipelines.local.standin.objects import NodeView, Owner, revision_of, selected
from edgeloop_pipelines.local.standin.overriders import deployments_of
from edgeloop_pipelines.local.standin.pods import Plan, Pod
from edgeloop_pipelines.local.standin.rollouts import Changes, daemon_changes, deployment_changes

__all__ = ["Workload", "changes_of", "owner_of", "plan_of", "workloads_of"]

Object = Mapping[str, Any]


@dataclass(frozen=True)
class Workload:
    """One Deployment or DaemonSet: what it asks for, and the nodes that may have its pods."""

    owner: Owner
    document: Object
    application: str
    revision: str
    nodes: tuple[str, ...]
    generation: int = 1

    @property
    def template(self) -> Object:
        template: Object = self.document["spec"]["template"]
        return template

    @property
    def spec_digest(self) -> str:
        return digest_of(self.document["spec"])


def owner_of(document: Object) -> Owner:
    return Owner(*identity(document))


def _workload(document: Object, application: str, nodes: list[NodeView], membership: Mapping[str, str]) -> Workload:
    template = document["spec"]["template"]
    chosen = tuple(selected(template, nodes, membership))
    return Workload(owner_of(document), document, application, revision_of(template), chosen)


def workloads_of(objects: Iterable[Object], nodes: list[NodeView], membership: Mapping[str, str]) -> list[Workload]:
    """All workloads, with generation 1."""
    found = []
    for item in objects:
        if item["kind"] == "EdgeApplication":
            name = item["metadata"]["name"]
            found += [_workload(deployment, name, nodes, membership) for deployment in deployments_of(item)]
        elif item["kind"] == "DaemonSet":
            found.append(_workload(item, "", nodes, membership))
    return found


def changes_of(workload: Workload, pods: Sequence[Pod]) -> Changes:
    """Which pods the workload starts and stops now."""
    step = deployment_changes if workload.owner.kind == "Deployment" else daemon_changes
    return step(workload.document["spec"], workload.revision, workload.nodes, pods)


def plan_of(pod: Pod, back_off_s: float) -> Plan:
    """What the pod's manifest says about its life."""
    spec = pod.template["spec"]
    startup, readiness = containers.probes_of(spec["containers"][0])
    return Plan(startup, readiness, float(spec.get("terminationGracePeriodSeconds", 30)), back_off_s)
