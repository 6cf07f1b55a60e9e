"""Reads and writes the contracts as JSON, and says exactly what is wrong with a bad document.

A contract is a frozen dataclass that derives from `Contract`. This module turns one into plain JSON values and back by
its annotations alone, so that a contract needs no code of its own. Laws, held by property tests:

- `from_json(type(x), to_json(x)) == x`;
- a field that the reader does not know survives in `extra` and is written again.

It does no I/O. It refuses what JSON cannot say (NaN, infinities) rather than writing something else, and text that it could
not write again: half characters, numbers beyond 64 bits, values nested deeper than `MAX_DEPTH`.
"""

from __future__ import annotations

import dataclasses
import difflib
import functools
import hashlib
import json
import math
import re
import types
import typing
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, TypeVar, Union, get_args, get_origin

__all__ = [
    "API_VERSION",
    "Contract",
    "ContractError",
    "Problem",
    "canonical",
    "digest_of",
    "dumps",
    "from_json",
    "loads",
    "option",
    "problems_in",
    "to_json",
]

API_VERSION = "edgeloop.dev/v1alpha1"
MAX_DEPTH = 64  # of lists and mappings in a document; the contracts need less than ten
MAX_INT = 2**63 - 1  # what a database and every other reader can hold

T = TypeVar("T")


@dataclass(frozen=True)
class Problem:
    """One thing that is wrong with a document: where (`path`, as `targets[0].platform`), expected, got, and a hint."""

    path: str
    expected: str
    got: str
    hint: str = ""

    def __str__(self) -> str:
        hint = f" ({self.hint})" if self.hint else ""
        return f"{self.path or 'document'}: expected {self.expected}, got {self.got}{hint}"


class ContractError(ValueError):
    """A document breaks its contract. `problems` holds every problem found, the message all of them."""

    def __init__(self, kind: str, problems: Sequence[Problem]) -> None:
        self.kind, self.problems = kind, tuple(problems)
        first = self.problems[0]
        self.path, self.expected, self.got = first.path, first.expected, first.got
        super().__init__("; ".join(f"{kind}: {problem}" for problem in self.problems))


@dataclass(frozen=True, kw_only=True)
class Contract:
    """Base of all contracts. `extra` carries the fields that this version of the code does not know."""

    KIND: ClassVar[str] = ""  # set on the documents that travel alone; they carry apiVersion and kind

    extra: Mapping[str, Any] = field(default_factory=dict, repr=False)


def option(
    default: Any = dataclasses.MISSING,
    *,
    doc: str = "",
    name: str = "",
    pattern: str = "",
    minimum: float | None = None,
    maximum: float | None = None,
    form: str = "",
) -> Any:
    """Declares a field: `name` is its JSON name, `pattern`/`minimum`/`maximum` bound it, `form` says the pattern in words.

    A mutable default (a list, a dict) is copied for each object.
    """
    metadata = {"doc": doc, "name": name, "pattern": pattern, "minimum": minimum, "maximum": maximum, "form": form}
    if isinstance(default, (list, dict)):
        return field(default_factory=functools.partial(type(default), default), metadata=metadata)
    return field(default=default, metadata=metadata)


@dataclass(frozen=True)
class _Field:
    """What the reader needs to know of one field."""

    attribute: str
    name: str
    type: Any
    required: bool
    metadata: Mapping[str, Any]


_FIELDS: dict[type[Any], tuple[_Field, ...]] = {}


def fields_of(cls: type[Any]) -> tuple[_Field, ...]:
    """The fields of a contract class, but for `extra`."""
    if cls not in _FIELDS:
        hints = typing.get_type_hints(cls)
        _FIELDS[cls] = tuple(
            _Field(
                attribute=f.name,
                name=f.metadata.get("name") or f.name,
                type=hints[f.name],
                required=f.default is dataclasses.MISSING and f.default_factory is dataclasses.MISSING,
                metadata=f.metadata,
            )
            for f in dataclasses.fields(cls)
            if f.name != "extra"
        )
    return _FIELDS[cls]


def _plain(value: Any) -> Any:
    if isinstance(value, Contract):
        return to_json(value)
    if isinstance(value, Mapping):
        return {str(key): _plain(item) for key, item in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(item) for item in value]
    if isinstance(value, float) and not math.isfinite(value):
        raise ValueError(f"JSON has no {value}: leave the field out or use null")
    return value


