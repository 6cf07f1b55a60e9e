"""The C compiler for every platform: `zig cc` of the PyPI package ziglang, which brings the headers and libc of all of them.

A target's libc is compiled at its first use, once per machine (half a minute of CPU each); `warm` does that ahead, with a
line of progress, and keeps it in a cache folder of its own (EDGELOOP_ZIG_CACHE, else edgeloop/zig below the user's cache).
The compiler sees relative paths and an environment without the caller's settings, so that equal input gives equal bytes in
every folder and on every machine.

Refuses a platform without a row in TARGETS, a machine without ziglang, and a cache folder that cannot be written.
"""

from __future__ import annotations

import contextlib
import fcntl
import functools
import importlib.metadata
import importlib.util
import os
import re
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import NamedTuple

__all__ = [
    "CACHE",
    "FLAGS",
    "SHARED",
    "STATIC",
    "TARGETS",
    "ToolchainError",
    "ZigTarget",
    "cache_folder",
    "cc",
    "target_of",
    "version",
    "warm",
]

CACHE = "EDGELOOP_ZIG_CACHE"  # environment variable: the folder of the compiler's cache
FLAGS = ("-O3", "-ffp-contract=off", "-fno-math-errno", "-fno-sanitize=all", "-g0", "-fno-ident")
STATIC = ("-static", "-s", "-Wl,--build-id=none", "-Wl,--gc-sections")
SHARED = ("-shared", "-nostdlib", "-fPIC", "-s", "-Wl,--build-id=none")
MOST_LINES, MOST_CHARACTERS = 12, 2000  # of the compiler's words in an error
PATIENCE_S = 1800.0  # a cold libc on a small, busy machine


class ToolchainError(RuntimeError):
    """The compiler is missing, cannot work here, or refuses what it was given. `hint` names the way out where there is one."""

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


class ZigTarget(NamedTuple):
    """How zig names a platform: triple and processor."""

    triple: str
    cpu: str


TARGETS: dict[tuple[str, str], ZigTarget] = {  # (platform, instruction set; empty: the platform's baseline)
    ("linux/amd64", ""): ZigTarget("x86_64-linux-musl", "x86_64"),
    ("linux/amd64", "x86-64-v3"): ZigTarget("x86_64-linux-musl", "x86_64_v3"),
    ("linux/arm64", ""): ZigTarget("aarch64-linux-musl", "generic"),
    ("linux/arm/v7", ""): ZigTarget("arm-linux-musleabihf", "cortex_a7"),
    ("linux/riscv64", ""): ZigTarget("riscv64-linux-musl", "baseline_rv64"),
}


def target_of(platform: str, instruction_set: str = "") -> ZigTarget:
    """The row of TARGETS. ToolchainError lists what there is."""
    found = TARGETS.get((platform, instruction_set))
    if found is None:
        known = ", ".join(" ".join(row).strip() for row in TARGETS)
        asked = f"{platform} {instruction_set}".strip()
        raise ToolchainError(f"platform {asked}: native code is compiled for {known}")
    return found


@functools.cache
def version() -> str:
    """The installed version of zig. ToolchainError when there is none."""
    try:
        return importlib.metadata.version("ziglang")
    except importlib.metadata.PackageNotFoundError:
        raise ToolchainError(
            "native code needs the C compiler of the Python package ziglang, which is not installed",
            "pip install 'edgeloop[native]'",
        ) from None


@functools.cache
def musl_version() -> str:
    """The version of the C library that zig brings along. ToolchainError when its sources do not tell it."""
    header = Path(_zig()).parent / "lib/libc/musl/src/internal/version.h"
    found = re.search(r'#define VERSION "([^"]+)"', header.read_text() if header.is_file() else "")
    if not found:
        raise ToolchainError(f"{header}: expected the version of musl", "install ziglang again")
    return found[1]


@functools.cache
def _zig() -> str:
    version()
    spec = importlib.util.find_spec("ziglang")
    folder = next(iter(spec.submodule_search_locations or ()), "") if spec else ""
    program = Path(folder, "zig")
    if not program.is_file():
        raise ToolchainError(
            f"{program}: expected the zig compiler, found no such file; the package is damaged",
            "pip install --force-reinstall 'edgeloop[native]'",
        )
    return str(program)


def cache_folder() -> Path:
    """Where the compiler keeps what it has built."""
    named = os.environ.get(CACHE)
    user = os.environ.get("XDG_CACHE_HOME") or str(Path.home() / ".cache")
    return Path(named) if named else Path(user, "edgeloop", "zig")


