"""The built step image at work: every step of the compiled pipeline runs in it as KFP starts it, with no network but the store.

`make step-image` builds the image into an OCI layout and names it in EDGELOOP_STEP_IMAGE; without that nothing is run here.
"""

from __future__ import annotations

import json
import os
import random
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypeVar

import pytest
import yaml

from edgeloop_components.catalog import catalog, runs
from edgeloop_components.package import layout
from edgeloop_components.package.debian import ARCHITECTURES, lock
from edgeloop_components.package.layers import host_platform
from edgeloop_components.stores.objects import S3Objects
from edgeloop_components.stores.seaweed import Running
from edgeloop_contracts import Contract, Loop, Package, ParityResult, dumps, from_json, loads
from edgeloop_pipelines.compile import compile_pipeline

C = TypeVar("C", bound=Contract)
pytestmark = pytest.mark.slow
NAME = "registry.example/edgeloop-steps"
KEY, START_S, HOUR_S = "run-in-the-image", 1_700_000_000, 3600
PLATFORMS = {"gate": "linux/arm/v7", "cab": host_platform()}
RUNTIMES = {"gate": "native", "cab": "onnxruntime"}
Engine = Callable[..., subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def built() -> Path:
    """The layout with the one image, or a skip that says how to make it."""
    named = os.environ.get("EDGELOOP_STEP_IMAGE")
    if not named:
        pytest.skip(
            "EDGELOOP_STEP_IMAGE names no layout with a built step image: `make step-image` builds it (minutes)"
        )
    return Path(named).resolve()


@pytest.fixture(scope="module")
def digest(built: Path) -> str:
    """Of the image's manifest."""
    (found,) = layout.images(built).values()
    return found


@pytest.fixture(scope="module")
def podman() -> Iterator[Engine]:
    """podman with runc on folders of its own; a skip with the reason where it cannot be."""
    missing = [tool for tool in ("podman", "runc") if shutil.which(tool) is None]
    if missing or os.geteuid() != 0:
        pytest.skip(f"needs root and podman with runc: {', '.join(missing) or 'not root'}")
    short = Path(tempfile.mkdtemp())  # podman takes no longer path than 50 characters
    config = short / "containers.conf"
    config.write_text(
        '[containers]\ndefault_ulimits = ["nofile=20000:20000", "nproc=4096:4096"]\n'
        '[engine]\ncgroup_manager = "cgroupfs"\nevents_logger = "none"\n'
    )
    head = ["podman", "--root", str(short / "root"), "--runroot", str(short / "run")]
    head += ["--runtime", str(shutil.which("runc"))]

    def run(*words: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        environment = {**os.environ, "CONTAINERS_CONF": str(config)}
        return subprocess.run([*head, *words], cwd=cwd, env=environment, capture_output=True, text=True, timeout=600)

    yield run
    run("rmi", "-f", "-a")
    shutil.rmtree(short, ignore_errors=True)


@pytest.fixture(scope="module")
def image(built: Path, podman: Engine) -> str:
    """The image's id in the engine's store."""
    pulled = podman("pull", "-q", f"oci:{built.name}", cwd=built.parent)  # its path must be one that an image may have
    assert pulled.returncode == 0, pulled.stderr
    return pulled.stdout.strip()


HARDENED = ("--rm", "--cap-drop=ALL", "--security-opt=no-new-privileges")
READ_ONLY = ("--read-only", "--tmpfs", "/tmp")
# These keep what they build beside what the image brings, in folders that are their user's; KFP's pods let them.
FLAGS: dict[str, tuple[str, ...]] = {"compile": (), "profile": (), "package": ()}


def python(podman: Engine, image: str, code: str) -> Any:
    """What `code` prints as JSON in the image, without any network, on a read-only root."""
    done = podman(
        "run", *HARDENED, *READ_ONLY, "--network=none", "-e", "_KFP_RUNTIME=true", image, "python3", "-c", code
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout)


def test_kfp_is_alone_and_pip_is_gone(podman: Engine, image: str) -> None:
    """Exactly what the lock names, the wheel, and nothing that could fetch more; the user is nobody's, the root read-only."""
    from edgeloop_components.package.wheels import entries_of

    locked = Path(__file__).parents[2] / "components/images/steps/requirements.lock"
    code = (
        "import importlib.metadata as m, importlib.util as u, json, os; import kfp.dsl;"
        "print(json.dumps([sorted(d.name.lower().replace('_', '-') for d in m.distributions()),"
        "[n for n in ('pip', 'setuptools', 'kubernetes', 'kfp_server_api') if u.find_spec(n)], os.getuid()]))"
    )
    names, unwanted, uid = python(podman, image, code)
    assert names == sorted([*entries_of(locked.read_text()), "edgeloop"])
    assert not unwanted
    assert uid == 65532


def test_the_compiler_is_warm_and_nothing_is_left_to_fetch(podman: Engine, image: str) -> None:
    """What compile and package would build or fetch the first time is there, for every platform, with no network at all."""
    code = (
        "import json; from edgeloop_components.native.toolchain import warm;"
        "from edgeloop_components.package import wheels; from edgeloop_components.package.debian import ARCHITECTURES, lock;"
        "print(json.dumps([warm(), {p: [len(lock.fetch(lock.locked(p))), len(wheels.fetch(p))] for p in ARCHITECTURES}]))"
    )
    cold, found = python(podman, image, code)
    assert cold == 0
    assert {p: len(lock.locked(p)) for p in ARCHITECTURES} == {p: debs for p, (debs, _) in found.items()}
    assert all(brought > 5 for _, brought in found.values())


@dataclass
class Cluster:
    """What stands in for a cluster: the compiled pipeline, a folder in the place of KFP's volumes, the store's variables."""

    podman: Engine
    image: str
    spec: Mapping[str, Any]
    folder: Path
    environment: Mapping[str, str]
    loop: Loop
    artifacts: dict[str, list[dict[str, Any]]] = field(default_factory=dict)

    def run(self, step: str, *flags: str, target: str = "", **given: Any) -> dict[str, Any]:
        """Runs a step in the image with the command of the IR; its executor output. Fails with the step's words."""
        component, container = self._of(step)
        request = self._request(
            step, component, target, {"run_key": KEY, "loop": dumps(self.loop), "target": target, **given}
        )
        words = [*container["command"], *(json.dumps(request) if w == "{{$}}" else w for w in container["args"])]
        variables = [word for name, value in self.environment.items() for word in ("-e", f"{name}={value}")]
        mounts = ["-v", f"{self.folder / 'minio'}:/minio", "-v", f"{self.folder / 'images'}:/var/lib/edgeloop/images"]
        done = self.podman("run", *HARDENED, *flags, "--network=host", *variables, *mounts, self.image, *words)
        assert done.returncode == 0, f"{step} {target}: {done.stderr[-3000:]}\n{done.stdout[-2000:]}"
        place = self.folder / request["outputs"]["outputFile"].lstrip("/")
        output: dict[str, Any] = json.loads(place.read_text())
        for name, found in output.get("artifacts", {}).items():
            self.artifacts[f"{name}{target}"] = found["artifacts"]
        return output

    def _of(self, step: str) -> tuple[Mapping[str, Any], Mapping[str, Any]]:
        component = self.spec["components"][f"comp-{step}"]
        return component, self.spec["deploymentSpec"]["executors"][component["executorLabel"]]["container"]

    def _request(
        self, step: str, component: Mapping[str, Any], target: str, given: Mapping[str, Any]
    ) -> dict[str, Any]:
        """KFP's ExecutorInput, from what the IR says of the component."""
        asked, made = component.get("inputDefinitions", {}), component.get("outputDefinitions", {})
        place = f"edgeloop/{KEY}/{step}{target}"  # minio://edgeloop/x is the file /minio/edgeloop/x
        values = {n: given.get(n, what.get("defaultValue")) for n, what in asked.get("parameters", {}).items()}
        artifacts = {
            name: [{"name": name, "type": what["artifactType"], "uri": f"minio://{place}/{name}"}]
            for name, what in made.get("artifacts", {}).items()
        }
        return {
            "inputs": {
                "parameterValues": {name: value for name, value in values.items() if value is not None},
                "artifacts": {n: {"artifacts": self._found(n, target)} for n in asked.get("artifacts", {})},
            },
            "outputs": {
                "parameters": {n: {"outputFile": f"/minio/{place}/{n}"} for n in made.get("parameters", {})},
                "artifacts": {name: {"artifacts": found} for name, found in artifacts.items()},
                "outputFile": f"/minio/{place}/executor_output.json",
            },
        }

    def _found(self, name: str, target: str) -> list[dict[str, Any]]:
        """The artifacts that go in by that name: the target's, the run's, or (packages) those of all targets."""
        if name == "packages":
            return [found for each in PLATFORMS for found in self.artifacts[f"packaged{each}"]]
        return self.artifacts.get(f"{name}{target}") or self.artifacts[name]

    def document(self, kind: type[C], step: str, target: str, name: str) -> C:
        """What a step left in its folder."""
        (found,) = (self.folder / "minio" / "edgeloop" / KEY / f"{step}{target}").glob(f"*/{name}")
        return loads(kind, found.read_bytes())


@pytest.fixture
def cluster(podman: Engine, image: str, digest: str, seaweed: Running, objects: S3Objects, tmp_path: Path) -> Cluster:
    chance = random.Random(7)
    lines = ["time,node,x,y,state"]
    for i in range(400):
        x, y = chance.uniform(-1, 1), chance.uniform(-1, 1)
        lines.append(f"{START_S + i * HOUR_S},n{i % 2},{x:.4f},{y:.4f},{'up' if x + y > 0 else 'down'}")
    objects.put("telemetry/rows.csv", ("\n".join(lines) + "\n").encode())
    document = {
        "apiVersion": "edgeloop.dev/v1alpha1",
        "kind": "Loop",
        "metadata": {"name": "turbine", "owner": "tests"},
        "data": {
            "source": f"s3://{objects.bucket}/telemetry/",
            "time": "time",
            "node": "node",
            "label": "state",
            "features": ["x", "y"],
        },
        "train": {"estimator": "sklearn.ensemble.HistGradientBoostingClassifier", "params": {"max_iter": 10}},
        "validate": {"require": {"accuracy": ">= 0.8"}},
        "targets": [
            {"name": name, "platform": PLATFORMS[name], "runtime": RUNTIMES[name], "nodes": {"group": f"{name}s"}}
            for name in PLATFORMS
        ],
        "rollout": {"waves": [["cabs"], ["gates"]]},
    }
    loop = from_json(Loop, document)
    spec = next(yaml.safe_load_all(compile_pipeline(f"{NAME}@{digest}", loop).ir))
    for name in ("minio", "images"):
        (tmp_path / name).mkdir()
        (tmp_path / name).chmod(0o777)
    tmp_path.chmod(0o755)
    environment = {
        **seaweed.env(),
        "EDGELOOP_BUCKET": objects.bucket,
        "EDGELOOP_IMAGES": "/var/lib/edgeloop/images",
        "EDGELOOP_BASE": "debian",
    }
    return Cluster(podman, image, spec, tmp_path, environment, loop)


def test_the_whole_pipeline_runs_in_the_image(cluster: Cluster, objects: S3Objects, digest: str) -> None:
    """From rows to a rollout, each step by the command of the IR, in the image by the very digest that was built."""
    containers = [e["container"] for e in cluster.spec["deploymentSpec"]["executors"].values()]
    assert {container["image"] for container in containers} == {f"{NAME}@{digest}"}
    times = {"now_s": float(START_S + 401 * HOUR_S), "evidence_s": 0.0}
    for step in ("ingest", "train", "validate", "register"):
        cluster.run(step, *READ_ONLY, **times, cause="manual", started_by="tests")
    for target in PLATFORMS:
        for step in ("compile", "profile", "package"):
            cluster.run(step, *FLAGS[step], target=target)
        parity = cluster.document(ParityResult, "compile", target, "parity.json")
        assert parity.passed
        assert parity.estimator_difference is not None
        layout.verify(cluster.folder / "images", cluster.document(Package, "package", target, "package.json").digest)
    cluster.run("rollout", *READ_ONLY, **times)
    assert catalog.alias(objects, "turbine", "candidate") == 1
    ended = {"state": "SUCCEEDED", "pipelineJobResourceName": "run", "pipelineTaskName": "run", "error": {}}
    cluster.run("outcome", *READ_ONLY, **times, cause="manual", started_by="tests", status=ended)
    assert (runs.run(objects, "turbine", KEY) or {})["state"] == "succeeded"
