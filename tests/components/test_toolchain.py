"""The C compiler: every platform, equal bytes, warming, and what it says when something is missing."""

from __future__ import annotations

import hashlib
import os
import subprocess
import sys
import time
from pathlib import Path

import pytest

from edgeloop_components.native import toolchain
from edgeloop_components.native.emulate import EMULATORS, EmulatorUnavailable, ProgramError, emulator, run_program
from edgeloop_components.native.toolchain import STATIC, TARGETS, ToolchainError, cc, target_of, warm
from edgeloop_components.package.layers import host_platform

PROGRAM = """
#include <stdio.h>
#include "table.h"
int main(int count, char **words) { return printf("%s %d\\n", words[0] ? "sum" : "", (int)sizeof(void *) + TABLE + count) < 0; }
"""


def build(folder: Path, platform: str, instruction_set: str = "") -> bytes:
    folder.mkdir(parents=True)
    (folder / "main.c").write_text(PROGRAM)
    (folder / "table.h").write_text("#define TABLE 30\n")
    cc(["-std=c99", "main.c", "-o", "main", *STATIC], folder=folder, platform=platform, instruction_set=instruction_set)
    return (folder / "main").read_bytes()


@pytest.mark.parametrize(("platform", "instruction_set"), TARGETS)
def test_equal_sources_give_equal_bytes_in_every_folder(tmp_path: Path, platform: str, instruction_set: str) -> None:
    """Twice, in folders of other names and depths, with settings in the environment that a compiler would heed."""
    first = build(tmp_path / "a", platform, instruction_set)
    again = build(tmp_path / "quite" / "another" / "folder", platform, instruction_set)
    assert hashlib.sha256(first).hexdigest() == hashlib.sha256(again).hexdigest()
    assert str(tmp_path).encode() not in first


