"""Compiles a lone ONNX file into a folder: a server for each platform, C sources, a library of this machine, a manifest.

    <platform>/server   the whole server, static
    <platform>/predict  instead of it for rows too wide to be served: rows of float32 in, outputs out
    model.c, model.h    the model alone, for any C compiler
    model.so            the same as a shared library of this machine
    reference.json, golden.json, version.json, manifest.json

The folder appears when all of it is there. One that exists is replaced when it was made of the same file, whose other
platforms are kept, or when that is asked for.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import shutil
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeloop_components.compile.lone import Lone
from edgeloop_components.compile.lone_documents import check_servable, servable, write_documents
from edgeloop_components.native.build import build_library, build_predict, build_server, software, write_source
from edgeloop_components.native.emit import WAY_OUT, Emitted
from edgeloop_components.native.toolchain import version as zig_version
from edgeloop_components.runtimes import RUNTIMES, RuntimeRefused
from edgeloop_components.runtimes.onnxruntime import compile_adapted
from edgeloop_components.workplace import collect, workplace

__all__ = ["MANIFEST", "OutputError", "build_lone", "build_program", "replacing"]

MANIFEST = "manifest.json"
Say = Callable[[str], None]


class OutputError(RuntimeError):
    """The output folder cannot be written, or holds something else. `hint` names the way out."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


def build_lone(
    lone: Lone,
    out: Path,
    *,
    platforms: Sequence[str],
    runtime: str,
    instruction_set: str = "",
    force: bool = False,
    seed: int = 0,
    say: Say = lambda _: None,
) -> Mapping[str, Any]:
    """Builds into `out`; the manifest. ModelError, Unsupported, ToolchainError, RuntimeRefused, OutputError."""
    row = RUNTIMES[runtime]
    for platform in platforms:
        if platform not in row.platforms:
            raise RuntimeRefused(f"{runtime} runs on {', '.join(row.platforms)}, not on {platform}")
    kept = _kept(lone, out, runtime, force)
    with replacing(out) as folder:
        for name in kept:
            shutil.copytree(out / name, folder / name)
        if servable(lone):
            write_documents(lone, folder, seed)
        facts = BUILDERS[runtime](lone, folder, platforms, instruction_set, say)
        manifest = _manifest(lone, folder, runtime, facts)
        (folder / MANIFEST).write_text(json.dumps(manifest, indent=1, ensure_ascii=False) + "\n")
    return manifest


def _kept(lone: Lone, out: Path, runtime: str, force: bool) -> list[str]:
    """Folders of platforms that stay. OutputError when `out` is something else."""
    if not out.exists() or (out.is_dir() and not any(out.iterdir())):
        return []
    try:
        made: Any = json.loads((out / MANIFEST).read_bytes())
        same = (made["onnx"], made["runtime"], made["software"]) == (lone.digest, runtime, software())
    except (OSError, ValueError, KeyError, TypeError):
        made, same = {}, False
    if same:
        return [name for name in made["platforms"] if (out / name).is_dir()]
    if not force:
        what = f"a model made of {made['file']}" if "file" in made else "other files"
        raise OutputError(
            f"{out}: expected an empty folder or one made of this file, found {what}", "--force replaces it"
        )
    return []


@contextlib.contextmanager
def replacing(out: Path) -> Iterator[Path]:
    """A new folder beside `out` that takes its place in the end. What a killed process left of `out` is collected."""
    prefix = f".{out.name}-"
    with contextlib.ExitStack() as stack:
        try:
            out.parent.mkdir(parents=True, exist_ok=True)
            if out.exists():  # else what stood there before may be the only copy
                collect(out.parent, prefix, ".old")
            work = stack.enter_context(workplace(out.parent, prefix))
        except OSError as error:
            raise OutputError(
                f"{out.parent}: cannot be written: {error.strerror}", "choose another folder with -o"
            ) from error
        try:
            yield work
            work.chmod(0o755)
            old = work.with_name(work.name + ".old")
            if out.exists():
                out.rename(old)
            work.rename(out)
            _remove(old)
        except OSError as error:
            raise OutputError(f"{out}: cannot be written: {error.strerror or error}") from error


def _remove(old: Path) -> None:
    if old.is_dir() and not old.is_symlink():
        shutil.rmtree(old, ignore_errors=True)
    else:
        old.unlink(missing_ok=True)


def build_program(
    lone: Lone, emitted: Emitted, documents: Path, place: Path, *, platform: str, instruction_set: str = ""
) -> Path:
    """The server in `place`, from the documents in a folder; where rows are too wide for one, the program `predict`."""
    if servable(lone):
        build_server(emitted, documents, place / "server", platform=platform, instruction_set=instruction_set)
        return place / "server"
    build_predict(emitted, place / "predict", platform=platform, instruction_set=instruction_set)
    return place / "predict"


def _native(
    lone: Lone, folder: Path, platforms: Sequence[str], instruction_set: str, say: Say
) -> Mapping[str, Mapping[str, Any]]:
    emitted = lone.emitted(WAY_OUT if servable(lone) else "")
    write_source(emitted, folder)
    build_library(emitted, folder / "model.so")
    facts = {}
    for number, platform in enumerate(platforms, 1):
        place = folder / platform
        shutil.rmtree(place, ignore_errors=True)
        place.mkdir(parents=True)
        started_s = time.monotonic()
        chosen = instruction_set if platform == "linux/amd64" else ""
        program = build_program(lone, emitted, folder, place, platform=platform, instruction_set=chosen)
        seconds = round(time.monotonic() - started_s, 2)
        say(f"{platform}: compiled in {seconds:.2f} s, {program.stat().st_size} bytes ({number} of {len(platforms)})")
        facts[platform] = {"instruction_set": chosen, "seconds": seconds}
    return facts


def _onnxruntime(
    lone: Lone, folder: Path, platforms: Sequence[str], _instruction_set: str, say: Say
) -> Mapping[str, Mapping[str, Any]]:
    """A model folder for `edgeloop-node server --model`, the same for every platform."""
    check_servable(lone)
    compile_adapted(lone.adapted.model, folder, str(lone.path), classifier=lone.classifier)
    say(f"model.onnx: checked, {(folder / 'model.onnx').stat().st_size} bytes")
    return {platform: {} for platform in platforms}


BUILDERS = {"native": _native, "onnxruntime": _onnxruntime}


def _manifest(lone: Lone, folder: Path, runtime: str, facts: Mapping[str, Mapping[str, Any]]) -> dict[str, Any]:
    files = sorted(path for path in folder.rglob("*") if path.is_file())
    found = sorted(str(path.parent.relative_to(folder)) for path in files if path.name in ("server", "predict"))
    return {
        "file": lone.path.name,
        "onnx": lone.digest,
        "name": lone.name,
        "version": lone.version,
        "runtime": runtime,
        "software": software(),
        "compiler": f"zig {zig_version()}" if runtime == "native" else "",
        "classes": list(lone.adapted.classes),
        "features": list(lone.adapted.features),
        "outputs": [output.name for output in lone.graph.outputs] if (folder / "golden.json").is_file() else [],
        "platforms": {
            name: {"instruction_set": facts.get(name, {}).get("instruction_set", "")} for name in found or facts
        },
        "files": {
            str(path.relative_to(folder)): {
                "sha256": hashlib.sha256(path.read_bytes()).hexdigest(),
                "size_bytes": path.stat().st_size,
            }
            for path in files
        },
    }
