"""Programs that behave as a board with a design in it: bytes of frames in and out."""

from __future__ import annotations

import os
import subprocess
from collections.abc import Mapping
from pathlib import Path

from edgeloop_components.fpga.proof.verilate import Bench, SimulatorFailed, built

__all__ = ["BYTES", "answers", "images", "program"]

QUIET_BITS = 10  # of the shell's timer, at the level of bytes: a simulated board need not wait long
BYTES = Bench("board_bytes.h", "device", {"QUIET_BITS": QUIET_BITS}, {"QUIET_BITS": QUIET_BITS})
MARK = b"EDGELOOP-IMAGES\n"
PATIENCE_S = 600.0


def images(files: Mapping[str, str]) -> dict[str, str]:
    """The memory images among a design's files."""
    return {name: text for name, text in files.items() if name.endswith(".hex")}


def program(files: Mapping[str, str], out: Path, bench: Bench = BYTES) -> Path:
    """Writes the simulated board of a design's files: a static program, its memory images at its end. Gives `out`.

    It speaks the shell's bytes on standard input and output, blocks while there is nothing to do, and ends at the end of its
    input. `--quiet-ms N`: how long a line must be quiet in the middle of a frame (20). SimulatorMissing, SimulatorFailed.
    """
    body = built(files, bench).read_bytes()
    tail = b"".join(f"{name} {len(text.encode())}\n".encode() + text.encode() for name, text in images(files).items())
    made = out.with_name(f".{out.name}.part")
    made.write_bytes(body + tail + MARK + len(body).to_bytes(8, "little"))
    made.chmod(0o755)
    made.replace(out)
    return out


def answers(executable: Path, requests: bytes, cycles: Path | None = None) -> bytes:
    """What the program answers to the bytes, all given at once. SimulatorFailed when it does not end well."""
    words = [os.fspath(executable.absolute()), *(("--cycles", os.fspath(cycles)) if cycles else ())]
    try:
        done = subprocess.run(words, input=requests, capture_output=True, timeout=PATIENCE_S)
    except subprocess.TimeoutExpired:
        raise SimulatorFailed(f"{executable.name}: expected an end within {PATIENCE_S:g} s, found none") from None
    if done.returncode:
        said = done.stderr.decode(errors="replace")[:500]
        raise SimulatorFailed(f"{executable.name}: ended with {done.returncode}: {said}")
    return done.stdout
