"""The kustomize tree: what is generated in it is as the code makes it, every kustomization builds, what it builds is valid."""

from __future__ import annotations

import copy
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from manifest_rollout import crd
from manifest_tree import (
    CASES,
    CLOUD,
    EDGE,
    OVERLAYS,
    REPOSITORY,
    TREE,
    built,
    forget,
    name_of,
    namespace_of,
    objects,
    pods,
)

from edgeloop_contracts import Target
from edgeloop_contracts.loop import Fpga, NodeSelector
from edgeloop_fleet.render import Node, Settings
from edgeloop_fleet.render.agent import agent_daemon_set
from edgeloop_fleet.render.boards import board_objects
from edgeloop_fleet.render.files import dump
from edgeloop_fleet.render.groups import node_group

GOLDEN = REPOSITORY / "tests" / "golden" / "overlays"
STEPS = "edgeloop.local/edgeloop/steps@sha256:" + "0" * 64  # until `edgeloop compile` writes a release's own
GROUPS = {
    "canary": "base/node-groups/canary.yaml",
    "cabinets": "base/node-groups/cabinets.yaml",
    "gateways": "base/node-groups/gateways.yaml",
    "lines": "options/fpga/node-group.yaml",
}
Golden = Callable[[Path, str], None]


def target(group: str, **more: Any) -> Target:
    return Target(name=group, nodes=NodeSelector(group=group), **more)


def test_the_agent_in_the_tree_is_the_rendered_one(golden: Golden) -> None:
    """base/agent/daemonset.yaml is what rendering gives for its defaults."""
    golden(TREE / "base" / "agent" / "daemonset.yaml", dump(agent_daemon_set(Settings())))


def test_the_crd_in_the_tree_is_the_contracts(golden: Golden) -> None:
    """base/crds/modelrollouts.yaml is made from the contract Rollout."""
    golden(TREE / "base" / "crds" / "modelrollouts.yaml", dump(crd()))


@pytest.mark.parametrize("group", GROUPS)
def test_node_groups_in_the_tree_are_rendered_ones(group: str, golden: Golden) -> None:
    """A loop whose targets have these groups renders the same objects."""
    golden(TREE / GROUPS[group], dump(node_group(target(group))))


def test_the_device_model_in_the_tree_is_the_rendered_one(golden: Golden) -> None:
    """base/devices/fpga-board.yaml is the model of every Device that is rendered for a board."""
    lines = target("lines", runtime="fpga", part="ice40-up5k", fpga=Fpga(device="/dev/ttyUSB1", board="icebreaker"))
    model, *devices = board_objects("p", {"lines": lines}, {"lines": [Node(name="n")]}, Settings())
    assert [device["spec"]["deviceModelRef"]["name"] for device in devices] == [model["metadata"]["name"]]
    golden(TREE / "base" / "devices" / "fpga-board.yaml", dump(model))


def test_the_pipeline_in_the_tree_is_the_compiled_one(golden: Golden) -> None:
    """base/pipelines/ has what `edgeloop compile` writes, for an image whose digest says that it is none."""
    from edgeloop_pipelines.compile import compile_pipeline, manifests

    for item in manifests(compile_pipeline(STEPS), "kubeflow"):
        golden(TREE / "base" / "pipelines" / f"{item['kind'].lower()}.yaml", dump(item))


def test_one_object_a_file() -> None:
    """Of all YAML files; lists of patch operations are no objects."""
    counts = {path: len([d for d in yaml.safe_load_all(path.read_text()) if d]) for path in TREE.rglob("*.yaml")}
    assert {path for path, count in counts.items() if count != 1} == set()


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_is_patches_only(overlay: str) -> None:
    """Its objects come from the base and from options; each file beside the kustomization is one of its patches."""
    folder = TREE / "overlays" / overlay
    document = yaml.safe_load((folder / "kustomization.yaml").read_text())
    assert document["resources"] == ["../../base"]
    assert set(document) <= {"apiVersion", "kind", "resources", "components", "images", "patches"}
    patches = {patch["path"] for patch in document.get("patches", [])}
    assert patches == {path.name for path in folder.iterdir()} - {"kustomization.yaml"}


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_images_are_named_by_digest_where_a_registry_is(overlay: str) -> None:
    """Every image of staging and production, of others too, is of a registry and by digest; kind's are side-loaded by tag."""
    images = {c["image"] for pod in pods(objects(f"overlays/{overlay}")) for c in pod.containers}
    form = (
        r"edgeloop\.local/[a-z/]+:[0-9.]+" if overlay == "kind" else r"registry\.example/[a-z/-]+@sha256:[0-9a-f]{64}"
    )
    assert {image for image in images if not re.fullmatch(form, image)} == set()


