"""ModelRollout: the contract Rollout as a custom resource, structural, with rules about fields that are there."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import replace
from typing import Any

import pytest
from manifest_loops import LOOPS
from manifest_rollout import SPEC, STATUS, TIGHTER, crd, example, object_of, rollout_of
from manifest_schemas import crd_schemas, problems_in

from edgeloop_contracts import Rollout
from edgeloop_contracts.codec import fields_of

OWN = crd_schemas([crd()])
VERSION = crd()["spec"]["versions"][0]
SCHEMA = VERSION["schema"]["openAPIV3Schema"]
KEYWORDS = {  # what a structural schema may have; no $ref, no anyOf, no const, no additionalProperties: false
    "type", "description", "properties", "items", "additionalProperties", "required", "enum", "pattern", "format", "minimum",
    "maximum", "minLength", "maxLength", "minItems", "maxItems", "minProperties", "maxProperties",
    "x-kubernetes-list-type", "x-kubernetes-list-map-keys", "x-kubernetes-validations",
}  # fmt: skip


@pytest.mark.parametrize("given", [example(), replace(example(), previous=None, previous_packages={}, evidence_s=None)])
def test_a_rollout_comes_back_from_its_object(given: Rollout) -> None:
    """Spec and status together are the contract, and the schema knows every field of them."""
    document = object_of(given)
    assert problems_in(document, OWN) == []
    assert rollout_of(document) == given


def test_every_field_of_the_contract_is_in_spec_or_status() -> None:
    """A field that is new in the contract has to be given a place; groups of waves are in both."""
    names = [field.name for field in fields_of(Rollout)]
    assert sorted({*SPEC, *STATUS}) == sorted(names)
    assert set(SPEC) & set(STATUS) == {"waves"}


def _schemas(schema: dict[str, Any], path: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    yield path, schema
    for name, part in schema.get("properties", {}).items():
        yield from _schemas(part, f"{path}.{name}".lstrip("."))
    for key in ("items", "additionalProperties"):
        if key in schema:
            yield from _schemas(schema[key], f"{path}.*")


def test_the_schema_is_structural() -> None:
    """Every node has a type and no word that structural schemas forbid; what is tightened is there."""
    found = dict(_schemas(SCHEMA))
    assert {path for path, schema in found.items() if "type" not in schema} == set()
    assert {word for schema in found.values() for word in schema} <= KEYWORDS
    assert {p for p, s in found.items() if "properties" in s and "additionalProperties" in s} == set()
    assert {
        p for p, s in found.items() if not set(s.get("required", ())) <= set(s.get("properties", s.get("required", ())))
    } == set()
    for path, words in TIGHTER.items():
        assert words.items() <= found[path].items(), path


def test_rules_speak_of_fields_that_are_there() -> None:
    """Each name after a dot is a property below spec or status, `loop` in CEL's escaped form; each rule has a message."""
    for part in ("spec", "status"):
        schema = SCHEMA["properties"][part]
        known = {path.rpartition(".")[2] for path, _ in _schemas(schema)} | {"all", "exists_one"}
        assert schema["x-kubernetes-validations"]
        for rule in schema["x-kubernetes-validations"]:
            named = set(re.findall(r"\.([A-Za-z_]\w*)", rule["rule"]))
            assert "loop" not in named, "a reserved word of CEL"
            assert {name.strip("_") if name == "__loop__" else name for name in named} <= known, rule["rule"]
            assert len(rule["message"]) > 20


def test_lists_and_maps_in_rules_have_bounds() -> None:
    """The API server refuses a CRD whose rules could cost too much; without bounds it assumes the worst."""
    found = dict(_schemas(SCHEMA))
    for path in ("spec.packages", "spec.previous_packages"):
        assert found[path]["maxProperties"] <= 64
    waves, groups = found["spec.waves"]["maxItems"], found["spec.waves.*.groups"]["maxItems"]
    assert waves * groups * waves * (groups + 6) < 10_000_000, "every group of every wave is looked for in every wave"
    for path in (
        "spec.loop",
        "spec.waves.*.groups.*",
        "spec.packages.*.loop",
        "spec.packages.*.target",
        "spec.packages.*.digest",
    ):
        assert found[path]["maxLength"] <= 71, path


def test_columns_show_fields_that_are_there() -> None:
    """Each path is of the schema; the state and the reason stand in the narrow table."""
    found = dict(_schemas(SCHEMA))
    for column in VERSION["additionalPrinterColumns"]:
        path = re.sub(r"\[\?\(@\.type==\"(\w+)\"\)\]", ".*", column["jsonPath"]).lstrip(".")
        assert path in found or path == "metadata.creationTimestamp", column
        for named in re.findall(r'"(\w+)"', column["jsonPath"]):
            assert named in found["status.conditions.*.type"]["enum"]
    narrow = {c["name"] for c in VERSION["additionalPrinterColumns"] if not c.get("priority")}
    assert narrow == {"Loop", "Version", "State", "Reason", "Age"}
    assert VERSION["subresources"] == {"status": {}}


@pytest.mark.parametrize(
    ("path", "value"),
    [
        (("spec", "wave"), []),
        (("spec", "waves"), []),
        (("spec", "waves", 0, "state"), "passed"),
        (("spec", "version"), 0),
        (("spec", "version"), "1"),
        (("spec", "packages", "t0", "digest"), "latest"),
        (("spec", "packages", "t0", "profile", "threads"), 0),
        (("spec", "soak_s"), 1.5),
        (("status", "state"), "paused"),
        (("status", "conditions"), [{"type": "Ready", "status": "True"}]),
    ],
)
def test_what_is_wrong_in_an_object_is_found(path: tuple[Any, ...], value: Any) -> None:
    """Unknown fields, values out of bounds, and words that are none."""
    document = object_of(example())
    place: Any = document
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value
    assert problems_in(document, OWN)


def test_loops_of_the_table_fit_the_bounds() -> None:
    """Names of loops, groups and targets are at most as long as the schema takes."""
    for name in LOOPS:
        assert max(len(text) for text in (name, *LOOPS[name].groups)) <= 63
