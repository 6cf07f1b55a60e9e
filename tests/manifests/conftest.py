"""Structural checks of Kubernetes objects: KubeEdge's against the CRDs, Kubernetes' own against the client's models."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

Check = Callable[[dict[str, Any]], list[str]]
_OBJECT = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}, "metadata": {"type": "object"}}


def closed(schema: Any) -> Any:
    """The schema with unknown fields forbidden, as the API server would prune them."""
    if isinstance(schema, list):
        return [closed(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {key: closed(value) for key, value in schema.items() if key not in ("description", "default")}
    free = schema.get("x-kubernetes-preserve-unknown-fields") or schema.get("x-kubernetes-embedded-resource")
    if isinstance(schema.get("properties"), dict):
        found["properties"] = {name: closed(value) for name, value in schema["properties"].items()}
        if not free and "additionalProperties" not in schema:
            found["additionalProperties"] = False
    return found


def _crds(folder: Path) -> dict[tuple[str, str], tuple[str, dict[str, Any]]]:
    """(apiVersion, kind): scope and closed schema."""
    import yaml

    found = {}
    for path in folder.rglob("*.yaml"):
        for crd in yaml.safe_load_all(path.read_text()):
            spec = (crd or {}).get("spec") or {}
            for version in spec.get("versions") or []:
                schema = closed(version["schema"]["openAPIV3Schema"])
                schema["properties"] = {**_OBJECT, **schema.get("properties", {}), "metadata": {"type": "object"}}
                found[f"{spec['group']}/{version['name']}", spec["names"]["kind"]] = (spec["scope"], schema)
    return found


def _kubernetes_problems(value: Any, type_name: str, path: str) -> list[str]:
    """Fields that the client's model of a type does not have, and values of the wrong kind."""
    from kubernetes.client import models

    if type_name.startswith("list["):
        if not isinstance(value, list):
            return [f"{path}: expected a list, got {value!r}"]
        return [p for i, item in enumerate(value) for p in _kubernetes_problems(item, type_name[5:-1], f"{path}[{i}]")]
    if type_name.startswith("dict("):
        inner = type_name[5:-1].split(", ", 1)[1]
        return [p for key, item in value.items() for p in _kubernetes_problems(item, inner, f"{path}.{key}")]
    model = getattr(models, type_name, None)
    if model is None:
        plain = {"str": str, "int": int, "bool": bool, "object": object, "datetime": str, "float": float}[type_name]
        return [] if isinstance(value, plain) else [f"{path}: expected {type_name}, got {value!r}"]
    if not isinstance(value, dict):
        return [f"{path}: expected {type_name}, got {value!r}"]
    names = {json_name: field for field, json_name in model.attribute_map.items()}
    problems = [f"{path}.{name}: unknown field of {type_name}" for name in value if name not in names]
    for name in set(value) & set(names):
        problems += _kubernetes_problems(value[name], model.openapi_types[names[name]], f"{path}.{name}")
    return problems


_PLAIN = {
    "v1": {
        kind: f"V1{kind}"
        for kind in ("Namespace", "Service", "ServiceAccount", "ConfigMap", "PersistentVolumeClaim", "Node")
    },
    "batch/v1": {"Job": "V1Job"},
    "apps/v1": {"Deployment": "V1Deployment", "DaemonSet": "V1DaemonSet"},
    "networking.k8s.io/v1": {"NetworkPolicy": "V1NetworkPolicy"},
}


@pytest.fixture(scope="session")
def plain_problems() -> Check:
    """Every structural problem of an object of Kubernetes itself; one of an unknown kind is a problem."""

    def check(document: dict[str, Any]) -> list[str]:
        key = (document["apiVersion"], document["kind"])
        kinds = _PLAIN.get(key[0], {})
        if key[1] not in kinds:
            return [f"{key}: neither a CRD nor a known kind of Kubernetes"]
        return _kubernetes_problems(document, kinds[key[1]], key[1])

    return check


@pytest.fixture(scope="session")
def problems_in(crd_folder: Path, plain_problems: Check) -> Check:
    """Every structural problem of an object, KubeEdge's kinds among them."""
    import jsonschema

    crds = _crds(crd_folder)

    def check(document: dict[str, Any]) -> list[str]:
        key = (document["apiVersion"], document["kind"])
        if key in crds:
            scope, schema = crds[key]
            found = [
                f"{error.json_path}: {error.message}"
                for error in jsonschema.Draft7Validator(schema).iter_errors(document)
            ]
            if (scope == "Namespaced") != ("namespace" in document["metadata"]):
                found.append(f"metadata: a {scope} object, got {document['metadata']}")
            nested = document["spec"].get("workloadTemplate", {}).get("manifests", [])
            return found + [problem for manifest in nested for problem in check(manifest)]
        return plain_problems(document)

    return check
