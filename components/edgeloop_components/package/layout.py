"""An OCI image layout in a folder: images, indexes and artifacts are written into it, read with digests verified, and moved.

Blobs are content-addressed and never rewritten; index.json changes last (package/documents.py). `skopeo` and other tools
read the same folder. A layer that was written before is found by its key (folder `.layers`), so the wheels of a runtime
are compressed once for each layout.

Refuses what is not an image manifest where one is asked for, and every damaged blob.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from edgeloop_components.package.blobs import (
    LayoutError,
    blob_path,
    copy_blob,
    existing,
    hash_file,
    keep,
    new_file,
    read_blob,
    storing,
    write_bytes,
)
from edgeloop_components.package.documents import (
    CONFIG,
    EMPTY,
    GZIP_LAYER,
    INDEX,
    MANIFEST,
    PLAIN_LAYER,
    REF_NAME,
    add_to_index,
    as_descriptor,
    as_oci,
    platform_of,
    read_index,
    write_blob,
    write_json,
)
from edgeloop_components.package.layers import Layer, write_layer_bytes
from edgeloop_components.package.manifests import config as config_of
from edgeloop_components.package.manifests import document, image_config, manifest
from edgeloop_components.package.unpacked import unpack
from edgeloop_contracts import canonical

__all__ = [
    "CONFIG",
    "EMPTY",
    "GZIP_LAYER",
    "INDEX",
    "MANIFEST",
    "PLAIN_LAYER",
    "Blob",
    "LayoutError",
    "Under",
    "descriptor",
    "document",
    "image_config",
    "image_size_bytes",
    "images",
    "list_manifest",
    "manifest",
    "name_image",
    "parts",
    "referrers",
    "transfer",
    "unpack",
    "verify",
    "write_artifact",
    "write_image",
    "write_index",
    "write_layer",
]

_EPOCH = "1970-01-01T00:00:00Z"
list_manifest = _add_to_index = add_to_index


@dataclass(frozen=True)
class Blob:
    """A layer in the layout. `diff_id` is the digest of the plain tar, `digest` that of the stored bytes."""

    media_type: str
    digest: str
    size_bytes: int
    diff_id: str
    plain_bytes: int


@dataclass(frozen=True)
class Under:
    """The layers of an image that others stand on, already in the layout: descriptors, diff_ids and history."""

    descriptors: tuple[Mapping[str, Any], ...] = ()
    diff_ids: tuple[str, ...] = ()
    history: tuple[Mapping[str, Any], ...] = ()


def write_image(
    layout: Path,
    layers: Sequence[Layer],
    *,
    platform: str,
    config: Mapping[str, Any],
    created: str = _EPOCH,
    annotations: Mapping[str, str] | None = None,
    under: Under | None = None,
) -> str:
    """Writes the blobs of an image of `layers` (lowest first) and gives the manifest's digest.

    `platform` is `os/architecture[/variant]`, `config` the OCI config object (Env, Entrypoint, User, ...), `under` the
    layers of a base image below them. The same arguments give the same digest. Nobody sees the image in index.json
    before `name_image`.
    """
    base, blobs = under or Under(), [write_layer(layout, layer) for layer in layers]
    settings = {
        **platform_of(platform),
        "created": created,
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": [*base.diff_ids, *(blob.diff_id for blob in blobs)]},
        "history": [*base.history, *({"created": created, "created_by": layer.comment} for layer in layers)],
    }
    own = [as_descriptor(blob.media_type, blob.digest, blob.size_bytes) for blob in blobs]
    body = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "annotations": dict(annotations or {}),
        "config": write_json(layout, CONFIG, settings),
        "layers": [*base.descriptors, *own],
    }
    return str(write_json(layout, MANIFEST, body)["digest"])


def write_index(layout: Path, digests: Sequence[str], *, annotations: Mapping[str, str] | None = None) -> str:
    """Writes an OCI index over images, each with its platform, and gives its digest.

    LayoutError for one platform twice, and for what has none: an artifact, or another index.
    """
    entries = [{**descriptor(layout, digest), "platform": _platform(layout, digest)} for digest in digests]
    if without := [entry["digest"] for entry in entries if not entry["platform"]]:
        raise LayoutError(f"index: expected images with a platform, found none in {', '.join(without)}")
    entries.sort(key=lambda entry: canonical(entry["platform"]))
    names = ["/".join(entry["platform"].values()) for entry in entries]
    if len(set(names)) != len(names) or not names:
        raise LayoutError(f"index: expected one image for each platform, found {', '.join(names) or 'none'}")
    body = {"schemaVersion": 2, "mediaType": INDEX, "manifests": entries, "annotations": dict(annotations or {})}
    return str(write_json(layout, INDEX, body)["digest"])


def write_artifact(
    layout: Path,
    artifact_type: str,
    blobs: Sequence[tuple[str, bytes]],
    *,
    subject: str = "",
    annotations: Mapping[str, str] | None = None,
) -> str:
    """Writes an artifact of small blobs (media type, bytes) and lists it; gives its manifest's digest.

    With `subject`, the digest of an image or index of the layout, it is a referrer of that (OCI 1.1).
    """
    body = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": artifact_type,
        "config": write_blob(layout, EMPTY, b"{}"),
        "layers": [write_blob(layout, media_type, data) for media_type, data in blobs],
        "annotations": dict(annotations or {}),
        **({"subject": descriptor(layout, subject)} if subject else {}),
    }
    entry = write_json(layout, MANIFEST, body)
    add_to_index(layout, {**entry, "artifactType": artifact_type, "annotations": body["annotations"]})
    return str(entry["digest"])


def name_image(layout: Path, digest: str, name: str) -> None:
    """Lists an image, index or artifact in index.json as `name`. An image that had the name before stays, without it."""
    entry = {**descriptor(layout, digest), "annotations": {REF_NAME: name}}
    platform = _platform(layout, digest)
    add_to_index(layout, {**entry, "platform": platform} if platform else entry)


def write_layer(layout: Path, layer: Layer) -> Blob:
    """The layer as a blob of the layout; written only when no layer of the same key is there."""
    note = layout / ".layers" / f"{layer.key.removeprefix('sha256:')}.json"
    if note.exists():
        blob = Blob(**json.loads(note.read_bytes()))
        if blob_path(layout, blob.digest).exists():
            return blob
    with storing(layout / "blobs" / "sha256"), new_file(layout / ".layers") as out:
        diff_id, plain_bytes = write_layer_bytes(layer, out)
        path = Path(out.name)
        media_type = GZIP_LAYER if layer.compressed else PLAIN_LAYER
        blob = Blob(media_type, hash_file(path), path.stat().st_size, diff_id, plain_bytes)
        keep(out, blob_path(layout, blob.digest))
    write_bytes(note, canonical(asdict(blob)))
    return blob


def descriptor(layout: Path, digest: str) -> dict[str, Any]:
    """The descriptor of a manifest or index."""
    found = document(layout, digest)
    media_type = found.get("mediaType", INDEX if "manifests" in found else MANIFEST)
    return as_descriptor(media_type, digest, len(read_blob(layout, digest)))


def _platform(layout: Path, digest: str) -> dict[str, str]:
    """An image's platform; empty for what is no image."""
    found = document(layout, digest)
    if as_oci(found.get("config", {}).get("mediaType", "")) != CONFIG:
        return {}
    settings = config_of(layout, found["config"]["digest"])
    return {key: settings[key] for key in ("os", "architecture", "variant") if key in settings}


