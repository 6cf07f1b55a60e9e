"""Control groups, version 1: one hierarchy a controller, the same group name in each.

The limits of memory and of memory with swap are equal, so nothing is swapped out; where the kernel does not count swap the
second file is missing, and the first is all there is. A cpuset group takes no process before it has cores and memory
nodes, so both are copied from the parent first.
"""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Mapping, Sequence
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

__all__ = ["V1Groups"]

NEEDED = ("cpu", "cpuacct", "memory")
PROCESSES = "cgroup.procs"


class V1Groups:
    """Makes groups below `mounts`: controller -> folder. `cpuset` is used where it is there."""

    version = "v1"

    def __init__(
        self,
        tree: Tree,
        mounts: Mapping[str, Path],
        *,
        is_alive: Callable[[int, str], bool] = alive,
        sleep: Callable[[float], None] = wait,
    ) -> None:
        self._tree, self._alive, self._sleep = tree, is_alive, sleep
        self._mounts = {name: mounts[name] for name in (*NEEDED, "cpuset") if name in mounts}

    def create(self, limits: Limits) -> V1Group:
        """A group in every hierarchy. CgroupError."""
        if limits.cores and "cpuset" not in self._mounts:
            raise CgroupError("cores: expected the controller cpuset, found none")
        wanted = [*NEEDED, *(["cpuset"] if limits.cores else [])]
        folders = {name: self._mounts[name] / "x" for name in wanted}
        name = new_name()
        folders = {controller: folder.with_name(name) for controller, folder in folders.items()}
        group = V1Group(name, self._tree, folders, self._sleep)
        try:
            for folder in dict.fromkeys(folders.values()):
                self._tree.make(folder)
            group.limit(limits)
        except OSError as error:
            group.close()
            raise CgroupError(f"{error.filename or name}: the kernel refuses {limits}: {error.strerror}") from error
        return group

    def cores(self) -> tuple[int, ...]:
        """Those of the hierarchy's top."""
        if "cpuset" not in self._mounts:
            return ()
        return cores_of(self._tree.read(self._mounts["cpuset"] / "cpuset.cpus"))

    def collect(self) -> list[str]:
        """Removes the groups of owners that are gone, in every hierarchy."""
        stale: dict[str, dict[str, Path]] = {}
        for controller, mount in self._mounts.items():
            for name in self._tree.folders(mount):
                owner = owner_of(name)
                if owner and not self._alive(*owner):
                    stale.setdefault(name, {})[controller] = mount / name
        for name, folders in stale.items():
            V1Group(name, self._tree, folders, self._sleep).close()
        return sorted(stale)


class V1Group:
    """One group, a folder in each hierarchy."""

    def __init__(
        self, name: str, tree: Tree, folders: Mapping[str, Path], sleep: Callable[[float], None] = wait
    ) -> None:
        self.name, self._tree, self._folders, self._sleep = name, tree, dict(folders), sleep

    def limit(self, limits: Limits) -> None:
        write, at = self._tree.write, self._folders
        if limits.quota_m:
            write(at["cpu"] / "cpu.cfs_period_us", str(PERIOD_US))
            write(at["cpu"] / "cpu.cfs_quota_us", str(limits.quota_m * PERIOD_US // 1000))
        if limits.memory_bytes:
            write(at["memory"] / "memory.limit_in_bytes", str(limits.memory_bytes))
            with contextlib.suppress(FileNotFoundError):
                write(at["memory"] / "memory.memsw.limit_in_bytes", str(limits.memory_bytes))
        if limits.cores:
            nodes = self._tree.read(at["cpuset"].parent / "cpuset.mems").strip()
            write(at["cpuset"] / "cpuset.mems", nodes)
            write(at["cpuset"] / "cpuset.cpus", ",".join(map(str, limits.cores)))

    def command(self, argv: Sequence[str]) -> list[str]:
        files = " ".join(str(folder / PROCESSES) for folder in dict.fromkeys(self._folders.values()))
        return ["/bin/sh", "-c", ENTER, files, *argv]

    def usage(self) -> Usage:
        at, read = self._folders, self._tree.read
        stat = read(at["cpu"] / "cpu.stat")
        return Usage(
            cpu_ns=int(read(at["cpuacct"] / "cpuacct.usage")),
            periods=field_of(stat, "nr_periods"),
            throttled=field_of(stat, "nr_throttled"),
            throttled_ns=field_of(stat, "throttled_time"),
            memory_peak_bytes=int(read(at["memory"] / "memory.max_usage_in_bytes")),
            oom_kills=field_of(read(at["memory"] / "memory.oom_control"), "oom_kill"),
        )

    def processes(self) -> list[int]:
        found: set[int] = set()
        for folder in self._folders.values():
            try:
                found.update(map(int, self._tree.read(folder / PROCESSES).split()))
            except FileNotFoundError:
                continue
        return sorted(found)

    def close(self) -> None:
        remove_group(self._tree, dict.fromkeys(self._folders.values()), self._kill, self._sleep)

    def _kill(self) -> None:
        for pid in self.processes():
            self._tree.kill(pid)
