"""Structural checks of Kubernetes objects: against the schemas of Kubernetes 1.32 and of CRDs, and, for the oldest version that
is supported (1.30), against the client's models.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import manifest_schemas
import pytest
from manifest_rollout import crd

Check = Callable[[dict[str, Any]], list[str]]


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
        kinds = {"str": str, "int": int, "bool": bool, "object": object, "datetime": str, "float": (int, float)}
        plain: Any = kinds[type_name]
        return [] if isinstance(value, plain) else [f"{path}: expected {type_name}, got {value!r}"]
    if not isinstance(value, dict):
        return [f"{path}: expected {type_name}, got {value!r}"]
    names = {json_name: field for field, json_name in model.attribute_map.items()}
    problems = [f"{path}.{name}: unknown field of {type_name}" for name in value if name not in names]
    for name in set(value) & set(names):
        problems += _kubernetes_problems(value[name], model.openapi_types[names[name]], f"{path}.{name}")
    return problems


@pytest.fixture(scope="session")
def plain_problems() -> Check:
    """Every structural problem of an object of Kubernetes itself, as Kubernetes 1.30 knows it; an unknown kind is a problem."""
    known = {(version, kind) for version, kinds in manifest_schemas.KINDS.items() for kind in kinds}

    def check(document: dict[str, Any]) -> list[str]:
        key = (document["apiVersion"], document["kind"])
        if key not in known:
            return [f"{key}: neither a CRD nor a known kind of Kubernetes"]
        return _kubernetes_problems(document, f"V1{key[1]}", key[1])

    return check


@pytest.fixture(scope="session")
def problems_in(plain_problems: Check) -> Check:
    """Every structural problem of an object: in 1.32, in 1.30, of KubeEdge's and Kubeflow's kinds, and of edgeloop's own."""
    own = manifest_schemas.crd_schemas([crd()])

    def check(document: dict[str, Any]) -> list[str]:
        found = manifest_schemas.problems_in(document, own)
        parts = [document, *document.get("spec", {}).get("workloadTemplate", {}).get("manifests", [])]
        plain = [part for part in parts if manifest_schemas.is_plain(part)]
        return found + [problem for part in plain for problem in plain_problems(part)]

    return check
