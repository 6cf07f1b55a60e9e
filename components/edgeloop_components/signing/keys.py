"""Makes and reads the keys that sign: EC P-256, private as PKCS#8 PEM, public as a PEM that `cosign --key` takes.

The private key is encrypted with the passphrase in EDGELOOP_KEY_PASSWORD, when there is one. Signatures are deterministic
(RFC 6979), so that the same input gives the same bytes. Where trust is configured, it is a file of public keys or a folder of
such files (`*.pem`, `*.pub`): EDGELOOP_PUBLIC_KEY.

Refuses other kinds of keys, a wrong passphrase, a private key that others can read, and to overwrite a key.
"""

from __future__ import annotations

import os
import stat
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_contracts.ecdsa import PublicKey, SignatureError, is_pem, public_keys

if TYPE_CHECKING:
    from cryptography.hazmat.primitives.asymmetric.ec import EllipticCurvePrivateKey

__all__ = [
    "PASSWORD",
    "PUBLIC_KEY",
    "SIGNING_KEY",
    "Signer",
    "SigningError",
    "configured_signer",
    "configured_trust",
    "new_key",
    "read_signer",
    "read_trusted",
]

SIGNING_KEY, PUBLIC_KEY = "EDGELOOP_SIGNING_KEY", "EDGELOOP_PUBLIC_KEY"
PASSWORD = "EDGELOOP_KEY_PASSWORD"  # noqa: S105 - the name of a variable
MOST_BYTES = 64 << 10


class SigningError(RuntimeError):
    """A key cannot be made or read, or something cannot be signed; the text says why."""


@dataclass(frozen=True)
class Signer:
    """A private key that is ready to sign."""

    key: EllipticCurvePrivateKey
    public: PublicKey

    def sign(self, data: bytes) -> bytes:
        """ECDSA over the SHA-256 of `data`, DER. The same data gives the same bytes."""
        from cryptography.hazmat.primitives import hashes
        from cryptography.hazmat.primitives.asymmetric import ec

        return self.key.sign(data, ec.ECDSA(hashes.SHA256(), deterministic_signing=True))


def new_key(path: Path, password: str = "") -> tuple[Path, Path]:
    """Writes a new private key to `path` (mode 0600) and its public key beside it (`.pub`); gives both paths."""
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec

    public = path.with_suffix(".pub")
    if path == public:
        raise SigningError(
            f"{path}: expected a name for the private key, such as signing.key; .pub is the public one's"
        )
    if there := [one for one in (path, public) if one.exists()]:
        raise SigningError(f"{there[0]}: expected no file there, found one: a key is not overwritten")
    key = ec.generate_private_key(ec.SECP256R1())
    cover = form.BestAvailableEncryption(password.encode()) if password else form.NoEncryption()
    path.parent.mkdir(parents=True, exist_ok=True)
    with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as out:
        out.write(key.private_bytes(form.Encoding.PEM, form.PrivateFormat.PKCS8, cover))
    public.write_bytes(key.public_key().public_bytes(form.Encoding.PEM, form.PublicFormat.SubjectPublicKeyInfo))
    return path, public


def read_signer(path: Path, password: str = "") -> Signer:
    """The private key of a PEM file."""
    data = _read(path)
    if b"PUBLIC KEY-----" in data:
        raise SigningError(f"{path}: expected a private key to sign with, found a public key, which only verifies")
    if stat.S_IMODE(path.stat().st_mode) & 0o007:
        raise SigningError(f"{path}: expected a private key that not everybody can read: chmod 600 {path}")
    return _signer(str(path), data, password)


def _signer(where: str, data: bytes, password: str) -> Signer:
    from cryptography.exceptions import UnsupportedAlgorithm
    from cryptography.hazmat.primitives import serialization as form
    from cryptography.hazmat.primitives.asymmetric import ec

    if b"ENCRYPTED" in data and not password:
        raise SigningError(
            f"{where}: this private key has a passphrase: expected it in {PASSWORD}, found nothing there"
        )
    try:
        key = form.load_pem_private_key(data, password.encode() if b"ENCRYPTED" in data else None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        why = f"the passphrase in {PASSWORD} does not open it" if b"ENCRYPTED" in data else str(error)[:200]
        raise SigningError(f"{where}: expected a private key in PEM (make one: edgeloop keys new): {why}") from error
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise SigningError(f"{where}: expected an EC key on P-256, found another kind; make one: edgeloop keys new")
    numbers = key.public_key().public_numbers()
    return Signer(key, PublicKey(numbers.x, numbers.y))


def read_trusted(path: Path) -> tuple[PublicKey, ...]:
    """The public keys of a file, or of all `*.pem` and `*.pub` files of a folder."""
    files = sorted([*path.glob("*.pem"), *path.glob("*.pub")]) if path.is_dir() else [path]
    try:
        found = [key for file in files for key in public_keys(_read(file))]
    except SignatureError as error:
        raise SigningError(f"{path}: {error}") from error
    if not found:
        raise SigningError(f"{path}: expected public keys (*.pem, *.pub), found none in this folder")
    return tuple(dict.fromkeys(found))


def configured_signer(environment: Mapping[str, str] | None = None) -> Signer | None:
    """The key in EDGELOOP_SIGNING_KEY, a file or the PEM text itself (a Secret in a cluster); None: nothing is signed."""
    known = os.environ if environment is None else environment
    value, password = known.get(SIGNING_KEY), known.get(PASSWORD, "")
    if not value:
        return None
    return _signer(SIGNING_KEY, value.encode(), password) if is_pem(value) else read_signer(Path(value), password)


def configured_trust(environment: Mapping[str, str] | None = None) -> tuple[PublicKey, ...]:
    """The public keys in EDGELOOP_PUBLIC_KEY, a file, a folder or PEM text; none: signatures are not asked for."""
    value = (os.environ if environment is None else environment).get(PUBLIC_KEY)
    if not value:
        return ()
    try:
        return public_keys(value) if is_pem(value) else read_trusted(Path(value))
    except SignatureError as error:
        raise SigningError(f"{PUBLIC_KEY}: {error}") from error


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as stream:
            return stream.read(MOST_BYTES)
    except OSError as error:
        raise SigningError(f"{path}: a key cannot be read: {error.strerror}") from error
