"""Every rendered object of every loop in the table, unknown fields forbidden; and golden files."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from manifest_loops import LOOPS, loop_of, objects_of

from edgeloop_fleet.render.files import dump

GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "manifests"


@pytest.mark.parametrize("name", LOOPS)
def test_every_object_is_valid(name: str, problems_in: Callable[[dict[str, Any]], list[str]]) -> None:
    """No object of any loop has a field that its CRD or Kubernetes does not know, or lacks one that it needs."""
    found = {item["metadata"]["name"]: problems for item in objects_of(name) if (problems := problems_in(item))}
    assert found == {}


def test_the_loops_are_varied() -> None:
    """At least ten, with every runtime, platform, transport, and whatever else is rendered from."""
    loops = [loop_of(name) for name in LOOPS]
    targets = [target for loop in loops for target in loop.targets]
    settings = [given.settings for given in LOOPS.values()]
    assert len(LOOPS) >= 10
    assert {target.runtime for target in targets} == {"native", "onnxruntime", "fpga", "fpga-sim"}
    assert {target.platform for target in targets} == {"linux/amd64", "linux/arm64", "linux/arm/v7", "linux/riscv64"}
    assert {one.transport for one in settings} == {"mqtt", "https"}
    assert {bool(one.trusted) for one in settings} == {bool(one.lent) for one in settings} == {True, False}
    assert len({one.registry for one in settings}) >= 3
    assert (
        {bool(loop.retrain.schedule) for loop in loops} == {bool(loop.rollout.waves) for loop in loops} == {True, False}
    )
    assert {given.nodes for given in LOOPS.values()} >= {0, 1, 2, 3}
    kinds = {item["kind"] for name in LOOPS for item in objects_of(name)}
    assert kinds == {
        "NodeGroup", "EdgeApplication", "ImagePrePullJob", "Rule", "RuleEndpoint", "Device", "DeviceModel", "DaemonSet",
    }  # fmt: skip


def test_the_check_finds_what_is_wrong(problems_in: Callable[[dict[str, Any]], list[str]]) -> None:
    """Unknown fields at any depth, wrong types and values outside an enum are found: the check can fail."""

    def spoilt(kind: str, *path: Any, value: Any = "x") -> list[str]:
        item = copy.deepcopy(next(item for item in objects_of("many-groups") if item["kind"] == kind))
        *parents, last = path
        parent: Any = item
        for step in parents:
            parent = parent[step]
        parent[last] = value
        return problems_in(item)

    target = ("spec", "workloadScope", "targetNodeGroups", 0, "overriders")
    template = ("spec", "workloadTemplate", "manifests", 0, "spec", "template", "spec")
    assert spoilt("NodeGroup", "spec", "matchLabel")
    assert spoilt("EdgeApplication", *target, "imageOverriders", 0, "operator", value="swap")
    assert spoilt("EdgeApplication", *target, "replicas", value="two")
    assert spoilt("EdgeApplication", *template, "topologySpreadConstraints", 0, "matchLabelKey")
    assert spoilt("EdgeApplication", *template, "containers", 0, "imagePullPolicies")
    assert spoilt("ImagePrePullJob", "spec", "imagePrePullTemplate", "node_names")
    assert spoilt("Rule", "spec", "sourceResource", value=None)
    assert spoilt("DaemonSet", "spec", "template", "spec", "hostNetwork", value="yes")
    assert spoilt("NodeGroup", "apiVersion", value="apps.kubeedge.io/v2")


@pytest.mark.parametrize("name", ["one-node", "many-groups", "boards"])
def test_rendering_is_as_reviewed(name: str, golden: Callable[[Path, str], None]) -> None:
    """What is rendered changes only with a golden file that a person has looked at."""
    golden(GOLDEN / f"{name}.yaml", "---\n".join(dump(item) for item in objects_of(name)))
