"""Placed designs that are kept on this machine, so that a new version of the same shape is patched and not placed again.

Below edgeloop's cache, one folder for each shape (part, board, Verilog without contents). Nothing is read from there but what
`backend.can_patch` finds to be of the very shape and made by the installed tools, and what comes of it is proven in full.
"""

from __future__ import annotations

import json
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from edgeloop_components.fpga.backend import KEPT, Figures, can_patch
from edgeloop_components.fpga.build import Order, sources
from edgeloop_components.package import cache
from edgeloop_contracts.fpga import FpgaDesign

__all__ = ["find", "keep", "widths"]

FOLDER, NOTE = "fpga-placed", "edgeloop.json"


def find(design: FpgaDesign, order: Order) -> Path | None:
    """A folder with a placed design of the same shape; None: there is none."""
    files = sources(design, order)
    fits = (f for f, _ in _folders(order) if can_patch(files, order.part, order.board, f, front=order.front))
    return next(fits, None)


def widths(order: Order) -> list[int]:
    """The bits of the designs that are placed for the order's part and board: to be tried before others, to stay patchable."""
    return sorted({int(note["bits"]) for _, note in _folders(order)})


def _folders(order: Order) -> Iterator[tuple[Path, Any]]:
    for folder in sorted(cache.folder(FOLDER).iterdir()):
        try:
            note = json.loads((folder / NOTE).read_bytes())
            about = (note["part"], note["board"], int(note["bits"]))
        except (OSError, ValueError, KeyError, TypeError):  # half written, or of another time
            continue
        if about[:2] == (order.row.name, order.place.name):
            yield folder, note


def keep(figures: Figures, bits: int, made: Path) -> None:
    """Keeps what was placed for a build in the folder `made`, where its part can be patched."""
    place = cache.folder(FOLDER) / figures.shape.removeprefix("sha256:")
    if not figures.patchable or figures.patched or place.exists():
        return
    work = Path(tempfile.mkdtemp(prefix=".", dir=place.parent))
    try:
        for name in KEPT:
            shutil.copyfile(made / name, work / name)
        (work / NOTE).write_text(json.dumps({"part": figures.part, "board": figures.board, "bits": bits}) + "\n")
        work.rename(place)
    except OSError:  # another build was faster, or the disk is full: the next one places again
        shutil.rmtree(work, ignore_errors=True)
