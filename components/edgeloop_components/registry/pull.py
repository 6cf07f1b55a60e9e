"""Brings an image, index or artifact from a registry, or from another layout, into a layout.

Everything is compared with its digest before it gets its name; documents come after what they name, and index.json last. An
interrupted pull goes on where it stopped, within a blob too. What the layout has is not asked for.
"""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path

from edgeloop_components.package.blobs import blob_path, write_bytes
from edgeloop_components.package.documents import usual_platform
from edgeloop_components.package.whole import about, whole_or_nothing
from edgeloop_components.registry.documents import Descriptor, Document, signature_tag
from edgeloop_components.registry.download import get_blob
from edgeloop_components.registry.errors import MissingError, UnsoundError
from edgeloop_components.registry.layouts import (
    MOST_DEPTH,
    copy_image,
    document_of,
    list_document,
    locate,
    name_of,
)
from edgeloop_components.registry.progress import Meter, Say, silent
from edgeloop_components.registry.reference import InLayout, Remote, parse
from edgeloop_components.registry.repository import Repository
from edgeloop_components.registry.transport import Settings

__all__ = ["pull"]

MOST_DOCUMENTS = 1000  # of one image
MOST_REFERRERS, MOST_REFERRER_BYTES = 500, 256 << 20  # of all that refers to one image


def pull(
    source: str | Remote | InLayout,
    layout: Path,
    *,
    platform: str = "",
    name: str = "",
    referrers: bool = False,
    evidence: bool = False,
    settings: Settings | None = None,
    say: Say = silent,
) -> str:
    """Gives the digest of what came into `layout`, where it is listed as `name` (default: `<repository>:<tag>`).

    With `platform`, of an index only the image for it comes, and its digest is given. With `referrers`, signatures and all
    else that refers to it come too; with `evidence` these, and of the image the documents alone. RegistryError when it
    does not go through.
    """
    start = parse(source) if isinstance(source, str) else source
    with about(f"pull {start}"), whole_or_nothing(layout):
        if isinstance(start, InLayout):
            digest = _fitting(document_of(start.folder, locate(start)), platform, str(start))
            copy_image(start.folder, layout, digest, name or name_of(start), referrers=referrers)
            return digest
        if not (start.tag or start.digest):
            raise MissingError(f"pull {start}: expected a tag or a digest")
        called = name or (f"{start.repository}:{start.tag}" if start.tag else "")
        with Repository(start, settings or Settings()) as repository:
            return _Pull(repository, layout, Meter(say, "pulled", str(start))).run(
                start, platform, called, referrers=referrers, evidence=evidence
            )


class _Pull:
    def __init__(self, source: Repository, layout: Path, meter: Meter) -> None:
        self._from, self._layout, self._meter = source, layout, meter
        self._there_bytes, self._left, self._left_bytes = 0, MOST_REFERRERS, MOST_REFERRER_BYTES

    def run(self, name: Remote, platform: str, called: str, *, referrers: bool, evidence: bool) -> str:
        root = self._document(name.digest or name.tag)
        fitting = _fitting(root, platform, str(name))
        wanted = root if fitting == root.digest else self._document(fitting)
        known = self._known(wanted)
        blobs = {blob.digest: blob for document in known for blob in document.blobs}
        self._blobs(blobs.values() if not evidence else ())
        for document in known:
            self._keep(document)
        for document in known if referrers or evidence else ():
            self._referrers(document.digest, called.rpartition(":")[0] or name.repository)
        if not evidence:
            list_document(self._layout, wanted, called)
        self._meter.ended(self._there_bytes)
        return wanted.digest

    def _document(self, reference: str) -> Document:
        """From the layout when it is there: a digest means the same everywhere."""
        if reference.startswith("sha256:") and blob_path(self._layout, reference).exists():
            return document_of(self._layout, reference)
        return self._from.manifest(reference)

    def _known(self, root: Document) -> list[Document]:
        """`root` and all documents below it, each once, what is named before what names it."""
        found: dict[str, Document] = {}
        self._walk(root, found, MOST_DEPTH)
        return list(found.values())

    def _walk(self, document: Document, found: dict[str, Document], depth: int) -> None:
        for child in document.manifests:
            if depth == 0 or len(found) > MOST_DOCUMENTS:
                raise UnsoundError(
                    f"{self._from.where}: expected at most {MOST_DOCUMENTS} documents, {MOST_DEPTH} deep, found more"
                )
            if child.digest not in found:
                self._walk(self._document(child.digest), found, depth - 1)
        found[document.digest] = document

    def _blobs(self, blobs: Iterable[Descriptor]) -> None:
        lacking = [blob for blob in blobs if not blob_path(self._layout, blob.digest).exists()]
        self._there_bytes += sum(blob.size for blob in blobs) - sum(blob.size for blob in lacking)
        self._meter.expect(sum(blob.size for blob in lacking))
        for blob in lacking:
            get_blob(self._from, blob, self._layout, moved=self._meter.moved)

    def _keep(self, document: Document) -> None:
        path = blob_path(self._layout, document.digest)
        if not path.exists():
            write_bytes(path, document.data)

    def _referrers(self, digest: str, repository: str) -> None:
        """Signatures and whatever else refers to a document, and to that in turn."""
        waiting, seen = [digest], {digest}
        while waiting:
            for one in self._from.referrers(waiting.pop()):
                if one.digest not in seen:
                    seen.add(one.digest)
                    waiting.append(one.digest)
                    self._take(self._document(one.digest), "")
        if tagged := self._from.find(signature_tag(digest)):
            self._take(tagged, f"{repository}:{signature_tag(digest)}")

    def _take(self, root: Document, name: str) -> None:
        """One artifact, or an index of them."""
        for document in self._known(root):
            self._left_bytes -= len(document.data) + sum(blob.size for blob in document.blobs)
            self._left -= 1
            if self._left_bytes < 0 or self._left < 0:
                raise UnsoundError(
                    f"{self._from.where}: expected at most {MOST_REFERRERS} artifacts of together {MOST_REFERRER_BYTES} "
                    "bytes that refer to the image, found more; pull it without referrers"
                )
            self._blobs(document.blobs)
            self._keep(document)
        list_document(self._layout, root, name)


def _fitting(document: Document, platform: str, what: str) -> str:
    """The digest of the image for a platform, of an index; of all, where no platform is asked for."""
    if not platform or not document.manifests:
        return document.digest
    fitting = [
        child.digest for child in document.manifests if usual_platform(child.platform) == usual_platform(platform)
    ]
    if not fitting:
        raise MissingError(f"{what}: expected an image for {platform}, found {_platforms(document)}")
    return fitting[0]


def _platforms(index: Document) -> str:
    return ", ".join(sorted({child.platform or "one without a platform" for child in index.manifests})) or "none"
