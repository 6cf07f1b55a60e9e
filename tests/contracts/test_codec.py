"""The laws of reading and writing: what is written is read as the same, and what is unknown is not lost."""

from __future__ import annotations

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from edgeloop_contracts import DOCUMENTS, Loop, Report, Verdict, canonical, digest_of, dumps, from_json, loads, to_json

KINDS = sorted(DOCUMENTS)


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_round_trip(kind, instances, data):
    """from_json(to_json(x)) == x, through plain values and through text, with unknown fields at every level."""
    cls = DOCUMENTS[kind]
    document = data.draw(instances(cls))
    assert from_json(cls, to_json(document)) == document
    assert loads(cls, dumps(document)) == document
    assert loads(cls, dumps(document, indent=1).encode()) == document


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_unknown_fields_survive_an_old_reader(kind, instances, data):
    """A field from a newer writer is read, kept and written again, unchanged."""
    cls = DOCUMENTS[kind]
    plain = {**to_json(data.draw(instances(cls, extra=False))), "fromTheFuture": {"a": [1, None, "ü"]}}
    again = to_json(from_json(cls, plain))
    assert again == plain


@pytest.mark.parametrize("kind", KINDS)
@given(data=st.data())
def test_digest_does_not_hang_on_the_order_of_fields(kind, instances, data):
    """Equal documents have equal digests, however their fields were ordered on the way."""
    document = to_json(data.draw(instances(DOCUMENTS[kind])))
    turned = dict(reversed(list(document.items())))
    assert digest_of(turned) == digest_of(document)
    assert json.loads(canonical(document)) == document


def test_digest_is_the_sha256_of_the_canonical_form():
    """The digest can be computed by anybody from the text, without this code."""
    import hashlib

    assert digest_of({"b": 1, "a": "ü"}) == "sha256:" + hashlib.sha256('{"a":"ü","b":1}'.encode()).hexdigest()


def test_absent_and_null_are_the_same_for_an_optional_field():
    """A writer that spells out null and one that leaves the field away say the same."""
    base = {"apiVersion": "edgeloop.dev/v1alpha1", "kind": "Verdict", "loop": "a", "version": 1}
    base |= {"judgement": "healthy", "sentence": "fine"}
    assert from_json(Verdict, {**base, "cause": None, "numbers": None}) == from_json(Verdict, base)


@pytest.mark.parametrize("value", [math.nan, math.inf, -math.inf])
def test_what_json_cannot_say_is_not_written(value):
    """NaN and infinities are refused when writing, instead of making text that other readers refuse."""
    verdict = Verdict(loop="a", version=1, judgement="healthy", sentence="", numbers={"x": value})
    with pytest.raises(ValueError, match="JSON has no"):
        dumps(verdict)


def test_defaults_are_not_shared():
    """A mutable default belongs to one object: changing it cannot change another."""
    arguments = {"loop": "a", "version": 1, "judgement": "healthy", "sentence": ""}
    first, second = Verdict(**arguments), Verdict(**arguments)
    first.numbers["x"] = 1.0
    assert second.numbers == {}


def test_documents_are_named_by_their_kind():
    """The table of documents holds each under the kind that it writes."""
    assert all(kind == cls.KIND for kind, cls in DOCUMENTS.items())
    assert DOCUMENTS["Loop"] is Loop
    assert DOCUMENTS["Report"] is Report
