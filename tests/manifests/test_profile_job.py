"""The profile's Job: against Kubernetes' own types, and, where a cluster is given, run there."""

from __future__ import annotations

import copy
import json
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import yaml

JOB = Path(__file__).resolve().parent.parent / "golden" / "profile" / "job.yaml"
KUBECONFIG, REGISTRY = "EDGELOOP_TEST_KUBECONFIG", "EDGELOOP_TEST_REGISTRY"
PLATFORMS = {"amd64": "linux/amd64", "arm64": "linux/arm64", "arm": "linux/arm/v7", "riscv64": "linux/riscv64"}
Check = Callable[[dict[str, Any]], list[str]]


def documents() -> list[dict[str, Any]]:
    """The golden ConfigMap and Job."""
    return list(yaml.safe_load_all(JOB.read_text()))


def test_the_job_is_sound(problems_in: Check) -> None:
    """Every field is one of Kubernetes' types, in 1.30 and in 1.32, with a value of the right kind."""
    config, job = documents()
    assert (config["kind"], job["kind"]) == ("ConfigMap", "Job")
    assert {name: found for name, found in ((d["kind"], problems_in(d)) for d in (config, job)) if found} == {}


@pytest.mark.parametrize(
    ("path", "value", "says"),
    [
        (("backofLimit",), 0, "unknown field of V1JobSpec"),
        (("backoffLimit",), "0", "expected int"),
        (("template", "spec", "hostNetwork"), "yes", "expected bool"),
        (("template", "spec", "initContainers"), {}, "expected a list"),
    ],
)
def test_what_is_wrong_in_a_job_is_found(plain_problems: Check, path: tuple[str, ...], value: Any, says: str) -> None:
    """A field misspelt, and values of the wrong kind."""
    job = copy.deepcopy(documents()[1])
    place = job["spec"]
    for name in path[:-1]:
        place = place[name]
    place[path[-1]] = value
    (problem,) = plain_problems(job)
    assert path[-1] in problem
    assert says in problem


def kubectl(*words: str, given: str = "", timeout_s: float = 60) -> str:
    """What kubectl says of the cluster under test."""
    command = ["kubectl", "--kubeconfig", os.environ[KUBECONFIG], *words]
    done = subprocess.run(command, input=given, capture_output=True, text=True, timeout=timeout_s)
    assert done.returncode == 0, f"{' '.join(words)}: {done.stderr[-1000:]}"
    return done.stdout


@pytest.fixture
def namespace() -> Iterator[str]:
    """A namespace of its own in the cluster under test; removed in the end."""
    if not os.environ.get(KUBECONFIG):
        pytest.skip(f"{KUBECONFIG} names no cluster")
    if not shutil.which("kubectl"):
        pytest.skip("no kubectl on this machine")
    name = f"edgeloop-test-{os.getpid()}"
    kubectl("create", "namespace", name)
    yield name
    kubectl("delete", "namespace", name, "--wait=false")


@pytest.mark.cluster
def test_the_cluster_takes_the_job(namespace: str) -> None:
    """Its API server finds nothing to object to; nothing is run."""
    objects = [{**one, "metadata": {**one["metadata"], "namespace": namespace}} for one in documents()]
    said = kubectl("apply", "--dry-run=server", "--validate=strict", "-f", "-", given=yaml.safe_dump_all(objects))
    assert said.count("created (server dry run)") == 2


@pytest.mark.cluster
@pytest.mark.slow
def test_the_job_measures_on_a_node(namespace: str, tmp_path: Path, small_network: Path) -> None:
    """A model is packed and pushed, the Job runs on any Linux node, and its log becomes that node's profile."""
    registry = os.environ.get(REGISTRY)
    if not registry:
        pytest.skip(f"{REGISTRY} names no registry that this machine pushes to and the cluster pulls from")
    from edgeloop_components.profile.image import REPOSITORY, load_image
    from edgeloop_components.profile.job import JobPlan, profile_job, profile_of_log
    from edgeloop_components.profile.rows import request_bodies
    from edgeloop_components.registry import push
    from edgeloop_contracts import Reference, ResourceProfile, Target, loads
    from edgeloop_contracts.loop import NodeSelector

    nodes = json.loads(kubectl("get", "nodes", "-l", "kubernetes.io/os=linux", "-o", "json"))["items"]
    platform = PLATFORMS[nodes[0]["status"]["nodeInfo"]["architecture"]]
    package, folder = packed(small_network, tmp_path, platform)
    load = load_image(tmp_path / "images", [platform])
    push(f"oci:{tmp_path / 'images'}@{package.digest}", f"{registry}/{package.repository}:test")
    push(f"oci:{tmp_path / 'images'}@{load}", f"{registry}/{REPOSITORY}:test")
    measured = ResourceProfile(
        loop=package.loop, target=package.target, method="as planned", latency_p50_ms=1, latency_p99_ms=2,
        memory_peak_mib=1, cpu_request_m=10, cpu_limit_m=250, memory_request_mib=8, memory_limit_mib=32,
    )  # fmt: skip
    target = Target(
        name=package.target,
        nodes=NodeSelector(group="test", labels={"kubernetes.io/os": "linux"}),
        platform=platform,  # type: ignore[arg-type]
        runtime="native",
    )
    plan = JobPlan(
        load_image=f"{registry}/{REPOSITORY}@{load}",
        registry=registry,
        namespace=namespace,
        rates_per_s=(100.0, 500.0),
        seconds=6.0,
    )
    reference = loads(Reference, (folder / "reference.json").read_bytes())
    objects = profile_job(package, target, measured, request_bodies(reference, 1), plan)
    kubectl("apply", "-f", "-", given=yaml.safe_dump_all(objects))
    name = objects[1]["metadata"]["name"]
    kubectl("-n", namespace, "wait", f"job/{name}", "--for=condition=complete", "--timeout=240s", timeout_s=260)
    log = kubectl("-n", namespace, "logs", f"job/{name}", "-c", "load")
    found = profile_of_log(measured, log, node=nodes[0]["metadata"]["name"])
    assert [point.rate_per_s for point in found.points] == [100, 500]
    assert found.rate_per_s == 500
    assert 0 < found.latency_p50_ms <= found.latency_p99_ms


def packed(network: Path, folder: Path, platform: str) -> tuple[Any, Path]:
    """A small network as a package for the platform in the layout `folder/images`, and the folder of its model."""
    from edgeloop_components.compile.lone import read_lone
    from edgeloop_components.compile.lone_documents import write_documents
    from edgeloop_components.package.lone import package_lone

    lone = read_lone(network)
    documents_folder = folder / "documents"
    documents_folder.mkdir()
    (documents_folder / "model.onnx").write_bytes(lone.adapted.model.SerializeToString())
    write_documents(lone, documents_folder, 0)
    made = package_lone(lone, folder / "images", platforms=[platform], runtime="native")
    return replace(made.packages[0], repository="edgeloop/small"), documents_folder


@pytest.mark.slow
def test_what_the_cluster_test_packs_is_a_package(tmp_path: Path, small_network: Path) -> None:
    """So that the test which needs a cluster is not broken where there is none."""
    from edgeloop_components.package.layers import host_platform

    package, folder = packed(small_network, tmp_path, host_platform())
    assert package.platform == host_platform()
    assert (tmp_path / "images" / "blobs" / "sha256" / package.digest[7:]).is_file()
    assert (folder / "reference.json").is_file()
