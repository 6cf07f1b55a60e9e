"""Control groups: one suite over version 1 and 2, simulated and real, and the kernel's own file formats."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Protocol

import pytest

from edgeloop_components.processes import alive
from edgeloop_components.profile.cgroup_simulator import SimulatedTree
from edgeloop_components.profile.cgroup_v1 import V1Groups
from edgeloop_components.profile.cgroup_v2 import V2Groups
from edgeloop_components.profile.cgroups import (
    CgroupError,
    Files,
    Group,
    Groups,
    Limits,
    Usage,
    cores_of,
    field_of,
    mounts_of,
    new_name,
    open_groups,
    owner_of,
)

MIB = 1 << 20
BURN = "import time; end = time.process_time() + {s}\nwhile time.process_time() < end: pass"
FILL = "x = bytearray({size}); x[::4096] = b'1' * len(x[::4096]); import os; os.write(1, b'filled')"


class Machine(Protocol):
    """What the suite does with a group, whatever stands behind it."""

    groups: Groups

    def burn(self, group: Group, cpu_s: float) -> None: ...

    def fill(self, group: Group, size_bytes: int) -> bool: ...

    def stay(self, group: Group) -> int: ...

    def runs(self, pid: int) -> bool: ...

    def with_alive(self, is_alive: Callable[[int, str], bool]) -> Groups: ...


@dataclass
class Simulated:
    """Processes are numbers."""

    tree: SimulatedTree
    pids: int = 100

    @property
    def groups(self) -> Groups:
        return self.with_alive(alive)

    def with_alive(self, is_alive: Callable[[int, str], bool]) -> Groups:
        if self.tree.version == "v1":
            return V1Groups(self.tree, self.tree.mounts, is_alive=is_alive, sleep=lambda _: None)
        return V2Groups(self.tree, self.tree.mounts[""], is_alive=is_alive, sleep=lambda _: None)

    def stay(self, group: Group) -> int:
        self.pids += 1
        command = group.command(["true"])
        for file in command[3].split():
            self.tree.write(Path(file), str(self.pids))
        return self.pids

    def burn(self, group: Group, cpu_s: float) -> None:
        self.tree.spend(self.stay(group), round(cpu_s * 1e9))

    def fill(self, group: Group, size_bytes: int) -> bool:
        return self.tree.allocate(self.stay(group), size_bytes)

    def runs(self, pid: int) -> bool:
        return bool(self.tree._of(pid))


@dataclass
class Real:
    """Real processes in real groups."""

    make: Callable[..., Groups]
    started: list[subprocess.Popen[bytes]] = field(default_factory=list)

    @property
    def groups(self) -> Groups:
        return self.make()

    def with_alive(self, is_alive: Callable[[int, str], bool]) -> Groups:
        return self.make(is_alive=is_alive)

    def _python(self, group: Group, code: str) -> subprocess.CompletedProcess[bytes]:
        return subprocess.run(group.command([sys.executable, "-S", "-c", code]), capture_output=True, timeout=60)

    def burn(self, group: Group, cpu_s: float) -> None:
        assert self._python(group, BURN.format(s=cpu_s)).returncode == 0

    def fill(self, group: Group, size_bytes: int) -> bool:
        done = self._python(group, FILL.format(size=size_bytes))
        assert (done.returncode, done.stdout) in ((0, b"filled"), (-9, b"")), done
        return done.returncode == 0

    def stay(self, group: Group) -> int:
        process = subprocess.Popen(group.command(["/bin/sh", "-c", "echo in; exec sleep 600"]), stdout=subprocess.PIPE)
        self.started.append(process)
        assert process.stdout is not None
        assert process.stdout.readline() == b"in\n"
        process.stdout.close()
        return process.pid

    def runs(self, pid: int) -> bool:
        return next(p for p in self.started if p.pid == pid).poll() is None


def _real_v1() -> Real:
    _, v1 = mounts_of(Path("/proc/self/mounts").read_text())
    if not {"cpu", "cpuacct", "memory"} <= set(v1):
        pytest.skip("no cgroup v1 hierarchies with cpu, cpuacct and memory are mounted")
    return _writable(Real(lambda **more: V1Groups(Files(), v1, **more)))


def _real_v2() -> Real:
    v2, _ = mounts_of(Path("/proc/self/mounts").read_text())
    controllers = (v2 / "cgroup.controllers").read_text().split() if v2 else []
    if not {"cpu", "memory"} <= set(controllers):
        pytest.skip(f"no cgroup v2 hierarchy with the controllers cpu and memory: {v2} has {controllers}")
    assert v2 is not None
    return _writable(Real(lambda **more: V2Groups(Files(), v2, **more)))


def _writable(machine: Real) -> Real:
    try:
        machine.groups.create(Limits(quota_m=1000, memory_bytes=1 << 30)).close()
    except (CgroupError, OSError) as error:
        pytest.skip(f"control groups cannot be written here: {error}")
    return machine


MACHINES: dict[str, Callable[[], Machine]] = {
    "v1 simulated": lambda: Simulated(SimulatedTree("v1")),
    "v2 simulated": lambda: Simulated(SimulatedTree("v2")),
    "v1 real": _real_v1,
    "v2 real": _real_v2,
}


@pytest.fixture(params=list(MACHINES))
def machine(request: pytest.FixtureRequest) -> Iterator[Machine]:
    made = MACHINES[request.param]()
    yield made
    for process in getattr(made, "started", []):
        process.kill()
        process.wait()


@pytest.fixture
def group(machine: Machine) -> Iterator[Callable[..., Group]]:
    made: list[Group] = []

    def make(**limits: Any) -> Group:
        made.append(machine.groups.create(Limits(**limits)))
        return made[-1]

    yield make
    for one in made:
        one.close()


def test_cpu_is_counted_and_a_quota_throttles(machine: Machine, group: Callable[..., Group]) -> None:
    """0.3 s of CPU under a tenth of a core: the kernel counted them, and stopped the process in many periods."""
    limited = group(quota_m=100)
    machine.burn(limited, 0.3)
    usage = limited.usage()
    assert usage.cpu_ns >= 0.3e9
    assert usage.throttled >= 10
    assert usage.periods >= usage.throttled
    assert usage.throttled_ns > 0.5e9
    free = group()
    machine.burn(free, 0.3)
    assert free.usage().cpu_ns >= 0.3e9
    assert free.usage().throttled == 0


def test_memory_is_limited_and_its_peak_is_read(machine: Machine, group: Callable[..., Group]) -> None:
    """Twice the limit is killed and counted as an OOM kill; half of it is not, and the peak covers it."""
    tight, wide = group(memory_bytes=24 * MIB), group(memory_bytes=96 * MIB)
    assert not machine.fill(tight, 48 * MIB)
    assert tight.usage().oom_kills == 1
    assert tight.usage().memory_peak_bytes <= 24 * MIB
    assert machine.fill(wide, 48 * MIB)
    assert wide.usage().oom_kills == 0
    assert 48 * MIB <= wide.usage().memory_peak_bytes <= 96 * MIB


def test_a_group_holds_its_process_and_takes_it_along(machine: Machine, group: Callable[..., Group]) -> None:
    """The process is in the group before it is executed; closing kills it and removes the group, twice if asked."""
    one = group()
    pid = machine.stay(one)
    assert one.processes() == [pid]
    one.close()
    one.close()
    assert one.processes() == []
    assert not machine.runs(pid)


def test_groups_of_a_profiler_that_was_killed_are_collected(machine: Machine, group: Callable[..., Group]) -> None:
    """Only groups whose owner is gone, with what still runs in them; a living owner's stay."""
    one = group()
    pid = machine.stay(one)
    assert one.name not in machine.groups.collect()
    assert machine.runs(pid)
    assert one.name in machine.with_alive(lambda *_: False).collect()
    assert not machine.runs(pid)
    assert machine.with_alive(lambda *_: False).collect() == []


