"""Folders to work in that say whose they are, so that what a killed process left behind is collected by the next one.

A name holds the machine's boot and pid namespace, the process id and when that process began: a folder is collected only when
its very process is known to be gone. What another machine, boot or container left cannot be judged from here, and stays.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import re
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

from edgeloop_components.processes import alive, pid_namespace, start_time

__all__ = ["collect", "workplace", "workplace_inside"]

_BOOT = Path("/proc/sys/kernel/random/boot_id")


def _here() -> str:
    """This machine since it was started, and this pid namespace of it; eight hex digits."""
    return hashlib.sha256(f"{_BOOT.read_text().strip()} {pid_namespace()}".encode()).hexdigest()[:8]


@contextlib.contextmanager
def workplace(parent: Path, prefix: str) -> Iterator[Path]:
    """A new folder in `parent`, removed at the end where it is still there; those that dead processes left go first. OSError."""
    collect(parent, prefix)
    owner = f"{_here()}-{os.getpid()}-{start_time(os.getpid())}-"
    work = Path(tempfile.mkdtemp(prefix=prefix + owner, dir=parent))
    try:
        yield work
    finally:
        shutil.rmtree(work, ignore_errors=True)


@contextlib.contextmanager
def workplace_inside(folder: Path, prefix: str) -> Iterator[Path]:
    """As `workplace`, in a folder that is made where it is not there, and goes again where nothing came into it. OSError."""
    new = not folder.exists()
    folder.mkdir(parents=True, exist_ok=True)
    try:
        with workplace(folder, prefix) as work:
            yield work
    finally:
        if new:
            with contextlib.suppress(OSError):
                folder.rmdir()


def collect(parent: Path, prefix: str, suffix: str = "") -> None:
    """Removes the folders of dead processes that `workplace` made there with this prefix, where they are this user's."""
    name = re.compile(rf"{re.escape(prefix)}{_here()}-(\d+)-(\d+)-\w+{re.escape(suffix)}")
    with os.scandir(parent) as entries:
        found = [(entry, match) for entry in entries if (match := name.fullmatch(entry.name))]
    for entry, match in found:
        if alive(int(match[1]), match[2]):
            continue
        with contextlib.suppress(OSError):
            if entry.is_dir(follow_symlinks=False) and entry.stat(follow_symlinks=False).st_uid == os.getuid():
                shutil.rmtree(entry.path, ignore_errors=True)
