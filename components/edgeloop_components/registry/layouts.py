"""Reads images of a layout as a registry would give them: by name or digest, bottom up, and with what refers to them."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from pathlib import Path

from edgeloop_components.package.blobs import LayoutError, copy_blob, read_blob
from edgeloop_components.package.documents import REF_NAME, add_to_index, read_index
from edgeloop_components.package.layout import images, name_image
from edgeloop_components.package.model import ARTIFACT, modelcar_name
from edgeloop_components.registry.documents import Descriptor, Document, read, signature_tag
from edgeloop_components.registry.errors import UnsoundError
from edgeloop_components.registry.reference import InLayout

__all__ = [
    "check_layout",
    "copy_image",
    "document_of",
    "list_document",
    "locate",
    "name_of",
    "referring",
    "signatures",
    "tree",
]

_VERSION = "1.0.0"  # of layouts
MOST_DEPTH = 4  # of indexes in indexes
_SIGNATURES = re.compile(r":sha256-[0-9a-f]{64}\.sig$")  # names of cosign's older signatures: no images


def locate(name: InLayout) -> str:
    """The digest of an image of a layout.

    Without name and digest the layout must have one named image, beside which what accompanies it may lie: the model as an
    artifact and a modelcar, and the base that it stands on. LayoutError for a folder that is no layout, too.
    """
    check_layout(name.folder, str(name))
    if name.digest:
        return name.digest
    known = {known: digest for known, digest in images(name.folder).items() if not _SIGNATURES.search(known)}
    if name.name in known:
        return known[name.name]
    if not known:
        raise LayoutError(f"{name}: expected an image with a name in it, found none")
    if name.name:
        raise LayoutError(f"{name}: expected one of {', '.join(sorted(known))}, found no such name")
    beside = _companions(name.folder, known)
    meant = {one: digest for one, digest in known.items() if one not in beside} or known
    if len(set(meant.values())) > 1:
        listed = ", ".join(sorted(meant))
        raise LayoutError(f"{name}: expected which image is meant, as {name}:NAME, found several: {listed}")
    return next(iter(meant.values()))


def name_of(name: InLayout) -> str:
    """What the layout calls the image that `name` means: also where none was given."""
    digest = locate(name)
    known = sorted(one for one, its in images(name.folder).items() if its == digest and not _SIGNATURES.search(one))
    return name.name or next(iter(known), "")


def check_layout(folder: Path, what: str) -> None:
    """LayoutError for a folder that is not there, or without the file that marks a layout (`oci-layout`, OCI image-spec)."""
    if not folder.is_dir():
        found = "something else" if folder.exists() else "nothing there"
        raise LayoutError(f"{what}: expected the folder of an image layout at {folder}, found {found}")
    path = folder / "oci-layout"
    try:
        version = json.loads(path.read_bytes())["imageLayoutVersion"]
    except FileNotFoundError as error:
        raise LayoutError(f"{what}: expected an image layout in {folder}, found no file {path}") from error
    except (OSError, ValueError, KeyError, TypeError, RecursionError) as error:
        raise LayoutError(f"{path}: expected a JSON object with imageLayoutVersion, found something else") from error
    if version != _VERSION:
        raise LayoutError(f"{path}: expected imageLayoutVersion {_VERSION}, found {str(version)[:40]!r}")


def _companions(layout: Path, known: Mapping[str, str]) -> set[str]:
    """Names of what lies beside images: models as artifacts and modelcars, and bases that others stand on."""
    documents = {name: tree(layout, digest) for name, digest in known.items()}
    models = {name for name, found in documents.items() if found[-1].body.get("artifactType") == ARTIFACT}
    notes = [one.body.get("annotations") or {} for found in documents.values() for one in found]
    bases = {str(note.get("org.opencontainers.image.base.digest")) for note in notes}
    return models | set(map(modelcar_name, models)) | {name for name, digest in known.items() if digest in bases}


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
