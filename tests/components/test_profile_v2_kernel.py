"""Control groups of version 2 on a real kernel, where this machine has version 1: in User-mode Linux, a kernel that is a program.

The kernel boots in two seconds with this machine's files as its own, mounts cgroup2 with the controllers cpu and memory, and runs
there the suite of `test_profile_cgroups.py`, and one profile of a native server; what they write goes to memory. It has no
cpuset: cores under version 2 are shown on the simulator, and on machines whose own hierarchy is version 2.
"""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

from edgeloop_components.profile.cgroups import mounts_of

pytestmark = pytest.mark.long

TESTS = Path(__file__).resolve().parent
FETCH = "python tests/tools/fetch.py linux.uml"
BOOTS_WITHIN_S = 240
INIT = """\
#!/bin/sh
export PATH={path} HOME=/run TMPDIR=/run PYTHONDONTWRITEBYTECODE=1 XDG_CACHE_HOME={cache}
mount -t proc proc /proc; mount -t sysfs sys /sys; mount -t tmpfs tmp /run; ip link set lo up
mount -t cgroup2 none /sys/fs/cgroup
cd {folder} && {command}
echo "ended with $?"
echo o > /proc/sysrq-trigger; sleep 5
"""


def _kernel() -> str:
    """User-mode Linux's path, or a skip."""
    v2, _ = mounts_of(Path("/proc/self/mounts").read_text())
    if v2 and {"cpu", "memory"} <= set((v2 / "cgroup.controllers").read_text().split()):
        pytest.skip("this machine's own control groups are version 2: test_profile_cgroups.py runs on them")
    cache = Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache")
    tools = Path(os.environ.get("EDGELOOP_TOOLS") or cache / "edgeloop" / "tools")
    found = shutil.which("linux.uml") or shutil.which("linux.uml", path=tools / "usr" / "bin")
    if not found:
        pytest.skip(f"no User-mode Linux on this machine: {FETCH}")
    if os.geteuid():
        pytest.skip("not root: the kernel's files are this user's, and mount asks for root")
    return found


def _booted(tmp_path: Path, command: str) -> str:
    """What a command printed under a kernel of its own."""
    init = tmp_path / "init"
    path = f"{Path(sys.executable).parent}:/usr/sbin:/usr/bin:/sbin:/bin"
    cache = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    init.write_text(INIT.format(path=path, cache=cache, folder=TESTS.parent.parent, command=command))
    init.chmod(0o755)
    words = [
        "mem=1024M",
        "rootfstype=hostfs",
        "rootflags=/",
        "rw",
        f"init={init}",
        "con=null",
        "con0=fd:0,fd:1",
        "quiet",
    ]
    done = subprocess.run(
        [_kernel(), *words], stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=BOOTS_WITHIN_S,
        env={**os.environ, "TMPDIR": "/dev/shm"},
    )  # fmt: skip
    if "ended with" not in done.stdout:
        pytest.skip(f"User-mode Linux does not boot here: {(done.stdout + done.stderr)[-300:]}")
    return re.sub(r"\x1b\[[0-9;]*m", "", done.stdout)


def test_the_suite_passes_on_a_real_v2(tmp_path: Path) -> None:
    """Quota, memory limit, OOM kills, peak, collection: by the kernel's own version 2, not by the simulator."""
    suite = TESTS / "test_profile_cgroups.py"
    said = _booted(tmp_path, f"{sys.executable} -m pytest -q -rs -p no:cacheprovider -k 'real and v2' {suite}")
    assert "ended with 0" in said, said[-3000:]
    passed = re.search(r"(\d+) passed", said)
    assert passed, said[-3000:]
    assert int(passed[1]) >= 5, said[-3000:]
    assert "no cgroup v2 hierarchy" not in said


PROFILE = """
import sys
from pathlib import Path
from edgeloop_contracts import dumps
from edgeloop_pipelines.cli import profile as cli
from edgeloop_components.profile.core import QUICK, profile
model = Path(sys.argv[1])
loop = cli._made_loop("small", "native", (None, None, None))
print("PROFILE " + dumps(profile(loop, loop.targets[0], model, plan=QUICK)).replace(chr(10), " "))
"""


def test_a_profile_is_made_under_a_real_v2(tmp_path: Path, small_network: Path) -> None:
    """The whole way: groups are found, the native server runs in them, memory is searched, and the method says version 2."""
    import json

    from edgeloop_components.profile.load import generator
    from edgeloop_pipelines.cli import profile as cli

    loop = cli._lone_loop(small_network, "native", (None, None, None))
    compiled = cli._compiled(cli._lone_folder(small_network, tmp_path, loop, 0), tmp_path / "compiled", loop)
    (tmp_path / "profile.py").write_text(PROFILE)
    load = generator()
    said = _booted(tmp_path, f"EDGELOOP_LOAD={load} {sys.executable} {tmp_path / 'profile.py'} {compiled}")
    assert "ended with 0" in said, said[-3000:]
    found = json.loads(said.partition("PROFILE ")[2].splitlines()[0])
    assert "under cgroup v2 limits" in found["method"]
    assert found["limited"] is True
    assert 0 < found["memory_floor_mib"] <= found["memory_peak_mib"] * 2
    assert {point["ok"] for point in found["points"] if not point.get("rate_per_s")} == {True, False}
