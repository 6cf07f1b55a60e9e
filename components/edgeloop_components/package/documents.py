"""The JSON documents of an OCI image layout: manifests, configs and indexes by digest, and index.json that lists them.

index.json changes atomically under a file lock, and last, so that a reader sees a whole image or none.
"""

from __future__ import annotations

import fcntl
import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from typing import Any, cast

from edgeloop_components.package.blobs import LayoutError, blob_path, existing, read_blob, storing, write_bytes
from edgeloop_contracts import canonical

__all__ = [
    "CONFIG",
    "EMPTY",
    "GZIP_LAYER",
    "INDEX",
    "MANIFEST",
    "PLAIN_LAYER",
    "REF_NAME",
    "add_to_index",
    "as_descriptor",
    "as_oci",
    "platform_of",
    "read_index",
    "read_json",
    "write_blob",
    "write_json",
]

MANIFEST = "application/vnd.oci.image.manifest.v1+json"
CONFIG = "application/vnd.oci.image.config.v1+json"
INDEX = "application/vnd.oci.image.index.v1+json"
PLAIN_LAYER = "application/vnd.oci.image.layer.v1.tar"
GZIP_LAYER = PLAIN_LAYER + "+gzip"
EMPTY = "application/vnd.oci.empty.v1+json"
REF_NAME = "org.opencontainers.image.ref.name"
_OCI = {  # what Docker calls the same documents and layers, of which many registries are full
    "application/vnd.docker.distribution.manifest.v2+json": MANIFEST,
    "application/vnd.docker.distribution.manifest.list.v2+json": INDEX,
    "application/vnd.docker.container.image.v1+json": CONFIG,
    "application/vnd.docker.image.rootfs.diff.tar.gzip": GZIP_LAYER,
    "application/vnd.docker.image.rootfs.diff.tar": PLAIN_LAYER,
}
MOST_DOCUMENT_BYTES = 16 << 20  # of a manifest, an index or a config; layers are streamed


def as_descriptor(media_type: str, digest: str, size_bytes: int, **more: Any) -> dict[str, Any]:
    """An OCI descriptor."""
    return {"mediaType": media_type, "digest": digest, "size": size_bytes, **more}


def as_oci(media_type: str) -> str:
    """OCI's media type where Docker has another for the same bytes; any other as it is."""
    return _OCI.get(media_type, media_type)


def platform_of(text: str) -> dict[str, str]:
    """`os/architecture[/variant]` as an OCI platform object."""
    return dict(zip(("os", "architecture", "variant"), text.split("/"), strict=False))


def usual_platform(text: str) -> str:
    """The platform as it is mostly written: v8 is what arm64 means where no variant is said (OCI image index, variants)."""
    return "linux/arm64" if text == "linux/arm64/v8" else text


def read_json(layout: Path, digest: str) -> dict[str, Any]:
    """A JSON object by digest. LayoutError when it is none, or above MOST_DOCUMENT_BYTES."""
    size_bytes = existing(layout, digest).stat().st_size
    if size_bytes > MOST_DOCUMENT_BYTES:
        raise LayoutError(
            f"{layout}: {digest}: expected a document of at most {MOST_DOCUMENT_BYTES} bytes, found {size_bytes}"
        )
    try:
        document = json.loads(read_blob(layout, digest))
    except (ValueError, RecursionError) as error:
        raise LayoutError(f"{layout}: {digest}: expected a JSON document: {error}") from error
    if not isinstance(document, dict):
        raise LayoutError(f"{layout}: {digest}: expected a JSON object, found {type(document).__name__}")
    return document


def write_blob(layout: Path, media_type: str, data: bytes) -> dict[str, Any]:
    """Stores small bytes; gives their descriptor."""
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    if not blob_path(layout, digest).exists():
        write_bytes(blob_path(layout, digest), data)
    return as_descriptor(media_type, digest, len(data))


def write_json(layout: Path, media_type: str, document: Mapping[str, Any]) -> dict[str, Any]:
    """Stores a document in canonical form; gives its descriptor."""
    return write_blob(layout, media_type, canonical(document))


def read_index(layout: Path) -> dict[str, Any]:
    """index.json; an empty one where there is no layout yet."""
    path = layout / "index.json"
    if not path.exists():
        return {"schemaVersion": 2, "mediaType": INDEX, "manifests": []}
    try:
        index = json.loads(path.read_bytes())
        sound = all(isinstance(entry["digest"], str) for entry in index["manifests"])
    except (ValueError, KeyError, TypeError, RecursionError):
        sound = False
    if not sound:
        raise LayoutError(f"{path}: expected the index of an image layout, found something else: make the layout anew")
    return cast("dict[str, Any]", index)


def add_to_index(layout: Path, entry: Mapping[str, Any]) -> None:
    """Adds a manifest under the layout's lock, and takes its name from the image that had it."""
    with storing(layout / "index.json"):
        layout.mkdir(parents=True, exist_ok=True)
        lock = (layout / ".lock").open("a")
    with lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        index = read_index(layout)
        entries = [*(_renamed(e, entry) for e in index["manifests"]), dict(entry)]
        unique = {(e["digest"], canonical(e.get("annotations", {}))): e for e in entries}
        if not (layout / "oci-layout").exists():
            write_bytes(layout / "oci-layout", canonical({"imageLayoutVersion": "1.0.0"}))
        write_bytes(layout / "index.json", canonical({**index, "manifests": list(unique.values())}))


def _renamed(entry: dict[str, Any], new: Mapping[str, Any]) -> dict[str, Any]:
    """`entry` without its name when `new`, another image, takes it."""
    names = [e.get("annotations", {}).get(REF_NAME) for e in (entry, new)]
    taken = names[0] is not None and names[0] == names[1] and entry["digest"] != new["digest"]
    return {k: v for k, v in entry.items() if k != "annotations"} if taken else entry
