"""`edgeloop model compile`: an ONNX file into servers for any platform, C sources and a shared library."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeloop_pipelines.cli.console import JsonOption, UserError, emit, say, table
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

__all__ = ["command"]


def command(
    file: FileArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="the folder to write")],
    *,
    platform: PlatformOption = None,
    runtime: RuntimeOption = "native",
    name: NameOption = "",
    version: VersionOption = 0,
    instruction_set: Annotated[
        str,
        typer.Option("--instruction-set", help="x86-64-v3: for linux/amd64 of the last ten years", show_default=False),
    ] = "",
    seed: SeedOption = 0,
    force: Annotated[bool, typer.Option("--force", help="replace a folder that holds something else")] = False,
    as_json: JsonOption = False,
) -> None:
    """Compile an ONNX file: a static server for each platform, plain C sources, and a shared library for this machine.

    A file on its own has no training data: features are named by the file or x0, x1, ..., bins are thresholds of its trees,
    and the golden rows of the server's self-test are made up, with the answers that onnxruntime gives to the file. What is no
    classifier is served with the outputs that it has; where its rows are too wide for a server, a program `predict` takes rows of
    float32 on standard input and gives outputs on standard output.

    Examples:

      edgeloop model compile m.onnx --platform linux/arm/v7 --runtime native -o out/
      edgeloop model compile m.onnx --platform all -o out/
      edgeloop model compile m.onnx --platform linux/amd64 --instruction-set x86-64-v3 -o out/
      edgeloop model compile m.onnx --runtime onnxruntime -o model/
    """
    from edgeloop_components.compile.lone import read_lone
    from edgeloop_components.compile.lone_build import build_lone
    from edgeloop_components.package.layers import host_platform

    chosen = runtime_of(runtime)
    platforms = platforms_of(platform, chosen, [host_platform()])
    if instruction_set not in ("", "x86-64-v3") or (instruction_set and "linux/amd64" not in platforms):
        raise UserError(f"--instruction-set: expected x86-64-v3, with --platform linux/amd64, got {instruction_set!r}")
    manifest = build_lone(
        read_lone(file, name=name, version=version),
        out,
        platforms=platforms,
        runtime=chosen,
        instruction_set=instruction_set,
        force=force,
        seed=seed,
        say=progress,
    )
    emit({"out": str(out), **manifest}, lambda: _show(out, manifest), as_json)


def _served(manifest: Mapping[str, Any]) -> str:
    return (
        f"outputs {', '.join(manifest['outputs'][:8])}" if manifest["outputs"] else "too wide to serve, predict instead"
    )


def _show(out: Path, manifest: Mapping[str, Any]) -> None:
    classes = (
        f"classes {', '.join(manifest['classes'][:8])}"
        if manifest["classes"]
        else f"no classifier: {_served(manifest)}"
    )
    say(f"{manifest['name']}@{manifest['version']}, {len(manifest['features'])} features, {classes}", style="bold")
    rows = [(out / name, facts["size_bytes"], facts["sha256"][:12]) for name, facts in manifest["files"].items()]
    table(("file", "bytes", "sha256"), rows)
    if "golden.json" in manifest["files"]:
        say(
            "Made up, for lack of data: the golden rows of the self-test, and bins that nothing of training is counted in."
        )
