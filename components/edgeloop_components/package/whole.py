"""Work that writes into a layout and may find its disk full: named after what it does, and undone where it began a layout.

What was whole in a layout that others had before stays, so that calling again goes on there. A layout that this call alone
began is emptied. Who writes holds a shared lock, so that nobody empties what another writes at the same time.
"""

from __future__ import annotations

import contextlib
import fcntl
import shutil
from collections.abc import Iterator
from pathlib import Path

from edgeloop_components.package.blobs import StorageError

__all__ = ["WRITING", "about", "whole_or_nothing"]

WRITING = ".writing"  # shared by all who write in this way, exclusive for who empties the folder


@contextlib.contextmanager
def about(what: str) -> Iterator[None]:
    """Puts what is done, and with which image, before the file in a StorageError."""
    try:
        yield
    except StorageError as error:
        raise StorageError(f"{what}: {error}", error.hint) from error


@contextlib.contextmanager
def whole_or_nothing(layout: Path) -> Iterator[None]:
    """Empties the layout after a StorageError, where nothing was before and nobody else writes; removes it, where it was not.

    What else ends the work leaves what is whole, to go on there; nothing, where nothing was written.
    """
    there = layout.is_dir()
    fresh = not there or not any(layout.iterdir())
    with contextlib.ExitStack() as held:
        lock = None
        with contextlib.suppress(OSError):  # a folder that takes no file is reported by what is written into it
            layout.mkdir(parents=True, exist_ok=True)
            lock = held.enter_context((layout / WRITING).open("a"))
            fcntl.flock(lock, fcntl.LOCK_SH)
        try:
            yield
        except BaseException as error:
            with contextlib.suppress(OSError):
                begun = isinstance(error, StorageError) or _names(layout) == [WRITING]
                if fresh and begun and lock is not None:
                    fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
                    _empty(layout, remove=not there)
            raise


def _names(folder: Path) -> list[str]:
    return [path.name for path in folder.iterdir()]


def _empty(layout: Path, *, remove: bool) -> None:
    for path in layout.iterdir():
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path)
        else:
            path.unlink()
    if remove:
        layout.rmdir()
