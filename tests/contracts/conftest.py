"""Random documents of every contract, made from the contracts' own fields."""

from __future__ import annotations

import types
from collections.abc import Callable, Mapping
from typing import Any, Literal, Union, get_args, get_origin

import pytest
from hypothesis import strategies as st

from edgeloop_contracts import Contract
from edgeloop_contracts.codec import fields_of

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)  # Cs: half characters, which JSON cannot write
JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**63), 2**63) | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=6,
)


def _values(tp: Any, metadata: Mapping[str, Any], extra: bool) -> st.SearchStrategy[Any]:
    origin = get_origin(tp)
    if tp is Any:
        return JSON
    if origin in (Union, types.UnionType):
        return st.none() | _values(next(a for a in get_args(tp) if a is not type(None)), metadata, extra)
    if origin is Literal:
        return st.sampled_from(get_args(tp))
    if origin is tuple:
        return st.lists(_values(get_args(tp)[0], metadata, extra), max_size=3).map(tuple)
    if origin is not None and issubclass(origin, Mapping):
        return st.dictionaries(TEXT, _values(get_args(tp)[1], metadata, extra), max_size=3)
    if issubclass(tp, Contract):
        return build(tp, extra=extra)
    return _scalar(tp, metadata)


def _scalar(tp: Any, metadata: Mapping[str, Any]) -> st.SearchStrategy[Any]:
    low, high = metadata.get("minimum"), metadata.get("maximum")
    if tp is str:
        return st.from_regex(metadata["pattern"], fullmatch=True) if metadata.get("pattern") else TEXT
    if tp is int:
        return st.integers(-(2**62) if low is None else int(low), 2**62 if high is None else int(high))
    if tp is float:
        return st.floats(min_value=low, max_value=high, allow_nan=False, allow_infinity=False)
    assert tp is bool
    return st.booleans()


def build(cls: type[Contract], *, extra: bool = True) -> st.SearchStrategy[Any]:
    """Random instances of a contract; with `extra`, they carry fields that no contract knows."""
    known = {f.name for f in fields_of(cls)} | {"apiVersion", "kind"}
    arguments = {f.attribute: _values(f.type, f.metadata, extra) for f in fields_of(cls)}
    if extra:
        arguments["extra"] = st.dictionaries(TEXT.filter(lambda name: name not in known), JSON, max_size=2)
    return st.builds(cls, **arguments)


@pytest.fixture(scope="session")
def instances() -> Callable[..., st.SearchStrategy[Any]]:
    """The strategy builder: `instances(Loop)`, or without unknown fields `instances(Loop, extra=False)`."""
    return build


@pytest.fixture(scope="session")
def json_values() -> st.SearchStrategy[Any]:
    """Any JSON value."""
    return JSON
