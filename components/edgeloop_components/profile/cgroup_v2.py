"""Control groups, version 2: one hierarchy; a group has a controller when its parent hands it on.

Controllers are handed on at first use (`cgroup.subtree_control`). A group other than the top that holds processes cannot hand
them on: a machine whose groups are systemd's needs a delegated one, named in EDGELOOP_CGROUP.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Sequence
from pathlib import Path

from edgeloop_components.processes import alive
from edgeloop_components.profile.cgroups import (
    ENTER,
    PERIOD_US,
    CgroupError,
    Limits,
    Tree,
    Usage,
    cores_of,
    field_of,
    new_name,
    owner_of,
    remove_group,
    wait,
)

__all__ = ["V2Groups"]

PROCESSES = "cgroup.procs"


def _controllers(limits: Limits) -> list[str]:
    wanted = (("cpu", limits.quota_m), ("memory", limits.memory_bytes), ("cpuset", limits.cores))
    return [name for name, value in wanted if value]


class V2Groups:
    """Makes groups below the folder `base` of a cgroup2 mount."""

    version = "v2"

    def __init__(
        self,
        tree: Tree,
        base: Path,
        *,
        is_alive: Callable[[int, str], bool] = alive,
        sleep: Callable[[float], None] = wait,
    ) -> None:
        self._tree, self._base, self._alive, self._sleep = tree, base, is_alive, sleep

    def create(self, limits: Limits) -> V2Group:
        """A group with the controllers that its limits need. CgroupError."""
        self._hand_on(_controllers(limits))
        group = V2Group(self._base / new_name(), self._tree, self._sleep)
        try:
            self._tree.make(group.folder)
            group.limit(limits)
        except OSError as error:
            group.close()
            raise CgroupError(
                f"{error.filename or group.folder}: the kernel refuses {limits}: {error.strerror}"
            ) from error
        return group

    def _hand_on(self, wanted: Sequence[str]) -> None:
        file = self._base / "cgroup.subtree_control"
        try:
            there = self._tree.read(self._base / "cgroup.controllers").split()
            missing = [name for name in wanted if name not in there]
            if missing:
                found = ", ".join(there) or "none"
                raise CgroupError(f"{self._base}: expected the controllers {', '.join(missing)}, found {found}")
            handed = self._tree.read(file).split()
            new = [name for name in wanted if name not in handed]
            if new:
                self._tree.write(file, " ".join(f"+{name}" for name in new))
        except OSError as error:
            hint = "EDGELOOP_CGROUP may name a delegated group without processes"
            raise CgroupError(f"{file}: expected to hand on {', '.join(wanted)}: {error.strerror}; {hint}") from error

    def cores(self) -> tuple[int, ...]:
        """Those that the base itself has."""
        try:
            if "cpuset" in self._tree.read(self._base / "cgroup.controllers").split():
                return cores_of(self._tree.read(self._base / "cpuset.cpus.effective"))
        except FileNotFoundError:
            pass
        return ()

    def collect(self) -> list[str]:
        """Removes the groups of owners that are gone."""
        owners = {name: owner_of(name) for name in self._tree.folders(self._base)}
        stale = sorted(name for name, owner in owners.items() if owner and not self._alive(*owner))
        for name in stale:
            V2Group(self._base / name, self._tree, self._sleep).close()
        return stale


class V2Group:
    """One group, one folder."""

    def __init__(self, folder: Path, tree: Tree, sleep: Callable[[float], None] = wait) -> None:
        self.name, self.folder, self._tree, self._sleep = folder.name, folder, tree, sleep

    def limit(self, limits: Limits) -> None:
        write = self._tree.write
        if limits.quota_m:
            write(self.folder / "cpu.max", f"{limits.quota_m * PERIOD_US // 1000} {PERIOD_US}")
        if limits.memory_bytes:
            write(self.folder / "memory.max", str(limits.memory_bytes))
            with contextlib.suppress(FileNotFoundError):  # a kernel without swap accounting
                write(self.folder / "memory.swap.max", "0")
        if limits.cores:
            write(self.folder / "cpuset.cpus", ",".join(map(str, limits.cores)))

    def command(self, argv: Sequence[str]) -> list[str]:
        return ["/bin/sh", "-c", ENTER, str(self.folder / PROCESSES), *argv]

    def usage(self) -> Usage:
        stat, events = self._read("cpu.stat"), self._read("memory.events")
        return Usage(
            cpu_ns=1000 * field_of(stat, "usage_usec"),
            periods=field_of(stat, "nr_periods"),
            throttled=field_of(stat, "nr_throttled"),
            throttled_ns=1000 * field_of(stat, "throttled_usec"),
            memory_peak_bytes=int(self._read("memory.peak") or 0),
            oom_kills=field_of(events, "oom_kill"),
        )

    def _read(self, name: str) -> str:
        """Empty for a file of a controller that the group was not given."""
        try:
            return self._tree.read(self.folder / name)
        except FileNotFoundError:
            return ""

    def processes(self) -> list[int]:
        return sorted(map(int, self._read(PROCESSES).split()))

    def close(self) -> None:
        remove_group(self._tree, [self.folder], self._kill, self._sleep)

    def _kill(self) -> None:
        for pid in self.processes():
            self._tree.kill(pid)