def test_the_cores_that_can_be_had_are_known(machine: Machine) -> None:
    """Those of the kernel's list; a group can be pinned to each of them."""
    cores = machine.groups.cores()
    if not cores:
        pytest.skip("no controller cpuset")
    assert list(cores) == sorted(set(cores))
    for core in cores:
        machine.groups.create(Limits(cores=(core,))).close()


def test_lists_of_cores_are_read() -> None:
    """Ranges and single ones, as the kernel writes them; without cpuset there are none."""
    assert cores_of("0-2,5\n") == (0, 1, 2, 5)
    assert cores_of("7") == (7,)
    assert cores_of("\n") == ()
    for version in ("v1", "v2"):
        assert Simulated(SimulatedTree(version, ("cpu", "cpuacct", "memory"))).groups.cores() == ()
        assert Simulated(SimulatedTree(version)).groups.cores() == (0, 1)


def test_cores_are_set_where_cpuset_is(machine: Machine, group: Callable[..., Group]) -> None:
    """A process pinned to core 0 runs there only."""
    try:
        one = group(cores=(0,))
    except CgroupError as error:
        pytest.skip(str(error))
    pid = machine.stay(one)
    assert one.processes() == [pid]
    if isinstance(machine, Real):
        assert os.sched_getaffinity(pid) == {0}


def test_what_the_kernel_refuses_leaves_nothing(machine: Machine) -> None:
    """A quota below the least of one millisecond: an error that names it, and no folder stays behind."""
    with pytest.raises(CgroupError, match="refuses"):
        machine.groups.create(Limits(quota_m=5))
    assert machine.with_alive(lambda *_: False).collect() == []


