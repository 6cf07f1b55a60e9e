"""Whether the cluster can be seen, and whether Kubernetes and KubeEdge are of versions that work and have no known holes."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Any

from edgeloop_pipelines.doctor.facts import Facts
from edgeloop_pipelines.doctor.findings import Check, Hit, Severity, plural
from edgeloop_pipelines.doctor.objects import edge_nodes, get, name_of, version_in

__all__ = ["CHECKS", "CVES", "FIXED"]

Version = tuple[int, int, int]

CVES = {
    "CVE-2026-62371": "NodeUpgradeJob spec.version and spec.image reach a shell: commands run on edge nodes",
    "CVE-2026-62182": "ConfigUpdateJob updateFields reach a shell: commands run on edge nodes",
    "CVE-2026-62370": "an edge node can exhaust the memory of CloudHub",
    "CVE-2026-62369": "keadm join on Windows writes files outside its folder",
}
FIXED: dict[int, Version] = {22: (1, 22, 2), 23: (1, 23, 1)}  # minor version: the first one with the fixes
MATCHES: dict[int, tuple[int, int]] = {20: (28, 30), 21: (28, 30), 22: (29, 31), 23: (30, 32)}  # Kubernetes minors
NEWEST = 23  # the newest KubeEdge whose match is known
LEAST_KUBERNETES = 27
AGENT = "agent"
CONTROLLERS = ("kubeedge-controller-manager", "controller-manager")
GROUPS = ("nodegroups", "edgeapplications", "imageprepulljobs", "rules", "ruleendpoints")


def cloudcore_version(facts: Facts) -> tuple[str, Version] | None:
    """What the image of the Deployment cloudcore says: its tag and the version in it."""
    for deployment in facts.objects("kubeedge deployments"):
        if name_of(deployment) == "cloudcore":
            image = str(get(deployment, "spec", "template", "spec", "containers", 0, "image") or "")
            tag = image.partition("@")[0].rpartition("/")[2].partition(":")[2]
            version = version_in(tag)
            return (tag, version) if version else None
    return None


def edgecore_version(node: Any) -> tuple[str, Version] | None:
    """Of `v1.32.10-kubeedge-v1.23.1`, as KubeEdge's nodes call themselves, the part after kubeedge."""
    text = str(get(node, "status", "nodeInfo", "kubeletVersion") or "")
    _, found, own = text.partition("kubeedge-")
    version = version_in(own)
    return (own, version) if found and version else None


def vulnerable(version: Version) -> bool:
    """Whether a version lacks the fixes. Lines before 1.22 have none."""
    fixed = FIXED.get(version[1], FIXED[max(FIXED)] if version[1] > max(FIXED) else None)
    return version[0] == 1 and (fixed is None or version < fixed)


def _away(facts: Facts) -> Iterator[Hit]:
    if facts.cluster and facts.cluster.away:
        fix = "check the context, the network and the credentials: kubectl get nodes"
        yield Hit(facts.cluster.where, f"the Kubernetes API does not answer: {facts.cluster.away}", fix)


def _forbidden(facts: Facts) -> Iterator[Hit]:
    unread = facts.cluster.unread if facts.cluster and not facts.cluster.away else {}
    for resource, (status, said) in unread.items():
        if status != 404 and not (status == 403 and resource.endswith("secrets")):
            fix = f"allow your user to get and list {resource}" if status in (401, 403) else "try again; see --timeout"
            yield Hit(resource, f"could not be read: {said}", fix)


def _kubernetes(facts: Facts) -> Iterator[Hit]:
    text = facts.cluster.version if facts.cluster else ""
    version = version_in(text)
    if version is None:
        return
    own = cloudcore_version(facts)
    minor = own[1][1] if own and own[1][1] in MATCHES else NEWEST
    least, most = MATCHES[minor]
    if version[1] < LEAST_KUBERNETES:
        what = f"Kubernetes {text} spreads no pods by matchLabelKeys, so an update may put two servers on one node"
        yield Hit("Kubernetes", what, f"upgrade Kubernetes to 1.{least} - 1.{most}", "error")
    elif not least <= version[1] <= most:
        what = f"Kubernetes is {text}; KubeEdge 1.{minor} is made for 1.{least} - 1.{most}"
        yield Hit("Kubernetes", what, f"use Kubernetes 1.{least} - 1.{most}, or try an update on one node group first")


def _holes(text: str) -> tuple[str, Severity]:
    """What a version before the fixes has; of a build between releases only the name is known."""
    if re.search(r"\d+\.\d+\.\d+-\d", text):
        return (
            f"is {text}, a build between releases: whether {', '.join(CVES)} are mended in it cannot be told",
            "warning",
        )
    return f"is {text}, with {', '.join(CVES)}", "error"


