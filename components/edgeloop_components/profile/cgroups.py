"""Control groups: a process under a CPU quota and a memory limit, and what the kernel counted of it.

One port (`Groups`, `Group`), two adapters (`cgroup_v1`, `cgroup_v2`) which differ in files and units, and both over a `Tree`
of files: the kernel's, or the simulator's (`cgroup_simulator`). A group's name tells its owner's process id and start time,
so groups of a profiler that was killed are found and collected by the next one, with whatever still runs in them.

A process enters before it is executed, through `command`, so nothing of it is charged elsewhere. What was charged earlier is
not charged again: the page cache of a file belongs to the group that touched it first. `memory.failcnt` is not read: it
stays 0 on kernels that do limit.

Refuses: a group whose limits need a controller that is not there, and values that the kernel refuses.
"""

from __future__ import annotations

import contextlib
import errno
import itertools
import os
import re
import signal
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from edgeloop_components.processes import pid_namespace, start_time

__all__ = [
    "ENTER",
    "PERIOD_US",
    "CgroupError",
    "Files",
    "Group",
    "Groups",
    "Limits",
    "Tree",
    "Usage",
    "base_folder",
    "cores_of",
    "field_of",
    "mounts_of",
    "new_name",
    "open_groups",
    "owner_of",
    "remove_group",
]

PERIOD_US = 100_000  # what the kubelet sets unless it is told otherwise
BASE = "EDGELOOP_CGROUP"  # environment variable: a delegated group in which to make groups
PREFIX = "edgeloop-profile"
ENTER = 'for file in $0; do echo 0 > "$file" || exit 126; done; exec "$@"'
_PATIENCE_S = 5.0
_NAME = re.compile(rf"{PREFIX}-(\d+)-(\d+)-(\d+)-\d+")
_serial = itertools.count()


class CgroupError(RuntimeError):
    """Control groups cannot do what was asked; the message names the file and what the kernel said."""


@dataclass(frozen=True)
class Limits:
    """What a group may use; 0 and empty: no limit. `memory_bytes` includes swap: nothing is swapped out."""

    quota_m: int = 0
    memory_bytes: int = 0
    cores: tuple[int, ...] = ()


@dataclass(frozen=True)
class Usage:
    """What the kernel counted of a group since it was made."""

    cpu_ns: int
    periods: int
    throttled: int
    throttled_ns: int
    memory_peak_bytes: int
    oom_kills: int


class Group(Protocol):
    """A group of its own for one process and its children."""

    name: str

    def command(self, argv: Sequence[str]) -> list[str]:
        """A command that enters the group and then becomes `argv`; exit code 126 when it cannot enter."""

    def usage(self) -> Usage:
        """The counts so far."""

    def processes(self) -> list[int]:
        """Ids of the processes in it."""

    def close(self) -> None:
        """Kills what still runs in it, and removes it. Nothing happens the second time."""


class Groups(Protocol):
    """A place in which groups can be made."""

    version: str

    def create(self, limits: Limits) -> Group:
        """A new group under these limits. CgroupError."""

    def collect(self) -> list[str]:
        """Removes the groups whose owner is gone, with what runs in them; their names."""

    def cores(self) -> tuple[int, ...]:
        """The cores that a group can be pinned to; empty without the controller cpuset."""


class Tree(Protocol):
    """The few file operations that control groups need."""

    def read(self, path: Path) -> str: ...

    def write(self, path: Path, text: str) -> None: ...

    def make(self, path: Path) -> None: ...

    def remove(self, path: Path) -> None: ...

    def folders(self, path: Path) -> list[str]: ...

    def kill(self, pid: int) -> None: ...


class Files:
    """The kernel's tree."""

    def read(self, path: Path) -> str:
        return path.read_text()

    def write(self, path: Path, text: str) -> None:
        descriptor = os.open(path, os.O_WRONLY)  # no O_CREAT: a control file that is not there is an error
        try:
            os.write(descriptor, text.encode())
        finally:
            os.close(descriptor)

    def make(self, path: Path) -> None:
        path.mkdir()

    def remove(self, path: Path) -> None:
        path.rmdir()

    def folders(self, path: Path) -> list[str]:
        return [entry.name for entry in os.scandir(path) if entry.is_dir()]

    def kill(self, pid: int) -> None:
        if pid > 0:  # 0 stands for a process of an outer pid namespace; to kill(2) it means the caller's own group
            with contextlib.suppress(ProcessLookupError):
                os.kill(pid, signal.SIGKILL)


