"""EdgeApplications and the pulls ahead of them: overriders that KubeEdge takes otherwise than they read."""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator

from edgeloop_pipelines.doctor.checks.groups import marks_of
from edgeloop_pipelines.doctor.facts import Facts
from edgeloop_pipelines.doctor.findings import SEEN, Check, Hit, Object, plural
from edgeloop_pipelines.doctor.objects import containers_of, edge_nodes, fitting, get, name_of, subject
from edgeloop_pipelines.doctor.workloads import applications, manifests_of, targets_of

__all__ = ["CHECKS"]


def _without_path(facts: Facts) -> Iterator[Hit]:
    for application in applications(facts):
        pods = [get(each, "spec", "template", "spec") or {} for each in manifests_of(application)]
        most = max((sum(1 for _ in containers_of(pod)) for pod in pods), default=0)
        for target in targets_of(application) if most > 1 else ():
            loose = [
                str(each.get("component"))
                for each in get(target, "overriders", "imageOverriders") or []
                if not get(each, "predicate", "path")
            ]
            if loose:
                what = (
                    f"group {target.get('name')}: {', '.join(loose)} without a path, and the pod has {most} containers"
                )
                fix = "give each image overrider predicate.path: /spec/template/spec/containers/N/image"
                yield Hit(subject(application), what, fix)


def _twice(facts: Facts) -> Iterator[Hit]:
    for application in applications(facts):
        counted = Counter(str(target.get("name")) for target in targets_of(application))
        for name in (name for name, count in counted.items() if count > 1):
            yield Hit(subject(application), f"names the group {name} twice", "keep one entry a group")


def _other_kinds(facts: Facts) -> Iterator[Hit]:
    for application in applications(facts):
        overridden = any(target.get("overriders") for target in targets_of(application))
        for manifest in manifests_of(application) if overridden else ():
            if manifest.get("kind") not in ("Deployment", "Service"):
                what = f"{subject(manifest)} is in an application with overriders"
                fix = "apply it by itself, once for each group, outside the EdgeApplication"
                yield Hit(subject(application), what, fix)


def _labels(facts: Facts) -> Iterator[Hit]:
    for application in applications(facts):
        for target in get(application, "spec", "workloadScope", "targetNodeLabels") or []:
            selector = target.get("labelSelector") or {}
            keys = sorted(selector.get("matchLabels") or {})
            if selector.get("matchExpressions"):
                what = "targetNodeLabels with matchExpressions, which KubeEdge accepts and ignores"
                yield Hit(subject(application), what, "select by one key in matchLabels")
            if len(keys) > 1:
                what = f"targetNodeLabels with {plural(len(keys), 'key')}: {', '.join(keys)}"
                yield Hit(subject(application), what, "select by one key, or by a NodeGroup")


def _unknown_group(facts: Facts) -> Iterator[Hit]:
    known = {name_of(group) for group in facts.objects("nodegroups")}
    for application in applications(facts) if facts.read("nodegroups") else ():
        missing = [str(target.get("name")) for target in targets_of(application) if target.get("name") not in known]
        if missing:
            what = f"names {', '.join(missing)}: there is no such NodeGroup"
            yield Hit(subject(application), what, "edgeloop render the loop again and apply all that it writes")


def _replicas(facts: Facts) -> Iterator[Hit]:
    groups = {name_of(group): group for group in facts.objects("nodegroups")}
    for application in applications(facts) if facts.read("nodes") else ():
        for target in targets_of(application):
            group, wanted = groups.get(str(target.get("name"))), get(target, "overriders", "replicas")
            marks = marks_of(group) if group else {}
            count = len(fitting(edge_nodes(facts), marks)) if marks else None
            if count is not None and wanted is not None and wanted != count:
                trouble = "some nodes have no server" if wanted < count else "some pods stay Pending"
                what = f"group {target.get('name')}: {plural(wanted, 'server')} for {plural(count, 'node')}: {trouble}"
                yield Hit(subject(application), what, "edgeloop render the loop with the nodes of today, and apply")


def _prepull(facts: Facts) -> Iterator[Hit]:
    for job in facts.objects("imageprepulljobs"):
        template = get(job, "spec", "imagePrePullTemplate") or {}
        if template.get("nodeNames") and template.get("labelSelector"):
            yield Hit(subject(job), "has both nodeNames and labelSelector", "keep one of them")
        if get(job, "status", "phase") in ("Failure", "Failed"):
            nodes = [each for each in get(job, "status", "nodeStatus") or [] if each.get("phase") != "Successful"]
            told = "; ".join(f"{each.get('nodeName')}: {_reason(each)}" for each in nodes[:3])
            what = f"failed{': ' + told if told else ''}"
            yield Hit(subject(job), what, "mend the cause, delete the job, and apply it again: a job is never retried")


def _reason(node: Object) -> str:
    told = [str(image.get("reason")) for image in node.get("imageStatus") or [] if image.get("reason")]
    return str(node.get("reason") or "; ".join(told) or node.get("phase"))


CHECKS = (
    Check(
        "overrider-path", "error", "an image overrider has no path", "it changes the image of every container of the pod",
        "KubeEdge, imageoverrider.go (extractPatchesBy)", _without_path,
    ),
    Check(
        "group-twice", "error", "an EdgeApplication names a group twice", "the two entries fight over one Deployment",
        "KubeEdge issues 5497, 4860", _twice,
    ),
    Check(
        "not-overridden", "warning", "an EdgeApplication holds something besides Deployments",
        "only Deployments are split by group and overridden; the rest is applied once as it is",
        f"KubeEdge, constants.go (OverriderTargetGVK); {SEEN}", _other_kinds,
    ),
    Check(
        "target-labels", "error", "targetNodeLabels with more than one key, or with expressions",
        "several keys come out in random order and restart the pods again and again; expressions are ignored",
        f"KubeEdge, nodeselectoroverrider.go; {SEEN}", _labels,
    ),
    Check(
        "unknown-group", "error", "an EdgeApplication names a NodeGroup that is not there", "its servers stay Pending",
        "the objects against each other", _unknown_group,
    ),
    Check(
        "replicas", "warning", "a group has more or fewer servers than nodes",
        "there is to be one server a node; replicas are counted when the loop is rendered", "the objects against each other",
        _replicas,
    ),
    Check(
        "prepull", "error", "an ImagePrePullJob failed, or will", "the nodes do not have the image when they need it",
        f"KubeEdge, imageprepulljob.go; {SEEN}", _prepull,
    ),
)  # fmt: skip
