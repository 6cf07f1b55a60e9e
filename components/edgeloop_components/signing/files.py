"""Signs files: a model folder by a statement over all of it, and a single file by a detached signature.

`signature.json` in the folder is a DSSE envelope; it names every other file with its digest, so that nothing can be
changed, added or taken away. A node checks it before it loads the model (edgeloop_node/verify.py), with the standard
library alone. A detached signature is base64 text in `<file>.sig`, as `cosign verify-blob` takes it.
"""

from __future__ import annotations

import base64
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeloop_components.package.blobs import hash_file, write_bytes
from edgeloop_components.signing.bundle import envelope
from edgeloop_components.signing.keys import Signer, SigningError
from edgeloop_contracts import canonical
from edgeloop_contracts.signature import SIGNATURE_FILE, files_statement

__all__ = ["sign_file", "sign_folder"]


def sign_folder(folder: Path, signer: Signer, *, predicate: Mapping[str, Any] | None = None) -> Path:
    """Writes `signature.json` over all other files of `folder`; gives its path."""
    paths = [path for path in sorted(folder.rglob("*")) if not path.is_dir() or path.is_symlink()]
    if strange := next((path for path in paths if path.is_symlink() or not path.is_file()), None):
        raise SigningError(f"{strange}: expected plain files to sign, found a link or a special file")
    digests = {path.relative_to(folder).as_posix(): hash_file(path) for path in paths}
    digests.pop(SIGNATURE_FILE, None)
    if not digests:
        raise SigningError(f"{folder}: expected files to sign, found none")
    target = folder / SIGNATURE_FILE
    write_bytes(target, canonical(envelope(files_statement(digests, predicate or {}), signer)))
    return target


def sign_file(path: Path, signer: Signer) -> Path:
    """Writes `<file>.sig`: the signature over the file's bytes, in base64; gives its path."""
    try:
        data = path.read_bytes()
    except OSError as error:
        raise SigningError(f"{path}: cannot be read: {error.strerror}") from error
    target = path.with_name(path.name + ".sig")
    write_bytes(target, base64.b64encode(signer.sign(data)) + b"\n")
    return target
