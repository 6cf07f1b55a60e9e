"""What a Python image stands on: nothing, the Debian base of the lock, or any image given by digest.

    ""                                   none: the image holds no Python, and says so
    debian                               assembled from the locked Debian packages (package/debian)
    oci:FOLDER@sha256:<digest>           an image or index in an image layout
    REGISTRY/NAME@sha256:<digest>        an image or index in a registry

A base's layers are reused as they are, so nodes and registries that have them fetch nothing. Refuses a base for another
platform, one that holds no Python 3.11 (the wheels' machine code is for that) with its layers laid over one another, one whose
layers are beyond the limits of package/archive.py or not what their digests say, and one without a digest. Docker's media types
are taken as OCI's: the bytes of the layers stay as they are, and what is built here is OCI's throughout.
"""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeloop_components.package import layout as oci
from edgeloop_components.package.archive import MOST_BYTES, MOST_IMAGE_BYTES, members
from edgeloop_components.package.blobs import existing
from edgeloop_components.package.documents import as_oci, usual_platform
from edgeloop_components.package.layers import PackageError, Part
from edgeloop_components.package.manifests import stack
from edgeloop_components.package.rooted import Root
from edgeloop_components.package.tarstream import Member
from edgeloop_contracts import Target

__all__ = ["Base", "base_for", "debian_image", "setting"]

_DIGEST = re.compile(r"(.+)@(sha256:[0-9a-f]{64})")
_PYTHONS = tuple(f"{place}bin/python3.11" for place in ("usr/local/", "usr/", "local/", ""))
_NAMES = {"server": "edgeloop/base", "steps": "edgeloop/base-steps"}


@dataclass(frozen=True)
class Base:
    """An image of the layout that others stand on."""

    name: str
    digest: str
    under: oci.Under
    environment: Mapping[str, str]
    python: str
    plain_bytes: int
    parts: tuple[Part, ...]


def setting(target: Target | None = None) -> str:
    """The base that the target names, else that of the installation (EDGELOOP_BASE); empty: none."""
    return (target.base if target else "") or os.environ.get("EDGELOOP_BASE", "")


def base_for(text: str, platform: str, layout: Path) -> Base | None:
    """Brings the base into the layout. None for an empty text. PackageError, LayoutError."""
    if not text:
        return None
    if text == "debian":
        return _debian(platform, layout)
    name, digest = _named(text)
    if name.startswith("oci:"):
        oci.transfer(Path(name.removeprefix("oci:")), layout, digest)
    else:
        from edgeloop_components.registry import pull

        digest = pull(text, layout, platform=platform)
    return _base(layout, name.removeprefix("oci:"), _of_platform(layout, digest, platform, text))


def _named(text: str) -> tuple[str, str]:
    match = _DIGEST.fullmatch(text)
    if match is None:
        raise PackageError(f"base: expected debian, oci:FOLDER@sha256:<digest> or IMAGE@sha256:<digest>, got {text!r}")
    return match[1], match[2]


def debian_image(platform: str, layout: Path, purpose: str = "server") -> str:
    """Writes the Debian base for a purpose (debian.PURPOSES) as an image of its own; its digest."""
    from edgeloop_components.package.debian.assemble import ENVIRONMENT, base_layer

    layer = base_layer(platform, purpose)
    labels = {"org.opencontainers.image.title": "edgeloop base, Debian packages"}
    config = {"User": "65532:65532", "Env": [f"{k}={v}" for k, v in sorted(ENVIRONMENT.items())], "Labels": labels}
    digest = oci.write_image(layout, [layer], platform=platform, config=config, annotations=labels)
    oci.name_image(layout, digest, f"{_NAMES[purpose]}:{platform.removeprefix('linux/').replace('/', '-')}")
    return digest


def _debian(platform: str, layout: Path) -> Base:
    from edgeloop_components.package.debian.assemble import ENVIRONMENT, base_layer

    layer, digest = base_layer(platform), debian_image(platform, layout)
    under = _under(layout, digest)
    return Base("edgeloop/base", digest, under, ENVIRONMENT, "/usr/bin/python3", layer.size_bytes, layer.parts)


def _of_platform(layout: Path, digest: str, platform: str, text: str) -> str:
    """The image of the platform: itself, or that of an index."""
    found = {}
    children = oci.document(layout, digest).get("manifests")
    for child in [digest] if children is None else [entry["digest"] for entry in children]:
        settings = oci.image_config(layout, child)
        found[child] = "/".join(settings[key] for key in ("os", "architecture", "variant") if settings.get(key))
    for child, has in found.items():
        if usual_platform(has) == usual_platform(platform):
            return child
    known = ", ".join(found.values())
    raise PackageError(f"base {text}: expected an image for {platform}, found {known}")


def _under(layout: Path, digest: str) -> oci.Under:
    parts = stack(layout, digest)
    layers = [{**part, "mediaType": as_oci(part["mediaType"])} for part, _ in parts]
    diff_ids = tuple(diff_id for _, diff_id in parts)
    history = oci.image_config(layout, digest).get("history")
    return oci.Under(tuple(layers), diff_ids, tuple(history or [{"created_by": "base"}] * len(diff_ids)))  # one a layer


def _base(layout: Path, name: str, digest: str) -> Base:
    under, config = _under(layout, digest), oci.image_config(layout, digest).get("config") or {}
    environment = dict(item.split("=", 1) for item in config.get("Env") or () if "=" in item)
    root, sizes = Root(), 0
    for part, diff_id in zip(under.descriptors, under.diff_ids, strict=True):
        found = list(_members(layout, part, diff_id, min(MOST_BYTES, MOST_IMAGE_BYTES - sizes)))
        sizes += sum(member.size_bytes for member in found)
        root.add(found)
    python = next((path for path in _PYTHONS if root.is_file(path)), "")
    if not python:
        raise PackageError(
            f"base {name}@{digest}: expected Python 3.11 (bin/python3.11 under /, /usr or /usr/local), found none"
        )
    own = Part(name.rsplit("/", 1)[-1], digest, "oci", sha256=digest.removeprefix("sha256:"))
    return Base(name, digest, under, environment, f"/{python}", sizes, (own,))


def _members(layout: Path, part: Mapping[str, Any], diff_id: str, most_bytes: int) -> Iterator[Member]:
    """Of a layer, read under the limits of one that is unpacked (package/archive.py). LayoutError."""
    if part["mediaType"] not in (oci.PLAIN_LAYER, oci.GZIP_LAYER):
        raise PackageError(f"base: layer {part['digest']}: expected a plain or gzip layer, found {part['mediaType']}")
    path, packed = existing(layout, part["digest"]), part["mediaType"] == oci.GZIP_LAYER
    return members(path, compressed=packed, digest=part["digest"], diff_id=diff_id, most_bytes=most_bytes)
