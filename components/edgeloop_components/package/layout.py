"""An OCI image layout in a folder: images are written into it, read with every digest verified, moved, and unpacked.

Blobs are content-addressed and never rewritten. index.json changes atomically under a file lock, and last, so that a
reader sees a whole image or none. `skopeo` and other tools read the same folder. A layer that was written before is
found by its key (folder `.layers`), so the wheels of a runtime are compressed once for each layout.

Refuses what is not an image manifest of plain or gzip layers, and every damaged blob.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, cast

from edgeloop_components.package.archive import extract
from edgeloop_components.package.blobs import (
    LayoutError,
    blob_path,
    copy_blob,
    existing,
    hash_file,
    keep,
    new_file,
    read_blob,
    write_bytes,
)
from edgeloop_components.package.layers import Layer, write_layer_bytes
from edgeloop_contracts import canonical

__all__ = [
    "Blob",
    "LayoutError",
    "image_config",
    "image_size_bytes",
    "images",
    "manifest",
    "name_image",
    "transfer",
    "unpack",
    "verify",
    "write_image",
    "write_layer",
]

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
PLAIN_LAYER = "application/vnd.oci.image.layer.v1.tar"
GZIP_LAYER = PLAIN_LAYER + "+gzip"
_REF_NAME = "org.opencontainers.image.ref.name"
_UNPACKED_NOTE = ".edgeloop-image"


@dataclass(frozen=True)
class Blob:
    """A layer in the layout. `diff_id` is the digest of the plain tar, `digest` that of the stored bytes."""

    media_type: str
    digest: str
    size_bytes: int
    diff_id: str


def write_image(
    layout: Path,
    layers: Sequence[Layer],
    *,
    platform: str,
    config: Mapping[str, Any],
    created: str = "1970-01-01T00:00:00Z",
    annotations: Mapping[str, str] | None = None,
) -> str:
    """Writes the blobs of an image of `layers` (lowest first) and gives the manifest's digest.

    `platform` is `os/architecture[/variant]`, `config` the OCI config object (Env, Entrypoint, User, ...). The same
    arguments give the same digest. Nobody sees the image in index.json before `name_image`.
    """
    blobs = [write_layer(layout, layer) for layer in layers]
    document = {
        **_platform(platform),
        "created": created,
        "config": dict(config),
        "rootfs": {"type": "layers", "diff_ids": [blob.diff_id for blob in blobs]},
        "history": [{"created": created, "created_by": layer.comment} for layer in layers],
    }
    body = {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "annotations": dict(annotations or {}),
        "config": _write_json(layout, CONFIG, document),
        "layers": [_descriptor(blob.media_type, blob.digest, blob.size_bytes) for blob in blobs],
    }
    return str(_write_json(layout, MANIFEST, body)["digest"])


def name_image(layout: Path, digest: str, name: str) -> None:
    """Lists an image in index.json as `name`. An image that had the name before stays in the layout, without it."""
    document = _read_json(layout, manifest(layout, digest)["config"]["digest"])
    platform = {key: document[key] for key in ("os", "architecture", "variant") if key in document}
    entry = _descriptor(MANIFEST, digest, len(read_blob(layout, digest)))
    _add_to_index(layout, {**entry, "platform": platform, "annotations": {_REF_NAME: name}})


def write_layer(layout: Path, layer: Layer) -> Blob:
    """The layer as a blob of the layout; written only when no layer of the same key is there."""
    note = layout / ".layers" / f"{layer.key.removeprefix('sha256:')}.json"
    if note.exists():
        blob = Blob(**json.loads(note.read_bytes()))
        if blob_path(layout, blob.digest).exists():
            return blob
    with new_file(layout / ".layers") as out:
        diff_id, size_bytes = write_layer_bytes(layer, out)
        blob = Blob(GZIP_LAYER if layer.compressed else PLAIN_LAYER, hash_file(Path(out.name)), size_bytes, diff_id)
        keep(out, blob_path(layout, blob.digest))
    write_bytes(note, canonical(asdict(blob)))
    return blob


def manifest(layout: Path, digest: str) -> dict[str, Any]:
    """The image manifest of that digest. LayoutError when it is something else, an image index for one."""
    document = _read_json(layout, digest)
    if document.get("mediaType", MANIFEST) != MANIFEST or not {"config", "layers"} <= document.keys():
        raise LayoutError(f"{layout}: {digest}: expected an image manifest, found {document.get('mediaType')}")
    return document


def image_config(layout: Path, digest: str) -> dict[str, Any]:
    """The config document of an image: os, architecture, config (Env, Entrypoint, ...), rootfs.diff_ids."""
    return _read_json(layout, manifest(layout, digest)["config"]["digest"])


def image_size_bytes(layout: Path, digest: str) -> int:
    """All blobs of the image, manifest included, as stored: what a node that has none of them fetches."""
    document = manifest(layout, digest)
    parts = [document["config"], *document["layers"]]
    return len(read_blob(layout, digest)) + sum(int(part["size"]) for part in parts)


def images(layout: Path) -> dict[str, str]:
    """The named images of the layout: name -> manifest digest. Empty where there is no layout yet."""
    entries = _read_index(layout)["manifests"]
    return {e["annotations"][_REF_NAME]: e["digest"] for e in entries if _REF_NAME in e.get("annotations", {})}


def verify(layout: Path, digest: str) -> None:
    """Reads every blob of an image and compares its digest and size. LayoutError names the first bad one."""
    document = manifest(layout, digest)
    for part in (document["config"], *document["layers"]):
        path = existing(layout, part["digest"])
        expected, found = (part["digest"], part["size"]), (hash_file(path), path.stat().st_size)
        if expected != found:
            raise LayoutError(f"{path}: damaged: expected {expected}, found {found}; delete it and pull it again")


def transfer(source: Path, destination: Path, digest: str) -> int:
    """Copies an image to another layout and gives the bytes copied; blobs that are there already cost none.

    Interrupted, it goes on where it stopped when called again. Every copied blob is verified before it gets its name;
    the manifest comes after the layers and index.json last. LayoutError when the source is damaged.
    """
    document = manifest(source, digest)
    parts = [part["digest"] for part in (*document["layers"], document["config"])]
    copied = sum(copy_blob(source, destination, part) for part in (*parts, digest))
    known = [e for e in _read_index(source)["manifests"] if e["digest"] == digest]
    for entry in known or [_descriptor(MANIFEST, digest, len(read_blob(source, digest)))]:
        _add_to_index(destination, entry)
    return copied


def unpack(layout: Path, digest: str, folder: Path) -> None:
    """Unpacks an image's layers into `folder`, which appears whole or not at all, with every digest verified.

    Layers are unpacked once (folder `.unpacked` of the layout); `folder` holds hard links to those read-only files, so
    images that share layers share the disk, as they do in a container engine. Does nothing when `folder` holds this
    image already; LayoutError when it holds something else.
    """
    note = folder / _UNPACKED_NOTE
    if folder.exists():
        found = note.read_text() if note.exists() else "something else"
        if found != digest:
            raise LayoutError(f"{folder}: expected no folder or image {digest}, found {found}")
        return
    document, diff_ids = manifest(layout, digest), image_config(layout, digest)["rootfs"]["diff_ids"]
    layers = [_unpacked(layout, part, diff) for part, diff in zip(document["layers"], diff_ids, strict=True)]
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as new:
        root = Path(new, "root")
        for layer in layers:
            shutil.copytree(layer, root, copy_function=_link, dirs_exist_ok=True)
        root.mkdir(exist_ok=True)
        (root / _UNPACKED_NOTE).write_text(digest)
        root.rename(folder)


def _unpacked(layout: Path, part: Mapping[str, Any], diff_id: str) -> Path:
    target = layout / ".unpacked" / blob_path(layout, diff_id).name
    if target.exists():
        return target
    if part["mediaType"] not in (PLAIN_LAYER, GZIP_LAYER):
        raise LayoutError(f"{layout}: layer {part['digest']}: expected a tar layer, found {part['mediaType']}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as new:
        root, gzipped = Path(new, "root"), part["mediaType"] == GZIP_LAYER
        root.mkdir()
        extract(existing(layout, part["digest"]), root, compressed=gzipped, digest=part["digest"], diff_id=diff_id)
        _appear(root, target)
    return target


def _appear(root: Path, target: Path) -> None:
    try:
        root.rename(target)
    except OSError:
        if not target.exists():  # else another process was faster, with the same files
            raise


def _link(source: str, target: str) -> None:
    Path(target).unlink(missing_ok=True)  # a higher layer replaces the file of a lower one
    os.link(source, target)


def _descriptor(media_type: str, digest: str, size_bytes: int) -> dict[str, Any]:
    return {"mediaType": media_type, "digest": digest, "size": size_bytes}


def _platform(text: str) -> dict[str, str]:
    return dict(zip(("os", "architecture", "variant"), text.split("/"), strict=False))


def _read_json(layout: Path, digest: str) -> dict[str, Any]:
    try:
        document = json.loads(read_blob(layout, digest))
    except ValueError as error:
        raise LayoutError(f"{layout}: {digest}: expected a JSON document: {error}") from error
    if not isinstance(document, dict):
        raise LayoutError(f"{layout}: {digest}: expected a JSON object, found {type(document).__name__}")
    return document


def _write_json(layout: Path, media_type: str, document: Mapping[str, Any]) -> dict[str, Any]:
    data = canonical(document)
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    if not blob_path(layout, digest).exists():
        write_bytes(blob_path(layout, digest), data)
    return _descriptor(media_type, digest, len(data))


def _read_index(layout: Path) -> dict[str, Any]:
    path = layout / "index.json"
    if not path.exists():
        return {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
    return cast("dict[str, Any]", json.loads(path.read_bytes()))


def _add_to_index(layout: Path, entry: Mapping[str, Any]) -> None:
    """Adds a manifest under the layout's lock, and takes its name from the image that had it."""
    layout.mkdir(parents=True, exist_ok=True)
    with (layout / ".lock").open("a") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        index = _read_index(layout)
        entries = [*(_renamed(e, entry) for e in index["manifests"]), dict(entry)]
        unique = {(e["digest"], canonical(e.get("annotations", {}))): e for e in entries}
        if not (layout / "oci-layout").exists():
            write_bytes(layout / "oci-layout", canonical({"imageLayoutVersion": "1.0.0"}))
        write_bytes(layout / "index.json", canonical({**index, "manifests": list(unique.values())}))


def _renamed(entry: dict[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """`entry` without its name when `new`, another image, takes it."""
    names = [e.get("annotations", {}).get(_REF_NAME) for e in (entry, new)]
    taken = names[0] is not None and names[0] == names[1] and entry["digest"] != new["digest"]
    return {k: v for k, v in entry.items() if k != "annotations"} if taken else entry
