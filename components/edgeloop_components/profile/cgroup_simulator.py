"""A tree of control groups that behaves as the kernel's, version 1 or 2, in memory and without any process.

It keeps what the adapters rely on: control files appear with the folder, and only those of controllers that were handed on; a
missing file and a wrong value are the kernel's own errors; a folder with processes cannot be removed; a killed process stays
for a moment; a group's memory never exceeds its limit, the process that asks for more is killed and counted; a quota throttles.
"""

from __future__ import annotations

import errno
import os
from dataclasses import dataclass, field
from pathlib import Path

__all__ = ["SimulatedTree"]

CONTROLLERS_V1 = {
    "cpu": {"cpu.cfs_period_us": "100000", "cpu.cfs_quota_us": "-1"},
    "cpuacct": {},
    "memory": {"memory.limit_in_bytes": str(1 << 62), "memory.memsw.limit_in_bytes": str(1 << 62)},
    "cpuset": {"cpuset.mems": "", "cpuset.cpus": ""},
}
CONTROLLERS_V2 = {
    "cpu": {"cpu.max": "max 100000"},
    "memory": {"memory.max": "max", "memory.swap.max": "max"},
    "cpuset": {"cpuset.cpus": ""},
}


@dataclass
class _Counts:
    cpu_ns: int = 0
    periods: int = 0
    throttled: int = 0
    throttled_ns: int = 0
    memory: int = 0
    peak: int = 0
    oom_kills: int = 0


@dataclass
class _Folder:
    files: dict[str, str]
    controllers: list[str]
    counts: _Counts = field(default_factory=_Counts)
    processes: list[int] = field(default_factory=list)


def _too_little(name: str, text: str) -> bool:
    """A quota below a millisecond is refused."""
    quota = text.partition(" ")[0]
    return name in ("cpu.cfs_quota_us", "cpu.max") and quota != "max" and 0 <= int(quota) < 1000


