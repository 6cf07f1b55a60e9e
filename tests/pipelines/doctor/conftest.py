"""A cluster over HTTP for the real Kubernetes client, a healthy installation in it, and the services around it."""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pytest
import yaml

from edgeloop_components.registry.documents import digest_of_bytes
from edgeloop_components.registry.testing import TestRegistry
from edgeloop_components.registry.testing import serve as serve_registry
from edgeloop_contracts import Loop, Package, ResourceProfile, from_json, to_json
from edgeloop_fleet.render import Settings, node_of, render_loop
from edgeloop_fleet.render.labels import BELONGING, GROUP
from edgeloop_fleet.render.values import EDGE_ROLE
from edgeloop_pipelines.cli import main
from edgeloop_pipelines.doctor import Facts, Finding, examine
from edgeloop_pipelines.doctor.gather.cluster import read_cluster
from edgeloop_pipelines.doctor.testing import PATHS, S3, TOKEN, ApiServer, Fleet, Kfp
from edgeloop_pipelines.local.standin.overriders import deployments_of

ROOT = Path(__file__).resolve().parents[3]
GROUPS = {"cabinets": ("n1", "n2"), "gateways": ("n3",)}
CLOUDCORE = """\
apiVersion: cloudcore.config.kubeedge.io/v1alpha2
kind: CloudCore
modules:
  cloudHub: {nodeLimit: 1000}
  dynamicController: {enable: true}
  router: {enable: true}
  taskManager: {enable: true}
"""


@dataclass
class Site:
    """An installation: the cluster and the services, each with its address, and the loop that is served there."""

    folder: Path
    api: ApiServer = field(default_factory=ApiServer)
    kfp: Kfp = field(default_factory=Kfp)
    s3: S3 = field(default_factory=S3)
    fleet: Fleet = field(default_factory=Fleet)
    registry: TestRegistry = field(default_factory=TestRegistry)
    loop: dict[str, Any] = field(default_factory=dict)
    urls: dict[str, str] = field(default_factory=dict)
    monkeypatch: Any = None
    capsys: Any = None

    def objects(self, kind: str) -> list[dict[str, Any]]:
        return [each for each in self.api.objects if each["kind"] == kind]

    def one(self, kind: str, name: str = "") -> dict[str, Any]:
        return next(each for each in self.objects(kind) if name in each["metadata"]["name"])

    @property
    def template(self) -> dict[str, Any]:
        """The Deployment in the loop's EdgeApplication."""
        found: dict[str, Any] = self.one("EdgeApplication")["spec"]["workloadTemplate"]["manifests"][0]
        return found

    @property
    def pod(self) -> dict[str, Any]:
        found: dict[str, Any] = self.template["spec"]["template"]["spec"]
        return found

    @property
    def kubeconfig(self) -> Path:
        path = self.folder / "kubeconfig"
        path.write_text(yaml.safe_dump(_kubeconfig(self.urls["api"])))
        return path

    def doctor(self, *words: str, cluster: bool = True) -> tuple[int, dict[str, Any]]:
        """`edgeloop doctor --json` over the services, and the cluster with the loop: its exit code and document."""
        loop = self.folder / "loop.yaml"
        loop.write_text(json.dumps(self.loop))
        asked = [str(loop), "--kubeconfig", str(self.kubeconfig)] if cluster else []
        code = main(["doctor", *asked, "--kfp", self.urls["kfp"], "--fleet", self.urls["fleet"], "--json", *words])
        captured = self.capsys.readouterr()
        assert captured.err == ""
        return code, json.loads(captured.out)

    def examined(self) -> list[Finding]:
        """The findings in the cluster alone, as the real Kubernetes client reads it over HTTP."""
        names = {"ns": "edgeloop", "cloud": "edgeloop-cloud", "kubeedge": "kubeedge", "kubeflow": "kubeflow"}
        cluster, clocks = read_cluster(str(self.kubeconfig), "", namespaces=names, timeout_s=30)
        return examine(
            Facts(cluster=cluster, clocks=tuple(clocks), loops=(from_json(Loop, self.loop),), heard=self.fleet.heard)
        )


