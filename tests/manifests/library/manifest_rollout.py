"""The CustomResourceDefinition ModelRollout, made from the contract Rollout: who writes a field makes it spec or status.

Field names and types are the contract's. What Kubernetes' structural schemas cannot say is said otherwise: a constant is an
enum of one, null is absence, references are written out. TIGHTER adds bounds (CEL's cost is estimated from them) and RULES
what holds between fields.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import Any

from manifest_loops import loop_of, package_of

from edgeloop_contracts import ParityResult, Rollout, RolloutEvent, Wave, from_json, to_json
from edgeloop_contracts.schema import json_schema
from edgeloop_fleet.testing import openly_signed

__all__ = ["SPEC", "STATUS", "TIGHTER", "crd", "example", "object_of", "rollout_of"]

GROUP, VERSION, PLURAL, KIND = "edgeloop.dev", "v1alpha1", "modelrollouts", "ModelRollout"
SPEC = (  # written by who wants a version rolled out
    "loop", "version", "previous", "packages", "previous_packages", "waves", "soak_s", "tolerance", "created_s", "evidence_s",
)  # fmt: skip
STATUS = ("state", "desired", "waves", "history")  # written by the controller; of waves the spec has the groups
NEEDED = ("loop", "version", "packages", "waves")
TIGHTER: Mapping[str, Mapping[str, Any]] = {  # path: what the schema says besides
    "spec.loop": {"minLength": 1, "maxLength": 63},
    "spec.packages": {"minProperties": 1, "maxProperties": 64},
    "spec.packages.*.loop": {"maxLength": 63},
    "spec.packages.*.target": {"maxLength": 63},
    "spec.packages.*.digest": {"maxLength": 71},
    "spec.previous_packages": {"maxProperties": 64},
    "spec.waves": {"minItems": 1, "maxItems": 20},
    "spec.waves.*.groups": {"minItems": 1, "maxItems": 64, "x-kubernetes-list-type": "set"},
    "spec.waves.*.groups.*": {"minLength": 1, "maxLength": 63},
    "status.state": {"maxLength": 16},
}
_SPEC_RULES = (  # `loop` is a reserved word of CEL, and escaped as Kubernetes wants it
    (
        "self.__loop__ == oldSelf.__loop__ && self.version == oldSelf.version",
        "loop and version stay as they are: the rollout of another version is another object",
    ),
    (
        "oldSelf.packages.all(t, t in self.packages && self.packages[t].digest == oldSelf.packages[t].digest)",
        "images stay as they are: other images are another version",
    ),
    ("!has(self.previous) || self.previous != self.version", "previous: expected another version than the new one"),
    (
        "has(self.previous) || !has(self.previous_packages) || size(self.previous_packages) == 0",
        "previous_packages: expected the number of their version in previous, too",
    ),
    (
        "self.packages.all(t, self.packages[t].__loop__ == self.__loop__ && self.packages[t].version == self.version)",
        "packages: expected images of this loop and version",
    ),
    ("self.packages.all(t, self.packages[t].target == t)", "packages: expected each under the name of its target"),
    (
        "self.waves.all(w, w.groups.all(g, self.waves.exists_one(v, g in v.groups)))",
        "waves: expected each group in one wave only",
    ),
)
_STATUS_RULES = (
    (
        (
            "!has(oldSelf.state) || !(oldSelf.state in ['done', 'rolled_back', 'aborted'])"
            " || (has(self.state) && self.state == oldSelf.state)"
        ),
        "state: a rollout that has ended stays as it ended",
    ),
)
_CONDITIONS: dict[str, Any] = {
    "type": "array",
    "description": (
        "Progressing: a wave is under way, its message says which and what it waits for. Promoted: every group runs the"
        " version and the alias has moved. RolledBack: all groups are back at the last good version, the message says why."
    ),
    "x-kubernetes-list-type": "map",
    "x-kubernetes-list-map-keys": ["type"],
    "items": {
        "type": "object",
        "required": ["type", "status", "lastTransitionTime", "reason", "message"],
        "properties": {
            "type": {"type": "string", "enum": ["Progressing", "Promoted", "RolledBack"]},
            "status": {"type": "string", "enum": ["True", "False", "Unknown"]},
            "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
            "lastTransitionTime": {"type": "string", "format": "date-time"},
            "reason": {
                "type": "string",
                "minLength": 1,
                "maxLength": 1024,
                "pattern": "^[A-Za-z]([A-Za-z0-9_,:]*[A-Za-z0-9_])?$",
            },
            "message": {"type": "string", "maxLength": 32768},
        },
    },
}
_COLUMNS = (  # name, type, path, priority; of a path with several values the API server prints the first alone
    ("Loop", "string", ".spec.loop", 0),
    ("Version", "integer", ".spec.version", 0),
    ("State", "string", ".status.state", 0),
    ("Reason", "string", '.status.conditions[?(@.type=="Progressing")].reason', 0),
    ("Previous", "integer", ".spec.previous", 1),
    ("Why", "string", '.status.conditions[?(@.type=="Progressing")].message', 1),
    ("Age", "date", ".metadata.creationTimestamp", 0),
)


def _structural(schema: Mapping[str, Any], definitions: Mapping[str, Any], path: str) -> dict[str, Any]:
    """A JSON Schema of a contract as a structural schema."""
    if "$ref" in schema:
        return _structural({**definitions[schema["$ref"].rpartition("/")[2]], **_said(schema)}, definitions, path)
    if "anyOf" in schema:
        return _structural({**schema["anyOf"][0], **_said(schema)}, definitions, path)
    if "const" in schema or "enum" in schema:
        return {"type": "string", "enum": schema.get("enum") or [schema["const"]], **_tight(path)}
    found = {key: value for key, value in schema.items() if key not in ("properties", "items", "additionalProperties")}
    if not found.get("type"):
        return {**found, "x-kubernetes-preserve-unknown-fields": True}
    for key in ("items", "additionalProperties"):
        if key in schema:
            found[key] = _structural(schema[key], definitions, f"{path}.*")
    if "properties" in schema:
        found["properties"] = {
            name: _structural(part, definitions, f"{path}.{name}") for name, part in schema["properties"].items()
        }
    if found["type"] == "integer":
        found["format"] = "int64"
    return {**found, **_tight(path)}


def _said(schema: Mapping[str, Any]) -> dict[str, Any]:
    return {"description": schema["description"]} if "description" in schema else {}


def _tight(path: str) -> dict[str, Any]:
    return dict(TIGHTER.get(path, {}))


def _rules(rules: tuple[tuple[str, str], ...]) -> list[dict[str, str]]:
    return [{"rule": rule, "message": message} for rule, message in rules]


def _part(part: str, names: tuple[str, ...]) -> dict[str, Any]:
    whole = json_schema(Rollout)
    known, definitions = whole["properties"], dict(whole["$defs"])
    if part == "spec":
        groups = definitions["Wave"]["properties"]["groups"]
        definitions["Wave"] = {"type": "object", "properties": {"groups": groups}, "required": ["groups"]}
    return {name: _structural(known[name], definitions, f"{part}.{name}") for name in names}


def _schema() -> dict[str, Any]:
    spec = {
        "type": "object",
        "description": "What shall be rolled out, and how.",
        "required": list(NEEDED),
        "properties": _part("spec", SPEC),
        "x-kubernetes-validations": _rules(_SPEC_RULES),
    }
    status = {
        "type": "object",
        "description": "How far it is. Written by the controller alone.",
        "properties": {
            **_part("status", STATUS),
            "observedGeneration": {"type": "integer", "format": "int64", "minimum": 0},
            "conditions": _CONDITIONS,
        },
        "x-kubernetes-validations": _rules(_STATUS_RULES),
    }
    return {
        "type": "object",
        "description": json_schema(Rollout)["description"],
        "required": ["spec"],
        "properties": {
            "apiVersion": {"type": "string"},
            "kind": {"type": "string"},
            "metadata": {"type": "object"},
            "spec": spec,
            "status": status,
        },
    }


def crd() -> dict[str, Any]:
    """The CustomResourceDefinition."""
    columns = [
        {"name": name, "type": kind, "jsonPath": path, **({"priority": priority} if priority else {})}
        for name, kind, path, priority in _COLUMNS
    ]
    version = {
        "name": VERSION,
        "served": True,
        "storage": True,
        "subresources": {"status": {}},
        "additionalPrinterColumns": columns,
        "schema": {"openAPIV3Schema": _schema()},
    }
    names = {"kind": KIND, "listKind": f"{KIND}List", "plural": PLURAL, "singular": KIND.lower(), "shortNames": ["mro"]}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {"name": f"{PLURAL}.{GROUP}", "labels": {"app.kubernetes.io/part-of": "edgeloop"}},
        "spec": {"group": GROUP, "names": names, "scope": "Namespaced", "versions": [version]},
    }


def object_of(rollout: Rollout, namespace: str = "edgeloop") -> dict[str, Any]:
    """A rollout as a custom resource."""
    document = to_json(rollout)
    waves = document.get("waves", [])
    spec = {name: document[name] for name in SPEC if name in document}
    return {
        "apiVersion": f"{GROUP}/{VERSION}",
        "kind": KIND,
        "metadata": {"name": f"{rollout.loop}-{rollout.version}", "namespace": namespace},
        "spec": {**spec, "waves": [{"groups": wave["groups"]} for wave in waves]},
        "status": {name: document[name] for name in STATUS if name in document},
    }


def rollout_of(document: Mapping[str, Any]) -> Rollout:
    """The rollout of a custom resource; the waves of the status hold the spec's groups too."""
    head = {"apiVersion": f"{GROUP}/{VERSION}", "kind": "Rollout"}
    status = {name: value for name, value in (document.get("status") or {}).items() if name in STATUS}
    return from_json(Rollout, {**head, **document["spec"], **status})


def example() -> Rollout:
    """One in the middle of everything, with every optional field of a package."""
    loop = loop_of("scheduled")
    packages = {t.name: openly_signed(package_of(loop, i)) for i, t in enumerate(loop.targets)}
    parity = ParityResult(
        loop=loop.name, target="t0", runtime="onnxruntime", rows=3, max_abs_difference=0.1, limit=1, passed=True
    )
    packages["t0"] = replace(packages["t0"], parity=parity)
    return Rollout(
        loop=loop.name,
        version=1,
        previous=7,
        packages=packages,
        previous_packages={name: replace(package, version=7) for name, package in packages.items()},
        waves=(
            Wave(
                groups=("canary",),
                state="passed",
                started_s=1.5,
                settled_s=2.5,
                finished_s=3.5,
                numbers={"failed": 0.25},
            ),
            Wave(groups=("rest",), state="deploying", started_s=4.0, evidence="it goes on"),
        ),
        state="running",
        desired={"canary": 1, "rest": 1},
        evidence_s=0.5,
        history=(RolloutEvent(at_s=1.0, event="started", why="approved"),),
    )
