"""The documents that carry signatures: DSSE envelopes, and the sigstore bundle (v0.3) that cosign attaches as a referrer. Pure.

A bundle says which key by the hint in `publicKey`; there is no certificate and no transparency log in it.

Refuses, with SignatureError, bundles of another form.
"""

from __future__ import annotations

import base64
import hashlib
import json
from collections.abc import Mapping
from typing import Any

from edgeloop_components.package.documents import EMPTY, MANIFEST
from edgeloop_components.signing.keys import Signer
from edgeloop_contracts import canonical
from edgeloop_contracts.ecdsa import PublicKey, SignatureError
from edgeloop_contracts.signature import IN_TOTO, STATEMENT, pae

__all__ = ["BUNDLE", "SIGNED", "bundle", "bundle_manifest", "envelope", "open_bundle", "signed_statement"]

BUNDLE = "application/vnd.dev.sigstore.bundle.v0.3+json"
BUNDLES = "application/vnd.dev.sigstore.bundle"
SIGNED = "https://sigstore.dev/cosign/sign/v1"  # the predicate type of "this image is mine"
PREDICATE_ANNOTATION = "dev.sigstore.bundle.predicateType"


def envelope(statement: Mapping[str, Any], signer: Signer) -> dict[str, Any]:
    """The statement, signed, in a DSSE envelope."""
    payload = canonical(statement)
    signature = _text(signer.sign(pae(IN_TOTO, payload)))
    return {"payload": _text(payload), "payloadType": IN_TOTO, "signatures": [{"sig": signature}]}


def signed_statement(digest: str, repository: str) -> dict[str, Any]:
    """The statement that an image is the signer's."""
    subject = {"name": repository, "digest": {"sha256": digest.removeprefix("sha256:")}}
    return {"_type": STATEMENT, "subject": [subject], "predicateType": SIGNED, "predicate": {}}


def bundle(signed: Mapping[str, Any], key: PublicKey) -> bytes:
    """A sigstore bundle of an envelope."""
    hint = _text(hashlib.sha256(key.der).digest())
    material = {"publicKey": {"hint": hint}}
    return canonical({"mediaType": BUNDLE, "verificationMaterial": material, "dsseEnvelope": dict(signed)})


def bundle_manifest(
    subject: Mapping[str, Any], layer: Mapping[str, Any], empty: Mapping[str, Any], predicate_type: str
) -> dict[str, Any]:
    """The manifest that attaches a bundle (`layer`) to `subject`."""
    assert empty["mediaType"] == EMPTY
    return {
        "schemaVersion": 2,
        "mediaType": MANIFEST,
        "artifactType": BUNDLE,
        "config": dict(empty),
        "layers": [dict(layer)],
        "subject": dict(subject),
        "annotations": {
            "dev.sigstore.bundle.content": "dsse-envelope",
            PREDICATE_ANNOTATION: predicate_type,
        },
    }


def open_bundle(data: bytes) -> dict[str, Any]:
    """The DSSE envelope of a sigstore bundle. Its signature is not looked at here."""
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise SignatureError(f"bundle: expected JSON, found {len(data)} bytes that are not") from error
    kind = document.get("mediaType") if isinstance(document, dict) else None
    if not isinstance(kind, str) or not kind.startswith(BUNDLES):
        raise SignatureError(f"bundle.mediaType: expected {BUNDLE}, found {str(kind)[:80]!r}")
    found = document.get("dsseEnvelope")
    if not isinstance(found, dict):
        raise SignatureError("bundle.dsseEnvelope: expected an envelope, found none")
    return found


def _text(data: bytes) -> str:
    return base64.b64encode(data).decode()
