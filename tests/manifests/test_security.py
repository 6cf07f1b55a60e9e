"""Pods keep to the restricted level but for a stated list, stay where they belong, and may do no more than they use."""

from __future__ import annotations

import copy
from typing import Any

import pytest
from manifest_loops import LOOPS, objects_of
from manifest_pods import violations
from manifest_tree import CASES, CLOUD, EDGE, Object, Pod, namespace_of, objects, pods

HOST = {"hostNetwork", "hostPath"}  # what KubeEdge makes necessary: base/namespaces/edgeloop.yaml
BREACHES = {  # by pod on nodes, everything that the restricted level forbids in it
    "agent": {*HOST, "prepare: root", "prepare: runAsNonRoot", "prepare: capability CHOWN"},
    "device-plugin": {*HOST, "device-plugin: root", "device-plugin: runAsNonRoot"},
}
TOKENS = {"prometheus"}  # it asks for pods; nothing else speaks to the API server
Case = pytest.mark.parametrize("case", CASES)


@Case
def test_pods_keep_to_the_restricted_level(case: str) -> None:
    """In the cloud without exception, and the namespace enforces it; on nodes with those of the table, each of them used."""
    items = objects(case)
    found = {pod.name: (pod.namespace, violations(pod.spec)) for pod in pods(items)}
    assert {name: breaches for name, (namespace, breaches) in found.items() if namespace == CLOUD and breaches} == {}
    assert {name: breaches for name, (namespace, breaches) in found.items() if namespace == EDGE} == {
        name: BREACHES[name] for name, (namespace, _) in found.items() if namespace == EDGE
    }
    levels = {
        item["metadata"]["name"]: item["metadata"]["labels"]["pod-security.kubernetes.io/enforce"]
        for item in items
        if item["kind"] == "Namespace"
    }
    assert levels == {CLOUD: "restricted", EDGE: "privileged"}


@pytest.mark.parametrize("name", LOOPS)
def test_servers_breach_the_restricted_level_in_the_host_alone(name: str) -> None:
    """Of every loop: network and run folder of the host, nothing else."""
    for item in objects_of(name):
        if item["kind"] == "EdgeApplication":
            (deployment,) = item["spec"]["workloadTemplate"]["manifests"]
            assert violations(deployment["spec"]["template"]["spec"]) == HOST


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("hostNetwork",), True, "hostNetwork"),
        (("hostPID",), True, "hostPID"),
        (("securityContext", "seccompProfile"), None, "fleet: seccomp"),
        (("securityContext", "runAsNonRoot"), False, "fleet: runAsNonRoot"),
        (("containers", 0, "securityContext", "privileged"), True, "fleet: privileged"),
        (("containers", 0, "securityContext", "capabilities"), {"drop": []}, "fleet: capabilities are not dropped"),
        (("containers", 0, "securityContext", "allowPrivilegeEscalation"), True, "fleet: allowPrivilegeEscalation"),
        (("containers", 0, "ports", 0, "hostPort"), 8080, "fleet: hostPort"),
        (("volumes", 0), {"name": "state", "hostPath": {"path": "/"}}, "hostPath"),
    ],
)
def test_the_check_of_pods_can_fail(path: tuple[Any, ...], value: Any, says: str) -> None:
    """Each breach of the restricted level is found."""
    (fleet,) = [copy.deepcopy(pod.spec) for pod in pods(objects("overlays/kind")) if pod.name == "fleet"]
    place: Any = fleet
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert violations(fleet) == {says}


@Case
def test_containers_have_limits_a_read_only_root_and_no_token(case: str) -> None:
    """Every container of ours and of others; the init container that only changes an owner has no limits of its own."""
    for pod in pods(objects(case)):
        assert pod.spec["automountServiceAccountToken"] is (pod.name in TOKENS)
        for container in pod.containers:
            assert container["securityContext"]["readOnlyRootFilesystem"] is True, pod.name
            if container["name"] != "prepare":
                assert set(container["resources"]) == {"requests", "limits"}, pod.name
            assert container["imagePullPolicy"] in ("IfNotPresent", "Never"), pod.name
        durable = [mount for v in pod.spec["volumes"] if "emptyDir" in v for mount in _mounts(pod, v["name"])]
        assert set(durable) <= {"/tmp", "/var/run/postgresql"}, f"{pod.name}: what lasts does not belong in an emptyDir"


