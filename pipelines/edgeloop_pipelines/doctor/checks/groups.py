"""Node groups: what they select, whether nodes are in two of them or in none, and whether KubeEdge has noticed."""

from __future__ import annotations

from collections.abc import Iterator, Mapping

from edgeloop_fleet.render.labels import BELONGING, group_labels, node_group_name
from edgeloop_pipelines.doctor.facts import Facts
from edgeloop_pipelines.doctor.findings import SEEN, Check, Hit, Object
from edgeloop_pipelines.doctor.objects import edge_nodes, fitting, get, labels_of, name_of, subject

__all__ = ["CHECKS", "groups_of_nodes", "marks_of"]


def marks_of(group: Object) -> Mapping[str, str]:
    return get(group, "spec", "matchLabels") or {}


def groups_of_nodes(facts: Facts) -> dict[str, list[str]]:
    """edge node: the groups whose labels it fits. Groups without labels are a fault of their own and are left out."""
    found: dict[str, list[str]] = {name_of(node): [] for node in edge_nodes(facts)}
    for group in facts.objects("nodegroups"):
        for node in fitting(edge_nodes(facts), marks_of(group)) if marks_of(group) else ():
            found[name_of(node)].append(name_of(group))
    return found


def _without_labels(facts: Facts) -> Iterator[Hit]:
    for group in facts.objects("nodegroups"):
        if not marks_of(group):
            listed = ", ".join(get(group, "spec", "nodes") or []) or "none"
            yield Hit(
                subject(group),
                f"has no matchLabels (nodes: {listed})",
                f"label its nodes edgeloop.dev/group={name_of(group)}, then give it spec.matchLabels with that label",
            )


def _overlap(facts: Facts) -> Iterator[Hit]:
    shared: dict[tuple[str, ...], list[str]] = {}
    for node, groups in groups_of_nodes(facts).items():
        if len(groups) > 1:
            shared.setdefault(tuple(sorted(groups)), []).append(node)
    for names, nodes in shared.items():
        what = f"{' and '.join(names)} share {', '.join(nodes[:5])}{' and others' if len(nodes) > 5 else ''}"
        fix = "give each group a label of its own, such as edgeloop.dev/group, and each node one value of it"
        yield Hit("NodeGroups " + ", ".join(names), what, fix)


def _empty(facts: Facts) -> Iterator[Hit]:
    for group in facts.objects("nodegroups") if facts.read("nodes") else ():
        marks = marks_of(group)
        if marks and not fitting(edge_nodes(facts), marks):
            wanted = ",".join(f"{key}={value}" for key, value in marks.items())
            yield Hit(
                subject(group), f"no edge node has {wanted}", f"kubectl label node NODE {wanted.replace(',', ' ')}"
            )


def _not_noticed(facts: Facts) -> Iterator[Hit]:
    if facts.cluster is None or not facts.cluster.live:
        return
    groups = groups_of_nodes(facts)
    for node in edge_nodes(facts):
        mine, belongs = groups[name_of(node)], labels_of(node).get(BELONGING)
        if len(mine) == 1 and belongs != mine[0]:
            what = f"fits the group {mine[0]} and belongs to {belongs or 'none'}"
            yield Hit(subject(node), what, f"touch the group: kubectl annotate nodegroup {mine[0]} touched=$(date +%s)")


def _unrendered(facts: Facts) -> Iterator[Hit]:
    if not facts.read("nodegroups"):
        return
    known = {name_of(group): marks_of(group) for group in facts.objects("nodegroups")}
    for loop in facts.loops:
        for target in loop.targets:
            name, wanted = node_group_name(target.nodes.group), group_labels(target)
            fix = f"edgeloop render the loop {loop.name} and apply what it writes"
            if name not in known:
                yield Hit(f"Loop {loop.name}", f"target {target.name}: there is no NodeGroup {name}", fix)
            elif dict(known[name]) not in ({}, dict(wanted)):
                what = (
                    f"target {target.name}: NodeGroup {name} selects {dict(known[name])}, the loop says {dict(wanted)}"
                )
                yield Hit(f"Loop {loop.name}", what, fix)


CHECKS = (
    Check(
        "group-without-labels", "error", "a NodeGroup has no matchLabels",
        "it takes every node without labels of a group as soon as one changes", SEEN, _without_labels,
    ),
    Check(
        "group-overlap", "error", "a node fits two NodeGroups",
        "KubeEdge leaves a node with the group that took it first; a server of the other group never starts there",
        "KubeEdge, nodegroupcontroller.go:382", _overlap,
    ),
    Check(
        "group-empty", "warning", "no edge node fits a NodeGroup", "a rollout to this group reaches nobody",
        "by the rule of matchLabels", _empty,
    ),
    Check(
        "group-not-noticed", "warning", "a node fits a group and does not belong to it",
        "KubeEdge does not look again when a node is labelled later, so it gets no server", SEEN, _not_noticed,
    ),
    Check(
        "group-not-as-loop", "error", "the NodeGroup of a loop's target is missing or another",
        "the loop's servers go to the nodes of that group", "loop.yaml against the cluster", _unrendered,
    ),
)  # fmt: skip
