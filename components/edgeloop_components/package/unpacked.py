"""Unpacks images of a layout into folders: layers once each, images as hard links to their files.

A layer's files are read-only and shared by all images that have the layer, as in a container engine. An image's folder
appears whole or not at all. Refuses damaged blobs, unsafe archives (package/archive.py), and layers in other formats than
plain and gzip tar.
"""

from __future__ import annotations

import os
import shutil
import tempfile
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from edgeloop_components.package import archive
from edgeloop_components.package.blobs import LayoutError, blob_path, existing
from edgeloop_components.package.documents import GZIP_LAYER, PLAIN_LAYER, as_oci
from edgeloop_components.package.manifests import stack

__all__ = ["unpack"]

_NOTE = ".edgeloop-image"


def unpack(layout: Path, digest: str, folder: Path) -> None:
    """Unpacks an image's layers into `folder`, which appears whole or not at all, with every digest verified.

    Layers are unpacked once (folder `.unpacked` of the layout); `folder` holds hard links to those read-only files. Does
    nothing when `folder` holds this image already; LayoutError when it holds something else.
    """
    note = folder / _NOTE
    if folder.exists():
        found = note.read_text() if note.exists() else "something else"
        if found != digest:
            raise LayoutError(f"{folder}: expected no folder or image {digest}, found {found}")
        return
    layers = _all_unpacked(layout, stack(layout, digest))
    folder.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=folder.parent, prefix=".new-") as new:
        root = Path(new, "root")
        root.mkdir()
        for layer in layers:
            _merge(layer, root)
        (root / _NOTE).unlink(missing_ok=True)  # an image's own: a link there would lead out of the folder
        with (root / _NOTE).open("x") as note_file:
            note_file.write(digest)
        root.rename(folder)


def _all_unpacked(layout: Path, parts: Sequence[tuple[Mapping[str, Any], str]]) -> list[Path]:
    """The folders of the layers, lowest first. LayoutError for too many bytes in all."""
    folders, left_bytes = [], archive.MOST_IMAGE_BYTES
    for part, diff_id in parts:
        folder, files_bytes = _unpacked(layout, part, diff_id, min(archive.MOST_BYTES, left_bytes))
        folders.append(folder)
        left_bytes -= files_bytes
    return folders


def _unpacked(layout: Path, part: Mapping[str, Any], diff_id: str, most_bytes: int) -> tuple[Path, int]:
    """The folder of a layer, and the bytes of the files that were written for it."""
    target = layout / ".unpacked" / blob_path(layout, diff_id).name
    if target.exists():
        return target, 0
    kind = as_oci(part["mediaType"])
    if kind not in (PLAIN_LAYER, GZIP_LAYER):
        raise LayoutError(f"{layout}: layer {part['digest']}: expected a tar layer, found {part['mediaType']}")
    target.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=target.parent, prefix=".new-") as new:
        root, blob = Path(new, "root"), existing(layout, part["digest"])
        root.mkdir()
        files_bytes = archive.extract(
            blob, root, compressed=kind == GZIP_LAYER, digest=part["digest"], diff_id=diff_id, most_bytes=most_bytes
        )
        _appear(root, target)
    return target, files_bytes


def _appear(root: Path, target: Path) -> None:
    try:
        root.rename(target)
    except OSError:
        if not target.exists():  # else another process was faster, with the same files
            raise


def _merge(layer: Path, root: Path) -> None:
    """Lays a layer over what is there: folders join, anything else is replaced. No link is followed."""
    for entry in sorted(os.scandir(layer), key=lambda entry: entry.name):
        target, folder = root / entry.name, entry.is_dir(follow_symlinks=False)
        joins = folder and target.is_dir() and not target.is_symlink()
        if not joins and target.is_dir() and not target.is_symlink():
            shutil.rmtree(target)
        elif not joins:
            target.unlink(missing_ok=True)
        if folder:
            target.mkdir(exist_ok=True)
            _merge(Path(entry.path), target)
        else:
            os.link(entry.path, target, follow_symlinks=False)
