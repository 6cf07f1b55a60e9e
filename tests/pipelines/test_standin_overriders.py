"""The stand-in's reading of manifests: image names, EdgeApplications with overriders, and what it refuses."""

from __future__ import annotations

from typing import Any

import pytest

from edgeloop_pipelines.local.standin import images
from edgeloop_pipelines.local.standin.admission import admit
from edgeloop_pipelines.local.standin.objects import ManifestError, NodeView, belonging
from edgeloop_pipelines.local.standin.overriders import deployments_of

DIGEST = "sha256:" + "ab" * 32


@pytest.mark.parametrize(
    ("image", "component", "operator", "value", "expected"),
    [
        ("reg.example:5000/a/b:1", "Tag", "replace", DIGEST, f"reg.example:5000/a/b@{DIGEST}"),
        (f"reg.example/a/b@{DIGEST}", "Tag", "replace", "2", "reg.example/a/b:2"),
        ("reg.example/a/b:1", "Tag", "add", "-arm64", "reg.example/a/b:1-arm64"),
        ("reg.example/a/b:1", "Tag", "remove", "", "reg.example/a/b"),
        ("reg.example/a/b:1", "Tag", "replace", "not a tag", "reg.example/a/b:1"),
        ("reg.example/a/b:1", "Registry", "replace", "cache:5000", "cache:5000/a/b:1"),
        ("reg.example/a/b:1", "Registry", "remove", "", "a/b:1"),
        ("localhost/b:1", "Registry", "add", ":5000", "localhost:5000/b:1"),
        ("a/b:1", "Registry", "replace", "reg.example", "reg.example/a/b:1"),
        ("reg.example/a/b:1", "Repository", "replace", "c", "reg.example/c:1"),
        ("reg.example:5000/b", "Repository", "add", "-x", "reg.example:5000/b-x"),
    ],
)
def test_image_overriders(image: str, component: str, operator: str, value: str, expected: str) -> None:
    """Registry, Repository and Tag are added to, replaced and removed as KubeEdge's image parser does it."""
    assert images.changed(image, component, operator, value) == expected


def application(*overriders: dict[str, Any], **fields: Any) -> dict[str, Any]:
    containers_ = [
        {"name": "server", "image": "r.example/a:1", "args": ["--a", "--b"], "env": [{"name": "A", "value": "1"}]},
        {"name": "sidecar", "image": "r.example/s:1"},
    ]
    template = {"metadata": {"labels": {"x": "y"}}, "spec": {"hostNetwork": True, "containers": containers_}}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": "power", "namespace": "edgeloop"},
        "spec": {"replicas": 1, "template": template},
    }
    groups = [{"name": f"g{i}", "overriders": item} for i, item in enumerate(overriders)]
    return {
        "apiVersion": "apps.kubeedge.io/v1alpha1",
        "kind": "EdgeApplication",
        "metadata": {"name": "power", "namespace": "edgeloop"},
        "spec": {
            "workloadTemplate": {"manifests": [deployment]},
            "workloadScope": {"targetNodeGroups": groups, **fields},
        },
    }


def only(**overriders: Any) -> dict[str, Any]:
    """The Deployment of one group with these overriders."""
    (deployment,) = deployments_of(application(overriders))
    return deployment


def server_of(deployment: dict[str, Any]) -> dict[str, Any]:
    found: dict[str, Any] = deployment["spec"]["template"]["spec"]["containers"][0]
    return found


def test_each_group_gets_a_deployment_of_its_own() -> None:
    """`<name>-<group>`, on the group's nodes, and one group's overriders leave the other's Deployment alone."""
    first, second = deployments_of(application({"replicas": 3}, {}))
    assert [item["metadata"]["name"] for item in (first, second)] == ["power-g0", "power-g1"]
    assert first["spec"]["template"]["spec"]["nodeSelector"] == {"apps.kubeedge.io/belonging-to": "g0"}
    assert (first["spec"]["replicas"], second["spec"]["replicas"]) == (3, 1)


