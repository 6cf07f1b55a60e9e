"""A board at a device file, for whole servers: a pseudo-terminal, and `openFPGALoader` on the PATH in place of the real one.

What is loaded decides what answers: the Verilated circuit that lies beside the bitstream. Before that the line is silent, as
a board's is after its power was cut. Nothing of it is hardware.
"""

from __future__ import annotations

import contextlib
import os
import subprocess
import threading
from collections.abc import Iterator
from pathlib import Path

from edgeloop_node.fpga.serial import make_raw

LOADER = """#!/bin/sh
# openFPGALoader -b BOARD FILE: asks the bench for it, and waits until it is done
mkdir "{bench}/lock" || exit 1
echo "$2 $3" > "{bench}/new" && mv "{bench}/new" "{bench}/wanted"
while [ -e "{bench}/wanted" ]; do sleep 0.02; done
rmdir "{bench}/lock"
"""


class Bench:
    """The board: `device` is its file, `loads` what was loaded into it (board, file), `tools` a folder for the PATH."""

    def __init__(self, folder: Path) -> None:
        self.device, self.tools = folder / "ttyUSB1", folder / "tools"
        self.loads: list[tuple[str, Path]] = []
        self._core: subprocess.Popen[bytes] | None = None
        self._folder, self._ended = folder, threading.Event()
        self.tools.mkdir(parents=True)
        script = self.tools / "openFPGALoader"
        script.write_text(LOADER.format(bench=folder))
        script.chmod(0o755)
        self._inner, self._outer = os.openpty()
        make_raw(self._outer, 115_200)
        self.device.symlink_to(os.ttyname(self._outer))
        self._thread = threading.Thread(target=self._attend)
        self._thread.start()

    def _attend(self) -> None:
        wanted = self._folder / "wanted"
        while not self._ended.wait(0.01):
            if wanted.exists():
                board, file = wanted.read_text().split()
                self._load(board, Path(file))
                wanted.unlink()

    def _load(self, board: str, file: Path) -> None:
        self.power_cut()
        self.loads.append((board, file))
        self._core = subprocess.Popen([file.with_name("simulation")], stdin=self._inner, stdout=self._inner)

    def power_cut(self) -> None:
        """The core is gone; the device file stays."""
        if self._core is not None:
            self._core.kill()
            self._core.wait()
            self._core = None

    def close(self) -> None:
        self._ended.set()
        self._thread.join()
        self.power_cut()
        os.close(self._inner)
        os.close(self._outer)


@contextlib.contextmanager
def bench(folder: Path) -> Iterator[Bench]:
    made = Bench(folder)
    try:
        yield made
    finally:
        made.close()