def _kubeedge(facts: Facts) -> Iterator[Hit]:
    own = cloudcore_version(facts)
    if own and vulnerable(own[1]):
        what, severity = _holes(own[0])
        yield Hit("CloudCore", what, "upgrade KubeEdge to 1.23.1 or 1.22.2, or later", severity)
    old: dict[str, list[str]] = {}
    for node in edge_nodes(facts):
        version = edgecore_version(node)
        if version and vulnerable(version[1]):
            old.setdefault(version[0], []).append(name_of(node))
    for text, nodes in old.items():
        what, severity = _holes(text)
        fix = f"upgrade edgecore by keadm on {', '.join(nodes[:8])}{' and others' if len(nodes) > 8 else ''}"
        yield Hit(f"EdgeCore on {plural(len(nodes), 'node')}", what, fix, severity)


def _skew(facts: Facts) -> Iterator[Hit]:
    own = cloudcore_version(facts)
    for node in edge_nodes(facts) if own else ():
        version = edgecore_version(node)
        if own and version and version[1][:2] != own[1][:2]:
            what = f"EdgeCore is {version[0]}, CloudCore is {own[0]}"
            yield Hit(f"Node {name_of(node)}", what, "bring both to one minor version, CloudCore first")


def _missing(facts: Facts) -> Iterator[Hit]:
    if facts.cluster and facts.cluster.live and not facts.cluster.away:
        unread = facts.cluster.unread
        absent = [resource for resource in GROUPS if unread.get(resource, (0, ""))[0] == 404]
        if absent:
            what = f"the cluster does not know {', '.join(absent)}"
            yield Hit("KubeEdge", what, "install KubeEdge 1.23.1 or later with its CRDs: keadm init")


def _controllers(facts: Facts) -> Iterator[Hit]:
    if facts.read("kubeedge deployments") and cloudcore_version(facts):
        names = {name_of(deployment) for deployment in facts.objects("kubeedge deployments")}
        if not names & set(CONTROLLERS):
            what = f"no Deployment {CONTROLLERS[0]} in namespace {facts.kubeedge}"
            yield Hit("KubeEdge", what, "install KubeEdge's controller manager (chart value controllerManager.enable)")


def _own_missing(facts: Facts) -> Iterator[Hit]:
    cluster = facts.cluster
    if cluster and not cluster.away and cluster.unread.get("modelrollouts", (0, ""))[0] == 404:
        fix = "kubectl apply -k manifests/overlays/production, or the overlay of yours"
        yield Hit("edgeloop", "the cluster does not know ModelRollout", fix)


def _agent_missing(facts: Facts) -> Iterator[Hit]:
    live = facts.cluster is not None and facts.cluster.live
    names = {name_of(each) for each in facts.objects("daemonsets")}
    if live and facts.read("daemonsets") and facts.objects("edgeapplications") and AGENT not in names:
        fix = "kubectl apply -k an overlay of manifests/, or what `edgeloop render` writes"
        yield Hit(f"namespace {facts.namespace}", f"there is no DaemonSet {AGENT}", fix)


CHECKS = (
    Check(
        "cluster-away", "error", "the Kubernetes API does not answer", "nothing can be applied or looked at",
        "asked now", _away,
    ),
    Check(
        "cluster-forbidden", "warning", "something in the cluster could not be read",
        "what could not be read was not checked", "asked now", _forbidden,
    ),
    Check(
        "kubernetes-version", "warning", "Kubernetes is of a version that KubeEdge is not made for",
        "API objects may be missing, or unknown at the edge", "KubeEdge README, compatibility table; CHANGELOG-1.23 (#6549)",
        _kubernetes,
    ),
    Check(
        "kubeedge-missing", "error", "KubeEdge's resources are not there",
        "node groups, servers, images and rules are KubeEdge objects", "KubeEdge, build/crds", _missing,
    ),
    Check(
        "kubeedge-version", "error", "KubeEdge has known holes: " + ", ".join(CVES),
        "; ".join(f"{number}: {text}" for number, text in CVES.items()),
        "KubeEdge CHANGELOG-1.23 (v1.23.1) and CHANGELOG-1.22 (v1.22.2)", _kubeedge,
    ),
    Check(
        "kubeedge-skew", "warning", "CloudCore and EdgeCore are of different minor versions",
        "task jobs and status objects changed between minor versions (node tasks in 1.21, DeviceStatus in 1.23)",
        "KubeEdge CHANGELOG-1.21 and CHANGELOG-1.23", _skew,
    ),
    Check(
        "controllers-missing", "error", "KubeEdge's controller manager is not there",
        "it makes Deployments of EdgeApplications and labels the nodes of NodeGroups; without it nothing is rolled out",
        "KubeEdge, manifests/charts/cloudcore", _controllers,
    ),
    Check(
        "rollouts-unknown", "warning", "the cluster does not know ModelRollout", "rollouts cannot be seen or steered by kubectl",
        "edgeloop, manifests/base/crds", _own_missing,
    ),
    Check(
        "agent-missing", "error", "there are servers and no agents", "nobody counts what the servers do, and no node reports",
        "edgeloop, manifests/base/agent", _agent_missing,
    ),
)  # fmt: skip