def to_json(contract: Contract) -> dict[str, Any]:
    """The contract as plain JSON values. Fields that hold None are left out."""
    head = {"apiVersion": API_VERSION, "kind": contract.KIND} if contract.KIND else {}
    body = {
        f.name: _plain(value)
        for f in fields_of(type(contract))
        if (value := getattr(contract, f.attribute)) is not None
    }
    return {**head, **body, **_plain(contract.extra)}


def canonical(value: Any) -> bytes:
    """JSON with sorted keys and no blanks, in UTF-8: the form that digests are taken of."""
    return json.dumps(
        _plain(value), sort_keys=True, separators=(",", ":"), ensure_ascii=False, allow_nan=False
    ).encode()


def digest_of(value: Any) -> str:
    """`sha256:<hex>` of the canonical form of a contract or of plain JSON values."""
    return "sha256:" + hashlib.sha256(canonical(value)).hexdigest()


def dumps(contract: Contract, *, indent: int | None = None) -> str:
    return json.dumps(to_json(contract), indent=indent, ensure_ascii=False, allow_nan=False)


_MISSING = object()


def _shown(value: Any) -> str:
    if isinstance(value, Mapping):
        return "a mapping"
    if isinstance(value, (list, tuple)):
        return f"a list of {len(value)}"
    text = (
        "null"
        if value is None
        else json.dumps(value, ensure_ascii=False)
        if isinstance(value, (str, bool))
        else str(value)
    )
    return text if len(text) <= 60 else text[:57] + "..."


class _Reader:
    """Walks a document once and collects every problem instead of stopping at the first."""

    def __init__(self, *, refuse_unknown: bool) -> None:
        self.refuse_unknown = refuse_unknown
        self.problems: list[Problem] = []

    def bad(self, path: str, expected: str, got: str, hint: str = "") -> Any:
        self.problems.append(Problem(path, expected, got, hint))
        return _MISSING

    def value(self, tp: Any, value: Any, path: str, metadata: Mapping[str, Any]) -> Any:
        origin = get_origin(tp)
        if tp is Any:
            return value
        if origin in (Union, types.UnionType):
            return self.union(tp, value, path, metadata)
        if origin is Literal:
            return self.literal(get_args(tp), value, path)
        if origin is tuple:
            return self.sequence(get_args(tp)[0], value, path, metadata)
        if origin is not None and issubclass(origin, Mapping):
            return self.mapping(get_args(tp)[1], value, path, metadata)
        if isinstance(tp, type) and issubclass(tp, Contract):
            return self.contract(tp, value, path)
        return self.scalar(tp, value, path, metadata)

    def union(self, tp: Any, value: Any, path: str, metadata: Mapping[str, Any]) -> Any:
        options = [a for a in get_args(tp) if a is not type(None)]
        if value is None and len(options) < len(get_args(tp)):
            return None
        return self.value(options[0], value, path, metadata)

    def literal(self, options: tuple[Any, ...], value: Any, path: str) -> Any:
        if value in options and not (isinstance(value, bool) and not any(isinstance(o, bool) for o in options)):
            return value
        near = difflib.get_close_matches(str(value), [str(o) for o in options], n=1)
        hint = f"did you mean {near[0]}?" if near else ""
        return self.bad(path, "one of " + ", ".join(str(o) for o in options), _shown(value), hint)

    def sequence(self, item_type: Any, value: Any, path: str, metadata: Mapping[str, Any]) -> Any:
        if not isinstance(value, (list, tuple)):
            return self.bad(path, "a list", _shown(value))
        return tuple(self.value(item_type, item, f"{path}[{i}]", metadata) for i, item in enumerate(value))

    def mapping(self, item_type: Any, value: Any, path: str, metadata: Mapping[str, Any]) -> Any:
        if not isinstance(value, Mapping):
            return self.bad(path, "a mapping", _shown(value))
        return {
            str(key): self.value(item_type, item, f"{path}.{key}" if path else str(key), metadata)
            for key, item in value.items()
        }

    def scalar(self, tp: Any, value: Any, path: str, metadata: Mapping[str, Any]) -> Any:
        names = {str: "text", int: "a whole number", float: "a number", bool: "true or false"}
        if tp is float and isinstance(value, int) and not isinstance(value, bool):
            value = float(value) if abs(value) < 2**1000 else math.inf
        wrong_bool = isinstance(value, bool) and tp is not bool
        if wrong_bool or not isinstance(value, tp) or (tp is float and not math.isfinite(value)):
            return self.bad(path, metadata.get("form") or names[tp], _shown(value))
        if tp is int and abs(value) > MAX_INT:
            return self.bad(path, "a whole number of 64 bits", _shown(value))
        return self.bounded(value, path, metadata)

    def bounded(self, value: Any, path: str, metadata: Mapping[str, Any]) -> Any:
        if isinstance(value, str):
            pattern = metadata.get("pattern")
            if pattern and not re.fullmatch(pattern, value):
                return self.bad(path, metadata.get("form") or f"text that fits {pattern}", _shown(value))
            return value
        low, high = metadata.get("minimum"), metadata.get("maximum")
        if low is not None and value < low:
            return self.bad(path, f">= {low:g}", _shown(value))
        if high is not None and value > high:
            return self.bad(path, f"<= {high:g}", _shown(value))
        return value

    def contract(self, cls: type[Any], value: Any, path: str) -> Any:
        if not isinstance(value, Mapping):
            return self.bad(path, f"a mapping ({cls.__name__})", _shown(value))
        self.head(cls, value, path)
        known = {f.name: f for f in fields_of(cls)}
        heads = {"apiVersion", "kind"} if cls.KIND else set()
        extra = {str(k): v for k, v in value.items() if k not in known and k not in heads}
        if self.refuse_unknown:
            for name in extra:
                near = difflib.get_close_matches(name, known, n=1, cutoff=0.5)
                hint = f"did you mean {near[0]}?" if near else "known: " + ", ".join(known)
                self.bad(f"{path}.{name}" if path else name, "a known field", _shown(name), hint)
        arguments: dict[str, Any] = {}
        for f in known.values():
            here = f"{path}.{f.name}" if path else f.name
            if f.name in value and not (value[f.name] is None and not f.required):
                arguments[f.attribute] = self.value(f.type, value[f.name], here, f.metadata)
            elif f.required:
                self.bad(here, f.metadata.get("form") or "a value", "nothing", "this field is required")
        if self.problems:
            return _MISSING
        return cls(**arguments, extra=extra)

    def head(self, cls: type[Any], value: Mapping[str, Any], path: str) -> None:
        if not cls.KIND:
            return
        for name, expected in (("apiVersion", API_VERSION), ("kind", cls.KIND)):
            if value.get(name) != expected:
                got = _shown(value[name]) if name in value else "nothing"
                self.bad(f"{path}.{name}" if path else name, expected, got)


