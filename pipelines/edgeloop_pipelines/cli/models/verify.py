"""`edgeloop model verify`: who has signed an image, and what signed statements say of it."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from edgeloop_pipelines.cli.console import JsonOption, emit, say, table
from edgeloop_pipelines.cli.models.push import AuthorityOption, PlainOption, settings_of

__all__ = ["command"]


def command(
    image: Annotated[
        str, typer.Argument(help="host[:port]/repository:tag, by tag or @sha256:..., or oci:FOLDER[:NAME]")
    ],
    *,
    key: Annotated[
        Path,
        typer.Option("--key", metavar="FILE", envvar="EDGELOOP_PUBLIC_KEY", help="public key, or a folder of them"),
    ],
    attestation: Annotated[
        list[str] | None,
        typer.Option(
            "--attestation", metavar="TYPE", help="predicate type that must be there, too", show_default=False
        ),
    ] = None,
    plain_http: PlainOption = False,
    ca: AuthorityOption = None,
    as_json: JsonOption = False,
) -> None:
    """Verify that a trusted key has signed an image or index, in either of cosign's formats. Exit code 1: it has not.

    No transparency log and no certificate authority is asked; of a registry, documents and signatures are fetched, no layers.
    In a layout, every blob of the image is compared with its digest, too.

    Examples:

      edgeloop model verify registry.example/edge/pump:7 --key signing.pub
      edgeloop model verify oci:images --key keys/ --attestation https://slsa.dev/provenance/v1
    """
    from edgeloop_components.package.layout import verify as verify_blobs
    from edgeloop_components.registry import InLayout, parse
    from edgeloop_components.signing import read_trusted, require, verify

    place = parse(image)
    digest, found, said = verify(place, read_trusted(key), settings=settings_of(ca, plain_http=plain_http))
    require(digest, said, attestation or ())
    if isinstance(place, InLayout):
        verify_blobs(place.folder, digest)
    document = {
        "digest": digest,
        "signatures": [asdict(one) for one in found],
        "attestations": [asdict(one) for one in said],
    }
    rows = [(one.form, one.key_id) for one in found] + [(one.predicate_type, one.key_id) for one in said]
    emit(document, lambda: _show(image, digest, rows), as_json)


def _show(image: str, digest: str, rows: list[tuple[str, str]]) -> None:
    say(f"{image} is {digest}", style="bold")
    table(("signature or attestation", "key"), rows)
