"""The JSON Schemas say the same as the code that reads the documents."""

from __future__ import annotations

import json
from pathlib import Path

import jsonschema
import pytest
from hypothesis import given
from hypothesis import strategies as st

import edgeloop_contracts
from edgeloop_contracts import DOCUMENTS, ContractError, from_json, to_json
from edgeloop_contracts.schema import json_schema, main

KINDS = sorted(DOCUMENTS)
FOLDER = Path(edgeloop_contracts.__file__).parent / "schema"


@pytest.mark.parametrize("kind", KINDS)
def test_schema_file_is_up_to_date(kind):
    """The checked-in schema is what the dataclasses give now; if not: python -m edgeloop_contracts.schema."""
    checked_in = json.loads((FOLDER / f"{kind.lower()}.json").read_text())
    assert checked_in == json_schema(DOCUMENTS[kind], strict=kind == "Loop")


def test_check_fails_on_a_stale_file(tmp_path, monkeypatch, capsys):
    """`--check` writes nothing, names each file that is missing or stale, and fails; without it they are written."""
    monkeypatch.setattr("edgeloop_contracts.schema.__file__", str(tmp_path / "schema.py"))
    (tmp_path / "schema").mkdir()
    assert main(["--check"]) == 1
    assert "loop.json: out of date" in capsys.readouterr().err
    assert list((tmp_path / "schema").iterdir()) == []
    assert main([]) == 0
    assert main(["--check"]) == 0
    assert len(list((tmp_path / "schema").iterdir())) == len(DOCUMENTS)


def test_no_schema_file_without_a_contract():
    """A document that is gone leaves no schema behind."""
    assert {path.stem for path in FOLDER.glob("*.json")} == {kind.lower() for kind in DOCUMENTS}


@pytest.mark.parametrize("kind", KINDS)
def test_schema_is_one(kind):
    """Each schema is valid JSON Schema 2020-12."""
    jsonschema.Draft202012Validator.check_schema(json_schema(DOCUMENTS[kind]))


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("strict", [False, True])
@given(data=st.data())
def test_schema_accepts_what_is_written(kind, strict, instances, data):
    """Every document that the code writes is valid; with unknown fields too, unless the schema is strict."""
    cls = DOCUMENTS[kind]
    document = to_json(data.draw(instances(cls, extra=not strict)))
    jsonschema.Draft202012Validator(json_schema(cls, strict=strict)).validate(document)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_schema_and_reader_agree_on_mutations(kind, instances, json_values, data):
    """A top-level field replaced by anything is refused by the schema exactly when the reader refuses it."""
    cls = DOCUMENTS[kind]
    document = to_json(data.draw(instances(cls, extra=False)))
    document[data.draw(st.sampled_from(sorted(document)))] = data.draw(json_values)
    valid = jsonschema.Draft202012Validator(json_schema(cls)).is_valid(document)
    try:
        from_json(cls, document)
        read = True
    except ContractError:
        read = False
    if read != valid:
        assert _known_difference(document, read)


def _known_difference(document, read):
    """JSON Schema takes 1.0 for a whole number and knows no 64 bits; the reader takes null for a field left out."""
    values = list(_values_in(document))
    if read:
        return None in values
    return any(isinstance(v, float) and v.is_integer() for v in values) or any(
        isinstance(v, int) and abs(v) >= 2**63 for v in values
    )


def _values_in(document):
    """Every value of a document, at any depth."""
    inside = document.values() if isinstance(document, dict) else document if isinstance(document, list) else ()
    yield document
    for value in inside:
        yield from _values_in(value)


def test_strict_schema_refuses_a_misspelled_field():
    """An editor marks an unknown field of loop.yaml."""
    schema = json_schema(DOCUMENTS["Loop"], strict=True)
    errors = jsonschema.Draft202012Validator(schema).iter_errors({"metdata": {}})
    assert any("metdata" in error.message for error in errors)
