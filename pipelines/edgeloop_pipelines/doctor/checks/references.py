"""Secrets and ConfigMaps that pods name: one that is missing keeps the pod from starting. Names are compared, never contents."""

from __future__ import annotations

from collections.abc import Iterator

from edgeloop_pipelines.doctor.facts import Facts
from edgeloop_pipelines.doctor.findings import Check, Hit, Object
from edgeloop_pipelines.doctor.objects import containers_of, get, name_of
from edgeloop_pipelines.doctor.workloads import Workload, workloads

__all__ = ["CHECKS"]

KINDS = {
    "Secret": ("secretRef", "secretKeyRef", "secret"),
    "ConfigMap": ("configMapRef", "configMapKeyRef", "configMap"),
}


def _named(reference: Object | None) -> Iterator[str]:
    name = get(reference, "name") or get(reference, "secretName")
    if name and not get(reference, "optional"):
        yield str(name)


def references(pod: Object, kind: str) -> set[str]:
    """The names of the objects of a kind without which the pod does not start."""
    of_env, of_variable, of_volume = KINDS[kind]
    found: set[str] = set()
    for container in containers_of(pod):
        for source in container.get("envFrom") or []:
            found.update(_named(source.get(of_env)))
        for variable in container.get("env") or []:
            found.update(_named(get(variable, "valueFrom", of_variable)))
    for volume in pod.get("volumes") or []:
        found.update(_named(volume.get(of_volume)))
    return found


def _missing(facts: Facts) -> Iterator[Hit]:
    for workload in workloads(facts):
        space = _space(workload, facts)
        for kind, resource in (("Secret", f"{space}secrets"), ("ConfigMap", f"{space}configmaps")):
            if space is None or not facts.read(resource):
                continue
            there = {name_of(each) for each in facts.objects(resource)}
            for name in sorted(references(workload.pod, kind) - there):
                fix = f"make it: see manifests/README.md, and `kubectl create {kind.lower()} --help`"
                yield Hit(workload.subject, f"there is no {kind} {name} in its namespace", fix)


def _space(workload: Workload, facts: Facts) -> str | None:
    """What the namespace's resources are called here; None for a namespace whose Secrets are not looked at."""
    document = workload.application or workload.document
    namespace = get(document, "metadata", "namespace")
    return {facts.namespace: "", facts.cloud: "cloud "}.get(str(namespace))


CHECKS = (
    Check(
        "reference-missing", "error", "a pod names a Secret or a ConfigMap that is not there", "the pod does not start",
        "the objects against each other", _missing,
    ),
)  # fmt: skip
