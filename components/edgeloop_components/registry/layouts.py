"""Reads images of a layout as a registry would give them: by name or digest, bottom up, and with what refers to them."""

from __future__ import annotations

import re
from collections.abc import Iterator
from pathlib import Path

from edgeloop_components.package.blobs import LayoutError, copy_blob, read_blob
from edgeloop_components.package.documents import REF_NAME, add_to_index, read_index
from edgeloop_components.package.layout import images, name_image
from edgeloop_components.registry.documents import Descriptor, Document, read, signature_tag
from edgeloop_components.registry.errors import UnsoundError
from edgeloop_components.registry.reference import InLayout

__all__ = ["copy_image", "document_of", "list_document", "locate", "referring", "signatures", "tree"]

MOST_DEPTH = 4  # of indexes in indexes
_SIGNATURES = re.compile(r":sha256-[0-9a-f]{64}\.sig$")  # names of cosign's older signatures: no images


def locate(name: InLayout) -> str:
    """The digest of an image of a layout. Without name and digest the layout must have one named image."""
    if name.digest:
        return name.digest
    known = {known: digest for known, digest in images(name.folder).items() if not _SIGNATURES.search(known)}
    if not name.name and len(set(known.values())) == 1:
        return next(iter(known.values()))
    if name.name not in known:
        raise LayoutError(
            f"{name}: expected one of {', '.join(sorted(known)) or 'no images at all'}, found no such name"
        )
    return known[name.name]


def document_of(layout: Path, digest: str) -> Document:
    """A manifest or index of the layout, verified."""
    return read(read_blob(layout, digest), digest=digest)


def tree(layout: Path, digest: str) -> list[Document]:
    """A document and all documents below it, each once, what is named before what names it."""
    found: dict[str, Document] = {}
    _walk(layout, digest, found, MOST_DEPTH)
    return list(found.values())


def _walk(layout: Path, digest: str, found: dict[str, Document], depth: int) -> None:
    if depth < 0:
        raise UnsoundError(f"{layout}: {digest}: expected at most {MOST_DEPTH} indexes in one another, found more")
    document = document_of(layout, digest)
    for child in document.manifests:
        if child.digest not in found:
            _walk(layout, child.digest, found, depth - 1)
    found[digest] = document


def referring(layout: Path, digest: str) -> Iterator[Document]:
    """The documents listed in index.json whose subject is `digest`."""
    for one in {entry["digest"]: entry for entry in read_index(layout)["manifests"]}:
        found = document_of(layout, one)
        if found.subject is not None and found.subject.digest == digest:
            yield found


def signatures(layout: Path, digest: str) -> Iterator[Document]:
    """The documents that the layout has under cosign's tag for `digest`."""
    for entry in read_index(layout)["manifests"]:
        if str((entry.get("annotations") or {}).get(REF_NAME)).rpartition(":")[2] == signature_tag(digest):
            yield document_of(layout, entry["digest"])


def list_document(layout: Path, document: Document, name: str = "") -> None:
    """Lists a document whose parts are all there: a referrer by its type, another by its name."""
    if name:
        name_image(layout, document.digest, name)
    else:
        add_to_index(layout, document.descriptor.plain)


def copy_image(source: Path, destination: Path, digest: str, name: str, *, referrers: bool) -> int:
    """Copies an image between layouts, and what refers to it first; gives the bytes copied."""
    copied = 0
    for document in tree(source, digest):
        for blob in (*document.blobs, Descriptor(document.media_type, document.digest, len(document.data))):
            copied += copy_blob(source, destination, blob.digest)
        if not referrers:
            continue
        for referrer in referring(source, document.digest):
            copied += copy_image(source, destination, referrer.digest, "", referrers=True)
        for signed in signatures(source, document.digest):
            tag = f"{name.rpartition(':')[0] or 'signatures'}:{signature_tag(document.digest)}"
            copied += copy_image(source, destination, signed.digest, tag, referrers=False)
    list_document(destination, document_of(destination, digest), name)
    return copied
