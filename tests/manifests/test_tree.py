"""The kustomize tree: every kustomization builds, what it builds is valid, and every name in it resolves."""

from __future__ import annotations

import shutil
import subprocess
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeloop_fleet.render import Settings
from edgeloop_fleet.render.agent import agent_daemon_set
from edgeloop_fleet.render.files import dump, load_all

TREE = Path(__file__).resolve().parent.parent.parent / "manifests"
BUILT = sorted(path.parent.relative_to(TREE).as_posix() for path in TREE.glob("overlays/*/kustomization.yaml"))
BROUGHT = {"edgeloop-objects", "edgeloop-registry"}  # Secrets that a person makes; the README and the option say so
MAY_BE_BROUGHT = {"edgeloop-keys"}  # ConfigMaps that a person may make


@pytest.fixture(scope="module")
def build() -> Callable[[Path], list[dict[str, Any]]]:
    """Builds a kustomization with kubectl, or skips."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("kubectl is not installed here, so kustomizations cannot be built")

    def run(folder: Path) -> list[dict[str, Any]]:
        done = subprocess.run([kubectl, "kustomize", str(folder)], capture_output=True, text=True)
        assert done.returncode == 0, done.stderr
        return load_all(done.stdout)

    return run


def pods(objects: list[dict[str, Any]]) -> Iterator[dict[str, Any]]:
    return (item["spec"]["template"]["spec"] for item in objects if item["kind"] in ("Deployment", "DaemonSet"))


def test_the_agent_in_the_tree_is_the_rendered_one(golden: Callable[[Path, str], None]) -> None:
    """base/agent/daemonset.yaml is what rendering gives for its defaults."""
    golden(TREE / "base" / "agent" / "daemonset.yaml", dump(agent_daemon_set(Settings())))


@pytest.mark.parametrize("overlay", BUILT)
def test_an_overlay_builds_valid_objects(
    overlay: str, build: Callable[[Path], list[dict[str, Any]]], problems_in: Callable[[dict[str, Any]], list[str]]
) -> None:
    """No unknown field in anything that an overlay builds, and nothing outside the namespace."""
    objects = build(TREE / overlay)
    assert {item["kind"] for item in objects} >= {"Namespace", "DaemonSet", "Deployment", "Service", "NetworkPolicy"}
    assert {item["metadata"]["name"]: found for item in objects if (found := problems_in(item))} == {}
    assert {item["metadata"].get("namespace", "edgeloop") for item in objects} == {"edgeloop"}


@pytest.mark.parametrize("overlay", BUILT)
def test_every_reference_resolves(overlay: str, build: Callable[[Path], list[dict[str, Any]]]) -> None:
    """Claims, service accounts, secrets, service selectors and ports name something that is there."""
    objects = build(TREE / overlay)
    names = {(item["kind"], item["metadata"]["name"]) for item in objects}
    for pod in pods(objects):
        claims = [v["persistentVolumeClaim"]["claimName"] for v in pod["volumes"] if "persistentVolumeClaim" in v]
        secrets = [source["secretRef"]["name"] for c in pod["containers"] for source in c.get("envFrom", [])]
        secrets += [secret["name"] for secret in pod.get("imagePullSecrets", [])]
        assert {("PersistentVolumeClaim", name) for name in claims} <= names
        assert {("ServiceAccount", name) for name in [pod.get("serviceAccountName")] if name} <= names
        assert set(secrets) <= BROUGHT
        sources = [v["valueFrom"] for c in pod["containers"] for v in c.get("env", []) if "valueFrom" in v]
        maps = [source["configMapKeyRef"] for source in sources if "configMapKeyRef" in source]
        assert {(one["name"], one["optional"]) for one in maps} <= {(name, True) for name in MAY_BE_BROUGHT}
        volumes = {volume["name"] for volume in pod["volumes"]}
        assert {mount["name"] for c in pod["containers"] for mount in c["volumeMounts"]} <= volumes
    (service,) = [item for item in objects if item["kind"] == "Service"]
    (fleet,) = [item for item in objects if item["kind"] == "Deployment"]
    labels = fleet["spec"]["template"]["metadata"]["labels"].items()
    assert service["spec"]["selector"].items() <= labels
    assert {port["targetPort"] for port in service["spec"]["ports"]} <= {
        port["name"] for port in fleet["spec"]["template"]["spec"]["containers"][0]["ports"]
    }
    assert (
        f"http://{service['metadata']['name']}.edgeloop.svc:{service['spec']['ports'][0]['port']}"
        == Settings().fleet_url
    )


@pytest.mark.parametrize("overlay", BUILT)
def test_containers_are_locked_down(overlay: str, build: Callable[[Path], list[dict[str, Any]]]) -> None:
    """No token, not root, read-only root, no capability (but one to prepare a node), seccomp, resources."""
    for pod in pods(build(TREE / overlay)):
        assert pod["automountServiceAccountToken"] is False
        assert pod["securityContext"]["runAsNonRoot"] is True
        assert pod["securityContext"]["seccompProfile"] == {"type": "RuntimeDefault"}
        for container in pod["containers"]:
            context = container["securityContext"]
            assert (context["allowPrivilegeEscalation"], context["readOnlyRootFilesystem"]) == (False, True)
            assert context["capabilities"] == {"drop": ["ALL"]}
            assert set(container["resources"]) == {"requests", "limits"}
        assert [c["securityContext"]["capabilities"].get("add") for c in pod.get("initContainers", [])] in (
            [],
            [["CHOWN"]],
        )


def test_reports_may_go_by_https(tmp_path: Path, build: Callable[[Path], list[dict[str, Any]]]) -> None:
    """The option turns the agent's transport; nothing of the broker is left in its arguments."""
    shutil.copytree(TREE, tmp_path / "manifests")
    overlay = tmp_path / "manifests" / "overlays" / "mine"
    overlay.mkdir()
    (overlay / "kustomization.yaml").write_text("resources: [../../base]\ncomponents: [../../options/https-reports]\n")
    (agent,) = [item for item in build(overlay) if item["kind"] == "DaemonSet"]
    args = agent["spec"]["template"]["spec"]["containers"][0]["args"]
    assert args[args.index("--https") + 1] == "https://fleet.example"
    assert "--mqtt" not in args
    assert "127.0.0.1:1883" not in args


@pytest.mark.parametrize("overlay", BUILT)
def test_the_fleet_service_gets_the_public_keys(overlay: str, build: Callable[[Path], list[dict[str, Any]]]) -> None:
    """From the ConfigMap that the README names; it refuses unsigned rollouts with them and renders them into pods."""
    (fleet,) = [item for item in build(TREE / overlay) if item["kind"] == "Deployment"]
    variables = {v["name"]: v for v in fleet["spec"]["template"]["spec"]["containers"][0]["env"]}
    reference = variables["EDGELOOP_PUBLIC_KEY"]["valueFrom"]["configMapKeyRef"]
    assert f"configmap {reference['name']} --from-file={reference['key']}=" in (TREE / "README.md").read_text()
