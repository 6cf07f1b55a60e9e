"""`edgeloop model push` and `edgeloop model pull`: images between layouts and registries."""

from __future__ import annotations

import os
from dataclasses import asdict
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeloop_pipelines.cli.console import JsonOption, emit, say
from edgeloop_pipelines.cli.models import progress

if TYPE_CHECKING:
    from edgeloop_components.registry import Settings

__all__ = ["AuthorityOption", "PlainOption", "command", "pull_command", "settings_of"]

PlainOption = Annotated[bool, typer.Option("--plain-http", help="speak HTTP without TLS with another machine, too")]
AuthorityOption = Annotated[
    Path | None,
    typer.Option(
        "--ca", metavar="FILE", help="certificates (PEM) that the registry's is checked with", show_default=False
    ),
]


def settings_of(ca: Path | None, *, plain_http: bool) -> Settings:
    """How the registry is spoken with."""
    from edgeloop_components.registry import Settings

    return Settings(plain_http=True if plain_http else None, ca=ca)


def command(
    source: Annotated[
        str,
        typer.Argument(
            help="oci:FOLDER[:NAME][@sha256:...]; without a name: the one image there, beside its model and base"
        ),
    ],
    destination: Annotated[str, typer.Argument(help="host[:port]/repository:tag, or oci:FOLDER:NAME")],
    *,
    key: Annotated[
        Path | None,
        typer.Option(
            "--key", metavar="FILE", help="private key to sign with first [EDGELOOP_SIGNING_KEY]", show_default=False
        ),
    ] = None,
    referrers: Annotated[
        bool, typer.Option("--referrers/--no-referrers", help="signatures and all else that refers to it, too")
    ] = True,
    plain_http: PlainOption = False,
    ca: AuthorityOption = None,
    as_json: JsonOption = False,
) -> None:
    """Push an image or index of a layout, with its signatures, to any registry or to another layout.

    Credentials are those of `docker login` or `podman login`. The tag is written last: it names the whole image or what it named
    before, whatever fails. Called again, it sends only what lacks. A key's passphrase is read from EDGELOOP_KEY_PASSWORD.

    Examples:

      edgeloop model push oci:images registry.example/edge/pump:7
      edgeloop model push oci:images:edgeloop/pump:7 registry.example/edge/pump:7 --key signing.key
      edgeloop model push oci:images 127.0.0.1:5000/edge/pump:7 --json
      edgeloop model push oci:images oci:/media/stick:edge/pump:7
    """
    from edgeloop_components.package.whole import about
    from edgeloop_components.registry import InLayout, Remote, parse, push
    from edgeloop_components.registry.layouts import locate
    from edgeloop_components.signing import configured_signer, sign
    from edgeloop_components.signing.keys import SIGNING_KEY

    place, to = parse(source), parse(destination)
    signer = configured_signer({**os.environ, SIGNING_KEY: str(key)} if key else None)
    if signer and isinstance(place, InLayout):
        repository = to.repository if isinstance(to, Remote) else place.name.rpartition(":")[0]
        with about(f"sign {place}"):
            sign(place.folder, locate(place), repository or "signatures", signer)
    done = push(place, to, settings=settings_of(ca, plain_http=plain_http), referrers=referrers, say=progress)
    signed = signer.public.key_id if signer else ""
    emit({**asdict(done), "signed": signed}, lambda: _pushed(done.digest, done.destination, signed), as_json)


def _pushed(digest: str, destination: str, signed: str) -> None:
    say(f"{destination} is {digest}" + (f", signed with {signed}" if signed else ""))


def pull_command(
    image: Annotated[str, typer.Argument(help="host[:port]/repository:tag, by tag or @sha256:..., or oci:FOLDER:NAME")],
    out: Annotated[Path, typer.Option("--out", "-o", help="the OCI image layout to write into; others stay in it")],
    *,
    platform: Annotated[
        str, typer.Option("--platform", help="of an index, this image only, such as linux/arm64", show_default=False)
    ] = "",
    name: Annotated[
        str, typer.Option("--name", help="its name in the layout; default: repository:tag", show_default=False)
    ] = "",
    referrers: Annotated[
        bool, typer.Option("--referrers/--no-referrers", help="signatures and all else that refers to it, too")
    ] = True,
    plain_http: PlainOption = False,
    ca: AuthorityOption = None,
    as_json: JsonOption = False,
) -> None:
    """Pull an image or index from any registry, or from another layout, into a layout.

    Every byte is compared with its digest. What the layout has is not fetched again, nor the part that an interrupted pull left.

    Examples:

      edgeloop model pull registry.example/edge/pump:7 -o images/
      edgeloop model pull registry.example/edge/pump:7 --platform linux/arm64 --no-referrers -o node/
    """
    from edgeloop_components.registry import pull

    settings = settings_of(ca, plain_http=plain_http)
    digest = pull(image, out, platform=platform, name=name, referrers=referrers, settings=settings, say=progress)
    emit({"digest": digest, "out": str(out)}, lambda: say(f"{digest} in {out}"), as_json)
