"""Whatever a client sends, the server answers it cleanly: 200 or a 4xx with `{"error": text}`, never a 5xx."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from edgeloop_contracts import from_json
from edgeloop_contracts.report import Report
from edgeloop_node.monitor import Identity, Monitor

scalars = st.one_of(
    st.none(),
    st.booleans(),
    st.integers(-(10**50), 10**50),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(["FP32", "X", "label", "probabilities", "a", "2014-01-01", "\ud800", 1e39, -0.0, 1e-320]),
)
words = st.sampled_from(
    ["features", "rows", "time", "id", "flow", "heat", "mode", "inputs", "outputs", "parameters", "name", "shape",
     "datatype", "data", "binary_data_size", "\ud800", ""]
)  # fmt: skip
documents = st.recursive(
    scalars,
    lambda inner: st.one_of(st.lists(inner, max_size=4), st.dictionaries(words, inner, max_size=5)),
    max_leaves=25,
)
features = st.dictionaries(st.sampled_from(["flow", "heat", "mode", "mood"]), scalars, max_size=4)
rows = st.fixed_dictionaries({"features": features}, optional={"time": scalars, "id": scalars})
tensors = st.fixed_dictionaries(
    {
        "name": st.just("X"),
        "datatype": st.just("FP32"),
        "shape": st.lists(st.integers(-1, 3), max_size=3),
        "data": st.lists(st.one_of(scalars, st.lists(scalars, max_size=3)), max_size=6),
    }
)
requests = st.one_of(
    documents,
    rows,
    st.fixed_dictionaries({"rows": st.lists(st.one_of(rows, documents), max_size=4)}),
    st.fixed_dictionaries({"inputs": st.lists(st.one_of(tensors, documents), max_size=2)}, optional={"id": scalars}),
)


@pytest.fixture(scope="module")
def service(model: Path) -> Any:
    from edgeloop_node.server.app import Service
    from edgeloop_node.server.model import load_model

    loaded = load_model(model, "onnxruntime")
    who = Identity(loop="pump", node="n", group="g", boot="b", version=1)
    return Service(loaded, Monitor(who, loaded.reference), {"edgeloop": "test"})


@settings(deadline=None, max_examples=300, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(document=requests, path=st.sampled_from(["/score", "/v2/models/pump/infer"]))
def test_any_json_is_answered(service: Any, document: Any, path: str) -> None:
    """Every JSON document gets 200 or 400, and the counts stay readable."""
    answered(service, json.dumps(document).encode(), path)


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    body=st.one_of(
        st.binary(max_size=60), st.text(alphabet='{}[]",:0123456789eE.-+ntfNaIu\\', max_size=40).map(str.encode)
    )
)
def test_any_bytes_are_answered(service: Any, body: bytes) -> None:
    """Every body gets 200 or 400."""
    answered(service, body, "/score")


binary = st.fixed_dictionaries(
    {"name": st.just("X"), "datatype": st.just("FP32"), "shape": st.just([1, 3])},
    optional={
        "parameters": st.fixed_dictionaries({"binary_data_size": st.one_of(st.just(12), scalars)}),
        "data": st.just([1.0, 2.0, 3.0]),
    },
)
wishes = st.fixed_dictionaries({}, optional={"binary_data_output": st.one_of(st.booleans(), scalars)})


@settings(deadline=None, max_examples=200, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    document=st.fixed_dictionaries({"inputs": st.lists(st.one_of(binary, tensors), max_size=2), "parameters": wishes}),
    tensor=st.one_of(st.binary(min_size=12, max_size=12), st.binary(max_size=16)),
    length=st.one_of(st.none(), st.text(alphabet="0123456789- x", max_size=4)),
)
def test_any_binary_request_is_answered(service: Any, document: Any, tensor: bytes, length: str | None) -> None:
    """JSON with any bytes behind it, under any header, gets 200 or 400."""
    text = json.dumps(document).encode()
    answered(service, text + tensor, "/v2/models/pump/infer", str(len(text)) if length is None else length)


def answered(service: Any, body: bytes, path: str, json_bytes: str | None = None) -> None:
    from edgeloop_node.server.app import Request

    answer = service.answer("POST", Request(path, b"", body, False, json_bytes))
    assert answer.status in (200, 400), answer
    document = json.loads(answer.body[: answer.json_bytes])
    if answer.status == 400:
        assert list(document) == ["error"]
    window = json.loads(service.answer("GET", Request("/window", b"", b"", True)).body)
    for report in window["reports"]:
        from_json(Report, report)