class SimulatedTree:
    """`mounts` is what an adapter is given: controller -> folder (v1), or the one folder of v2 under the name `""`."""

    def __init__(self, version: str, controllers: tuple[str, ...] = ("cpu", "cpuacct", "memory", "cpuset")) -> None:
        self.version = version
        if version == "v1":
            self.mounts = {name: Path(f"/sim/{name}") for name in controllers}
        else:
            self.mounts = {"": Path("/sim/unified")}
        self._there = [name for name in controllers if name in (CONTROLLERS_V1 if version == "v1" else CONTROLLERS_V2)]
        self._folders = {mount: self._folder([name] if name else [], top=True) for name, mount in self.mounts.items()}
        self._dying: dict[int, int] = {}

    def _folder(self, controllers: list[str], *, top: bool = False) -> _Folder:
        tables = CONTROLLERS_V1 if self.version == "v1" else CONTROLLERS_V2
        files = {name: text for c in controllers for name, text in tables[c].items()}
        if self.version == "v1" and top and "cpuset" in controllers:
            files |= {"cpuset.mems": "0", "cpuset.cpus": "0-1"}
        if self.version == "v2":
            files |= {"cgroup.controllers": " ".join(self._there if top else controllers), "cgroup.subtree_control": ""}
            if top and "cpuset" in self._there:
                files |= {"cpuset.cpus.effective": "0-1"}
        return _Folder(files, controllers)

    # --- what adapters call -------------------------------------------------------------------------------------------

    def read(self, path: Path) -> str:
        self._age()
        folder = self._at(path.parent)
        made = self._made(folder, path.name)
        if made is None and path.name not in folder.files:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return (folder.files[path.name] if made is None else made) + "\n"

    def write(self, path: Path, text: str) -> None:
        folder = self._at(path.parent)
        if path.name == "cgroup.procs":
            self._enter(folder, path.parent, int(text))
        elif path.name == "cgroup.subtree_control":
            self._hand_on(folder, text, path)
        elif path.name not in folder.files:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        elif not text or _too_little(path.name, text):
            raise OSError(errno.EINVAL, os.strerror(errno.EINVAL), str(path))
        else:
            folder.files[path.name] = text

    def make(self, path: Path) -> None:
        parent = self._at(path.parent)
        if path in self._folders:
            raise FileExistsError(errno.EEXIST, os.strerror(errno.EEXIST), str(path))
        given = parent.files["cgroup.subtree_control"].split() if self.version == "v2" else parent.controllers
        self._folders[path] = self._folder(given)

    def remove(self, path: Path) -> None:
        self._age()
        if self._at(path).processes:
            raise OSError(errno.EBUSY, os.strerror(errno.EBUSY), str(path))
        del self._folders[path]

    def folders(self, path: Path) -> list[str]:
        return [other.name for other in self._folders if other.parent == path]

    def kill(self, pid: int) -> None:
        self._dying.setdefault(pid, 2)

    # --- what processes do --------------------------------------------------------------------------------------------

    def spend(self, pid: int, cpu_ns: int) -> None:
        """The process wants so much CPU time, all at once."""
        for folder in self._of(pid):
            quota, period = self._quota(folder)
            counts = folder.counts
            counts.cpu_ns += cpu_ns
            if quota:
                full = cpu_ns // (quota * 1000)
                counts.periods += full + 1
                counts.throttled += full
                counts.throttled_ns += full * (period - quota) * 1000

    def allocate(self, pid: int, size_bytes: int) -> bool:
        """The process wants so much memory; False: it was killed for it."""
        for folder in self._of(pid):
            limit = folder.files.get("memory.limit_in_bytes") or folder.files.get("memory.max") or "max"
            most = None if limit == "max" else int(limit)
            counts = folder.counts
            if most is not None and counts.memory + size_bytes > most:
                counts.peak, counts.oom_kills = most, counts.oom_kills + 1
                self.kill(pid)
                return False
            if "memory" in folder.controllers:
                counts.memory += size_bytes
                counts.peak = max(counts.peak, counts.memory)
        return True

    # --- inside -------------------------------------------------------------------------------------------------------

    def _at(self, path: Path) -> _Folder:
        if path not in self._folders:
            raise FileNotFoundError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        return self._folders[path]

    def _of(self, pid: int) -> list[_Folder]:
        return [folder for folder in self._folders.values() if pid in folder.processes]

    def _age(self) -> None:
        for pid in list(self._dying):
            self._dying[pid] -= 1
            if self._dying[pid] < 0:
                del self._dying[pid]
                for folder in self._of(pid):
                    folder.processes.remove(pid)

    def _enter(self, folder: _Folder, path: Path, pid: int) -> None:
        if folder.files.get("cpuset.mems", "0") == "" or (
            self.version == "v1" and not folder.files.get("cpuset.cpus", "0")
        ):
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), str(path))
        mount = next(place for place in self.mounts.values() if path.is_relative_to(place))
        for other_path, other in self._folders.items():
            if other_path.is_relative_to(mount) and pid in other.processes:
                other.processes.remove(pid)
        folder.processes.append(pid)

    def _hand_on(self, folder: _Folder, text: str, path: Path) -> None:
        names = [word.removeprefix("+") for word in text.split()]
        if any(name not in folder.files["cgroup.controllers"].split() for name in names):
            raise OSError(errno.ENOENT, os.strerror(errno.ENOENT), str(path))
        handed = folder.files["cgroup.subtree_control"].split()
        folder.files["cgroup.subtree_control"] = " ".join([*handed, *(n for n in names if n not in handed)])

    def _quota(self, folder: _Folder) -> tuple[int, int]:
        """Quota and period in microseconds; quota 0: none."""
        if self.version == "v1":
            quota = int(folder.files.get("cpu.cfs_quota_us", "-1"))
            return max(0, quota), int(folder.files.get("cpu.cfs_period_us", "100000"))
        quota_text, period = folder.files.get("cpu.max", "max 100000").split()
        return 0 if quota_text == "max" else int(quota_text), int(period)

    def _made(self, folder: _Folder, name: str) -> str | None:
        """The text of a file that the kernel makes from its counts; None for one that is stored, or is not there."""
        c = folder.counts
        unit, key = (1000, "throttled_usec") if self.version == "v2" else (1, "throttled_time")
        stat = f"nr_periods {c.periods}\nnr_throttled {c.throttled}\n{key} {c.throttled_ns // unit}"
        v1 = {
            "cpu": {"cpu.stat": stat},
            "cpuacct": {"cpuacct.usage": str(c.cpu_ns)},
            "memory": {
                "memory.max_usage_in_bytes": str(c.peak),
                "memory.oom_control": f"oom_kill_disable 0\nunder_oom 0\noom_kill {c.oom_kills}",
            },
        }
        v2 = {
            "": {"cpu.stat": f"usage_usec {c.cpu_ns // 1000}\n{stat}"},
            "memory": {
                "memory.peak": str(c.peak),
                "memory.events": f"low 0\nhigh 0\nmax 9\noom 9\noom_kill {c.oom_kills}",
            },
        }
        tables = v1 if self.version == "v1" else v2
        files = {"cgroup.procs": "\n".join(map(str, folder.processes))}
        for controller in ("", *folder.controllers):
            files |= tables.get(controller, {})
        return files.get(name)
