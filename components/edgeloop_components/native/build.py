"""Builds what runs a model without Python: the server of a platform, a shared library of this machine, plain C sources.

The server's sources are files of the package edgeloop_node, found there and never imported. Those that do not include the
model's own headers are compiled once per platform and kept in the compiler's cache; a model costs its own files and the link.
Linking always asks for the same optimisation, since the compiler builds its libc once for each of them.
Equal inputs give equal bytes: paths are relative, and the output is put in its place when it is whole.

Refuses what the C compiler refuses, an output folder that cannot be written, and an installation without the server's sources.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
import re
import shutil
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import ExitStack, contextmanager
from importlib.metadata import version as installed
from pathlib import Path

from edgeloop_components.native.embed import embed
from edgeloop_components.native.emit import Emitted
from edgeloop_components.native.toolchain import (
    FLAGS,
    SHARED,
    STATIC,
    ToolchainError,
    cache_folder,
    cc,
    target_of,
    version,
)
from edgeloop_components.package.layers import host_platform
from edgeloop_components.workplace import workplace

__all__ = ["build_library", "build_predict", "build_server", "server_sources", "software", "write_source"]

PER_MODEL = frozenset(("model.h", "data.h"))  # headers that differ from model to model
NO_UNWINDING = ("-fno-asynchronous-unwind-tables", "-fno-unwind-tables")  # C has no use for them: 9 KB
SERVER_FLAGS = ("-std=gnu11", "-Os", "-ffunction-sections", "-fdata-sections", *NO_UNWINDING)
MODEL_FLAGS = ("-std=c99", "-ffunction-sections", "-fdata-sections", *NO_UNWINDING)
_INCLUDE = re.compile(rb'^\s*#\s*include\s+"([^"]+)"', re.MULTILINE)


def software() -> str:
    """The version that a server says."""
    return installed("edgeloop")


def write_source(model: Emitted, folder: Path) -> None:
    """model.h and model.c: plain C99 for any compiler."""
    (folder / "model.h").write_text(model.header)
    (folder / "model.c").write_text(model.source)


def build_library(model: Emitted, out: Path, *, instruction_set: str = "") -> None:
    """The shared library `out` for this machine. ToolchainError."""
    with _workplace(out) as work:
        write_source(model, work)
        words = [*MODEL_FLAGS, *SHARED, "model.c", "-o", "built"]
        cc(words, folder=work, platform=host_platform(), instruction_set=instruction_set, what=out.name)


def build_predict(model: Emitted, out: Path, *, platform: str, instruction_set: str = "") -> None:
    """A program without a server: rows in, outputs out, as the server's own `predict`. ToolchainError."""
    with _workplace(out) as work:
        write_source(model, work)
        _copy_sources(work)
        aim = {
            "folder": work,
            "platform": platform,
            "instruction_set": instruction_set,
            "what": f"{out.name}, {platform}",
        }
        cc([*MODEL_FLAGS, "-c", "model.c", "-o", "model.o"], **aim)  # type: ignore[arg-type]
        words = [*SERVER_FLAGS, "-DPREDICT_MAIN", "-I.", "-Inative", "-c", "native/predict.c", "-o", "predict.o"]
        cc(words, **aim)  # type: ignore[arg-type]
        cc([*STATIC, "predict.o", "model.o", "-o", "built"], **aim)  # type: ignore[arg-type]


def build_server(model: Emitted, documents: Path, out: Path, *, platform: str, instruction_set: str = "") -> None:
    """The server `out` of a model and the documents (reference, golden rows, version) in a folder. ToolchainError, EmbedError."""
    data = embed(documents, software())
    with _workplace(out) as work:
        write_source(model, work)
        (work / "data.h").write_text(data.header)
        (work / "data.c").write_text(data.source)
        sources = _copy_sources(work)
        objects = _objects(sources, work, platform, instruction_set)
        words = [*STATIC, *objects, "-o", "built"]
        cc(words, folder=work, platform=platform, instruction_set=instruction_set, what=f"{out.name}, {platform}")