def _made(folder: Path) -> Path:
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise _unwritable(folder, error) from error
    return folder


def _unwritable(folder: Path, error: OSError) -> ToolchainError:
    return ToolchainError(
        f"{folder}: the compiler's cache cannot be written: {error.strerror}",
        f"set {CACHE} to a folder that can be written",
    )


def cc(
    arguments: Sequence[str],
    *,
    folder: Path,
    platform: str,
    instruction_set: str = "",
    what: str = "",
) -> None:
    """Runs the compiler in `folder`, with paths relative to it. ToolchainError begins with `what` and the compiler's words.

    Warms the target first where it is cold. What it makes of this one input is not kept in the cache.
    """
    warm([(platform, instruction_set)])
    _run(arguments, folder, target_of(platform, instruction_set), what or platform)


def _run(arguments: Sequence[str], folder: Path, target: ZigTarget, what: str) -> None:
    words = [_zig(), "cc", "-target", target.triple, f"-mcpu={target.cpu}", *FLAGS, "-ffile-prefix-map=./=", *arguments]
    with tempfile.TemporaryDirectory(prefix=".zig-", dir=folder) as local:
        try:
            done = subprocess.run(
                words,
                cwd=folder,
                env=_environment(local),
                capture_output=True,
                text=True,
                timeout=PATIENCE_S,
                errors="replace",
            )
        except OSError as error:
            raise ToolchainError(f"{what}: {words[0]} cannot be started: {error.strerror}") from error
        except subprocess.TimeoutExpired:
            raise ToolchainError(f"{what}: the compiler did not end within {PATIENCE_S:g} s") from None
    if done.returncode:
        raise ToolchainError(f"{what}: the C compiler failed (exit code {done.returncode}): {_first(done.stderr)}")


def _environment(local: str) -> dict[str, str]:
    """Nothing of the caller's settings that a compiler would heed (CPATH, CFLAGS, ...)."""
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR") if name in os.environ}
    return {**kept, "LC_ALL": "C", "ZIG_GLOBAL_CACHE_DIR": str(cache_folder().absolute()), "ZIG_LOCAL_CACHE_DIR": local}


def _first(text: str) -> str:
    lines = [line for line in text.splitlines() if line.strip()] or ["it said nothing"]
    return "\n".join(lines[:MOST_LINES])[:MOST_CHARACTERS]


def warm(targets: Sequence[tuple[str, str]] = tuple(TARGETS), say: Callable[[str], None] = lambda _: None) -> int:
    """Builds the libc of each (platform, instruction set) that is not there yet; how many were cold.

    `say` gets a line before and after each. Several processes may warm at once: one builds, the others wait for it.
    """
    cold = [target for target in targets if not _marker(target).is_file()]
    for number, target in enumerate(cold, 1):
        name = " ".join(target).strip()
        say(f"compiler for {name}: building its libc, once on this machine ({number} of {len(cold)})")
        started_s = time.monotonic()
        with _locked(target):
            if not _marker(target).is_file():
                _build_trivial(target)
        say(f"compiler for {name}: ready after {time.monotonic() - started_s:.1f} s ({number} of {len(cold)})")
    return len(cold)


def _marker(target: tuple[str, str]) -> Path:
    zig = target_of(*target)
    return cache_folder() / "warm" / f"{version()}-{zig.triple}-{zig.cpu}"


@contextlib.contextmanager
def _locked(target: tuple[str, str]) -> Iterator[None]:
    marker = _marker(target)
    _made(marker.parent)
    try:
        handle = os.open(marker.with_name(marker.name + ".lock"), os.O_CREAT | os.O_RDWR, 0o644)
    except OSError as error:
        raise _unwritable(marker.parent, error) from error
    with os.fdopen(handle, "w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        yield


def _build_trivial(target: tuple[str, str]) -> None:
    """A static program and a shared library: each needs its own form of the compiler's run-time parts."""
    zig, what = target_of(*target), " ".join(target).strip()
    with tempfile.TemporaryDirectory(prefix="edgeloop-warm-") as made:
        folder = Path(made)
        (folder / "main.c").write_text('#include <stdio.h>\nint main(void) { return puts("ready") < 0; }\n')
        (folder / "library.c").write_text("double twice(double x);\ndouble twice(double x) { return x + x; }\n")
        _run(["-std=gnu99", "main.c", "-o", "main", *STATIC], folder, zig, what)
        _run(["-std=c99", *SHARED, "library.c", "-o", "library.so"], folder, zig, what)
    marker = _marker(target)
    marker.touch()


if __name__ == "__main__":
    warm(say=lambda line: print(line, flush=True))
