"""Signatures: keys, cosign's two formats, attestations, signed files, and their verification."""

from edgeloop_components.signing.files import sign_file, sign_folder
from edgeloop_components.signing.keys import (
    Signer,
    SigningError,
    configured_signer,
    configured_trust,
    new_key,
    read_signer,
    read_trusted,
)
from edgeloop_components.signing.package import attest_documents, sign_package
from edgeloop_components.signing.sign import attest, attest_document, sign
from edgeloop_components.signing.verify import (
    Attestation,
    Verified,
    attestations,
    copy_signatures,
    require,
    verify,
    verify_layout,
)

__all__ = [
    "Attestation",
    "Signer",
    "SigningError",
    "Verified",
    "attest",
    "attest_document",
    "attest_documents",
    "attestations",
    "configured_signer",
    "configured_trust",
    "copy_signatures",
    "new_key",
    "read_signer",
    "read_trusted",
    "require",
    "sign",
    "sign_file",
    "sign_folder",
    "sign_package",
    "verify",
    "verify_layout",
]
