"""What every pod at the edge needs to come through a power cut, a long cut of the link, and an update without losing requests."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

from edgeloop_fleet.render.labels import GROUP
from edgeloop_fleet.render.values import EDGE_ROLE
from edgeloop_pipelines.doctor.facts import Facts
from edgeloop_pipelines.doctor.findings import SEEN, Check, Hit, Object
from edgeloop_pipelines.doctor.objects import by_digest, containers_of, edge_nodes, get, name_of, reaches
from edgeloop_pipelines.doctor.workloads import Workload, edge_workloads, surges, targets_of, workloads

__all__ = ["CHECKS"]

UNREACHABLE = ("node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready")
HOLD = "edge.kubeedge.io/hold-upgrade"
VOLUMES = ("configMap", "secret", "projected", "downwardAPI")
PLACEHOLDER = "edgeloop.local/"
Ask = Callable[[Workload, Facts], Iterator[tuple[str, str]]]  # what is wrong, how to mend it


def _each(ask: Ask, facts: Facts) -> Iterator[Hit]:
    for workload in edge_workloads(facts):
        for what, fix in ask(workload, facts):
            yield Hit(workload.subject, what, fix)


def _tolerations(workload: Workload, _: Facts) -> Iterator[tuple[str, str]]:
    if workload.kind == "DaemonSet":
        return  # Kubernetes adds both to a DaemonSet's pods by itself
    missing = [key for key in UNREACHABLE if not _for_ever(workload.pod, key)]
    if missing:
        fix = "add tolerations {key, operator: Exists, effect: NoExecute} without tolerationSeconds for both"
        yield f"no endless NoExecute toleration of {' and '.join(missing)}", fix


def _for_ever(pod: Object, key: str) -> bool:
    return any(
        each.get("key") in (None, "", key)
        and each.get("operator") == "Exists"
        and each.get("effect") in (None, "", "NoExecute")
        and each.get("tolerationSeconds") is None
        for each in get(pod, "tolerations") or []
    )


def _token(workload: Workload, facts: Facts) -> Iterator[tuple[str, str]]:
    pod, fix = workload.pod, "set automountServiceAccountToken: false in the pod spec"
    said = pod.get("automountServiceAccountToken")
    if said is None:
        account = pod.get("serviceAccountName") or "default"
        found = [each for each in facts.objects("serviceaccounts") if name_of(each) == account]
        said = found[0].get("automountServiceAccountToken") if found else None
    if said is not False:
        yield "mounts a service account's token", fix
    sources = [s for volume in pod.get("volumes") or [] for s in get(volume, "projected", "sources") or []]
    if any("serviceAccountToken" in source for source in sources):
        yield (
            "has a projected volume with a service account's token",
            "remove the volume; take credentials from a Secret",
        )


def _pull(workload: Workload, _: Facts) -> Iterator[tuple[str, str]]:
    for container in containers_of(workload.pod):
        policy, image = container.get("imagePullPolicy"), str(container.get("image") or "")
        newest = not by_digest(image) and image.rpartition("/")[2].partition(":")[2] in ("", "latest")
        if policy == "Always" or (policy is None and newest):
            what = (
                f"container {name_of_container(container)}: imagePullPolicy is Always{'' if policy else ' by default'}"
            )
            yield what, "set imagePullPolicy: IfNotPresent and name the image by digest"


def name_of_container(container: Object) -> str:
    return str(container.get("name") or "")


def _by_tag(workload: Workload, _: Facts) -> Iterator[tuple[str, str]]:
    fix = "name the image by its digest: in an EdgeApplication by a Tag overrider with the digest for each group"
    for index, container in enumerate(get(workload.pod, "containers") or []):
        image = str(container.get("image") or "")
        if workload.application is None and not by_digest(image):
            yield f"container {name_of_container(container)}: {image} is named by a tag", fix
        for target in targets_of(workload.application) if workload.application else ():
            if not by_digest(image) and not _overridden(target, index):
                yield (
                    f"container {name_of_container(container)}, group {target.get('name')}: {image} without a digest",
                    fix,
                )


def _overridden(target: Object, index: int) -> bool:
    path = f"/spec/template/spec/containers/{index}/image"
    return any(
        each.get("component") == "Tag"
        and str(each.get("value", "")).startswith("sha256:")
        and get(each, "predicate", "path") in (None, path)
        for each in get(target, "overriders", "imageOverriders") or []
    )


def _ports(workload: Workload, _: Facts) -> Iterator[tuple[str, str]]:
    network = workload.pod.get("hostNetwork") is True
    for container in containers_of(workload.pod) if surges(workload) else ():
        for port in container.get("ports") or []:
            if network or port.get("hostPort"):
                what = f"container {name_of_container(container)} declares port {port.get('containerPort')} of the host"
                yield what, "take `ports` out of the container: with hostNetwork the server listens all the same"


def _probe(workload: Workload, _: Facts) -> Iterator[tuple[str, str]]:
    shared = workload.pod.get("hostNetwork") is True and surges(workload)
    for container in containers_of(workload.pod) if shared else ():
        for name in ("startupProbe", "readinessProbe"):
            way = next((way for way in ("httpGet", "tcpSocket", "grpc") if get(container, name, way)), "")
            if way:
                what = f"container {name_of_container(container)}: {name} asks by {way} over the host's network"
                yield what, "ask by exec over a socket of the pod's own server, as `edgeloop render` does"


def _empty_dir(workload: Workload, _: Facts) -> Iterator[tuple[str, str]]:
    for volume in workload.pod.get("volumes") or []:
        if "emptyDir" in volume:
            fix = "put it into the image, or into a hostPath folder if it must be written"
            yield f"volume {volume.get('name')} is an emptyDir", fix


def _files(workload: Workload, _: Facts) -> Iterator[tuple[str, str]]:
    for volume in workload.pod.get("volumes") or []:
        kind = next((kind for kind in VOLUMES if kind in volume), "")
        if kind and not any("serviceAccountToken" in each for each in get(volume, "projected", "sources") or []):
            yield f"volume {volume.get('name')} is a {kind}", "hand the values over as environment variables"


def _hold(workload: Workload, _: Facts) -> Iterator[tuple[str, str]]:
    if HOLD in (get(workload.document, "spec", "template", "metadata", "annotations") or {}):
        yield f"its pods carry {HOLD}", "remove the annotation; gate by the rollout's waves instead"


def _placeholder(workload: Workload, facts: Facts) -> Iterator[tuple[str, str]]:
    if facts.cluster and facts.cluster.live and workload.application is None:
        for container in get(workload.pod, "containers") or []:
            if str(container.get("image") or "").startswith(PLACEHOLDER):
                fix = "say your registry: `edgeloop render --registry`, or `images:` in the kustomize overlay"
                yield f"container {name_of_container(container)}: {container['image']} is in no registry", fix


def _lands_on_edge(facts: Facts) -> Iterator[Hit]:
    nodes: list[Any] = edge_nodes(facts) or [{"kind": "Node", "metadata": {"name": "edge", "labels": {EDGE_ROLE: ""}}}]
    for workload in workloads(facts):
        reached = [name_of(node) for node in nodes if not workload.at_edge and reaches(workload.pod, node)]
        if reached:
            fix = f"require node affinity {EDGE_ROLE} DoesNotExist, or for an edge workload select {GROUP}"
            yield Hit(workload.subject, f"may be scheduled on {', '.join(reached[:5])}", fix)


CHECKS = (
    Check(
        "tolerations", "error", "a pod at the edge has no endless tolerations",
        "after 5 minutes without a link its pods are marked for deletion, and killed when the link is back",
        f"KubeEdge issues 3941, 4048, 2128, 3736; {SEEN}: untouched through a cut of 6 min 52 s with them",
        partial(_each, _tolerations),
    ),
    Check(
        "service-account-token", "error", "a pod at the edge mounts a service account's token",
        "after a power cut without a link it cannot start: the token cannot be renewed offline",
        f"KubeEdge issue 6414 (also 4441, 5958, 4429), metamanager/client/serviceaccount.go:124; {SEEN}",
        partial(_each, _token),
    ),
    Check(
        "pull-policy", "error", "a pod at the edge pulls its image at every start",
        "without a link it does not start, though the image is on the node", SEEN, partial(_each, _pull),
    ),
    Check(
        "image-by-tag", "warning", "an image at the edge is not named by digest",
        "with IfNotPresent nodes keep different images under one tag, and a signature is of a digest",
        "Kubernetes, imagePullPolicy; edgeloop, docs/signing.md",
        partial(_each, _by_tag),
    ),
    Check(
        "image-placeholder", "error", "an image is named by the placeholder registry",
        "nodes cannot pull it", "edgeloop, manifests/README.md", partial(_each, _placeholder),
    ),
    Check(
        "host-ports", "error", "a pod with a surge update declares ports of the host",
        "the new pod stays Pending for ever: the old one holds the port", SEEN, partial(_each, _ports),
    ),
    Check(
        "shared-probe", "error", "a pod on the host's network is probed over the shared port",
        "the old pod answers for the new one and is stopped too early: 286 of 2,600 requests were lost in an update", SEEN,
        partial(_each, _probe),
    ),
    Check(
        "empty-dir", "warning", "a pod at the edge keeps something in an emptyDir",
        "a restart of edgecore empties it under the running container", SEEN, partial(_each, _empty_dir),
    ),
    Check(
        "mounted-files", "warning", "a pod at the edge reads mounted files of the cluster",
        "a restart of edgecore takes them away under the running container; changes arrive after minutes", SEEN,
        partial(_each, _files),
    ),
    Check(
        "hold-annotation", "warning", "pods are held by KubeEdge's annotation",
        "overlapping releases crashed edgecore, and after a restart a release stopped every other pod of the node", SEEN,
        partial(_each, _hold),
    ),
    Check(
        "lands-on-edge", "warning", "a pod of the cloud may be scheduled on an edge node",
        "KubeEdge does not taint its nodes, so whatever selects no node can land there", SEEN, _lands_on_edge,
    ),
)  # fmt: skip
