"""YAML files of Kubernetes objects as plain values, with the line of every field. No tag is read, no reference followed.

A file holds one object, several with `---` between them, or a List as kubectl prints it.
"""

from __future__ import annotations

import re
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from edgeloop_pipelines.loopfile import yamltext

__all__ = ["Document", "DocumentError", "get", "leaves", "read_files"]

_BETWEEN = re.compile(r"^---(?:[ \t].*)?$", re.MULTILINE)


class DocumentError(ValueError):
    """A file is not what was expected; the message says which, where and why."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True)
class Document:
    """One object. `lines` is path: line in the file, counted from 1."""

    file: str
    value: Mapping[str, Any]
    lines: Mapping[str, int] = field(default_factory=dict)

    @property
    def kind(self) -> str:
        return str(self.value.get("kind") or "")

    @property
    def name(self) -> str:
        return str(get(self.value, "metadata.name") or "")

    def line(self, path: str) -> int:
        """The line of a field, or of what encloses it."""
        while path and path not in self.lines:
            path = path[: max(path.rfind("."), path.rfind("["), 0)]
        return self.lines.get(path, 1)


def get(value: Any, path: str) -> Any:
    """The value at a dotted path; None where anything on the way is missing or of another kind."""
    for step in path.split("."):
        name, _, index = step.partition("[")
        value = value.get(name) if isinstance(value, Mapping) else None
        if index:
            number = int(index.rstrip("]"))
            value = value[number] if isinstance(value, list) and len(value) > number else None
    return value


def leaves(value: Any, path: str = "") -> Iterator[tuple[str, Any]]:
    """Every path that ends in a plain value, or in an empty list or mapping."""
    if isinstance(value, Mapping) and value:
        for name, item in value.items():
            yield from leaves(item, f"{path}.{name}" if path else str(name))
    elif isinstance(value, list) and value:
        for index, item in enumerate(value):
            yield from leaves(item, f"{path}[{index}]")
    else:
        yield path, value


def read_files(files: Iterable[Path]) -> list[Document]:
    """The objects of all files. DocumentError for text that is no YAML; OSError for a file that cannot be read."""
    return [document for file in files for document in _read(file)]


def _read(file: Path) -> Iterator[Document]:
    with file.open("rb") as stream:
        data = stream.read(yamltext.MAX_BYTES + 1)
    if len(data) > yamltext.MAX_BYTES:
        raise DocumentError(f"{file}: expected at most {yamltext.MAX_BYTES} bytes of YAML, found more")
    try:
        text = data.decode("utf-8")
    except UnicodeDecodeError as error:
        raise DocumentError(f"{file}: expected UTF-8 text, found other bytes at {error.start}") from error
    begin = 0
    for end in [*(found.span() for found in _BETWEEN.finditer(text)), (len(text), len(text))]:
        yield from _parsed(file, text[begin : end[0]], text.count("\n", 0, begin))
        begin = end[1]


def _parsed(file: Path, text: str, above: int) -> Iterator[Document]:
    """The objects in the text of one YAML document, above which the file has some lines."""
    if not any(line.strip() and not line.lstrip().startswith("#") for line in text.splitlines()):
        return
    parsed = yamltext.parse(("\n" * above + text).encode())
    for (line, column), problem in parsed.problems[:1]:
        raise DocumentError(f"{file}:{line}:{column}: {problem}")
    if not isinstance(parsed.value, Mapping):
        raise DocumentError(f"{file}:{above + 1}: expected a Kubernetes object, found {type(parsed.value).__name__}")
    lines = {path: mark[0] for path, mark in [*parsed.values.items(), *parsed.keys.items()]}
    if parsed.value.get("kind") == "List":
        for index, item in enumerate(parsed.value.get("items") or []):
            if isinstance(item, Mapping):
                own = f"items[{index}]."
                yield Document(str(file), item, {p.removeprefix(own): n for p, n in lines.items() if p.startswith(own)})
    else:
        yield Document(str(file), parsed.value, lines)