def new_name() -> str:
    """A name for a group of this process."""
    return f"{PREFIX}-{pid_namespace()}-{os.getpid()}-{start_time(os.getpid())}-{next(_serial)}"


def owner_of(name: str) -> tuple[int, str] | None:
    """Process id and start time of a group's owner; None when it is not one of ours.

    A group of another process namespace is not ours: whether its owner lives cannot be told from here.
    """
    found = _NAME.fullmatch(name)
    return (int(found[2]), found[3]) if found and int(found[1]) == pid_namespace() else None


def field_of(text: str, name: str) -> int:
    """A field of a flat file such as cpu.stat; 0 where the kernel does not have it."""
    found = re.search(rf"^{re.escape(name)} (\d+)$", text, re.MULTILINE)
    return int(found[1]) if found else 0


def cores_of(text: str) -> tuple[int, ...]:
    """The cores of a kernel's list such as 0-2,5."""
    found: list[int] = []
    for part in filter(None, text.strip().split(",")):
        first, _, last = part.partition("-")
        found += range(int(first), int(last or first) + 1)
    return tuple(found)


def remove_group(tree: Tree, folders: Iterable[Path], kill: Callable[[], None], sleep: Callable[[float], None]) -> None:
    """Kills and removes until the folders are gone: a killed process leaves its group a moment later. CgroupError."""
    for folder in folders:
        for pause_s in _pauses():
            try:
                kill()
                tree.remove(folder)
                break
            except FileNotFoundError:
                break
            except OSError as error:
                if error.errno != errno.EBUSY or pause_s is None:
                    raise CgroupError(f"{folder}: expected to remove it within {_PATIENCE_S:g} s: {error}") from error
                sleep(pause_s)


def _pauses() -> Iterable[float | None]:
    yield from itertools.repeat(0.01, int(_PATIENCE_S / 0.01))
    yield None


def mounts_of(mounts: str) -> tuple[Path | None, dict[str, Path]]:
    """From the text of /proc/self/mounts: the folder of cgroup v2, and of each v1 controller."""
    v2, v1 = None, {}
    for line in mounts.splitlines():
        _, folder, kind, options, *_ = line.split()
        place = Path(folder.replace("\\040", " "))
        if kind == "cgroup2" and v2 is None:
            v2 = place
        elif kind == "cgroup":
            v1.update({option: place for option in options.split(",") if "=" not in option})
    return v2, v1


def base_folder(mount: Path, environment: Mapping[str, str]) -> Path:
    """Where groups are made below a mount: the top, or what EDGELOOP_CGROUP names."""
    return mount / environment.get(BASE, "").strip("/")


def open_groups(mounts: str | None = None, environment: Mapping[str, str] = os.environ) -> Groups | str:
    """Control groups of this machine, v2 where it has controllers, else v1; or why they cannot be used.

    It makes a group and removes it, since permissions alone do not tell, and collects groups whose owner is gone.
    """
    from edgeloop_components.profile.cgroup_v1 import V1Groups
    from edgeloop_components.profile.cgroup_v2 import V2Groups

    text = Path("/proc/self/mounts").read_text() if mounts is None else mounts
    v2, v1 = mounts_of(text)
    why = []
    found: list[Groups] = [V2Groups(Files(), base_folder(v2, environment))] if v2 else []
    if {"cpu", "cpuacct", "memory"} <= set(v1):
        found.append(V1Groups(Files(), {name: base_folder(mount, environment) for name, mount in v1.items()}))
    for groups in found:
        try:
            groups.collect()
            groups.create(Limits(quota_m=1000, memory_bytes=1 << 30)).close()
        except (CgroupError, OSError) as error:
            why.append(f"{groups.version}: {error}")
        else:
            return groups
    return "; ".join(why) or "no cgroup hierarchy is mounted"


def wait(seconds: float) -> None:
    """The adapters' way to pause; the simulator's does not."""
    time.sleep(seconds)
