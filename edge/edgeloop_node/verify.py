"""`edgeloop-node verify`: whether a trusted key has signed a model folder or a file, with nothing but the standard library.

A model folder has `signature.json`, which names every other file in it with its digest; a file has a detached signature in
base64, as `cosign sign-blob` writes it. Keys are a file of public keys in PEM, or a folder of such files (`*.pem`, `*.pub`).

Refuses links and special files in a model folder, and folders and signatures above a limit.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

from edgeloop_contracts.ecdsa import PublicKey, SignatureError, public_keys, signed_by
from edgeloop_contracts.signature import SIGNATURE_FILE, check_files

__all__ = ["SignatureError", "command", "verify_file", "verify_folder"]

EXIT_NOT_SIGNED = 1
MOST_FILES, MOST_SIGNATURE_BYTES, MOST_KEY_BYTES = 10_000, 8 << 20, 64 << 10


def command(options: argparse.Namespace) -> int:
    """0: signed by a trusted key, which is printed; 1: not."""
    keys, file = Path(options.key), Path(options.file or "")
    try:
        if options.model:
            found = verify_folder(Path(options.model), keys)
        else:
            found = verify_file(file, Path(options.signature or f"{options.file}.sig"), keys)
    except (SignatureError, OSError) as error:
        print(f"not verified: {error}", file=sys.stderr)
        return EXIT_NOT_SIGNED
    print(f"{options.model or options.file}: signed by {found.key_id}")
    return 0


def verify_folder(folder: Path, keys: Path) -> PublicKey:
    """The trusted key that signed the model folder. SignatureError names what is not as it was signed."""
    trusted = _keys(keys)
    path = folder / SIGNATURE_FILE
    if not path.is_file():
        raise SignatureError(f"{folder}: expected a model that is signed, found no {SIGNATURE_FILE} in it")
    try:
        return check_files(_json(path), _digests(folder), trusted)
    except SignatureError as error:
        raise SignatureError(f"{folder}: {error}") from error


def verify_file(path: Path, signature: Path, keys: Path) -> PublicKey:
    """The trusted key that signed the bytes of a file. SignatureError when none did."""
    trusted, text = _keys(keys), _read(signature, MOST_KEY_BYTES)
    try:
        made = base64.b64decode(b"".join(text.split()), validate=True)
    except (ValueError, binascii.Error) as error:
        raise SignatureError(f"{signature}: expected a signature in base64, found something else") from error
    try:
        return signed_by(trusted, path.read_bytes(), made)
    except SignatureError as error:
        raise SignatureError(f"{path}: {error}") from error


def _keys(path: Path) -> tuple[PublicKey, ...]:
    files = sorted([*path.glob("*.pem"), *path.glob("*.pub")]) if path.is_dir() else [path]
    try:
        found = tuple(key for file in files for key in public_keys(_read(file, MOST_KEY_BYTES)))
    except SignatureError as error:
        raise SignatureError(f"{path}: {error}") from error
    if not found:
        raise SignatureError(f"{path}: expected public keys (*.pem, *.pub), found none in this folder")
    return found


def _read(path: Path, most_bytes: int) -> bytes:
    with path.open("rb") as stream:
        data = stream.read(most_bytes + 1)
    if len(data) > most_bytes:
        raise SignatureError(f"{path}: expected at most {most_bytes} bytes, found more")
    return data


def _json(path: Path) -> Any:
    text = _read(path, MOST_SIGNATURE_BYTES)
    try:
        return json.loads(text)
    except (ValueError, RecursionError) as error:
        raise SignatureError(f"{path.name}: expected JSON text, found something else") from error


def _digests(folder: Path) -> dict[str, str]:
    found: dict[str, str] = {}
    for path in folder.rglob("*"):
        if path.is_dir() and not path.is_symlink():
            continue
        if path.is_symlink() or not path.is_file() or len(found) >= MOST_FILES:
            raise SignatureError(
                f"{path.name}: expected at most {MOST_FILES} plain files, found a link, a device, or more"
            )
        with path.open("rb") as stream:
            found[path.relative_to(folder).as_posix()] = f"sha256:{hashlib.file_digest(stream, 'sha256').hexdigest()}"
    found.pop(SIGNATURE_FILE, None)
    return found
