"""Loops that differ in everything that changes what is rendered: a line each."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgeloop_contracts import Loop, Package, ResourceProfile, from_json
from edgeloop_contracts.ecdsa import GX, GY, PublicKey
from edgeloop_fleet.render import Node, Settings, render_loop
from edgeloop_fleet.testing import openly_signed

KEY = PublicKey(GX, GY)  # a point of the curve that everybody knows
BOARD = {"device": "/dev/ttyUSB1", "board": "icebreaker", "baud": 1_000_000}
UP5K = {"runtime": "fpga", "part": "ice40-up5k", "fpga": BOARD}
NATIVE = {"runtime": "native", "platform": "linux/arm64"}
SMALL = {"latency_p99_ms": 5, "memory_mib": 32, "cpu_m": 250, "image_mib": 2}


@dataclass(frozen=True)
class Given:
    """Groups: what their targets have besides; how many nodes each has; settings; other parts of loop.yaml."""

    groups: Mapping[str, Mapping[str, Any]]
    nodes: int = 2
    settings: Settings = Settings()
    parts: Mapping[str, Any] = field(default_factory=dict)
    threads: int = 1


LOOPS: dict[str, Given] = {
    "one-node": Given({"all": {}}, 1),
    "many-groups": Given(
        {"canary": {}, "gateways": {"labels": {"site": "north", "kubernetes.io/arch": "arm64"}}, "cabinets": {}},
        3,
        Settings(namespace="ml", registry="registry.example:5000/edge", server_port=9000, trusted=(KEY,)),
    ),
    "no-nodes-yet": Given({"lines": UP5K}, 0, Settings(transport="https", fleet_url="https://fleet.example")),
    "boards": Given({"lines": UP5K, "benches": {"runtime": "fpga", "part": "ice40-hx8k"}}),
    "l" * 48: Given({"g" * 48: {}}, 2, Settings(namespace="n" * 20)),
    "native-small": Given({"gateways": {**NATIVE, "budget": SMALL}}, 4),
    "every-platform": Given(
        {
            "west": {"runtime": "native", "platform": "linux/amd64"},
            "east": {"runtime": "native", "platform": "linux/arm/v7"},
            "south": {"runtime": "native", "platform": "linux/riscv64"},
            "north": {**NATIVE, "has": {"memory_mib": 256, "disk_mib": 512}},
        },
        1,
        Settings(poll_s=0.5, mqtt="10.0.0.1:8883", feedback_port=9081),
    ),
    "every-runtime": Given(
        {
            "plain": NATIVE,
            "heavy": {"runtime": "onnxruntime", "budget": {"requests_per_s": 500, "cpu_m": 2000}},
            "real": {**UP5K, "has": {"accelerator": "ice40-up5k", "driver": "ftdi"}},
            "drawn": {"runtime": "fpga-sim"},
        },
        1,
        Settings(device_resource="example.com", device_gid=46),
    ),
    "threads": Given({"heavy": {"budget": {"latency_p99_ms": 20, "cpu_m": 4000}}}, 2, threads=4),
    "scheduled": Given(
        {"canary": {}, "rest": NATIVE},
        2,
        parts={
            "retrain": {"on": ["performance", "drift", "new_data"], "schedule": "0 3 * * 0", "cooldown": "6h", "budget": "4/day"},
            "rollout": {"waves": [["canary"], ["rest"]], "soak": "2h", "approval": "manual"},
            "offline": {"priority": "critical", "storage_mib": 200},
            "monitor": {"window": "15m", "false_alarms": "1/year"},
        },
    ),
    "private": Given(
        {"all": {}},
        2,
        Settings(registry="cache.site-1.example:5000/mirror/edge", agent_image=f"cache.site-1.example/agent@sha256:{'a' * 64}"),
    ),
    "lent-python": Given(
        {"bare": {"has": {"runtimes": ["python3.11"]}}},
        2,
        Settings(lent=("python3.11",), transport="https", fleet_url="https://fleet.example:8443/edge"),
    ),
}  # fmt: skip


def loop_of(name: str) -> Loop:
    """The Loop of a line."""
    given = LOOPS[name]
    targets = []
    for number, (group, more) in enumerate(given.groups.items()):
        fields = dict(more)
        nodes = {"group": group, "labels": fields.pop("labels", {})}
        targets.append({"name": f"t{number}", "nodes": nodes, **fields})
    document = {
        "apiVersion": "edgeloop.dev/v1alpha1",
        "kind": "Loop",
        "metadata": {"name": name},
        "data": {"source": "rows.csv", "label": "y", "features": ["x"]},
        "train": {"estimator": "sklearn.linear_model.LogisticRegression"},
        "targets": targets,
        **given.parts,
    }
    return from_json(Loop, document)


def package_of(loop: Loop, number: int, threads: int = 1) -> Package:
    """A package for the target of that number; every other one has a profile."""
    target = loop.targets[number]
    profile = ResourceProfile(
        loop=loop.name, target=target.name, method="test", latency_p50_ms=1, latency_p99_ms=2, memory_peak_mib=70,
        cpu_request_m=100, cpu_limit_m=500, memory_request_mib=96, memory_limit_mib=160, threads=threads,
    )  # fmt: skip
    return Package(
        loop=loop.name, version=1, target=target.name, platform=target.platform, runtime=target.runtime,
        repository=f"edgeloop/{loop.name}", digest=f"sha256:{number:064x}", size_bytes=1,
        profile=None if number % 2 else profile,
    )  # fmt: skip


def objects_of(name: str) -> list[dict[str, Any]]:
    """Everything that is rendered of a line."""
    given, loop = LOOPS[name], loop_of(name)
    nodes = [
        Node(
            name=f"{target.nodes.group[:20]}-{i}",
            labels=target.nodes.labels or {"edgeloop.dev/group": target.nodes.group},
        )
        for target in loop.targets
        for i in range(given.nodes)
    ]
    packages = {target.nodes.group: package_of(loop, i, given.threads) for i, target in enumerate(loop.targets)}
    if given.settings.trusted:
        packages = {group: openly_signed(package) for group, package in packages.items()}
    return list(render_loop(loop, packages, nodes, given.settings))
