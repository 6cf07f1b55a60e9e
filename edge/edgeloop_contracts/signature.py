"""Verifies signatures with the standard library alone, so that a node needs no crypto package and no network.

One kind of key: EC P-256 with SHA-256, as `cosign` uses it by default. Two kinds of signed text: cosign's claim about an image
(its "simple signing" payload), and an in-toto statement in a DSSE envelope. The curve is in `ecdsa`. Signing is not done here.

Refuses, with SignatureError, text that is not what it should be, and what no trusted key has signed. What is in a payload is
looked at only after its signature held.
"""

from __future__ import annotations

import base64
import binascii
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from typing import Any

from edgeloop_contracts.artifacts import DIGEST, Signature
from edgeloop_contracts.codec import canonical
from edgeloop_contracts.ecdsa import PublicKey, SignatureError, public_keys, signed_by, verify

__all__ = [
    "FILES_PREDICATE",
    "IN_TOTO",
    "SIGNATURE_FILE",
    "STATEMENT",
    "PublicKey",
    "SignatureError",
    "check_files",
    "check_image",
    "files_statement",
    "image_claim",
    "open_claim",
    "open_statement",
    "pae",
    "public_keys",
    "signed_by",
    "signed_digest",
    "subjects",
    "verify",
]

IN_TOTO = "application/vnd.in-toto+json"
STATEMENT = "https://in-toto.io/Statement/v1"
SIGNATURE_FILE = "signature.json"  # in a model folder: the envelope over its other files
FILES_PREDICATE = "https://edgeloop.dev/attestations/model-files/v1"
CLAIM_TYPE = "cosign container image signature"
MOST_BYTES = 16 << 20  # of a payload; the largest honest one is an SBOM


def pae(payload_type: str, payload: bytes) -> bytes:
    """What a DSSE envelope signs: its type and payload with their lengths, so that neither can pass for the other."""
    kind = payload_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def image_claim(digest: str, repository: str) -> bytes:
    """cosign's claim that the image of that digest is the signer's: the bytes that are signed."""
    identity, image = {"docker-reference": repository}, {"docker-manifest-digest": digest}
    return canonical({"critical": {"identity": identity, "image": image, "type": CLAIM_TYPE}, "optional": {}})


def open_claim(payload: bytes, signature: bytes, keys: Iterable[PublicKey]) -> tuple[str, PublicKey]:
    """The digest that a signed claim names, and the trusted key that signed it."""
    key = signed_by(keys, payload, signature)
    critical = _object(_json(payload, "claim").get("critical"), "claim.critical")
    if critical.get("type") != CLAIM_TYPE:
        raise SignatureError(f"claim.critical.type: expected {CLAIM_TYPE!r}, found {str(critical.get('type'))[:60]!r}")
    image = _object(critical.get("image"), "claim.critical.image")
    return _digest(image.get("docker-manifest-digest"), "claim.critical.image.docker-manifest-digest"), key


def signed_digest(signature: Signature) -> str:
    """The digest that a signature's claim names, whether or not a trusted key made it."""
    critical = _object(_json(_unbase64(signature.payload, "payload"), "claim").get("critical"), "claim.critical")
    image = _object(critical.get("image"), "claim.critical.image")
    return _digest(image.get("docker-manifest-digest"), "claim.critical.image.docker-manifest-digest")


def check_image(digest: str, signatures: Iterable[Signature], keys: Sequence[PublicKey]) -> PublicKey:
    """The trusted key that signed the image of that digest. SignatureError, with every reason, when none did."""
    reasons = []
    for one in signatures:
        try:
            payload, made = _unbase64(one.payload, "payload"), _unbase64(one.signature, "signature")
            found, key = open_claim(payload, made, keys)
            if found == digest:
                return key
            reasons.append(f"signature of another image: expected one of {digest}, found one of {found}")
        except SignatureError as error:
            reasons.append(str(error))
    trusted = ", ".join(key.key_id for key in keys) or "none"
    why = "; ".join(reasons) or "it is not signed"
    raise SignatureError(f"image {digest}: expected a signature of a trusted key ({trusted}); {why}")


