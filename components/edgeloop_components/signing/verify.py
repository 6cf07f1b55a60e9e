"""Verifies what is signed: images by cosign's signatures, in either format, and what attestations say of them.

Nothing is asked of the network but the registry: no transparency log, no certificate authority. A signature counts when a trusted
key made it and it names this digest; another predicate than cosign's own does not make an attestation a signature.

Refuses, with SignatureError, with every reason, an image that no trusted key has signed.
"""

from __future__ import annotations

import base64
import binascii
import tempfile
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeloop_components.package.blobs import read_blob
from edgeloop_components.registry.documents import Descriptor, signature_tag
from edgeloop_components.registry.layouts import copy_image, locate, referring, signatures
from edgeloop_components.registry.pull import pull
from edgeloop_components.registry.reference import InLayout, Remote, parse
from edgeloop_components.registry.sigtag import SIGNATURE
from edgeloop_components.registry.transport import Settings
from edgeloop_components.signing.bundle import BUNDLES, PREDICATE_ANNOTATION, SIGNED, open_bundle
from edgeloop_contracts.ecdsa import PublicKey, SignatureError
from edgeloop_contracts.signature import open_claim, open_statement, subjects

__all__ = ["Attestation", "Verified", "attestations", "copy_signatures", "require", "verify", "verify_layout"]

MOST_CLAIM_BYTES, MOST_BUNDLE_BYTES = 1 << 20, 32 << 20


@dataclass(frozen=True)
class Verified:
    """A signature that holds. `form`: `tag` (the older format) or `bundle`."""

    digest: str
    key_id: str
    form: str


@dataclass(frozen=True)
class Attestation:
    """A signed statement about an image."""

    predicate_type: str
    predicate: Any
    key_id: str


def verify(
    image: str | Remote | InLayout, keys: Sequence[PublicKey], *, settings: Settings | None = None
) -> tuple[str, list[Verified], list[Attestation]]:
    """The digest of an image in a registry or layout, its signatures that hold, and its attestations.

    SignatureError when no trusted key has signed it.
    """
    place = parse(image) if isinstance(image, str) else image
    if isinstance(place, InLayout):
        digest = locate(place)
        return digest, verify_layout(place.folder, digest, keys), attestations(place.folder, digest, keys)
    with tempfile.TemporaryDirectory() as folder:
        layout = Path(folder)
        digest = pull(place, layout, evidence=True, settings=settings)
        return digest, verify_layout(layout, digest, keys), attestations(layout, digest, keys)


def verify_layout(layout: Path, digest: str, keys: Sequence[PublicKey]) -> list[Verified]:
    """The signatures of `digest` in a layout that hold. SignatureError when none does."""
    found, reasons = [], []
    for form, check in (("tag", _claims), ("bundle", _statements)):
        for one in check(layout, digest, keys):
            if isinstance(one, PublicKey):
                found.append(Verified(digest, one.key_id, form))
            else:
                reasons.append(one)
    if not found:
        trusted = ", ".join(key.key_id for key in keys) or "none"
        why = "; ".join(dict.fromkeys(reasons)) or "it is not signed"
        raise SignatureError(f"image {digest}: expected a signature of a trusted key ({trusted}); {why}")
    return found


def attestations(layout: Path, digest: str, keys: Sequence[PublicKey]) -> list[Attestation]:
    """What trusted keys have said of an image. What others said is left out."""
    found = []
    for envelope in _envelopes(layout, digest):
        try:
            statement, key = open_statement(envelope, keys)
            about = subjects(statement)
        except SignatureError:
            continue
        if digest in about.values() and statement.get("predicateType") != SIGNED:
            found.append(Attestation(str(statement.get("predicateType")), statement.get("predicate"), key.key_id))
    return found


def require(digest: str, found: Sequence[Attestation], predicate_types: Sequence[str]) -> None:
    """SignatureError when a statement of one of these types is not among those found."""
    there = sorted({one.predicate_type for one in found})
    if lacking := [kind for kind in predicate_types if kind not in there]:
        raise SignatureError(
            f"image {digest}: expected signed statements of the type {', '.join(lacking)}, found {', '.join(there) or 'none'}"
        )


def copy_signatures(source: Path, destination: Path, digest: str) -> int:
    """Copies an image's signatures, and nothing else that refers to it, between layouts; gives the bytes copied."""
    copied = 0
    for document in signatures(source, digest):
        copied += copy_image(
            source, destination, document.digest, f"signatures:{signature_tag(digest)}", referrers=False
        )
    for document in referring(source, digest):
        if document.descriptor.annotations.get(PREDICATE_ANNOTATION) == SIGNED:
            copied += copy_image(source, destination, document.digest, "", referrers=False)
    return copied


def _claims(layout: Path, digest: str, keys: Sequence[PublicKey]) -> Iterator[PublicKey | str]:
    """Of each signature in the older format, the key, or why it does not count."""
    for document in signatures(layout, digest):
        for blob in document.blobs[1:]:
            try:
                payload = _bounded(layout, blob, MOST_CLAIM_BYTES)
                named, key = open_claim(payload, _signature(blob), keys)
            except SignatureError as error:
                yield str(error)
                continue
            yield key if named == digest else f"a signature of another image, {named}"


def _statements(layout: Path, digest: str, keys: Sequence[PublicKey]) -> Iterator[PublicKey | str]:
    """Of each bundle that refers to the image, the key, or why it does not count."""
    for envelope in _envelopes(layout, digest):
        try:
            statement, key = open_statement(envelope, keys)
            about = subjects(statement)
        except SignatureError as error:
            yield str(error)
            continue
        if statement.get("predicateType") == SIGNED:
            yield key if digest in about.values() else f"a signature of another image, {', '.join(about.values())}"


def _envelopes(layout: Path, digest: str) -> Iterator[Any]:
    for document in referring(layout, digest):
        kind = document.body.get("artifactType") or ""
        if not str(kind).startswith(BUNDLES):
            continue
        for blob in document.blobs[1:]:
            try:
                yield open_bundle(_bounded(layout, blob, MOST_BUNDLE_BYTES))
            except SignatureError:
                yield None  # reported by who opens it


def _bounded(layout: Path, blob: Descriptor, most_bytes: int) -> bytes:
    if blob.size > most_bytes:
        raise SignatureError(f"signature {blob.digest}: expected at most {most_bytes} bytes, found {blob.size}")
    return read_blob(layout, blob.digest)


def _signature(blob: Descriptor) -> bytes:
    try:
        return base64.b64decode(blob.annotations.get(SIGNATURE, ""), validate=True)
    except (ValueError, binascii.Error) as error:
        raise SignatureError(f"signature {blob.digest}: expected base64 in {SIGNATURE}") from error