@contextmanager
def _workplace(out: Path) -> Iterator[Path]:
    """A folder to build in, beside `out`; the file `built` in it becomes `out` when all went well."""
    with ExitStack() as stack:
        try:
            work = stack.enter_context(workplace(out.parent, ".build-"))
        except OSError as error:
            raise ToolchainError(f"{out.parent}: cannot be written: {error.strerror}") from error
        try:
            yield work
            (work / "built").chmod(0o755)
            (work / "built").replace(out)
        except OSError as error:
            raise ToolchainError(f"{out}: cannot be written: {error.strerror}") from error


def server_sources() -> Path:
    """The folder of the server's C files. ToolchainError when this installation has none."""
    spec = importlib.util.find_spec("edgeloop_node")
    root = Path(next(iter(spec.submodule_search_locations or ()), "")) if spec else Path()
    folder = root / "native"
    if not any(folder.glob("*.c")):
        raise ToolchainError(
            f"{folder}: expected the C sources of the native server, found none; the installation is damaged",
            "pip install --force-reinstall 'edgeloop[native]'",
        )
    return folder


def _copy_sources(work: Path) -> dict[str, bytes]:
    """Puts the server's sources below work/native; name: content."""
    found = {path.name: path.read_bytes() for path in sorted(server_sources().glob("*.[ch]"))}
    (work / "native").mkdir()
    for name, content in found.items():
        (work / "native" / name).write_bytes(content)
    return found


def _objects(sources: Mapping[str, bytes], work: Path, platform: str, instruction_set: str) -> list[str]:
    """The object files of server and model, by names relative to `work`, in one order on every machine."""
    target = target_of(platform, instruction_set)
    settings = " ".join((version(), *target, *FLAGS, *SERVER_FLAGS)).encode()
    jobs: list[tuple[str, Path | None, Sequence[str]]] = [
        ("model", None, (*MODEL_FLAGS, "model.c")),
        ("data", None, (*SERVER_FLAGS, "-I.", "-Inative", "data.c")),
    ]
    for name in sources:
        if name.endswith(".c"):
            words = (*SERVER_FLAGS, "-I.", "-Inative", f"native/{name}")
            jobs.append((name.removesuffix(".c") + "-server", _kept(name, sources, settings), words))

    def make(job: tuple[str, Path | None, Sequence[str]]) -> str:
        name, kept, words = job
        out = f"{name}.o"
        if kept is not None and kept.is_file():
            shutil.copyfile(kept, work / out)
            return out
        cc(
            [*words, "-c", "-o", out],
            folder=work,
            platform=platform,
            instruction_set=instruction_set,
            what=f"{name}, {platform}",
        )
        if kept is not None:
            _keep(work / out, kept)
        return out

    with ThreadPoolExecutor(os.cpu_count() or 1) as pool:
        return list(pool.map(make, jobs))


def _kept(name: str, sources: Mapping[str, bytes], settings: bytes) -> Path | None:
    """Where the object of a source is kept; None when it depends on the model."""
    needed, waiting = {name}, [name]
    while waiting:
        for found in _INCLUDE.findall(sources[waiting.pop()]):
            included = found.decode()
            if included in PER_MODEL:
                return None
            if included in sources and included not in needed:
                needed.add(included)
                waiting.append(included)
    digest = hashlib.sha256(settings)
    for part in sorted(needed):
        digest.update(b"\0" + part.encode() + b"\0" + hashlib.sha256(sources[part]).digest())
    return cache_folder() / "objects" / f"{name}-{digest.hexdigest()[:32]}.o"


def _keep(made: Path, kept: Path) -> None:
    """Copies an object into the cache. A cache that is full or gone costs time, not the build."""
    kept.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.NamedTemporaryFile(dir=kept.parent, delete=False) as copy:
        copy.write(made.read_bytes())
    Path(copy.name).replace(kept)
