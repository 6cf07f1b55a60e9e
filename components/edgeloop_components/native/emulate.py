"""Runs a built program of any platform on this machine: directly, or under qemu's user-mode emulation.

Emulation shows which numbers come out, never how fast. Refuses a platform that this machine neither is nor can emulate, with
the package that brings the emulator.
"""

from __future__ import annotations

import shutil
import signal
import subprocess
from pathlib import Path

from edgeloop_components.package.layers import host_platform

__all__ = ["EMULATORS", "EmulatorUnavailable", "ProgramError", "emulator", "run_program"]

EMULATORS = {
    "linux/amd64": "qemu-x86_64",
    "linux/arm64": "qemu-aarch64",
    "linux/arm/v7": "qemu-arm",
    "linux/riscv64": "qemu-riscv64",
}
PACKAGE = "qemu-user-static"
PATIENCE_S = 600.0


class EmulatorUnavailable(RuntimeError):  # noqa: N818
    """The platform's programs cannot be run here. `hint` says what to install."""

    def __init__(self, message: str) -> None:
        super().__init__(message)
        self.hint = f"install the system package {PACKAGE} (Debian, Ubuntu) or qemu-user (others)"


class ProgramError(RuntimeError):
    """A program that we built ended otherwise than well."""


def emulator(platform: str) -> list[str]:
    """The words before a program of the platform; empty on this machine's own. EmulatorUnavailable."""
    if platform == host_platform():
        return []
    name = EMULATORS.get(platform)
    found = name and (shutil.which(f"{name}-static") or shutil.which(name))
    if not found:
        raise EmulatorUnavailable(f"{platform}: not run, for neither {name}-static nor {name} is on PATH")
    return [found]


def run_program(program: Path, arguments: list[str], given: bytes, platform: str) -> bytes:
    """What the program writes to standard output. ProgramError, EmulatorUnavailable."""
    words = [*emulator(platform), str(program.absolute()), *arguments]
    try:
        done = subprocess.run(words, input=given, capture_output=True, timeout=PATIENCE_S, env={})
    except subprocess.TimeoutExpired:
        raise ProgramError(f"{platform}: {program.name} did not end within {PATIENCE_S:g} s") from None
    except OSError as error:
        raise ProgramError(f"{platform}: {program.name} cannot be started: {error.strerror}") from error
    if done.returncode:
        raise ProgramError(
            f"{platform}: {program.name} {' '.join(arguments)}: {_ended(done.returncode)}: {_text(done.stderr)}"
        )
    return done.stdout


def _ended(code: int) -> str:
    return f"exit code {code}" if code > 0 else f"killed by {signal.Signals(-code).name}"


def _text(words: bytes) -> str:
    return words.decode(errors="replace").strip()[:500] or "it said nothing"
