"""Puts a bitstream on a board: through openFPGALoader, or through the kernel's FPGA manager on a SoC.

Which of them follows from the board's name: `fpga-manager` (or `fpga-manager:fpga1`) is the kernel's, any other is one of
openFPGALoader's boards, such as ice40_generic or ulx3s. Nothing here was ever run with a board attached.
"""

from __future__ import annotations

import re
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

from edgeloop_node.fpga import LoadError

__all__ = ["load_bitstream"]

TOOL, LIMIT_S = "openFPGALoader", 120.0
FAILED = re.compile(r"\bfail(ed)?\s*$", re.IGNORECASE | re.MULTILINE)  # it ends with 0 when an iCE40 does not start
ABSENT = (
    f"is the board plugged in, and may this user open its USB device? `{TOOL} --scan-usb` lists what is there; "
    "on iCE40 boards jumpers decide whether the FPGA can be loaded, or its flash only"
)
MANAGER = "fpga-manager"
MANAGERS, FIRMWARE = Path("/sys/class/fpga_manager"), Path("/lib/firmware")


def load_bitstream(bitstream: Path, board: str) -> str:
    """Loads it into the board's volatile memory; says by what. LoadError."""
    if not bitstream.is_file():
        raise LoadError(f"{bitstream}: expected a bitstream to load, found no such file")
    if not board:
        raise LoadError(f"{bitstream.name}: expected the target's `board`, to know how to load it, found none")
    kind, _, name = board.partition(":")
    load: Callable[[Path, str], str] = _manager if kind == MANAGER else _tool
    return load(bitstream, name if kind == MANAGER else board)


def _tool(bitstream: Path, board: str) -> str:
    program = shutil.which(TOOL) or shutil.which(TOOL.lower())
    if program is None:
        raise LoadError(
            f"{bitstream.name}: expected {TOOL} on this node, to load it into the board {board}, found none",
            "install it (Debian: apt-get install openfpgaloader)",
        )
    command = [program, "-b", board, str(bitstream)]
    try:
        done = subprocess.run(command, capture_output=True, text=True, timeout=LIMIT_S)
    except (OSError, subprocess.TimeoutExpired) as error:
        raise LoadError(f"{TOOL} -b {board}: {error}") from error
    if done.returncode != 0 or FAILED.search(f"{done.stdout}\n{done.stderr}"):
        said = (done.stderr.strip() or done.stdout.strip())[-300:]
        raise LoadError(f"{TOOL} -b {board} {bitstream.name}: ended with {done.returncode}: {said}", ABSENT)
    return program


def _manager(bitstream: Path, name: str) -> str:
    """AMD's kernels take a file's name in `firmware`; mainline has no such file and loads through device-tree overlays."""
    manager = MANAGERS / (name or "fpga0")
    if not (manager / "firmware").exists():
        raise LoadError(
            f"{manager}/firmware: expected an FPGA manager that takes a file's name (AMD's kernel), found none; "
            "a mainline kernel loads through a device-tree overlay, which edgeloop does not do"
        )
    try:
        shutil.copyfile(bitstream, FIRMWARE / bitstream.name)
        (manager / "firmware").write_text(bitstream.name)
        state = (manager / "state").read_text().strip()
    except OSError as error:
        raise LoadError(f"{manager}: cannot load {bitstream.name}: {error}") from error
    if state != "operating":
        raise LoadError(f"{manager}/state: expected operating after loading {bitstream.name}, got {state}")
    return str(manager)