def test_settings_of_the_caller_do_not_reach_the_compiler(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """CPATH puts folders before the include path of every compiler that heeds it; this one sees none of it."""
    expected = build(tmp_path / "a", host_platform())
    (tmp_path / "evil").mkdir()
    (tmp_path / "evil" / "stdio.h").write_text("#error heeded\n")
    monkeypatch.setenv("CPATH", str(tmp_path / "evil"))
    monkeypatch.setenv("C_INCLUDE_PATH", str(tmp_path / "evil"))
    assert build(tmp_path / "b", host_platform()) == expected


@pytest.mark.parametrize(("platform", "instruction_set"), [row for row in TARGETS if not row[1]])
def test_programs_of_every_platform_run_here(tmp_path: Path, platform: str, instruction_set: str) -> None:
    """Static programs: directly, or under emulation; with 32 bits a pointer has 4 bytes."""
    try:
        emulator(platform)
    except EmulatorUnavailable as error:
        pytest.skip(f"{error}; {error.hint}")
    build(tmp_path / "a", platform)
    words = run_program(tmp_path / "a" / "main", [], b"", platform)
    assert words == (b"sum 35\n" if platform == "linux/arm/v7" else b"sum 39\n")


def test_warming_what_is_warm_takes_no_time() -> None:
    """Less than 50 ms for all targets, and nothing is said."""
    warm()
    said: list[str] = []
    started_s = time.perf_counter()
    assert warm(say=said.append) == 0
    assert time.perf_counter() - started_s < 0.05
    assert not said


def test_two_processes_warm_one_target_once(tmp_path: Path) -> None:
    """The second waits for the first; both end well, and say how far they are. A fake compiler stands for the slow one."""
    fake = tmp_path / "zig"
    log = tmp_path / "calls"
    fake.write_text(f"#!/bin/sh\nsleep 0.3\necho call >> {log}\n")
    fake.chmod(0o755)
    code = (
        "from edgeloop_components.native import toolchain\n"
        f"toolchain._zig = lambda: {str(fake)!r}\n"
        "print(toolchain.warm([('linux/riscv64', '')], print))\n"
    )
    environment = {**os.environ, toolchain.CACHE: str(tmp_path / "cache")}
    both = [
        subprocess.Popen([sys.executable, "-c", code], env=environment, stdout=subprocess.PIPE, text=True)
        for _ in range(2)
    ]
    for process in both:
        words = process.communicate(timeout=60)[0]
        assert process.returncode == 0
        assert "compiler for linux/riscv64: building its libc, once on this machine (1 of 1)" in words
        assert "ready after" in words
    assert log.read_text().splitlines() == ["call", "call"]  # a program and a library, once


def test_a_failed_warming_leaves_the_target_cold(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Otherwise the next call would believe in a libc that is not there."""
    fake = tmp_path / "zig"
    fake.write_text("#!/bin/sh\necho 'error: no space left on device' >&2\nexit 1\n")
    fake.chmod(0o755)
    monkeypatch.setattr(toolchain, "_zig", lambda: str(fake))
    monkeypatch.setenv(toolchain.CACHE, str(tmp_path / "cache"))
    for _ in range(2):
        with pytest.raises(
            ToolchainError, match=r"linux/arm64: the C compiler failed \(exit code 1\): error: no space left"
        ):
            warm([("linux/arm64", "")])


def test_errors_of_the_compiler_are_shown_from_the_top(tmp_path: Path) -> None:
    """File, line and reason; not thousands of lines."""
    (tmp_path / "m.c").write_text("int twice(int x) { return y; }\n" + "int z = unknown;\n" * 50)
    with pytest.raises(
        ToolchainError, match=r"model x: the C compiler failed \(exit code 1\): m\.c:1:27: error"
    ) as caught:
        cc(["-c", "m.c", "-o", "m.o"], folder=tmp_path, platform=host_platform(), what="model x")
    assert len(str(caught.value).splitlines()) <= toolchain.MOST_LINES


def test_what_is_missing_is_named_with_the_way_out(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An unknown platform, an installation without ziglang, a cache that cannot be written."""
    with pytest.raises(
        ToolchainError, match=r"platform linux/s390x: native code is compiled for linux/amd64, linux/amd64 x86"
    ):
        target_of("linux/s390x")
    (tmp_path / "file").write_text("")
    monkeypatch.setenv(toolchain.CACHE, str(tmp_path / "file" / "cache"))
    with pytest.raises(ToolchainError, match="the compiler's cache cannot be written: Not a directory") as caught:
        warm([("linux/amd64", "")])
    assert toolchain.CACHE in caught.value.hint
    code = (
        "import importlib.metadata as m\n"
        "def gone(name): raise m.PackageNotFoundError(name)\n"
        "m.version = gone\n"
        "from edgeloop_components.native.toolchain import ToolchainError, warm\n"
        "try: warm()\n"
        "except ToolchainError as error: print(error, '|', error.hint)\n"
    )
    words = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout
    assert words == (
        "native code needs the C compiler of the Python package ziglang, which is not installed | "
        "pip install 'edgeloop[native]'\n"
    )


def test_an_emulator_that_is_missing_is_named_with_its_package(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """Both names that distributions give it are looked for."""
    foreign = next(platform for platform in EMULATORS if platform != host_platform())
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(
        EmulatorUnavailable, match=f"{foreign}: not run, for neither qemu-.*-static nor qemu-"
    ) as caught:
        emulator(foreign)
    assert "qemu-user-static" in caught.value.hint
    named = tmp_path / EMULATORS[foreign]
    named.write_text("#!/bin/sh\n")
    named.chmod(0o755)
    assert emulator(foreign) == [str(named)]


def test_a_program_that_fails_is_reported_with_its_words(tmp_path: Path) -> None:
    """Exit code or signal, and what it wrote on standard error."""
    program = tmp_path / "p"
    program.write_text("#!/bin/sh\necho oh no >&2\n[ $1 = die ] && kill -SEGV $$\nexit 7\n")
    program.chmod(0o755)
    with pytest.raises(ProgramError, match=r"p predict: exit code 7: oh no"):
        run_program(program, ["predict"], b"", host_platform())
    with pytest.raises(ProgramError, match=r"p die: killed by SIGSEGV: oh no"):
        run_program(program, ["die"], b"", host_platform())