def _kubeconfig(url: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Config",
        "current-context": "plant",
        "clusters": [{"name": "plant", "cluster": {"server": url}}],
        "users": [{"name": "me", "user": {"token": TOKEN}}],
        "contexts": [{"name": "plant", "context": {"cluster": "plant", "user": "me"}}],
    }


def stamp(ago_s: float) -> str:
    return datetime.fromtimestamp(time.time() - ago_s, UTC).isoformat().replace("+00:00", "Z")


def node(name: str, group: str) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Node",
        "metadata": {
            "name": name,
            "labels": {EDGE_ROLE: "", GROUP: group, BELONGING: group},
            "creationTimestamp": stamp(7200),
        },
        "status": {
            "allocatable": {"cpu": "2", "memory": "1900Mi", "pods": "110"},
            "conditions": [{"type": "Ready", "status": "True"}, {"type": "DiskPressure", "status": "False"}],
            "nodeInfo": {"kubeletVersion": "v1.32.10-kubeedge-v1.23.1", "architecture": "amd64"},
        },
    }


LOOP = {
    "apiVersion": "edgeloop.dev/v1alpha1",
    "kind": "Loop",
    "metadata": {"name": "power"},
    "data": {"source": "s3://telemetry/turbines/", "label": "y", "features": ["x"]},
    "train": {"estimator": "sklearn.linear_model.LogisticRegression"},
    "targets": [
        {"name": group, "nodes": {"group": group}, "budget": {"memory_mib": 256}, "has": {"disk_mib": 100}}
        for group in GROUPS
    ],
}


def _image(registry: TestRegistry, repository: str) -> str:
    """Puts a manifest into the registry; its digest."""
    kind = "application/vnd.oci.image.manifest.v1+json"
    config = {"mediaType": "application/vnd.oci.image.config.v1+json", "digest": digest_of_bytes(b"{}"), "size": 2}
    document = {"schemaVersion": 2, "mediaType": kind, "config": config, "layers": []}
    data = json.dumps({**document, "annotations": {"name": repository}}).encode()
    digest = digest_of_bytes(data)
    registry.manifests[repository, digest] = (kind, data)
    return digest


def _package(registry: TestRegistry, group: str) -> Package:
    profile = ResourceProfile(
        loop="power", target=group, method="test", latency_p50_ms=1, latency_p99_ms=2, memory_peak_mib=70,
        cpu_request_m=100, cpu_limit_m=500, memory_request_mib=96, memory_limit_mib=160,
    )  # fmt: skip
    repository = f"edgeloop/power/{group}"
    return Package(
        loop="power", version=1, target=group, platform="linux/amd64", runtime="onnxruntime", repository=repository,
        digest=_image(registry, repository), size_bytes=1, profile=profile,
    )  # fmt: skip


def installation(registry: TestRegistry) -> list[dict[str, Any]]:
    """What a healthy cluster holds: KubeEdge, nodes, the fleet service's manifests of this repository, and a rendered loop."""
    at = registry.address.removeprefix("http://")
    agent = f"{at}/edgeloop/agent@{_image(registry, 'edgeloop/agent')}"
    nodes = [node(name, group) for group, names in GROUPS.items() for name in names]
    packages = {group: _package(registry, group) for group in GROUPS}
    rendered = render_loop(
        from_json(Loop, LOOP), packages, [node_of(each) for each in nodes], Settings(registry=at, agent_image=agent)
    )
    objects = [*nodes, *rendered, *_kubeedge(), *_of_this_repository()]
    for application in [each for each in rendered if each["kind"] == "EdgeApplication"]:
        objects += [_owned(each) for each in deployments_of(application)]
    objects += [_lease(each["metadata"]["name"]) for each in nodes]
    for each in objects:
        ago_s = {"RuleEndpoint": 3600, "Rule": 3000}.get(each["kind"], 7200)
        each["metadata"].setdefault("creationTimestamp", stamp(ago_s))
    return json.loads(json.dumps(objects))  # type: ignore[no-any-return]


