"""What runs at the edge according to what is applied: each workload once, with its pod spec.

A Deployment that KubeEdge made out of an EdgeApplication is left out: the application's template stands for all of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from edgeloop_pipelines.doctor.facts import Facts
from edgeloop_pipelines.doctor.objects import get, name_of, owned_by_application, pinned_to_edge, subject

__all__ = ["Workload", "applications", "edge_workloads", "surges", "targets_of", "workloads"]

Object = Mapping[str, Any]
PLAIN = {  # resource: kind
    "deployments": "Deployment",
    "daemonsets": "DaemonSet",
    "cloud deployments": "Deployment",
    "cloud statefulsets": "StatefulSet",
    "kubeflow deployments": "Deployment",
}


@dataclass(frozen=True)
class Workload:
    """A Deployment or DaemonSet. `application`: the EdgeApplication that it is the template of, else None."""

    subject: str
    kind: str
    document: Object
    application: Object | None = None

    @property
    def pod(self) -> Object:
        return get(self.document, "spec", "template", "spec") or {}

    @property
    def at_edge(self) -> bool:
        return self.application is not None or pinned_to_edge(self.pod)


def applications(facts: Facts) -> Sequence[Object]:
    return facts.objects("edgeapplications")


def targets_of(application: Object) -> list[Object]:
    """The node groups that the application names, each with its overriders."""
    return get(application, "spec", "workloadScope", "targetNodeGroups") or []


def manifests_of(application: Object) -> list[Object]:
    return get(application, "spec", "workloadTemplate", "manifests") or []


def workloads(facts: Facts) -> Iterator[Workload]:
    """All workloads of edgeloop's namespaces and of Kubeflow's."""
    for application in applications(facts):
        for manifest in manifests_of(application):
            if manifest.get("kind") in ("Deployment", "DaemonSet"):
                where = f"{subject(application)}, {manifest['kind']} {name_of(manifest)}"
                yield Workload(where, str(manifest["kind"]), manifest, application)
    for resource, kind in PLAIN.items():
        for document in facts.objects(resource):
            if not owned_by_application(document):
                yield Workload(subject(document), kind, document)


def edge_workloads(facts: Facts) -> list[Workload]:
    return [workload for workload in workloads(facts) if workload.at_edge]


def surges(workload: Workload) -> bool:
    """Whether an update starts the new pod beside the old one. Kubernetes' default for Deployments is 25 %, rounded up."""
    if workload.kind != "Deployment":
        return False
    strategy = get(workload.document, "spec", "strategy") or {}
    return strategy.get("type", "RollingUpdate") == "RollingUpdate" and get(
        strategy, "rollingUpdate", "maxSurge"
    ) not in (0, "0", "0%")
