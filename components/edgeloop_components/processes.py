"""Which process is which: ids are used again, so a process is known by its id together with when it began."""

from __future__ import annotations

import os
from pathlib import Path

__all__ = ["alive", "pid_namespace", "start_time"]


def start_time(pid: int) -> str:
    """Field 22 of /proc/<pid>/stat; the name before it may hold anything. OSError when there is no such process."""
    return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[19]


def alive(pid: int, began: str) -> bool:
    """Whether the very process that began then still runs."""
    try:
        return start_time(pid) == began
    except OSError:
        return False


def pid_namespace() -> int:
    """In which ids are told apart: those of another namespace cannot be judged from here."""
    return os.stat("/proc/self/ns/pid").st_ino  # noqa: PTH116 - a link into the kernel
