"""The manifest under cosign's tag `sha256-<hex>.sig`, one layer for each signature. Two are merged, not overwritten.

A layer is a signed payload; the signature is in its annotation, so the same payload signed by two keys is two layers.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any

from edgeloop_components.package.documents import CONFIG, MANIFEST
from edgeloop_components.registry.documents import Descriptor, Document, digest_of_bytes, read
from edgeloop_components.registry.errors import UnsoundError
from edgeloop_contracts import canonical

__all__ = ["SIGNATURE", "SIMPLE_SIGNING", "merged", "signature_manifest"]

SIMPLE_SIGNING = "application/vnd.dev.cosign.simplesigning.v1+json"
SIGNATURE = "dev.cosignproject.cosign/signature"
MOST_SIGNATURES = 100


def signature_manifest(layers: Sequence[Mapping[str, Any]]) -> tuple[bytes, Document]:
    """The config and the manifest of these signatures."""
    diff_ids = [layer["digest"] for layer in layers]
    rootfs = {"type": "layers", "diff_ids": diff_ids}
    config = canonical({"architecture": "", "os": "", "config": {}, "rootfs": rootfs})
    described = Descriptor(CONFIG, digest_of_bytes(config), len(config)).plain
    body = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": list(layers)}
    return config, read(canonical(body))


def merged(ours: Document, theirs: Document | None) -> tuple[bytes, Document] | None:
    """Config and manifest of their signatures and ours; None when they have ours already."""
    there = _layers(theirs) if theirs else {}
    if len(there) > MOST_SIGNATURES:
        raise UnsoundError(f"signatures: expected at most {MOST_SIGNATURES} of one image, found {len(there)}")
    lacking = {key: layer for key, layer in _layers(ours).items() if key not in there}
    return signature_manifest([*there.values(), *lacking.values()]) if lacking else None


def _layers(document: Document) -> dict[str, Mapping[str, Any]]:
    layers = document.body.get("layers")
    if not isinstance(layers, list) or any(blob.media_type != SIMPLE_SIGNING for blob in document.blobs[1:]):
        raise UnsoundError(f"signatures: expected layers of the type {SIMPLE_SIGNING}, found others")
    return {json.dumps([layer["digest"], (layer.get("annotations") or {}).get(SIGNATURE)]): layer for layer in layers}
