"""What a Python image stands on: nothing, the Debian base of the lock, or any image given by digest.

    ""                                   none: the image holds no Python, and says so
    debian                               assembled from the locked Debian packages (package/debian)
    oci:FOLDER@sha256:<digest>           an image or index in an image layout
    REGISTRY/NAME@sha256:<digest>        an image or index in a registry

A base's layers are reused as they are, so nodes and registries that have them fetch nothing. Refuses a base for another
platform, one without Python 3.11 (the wheels' machine code is for that), and one without a digest. Docker's media types are
taken as OCI's: the bytes of the layers stay as they are, and what is built here is OCI's throughout.
"""

from __future__ import annotations

import gzip
import os
import re
import zlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any, BinaryIO

from edgeloop_components.package import layout as oci
from edgeloop_components.package.blobs import blob_path
from edgeloop_components.package.documents import as_oci, usual_platform
from edgeloop_components.package.layers import PackageError, Part
from edgeloop_components.package.tarstream import Member, TarStream
from edgeloop_contracts import Target

__all__ = ["Base", "base_for", "debian_image", "setting"]

_DIGEST = re.compile(r"(.+)@(sha256:[0-9a-f]{64})")
_PYTHON = re.compile(r"(?:\./)?((?:usr/)?(?:local/)?bin/python3\.11)")
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
    settings, document = oci.image_config(layout, digest), oci.manifest(layout, digest)
    layers = [{**part, "mediaType": as_oci(part["mediaType"])} for part in document["layers"]]
    diff_ids = tuple(settings["rootfs"]["diff_ids"])
    history = settings.get("history") or [{"created_by": "base"}] * len(diff_ids)  # tools want one for each layer
    return oci.Under(tuple(layers), diff_ids, tuple(history))


def _base(layout: Path, name: str, digest: str) -> Base:
    under, config = _under(layout, digest), oci.image_config(layout, digest).get("config") or {}
    environment = dict(item.split("=", 1) for item in config.get("Env") or () if "=" in item)
    sizes, python = 0, ""
    for part in under.descriptors:
        for member in _members(blob_path(layout, part["digest"]), part):
            sizes += member.size_bytes
            match = _PYTHON.fullmatch(member.name)
            python = f"/{match[1]}" if match else python
    if not python:
        raise PackageError(
            f"base {name}@{digest}: expected Python 3.11 (bin/python3.11 under /, /usr or /usr/local), found none"
        )
    own = Part(name.rsplit("/", 1)[-1], digest, "oci", sha256=digest.removeprefix("sha256:"))
    return Base(name, digest, under, environment, python, sizes, (own,))


def _members(path: Path, part: Mapping[str, Any]) -> Iterator[Member]:
    openers: dict[str, Any] = {oci.PLAIN_LAYER: lambda raw: raw, oci.GZIP_LAYER: _gunzip}
    opener = openers.get(part["mediaType"])
    if opener is None:
        raise PackageError(f"base: layer {part['digest']}: expected a plain or gzip layer, found {part['mediaType']}")
    with path.open("rb") as raw:
        try:
            yield from TarStream(opener(raw))
        except (EOFError, zlib.error, OSError) as error:
            raise PackageError(f"base: layer {part['digest']}: expected a whole tar archive: {error}") from error


def _gunzip(raw: BinaryIO) -> gzip.GzipFile:
    return gzip.GzipFile(fileobj=raw)
