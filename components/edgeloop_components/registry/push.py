"""Brings an image or artifact, and what refers to it, from a layout to a registry or to another layout.

The order makes it safe to fail anywhere: blobs, documents from the bottom up by digest, then what refers to them (signatures,
attestations, bills of materials), and the tag last. So a tag names a whole, signed image or what it named before; calling again
sends only what lacks. Signatures that others have put there under cosign's tag stay.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from edgeloop_components.package.blobs import LayoutError, existing, read_blob
from edgeloop_components.package.whole import about, whole_or_nothing
from edgeloop_components.registry.documents import Document, signature_tag
from edgeloop_components.registry.errors import RegistryError
from edgeloop_components.registry.layouts import copy_image, locate, name_of, referring, signatures, tree
from edgeloop_components.registry.noted import Noted
from edgeloop_components.registry.progress import Meter, Say, silent
from edgeloop_components.registry.reference import InLayout, Remote, parse
from edgeloop_components.registry.repository import MERGES, Repository
from edgeloop_components.registry.sigtag import merged
from edgeloop_components.registry.transport import Settings
from edgeloop_components.registry.upload import put_blob

__all__ = ["Pushed", "push"]


@dataclass(frozen=True)
class Pushed:
    """What a push did. `sent_bytes` counts blobs and documents, `there_bytes` blobs that were there or were mounted."""

    digest: str
    destination: str
    sent_bytes: int
    there_bytes: int
    referrers: int


def push(
    source: str | Remote | InLayout,
    destination: str | Remote | InLayout,
    *,
    settings: Settings | None = None,
    referrers: bool = True,
    say: Say = silent,
) -> Pushed:
    """Pushes the image `oci:FOLDER[:NAME][@digest]`; without a tag, the destination knows it by digest only.

    RegistryError or LayoutError when it does not go through; the destination's tag then is what it was.
    """
    start = parse(source) if isinstance(source, str) else source
    to = parse(destination) if isinstance(destination, str) else destination
    if not isinstance(start, InLayout):
        raise RegistryError(f"push {start}: expected an image in a layout (oci:FOLDER:NAME); pull it into one first")
    digest = locate(start)
    if to.digest not in ("", digest):
        raise RegistryError(f"push {start}: it has the digest {digest}, the destination asks for {to.digest}")
    if isinstance(to, InLayout):
        with about(f"push {start} to {to}"), whole_or_nothing(to.folder):
            copied = copy_image(start.folder, to.folder, digest, to.name or name_of(start), referrers=referrers)
        return Pushed(digest, str(to), copied, 0, 0)
    noted = Noted(start.folder, to.registry)
    with Repository(to, settings or Settings(), push=True, mounts=noted.others(to.repository)) as repository:
        return _Push(start.folder, repository, noted, say).run(digest, to, referrers=referrers)


class _Push:
    def __init__(self, layout: Path, to: Repository, noted: Noted, say: Say) -> None:
        self._layout, self._to, self._noted, self._say = layout, to, noted, say
        self._there_bytes = self._referrers = 0

    def run(self, digest: str, name: Remote, *, referrers: bool) -> Pushed:
        meter = Meter(self._say, "pushed", str(name))
        images = list(tree(self._layout, digest))
        self._blobs(images, meter)
        for document in images:
            self._to.put_manifest(document, document.digest)
        if referrers:
            for document in images:
                self._refer(document.digest, meter)
        if name.tag:
            self._to.put_manifest(images[-1], name.tag)
        meter.ended(self._there_bytes)
        return Pushed(digest, str(name), self._to.sent_bytes, self._there_bytes, self._referrers)

    def _blobs(self, documents: list[Document], meter: Meter) -> None:
        blobs = {blob.digest: blob for document in documents for blob in document.blobs}
        meter.expect(sum(blob.size for blob in blobs.values()))
        for blob in blobs.values():
            path = existing(self._layout, blob.digest)
            if path.stat().st_size != blob.size:
                raise LayoutError(f"{path}: damaged: expected {blob.size} bytes, found {path.stat().st_size}")
            mount = self._noted.where(blob, self._to.name)
            how = put_blob(self._to, blob, path, mount_from=mount, moved=meter.moved)
            self._there_bytes += blob.size if how != "sent" else 0
            self._noted.note(blob, self._to.name)
        self._noted.keep(self._say)

    def _refer(self, digest: str, meter: Meter) -> None:
        """All that the layout lists as referring to a document, and what refers to that."""
        for referrer in referring(self._layout, digest):
            self._blobs([referrer], meter)
            listed = self._to.put_manifest(referrer, referrer.digest)
            if not listed:
                self._to.refer(digest, referrer.descriptor)
            self._referrers += 1
            self._refer(referrer.digest, meter)
        for ours in signatures(self._layout, digest):
            self._sign(digest, ours)
            self._referrers += 1

    def _sign(self, digest: str, ours: Document) -> None:
        """Puts cosign's older signatures under their tag, beside those that are there."""
        tag = signature_tag(digest)
        for _ in range(MERGES):
            found = merged(ours, self._to.find(tag))
            if found is None:
                return
            config, document = found
            for blob in ours.blobs[1:]:
                self._to.put_bytes(blob.media_type, read_blob(self._layout, blob.digest))
            self._to.put_bytes(document.blobs[0].media_type, config)
            self._to.put_manifest(document, tag)
        raise RegistryError(f"{self._to.where}:{tag}: other writers changed it in between; push again")
