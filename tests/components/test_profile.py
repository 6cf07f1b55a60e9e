"""Profile: the real server is measured, under limits that are real, and nothing stays behind."""

from __future__ import annotations

import importlib
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeloop_components.package.layers import host_platform
from edgeloop_components.profile.cgroups import Groups, Limits, open_groups, owner_of
from edgeloop_components.profile.core import FULL, QUICK, BudgetError, ProfileError, profile
from edgeloop_components.profile.load import http_request, pack_requests
from edgeloop_components.profile.rows import request_bodies, sample_rows
from edgeloop_components.profile.subject import foreign_mib, subject_of
from edgeloop_components.profile.trial import Bench, Running, StartFailed
from edgeloop_components.runtimes import RUNTIMES
from edgeloop_contracts import (
    CalibrationMap,
    FeatureReference,
    Loop,
    ModelVersion,
    Reference,
    dumps,
    from_json,
    loads,
    schema_hash_of,
    to_json,
)

MIB = 1 << 20
FEATURES = (
    FeatureReference(
        name="a", kind="number", edges=(0.0, 1.0), counts=(1,) * 4, quantum=0.001, minimum=-5.0, maximum=9.0
    ),
    FeatureReference(name="k", kind="category", categories=("x", "y"), counts=(1, 1, 1)),
)
CLASSES = ("no", "yes")
SHORT = replace(QUICK, point_s=0.2, longest_point_s=0.2, warm_s=0.1, steps=2)


def make_loop(*, runtime: str = "onnxruntime", platform: str = host_platform(), **budget: float) -> Loop:
    target = {"name": "cabinet", "nodes": {"group": "cabinets"}, "budget": budget, "runtime": runtime}
    document = {
        "apiVersion": "edgeloop.dev/v1alpha1",
        "kind": "Loop",
        "metadata": {"name": "small"},
        "data": {"source": "x.csv", "label": "y", "features": ["a", "k"]},
        "train": {"estimator": "sklearn.linear_model.LogisticRegression"},
        "targets": [{**target, "platform": platform}],
    }
    return from_json(Loop, document)


def _write_graph(path: Path) -> None:
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.array([[1.0, -1.0], [0.5, 0.25]], np.float32), "W")
    nodes = [
        helper.make_node("MatMul", ["X", "W"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
    ]
    inputs = [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N", 2])]
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]),
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 2]),
    ]
    graph = helper.make_graph(nodes, "g", inputs, outputs, [weights])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    path.write_bytes(model.SerializeToString())


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small real model with all its documents."""
    folder = tmp_path_factory.mktemp("model")
    _write_graph(folder / "model.onnx")
    reference = Reference(
        loop="small",
        schema_hash=schema_hash_of(FEATURES, CLASSES),
        rows=10,
        features=FEATURES,
        classes=CLASSES,
        calibration=CalibrationMap(x=(0.0, 1.0), y=(0.0, 1.0)),
        window_s=3600,
    )
    (folder / "reference.json").write_text(dumps(reference))
    from edgeloop_components.runtimes import onnxruntime

    rows = np.array(sample_rows(FEATURES, 3, 8), np.float32)
    labels, probabilities = onnxruntime.load(folder)(rows)
    golden = {"rows": rows.tolist(), "probabilities": probabilities.tolist(), "labels": labels.tolist()}
    (folder / "golden.json").write_text(json.dumps(golden))
    zero = "sha256:" + "0" * 64
    version = ModelVersion(
        loop="small", number=1, state="accepted", run_key="k", snapshot=zero, onnx=zero, reference=zero, golden=zero,
        schema_hash=reference.schema_hash,
    )  # fmt: skip
    (folder / "version.json").write_text(dumps(version))
    return folder


@pytest.fixture(scope="module", params=[name for name, row in RUNTIMES.items() if not row.judged])  # those: tests/fpga
def runtime(request: pytest.FixtureRequest) -> str:
    name: str = request.param
    return name


@pytest.fixture(scope="module")
def compiled(runtime: str, model: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The model compiled for each runtime in turn."""
    folder = tmp_path_factory.mktemp("compiled")
    for name in ("reference.json", "golden.json", "version.json"):
        (folder / name).write_bytes((model / name).read_bytes())
    RUNTIMES[runtime].compile(model, folder, make_loop(runtime=runtime).targets[0])
    return folder


