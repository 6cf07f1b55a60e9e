"""Faults to be seeded into a healthy installation, one for each check; a fault that drags another one in names it."""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterable
from typing import Any, NamedTuple

__all__ = ["SEEDS", "Seed"]

Site = Any
NODE_AFFINITY = ("affinity", "nodeAffinity")


class Seed(NamedTuple):
    """`act` breaks something; `words` are given to the command; `with_it` are further findings that come of it."""

    act: Callable[[Site], object]
    with_it: Iterable[str] = ()
    words: tuple[str, ...] = ()


def config(old: str, new: str) -> Callable[[Site], None]:
    def act(site: Site) -> None:
        data = site.one("ConfigMap", "cloudcore")["data"]
        assert old in data["cloudcore.yaml"]
        data["cloudcore.yaml"] = data["cloudcore.yaml"].replace(old, new)

    return act


def remove(kind: str, name: str) -> Callable[[Site], None]:
    return lambda site: site.api.objects.remove(site.one(kind, name))


def overlap(site: Site) -> None:
    site.one("Node", "n1")["metadata"]["labels"]["site"] = "north"
    group = copy.deepcopy(site.one("NodeGroup", "cabinets"))
    group["metadata"]["name"], group["spec"]["matchLabels"] = "north", {"site": "north"}
    site.api.objects.append(group)


def without_labels(site: Site) -> None:
    group = copy.deepcopy(site.one("NodeGroup", "cabinets"))
    group["metadata"]["name"], group["spec"] = "spare", {"nodes": ["n3"]}
    site.api.objects.append(group)


def stray(site: Site) -> None:
    group = copy.deepcopy(site.one("NodeGroup", "cabinets"))
    group["metadata"]["name"], group["spec"]["matchLabels"] = "yard", {"site": "yard"}
    site.api.objects.append(group)


def container(**fields: Any) -> Callable[[Site], None]:
    return lambda site: site.pod["containers"][0].update(fields)


def volume(**source: Any) -> Callable[[Site], None]:
    return lambda site: site.pod["volumes"].append({"name": "more", **source})


def sidecar(site: Site) -> None:
    image = "registry.example/sidecar@sha256:" + "1" * 64
    site.pod["containers"].append({"name": "sidecar", "image": image, "imagePullPolicy": "IfNotPresent"})
    for target in targets(site):
        for each in target["overriders"]["imageOverriders"]:
            del each["predicate"]


def targets(site: Site) -> list[Any]:
    return site.one("EdgeApplication")["spec"]["workloadScope"]["targetNodeGroups"]  # type: ignore[no-any-return]


def tag(site: Site) -> None:
    for target in targets(site):
        target["overriders"]["imageOverriders"][1]["value"] = "1.4.0"


def agent_image(image: str) -> Callable[[Site], None]:
    return lambda site: site.one("DaemonSet")["spec"]["template"]["spec"]["containers"][0].update(image=image)


def of_node(site: Site) -> Any:
    return next(each for each in site.objects("Rule") if "node_name" in each["spec"]["sourceResource"])


def rule(site: Site, **fields: str) -> None:
    """Another Rule, of somebody else's, beside edgeloop's."""
    one = copy.deepcopy(of_node(site))
    one["metadata"].update(name="by-hand", labels={})
    one["spec"]["sourceResource"].update(fields)
    site.api.objects.append(one)


def condition(site: Site, kind: str, status: str) -> None:
    found = site.one("Node", "n2")["status"]["conditions"]
    next(each for each in found if each["type"] == kind)["status"] = status


def pull(site: Site) -> None:
    status = {"nodeName": "n1", "phase": "Failed", "imageStatus": [{"image": "x", "reason": "manifest unknown"}]}
    site.one("ImagePrePullJob")["status"] = {"phase": "Failure", "nodeStatus": [status]}


def by_labels(site: Site) -> None:
    scope = site.one("EdgeApplication")["spec"]["workloadScope"]
    scope["targetNodeLabels"] = [{"labelSelector": {"matchLabels": {"a": "1", "b": "2"}}, "overriders": {}}]


def lease(site: Site, time: str) -> None:
    site.one("Lease", "n1")["spec"]["renewTime"] = time


