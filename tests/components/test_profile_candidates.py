"""Candidates are really compiled and measured, and the commands show it."""

from __future__ import annotations

import hashlib
import json
import os
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from edgeloop_components.package.layers import host_platform
from edgeloop_components.profile.candidates import Way, _pointless, light_latency_ms, measure_all, quantised, ways
from edgeloop_components.profile.pareto import Candidate
from edgeloop_components.profile.plan import QUICK
from edgeloop_contracts import ProfilePoint, ResourceProfile, Target, dumps
from edgeloop_contracts.loop import Budget, Capabilities, NodeSelector
from edgeloop_pipelines.cli import profile as cli
from edgeloop_pipelines.cli.console import UserError

SHORT = replace(QUICK, point_s=0.2, longest_point_s=0.2, warm_s=0.1, steps=1)
TARGET = Target(name="t", nodes=NodeSelector(group="g"), platform=host_platform())  # type: ignore[arg-type]


def write_network(path: Path, hidden: int) -> Path:
    """A classifier with one hidden layer: 24 * hidden weights in its first matrix."""
    from onnx import TensorProto, helper, numpy_helper, save

    draw = np.random.default_rng(0)
    first, last = draw.normal(size=(24, hidden)), draw.normal(size=(hidden, 3)) / hidden
    weights = [numpy_helper.from_array(w.astype(np.float32), n) for w, n in ((first, "W"), (last, "V"))]
    nodes = [
        helper.make_node("MatMul", ["X", "W"], ["h"]),
        helper.make_node("Relu", ["h"], ["r"]),
        helper.make_node("MatMul", ["r", "V"], ["s"]),
        helper.make_node("Softmax", ["s"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["s"], ["label"], axis=1, keepdims=0),
    ]
    inputs = [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N", 24])]
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]),
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 3]),
    ]
    graph = helper.make_graph(nodes, "g", inputs, outputs, weights)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9), path)
    return path