@pytest.fixture
def groups() -> Groups:
    found = open_groups()
    if isinstance(found, str):
        pytest.skip(f"control groups cannot be used here: {found}")
    return found


@pytest.fixture
def bench(compiled: Path, runtime: str, groups: Groups) -> Callable[..., Bench]:
    def make(**more: Any) -> Bench:
        subject = subject_of(compiled, make_loop(runtime=runtime).targets[0])
        bodies = request_bodies(loads(Reference, (compiled / "reference.json").read_bytes()), 1)
        requests = pack_requests(http_request("POST", subject.route, body) for body in bodies)
        how = {"patience_s": 30.0, "timeout_s": 1.0, "fresh": False, **more}
        return Bench(subject=subject, groups=groups, requests=requests, **how)

    return make


def left_behind() -> list[str]:
    """Groups of this process that are still there."""
    tops = [Path("/sys/fs/cgroup"), *Path("/sys/fs/cgroup").glob("*")]
    names = {path.name for top in tops if top.is_dir() for path in top.glob("edgeloop-profile-*")}
    return sorted(name for name in names if (owner_of(name) or (0,))[0] == os.getpid())


def test_the_real_server_is_measured(compiled: Path, runtime: str) -> None:
    """The figures hang together, the resources cover them, and the method says what was done."""
    loop = make_loop(runtime=runtime)
    said: list[str] = []
    found = profile(loop, loop.targets[0], compiled, plan=SHORT, say=said.append)
    assert 0 < found.latency_p50_ms <= found.latency_p99_ms
    assert found.latency_p99_low_ms is None or found.latency_p99_low_ms <= found.latency_p99_ms
    assert found.latency_limit_ms == 100
    assert found.load_ms > 0
    assert found.memory_peak_mib > 0
    need = found.memory_floor_mib or found.memory_peak_mib
    assert need < found.memory_request_mib <= found.memory_limit_mib
    assert 1 <= found.cpu_request_m <= found.cpu_limit_m
    assert (found.cpu_us_per_request or 0) > 0
    assert found.method.startswith("quick: the real server on the build machine, ")
    assert found.limited == ("under cgroup" in found.method)
    assert [p for p in found.points if p.rate_per_s]
    assert all(p.ok or p.why for p in found.points)
    assert any("a start without a memory limit" in line for line in said)
    assert loads(type(found), dumps(found)) == found
    assert left_behind() == []


def test_without_control_groups_it_says_so(compiled: Path, runtime: str) -> None:
    """It measures all the same, marks the profile as not limited, and the reason is in the method.

    A parent of 400 MiB does not make the server larger: the trap of getrusage after fork and exec.
    """
    ballast = np.ones(400 * 2**17)
    loop = make_loop(runtime=runtime)
    found = profile(loop, loop.targets[0], compiled, plan=SHORT, groups="no cgroup hierarchy is mounted")
    assert not found.limited
    assert "without limits (no cgroup hierarchy is mounted)" in found.method
    assert found.memory_floor_mib is None
    assert 0 < found.memory_peak_mib < 200
    assert ballast.sum() == 400 * 2**17
    assert {p.quota_m for p in found.points} == {0}
    assert found.cpu_limit_m == 1000
    assert (found.cpu_us_per_request or 0) > 0


def test_a_server_of_a_foreign_platform_is_measured_as_this_machines(compiled: Path, runtime: str) -> None:
    """Native: the same C code, compiled for this machine; the method says for which platform it stands in."""
    loop = make_loop(runtime=runtime, platform="linux/arm64")
    if host_platform() == "linux/arm64":
        pytest.skip("linux/arm64 is not foreign here")
    found = profile(loop, loop.targets[0], compiled, plan=replace(SHORT, steps=1))
    assert f"the real server on {host_platform()} for linux/arm64" in found.method
    assert ("compiled for this machine" in found.method) == (runtime == "native")


