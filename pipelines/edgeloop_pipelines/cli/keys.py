"""`edgeloop keys`: the keys that sign images and models."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Annotated

import typer

from edgeloop_pipelines.cli.console import JsonOption, emit, say

app = typer.Typer(help="Make keys that sign images and models, and sign files.", no_args_is_help=True)


@app.callback()
def _keys() -> None:
    """Make keys that sign images and models, and sign files."""


@app.command()
def new(
    path: Annotated[Path, typer.Argument(help="the private key to write; the public key gets the ending .pub")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Make a key pair (EC P-256): FILE, which stays with whoever signs, and FILE.pub, for all who verify.

    With EDGELOOP_KEY_PASSWORD set, the private key is encrypted with it. `cosign verify --key` takes the public key as it is.

    Examples:

      edgeloop keys new signing.key
      EDGELOOP_KEY_PASSWORD=... edgeloop keys new signing.key
    """
    from edgeloop_components.signing import new_key, read_trusted
    from edgeloop_components.signing.keys import PASSWORD

    password = os.environ.get(PASSWORD, "")
    private, public = new_key(path, password)
    (key,) = read_trusted(public)
    document = {"private": str(private), "public": str(public), "key_id": key.key_id, "encrypted": bool(password)}
    emit(document, lambda: _show(private, public, key.key_id, encrypted=bool(password)), as_json)


@app.command("sign")
def sign_command(
    path: Annotated[Path, typer.Argument(help="a file, such as a native server; or a model folder")],
    *,
    key: Annotated[Path, typer.Option("--key", metavar="FILE", envvar="EDGELOOP_SIGNING_KEY", help="the private key")],
    as_json: JsonOption = False,
) -> None:
    """Sign a file (FILE.sig, as `cosign verify-blob` takes it) or a model folder (signature.json in it).

    A node verifies it offline: `edgeloop-node verify`, before a server's program takes over, or before a model is loaded.

    Examples:

      edgeloop keys sign out/linux/arm/v7/server --key signing.key
      edgeloop-node verify --key signing.pub --file server
    """
    from edgeloop_components.signing import read_signer, sign_file, sign_folder
    from edgeloop_components.signing.keys import PASSWORD

    signer = read_signer(key, os.environ.get(PASSWORD, ""))
    made = sign_folder(path, signer) if path.is_dir() else sign_file(path, signer)
    document = {"signature": str(made), "key_id": signer.public.key_id}
    emit(document, lambda: say(f"{made}: signed with {signer.public.key_id}"), as_json)


def _show(private: Path, public: Path, key_id: str, *, encrypted: bool) -> None:
    say(
        f"{private}: the private key, {'encrypted' if encrypted else 'not encrypted: set EDGELOOP_KEY_PASSWORD for that'}"
    )
    say(f"{public}: the public key {key_id}")
    say(f"sign with EDGELOOP_SIGNING_KEY={private}; verify with EDGELOOP_PUBLIC_KEY={public}")