def test_without_a_path_the_sidecar_is_overridden_too() -> None:
    """That is KubeEdge's behaviour, and why edgeloop's overriders have a path."""
    tag = {"component": "Tag", "operator": "replace", "value": DIGEST}
    path = {"path": "/spec/template/spec/containers/0/image"}
    names = [
        [container["image"] for container in only(imageOverriders=[rule])["spec"]["template"]["spec"]["containers"]]
        for rule in (tag, {**tag, "predicate": path})
    ]
    assert names == [[f"r.example/a@{DIGEST}", f"r.example/s@{DIGEST}"], [f"r.example/a@{DIGEST}", "r.example/s:1"]]


def test_environment_arguments_and_resources() -> None:
    """env: replace puts in place or at the end; args: add appends, remove takes out; resources are replaced."""
    env = {
        "containerName": "server",
        "operator": "replace",
        "value": [{"name": "A", "value": "2"}, {"name": "B", "value": "3"}],
    }
    assert server_of(only(envOverriders=[env]))["env"] == env["value"]
    gone = {"containerName": "server", "operator": "remove", "value": [{"name": "A"}]}
    assert server_of(only(envOverriders=[gone]))["env"] == []
    words = [{"containerName": "server", "operator": "remove", "value": ["--a"]}, {"containerName": "server", "operator": "add", "value": ["--c"]}]  # fmt: skip  # noqa: E501
    assert server_of(only(argsOverriders=words))["args"] == ["--b", "--c"]
    value = {"limits": {"cpu": "1"}}
    assert server_of(only(resourcesOverriders=[{"containerName": "server", "value": value}]))["resources"] == value


def test_a_field_reference_without_its_version_is_lost_beside_an_env_overrider() -> None:
    """KubeEdge reads existing variables back that way; a manifest that forgets apiVersion must fail here too."""
    document = application({"envOverriders": [{"containerName": "server", "operator": "add", "value": []}]})
    manifest = document["spec"]["workloadTemplate"]["manifests"][0]
    manifest["spec"]["template"]["spec"]["containers"] = [
        {
            "name": "server",
            "image": "a:1",
            "env": [{"name": "N", "valueFrom": {"fieldRef": {"fieldPath": "spec.nodeName"}}}],
        }
    ]
    with pytest.raises(ManifestError, match="env N"):
        admit(document)
    manifest["spec"]["template"]["spec"]["containers"][0]["env"][0]["valueFrom"]["fieldRef"]["apiVersion"] = "v1"
    admit(document)


@pytest.mark.parametrize(
    ("document", "expected"),
    [
        (application({}, targetNodeLabels=[{"labelSelector": {}}]), "targetNodeLabels is not supported"),
        (application({"imageOverrider": []}), "got imageOverrider"),
        (application({"envOverriders": [{"containerName": "no", "operator": "add"}]}), "no container 'no'"),
        (application({}), "expected one container"),
        ("text", "expected an object"),
        ({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "x"}}, "got 'Secret'"),
        ({"apiVersion": "v2", "kind": "Node", "metadata": {"name": "x"}}, "expected v1 for a Node"),
        ({"apiVersion": "v1", "kind": "Node", "metadata": {"name": "x"}}, "InternalIP"),
        ({"apiVersion": "rules.kubeedge.io/v1", "kind": "Rule", "metadata": {"name": "x"}}, "a namespace"),
        (
            {
                "apiVersion": "apps.kubeedge.io/v1alpha1",
                "kind": "NodeGroup",
                "metadata": {"name": "g"},
                "spec": {"nodes": ["a"]},
            },
            "matchLabels",
        ),
    ],
)
def test_what_cannot_be_done_is_refused(document: Any, expected: str) -> None:
    """Each refusal says what is wrong; nothing is guessed."""
    with pytest.raises(ManifestError, match=expected):
        admit(document)


def test_a_node_belongs_to_one_group() -> None:
    """Two groups whose labels fit: the first by name has the node."""
    groups = [
        {"metadata": {"name": name}, "spec": {"matchLabels": labels}}
        for name, labels in (("b", {"x": "1"}), ("a", {"y": "1"}))
    ]
    nodes = [NodeView("n1", {"x": "1", "y": "1"}, ""), NodeView("n2", {"x": "1"}, ""), NodeView("n3", {}, "")]
    assert belonging(groups, nodes) == {"n1": "a", "n2": "b"}
