"""Nodes: whether they can hold what is applied, are of the platform that the loop says, and are well."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Mapping

from edgeloop_contracts import Target
from edgeloop_fleet.render.labels import group_labels
from edgeloop_pipelines.doctor.checks.groups import groups_of_nodes, marks_of
from edgeloop_pipelines.doctor.facts import Facts
from edgeloop_pipelines.doctor.findings import SEEN, Check, Hit, Object
from edgeloop_pipelines.doctor.objects import (
    edge_nodes,
    fits,
    fitting,
    get,
    is_ready,
    name_of,
    reaches,
    subject,
)
from edgeloop_pipelines.doctor.workloads import Workload, applications, edge_workloads, manifests_of, targets_of
from edgeloop_pipelines.quantities import quantity

__all__ = ["CHECKS", "needs_of"]

Amounts = dict[str, float]  # resource: cores, bytes or a count
MIB = 2**20
PLATFORMS = {"linux/amd64": "amd64", "linux/arm64": "arm64", "linux/arm/v7": "arm", "linux/riscv64": "riscv64"}
PRESSURES = ("DiskPressure", "MemoryPressure", "PIDPressure")


def _requests(resources: Mapping[str, Mapping[str, str]] | None) -> Amounts:
    """What a container asks for; of a resource that has a limit alone, the limit."""
    asked = {**(get(resources, "limits") or {}), **(get(resources, "requests") or {})}
    return {name: amount for name, text in asked.items() if (amount := quantity(text)) is not None}


def _add(sums: Amounts, more: Amounts) -> None:
    for name, amount in more.items():
        sums[name] = sums.get(name, 0.0) + amount


def _pod(pod: Object) -> Amounts:
    sums: Amounts = {"pods": 1.0}
    for container in get(pod, "containers") or []:
        _add(sums, _requests(container.get("resources")))
    return sums


def _server(application: Object, target: Object) -> Amounts:
    """What one server of the group asks for: the template's requests, or those of the group's overriders."""
    sums: Amounts = {"pods": 1.0}
    given = {
        each.get("containerName"): each.get("value") for each in get(target, "overriders", "resourcesOverriders") or []
    }
    for manifest in manifests_of(application):
        for container in get(manifest, "spec", "template", "spec", "containers") or []:
            _add(sums, _requests(given.get(container.get("name"), container.get("resources"))))
    return sums


def needs_of(facts: Facts, node: Object) -> Amounts:
    """What all that is applied asks of a node, with room for the greatest server twice: an update starts the new one beside
    the old one."""
    sums: Amounts = {}
    for workload in edge_workloads(facts):
        if workload.application is None and _runs_on(workload, node):
            _add(sums, _pod(workload.pod))
    greatest: Amounts = {}
    groups = {name_of(group): marks_of(group) for group in facts.objects("nodegroups")}
    for application in applications(facts):
        for target in targets_of(application):
            marks = groups.get(str(target.get("name"))) or {}
            if marks and fits(node, marks):
                server = _server(application, target)
                _add(sums, server)
                greatest = {
                    name: max(greatest.get(name, 0.0), amount) for name, amount in {**greatest, **server}.items()
                }
    _add(sums, {name: amount for name, amount in greatest.items() if "/" not in name})
    return sums


def _runs_on(workload: Workload, node: Object) -> bool:
    return workload.kind == "DaemonSet" and reaches(workload.pod, node)


def _too_small(facts: Facts) -> Iterator[Hit]:
    for node in edge_nodes(facts):
        has = get(node, "status", "allocatable")
        for name, needed in needs_of(facts, node).items() if has else ():
            amount = quantity(has.get(name)) or 0.0
            if needed > amount:
                what = f"{name}: {_shown(name, needed)} are asked for, {_shown(name, amount)} can be had"
                fix = "profile for a smaller budget, move a loop to another group, or take a bigger node"
                yield Hit(
                    subject(node), what, fix if "/" not in name else f"install the device plugin that offers {name}"
                )


def _shown(resource: str, amount: float) -> str:
    if resource == "cpu":
        return f"{amount * 1000:.0f}m"
    return f"{amount / MIB:.0f} MiB" if "memory" in resource or "storage" in resource else f"{amount:g}"


def _targets(facts: Facts) -> Iterator[tuple[str, Target, Object]]:
    for loop in facts.loops:
        for target in loop.targets:
            for node in fitting(edge_nodes(facts), group_labels(target)):
                yield loop.name, target, node


def _less_than_said(facts: Facts) -> Iterator[Hit]:
    for loop, target, node in _targets(facts):
        said = {"memory": target.has.memory_mib or target.budget.memory_mib, "ephemeral-storage": target.has.disk_mib}
        for name, mib in said.items():
            amount = quantity(get(node, "status", "allocatable", name))
            if mib is not None and amount is not None and amount < mib * MIB:
                what = f"{name}: {amount / MIB:.0f} MiB can be had, target {target.name} of {loop} says {mib:g} MiB"
                yield Hit(subject(node), what, "say in loop.yaml what the node has, or move it to another group")


def _platform(facts: Facts) -> Iterator[Hit]:
    wrong: dict[tuple[str, str, str], list[str]] = defaultdict(list)
    for loop, target, node in _targets(facts):
        architecture = get(node, "status", "nodeInfo", "architecture")
        if architecture and architecture != PLATFORMS[target.platform]:
            wrong[loop, target.name, architecture].append(name_of(node))
    for (loop, name, architecture), nodes in wrong.items():
        what = f"target {name}: {', '.join(nodes[:5])} {'are' if len(nodes) > 1 else 'is'} {architecture}"
        yield Hit(
            f"Loop {loop}", what, "set the target's platform, or give nodes of another platform a group of their own"
        )


def _not_ready(facts: Facts) -> Iterator[Hit]:
    for node in edge_nodes(facts):
        if not is_ready(node):
            fix = "look at its link and at `systemctl status edgecore`; what runs there serves on"
            yield Hit(subject(node), "is not ready", fix)


def _silent(facts: Facts) -> Iterator[Hit]:
    """Nodes that KubeEdge hears of and the fleet service does not."""
    groups = groups_of_nodes(facts)
    for node in edge_nodes(facts) if facts.heard is not None else ():
        heard = (facts.heard or {}).get(name_of(node))
        if groups[name_of(node)] and is_ready(node) and not heard:
            what = (
                "is ready, and the fleet service hears nothing of it"
                if heard is None
                else "is ready, and has fallen silent"
            )
            fix = "look at its agent's log, its Rule (rule-missing, rule-node), its broker, and CloudCore's router"
            yield Hit(subject(node), what, fix)


def _pressure(facts: Facts) -> Iterator[Hit]:
    for node in edge_nodes(facts):
        conditions = get(node, "status", "conditions") or []
        told = [each["type"] for each in conditions if each.get("type") in PRESSURES and each.get("status") == "True"]
        if told:
            yield Hit(subject(node), f"reports {', '.join(told)}", "free some: old images, logs, other pods")


CHECKS = (
    Check(
        "node-too-small", "error", "a node cannot hold what is applied and an update of it",
        "the new server starts beside the old one; where it finds no room it stays Pending and the update ends",
        "the objects against the node's allocatable", _too_small,
    ),
    Check(
        "node-less-than-said", "warning", "a node has less than its target in loop.yaml says",
        "packages are admitted by what loop.yaml says", "loop.yaml against the node's allocatable", _less_than_said,
    ),
    Check(
        "node-platform", "error", "a node is of another platform than its target",
        "the image does not run there", "loop.yaml against the node's architecture", _platform,
    ),
    Check(
        "node-not-ready", "warning", "an edge node is not ready",
        "pulls ahead fail there at once and are not retried; a rollout waits for it", SEEN, _not_ready,
    ),
    Check(
        "node-silent", "warning", "KubeEdge hears of a node and the fleet service does not",
        "it is not judged, and a rollout waits for it: its reports get lost on the way, or its agent does not run",
        "the cluster against the fleet service", _silent,
    ),
    Check(
        "node-pressure", "error", "a node is short of disk, memory or processes",
        "pulls ahead are refused when a disk is fuller than 80 %, and pods may be evicted",
        "KubeEdge, taskmanager/actions/pre_check.go:31", _pressure,
    ),
)  # fmt: skip
