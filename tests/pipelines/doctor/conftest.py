"""A cluster over HTTP for the real Kubernetes client, a healthy installation in it, and the services around it."""

from __future__ import annotations

import contextlib
import email.utils
import json
import re
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import parse_qs, urlsplit

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
from edgeloop_pipelines.local.standin.overriders import deployments_of

ROOT = Path(__file__).resolve().parents[3]
TOKEN = "let-me-in"
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
PATHS = {  # kind: group and version, plural
    "Node": ("api/v1", "nodes"),
    "ConfigMap": ("api/v1", "configmaps"),
    "ServiceAccount": ("api/v1", "serviceaccounts"),
    "Deployment": ("apis/apps/v1", "deployments"),
    "DaemonSet": ("apis/apps/v1", "daemonsets"),
    "Lease": ("apis/coordination.k8s.io/v1", "leases"),
    "NodeGroup": ("apis/apps.kubeedge.io/v1alpha1", "nodegroups"),
    "EdgeApplication": ("apis/apps.kubeedge.io/v1alpha1", "edgeapplications"),
    "ImagePrePullJob": ("apis/operations.kubeedge.io/v1alpha2", "imageprepulljobs"),
    "Rule": ("apis/rules.kubeedge.io/v1", "rules"),
    "RuleEndpoint": ("apis/rules.kubeedge.io/v1", "ruleendpoints"),
}
CLUSTER_WIDE = ("Node", "NodeGroup", "ImagePrePullJob")


class _Server:
    """Answers HTTP on a free port. A subclass gives `answer`: status, body, and headers."""

    clock_off_s = 0.0

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        raise NotImplementedError

    @contextlib.contextmanager
    def served(self) -> Iterator[str]:
        state = self

        class Handler(BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def _any(self) -> None:
                length = int(self.headers.get("Content-Length") or 0)
                status, data, more = state.answer(self.command, self.path, self.headers, self.rfile.read(length))
                self.send_response(status)
                for name, value in {"Content-Length": str(len(data)), **more}.items():
                    self.send_header(name, value)
                self.end_headers()
                self.wfile.write(data if self.command != "HEAD" else b"")

            do_GET = do_PUT = do_POST = do_DELETE = do_HEAD = _any

            def date_time_string(self, timestamp: float | None = None) -> str:
                return email.utils.formatdate((timestamp or time.time()) + state.clock_off_s, usegmt=True)

            def log_message(self, *_: object) -> None:
                """Nothing is printed."""

        server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        server.daemon_threads = True
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01}, daemon=True)
        thread.start()
        try:
            yield f"http://127.0.0.1:{server.server_port}"
        finally:
            server.shutdown()
            server.server_close()
            thread.join(5)


@dataclass
class ApiServer(_Server):
    """Lists and gets of a Kubernetes API server, page by page, for who brings the token. `absent`: kinds it does not know."""

    objects: list[dict[str, Any]] = field(default_factory=list)
    version: str = "v1.32.10"
    absent: set[str] = field(default_factory=set)
    forbidden: set[str] = field(default_factory=set)
    page: int = 2
    stall_s: float = 0.0
    methods: set[str] = field(default_factory=set)

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        self.methods.add(method)
        time.sleep(self.stall_s)
        status, document = self._found(path, headers.get("Authorization", ""))
        return status, json.dumps(document).encode(), {"Content-Type": "application/json"}

    def _found(self, target: str, authorization: str) -> tuple[int, Any]:
        url = urlsplit(target)
        if authorization != f"Bearer {TOKEN}":
            return self._status(401, "Unauthorized")
        if url.path == "/version":
            return 200, {"gitVersion": self.version}
        for kind, (prefix, plural) in PATHS.items():
            found = re.fullmatch(rf"/{prefix}/(?:namespaces/([^/]+)/)?{plural}(?:/([^/]+))?", url.path)
            if found and bool(found[1]) is (kind not in CLUSTER_WIDE) and kind not in self.absent:
                if kind in self.forbidden:
                    return self._status(403, f"{plural} is forbidden")
                return self._of(kind, found[1], found[2], {k: v[0] for k, v in parse_qs(url.query).items()})
        return self._status(404, "the server could not find the requested resource")

    def _of(self, kind: str, namespace: str | None, name: str | None, query: dict[str, str]) -> tuple[int, Any]:
        mine = [each for each in self.objects if each["kind"] == kind]
        mine = [each for each in mine if each["metadata"].get("namespace") == namespace]
        if name:
            named = [each for each in mine if each["metadata"]["name"] == name]
            return (200, named[0]) if named else self._status(404, f"{name} not found")
        start, size = int(query.get("continue", 0)), min(int(query.get("limit", 500)), self.page)
        more = str(start + size) if start + size < len(mine) else ""
        items = [
            {k: v for k, v in each.items() if k not in ("kind", "apiVersion")} for each in mine[start : start + size]
        ]
        return 200, {"kind": f"{kind}List", "items": items, "metadata": {"continue": more}}

    @staticmethod
    def _status(code: int, message: str) -> tuple[int, Any]:
        return code, {"kind": "Status", "code": code, "message": message}


@dataclass
class Kfp(_Server):
    """The two calls of Kubeflow Pipelines that the doctor makes; `code` other than 200 refuses the second."""

    code: int = 200

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        known = path.startswith("/apis/v2beta1/runs?")
        document = {} if known else {"multi_user": False}
        return self.code if known else 200, json.dumps(document).encode(), {"Content-Type": "application/json"}


@dataclass
class S3(_Server):
    """A bucket: list, put with a condition, delete. `refuse` is the code of an error for everything."""

    refuse: str = ""
    conditions: bool = True
    keys: set[str] = field(default_factory=set)

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        key = urlsplit(path).path
        if self.refuse:
            return 403, _xml("Error", f"<Code>{self.refuse}</Code><Message>no</Message>"), _XML
        if method == "PUT":
            if self.conditions and headers.get("If-None-Match") == "*" and key in self.keys:
                return 412, _xml("Error", "<Code>PreconditionFailed</Code><Message>there</Message>"), _XML
            self.keys.add(key)
            return 200, b"", {"ETag": '"1"'}
        if method == "DELETE":
            self.keys.discard(key)
            return 204, b"", {}
        return 200, _xml("ListBucketResult", "<Name>edgeloop</Name><IsTruncated>false</IsTruncated>"), _XML


_XML = {"Content-Type": "application/xml"}


def _xml(root: str, inner: str) -> bytes:
    return f'<{root} xmlns="http://s3.amazonaws.com/doc/2006-03-01/">{inner}</{root}>'.encode()


@dataclass
class Fleet(_Server):
    """The health of a fleet service."""

    code: int = 200

    def answer(self, method: str, path: str, headers: Any, body: bytes) -> tuple[int, bytes, dict[str, str]]:
        return self.code if path == "/v1/health" else 404, b"{}", {}


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
        names = {"ns": "edgeloop", "cloud": "edgeloop-cloud", "kubeedge": "kubeedge"}
        cluster, clocks = read_cluster(str(self.kubeconfig), "", namespaces=names, timeout_s=30)
        return examine(Facts(cluster=cluster, clocks=tuple(clocks), loops=(from_json(Loop, self.loop),)))


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
    """What a healthy cluster holds: KubeEdge, nodes, the manifests of this repository, and a rendered loop."""
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
    return [
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
