"""Signs images of a layout, in both of cosign's formats, and attaches attestations to them; a push takes them along.

The older format is a manifest under the tag `sha256-<hex>.sig`, the newer a sigstore bundle that refers to the image. An index is
signed with every image in it, since nodes pin the image of their platform. The same claim comes back as a `Signature`, which
travels in the Package, so that fleet and node can verify without a registry. Signing again changes nothing.

Refuses a statement that is not about what it is attached to.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeloop_components.package.documents import EMPTY, add_to_index, as_descriptor, write_blob, write_json
from edgeloop_components.package.layout import name_image
from edgeloop_components.registry.documents import signature_tag
from edgeloop_components.registry.layouts import document_of, signatures, tree
from edgeloop_components.registry.sigtag import SIGNATURE, SIMPLE_SIGNING, merged, signature_manifest
from edgeloop_components.signing.bundle import (
    BUNDLE,
    SIGNED,
    bundle,
    bundle_manifest,
    envelope,
    signed_statement,
)
from edgeloop_components.signing.keys import Signer, SigningError
from edgeloop_contracts.artifacts import Signature
from edgeloop_contracts.signature import STATEMENT, SignatureError, image_claim, subjects

__all__ = ["attest", "attest_document", "sign"]

MANIFEST_TYPE = "application/vnd.oci.image.manifest.v1+json"


def sign(layout: Path, digest: str, repository: str, signer: Signer) -> dict[str, Signature]:
    """Signs an image, index or artifact and all documents below it; digest -> the signature."""
    return {document.digest: _sign(layout, document.digest, repository, signer) for document in tree(layout, digest)}


def _sign(layout: Path, digest: str, repository: str, signer: Signer) -> Signature:
    claim = image_claim(digest, repository)
    made = base64.b64encode(signer.sign(claim)).decode()
    _tagged(layout, digest, repository, claim, made)
    _attach(layout, digest, signed_statement(digest, repository), signer)
    return Signature(key_id=signer.public.key_id, payload=base64.b64encode(claim).decode(), signature=made)


def _tagged(layout: Path, digest: str, repository: str, claim: bytes, made: str) -> None:
    """Adds a signature to cosign's older manifest, beside those of other keys."""
    layer = {**write_blob(layout, SIMPLE_SIGNING, claim), "annotations": {SIGNATURE: made}}
    config, document = signature_manifest([layer])
    for theirs in signatures(layout, digest):
        found = merged(document, theirs)
        if found is None:
            return
        config, document = found
    write_blob(layout, "", config)
    write_blob(layout, MANIFEST_TYPE, document.data)
    name_image(layout, document.digest, f"{repository}:{signature_tag(digest)}")


def _attach(layout: Path, digest: str, statement: Mapping[str, Any], signer: Signer) -> str:
    subject = document_of(layout, digest)
    kind = str(statement["predicateType"])
    data = bundle(envelope(statement, signer), signer.public)
    described = as_descriptor(subject.media_type, digest, len(subject.data))
    body = bundle_manifest(described, write_blob(layout, BUNDLE, data), write_blob(layout, EMPTY, b"{}"), kind)
    entry = write_json(layout, MANIFEST_TYPE, body)
    add_to_index(layout, {**entry, "artifactType": BUNDLE, "annotations": body["annotations"]})
    return str(entry["digest"])


def attest(layout: Path, digest: str, statement: Mapping[str, Any], signer: Signer) -> str:
    """Signs an in-toto statement about an image and attaches it; gives the digest of the attestation's manifest."""
    try:
        about = subjects(statement)
    except SignatureError as error:
        raise SigningError(f"attestation of {digest}: {error}") from error
    if digest not in about.values() or statement.get("predicateType") in (None, "", SIGNED):
        raise SigningError(
            f"attestation: expected a statement about {digest} with a predicate type, found one about "
            f"{', '.join(about.values())} of the type {statement.get('predicateType')!r}"
        )
    return _attach(layout, digest, statement, signer)


def attest_document(
    layout: Path, digest: str, predicate_type: str, predicate: Mapping[str, Any], signer: Signer, *, name: str = ""
) -> str:
    """Attaches a document, such as a bill of materials, as a signed statement about the image."""
    subject = {"name": name, "digest": {"sha256": digest.removeprefix("sha256:")}}
    statement = {
        "_type": STATEMENT,
        "subject": [subject],
        "predicateType": predicate_type,
        "predicate": dict(predicate),
    }
    return attest(layout, digest, statement, signer)