def _owned(deployment: dict[str, Any]) -> dict[str, Any]:
    deployment["metadata"]["ownerReferences"] = [{"kind": "EdgeApplication", "name": "power"}]
    return deployment


def _lease(name: str) -> dict[str, Any]:
    return {
        "apiVersion": "coordination.k8s.io/v1",
        "kind": "Lease",
        "metadata": {"name": name, "namespace": "kube-node-lease"},
        "spec": {"holderIdentity": name, "renewTime": stamp(4)},
    }


def _kubeedge() -> list[dict[str, Any]]:
    def deployment(name: str) -> dict[str, Any]:
        image = f"kubeedge/{name.removeprefix('kubeedge-')}:v1.23.1"
        spec = {"template": {"spec": {"containers": [{"name": name, "image": image}]}}}
        metadata = {"name": name, "namespace": "kubeedge"}
        return {"apiVersion": "apps/v1", "kind": "Deployment", "metadata": metadata, "spec": spec}

    config = {"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "cloudcore", "namespace": "kubeedge"}}
    secret = {"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "edgeloop-s3", "namespace": "edgeloop-cloud"}}
    return [
        secret,
        deployment("cloudcore"),
        deployment("kubeedge-controller-manager"),
        {**config, "data": {"cloudcore.yaml": CLOUDCORE}},
    ]


def _of_this_repository() -> list[dict[str, Any]]:
    found = []
    for path in sorted((ROOT / "manifests" / "base" / "fleet").glob("*.yaml")):
        found += [each for each in yaml.safe_load_all(path.read_text()) if each and each["kind"] in PATHS]
    return found


@pytest.fixture(scope="module")
def servers() -> Iterator[dict[str, Any]]:
    """The servers run for the whole module; each test gets them with a state of its own."""
    with contextlib.ExitStack() as stack:
        running: dict[str, Any] = {"registry": stack.enter_context(serve_registry())}
        for name, kind in (("api", ApiServer), ("kfp", Kfp), ("s3", S3), ("fleet", Fleet)):
            running[name] = kind()
            running[f"{name} url"] = stack.enter_context(running[name].served())
        running["objects"] = json.dumps(installation(running["registry"]))
        running["manifests"] = dict(running["registry"].manifests)
        yield running


@pytest.fixture
def site(
    servers: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> Site:
    """A healthy installation, to be seeded with faults."""
    registry = servers["registry"]
    address = registry.address
    fresh = TestRegistry()
    fresh.address = address
    registry.__dict__.update(fresh.__dict__)
    for name, kind in (("api", ApiServer), ("kfp", Kfp), ("s3", S3), ("fleet", Fleet)):
        servers[name].__dict__.clear()
        servers[name].__dict__.update(kind().__dict__)
    servers["fleet"].heard = {name: True for names in GROUPS.values() for name in names}
    servers["api"].objects, registry.manifests = json.loads(servers["objects"]), dict(servers["manifests"])
    for each in servers["api"].objects:
        if each["kind"] == "Lease":
            each["spec"]["renewTime"] = stamp(4)
    for name in ("AWS_ENDPOINT_URL", "EDGELOOP_FLEET_URL", "KF_PIPELINES_ENDPOINT", "EDGELOOP_KFP_TOKEN", "KUBECONFIG"):
        monkeypatch.delenv(name, raising=False)
    for name, value in {
        "AWS_ENDPOINT_URL_S3": servers["s3 url"],
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "EDGELOOP_HOME": str(tmp_path / "home"),
        "HOME": str(tmp_path),
    }.items():
        monkeypatch.setenv(name, value)
    urls = {name: servers[f"{name} url"] for name in ("api", "kfp", "s3", "fleet")}
    parts = {name: servers[name] for name in ("api", "kfp", "s3", "fleet", "registry")}
    return Site(
        folder=tmp_path, loop=json.loads(json.dumps(to_json(from_json(Loop, LOOP)))), urls=urls, monkeypatch=monkeypatch,
        capsys=capsys, **parts,
    )  # fmt: skip


Seed = Callable[[Site], None]
