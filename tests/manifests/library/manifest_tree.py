"""The kustomize tree `manifests/`, built: its overlays, and every option alone upon the base. Built once in a process."""

from __future__ import annotations

import functools
import shutil
import subprocess
import tempfile
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import yaml

Object = dict[str, Any]
REPOSITORY = Path(__file__).resolve().parents[3]
TREE = REPOSITORY / "manifests"
OVERLAYS = sorted(path.parent.name for path in TREE.glob("overlays/*/kustomization.yaml"))
OPTIONS = sorted(path.parent.name for path in TREE.glob("options/*/kustomization.yaml"))
CASES = [*(f"overlays/{name}" for name in OVERLAYS), *(f"options/{name}" for name in OPTIONS)]
WORKLOADS = ("DaemonSet", "Deployment", "StatefulSet")
EDGE, CLOUD = "edgeloop", "edgeloop-cloud"


@functools.cache
def _kubectl() -> str:
    found = shutil.which("kubectl")
    if found is None:
        pytest.skip("kubectl is not installed here, so kustomizations cannot be built")
    return found


@functools.cache
def built(case: str) -> str:
    """What `kubectl kustomize` gives for an overlay, or for the base with one option: YAML text."""
    kind, _, name = case.partition("/")
    with tempfile.TemporaryDirectory() as folder:
        place = TREE / case
        if kind == "options":
            shutil.copytree(TREE, Path(folder) / "manifests")
            place = Path(folder) / "manifests" / "overlays" / "mine"
            place.mkdir()
            text = f"resources: [../../base]\ncomponents: [../../options/{name}]\n"
            (place / "kustomization.yaml").write_text(text)
        done = subprocess.run([_kubectl(), "kustomize", str(place)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    return done.stdout


@functools.cache
def _objects(case: str) -> tuple[Object, ...]:
    return tuple(yaml.load_all(built(case), Loader=getattr(yaml, "CSafeLoader", yaml.SafeLoader)))


def forget() -> None:
    """Builds anew from now on: the tree has changed."""
    built.cache_clear()
    _objects.cache_clear()


def objects(case: str) -> list[Object]:
    """The objects that are built. They are shared: change copies only."""
    return list(_objects(case))


def name_of(item: Object) -> str:
    return f"{item['kind']}/{item['metadata'].get('namespace', '')}/{item['metadata']['name']}"


def namespace_of(item: Object) -> str:
    return str(item["metadata"].get("namespace", ""))


def labels_of(item: Object) -> dict[str, str]:
    found: dict[str, str] = item["metadata"].get("labels") or {}
    return found


@dataclass(frozen=True)
class Pod:
    """A pod template, and the workload that has it."""

    owner: Object
    spec: Object

    @property
    def name(self) -> str:
        return str(self.owner["metadata"]["name"])

    @property
    def namespace(self) -> str:
        return namespace_of(self.owner)

    @property
    def labels(self) -> dict[str, str]:
        found: dict[str, str] = self.owner["spec"]["template"]["metadata"]["labels"]
        return found

    @property
    def containers(self) -> list[Object]:
        return [*self.spec.get("initContainers", []), *self.spec["containers"]]

    @property
    def ports(self) -> dict[str, int]:
        """Name: number, of all declared ports."""
        return {p["name"]: p["containerPort"] for c in self.spec["containers"] for p in c.get("ports", [])}

    def matches(self, selector: Object) -> bool:
        wanted = selector.get("matchLabels") or {}
        assert set(selector) <= {"matchLabels"}, f"{selector}: matchExpressions are not looked at here"
        return wanted.items() <= self.labels.items()


def pods(items: list[Object]) -> list[Pod]:
    return [Pod(item, item["spec"]["template"]["spec"]) for item in items if item["kind"] in WORKLOADS]


def environment(container: Object, items: list[Object], namespace: str) -> Iterator[str]:
    """Every variable that a container is given, those of whole ConfigMaps among them."""
    maps = {
        item["metadata"]["name"]: item
        for item in items
        if item["kind"] == "ConfigMap" and namespace_of(item) == namespace
    }
    yield from (variable["name"] for variable in container.get("env", []))
    for source in container.get("envFrom", []):
        if "configMapRef" in source:
            yield from maps[source["configMapRef"]["name"]]["data"]


def selected(item: Object, everything: list[Pod], selector: Object | None) -> list[Pod]:
    """The pods of an object's namespace that a selector takes; an empty one takes all."""
    return [pod for pod in everything if pod.namespace == namespace_of(item) and pod.matches(selector or {})]