@pytest.mark.parametrize("case", CASES)
def test_every_object_that_is_built_is_valid(case: str, problems_in: Callable[[dict[str, Any]], list[str]]) -> None:
    """No unknown field, nothing missing, in what an overlay or the base with one option builds; and in no other namespace."""
    items = objects(case)
    assert {name_of(item): found for item in items if (found := problems_in(item))} == {}
    assert {namespace_of(item) for item in items} == {"", EDGE, CLOUD, "kubeflow", "kubeedge"}
    assert len({name_of(item) for item in items}) == len(items)


def test_the_check_of_built_objects_can_fail(problems_in: Callable[[dict[str, Any]], list[str]]) -> None:
    """A field misspelt, a value of the wrong kind, and a field that is missing, in kinds of all three sources."""
    faults: dict[str, Callable[[dict[str, Any]], Any]] = {
        "NetworkPolicy": lambda o: o["spec"].update(policyType=["Ingress"]),
        "StatefulSet": lambda o: o["spec"].pop("serviceName"),
        "Role": lambda o: o["rules"][0].update(verb=["get"]),
        "CustomResourceDefinition": lambda o: o["spec"]["versions"][0].pop("served"),
        "PipelineVersion": lambda o: o["spec"].update(pipelineNames="x"),
        "NodeGroup": lambda o: o["spec"].update(matchLabels=["x"]),
        "Deployment": lambda o: o["metadata"].update(annotation={}),
        "Namespace": lambda o: o["metadata"].update(labels={"a": True}),
    }
    items = {item["kind"]: item for item in objects("overlays/staging")}
    for kind, spoil in faults.items():
        item = copy.deepcopy(items[kind])
        spoil(item)
        assert problems_in(item), kind


def _shortened(item: dict[str, Any]) -> dict[str, Any]:
    """The pipeline and the CRD have files of their own that are looked at: here they are their digests."""
    spec = item.get("spec") or {}
    for part in {"PipelineVersion": ("pipelineSpec",), "CustomResourceDefinition": ("versions",)}.get(item["kind"], ()):
        digest = hashlib.sha256(json.dumps(spec[part], sort_keys=True).encode()).hexdigest()
        item = {**item, "spec": {**item["spec"], part: f"sha256:{digest}"}}
    return item


@pytest.mark.parametrize("overlay", OVERLAYS)
def test_an_overlay_is_as_reviewed(overlay: str, golden: Golden, request: pytest.FixtureRequest) -> None:
    """What an overlay builds changes only with a golden file that a person has looked at."""
    if request.config.getoption("--regenerate"):
        forget()  # tests before this one may have written into the tree
    text = "---\n".join(dump(_shortened(item)) for item in objects(f"overlays/{overlay}"))
    golden(GOLDEN / f"{overlay}.yaml", text)


def test_options_of_object_stores_name_themselves_everywhere() -> None:
    """Fleet service and steps are told the same store, and the fleet service may reach it."""
    for name, url in {"seaweedfs": 8333, "minio": 9000}.items():
        items = objects(f"options/{name}")
        told = [
            item["data"]["AWS_ENDPOINT_URL_S3"] for item in items if item["metadata"]["name"] == "edgeloop-settings"
        ]
        assert told == [f"http://{name}.{CLOUD}.svc:{url}"] * 2
        assert "fleet-to-" + name in {item["metadata"]["name"] for item in items if item["kind"] == "NetworkPolicy"}


def test_reports_may_go_by_https() -> None:
    """The option turns the agent's transport; nothing of the broker is left in its arguments."""
    (agent,) = [item for item in objects("options/https-reports") if item["kind"] == "DaemonSet"]
    args = agent["spec"]["template"]["spec"]["containers"][0]["args"]
    (ingress,) = [item for item in objects("options/tls") if item["kind"] == "Ingress"]
    assert args[args.index("--https") + 1] == f"https://{ingress['spec']['rules'][0]['host']}"
    assert "--mqtt" not in args
    assert "127.0.0.1:1883" not in args


def test_no_secret_is_in_the_tree() -> None:
    """Secrets are named, never made."""
    assert [case for case in CASES if "\nkind: Secret\n" in built(case)] == []
    assert not list(TREE.rglob("*.pem"))
    assert "secretGenerator" not in "".join(path.read_text() for path in TREE.rglob("kustomization.yaml"))