@pytest.mark.parametrize("version", ["v1", "v2"])
def test_a_missing_controller_is_named(version: str) -> None:
    """Cores without cpuset cannot be had."""
    machine = Simulated(SimulatedTree(version, ("cpu", "cpuacct", "memory")))
    with pytest.raises(CgroupError, match=r"expected the controllers? cpuset, found"):
        machine.groups.create(Limits(cores=(0,)))


def test_the_real_v2_without_controllers_takes_processes_and_refuses_limits() -> None:
    """A hybrid machine's v2 mount: groups work, limits are refused with what is there."""
    v2, _ = mounts_of(Path("/proc/self/mounts").read_text())
    if v2 is None or not os.access(v2, os.W_OK):
        pytest.skip("no writable cgroup v2 mount")
    if {"cpu", "memory"} <= set((v2 / "cgroup.controllers").read_text().split()):
        pytest.skip("this machine's v2 hierarchy has controllers: the suite above runs on it")
    machine = Real(lambda **more: V2Groups(Files(), v2, **more))
    one = machine.groups.create(Limits())
    try:
        pid = machine.stay(one)
        assert one.processes() == [pid]
        machine.burn(one, 0.05)
        assert one.usage().cpu_ns >= 0.05e9
    finally:
        one.close()
    assert machine.started[0].wait() == -9
    assert not (v2 / one.name).exists()
    with pytest.raises(CgroupError, match=r"expected the controllers cpu, memory, found"):
        machine.groups.create(Limits(quota_m=100, memory_bytes=MIB))


V2_FILES = {  # as Linux 6.1 writes them
    "cpu.stat": "usage_usec 2500123\nuser_usec 2000000\nsystem_usec 500123\ncore_sched.force_idle_usec 0\n"
    "nr_periods 41\nnr_throttled 17\nthrottled_usec 1234567\nnr_bursts 0\nburst_usec 0\n",
    "memory.peak": "67108864\n",
    "memory.events": "low 0\nhigh 0\nmax 812\noom 3\noom_kill 1\noom_group_kill 0\n",
    "cgroup.procs": "12\n7\n",
    "cgroup.controllers": "cpuset cpu io memory pids\n",
}


class Recorded:
    """A tree that holds files as the kernel wrote them."""

    def __init__(self, files: dict[str, str]) -> None:
        self.files = files

    def read(self, path: Path) -> str:
        if path.name not in self.files:
            raise FileNotFoundError(path)
        return self.files[path.name]


def test_the_kernels_v2_files_are_read() -> None:
    """oom_kill is not taken for oom_group_kill or oom, and microseconds become nanoseconds."""
    from edgeloop_components.profile.cgroup_v2 import V2Group

    group = V2Group(Path("/g"), Recorded(V2_FILES))  # type: ignore[arg-type]
    assert group.usage() == Usage(2_500_123_000, 41, 17, 1_234_567_000, 64 * MIB, 1)
    assert group.processes() == [7, 12]


def test_mounts_are_read() -> None:
    """Version 1 mounts with one and with two controllers, named hierarchies left out, escaped spaces."""
    text = (
        "cgroup2 /sys/fs/cgroup/uni\\040fied cgroup2 rw 0 0\n"
        "cgroup /sys/fs/cgroup/cpu,cpuacct cgroup rw,relatime,cpu,cpuacct 0 0\n"
        "cgroup /sys/fs/cgroup/systemd cgroup rw,name=systemd 0 0\n"
        "cgroup /sys/fs/cgroup/memory cgroup rw,memory 0 0\n"
    )
    v2, v1 = mounts_of(text)
    assert v2 == Path("/sys/fs/cgroup/uni fied")
    assert v1["cpu"] == v1["cpuacct"] == Path("/sys/fs/cgroup/cpu,cpuacct")
    assert v1["memory"] == Path("/sys/fs/cgroup/memory")


def test_without_a_hierarchy_it_says_so() -> None:
    """The reason goes into the profile's method."""
    assert open_groups("tmpfs / tmpfs rw 0 0\n") == "no cgroup hierarchy is mounted"
    nowhere = "cgroup2 /nonexistent/cgroup cgroup2 rw 0 0\n"
    found = open_groups(nowhere)
    assert isinstance(found, str)
    assert "v2: " in found


def test_names_tell_their_owner() -> None:
    """This process is alive; the same id with another start time is another process."""
    owner = owner_of(new_name())
    assert owner is not None
    assert owner[0] == os.getpid()
    assert alive(*owner)
    assert not alive(owner[0], "1")
    assert owner_of("docker") is None
    assert owner_of("edgeloop-profile-1-7-7-0") is None, "of another process namespace"
    assert field_of("oom 3\noom_kill 1\n", "kill") == 0
