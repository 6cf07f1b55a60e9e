"""Reads manifests, indexes and image configurations of a layout, and checks once that they have the shape that all rely on.

They may come from any registry. Refuses, with LayoutError that names the field, what has another type than OCI's specification
says, an image that is none, and one without a diff_id for each layer or with too many of them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from edgeloop_components.package.blobs import LayoutError
from edgeloop_components.package.documents import INDEX, MANIFEST, as_oci, read_json

__all__ = ["MOST_LAYERS", "document", "image_config", "manifest", "stack"]

MOST_LAYERS = 512

# A shape is a type, [shape of every item], or {field: shape}; `?` behind a field: it may be absent, `~`: or be null, as Go's
# programs write what is empty. Other fields may hold anything.
Shape = Any
_BLOB = {"mediaType": str, "digest": str, "size": int}
_DOCUMENT: Shape = {
    "mediaType?": str,
    "artifactType~": str,
    "annotations~": {},
    "config?": _BLOB,
    "layers?": [_BLOB],
    "manifests?": [{"digest": str}],
    "subject~": {"digest": str},
}
_CONFIG: Shape = {
    **dict.fromkeys(("os?", "architecture?", "variant?"), str),
    "config~": {"Env~": [str], "Entrypoint~": [str], "Cmd~": [str], "Labels~": {}},
    "rootfs?": {"diff_ids": [str]},
    "history~": [{}],
}
_NAMES = {str: "text", int: "a whole number", list: "a list", dict: "an object"}


def document(layout: Path, digest: str) -> dict[str, Any]:
    """Any manifest or index by digest, in OCI's shape."""
    return _checked(layout, digest, read_json(layout, digest), _DOCUMENT)


def manifest(layout: Path, digest: str) -> dict[str, Any]:
    """The image manifest of that digest, OCI's or Docker's. LayoutError when it is something else, an image index for one."""
    found = read_json(layout, digest)
    kind = found.get("mediaType", MANIFEST)
    foreign = isinstance(kind, str) and as_oci(kind) not in (MANIFEST, INDEX)  # it has a shape of its own
    if not foreign:
        _checked(layout, digest, found, _DOCUMENT)
    if foreign or as_oci(kind) != MANIFEST or not {"config", "layers"} <= found.keys():
        raise LayoutError(f"{layout}: {digest}: expected an image manifest, found {found.get('mediaType')}")
    return found


def image_config(layout: Path, digest: str) -> dict[str, Any]:
    """The config document of an image: os, architecture, config (Env, Entrypoint, ...), rootfs.diff_ids."""
    return config(layout, manifest(layout, digest)["config"]["digest"])


def config(layout: Path, digest: str) -> dict[str, Any]:
    """An image's config document by its own digest."""
    return _checked(layout, digest, read_json(layout, digest), _CONFIG)


def stack(layout: Path, digest: str) -> list[tuple[Mapping[str, Any], str]]:
    """An image's layers, lowest first: descriptor and diff_id. LayoutError when they are not one for one, or too many."""
    layers, settings = manifest(layout, digest)["layers"], image_config(layout, digest)
    diff_ids = settings.get("rootfs", {}).get("diff_ids", [])
    if len(layers) != len(diff_ids):
        raise LayoutError(
            f"{layout}: {digest}: expected a diff_id for each layer, found {len(diff_ids)} for {len(layers)}"
        )
    if len(layers) > MOST_LAYERS:
        raise LayoutError(f"{layout}: {digest}: expected at most {MOST_LAYERS} layers, found {len(layers)}")
    return list(zip(layers, diff_ids, strict=True))


def _checked(layout: Path, digest: str, found: dict[str, Any], shape: Shape) -> dict[str, Any]:
    if problem := _problem(found, shape, ""):
        raise LayoutError(f"{layout}: {digest}: {problem}")
    return found


def _problem(value: Any, shape: Shape, where: str) -> str:
    """The first field that is not in shape; empty when all are."""
    kind = shape if isinstance(shape, type) else type(shape)
    if type(value) is not kind:
        return f"{where}: expected {_NAMES[kind]}, found {'nothing' if value is None else type(value).__name__}"
    return next((found for one in _parts(value, shape, where) if (found := _problem(*one))), "")


def _parts(value: Any, shape: Shape, where: str) -> Iterator[tuple[Any, Shape, str]]:
    """What is in a value, each with its own shape and place."""
    if isinstance(shape, list):
        yield from ((item, shape[0], f"{where}[{i}]") for i, item in enumerate(value))
    for mark, inner in shape.items() if isinstance(shape, dict) else ():
        name = mark.rstrip("?~")
        left_out = (mark.endswith("?") and name not in value) or (mark.endswith("~") and value.get(name) is None)
        if not left_out:
            yield value.get(name), inner, f"{where}.{name}".lstrip(".")
