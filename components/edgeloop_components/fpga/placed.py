"""Placed designs that are kept on this machine, so that a new version of the same shape is patched and not placed again.

Below edgeloop's cache, one folder for each shape (part, board, Verilog without contents), with the certificate of the build that
made it. Nothing is taken from there but what has the digests of that, is of the very shape and was made by the installed tools
(`backend.patchable`); what comes of it is proven in full. A fresh build replaces what is there of its shape.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

from edgeloop_components.fpga.backend import Figures, patchable, shape_of
from edgeloop_components.fpga.build import Order, sources
from edgeloop_components.fpga.kept import FILES
from edgeloop_components.package import cache
from edgeloop_components.workplace import collect, workplace
from edgeloop_contracts.fpga import FpgaDesign
from edgeloop_contracts.fpga_board import CERTIFICATE_FILE

__all__ = ["find", "keep", "widths"]

FOLDER, NOTE = "fpga-placed", "edgeloop.json"
PREFIX = ".new-"


def find(design: FpgaDesign, order: Order, progress: Callable[[str], None] = lambda _: None) -> Path | None:
    """A folder with a placed design of the same shape; None: there is none, or it is damaged, which is said."""
    files = sources(design, order)
    place = _place(shape_of(files, order.part, order.board, front=order.front))
    return place if patchable(files, order.part, order.board, place, progress, front=order.front) else None


def _place(shape: str) -> Path:
    return cache.folder(FOLDER) / shape.removeprefix("sha256:")


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
    """Keeps what was placed for a build in the folder `made`, where its part can be patched, in place of what is there."""
    if not figures.patchable or figures.patched:
        return
    place = _place(figures.shape)
    collect(place.parent, PREFIX, ".old")
    # OSError: another build was faster, or the disk is full: the next one places again
    with contextlib.suppress(OSError), workplace(place.parent, PREFIX) as work:
        for name in (*FILES, CERTIFICATE_FILE):
            shutil.copyfile(made / name, work / name)
        (work / NOTE).write_text(json.dumps({"part": figures.part, "board": figures.board, "bits": bits}) + "\n")
        old = work.with_name(work.name + ".old")
        if place.exists():
            place.rename(old)
        work.rename(place)
        shutil.rmtree(old, ignore_errors=True)
