"""What a compiled folder holds, as the command that wrote it says: `edgeloop profile FOLDER`.

`edgeloop model compile` leaves manifest.json, with the runtime and a folder for each platform; the step `compile` of the
pipeline leaves parity.json beside the folder `model`. Both name the runtime; nothing is guessed from other files.

Refuses a folder with neither, one of a runtime that only a loop's target describes, and one of programs without a server.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from shutil import copy
from tempfile import TemporaryDirectory
from typing import Any

from edgeloop_pipelines.cli.console import UserError

__all__ = ["Compiled", "compiled_in"]

MANIFEST, PARITY, MODEL = "manifest.json", "parity.json", "model"
RUNTIMES = ("native", "onnxruntime")
MOST_NAMES = 8  # of a folder's files in a message


@dataclass(frozen=True)
class Compiled:
    """A folder with documents and what the runtime serves, and the platform that it was compiled for."""

    folder: Path
    runtime: str
    platform: str


@contextmanager
def compiled_in(folder: Path, here: str) -> Iterator[Compiled]:
    """What is measured of a folder on a machine of the platform `here`. UserError."""
    step = folder.parent if folder.name == MODEL and not (folder / MANIFEST).is_file() else folder
    if (folder / MANIFEST).is_file():
        with _of_lone(folder, here) as found:
            yield found
    elif (step / PARITY).is_file() and (step / MODEL).is_dir():
        yield _of_step(step, here)
    else:
        raise UserError(
            f"{folder}: expected a compiled folder with {MANIFEST}, or {PARITY} beside {MODEL}/, found {_shown(folder)}",
            "edgeloop model compile writes the one, the step compile the other; a lone file: edgeloop model profile",
        )


def _shown(folder: Path) -> str:
    names = sorted(path.name for path in folder.iterdir())
    return ", ".join([*names[:MOST_NAMES], *["..."] * (len(names) > MOST_NAMES)]) or "nothing"


def _of_step(step: Path, here: str) -> Compiled:
    from edgeloop_contracts import ContractError, ParityResult, loads

    try:
        parity = loads(ParityResult, (step / PARITY).read_bytes())
    except (OSError, ContractError) as error:
        raise UserError(f"{step / PARITY}: {error}") from error
    return Compiled(step / MODEL, _runtime(step / PARITY, parity.runtime), _platform(parity.platforms, here))


def _platform(compiled_for: Mapping[str, Any], here: str) -> str:
    """This machine's, where the folder has it or depends on none; else the first of those that it has."""
    return here if here in compiled_for else next(iter(compiled_for), here)


def _runtime(path: Path, runtime: Any) -> str:
    if runtime not in RUNTIMES:
        hint = "measure it as a target of its loop: edgeloop profile LOOP --target NAME --candidates"
        raise UserError(f"{path}: runtime: expected {' or '.join(RUNTIMES)}, found {runtime!r}", hint)
    return str(runtime)


@contextmanager
def _of_lone(folder: Path, here: str) -> Iterator[Compiled]:
    """The folder itself; of native, whose servers lie by platform, one of a platform: as the step writes it."""
    path = folder / MANIFEST
    try:
        manifest = json.loads(path.read_bytes())
        runtime, platforms = manifest["runtime"], dict(manifest["platforms"])
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise UserError(f"{path}: expected what edgeloop model compile writes, got: {error!r}") from error
    platform = _platform(platforms, here)
    if _runtime(path, runtime) != "native":
        yield Compiled(folder, runtime, platform)
        return
    server = folder / platform / "server"
    if not server.is_file():
        hint = "rows that are too wide for a server have a program `predict` only"
        raise UserError(f"{server}: expected the server that {MANIFEST} tells of, found none", hint)
    with TemporaryDirectory(prefix="edgeloop-profile-") as made:
        for file in (server, *(path for path in folder.iterdir() if path.is_file())):
            copy(file, Path(made))
        yield Compiled(Path(made), "native", platform)
