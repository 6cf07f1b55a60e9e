"""Signs a package: its image, its index, its model's artifact and modelcar; and turns what is known of it into attestations.

The signatures come back in the Package, so that the rollout and the fleet can verify without a registry; its bills of materials,
which the package step attached as plain documents, are attached once more as signed statements.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeloop_components.package import layout as oci
from edgeloop_components.package.blobs import read_blob
from edgeloop_components.signing.keys import Signer
from edgeloop_components.signing.sign import attest, attest_document, sign
from edgeloop_contracts import Package
from edgeloop_contracts.artifacts import Signature

__all__ = ["PREDICATES", "sign_package"]

PREDICATES = {
    "application/spdx+json": "https://spdx.dev/Document",
    "application/vnd.cyclonedx+json": "https://cyclonedx.org/bom",
}


def sign_package(
    layout: Path, package: Package, signer: Signer, *, statements: Sequence[Mapping[str, Any]] = ()
) -> Package:
    """The package with its signatures, all of it signed in `layout`. `statements`, as of provenance, are about its image."""
    made: dict[str, Signature] = {}
    for digest in (package.digest, package.index, package.model_artifact, package.modelcar):
        made.update(sign(layout, digest, package.repository, signer) if digest else {})
    for kind, predicate_type in PREDICATES.items():
        for entry in oci.referrers(layout, package.digest, kind):
            document = _document(layout, entry["digest"])
            attest_document(layout, package.digest, predicate_type, document, signer, name=package.repository)
    for statement in statements:
        attest(layout, package.digest, statement, signer)
    return replace(package, signatures=tuple(made[digest] for digest in sorted(made)))


def _document(layout: Path, digest: str) -> dict[str, Any]:
    """The one JSON document of an artifact."""
    (layer,) = oci.document(layout, digest)["layers"]
    found = json.loads(read_blob(layout, layer["digest"]))
    assert isinstance(found, dict)  # this project's own package step wrote it
    return found