def open_statement(envelope: Any, keys: Iterable[PublicKey]) -> tuple[dict[str, Any], PublicKey]:
    """The in-toto statement of a DSSE envelope (a JSON object), and the trusted key that signed it."""
    document = _object(envelope, "envelope")
    if document.get("payloadType") != IN_TOTO:
        raise SignatureError(
            f"envelope.payloadType: expected {IN_TOTO}, found {str(document.get('payloadType'))[:60]!r}"
        )
    payload = _unbase64(document.get("payload"), "envelope.payload")
    key = _signer(document.get("signatures"), pae(IN_TOTO, payload), list(keys))
    statement = _json(payload, "statement")
    if statement.get("_type") not in (STATEMENT, "https://in-toto.io/Statement/v0.1"):
        raise SignatureError(f"statement._type: expected {STATEMENT}, found {str(statement.get('_type'))[:60]!r}")
    subjects(statement)
    return statement, key


def _signer(signatures: Any, data: bytes, keys: Sequence[PublicKey]) -> PublicKey:
    if not isinstance(signatures, list) or not 0 < len(signatures) <= 16:
        raise SignatureError("envelope.signatures: expected a list of 1 to 16 signatures, found something else")
    reasons = []
    for i, one in enumerate(signatures):
        where = f"envelope.signatures[{i}]"
        try:
            return signed_by(keys, data, _unbase64(_object(one, where).get("sig"), f"{where}.sig"))
        except SignatureError as error:
            reasons.append(str(error))
    raise SignatureError("; ".join(reasons))


def subjects(statement: Mapping[str, Any]) -> dict[str, str]:
    """What an in-toto statement is about: name -> `sha256:<hex>`."""
    listed = statement.get("subject")
    if not isinstance(listed, list) or not listed:
        raise SignatureError("statement.subject: expected a list of at least one, found something else")
    found: dict[str, str] = {}
    for i, item in enumerate(listed):
        where = f"statement.subject[{i}]"
        one = _object(item, where)
        name, digests = one.get("name", ""), _object(one.get("digest"), f"{where}.digest")
        if not isinstance(name, str) or name in found:
            raise SignatureError(f"{where}.name: expected a text of its own, found {str(name)[:60]!r}")
        found[name] = _digest(f"sha256:{digests.get('sha256')}", f"{where}.digest.sha256")
    return found


def files_statement(files: Mapping[str, str], predicate: Mapping[str, Any]) -> dict[str, Any]:
    """The statement that a folder holds exactly these files: path -> `sha256:<hex>`."""
    listed = [{"name": name, "digest": {"sha256": files[name].removeprefix("sha256:")}} for name in sorted(files)]
    return {"_type": STATEMENT, "subject": listed, "predicateType": FILES_PREDICATE, "predicate": dict(predicate)}


def check_files(envelope: Any, files: Mapping[str, str], keys: Sequence[PublicKey]) -> PublicKey:
    """The trusted key that signed exactly these files: path -> `sha256:<hex>`. SignatureError names each that differs."""
    statement, key = open_statement(envelope, keys)
    if statement.get("predicateType") != FILES_PREDICATE:
        kind = str(statement.get("predicateType"))[:80]
        raise SignatureError(f"statement.predicateType: expected {FILES_PREDICATE}, found {kind!r}")
    signed = subjects(statement)
    for name in sorted({*signed, *files}):
        if (expected := signed.get(name, "no such file")) != (found := files.get(name, "no such file")):
            raise SignatureError(f"{name}: expected {expected}, as it was signed, found {found}")
    return key


def _json(data: bytes, what: str) -> dict[str, Any]:
    try:
        document = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise SignatureError(f"{what}: expected JSON text, found {len(data)} bytes that are not") from error
    return _object(document, what)


def _object(value: Any, where: str) -> dict[str, Any]:
    if not isinstance(value, dict):
        raise SignatureError(f"{where}: expected a JSON object, found {type(value).__name__}")
    return value


def _digest(value: Any, where: str) -> str:
    if not isinstance(value, str) or not re.fullmatch(DIGEST, value):
        raise SignatureError(f"{where}: expected a digest sha256:<64 hex digits>, found {str(value)[:80]!r}")
    return value


def _unbase64(text: Any, where: str) -> bytes:
    try:
        if not isinstance(text, str) or len(text) > MOST_BYTES * 4 // 3:
            raise ValueError("no text, or too long a one")
        return base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise SignatureError(f"{where}: expected base64, found something else ({error})") from error
