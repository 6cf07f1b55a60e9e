"""Signs a package: its image, its index, its model's artifact and modelcar; and turns what is known of it into attestations.

The signatures come back in the Package, so that the rollout and the fleet can verify without a registry; its bills of materials,
which the package step attached as plain documents, are attached once more as signed statements.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeloop_components.package.sbom import CYCLONEDX, SPDX, attached
from edgeloop_components.signing.keys import Signer
from edgeloop_components.signing.sign import attest, attest_document, sign
from edgeloop_contracts import Package
from edgeloop_contracts.artifacts import Signature

__all__ = ["PREDICATES", "attest_documents", "sign_package"]

PREDICATES = {
    SPDX: "https://spdx.dev/Document",
    CYCLONEDX: "https://cyclonedx.org/bom",
}


def sign_package(
    layout: Path, package: Package, signer: Signer, *, statements: Sequence[Mapping[str, Any]] = ()
) -> Package:
    """The package with its signatures, all of it signed in `layout`. `statements`, as of provenance, are about its image."""
    made: dict[str, Signature] = {}
    for digest in (package.digest, package.index, package.model_artifact, package.modelcar):
        made.update(sign(layout, digest, package.repository, signer) if digest else {})
    attest_documents(layout, package.digest, package.repository, signer)
    for statement in statements:
        attest(layout, package.digest, statement, signer)
    return replace(package, signatures=tuple(made[digest] for digest in sorted(made)))


def attest_documents(layout: Path, digest: str, repository: str, signer: Signer) -> None:
    """Attaches the bills of materials that refer to an image or index once more, as signed statements."""
    for kind, predicate_type in PREDICATES.items():
        for document in attached(layout, digest, kind):
            attest_document(layout, digest, predicate_type, document, signer, name=repository)
