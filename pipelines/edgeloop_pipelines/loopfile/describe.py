"""Tables of every field of loop.yaml, for docs/loop.md, made from the contract.

`python -m edgeloop_pipelines.loopfile.describe docs/loop.md` puts them between the file's markers; with `--check` it writes
nothing and fails when they are out of date.
"""

from __future__ import annotations

import dataclasses
import inspect
import sys
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from edgeloop_contracts import Contract, Loop
from edgeloop_contracts.codec import fields_of
from edgeloop_pipelines.loopfile.write import contract_in, flow

__all__ = ["BEGIN", "END", "field_paths", "main", "tables"]

BEGIN = "<!-- fields: made by python -m edgeloop_pipelines.loopfile.describe; do not edit -->"
END = "<!-- end of fields -->"
_TYPES = {str: "text", int: "whole number", float: "number", bool: "true or false"}


def tables() -> str:
    """One Markdown table for each section of loop.yaml."""
    return "\n\n".join(
        f"### {path}\n\n{_meaning(section)}\n\n| field | type | default | meaning |\n|---|---|---|---|\n"
        + "\n".join(rows)
        for path, section in _sections(Loop, "")
        if (rows := list(_rows(section)))
    )


def field_paths(cls: type[Contract] = Loop, path: str = "") -> Iterator[str]:
    """The paths of all fields, such as `targets[].nodes.group`."""
    for f in fields_of(cls):
        here = f"{path}.{f.name}" if path else f.name
        inner = contract_in(f.type)
        yield here
        if inner is not None:
            yield from field_paths(inner, here + ("[]" if get_origin(f.type) is tuple else ""))


def _sections(cls: type[Contract], path: str) -> Iterator[tuple[str, type[Contract]]]:
    for f in fields_of(cls):
        inner = contract_in(f.type)
        if inner is not None:
            here = (f"{path}.{f.name}" if path else f.name) + ("[]" if get_origin(f.type) is tuple else "")
            yield here, inner
            yield from _sections(inner, here)


def _meaning(section: type[Contract]) -> str:
    return " ".join((inspect.getdoc(section) or "").split("\n\n", maxsplit=1)[0].split())


def _rows(section: type[Contract]) -> Iterator[str]:
    defaults = {f.name: f for f in dataclasses.fields(section)}
    for f in fields_of(section):
        cells = (
            f"`{f.name}`",
            _type_of(f.type, f.metadata),
            _default(f, defaults[f.attribute]),
            f.metadata.get("doc", ""),
        )
        yield "| " + " | ".join(cell.replace("|", "\\|") for cell in cells) + " |"


def _type_of(tp: Any, metadata: Mapping[str, Any]) -> str:
    origin = get_origin(tp)
    if origin in (Union, types.UnionType):
        return _type_of(next(a for a in get_args(tp) if a is not type(None)), metadata)
    if origin is Literal:
        return "one of " + ", ".join(f"`{option}`" for option in get_args(tp))
    if origin is tuple:
        return f"list of {_type_of(get_args(tp)[0], metadata)}"
    if origin is not None and issubclass(origin, Mapping):
        return f"mapping of name to {_type_of(get_args(tp)[1], metadata)}"
    if tp is Any:
        return "anything"
    if issubclass(tp, Contract):
        return "see below"
    return str(metadata.get("form") or _TYPES[tp]) + _bounds(metadata)


def _bounds(metadata: Mapping[str, Any]) -> str:
    limits = [
        f"{sign} {metadata[key]:g}" for key, sign in (("minimum", ">="), ("maximum", "<=")) if _given(metadata.get(key))
    ]
    return ", " + " and ".join(limits) if limits else ""


def _given(value: Any) -> bool:
    return value is not None


def _default(f: Any, declared: dataclasses.Field[Any]) -> str:
    if f.required:
        return "**required**"
    made = declared.default_factory
    value = declared.default if made is dataclasses.MISSING else made()
    if isinstance(value, Contract):
        return ""
    return "none" if value in ("", (), None) or value == {} else f"`{flow(value)}`"


def main(arguments: list[str]) -> int:
    path = Path(next(a for a in arguments if not a.startswith("--")))
    page = path.read_text(encoding="utf-8")
    before, rest = page.split(BEGIN, 1)
    fresh = f"{before}{BEGIN}\n\n{tables()}\n\n{END}{rest.split(END, 1)[1]}"
    if "--check" in arguments and fresh != page:
        print(f"{path}: out of date; run python -m edgeloop_pipelines.loopfile.describe {path}", file=sys.stderr)
        return 1
    if fresh != page:
        path.write_text(fresh, encoding="utf-8")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
