"""JSON Schemas of the contracts, generated from the dataclasses and checked in under `schema/`.

`python -m edgeloop_contracts.schema` writes them; with `--check` it writes nothing and fails when one is out of date.
"""

from __future__ import annotations

import json
import sys
import types
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Literal, Union, get_args, get_origin

from edgeloop_contracts import DOCUMENTS
from edgeloop_contracts.codec import API_VERSION, Contract, fields_of

__all__ = ["json_schema", "main"]

_SCALARS = {str: "string", int: "integer", float: "number", bool: "boolean"}


def json_schema(cls: type[Contract], *, strict: bool = False) -> dict[str, Any]:
    """The JSON Schema (draft 2020-12) of a contract. `strict` forbids unknown fields, for editors."""
    definitions: dict[str, Any] = {}
    body = _contract(cls, definitions, strict=strict)
    head = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": cls.KIND or cls.__name__}
    return {**head, **body, **({"$defs": dict(sorted(definitions.items()))} if definitions else {})}


def _contract(cls: type[Contract], definitions: dict[str, Any], *, strict: bool) -> dict[str, Any]:
    fields = fields_of(cls)
    properties: dict[str, Any] = {}
    if cls.KIND:
        properties = {"apiVersion": {"const": API_VERSION}, "kind": {"const": cls.KIND}}
    for f in fields:
        properties[f.name] = _field(f.type, f.metadata, definitions, strict=strict)
    required = [*(("apiVersion", "kind") if cls.KIND else ()), *(f.name for f in fields if f.required)]
    schema: dict[str, Any] = {"type": "object", "properties": properties}
    if cls.__doc__:
        schema["description"] = cls.__doc__.split("\n", maxsplit=1)[0]
    if required:
        schema["required"] = required
    if strict:
        schema["additionalProperties"] = False
    return schema


def _field(tp: Any, metadata: Mapping[str, Any], definitions: dict[str, Any], *, strict: bool) -> dict[str, Any]:
    schema = _type(tp, metadata, definitions, strict=strict)
    return {**schema, "description": metadata["doc"]} if metadata.get("doc") else schema


def _type(tp: Any, metadata: Mapping[str, Any], definitions: dict[str, Any], *, strict: bool) -> dict[str, Any]:
    origin = get_origin(tp)
    if tp is Any:
        return {}
    if origin in (Union, types.UnionType):
        option = next(a for a in get_args(tp) if a is not type(None))
        return {"anyOf": [_type(option, metadata, definitions, strict=strict), {"type": "null"}]}
    if origin is Literal:
        return {"enum": list(get_args(tp))}
    if origin is tuple:
        return {"type": "array", "items": _type(get_args(tp)[0], metadata, definitions, strict=strict)}
    if origin is not None and issubclass(origin, Mapping):
        return {"type": "object", "additionalProperties": _type(get_args(tp)[1], metadata, definitions, strict=strict)}
    if issubclass(tp, Contract):
        if tp.__name__ not in definitions:
            definitions[tp.__name__] = {}
            definitions[tp.__name__] = _contract(tp, definitions, strict=strict)
        return {"$ref": f"#/$defs/{tp.__name__}"}
    return _scalar(tp, metadata)


def _scalar(tp: Any, metadata: Mapping[str, Any]) -> dict[str, Any]:
    schema: dict[str, Any] = {"type": _SCALARS[tp]}
    bounds = (("pattern", "pattern"),) if tp is str else (("minimum", "minimum"), ("maximum", "maximum"))
    for key, name in bounds:
        if metadata.get(name) not in (None, ""):
            schema[key] = f"^({metadata[name]})$" if key == "pattern" else metadata[name]
    return schema


def main(arguments: list[str]) -> int:
    folder = Path(__file__).parent / "schema"
    texts = {
        folder / f"{kind.lower()}.json": json.dumps(
            json_schema(cls, strict=kind == "Loop"), indent=1, ensure_ascii=False
        )
        + "\n"
        for kind, cls in DOCUMENTS.items()
    }
    stale = [path for path, text in texts.items() if not path.exists() or path.read_text() != text]
    if "--check" in arguments:
        for path in stale:
            print(f"{path}: out of date; run python -m edgeloop_contracts.schema", file=sys.stderr)
        return 1 if stale else 0
    for path in stale:
        path.write_text(texts[path])
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
