"""Reads manifests and indexes that came from outside, as exact bytes: their digest is that of what the registry gave.

Takes OCI's kinds and Docker's. Refuses, with UnsoundError: bytes that are not the digest asked for, documents above 4 MiB,
what is neither a manifest nor an index, descriptors of another form, more parts than any image has, layers that lie elsewhere.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from edgeloop_components.package.documents import INDEX, MANIFEST
from edgeloop_components.registry.errors import UnsoundError

__all__ = ["ACCEPT", "MOST_BYTES", "Descriptor", "Document", "digest_of_bytes", "fallback_tag", "read", "signature_tag"]

MOST_BYTES = 4 << 20  # the distribution specification lets a registry refuse larger ones
MOST_PARTS = 1000
MOST_BLOB_BYTES = 1 << 40
_DOCKER = "application/vnd.docker.distribution.manifest."
_MANIFESTS, _INDEXES = (MANIFEST, f"{_DOCKER}v2+json"), (INDEX, f"{_DOCKER}list.v2+json")
ACCEPT = ", ".join((*_MANIFESTS, *_INDEXES))
_TYPE = re.compile(r"[A-Za-z0-9][A-Za-z0-9!#$&^_.+-]{0,126}/[A-Za-z0-9][A-Za-z0-9!#$&^_.+;= -]{0,126}")
_PLATFORM = ("os", "architecture", "variant")


@dataclass(frozen=True)
class Descriptor:
    """What a document says of another blob or document."""

    media_type: str
    digest: str
    size: int
    platform: str = ""
    artifact_type: str = ""
    annotations: Mapping[str, str] = field(default_factory=dict)

    @property
    def plain(self) -> dict[str, Any]:
        """As JSON."""
        optional = {"artifactType": self.artifact_type, "annotations": dict(self.annotations)}
        kept = {key: value for key, value in optional.items() if value}
        return {"mediaType": self.media_type, "digest": self.digest, "size": self.size, **kept}


@dataclass(frozen=True)
class Document:
    """A manifest (`blobs`: config and layers) or an index (`manifests`), and the bytes that it is."""

    data: bytes
    body: Mapping[str, Any]
    media_type: str
    manifests: tuple[Descriptor, ...] = ()
    blobs: tuple[Descriptor, ...] = ()
    subject: Descriptor | None = None

    @property
    def digest(self) -> str:
        return digest_of_bytes(self.data)

    @property
    def descriptor(self) -> Descriptor:
        """As an index of referrers lists it."""
        config = self.body.get("config")
        kind = self.body.get("artifactType") or (config.get("mediaType") if isinstance(config, dict) else "")
        return Descriptor(
            self.media_type,
            self.digest,
            len(self.data),
            artifact_type=str(kind or "") if self.subject else "",
            annotations=_texts(self.body.get("annotations") or {}, "annotations") if self.subject else {},
        )


def digest_of_bytes(data: bytes) -> str:
    return f"sha256:{hashlib.sha256(data).hexdigest()}"


def fallback_tag(digest: str) -> str:
    """The tag under which an index lists the referrers of `digest`, where the registry has no API for it."""
    return digest.replace(":", "-")


def signature_tag(digest: str) -> str:
    """The tag under which cosign keeps its older kind of signatures."""
    return f"{fallback_tag(digest)}.sig"


def read(data: bytes, media_type: str = "", digest: str = "") -> Document:
    """A document from its bytes. `media_type` is what the registry says of it, `digest` what it must be."""
    if len(data) > MOST_BYTES:
        raise UnsoundError(f"manifest {digest or 'of the tag'}: expected at most {MOST_BYTES} bytes, found more")
    if digest and (found := digest_of_bytes(data)) != digest:
        raise UnsoundError(f"manifest: expected {digest}, found bytes with the digest {found}")
    try:
        body = json.loads(data)
    except (ValueError, RecursionError) as error:
        raise UnsoundError(
            f"manifest {digest or 'of the tag'}: expected JSON, found {len(data)} bytes that are not"
        ) from error
    if not isinstance(body, dict):
        raise UnsoundError(f"manifest {digest or 'of the tag'}: expected a JSON object, found {type(body).__name__}")
    return _document(data, body, media_type.partition(";")[0].strip())


def _document(data: bytes, body: Mapping[str, Any], said: str) -> Document:
    known = said if said in (*_MANIFESTS, *_INDEXES) else ""
    guessed = INDEX if "manifests" in body else MANIFEST
    kind = body.get("mediaType") or known or guessed
    if kind not in (*_MANIFESTS, *_INDEXES) or (known and kind != known):
        wanted = known or "an image manifest or index"
        raise UnsoundError(f"manifest: expected {wanted}, found a document of the type {str(kind)[:100]!r}")
    subject = _descriptor(body["subject"], "subject") if body.get("subject") is not None else None
    if kind in _INDEXES:
        return Document(data, body, str(kind), manifests=_list(body.get("manifests"), "manifests"), subject=subject)
    blobs = (_descriptor(body.get("config"), "config"), *_list(body.get("layers"), "layers"))
    return Document(data, body, str(kind), blobs=blobs, subject=subject)


def _list(value: Any, where: str) -> tuple[Descriptor, ...]:
    if not isinstance(value, list) or len(value) > MOST_PARTS:
        raise UnsoundError(f"manifest: {where}: expected a list of at most {MOST_PARTS}, found something else")
    return tuple(_descriptor(item, f"{where}[{i}]") for i, item in enumerate(value))


def _descriptor(value: Any, where: str) -> Descriptor:
    if not isinstance(value, dict):
        raise UnsoundError(f"manifest: {where}: expected a descriptor, found {type(value).__name__}")
    kind, digest, size = (value.get(key) for key in ("mediaType", "digest", "size"))
    checks = {
        "a media type": isinstance(kind, str) and _TYPE.fullmatch(kind) is not None,
        "a digest sha256:<64 hex digits>": isinstance(digest, str)
        and re.fullmatch("sha256:[0-9a-f]{64}", digest) is not None,
        f"a size of 0 to {MOST_BLOB_BYTES} bytes": type(size) is int and 0 <= size <= MOST_BLOB_BYTES,
        "no urls: layers that lie elsewhere are not fetched": not value.get("urls"),
    }
    if bad := [what for what, good in checks.items() if not good]:
        raise UnsoundError(f"manifest: {where}: expected {'; '.join(bad)}; found something else")
    artifact = value.get("artifactType") or ""
    if not isinstance(artifact, str):
        raise UnsoundError(f"manifest: {where}.artifactType: expected a media type, found {type(artifact).__name__}")
    annotations = _texts(value.get("annotations") or {}, f"{where}.annotations")
    assert isinstance(kind, str)
    assert isinstance(digest, str)
    assert isinstance(size, int)
    return Descriptor(kind, digest, size, _platform(value.get("platform")), artifact, annotations)


def _texts(value: Any, where: str) -> dict[str, str]:
    if not isinstance(value, dict) or not all(isinstance(item, str) for item in value.values()):
        raise UnsoundError(f"manifest: {where}: expected texts by name, found something else")
    return dict(value)


def _platform(value: Any) -> str:
    words = [value.get(key) for key in _PLATFORM] if isinstance(value, dict) else []
    return "/".join(word for word in words if isinstance(word, str) and word)
