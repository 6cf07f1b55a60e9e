"""`edgeloop-node verify`: whether a trusted key has signed a model folder, an image or a file, with the standard library alone.

A model folder has `signature.json`, which names every other file in it with its digest; a file has a detached signature in
base64, as `cosign sign-blob` writes it. An unpacked image has such folders: /edgeloop with the program that it starts, and
each model below /models. All of them must be signed, whatever the program is: no unsigned byte chooses what is looked at.
Keys are a file of public keys in PEM, a folder of such files (`*.pem`, `*.pub`), or the PEM text itself.

Refuses links and special files in a model folder, and folders and signatures above a limit.
"""

from __future__ import annotations

import argparse
import base64
import binascii
import hashlib
import json
import os
import sys
import tempfile
from pathlib import Path
from typing import Any

from edgeloop_contracts.ecdsa import MOST_KEY_BYTES, PublicKey, SignatureError, is_pem, public_keys, signed_by
from edgeloop_contracts.signature import SIGNATURE_FILE, check_files

__all__ = ["SignatureError", "command", "install", "verify_file", "verify_folder", "verify_image"]

EXIT_NOT_SIGNED, EXIT_USAGE = 1, 2
Keys = str | Path
MOST_FILES, MOST_SIGNATURE_BYTES = 10_000, 8 << 20


def command(options: argparse.Namespace) -> int:
    """0: signed by a trusted key, which is printed; 1: not; 2: usage."""
    if options.install and not options.file:
        print("edgeloop-node verify: --install needs --file", file=sys.stderr)
        return EXIT_USAGE
    what = options.model or options.image or options.file
    try:
        found = _verified(options, options.key)
    except (SignatureError, OSError) as error:
        print(f"not verified: {error}", file=sys.stderr)
        return EXIT_NOT_SIGNED
    print(f"{what}: signed by {found.key_id}")
    return 0


def _verified(options: argparse.Namespace, keys: str) -> PublicKey:
    if options.model:
        return verify_folder(Path(options.model), keys)
    if options.image:
        return verify_image(Path(options.image), keys)
    file, signature = Path(options.file), Path(options.signature or f"{options.file}.sig")
    if options.install:
        return install(file, Path(options.install), signature, keys)
    return verify_file(file, signature, keys)


def verify_image(root: Path, keys: Keys, *, runtime: str = "") -> PublicKey:
    """The trusted key that signed what the server of an unpacked image starts, and the models that it loads.

    `runtime` is that of the image's package, where it is known: a native image holds no script.
    """
    server = root / "edgeloop" / "server"
    if server.parent.is_symlink() or server.is_symlink() or not server.is_file():
        raise SignatureError(f"{root}: expected an unpacked image of a server (/edgeloop/server), found none")
    found = verify_folder(server.parent, keys, "a server")
    with server.open("rb") as stream:
        script = stream.read(2) == b"#!"
    if script and runtime == "native":
        raise SignatureError(f"{server}: expected the program of a native image, found a script")
    models = sorted(root.glob("models/*/*"))
    if script and not models:
        raise SignatureError(f"{root}: expected a model in /models/<loop>/<number>, found none")
    for folder in models:
        verify_folder(folder, keys)
    return found


def install(path: Path, target: Path, signature: Path, keys: Keys) -> PublicKey:
    """Puts a file whose signature holds at `target`, atomically, and exactly the bytes that were verified."""
    data = path.read_bytes()
    found = _signer(path, data, signature, keys)
    target.parent.mkdir(parents=True, exist_ok=True)
    handle, temporary = tempfile.mkstemp(dir=target.parent, prefix=f".{target.name}.")
    try:
        with os.fdopen(handle, "wb") as out:
            out.write(data)
            out.flush()
            os.fsync(out.fileno())
        Path(temporary).chmod(0o755)
        Path(temporary).replace(target)
    finally:
        Path(temporary).unlink(missing_ok=True)
    return found


def verify_folder(folder: Path, keys: Keys, what: str = "a model") -> PublicKey:
    """The trusted key that signed the folder of `what`. SignatureError names what is not as it was signed."""
    trusted = _keys(keys)
    path = folder / SIGNATURE_FILE
    if not path.is_file():
        raise SignatureError(
            f"{folder}: expected {what} that is signed, found no {SIGNATURE_FILE} in it: pack it anew with EDGELOOP_SIGNING_KEY"
        )
    try:
        return check_files(_json(path), _digests(folder), trusted)
    except SignatureError as error:
        raise SignatureError(f"{folder}: {error}") from error


def verify_file(path: Path, signature: Path, keys: Keys) -> PublicKey:
    """The trusted key that signed the bytes of a file. SignatureError when none did."""
    return _signer(path, path.read_bytes(), signature, keys)


def _signer(path: Path, data: bytes, signature: Path, keys: Keys) -> PublicKey:
    trusted, text = _keys(keys), _read(signature, MOST_KEY_BYTES)
    try:
        made = base64.b64decode(b"".join(text.split()), validate=True)
    except (ValueError, binascii.Error) as error:
        raise SignatureError(f"{signature}: expected a signature in base64, found something else") from error
    try:
        return signed_by(trusted, data, made)
    except SignatureError as error:
        raise SignatureError(f"{path}: {error}") from error


def _keys(keys: Keys) -> tuple[PublicKey, ...]:
    if isinstance(keys, str) and is_pem(keys):
        return public_keys(keys)
    path = Path(keys)
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
