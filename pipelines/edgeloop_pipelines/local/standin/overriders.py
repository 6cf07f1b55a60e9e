"""What KubeEdge's EdgeApplication controller does: one Deployment for each target node group, with the overriders applied."""

from __future__ import annotations

import copy
from collections.abc import Callable, Mapping
from typing import Any

from edgeloop_fleet.render.labels import BELONGING
from edgeloop_pipelines.local.standin import images
from edgeloop_pipelines.local.standin.objects import ManifestError

__all__ = ["deployments_of"]

Object = dict[str, Any]


def _containers(deployment: Object) -> list[Object]:
    containers: list[Object] = deployment["spec"]["template"]["spec"]["containers"]
    return containers


def _named(deployment: Object, overrider: Mapping[str, Any]) -> list[Object]:
    """KubeEdge passes over an overrider that names no container; here that is an error, since it is never meant."""
    found = [container for container in _containers(deployment) if container["name"] == overrider["containerName"]]
    if not found:
        raise ManifestError(
            f"overrider: no container {overrider['containerName']!r} in {deployment['metadata']['name']}"
        )
    return found


def _at(deployment: Object, pointer: str) -> tuple[Any, Any]:
    """The parent and the key of a JSON pointer."""
    *path, last = pointer.strip("/").split("/")
    parent: Any = deployment
    for part in path:
        parent = parent[int(part)] if isinstance(parent, list) else parent[part]
    return parent, last


def _image(deployment: Object, overrider: Mapping[str, Any]) -> None:
    """Without a predicate every container of the pod is changed."""
    predicate = overrider.get("predicate")
    places = [_at(deployment, predicate["path"])] if predicate else [(c, "image") for c in _containers(deployment)]
    for parent, key in places:
        parent[key] = images.changed(
            parent[key], overrider["component"], overrider["operator"], overrider.get("value", "")
        )


def _read_env(variable: Mapping[str, Any]) -> Object:
    """An existing variable as KubeEdge reads it back: a fieldRef without its apiVersion is lost."""
    kept = dict(variable)
    reference = (variable.get("valueFrom") or {}).get("fieldRef")
    if reference and "apiVersion" not in reference:
        kept["valueFrom"] = {}
    return kept


def _env(deployment: Object, overrider: Mapping[str, Any]) -> None:
    values, operator = list(overrider.get("value") or []), overrider["operator"]
    names = {value["name"] for value in values}
    for container in _named(deployment, overrider):
        present = [_read_env(variable) for variable in container.get("env") or []]
        if operator == "add":
            container["env"] = present + values
        elif operator == "remove":
            container["env"] = [variable for variable in present if variable["name"] not in names]
        else:
            given = {value["name"]: value for value in values}
            replaced = [given.pop(variable["name"], variable) for variable in present]
            container["env"] = replaced + list(given.values())


def _words(field: str) -> Callable[[Object, Mapping[str, Any]], None]:
    def override(deployment: Object, overrider: Mapping[str, Any]) -> None:
        values = list(overrider.get("value") or [])
        for container in _named(deployment, overrider):
            present = list(container.get(field) or [])
            container[field] = {
                "add": present + values,
                "remove": [word for word in present if word not in values],
            }[overrider["operator"]]

    return override


def _resources(deployment: Object, overrider: Mapping[str, Any]) -> None:
    for container in _named(deployment, overrider):
        container["resources"] = overrider["value"]


_OVERRIDERS: Mapping[str, Callable[[Object, Mapping[str, Any]], None]] = {
    "imageOverriders": _image,
    "envOverriders": _env,
    "argsOverriders": _words("args"),
    "commandOverriders": _words("command"),
    "resourcesOverriders": _resources,
}


def _for_group(manifest: Mapping[str, Any], target: Mapping[str, Any]) -> Object:
    deployment: Object = copy.deepcopy(dict(manifest))
    overriders = target.get("overriders") or {}
    deployment["metadata"]["name"] = f"{manifest['metadata']['name']}-{target['name']}"
    deployment["spec"]["template"]["spec"].setdefault("nodeSelector", {})[BELONGING] = target["name"]
    if overriders.get("replicas") is not None:
        deployment["spec"]["replicas"] = overriders["replicas"]
    unknown = sorted(set(overriders) - {*_OVERRIDERS, "replicas"})
    if unknown:
        raise ManifestError(f"overriders: expected {', '.join(_OVERRIDERS)} or replicas, got {', '.join(unknown)}")
    for field, override in _OVERRIDERS.items():
        for overrider in overriders.get(field) or []:
            override(deployment, copy.deepcopy(overrider))
    return deployment


def deployments_of(application: Mapping[str, Any]) -> list[Object]:
    """The Deployments of an EdgeApplication. ManifestError for what the stand-in does not do."""
    spec = application["spec"]
    scope = spec["workloadScope"]
    if scope.get("targetNodeLabels"):
        raise ManifestError("workloadScope: targetNodeLabels is not supported by the stand-in; use targetNodeGroups")
    others = [
        manifest["kind"] for manifest in spec["workloadTemplate"]["manifests"] if manifest["kind"] != "Deployment"
    ]
    if others:
        raise ManifestError(f"workloadTemplate: the stand-in runs Deployments only, got {', '.join(others)}")
    names = [target["name"] for target in scope["targetNodeGroups"]]
    if len(set(names)) < len(names):
        raise ManifestError(f"workloadScope: each node group once, got {', '.join(names)}")
    return [
        _for_group(manifest, target)
        for manifest in spec["workloadTemplate"]["manifests"]
        for target in scope["targetNodeGroups"]
    ]
