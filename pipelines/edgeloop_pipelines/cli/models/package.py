"""`edgeloop model package`: an ONNX file as signed container images, built without a daemon or root."""

from __future__ import annotations

import os
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from edgeloop_pipelines.cli.console import JsonOption, emit, say, table
from edgeloop_pipelines.cli.models import (
    FileArgument,
    NameOption,
    PlatformOption,
    RuntimeOption,
    SeedOption,
    VersionOption,
    platforms_of,
    progress,
    runtime_of,
)

if TYPE_CHECKING:
    from edgeloop_components.package.lone import LonePackage

__all__ = ["command"]


def _repository(value: str) -> str:
    from edgeloop_components.package.names import REPOSITORIES, is_repository

    if value and not is_repository(value):
        raise typer.BadParameter(f"expected {REPOSITORIES}, got {value[:80]!r}")
    return value


def command(
    file: FileArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="the OCI image layout to write into; others stay in it")],
    *,
    platform: PlatformOption = None,
    runtime: RuntimeOption = "native",
    repository: Annotated[
        str,
        typer.Option(
            "--repository",
            help="the image's name without tag; default: edgeloop/<model>",
            show_default=False,
            callback=_repository,
        ),
    ] = "",
    name: NameOption = "",
    version: VersionOption = 0,
    base: Annotated[
        str | None,
        typer.Option("--base", help="what a Python image stands on: debian, or an image by digest", show_default=False),
    ] = None,
    key: Annotated[
        Path | None,
        typer.Option(
            "--key", metavar="FILE", help="private key to sign with [EDGELOOP_SIGNING_KEY]", show_default=False
        ),
    ] = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Prove an ONNX file on each platform, and pack it as images with one index over them.

    A native image holds one static file and nothing else. Equal files give equal digests. Nothing is packed that does not
    answer as onnxruntime does, on every platform asked for; an onnxruntime image has the version that this machine showed parity
    with. With a key all of it is signed, and provenance and bills of materials are attested. A key's password is read from
    EDGELOOP_KEY_PASSWORD.

    Examples:

      edgeloop model package m.onnx --platform all -o images/
      edgeloop model package m.onnx --platform linux/arm64 --key signing.pem -o images/
      edgeloop model package m.onnx --runtime onnxruntime --base debian -o images/
    """
    from edgeloop_components.compile.lone import read_lone
    from edgeloop_components.package.layers import host_platform
    from edgeloop_components.package.lone import package_lone
    from edgeloop_components.signing.keys import SIGNING_KEY, configured_signer

    chosen = runtime_of(runtime)
    made = package_lone(
        read_lone(file, name=name, version=version),
        out,
        platforms=platforms_of(platform, chosen, [host_platform()]),
        runtime=chosen,
        repository=repository,
        base=base,
        seed=seed,
        signer=configured_signer({**os.environ, SIGNING_KEY: str(key)} if key else None),
        say=progress,
    )
    emit({"out": str(out), **made.document()}, lambda: _show(out, made), as_json)


def _show(out: Path, made: LonePackage) -> None:
    say(f"{made.name} in {out}", style="bold")
    rows = [(one.platform, one.digest, one.size_bytes, one.model_layer_bytes) for one in made.packages]
    table(("platform", "image", "bytes", "of them the last layer"), rows)
    say(f"index {made.index}, {'signed' if made.signed else 'not signed: no key was given'}")
