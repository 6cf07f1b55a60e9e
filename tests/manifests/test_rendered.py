"""Every rendered object against the CRDs and Kubernetes' own types, unknown fields forbidden; and golden files."""

from __future__ import annotations

import copy
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from edgeloop_contracts import Loop, Package, ResourceProfile, from_json
from edgeloop_contracts.ecdsa import GX, GY, PublicKey
from edgeloop_fleet.render import Node, Settings, render_loop
from edgeloop_fleet.render.files import dump
from edgeloop_fleet.testing import openly_signed

KEY = PublicKey(GX, GY)  # a point of the curve that everybody knows
GOLDEN = Path(__file__).resolve().parent.parent / "golden" / "manifests"

LOOPS: dict[str, tuple[dict[str, dict[str, str]], int, Settings]] = {  # groups with labels, nodes a group, settings
    "one-node": ({"all": {}}, 1, Settings()),
    "many-groups": (
        {"canary": {}, "gateways": {"site": "north", "kubernetes.io/arch": "arm64"}, "cabinets": {}},
        3,
        Settings(namespace="ml", registry="registry.example:5000/edge", server_port=9000, trusted=(KEY,)),
    ),
    "no-nodes-yet": ({"lines": {}}, 0, Settings(transport="https", fleet_url="https://fleet.example")),
    "boards": ({"lines": {}, "benches": {}}, 2, Settings()),
    "l" * 48: ({"g" * 48: {}}, 2, Settings(namespace="n" * 20)),
}


TARGETS: dict[str, dict[str, Any]] = {  # what the target of a group has besides
    "lines": {
        "runtime": "fpga", "part": "ice40-up5k", "fpga": {"device": "/dev/ttyUSB1", "board": "icebreaker", "baud": 1_000_000},
    },
    "benches": {"runtime": "fpga", "part": "ice40-hx8k"},
}  # fmt: skip


def objects_of(name: str) -> list[dict[str, Any]]:
    groups, count, settings = LOOPS[name]
    document = {
        "apiVersion": "edgeloop.dev/v1alpha1",
        "kind": "Loop",
        "metadata": {"name": name},
        "data": {"source": "rows.csv", "label": "y", "features": ["x"]},
        "train": {"estimator": "sklearn.linear_model.LogisticRegression"},
        "targets": [
            {"name": f"t{i}", "nodes": {"group": g, "labels": marks}, **TARGETS.get(g, {})}
            for i, (g, marks) in enumerate(groups.items())
        ],
    }
    loop = from_json(Loop, document)
    nodes = [
        Node(name=f"{group[:20]}-{i}", labels=marks or {"edgeloop.dev/group": group})
        for group, marks in groups.items()
        for i in range(count)
    ]
    packages = {target.nodes.group: _package(loop, i) for i, target in enumerate(loop.targets)}
    given = {group: openly_signed(package) for group, package in packages.items()} if settings.trusted else packages
    return render_loop(loop, given, nodes, settings)


def _package(loop: Loop, number: int) -> Package:
    """Every other package has a profile."""
    target = loop.targets[number]
    profile = ResourceProfile(
        loop=loop.name, target=target.name, method="test", latency_p50_ms=1, latency_p99_ms=2, memory_peak_mib=70,
        cpu_request_m=100, cpu_limit_m=500, memory_request_mib=96, memory_limit_mib=160,
    )  # fmt: skip
    return Package(
        loop=loop.name, version=1, target=target.name, platform=target.platform, runtime=target.runtime,
        repository=f"edgeloop/{loop.name}", digest=f"sha256:{number:064x}", size_bytes=1,
        profile=None if number % 2 else profile,
    )  # fmt: skip


@pytest.mark.parametrize("name", LOOPS)
def test_every_object_is_valid(name: str, problems_in: Callable[[dict[str, Any]], list[str]]) -> None:
    """No object of any loop has a field that its CRD or Kubernetes does not know, or lacks one that it needs."""
    found = {item["metadata"]["name"]: problems for item in objects_of(name) if (problems := problems_in(item))}
    assert found == {}


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
