"""Placed designs that are kept on this machine, so that a new version of the same shape is patched and not placed again.

Below edgeloop's cache, one folder for each shape (part, board, Verilog without contents). Nothing is read from there but what
`backend.can_patch` finds to be of the very shape and made by the installed tools, and what comes of it is proven in full.
"""

from __future__ import annotations

import shutil
import tempfile
from pathlib import Path

from edgeloop_components.fpga.backend import KEPT, Figures, can_patch
from edgeloop_components.fpga.build import Order, sources
from edgeloop_components.package import cache
from edgeloop_contracts.fpga import FpgaDesign

__all__ = ["find", "keep"]

FOLDER = "fpga-placed"


def find(design: FpgaDesign, order: Order) -> Path | None:
    """A folder with a placed design of the same shape; None: there is none."""
    files = sources(design, order)
    for folder in sorted(cache.folder(FOLDER).iterdir()):
        if can_patch(files, order.part, order.board, folder, front=order.front):
            return folder
    return None


def keep(figures: Figures, made: Path) -> None:
    """Keeps what was placed for a build in the folder `made`, where its part can be patched."""
    place = cache.folder(FOLDER) / figures.shape.removeprefix("sha256:")
    if not figures.patchable or figures.patched or place.exists():
        return
    work = Path(tempfile.mkdtemp(prefix=".", dir=place.parent))
    try:
        for name in KEPT:
            shutil.copyfile(made / name, work / name)
        work.rename(place)
    except OSError:  # another build was faster, or the disk is full: the next one places again
        shutil.rmtree(work, ignore_errors=True)