def test_a_budget_is_refused_with_numbers(compiled: Path, runtime: str) -> None:
    """Every part that is broken is named, with what is allowed and what is needed.

    One step at most of a load is made, and more only where its queries fail: on a machine with much else to do the first load may
    be far above what is left for a native server, and then there is no latency to judge.
    """
    loop = make_loop(runtime=runtime, memory_mib=4, latency_p99_ms=0.01)
    broken = [r"latency_p99_ms: at most 0\.01, needs .*"]
    broken += [r"memory_mib: at most 4, needs \d+"] if runtime == "onnxruntime" else []  # native code keeps the least
    with pytest.raises(BudgetError, match="; ".join(broken)):
        profile(loop, loop.targets[0], compiled, plan=replace(SHORT, steps=1))


def test_a_server_that_does_not_start_says_why(tmp_path: Path, model: Path) -> None:
    """The last words of the server are in the message; a folder without documents is refused before."""
    for name in ("reference.json", "golden.json", "version.json"):
        (tmp_path / name).write_bytes((model / name).read_bytes())
    (tmp_path / "model.onnx").write_bytes(b"nothing")
    loop = make_loop()
    with pytest.raises(ProfileError, match=r"ended with exit code 3.*model that onnxruntime can load"):
        profile(loop, loop.targets[0], tmp_path)
    (tmp_path / "golden.json").unlink()
    with pytest.raises(ProfileError, match=r"expected golden\.json beside the model"):
        profile(loop, loop.targets[0], tmp_path)


def test_a_quota_stops_the_server(bench: Callable[..., Bench]) -> None:
    """Under a tenth of a core the kernel throttles it; its CPU time stays near the quota whatever is offered."""
    with bench().started(Limits(quota_m=100)) as running:
        before = running.usage()
        load = running.offer(20_000.0, 0.5, 1)
        after = running.usage()
        assert before is not None
        assert after is not None
        assert after.throttled > before.throttled
        assert after.cpu_ns - before.cpu_ns < 0.1 * (load.elapsed_s + 6) * 1e9


def test_a_tiny_memory_limit_ends_the_server(bench: Callable[..., Bench], runtime: str) -> None:
    """Far below the floor the kernel kills it, and that is what the failure says."""
    limit = 12 * MIB if runtime == "onnxruntime" else 64 * 1024
    with (
        pytest.raises(StartFailed, match=r"OOM kills: [1-9]"),
        bench(patience_s=10.0).started(Limits(memory_bytes=limit)),
    ):
        pytest.fail("it must not become ready")
    assert left_behind() == []


def test_above_the_floor_the_server_lives(bench: Callable[..., Bench], runtime: str) -> None:
    """Under a limit that suits it every query is answered, nothing is killed, and the peak keeps to the limit."""
    limit_mib = 160 if runtime == "onnxruntime" else 4
    with bench().started(Limits(memory_bytes=limit_mib * MIB)) as running:
        load = running.offer(200.0, 0.5, 2)
        usage = running.usage()
        assert usage is not None
        assert load.errors == {}
        assert usage.oom_kills == 0
        assert 0 < usage.memory_peak_bytes <= limit_mib * MIB
        assert running.process.poll() is None


def test_a_trial_that_breaks_leaves_nothing(bench: Callable[..., Bench]) -> None:
    """Process, group and folder are gone, whatever happened inside."""
    seen: list[Running] = []

    def broken() -> None:
        with bench().started(Limits(quota_m=500)) as running:
            seen.append(running)
            assert running.folder.exists()
            assert running.group is not None
            assert running.process.pid in running.group.processes()
            raise RuntimeError("by accident")

    with pytest.raises(RuntimeError, match="by accident"):
        broken()
    assert seen[0].process.poll() is not None
    assert not seen[0].folder.exists()
    assert left_behind() == []


KILLED = """
import subprocess, sys, time
from edgeloop_components.profile.cgroups import Limits, open_groups
group = open_groups().create(Limits(quota_m=500))
child = subprocess.Popen(group.command(["/bin/sh", "-c", "echo in; exec sleep 600"]), stdout=subprocess.PIPE)
child.stdout.readline()
print(group.name, child.pid, flush=True)
time.sleep(600)
"""