def problems_in(cls: type[T], document: Any) -> tuple[T | None, tuple[Problem, ...]]:
    """Reads a document that a person wrote: unknown fields are problems too. Gives the contract or every problem."""
    reader = _Reader(refuse_unknown=True)
    value = reader.contract(cls, document, "")
    return (None if reader.problems else value), tuple(reader.problems)


def from_json(cls: type[T], document: Any) -> T:
    """Reads a document that a machine wrote; unknown fields survive in `extra`. Raises `ContractError`."""
    reader = _Reader(refuse_unknown=False)
    value = reader.contract(cls, document, "")
    if reader.problems:
        raise ContractError(cls.__name__, reader.problems)
    return typing.cast("T", value)


def _refuse_constant(text: str) -> Any:
    raise ValueError(f"JSON has no {text}")


def _finite(text: str) -> float:
    if not math.isfinite(value := float(text)):
        raise ValueError(f"{text} is too large a number")
    return value


def _refuse_unwritable(document: Any, text: str) -> None:
    """ValueError for what JSON text can spell and nobody can write again: half characters, bottomless nesting."""
    level, depth = [document], 0
    while level := [v for item in level for v in _inside(item) if isinstance(v, (dict, list))]:
        depth += 1
        if depth > MAX_DEPTH:
            raise ValueError(f"lists and mappings nested deeper than {MAX_DEPTH}")
    text.encode()  # UnicodeEncodeError is a ValueError
    if "\\u" in text:
        json.dumps(document, ensure_ascii=False).encode()


def _inside(value: Any) -> Any:
    return value.values() if isinstance(value, dict) else value if isinstance(value, list) else ()


def loads(cls: type[T], text: str | bytes) -> T:
    """`from_json` of JSON text; text that is not JSON is a `ContractError` too."""
    try:
        read = text.decode() if isinstance(text, bytes) else text
        document = json.loads(read, parse_constant=_refuse_constant, parse_float=_finite)
        _refuse_unwritable(document, read)
    except (ValueError, RecursionError) as error:
        raise ContractError(
            cls.__name__, [Problem("", "JSON text", f"{len(text)} bytes that are not: {error}")]
        ) from error
    return from_json(cls, document)
