"""Blobs of the catalog: files in the object store named by the sha256 of their content, verified when read."""

from __future__ import annotations

import hashlib
import tempfile
from pathlib import Path

from edgeloop_components.stores.objects import Objects, StoreError

__all__ = ["CatalogError", "blob", "blob_key", "fetch_blob", "put_blob"]


class CatalogError(StoreError):
    """The catalog refuses; the message names the document, what was expected and what was found."""


def put_blob(objects: Objects, path: Path) -> str:
    """Uploads a file and gives its digest `sha256:<hex>`. The same content again changes nothing."""
    with path.open("rb") as stream:
        digest = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
    objects.fput(path, blob_key(digest))
    return digest


def blob(objects: Objects, digest: str) -> bytes:
    """A blob's bytes. NotFound, or CatalogError when they are not what the digest says."""
    data = objects.get(blob_key(digest))
    _check(f"sha256:{hashlib.sha256(data).hexdigest()}", digest)
    return data


def fetch_blob(objects: Objects, digest: str, path: Path) -> None:
    """Writes a blob to a file, which appears only when its bytes are what the digest says. Errors as `blob`."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=path.parent, prefix=".new-") as folder:
        new = Path(folder, path.name)
        objects.fget(blob_key(digest), new)
        with new.open("rb") as stream:
            _check(f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}", digest)
        new.replace(path)


def blob_key(digest: str) -> str:
    """The object's key. CatalogError for what is not a sha256 digest."""
    kind, _, value = digest.partition(":")
    if kind != "sha256" or len(value) != 64 or not set(value) <= set("0123456789abcdef"):
        raise CatalogError(f"blob: expected a digest sha256:<64 hex digits>, found {digest[:80]!r}")
    return f"blobs/sha256/{value}"


def _check(found: str, digest: str) -> None:
    if found != digest:
        raise CatalogError(f"{blob_key(digest)}: damaged: expected {digest}, found {found}; register the version again")