SEEDS: dict[str, Seed] = {
    "cluster-away": Seed(lambda site: site.urls.update(api="http://127.0.0.1:9")),
    "cluster-forbidden": Seed(lambda site: site.api.forbidden.add("ServiceAccount")),
    "kubernetes-version": Seed(lambda site: setattr(site.api, "version", "v1.35.1")),
    "kubeedge-missing": Seed(lambda site: site.api.absent.update({"NodeGroup", "ImagePrePullJob"})),
    "kubeedge-version": Seed(
        lambda site: site.one("Node", "n2")["status"]["nodeInfo"].update(kubeletVersion="v1.32.10-kubeedge-v1.23.0")
    ),
    "kubeedge-skew": Seed(
        lambda site: site.one("Node", "n2")["status"]["nodeInfo"].update(kubeletVersion="v1.31.2-kubeedge-v1.22.2")
    ),
    "controllers-missing": Seed(remove("Deployment", "kubeedge-controller-manager")),
    "rollouts-unknown": Seed(lambda site: site.api.absent.add("ModelRollout")),
    "agent-missing": Seed(remove("DaemonSet", "agent")),
    "cloudcore-unknown": Seed(remove("ConfigMap", "cloudcore")),
    "router-off": Seed(config("router: {enable: true}", "router: {enable: false}")),
    "task-manager-off": Seed(config("  taskManager: {enable: true}\n", "")),
    "dynamic-controller-off": Seed(config("dynamicController: {enable: true}", "dynamicController: {}")),
    "node-limit": Seed(config("nodeLimit: 1000", "nodeLimit: 2")),
    "group-without-labels": Seed(without_labels),
    "group-overlap": Seed(overlap),
    "group-empty": Seed(stray),
    "group-not-noticed": Seed(
        lambda site: site.one("Node", "n3")["metadata"]["labels"].pop("apps.kubeedge.io/belonging-to")
    ),
    "group-not-as-loop": Seed(
        lambda site: site.one("NodeGroup", "gateways")["metadata"].update(name="gates"),
        with_it=["unknown-group", "group-not-noticed"],
    ),
    "node-too-small": Seed(
        lambda site: site.one("Node", "n1")["status"]["allocatable"].update(memory="200Mi"),
        with_it=["node-less-than-said"],
    ),
    "node-less-than-said": Seed(lambda site: site.one("Node", "n1")["status"]["allocatable"].update(memory="250Mi")),
    "node-platform": Seed(lambda site: site.one("Node", "n1")["status"]["nodeInfo"].update(architecture="arm64")),
    "node-not-ready": Seed(lambda site: condition(site, "Ready", "Unknown")),
    "node-pressure": Seed(lambda site: condition(site, "DiskPressure", "True")),
    "tolerations": Seed(lambda site: site.pod["tolerations"][0].update(tolerationSeconds=300)),
    "service-account-token": Seed(lambda site: site.pod.pop("automountServiceAccountToken")),
    "pull-policy": Seed(container(imagePullPolicy="Always")),
    "image-by-tag": Seed(tag),
    "image-placeholder": Seed(agent_image("edgeloop.local/edgeloop/agent@sha256:" + "0" * 64)),
    "host-ports": Seed(container(ports=[{"containerPort": 8080}])),
    "shared-probe": Seed(container(readinessProbe={"httpGet": {"path": "/v2/health/ready", "port": 8080}})),
    "empty-dir": Seed(volume(emptyDir={})),
    "mounted-files": Seed(volume(configMap={"name": "edgeloop-model", "optional": True})),
    "hold-annotation": Seed(
        lambda site: site.template["spec"]["template"]["metadata"].update(
            annotations={"edge.kubeedge.io/hold-upgrade": "true"}
        )
    ),
    "lands-on-edge": Seed(lambda site: site.one("Deployment", "fleet")["spec"]["template"]["spec"].pop("affinity")),
    "reference-missing": Seed(remove("Secret", "edgeloop-s3")),
    "node-silent": Seed(lambda site: site.fleet.heard.update(n2=False)),
    "overrider-path": Seed(sidecar),
    "group-twice": Seed(lambda site: targets(site).append(copy.deepcopy(targets(site)[0]))),
    "not-overridden": Seed(
        lambda site: site.one("EdgeApplication")["spec"]["workloadTemplate"]["manifests"].append(
            {"kind": "ConfigMap", "metadata": {"name": "settings"}}
        )
    ),
    "target-labels": Seed(by_labels),
    "unknown-group": Seed(lambda site: targets(site)[0].update(name="attic")),
    "replicas": Seed(lambda site: targets(site)[0]["overriders"].update(replicas=1)),
    "prepull": Seed(pull),
    "rule-edited": Seed(
        lambda site: of_node(site)["spec"]["targetResource"].update(resource="http://other.example/v1/reports")
    ),
    "rule-endpoint": Seed(
        lambda site: site.one("RuleEndpoint", "rest")["metadata"].update(creationTimestamp="2099-01-01T00:00:00Z")
    ),
    "rule-node": Seed(lambda site: rule(site, node_name="n9", topic="heat")),
    "rule-wildcard": Seed(lambda site: rule(site, topic="heat/#")),
    "rule-twice": Seed(rule),
    "rule-missing": Seed(lambda site: site.api.objects.remove(of_node(site))),
    "kfp-away": Seed(lambda site: site.urls.update(kfp="http://127.0.0.1:9")),
    "kfp-refused": Seed(lambda site: setattr(site.kfp, "code", 401)),
    "kfp-broken": Seed(lambda site: setattr(site.kfp, "code", 400)),
    "objects-away": Seed(lambda site: site.monkeypatch.setenv("AWS_ENDPOINT_URL_S3", "http://127.0.0.1:9")),
    "objects-refused": Seed(lambda site: setattr(site.s3, "refuse", "InvalidAccessKeyId")),
    "objects-broken": Seed(lambda site: setattr(site.s3, "conditions", False), words=("--write",)),
    "registry-away": Seed(lambda _: None, words=("--registry", "127.0.0.1:9")),
    "registry-refused": Seed(lambda site: setattr(site.registry, "auth", "basic")),
    "registry-broken": Seed(
        lambda site: site.registry.manifests.update(dict.fromkeys(site.registry.manifests, ("text/plain", b"!")))
    ),
    "fleet-away": Seed(lambda site: site.urls.update(fleet="http://127.0.0.1:9")),
    "fleet-refused": Seed(lambda site: setattr(site.fleet, "code", 401)),
    "fleet-broken": Seed(lambda site: setattr(site.fleet, "code", 502)),
    "image-missing": Seed(lambda site: site.registry.manifests.pop(next(iter(site.registry.manifests)))),
    "clock-skew": Seed(lambda site: lease(site, "2099-01-01T00:00:00.000000Z")),
}