def test_what_a_killed_profiler_left_is_collected(groups: Groups) -> None:
    """SIGKILL to the profiler: its group and what runs in it are gone once the next one begins."""
    with subprocess.Popen([sys.executable, "-c", KILLED], stdout=subprocess.PIPE, text=True) as process:
        assert process.stdout is not None
        name, pid = process.stdout.readline().split()
        assert name not in groups.collect(), "its owner lives"
        process.kill()
    assert Path(f"/proc/{pid}").exists()
    again = open_groups()
    assert not isinstance(again, str)
    status = Path(f"/proc/{pid}/stat")
    assert not status.exists() or status.read_text().rpartition(")")[2].split()[0] == "Z"
    assert name not in again.collect()


@pytest.mark.slow
def test_the_whole_plan_hangs_together(compiled: Path, runtime: str, groups: Groups) -> None:
    """Quotas, threads, floor and confirmation, in small: the floor is below the limits, and every kind of point is there."""
    plan = replace(
        FULL, quotas_m=(500, 1000), repeats=1, steps=2, point_s=0.3, longest_point_s=1.0, warm_s=0.2, confirm_s=0.5
    )
    loop = make_loop(runtime=runtime)
    found = profile(loop, loop.targets[0], compiled, plan=plan, groups=groups)
    assert found.memory_floor_mib is not None
    assert 0 < found.memory_floor_mib < found.memory_request_mib
    more = {2000} if runtime == "onnxruntime" and len(os.sched_getaffinity(0)) > 1 else set()  # of two threads
    assert {p.quota_m for p in found.points if p.rate_per_s} == {500, 1000} | more
    assert {p.ok for p in found.points if not p.rate_per_s} == {True, False}, "limits that serve and limits that do not"
    if found.confirmed:
        assert (found.rate_low_per_s or 0) <= (found.rate_per_s or 0)
        assert "rate confirmed" in found.method
    assert "memory floor searched" in found.method
    assert left_behind() == []


REPEATED = replace(
    FULL, steps=4, point_s=0.5, longest_point_s=1.5, warm_s=0.2, confirm_s=0.5, floor=False, fresh=False, climb=False
)


@pytest.mark.long
def test_repeated_profiles_recommend_the_same_quota(compiled: Path, runtime: str, groups: Groups) -> None:
    """Twice on this machine, with points ten times shorter than the full plan's: the same rung of the ladder, or its neighbour.

    A rung is 2 to 2.5 times the one below. A demand may lie at the edge of one, and this machine's speed may change between the
    profiles: then the neighbour is right. Two rungs apart would mean that CPU time was measured wrong by more than twice.
    """
    demand_per_s = {"native": 5000.0, "onnxruntime": 400.0}[runtime]
    loop = make_loop(runtime=runtime, requests_per_s=demand_per_s)
    ladder = REPEATED.quotas_m
    found = [profile(loop, loop.targets[0], compiled, plan=REPEATED, groups=groups) for _ in range(2)]
    places = [ladder.index(one.cpu_limit_m) for one in found]
    assert abs(places[0] - places[1]) <= 1, [(one.cpu_limit_m, one.cpu_us_per_request) for one in found]
    for one in found:
        assert one.cores == one.threads == 1
        assert (one.cpu_us_low_per_request or 0) <= (one.cpu_us_high_per_request or 0)
        assert one.cpu_limit_m >= demand_per_s * (one.cpu_us_per_request or 0) / 1000
        assert {point.quota_m for point in one.points if point.rate_per_s} == set(ladder)
    assert left_behind() == []


@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core only")
def test_one_thread_uses_one_core(bench: Callable[..., Bench]) -> None:
    """Why cores are swept together with threads: with two cores and load for ten, a server of one thread takes one."""
    with bench().started(Limits()) as running:
        began_s, before_s = time.monotonic(), running.cpu_s()
        running.offer(60_000.0, 1.0, 3)
        spent_s = running.cpu_s() - before_s
        assert 0.05 < spent_s <= 1.05 * (time.monotonic() - began_s), "of one core; the load lasts a second and more"


