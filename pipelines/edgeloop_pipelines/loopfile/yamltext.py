"""YAML text as plain values, with the line and column of each.

Scalars are read as YAML 1.2 has them: `on`, `yes` and dates are text, and only `true` and `false` are truth values. It
refuses what a settings file never needs and an attacker does: tags, text over 1 MiB, aliases that multiply or contain
themselves. What is wrong is collected, not raised, so that the reader can go on and find more.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any

import yaml

from edgeloop_contracts import Problem

__all__ = ["MAX_BYTES", "MAX_NODES", "Document", "Mark", "parse"]

MAX_BYTES = 1 << 20
MAX_NODES = 20_000  # values after aliases are followed; a loop.yaml has hundreds
START = (1, 1)

Mark = tuple[int, int]  # line and column, both from 1


class _Loader(yaml.SafeLoader):
    """PyYAML's reader with the scalars of YAML 1.2 (core schema)."""

    yaml_implicit_resolvers: dict[str, list[tuple[str, re.Pattern[str]]]] = {}  # noqa: RUF012 - PyYAML's own name


_PLAIN = {
    "null": (r"~|null|Null|NULL|", ["~", "n", "N", ""]),
    "bool": (r"true|True|TRUE|false|False|FALSE", list("tTfF")),
    "int": (r"[-+]?[0-9]+|0x[0-9a-fA-F]+|0o[0-7]+", list("-+0123456789")),
    "float": (r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?", list("-+.0123456789")),
    "merge": (r"<<", ["<"]),
}
for _name, (_pattern, _first) in _PLAIN.items():
    _Loader.add_implicit_resolver(f"tag:yaml.org,2002:{_name}", re.compile(f"^(?:{_pattern})$"), _first)

_SYNTAX = {  # part of PyYAML's message: what was expected
    "cannot start any token": "spaces to indent with, and quotes around text that begins with a special character",
    "mapping values are not allowed here": "one 'name: value' a line; text with ': ' in it needs quotes",
    "could not find expected ':'": "a ':' after the name",
    "expected ',' or ']'": "',' or ']' in the list that opened",
    "expected ',' or '}'": "',' or '}' in the mapping that opened",
    "expected <block end>": "the same indentation as the lines before",
    "while scanning a quoted scalar": "the quote that closes the text",
    "expected a single document": "one document; '---' begins another",
    "undefined alias": "an anchor (&name) before its alias (*name)",
    "special characters are not allowed": "printable characters",
}


@dataclass
class Document:
    """The plain values, where each path stands (`keys`: its name, `values`: its value), and what was wrong with the text."""

    value: Any = None
    keys: dict[str, Mark] = field(default_factory=dict)
    values: dict[str, Mark] = field(default_factory=dict)
    problems: list[tuple[Mark, Problem]] = field(default_factory=list)


def parse(data: bytes) -> Document:
    """Reads YAML text (UTF-8). Never raises for what the text holds: see `Document.problems`."""
    if len(data) > MAX_BYTES:
        return _broken(START, Problem("", f"at most {MAX_BYTES} bytes", f"{len(data)} bytes"))
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        return _broken((line, 1), Problem("", "text in UTF-8", f"byte 0x{data[error.start]:02x}"))
    try:
        root = yaml.compose(text, Loader=_Loader)
    except yaml.YAMLError as error:
        return _syntax(error, text)
    except RecursionError:
        return _broken(START, Problem("", "a document that a person can read", "values nested too deeply"))
    if root is None:
        return _broken(START, Problem("", "a loop (apiVersion, kind, metadata, data, ...)", "an empty file"))
    return _Walk().run(root)


def _broken(mark: Mark, problem: Problem) -> Document:
    return Document(problems=[(mark, problem)])


def _syntax(error: yaml.YAMLError, text: str) -> Document:
    message = " ".join(str(part) for part in (getattr(error, "context", ""), getattr(error, "problem", "")) if part)
    place = getattr(error, "problem_mark", None) or getattr(error, "context_mark", None)
    if isinstance(error, yaml.reader.ReaderError):
        message = error.reason
        mark = (text.count("\n", 0, error.position) + 1, 1)
    else:
        mark = (place.line + 1, place.column + 1) if place else START
    expected = next((words for part, words in _SYNTAX.items() if part in message), "YAML")
    opened = getattr(error, "context_mark", None)
    hint = f"it began in line {opened.line + 1}" if opened and opened.line + 1 != mark[0] else ""
    return _broken(mark, Problem("", expected, f"what YAML cannot read: {message}", hint))


class _Stop(Exception):  # noqa: N818 - ends the walk of a document that is refused as a whole
    pass


class _Walk:
    """Turns PyYAML's nodes into plain values; remembers where they stood."""

    def __init__(self) -> None:
        self.document = Document()
        self.nodes = 0
        self.open: set[int] = set()

    def run(self, root: yaml.Node) -> Document:
        try:
            self.document.value = self.value(root, "")
        except _Stop:
            self.document.value = None
        except RecursionError:
            return _broken(START, Problem("", "a document that a person can read", "values nested too deeply"))
        return self.document

    def bad(self, node: yaml.Node, path: str, expected: str, got: str, hint: str = "") -> None:
        self.document.problems.append((_mark(node), Problem(path, expected, got, hint)))

    def value(self, node: yaml.Node, path: str) -> Any:
        self.nodes += 1
        if self.nodes > MAX_NODES:
            self.bad(node, path, f"at most {MAX_NODES} values", "more, through aliases" if self.open else "more")
            raise _Stop
        if id(node) in self.open:
            self.bad(node, path, "a value", "an alias of what it stands in")
            raise _Stop
        self.document.values.setdefault(path, _mark(node))
        if isinstance(node, yaml.ScalarNode):
            return self.scalar(node, path)
        self.open.add(id(node))
        whole = self.sequence(node, path) if isinstance(node, yaml.SequenceNode) else self.mapping(node, path)
        self.open.discard(id(node))
        return whole

    def sequence(self, node: yaml.SequenceNode, path: str) -> list[Any]:
        self.plain_tag(node, path, "seq")
        return [self.value(item, f"{path}[{i}]") for i, item in enumerate(node.value)]

    def mapping(self, node: yaml.Node, path: str) -> dict[str, Any]:
        self.plain_tag(node, path, "map")
        merged: dict[str, Any] = {}
        own: dict[str, Any] = {}
        for key, item in node.value:
            if key.tag.endswith(":merge"):
                merged = {**self.merged(item, path), **merged}
            elif not isinstance(key, yaml.ScalarNode):
                self.bad(key, path, "a name before ':'", "a list or a mapping")
            else:
                self.entry(own, key, item, path)
        return {**merged, **own}

    def entry(self, own: dict[str, Any], key: yaml.ScalarNode, item: yaml.Node, path: str) -> None:
        here = f"{path}.{key.value}" if path else key.value
        if key.value in own:
            first = self.document.keys[here][0]
            self.bad(key, here, "each field once", f'"{key.value}" again', f"first in line {first}")
            return
        self.document.keys[here] = _mark(key)
        own[key.value] = self.value(item, here)

    def merged(self, item: yaml.Node, path: str) -> dict[str, Any]:
        parts = item.value if isinstance(item, yaml.SequenceNode) else [item]
        result: dict[str, Any] = {}
        for part in parts:
            value = self.value(part, path)
            if not isinstance(value, Mapping):
                self.bad(part, path, "a mapping after '<<'", "something else")
                continue
            result = {**value, **result}
        return result

    def scalar(self, node: yaml.ScalarNode, path: str) -> Any:
        kind = node.tag.removeprefix("tag:yaml.org,2002:")
        read = _SCALARS.get(kind)
        if read is None:
            self.bad(node, path, "a plain value", f"the tag {node.tag}")
            return None
        try:
            return read(node.value)
        except ValueError:
            self.bad(node, path, "a number that can be read", f"{len(node.value)} characters of {kind}")
            return None

    def plain_tag(self, node: yaml.Node, path: str, kind: str) -> None:
        if node.tag != f"tag:yaml.org,2002:{kind}":
            self.bad(node, path, "a plain value", f"the tag {node.tag}")


def _whole(text: str) -> int:
    base = {"0x": 16, "0o": 8}.get(text[:2], 10)
    return int(text, base)


_SCALARS: dict[str, Callable[[str], Any]] = {
    "str": str,
    "null": lambda _: None,
    "bool": lambda text: text.lower() == "true",
    "int": _whole,
    "float": float,
    "merge": str,
}


def _mark(node: yaml.Node) -> Mark:
    return (node.start_mark.line + 1, node.start_mark.column + 1)