def parts(layout: Path, digest: str) -> list[dict[str, Any]]:
    """Descriptors of all that a manifest or index needs, itself last, each once, what is needed before what needs it."""
    found = document(layout, digest)
    below = [part for child in found.get("manifests", ()) for part in parts(layout, child["digest"])]
    own = [*found.get("layers", ()), *([found["config"]] if "config" in found else ())]
    return list({part["digest"]: part for part in (*below, *own, descriptor(layout, digest))}.values())


def image_size_bytes(layout: Path, digest: str) -> int:
    """All blobs of an image or index, documents included, as stored: what one that has none of them fetches."""
    return sum(int(part["size"]) for part in parts(layout, digest))


def images(layout: Path) -> dict[str, str]:
    """The named images of the layout: name -> manifest digest. Empty where there is no layout yet."""
    entries = read_index(layout)["manifests"]
    return {e["annotations"][REF_NAME]: e["digest"] for e in entries if REF_NAME in e.get("annotations", {})}


def referrers(layout: Path, digest: str, artifact_type: str = "") -> list[dict[str, Any]]:
    """Descriptors of the listed artifacts whose subject is `digest`, of one type or all."""
    entries = {entry["digest"]: entry for entry in read_index(layout)["manifests"]}.values()
    wanted = [entry for entry in entries if artifact_type in ("", entry.get("artifactType", ""))]
    return [e for e in wanted if document(layout, e["digest"]).get("subject", {}).get("digest") == digest]


def verify(layout: Path, digest: str) -> None:
    """Reads every blob of an image or index and compares its digest and size. LayoutError names the first bad one."""
    for part in parts(layout, digest):
        path = existing(layout, part["digest"])
        expected, found = (part["digest"], part["size"]), (hash_file(path), path.stat().st_size)
        if expected != found:
            raise LayoutError(f"{path}: damaged: expected {expected}, found {found}; delete it and pull it again")


def transfer(source: Path, destination: Path, digest: str) -> int:
    """Copies an image, index or artifact to another layout and gives the bytes copied; blobs that are there cost none.

    Interrupted, it goes on where it stopped when called again. Every copied blob is verified before it gets its name;
    documents come after what they name, and index.json last. LayoutError when the source is damaged.
    """
    copied = sum(copy_blob(source, destination, part["digest"]) for part in parts(source, digest))
    known = [e for e in read_index(source)["manifests"] if e["digest"] == digest]
    for entry in known or [descriptor(source, digest)]:
        add_to_index(destination, entry)
    return copied