def test_threads_reach_the_server(bench: Callable[..., Bench], runtime: str) -> None:
    """onnxruntime's own pool has one thread more when it is told two; a native server stays one thread."""
    counts = {}
    for threads in (1, 2):
        with bench().started(Limits(), threads) as running:
            counts[threads] = len(list(Path(f"/proc/{running.process.pid}/task").iterdir()))
    assert counts[2] - counts[1] == (1 if runtime == "onnxruntime" else 0)
    assert runtime != "native" or counts[1] == 1


@pytest.mark.slow
@pytest.mark.skipif(len(os.sched_getaffinity(0)) < 2, reason="one core only")
def test_threads_are_swept_where_one_does_not_bear_the_demand(compiled: Path, runtime: str, groups: Groups) -> None:
    """A demand beyond one thread: onnxruntime is measured with two, on two cores and their quota; native code has one.

    Nothing bears so much, and that is said with the numbers; a demand that is beyond all CPU time is not offered.
    """
    loop, said = make_loop(runtime=runtime, requests_per_s=1e6), list[str]()
    with pytest.raises(
        BudgetError, match=r"requests_per_s: at least 1e\+06, .* with .*; the demand takes \d+m of [12]000m"
    ):
        profile(loop, loop.targets[0], compiled, plan=SHORT, groups=groups, say=said.append)
    swept = {line.partition(": ")[0] for line in said if "/s: p99" in line}
    two = {"2000m on 2 cores, 2 threads"} if runtime == "onnxruntime" else set()
    assert swept == {"1000m on 1 core"} | two


SMAPS = """\
55d0-55d9 r-xp 00000000 fe:00 99 /usr/bin/python3
Size: 40 kB
Rss: 2048 kB
Anonymous: 0 kB
7f00-7f99 rw-p 00001000 fe:00 98 /usr/lib/libx.so
Rss: 1024 kB
Anonymous: 512 kB
7f99-7fa9 r-xp 00000000 fe:00 97 /tmp/copy/site/own.so
Rss: 4096 kB
Anonymous: 0 kB
7ffc-7ffd rw-p 00000000 00:00 0 [stack]
Rss: 132 kB
Anonymous: 132 kB
"""


def test_files_that_others_paid_for_are_counted() -> None:
    """Mapped files outside the copy, without the pages that the process has written to."""
    assert foreign_mib(SMAPS, Path("/tmp/copy")) == 2.5
    assert foreign_mib(SMAPS, Path("/elsewhere")) == 6.5


def test_sampled_rows_are_distinct_and_within_the_reference() -> None:
    """Branch prediction flatters a model that is asked the same again and again."""
    rows = sample_rows(FEATURES, seed=1)
    assert len({json.dumps(row) for row in rows}) == len(rows) == 256
    assert all(-5.0 <= a <= 9.0 and k in (0.0, 1.0) for a, k in rows)
    assert sum(0.0 <= a <= 1.0 for a, _ in rows) > 40  # every bin equally often, not every length
    assert rows == sample_rows(FEATURES, seed=1) != sample_rows(FEATURES, seed=2)


def test_the_wrapper_writes_the_profile(
    compiled: Path, runtime: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The step's file is the profile; EDGELOOP_PROFILE picks the plan, and a wrong name is refused with what there is."""
    from edgeloop_components.steps import Step

    wrapping = importlib.import_module("edgeloop_components.wrapping")
    (tmp_path / "compiled").mkdir()
    (tmp_path / "compiled" / "model").symlink_to(compiled)
    step = Step("profile", "cabinet", make_loop(runtime=runtime), "k")
    found = wrapping.measure(step, str(tmp_path / "compiled"), str(tmp_path / "out"))
    assert json.loads((tmp_path / "out" / "profile.json").read_text()) == to_json(found)
    assert re.match("quick: ", found.method)
    monkeypatch.setenv("EDGELOOP_PROFILE", "slow")
    with pytest.raises(ValueError, match="EDGELOOP_PROFILE: expected quick or full, got slow"):
        wrapping.measure(step, str(tmp_path / "compiled"), str(tmp_path / "out"))
