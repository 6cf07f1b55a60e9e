"""The commands of `edgeloop model`, a module each, and the options that they share."""

from __future__ import annotations

import difflib
from collections.abc import Sequence
from pathlib import Path
from typing import Annotated

import typer

from edgeloop_pipelines.cli.console import UserError, console

__all__ = [
    "FileArgument",
    "NameOption",
    "PlatformOption",
    "RuntimeOption",
    "SeedOption",
    "VersionOption",
    "platforms_of",
    "progress",
    "runtime_of",
]

FileArgument = Annotated[Path, typer.Argument(help="an ONNX file")]
PlatformOption = Annotated[
    list[str] | None,
    typer.Option(
        "--platform", help="such as linux/arm64; may be given several times; `all` is every one", show_default=False
    ),
]
RuntimeOption = Annotated[str, typer.Option("--runtime", help="native or onnxruntime")]


def _named(value: str) -> str:
    from edgeloop_components.package.names import NAMES, is_name

    if value and not is_name(value):
        raise typer.BadParameter(f"expected {NAMES}, got {value[:80]!r}")
    return value


NameOption = Annotated[
    str, typer.Option("--name", help="the model's name; default: the file's", show_default=False, callback=_named)
]
VersionOption = Annotated[
    int, typer.Option("--version", help="its number; default: the file's", show_default=False, min=0)
]
SeedOption = Annotated[int, typer.Option("--seed", help="of the rows that are made up", min=0)]


def runtime_of(name: str) -> str:
    """The name of a runtime that `edgeloop model` takes. UserError names the nearest, or the commands of another one."""
    from edgeloop_components.runtimes import RUNTIMES

    known = sorted(key for key, runtime in RUNTIMES.items() if runtime.commands == "model")
    if name in RUNTIMES and name not in known:
        raise UserError(
            f"--runtime: expected {' or '.join(known)}, got {name}", f"edgeloop {RUNTIMES[name].commands} --help"
        )
    return _known(name, known, "--runtime")


def platforms_of(names: Sequence[str] | None, runtime: str, default: Sequence[str]) -> list[str]:
    """The platforms asked for, each once. UserError names the nearest."""
    from edgeloop_components.runtimes import RUNTIMES

    known = RUNTIMES[runtime].platforms
    asked = list(names or default)
    if "all" in asked:
        return list(known)
    return list(dict.fromkeys(_known(name, known, "--platform") for name in asked))


def _known(name: str, known: Sequence[str], option: str) -> str:
    if name in known:
        return name
    near = difflib.get_close_matches(name, known, 1, 0.4)
    nearest = f"did you mean {near[0]}?" if near else ""
    raise UserError(f"{option}: expected one of {', '.join(known)}, got {name!r}", nearest)


def progress(line: str) -> None:
    """A line of progress: on standard error, for people and programs alike."""
    console.print(line, markup=False, soft_wrap=True)
