"""Whether a folder can be an image layout, or become one: asked before work begins whose result would have no place.

Takes a layout, what an interrupted call left of one, an empty folder, and a folder that is not there yet. Changes nothing.
"""

from __future__ import annotations

import os
from pathlib import Path

from edgeloop_components.package.blobs import LayoutError
from edgeloop_components.package.documents import read_index
from edgeloop_components.package.whole import WRITING

__all__ = ["check_place"]

_OWN = {"blobs", "index.json", "oci-layout", ".joining", ".layers", ".lock", ".parts", ".pushed", ".unpacked", WRITING}
_HINT = "choose another folder"


def check_place(folder: Path) -> None:
    """LayoutError, with what is there instead, when images cannot be written into the folder."""
    try:
        standing = next(path for path in (folder, *folder.absolute().parents) if path.exists() or path.is_symlink())
        if not standing.is_dir():
            raise LayoutError(f"{standing}: expected a folder for the image layout, found a file or a link: {_HINT}")
        if standing == folder:
            _check_layout(folder)
        if not os.access(standing, os.W_OK | os.X_OK):
            raise LayoutError(f"{standing}: expected a folder that can be written, found one that cannot: {_HINT}")
    except OSError as error:
        raise LayoutError(f"{folder}: expected a folder for the image layout: {error.strerror}: {_HINT}") from error


def _check_layout(folder: Path) -> None:
    names = {entry.name for entry in os.scandir(folder) if not entry.name.startswith(".new-")}
    if foreign := sorted(names - _OWN) if "oci-layout" not in names else []:
        found = ", ".join(foreign[:3])
        raise LayoutError(f"{folder}: expected an OCI image layout or an empty folder, found one with {found}: {_HINT}")
    read_index(folder)