@pytest.fixture(scope="module")
def network(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A file on its own, wide enough for 8-bit weights."""
    return write_network(tmp_path_factory.mktemp("network") / "wide.onnx", 256)


@pytest.fixture
def short(monkeypatch: pytest.MonkeyPatch) -> None:
    """The quick plan in small."""
    monkeypatch.setattr(cli, "_plan", lambda name: SHORT)


def run(function: Callable[..., None], *words: str) -> None:
    """Runs a command with the words of a command line."""
    app = typer.Typer()
    app.command()(function)
    app(list(words), standalone_mode=False)


def test_the_ways_follow_the_platform() -> None:
    """All runtimes of the platform, 8 bits beside onnxruntime, and the instruction set that the nodes have."""
    names = [way.name for way in ways(replace(TARGET, platform="linux/amd64"))]
    assert names == ["onnxruntime", "onnxruntime int8", "native"]
    assert [way.name for way in ways(replace(TARGET, platform="linux/arm/v7"))] == ["native"]
    wide = replace(TARGET, platform="linux/amd64", has=Capabilities(instruction_set="x86-64-v3"))
    assert [way.name for way in ways(wide)] == [*names, "native x86-64-v3"]


def test_the_ways_include_threads() -> None:
    """Of onnxruntime, with 8 bits or without; a native server has one. Not more than cores, nor than the budget pays."""
    target = replace(TARGET, platform="linux/amd64")
    both = ["onnxruntime", "onnxruntime int8"]
    two, four = ([f"{name}, {n} threads" for name in both] for n in (2, 4))
    assert [way.name for way in ways(target, 2)] == [*both, *two, "native"]
    assert [(way.name, way.threads) for way in ways(target, 4) if way.threads == 4] == [(name, 4) for name in four]
    poor = replace(target, budget=Budget(cpu_m=1000, requests_per_s=7))
    assert {way.threads for way in ways(poor, 8)} == {1}
    assert all(way.target.budget == Budget(requests_per_s=7) for way in ways(poor, 8)), (
        "limits are weighed, not applied"
    )


def test_eight_bits_apply_to_large_products_only(tmp_path: Path, network: Path) -> None:
    """The quantised file is smaller; a small network is left as it is, with the reason."""
    assert quantised(network, tmp_path / "q.onnx") == ""
    assert (tmp_path / "q.onnx").stat().st_size < network.stat().st_size / 2
    small = write_network(tmp_path / "small.onnx", 8)
    assert "no matrix product or convolution with 4096" in quantised(small, tmp_path / "none.onnx")
    assert not (tmp_path / "none.onnx").exists()


@pytest.mark.slow
def test_every_candidate_is_measured(tmp_path: Path, network: Path) -> None:
    """Each is a real server; the reference agrees with itself, 8 bits nearly; the native one has the smallest image."""
    loop = cli._lone_loop(network, "native", (None, None, None))
    folder = cli._lone_folder(network, tmp_path, loop, 0)
    found = measure_all(loop, loop.targets[0], folder, plan=SHORT)
    by_name = {candidate.name: candidate for candidate, _ in found}
    assert set(by_name) >= {"onnxruntime", "onnxruntime int8", "native"}
    if len(os.sched_getaffinity(0)) > 1:
        assert by_name["onnxruntime, 2 threads"].threads == 2
        assert by_name["onnxruntime, 2 threads"].accuracy == 1.0
    assert {one.threads for one in by_name.values() if one.runtime == "native"} == {1}
    assert by_name["onnxruntime"].accuracy == 1.0
    assert by_name["native"].accuracy == 1.0
    assert 0.8 < by_name["onnxruntime int8"].accuracy <= 1.0
    assert by_name["native"].size_mib < 1 < by_name["onnxruntime"].size_mib
    assert by_name["native"].memory_mib < by_name["onnxruntime"].memory_mib
    assert all(profile.points for _, profile in found)


def test_a_way_that_cannot_be_measured_is_left_out(
    network: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """And told, as one is that does not bear a stated demand; the others are compared. Where none is left that is an error."""
    from edgeloop_components.profile import candidates
    from edgeloop_components.profile.core import BudgetError, ProfileError
    from edgeloop_components.profile.load import LoadError

    loop = cli._lone_loop(network, "native", (None, None, None))
    folder = cli._lone_folder(network, tmp_path, loop, 0)
    named = [Way(name, loop.targets[0]) for name in ("one", "two", "three", "four")]
    faults = iter([ProfileError("not ready"), None, LoadError("no compiler"), BudgetError("at least 1500")])

    def measured(*_: Any, **__: Any) -> ResourceProfile:
        fault = next(faults, ProfileError("again"))
        if fault:
            raise fault
        return PROFILE

    monkeypatch.setattr(candidates, "ways", lambda *_: named)
    monkeypatch.setattr(candidates, "profile", measured)
    said: list[str] = []
    found = measure_all(loop, loop.targets[0], folder, say=said.append)
    assert [candidate.name for candidate, _ in found] == ["two"]
    left = [line for line in said if "left out" in line]
    assert left == ["one: left out: not ready", "three: left out: no compiler", "four: left out: at least 1500"]
    with pytest.raises(ProfileError, match="no way to serve the model can be measured: one: again; two: again;"):
        measure_all(loop, loop.targets[0], folder)


@pytest.mark.usefixtures("short")
def test_a_lone_file_is_measured_and_drawn(network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`edgeloop model profile`: JSON for programs, a picture where one is asked for."""
    run(cli.model_command, str(network), "--json", "--plot", str(tmp_path / "p.svg"))
    (found,) = json.loads(capsys.readouterr().out)["profiles"]
    assert (found["loop"], found["target"]) == ("wide", "here")
    assert found["memory_request_mib"] >= 4
    assert (tmp_path / "p.svg").read_text().startswith("<?xml")


@pytest.mark.usefixtures("short")
def test_a_limit_is_kept_or_an_error(network: Path) -> None:
    """A lone file has no loop.yaml: its limits are options."""
    from edgeloop_components.profile.core import BudgetError

    with pytest.raises(BudgetError, match=r"latency_p99_ms: at most 0\.01, needs"):
        run(cli.model_command, str(network), "--latency-p99-ms", "0.01", "--memory-mib", "4")


@pytest.mark.parametrize(("option", "least"), [("latency-p99-ms", 0.01), ("memory-mib", 4), ("cpu-m", 10)])
def test_a_limit_that_nothing_can_keep_is_refused_before_anything_is_measured(
    network: Path, monkeypatch: pytest.MonkeyPatch, option: str, least: float
) -> None:
    """The least is that of loop.yaml: a server that needs next to nothing keeps it, and below it there is none."""
    from edgeloop_contracts import ContractError

    name = option.replace("-", "_")
    limits = {"latency_p99_ms": None, "memory_mib": None, "cpu_m": None}
    monkeypatch.setattr(cli, "_lone_folder", lambda *_: pytest.fail("it must not get so far"))
    with pytest.raises(typer.BadParameter, match=f"greater than or equal to {least}"):
        run(cli.model_command, str(network), f"--{option}", str(least * 0.99))
    with pytest.raises(ContractError, match=rf"budget\.{name}: expected >= {least}, got"):
        cli._lone_loop(network, "native", list({**limits, name: least * 0.99}.values()))
    assert getattr(cli._lone_loop(network, "native", list({**limits, name: least}.values())).targets[0].budget, name)


PROFILE = ResourceProfile(
    loop="pump", target="cab", method="quick: made up", latency_p50_ms=1.0, latency_p99_ms=2.0, memory_peak_mib=3.0,
    rate_per_s=500.0, rate_low_per_s=400.0, cpu_request_m=10, cpu_limit_m=100, memory_request_mib=4,
    memory_limit_mib=16, points=(ProfilePoint(quota_m=100, rate_per_s=100, latency_p99_ms=2.0, ok=True),),
)  # fmt: skip


def test_a_profile_is_shown(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """From a step's file, with its interval; a file that is none is refused with what is expected."""
    (tmp_path / "profile.json").write_text(dumps(PROFILE))
    run(cli.command, str(tmp_path / "profile.json"), "--plot", str(tmp_path / "p.png"))
    shown = capsys.readouterr().out
    for words in (
        "500 requests a second (400 to ?)",
        "CPU, request / limit",
        "memory, peak / floor",
        "sustainable rate",
    ):
        assert words in shown
    assert (tmp_path / "p.png").exists()
    (tmp_path / "other.json").write_text("{}")
    with pytest.raises(UserError):
        run(cli.command, str(tmp_path / "other.json"))


def test_a_loops_last_profile_is_read_from_the_catalog(
    objects: Any, build: Any, version_files: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of the newest version that has packages; an unknown loop or target names what there is."""
    import contextlib

    from edgeloop_components.catalog import catalog
    from edgeloop_contracts import Package

    monkeypatch.setattr(cli, "open_objects", lambda home: contextlib.nullcontext(objects))
    for key in ("k1", "k2"):
        catalog.register(objects, "turbine", build(key), key, version_files)
    package = Package(
        loop="turbine", version=1, target="cab", platform="linux/amd64", runtime="native", repository="edgeloop/t/cab",
        digest="sha256:" + "0" * 64, size_bytes=1, profile=PROFILE,
    )  # fmt: skip
    catalog.put_package(objects, package)
    run(cli.command, "turbine", "--json")
    assert [found["rate_per_s"] for found in json.loads(capsys.readouterr().out)] == [500]
    with pytest.raises(UserError, match="no profile for target gate"):
        run(cli.command, "turbine", "--target", "gate")
    with pytest.raises(UserError, match="pump: no such loop, folder or file"):
        run(cli.command, "pump")


def test_a_wrong_plan_is_refused() -> None:
    """With the names that there are."""
    with pytest.raises(UserError, match="--plan: expected quick or full, got slow"):
        cli._plan("slow")


def test_more_threads_are_left_out_once_they_do_not_pay() -> None:
    """Four only where two were faster than one."""
    one = Candidate("onnxruntime", "onnxruntime", 1, "", False, 1.0, 80.0, 40.0, 1.0)
    two = replace(one, name="onnxruntime, 2 threads", threads=2)
    four = next(way for way in ways(replace(TARGET, platform="linux/amd64"), 4) if way.threads == 4)
    assert _pointless(four, [one, two]) == "2 threads were no faster than 1"
    assert _pointless(four, [one, replace(two, latency_ms=0.6)]) == ""
    assert _pointless(replace(four, threads=2), [one]) == ""
    assert _pointless(four, [replace(one, quantised=True), two]) == "", "another way's figures do not count"


def test_candidates_are_compared_at_a_like_load() -> None:
    """The lightest load under the largest quota, and not the highest rate that a way keeps."""
    points = (
        ProfilePoint(quota_m=100, rate_per_s=10, latency_p99_ms=60.0, ok=True),
        ProfilePoint(quota_m=1000, rate_per_s=900, latency_p99_ms=90.0, ok=True),
        ProfilePoint(quota_m=1000, rate_per_s=300, latency_p99_ms=3.0, ok=True),
        ProfilePoint(quota_m=1000, memory_mib=4.0, ok=True),
    )
    assert light_latency_ms(replace(PROFILE, points=points, latency_p99_ms=90.0)) == 3.0
    assert light_latency_ms(replace(PROFILE, points=points[3:], latency_p99_ms=90.0)) == 90.0


def test_a_loops_candidates_are_weighed_by_its_budget(
    objects: Any, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str], network: Path, tmp_path: Path
) -> None:
    """`edgeloop profile LOOP --candidates`: the newest accepted version, the target's limits of loop.yaml, table and JSON."""
    import contextlib

    from edgeloop_components.catalog import catalog
    from edgeloop_components.profile import candidates
    from edgeloop_contracts import ModelVersion, loads
    from edgeloop_pipelines.cli import profile_candidates

    loop = cli._lone_loop(network, "native", (None, 4.0, None))
    folder = cli._lone_folder(network, tmp_path, loop, 0)
    files = {name: folder / name for name in ("model.onnx", "reference.json", "golden.json")}
    lone = loads(ModelVersion, (folder / "version.json").read_bytes())

    def made(number: int) -> ModelVersion:
        digests = {name.partition(".")[0]: _digest(path) for name, path in files.items()}
        return replace(lone, number=number, run_key="k", onnx=digests["model"], reference=digests["reference"],
                       golden=digests["golden"])  # fmt: skip

    catalog.put_loop(objects, loop)
    catalog.register(objects, loop.name, made, "k", files)
    monkeypatch.setattr(profile_candidates, "open_objects", lambda home: contextlib.nullcontext(objects))
    seen: list[Path] = []

    def measured(_loop: Any, target: Target, model: Path, **more: Any) -> list[tuple[Candidate, ResourceProfile]]:
        seen.append(model)
        assert {path.name for path in model.iterdir()} == {*files, "version.json"}
        small = Candidate("native", "native", 1, "", False, 0.3, 0.4, 0.1, 1.0)
        return [(replace(small, name="onnxruntime", memory_mib=80.0, latency_ms=0.1), PROFILE), (small, PROFILE)]

    monkeypatch.setattr(candidates, "measure_all", measured)
    run(cli.command, loop.name, "--candidates", "--json")
    found = json.loads(capsys.readouterr().out)
    assert found["choice"]["chosen"]["name"] == "native"
    assert found["choice"]["limits"]["memory_mib"] == 4.0
    assert "memory_mib: at most 4, has 80" in found["choice"]["verdicts"][0]["why"]
    run(cli.command, loop.name, "--candidates", "--plot", str(tmp_path / "front.svg"))
    assert "the least is chosen" in capsys.readouterr().out
    assert (tmp_path / "front.svg").is_file()
    assert len(seen) == 2
    with pytest.raises(UserError, match="--target: expected one of here, got there"):
        run(cli.command, loop.name, "--candidates", "--target", "there")
    with pytest.raises(UserError, match="pump: expected a loop, one of wide"):
        run(cli.command, "pump", "--candidates")


def _digest(path: Path) -> str:
    return "sha256:" + hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_picture_that_cannot_be_written_is_refused_before_anything_is_measured(network: Path) -> None:
    """With what its name must end in, and the folder that is not there."""
    with pytest.raises(UserError, match=r"--plot a.txt: expected a name that ends in \.svg, \.png, \.pdf"):
        run(cli.model_command, str(network), "--plot", "a.txt")
    with pytest.raises(UserError, match="expected an existing folder, found none at /nonexistent"):
        run(cli.command, "wide", "--plot", "/nonexistent/a.svg")


def test_a_model_is_not_taken_for_a_profile(network: Path) -> None:
    """`edgeloop profile m.onnx` names the command that measures it."""
    with pytest.raises(UserError, match=r"expected a profile\.json, got a model"):
        run(cli.command, str(network))


def test_what_was_not_limited_is_said(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """In the table too, not in the method alone; a limited one has no such line."""
    for limited in (False, True):
        (tmp_path / "profile.json").write_text(dumps(replace(PROFILE, limited=limited)))
        run(cli.command, str(tmp_path / "profile.json"))
        assert ("NOT under limits" in capsys.readouterr().out) is not limited