def _mounts(pod: Pod, volume: str) -> list[str]:
    return [m["mountPath"] for c in pod.containers for m in c.get("volumeMounts", []) if m["name"] == volume]


@Case
def test_pods_stay_on_their_side(case: str) -> None:
    """Pods of the cloud never land on a node of the edge, which KubeEdge does not taint; those of nodes nowhere else."""
    never = [{"matchExpressions": [{"key": "node-role.kubernetes.io/edge", "operator": "DoesNotExist"}]}]
    for pod in pods(objects(case)):
        if pod.namespace == CLOUD:
            required = pod.spec["affinity"]["nodeAffinity"]["requiredDuringSchedulingIgnoredDuringExecution"]
            assert required["nodeSelectorTerms"] == never, pod.name
        else:
            assert pod.spec["nodeSelector"]["node-role.kubernetes.io/edge"] == "", pod.name
            forever = {
                t["key"]
                for t in pod.spec["tolerations"]
                if t["effect"] == "NoExecute" and set(t) == {"key", "operator", "effect"}
            }
            assert forever == {"node.kubernetes.io/unreachable", "node.kubernetes.io/not-ready"}, pod.name


@Case
def test_no_step_of_the_pipeline_lands_on_a_node_of_the_edge(case: str) -> None:
    """Each executor of the PipelineVersion has the required affinity."""
    (version,) = [item for item in objects(case) if item["kind"] == "PipelineVersion"]
    executors = version["spec"]["pipelineSpec"]["deploymentSpec"]["executors"]
    options = version["spec"]["platformSpec"]["platforms"]["kubernetes"]["deploymentSpec"]["executors"]
    assert set(options) == set(executors)
    wanted = [{"matchExpressions": [{"key": "node-role.kubernetes.io/edge", "operator": "DoesNotExist"}]}]
    assert [name for name, given in options.items() if given["nodeAffinity"] != wanted] == []
    assert [name for name, one in executors.items() if "@sha256:" not in one["container"]["image"]] == []


def _granted(items: list[Object], role: str) -> set[tuple[str, str, str]]:
    """(group, resource, verb) of a Role or ClusterRole."""
    rules = [
        rule
        for item in items
        if item["kind"] in ("Role", "ClusterRole") and item["metadata"]["name"] == role
        for rule in item["rules"]
    ]
    return {(g, r, v) for rule in rules for g in rule["apiGroups"] for r in rule["resources"] for v in rule["verbs"]}


@Case
def test_roles_are_small(case: str) -> None:
    """No wildcard, no Secrets, nothing that makes roles or pods; the roles of the cluster are edgeloop's one."""
    items = objects(case)
    for item in items:
        if item["kind"] in ("Role", "ClusterRole"):
            given = _granted([item], item["metadata"]["name"])
            assert not [one for one in given if "*" in one]
            assert not {r for _, r, _ in given} & {"secrets", "pods/exec", "roles", "clusterroles", "serviceaccounts"}
            assert not [
                v for _, r, v in given if r in ("pods", "nodes", "deployments") and v not in ("get", "list", "watch")
            ]
    assert [item["metadata"]["name"] for item in items if item["kind"] == "ClusterRole"] == ["edgeloop-fleet"]


def test_the_controllers_roles_are_for_what_is_rendered() -> None:
    """Of every kind that a rollout applies it may create and patch, without a namespace or in that of the nodes; of no other."""
    items = objects("overlays/kind")
    rendered = {
        (item["apiVersion"].partition("/")[0], item["kind"].lower() + "s", namespace_of(item) != "")
        for name in LOOPS
        for item in objects_of(name)
    }
    kinds = {namespaced: {(g, r) for g, r, n in rendered if n is namespaced} for namespaced in (True, False)}
    more = {True: {("edgeloop.dev", "modelrollouts"), ("", "events")}, False: set[tuple[str, str]]()}
    for namespaced, role in ((True, "fleet"), (False, "edgeloop-fleet")):
        given = _granted(items, role)
        assert {(g, r) for g, r, verb in given if verb == "create"} == kinds[namespaced] | more[namespaced]
        assert {(g, r) for g, r, verb in given if verb == "patch"} >= kinds[namespaced]
    deleted = {r for role in ("fleet", "edgeloop-fleet") for _, r, verb in _granted(items, role) if verb == "delete"}
    assert deleted == {"rules", "ruleendpoints", "imageprepulljobs"}, "the kinds that `superseded` names"
