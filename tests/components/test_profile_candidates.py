"""Candidates are really compiled and measured, and the commands show it."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import typer

from edgeloop_components.package.layers import host_platform
from edgeloop_components.profile.candidates import measure_all, quantised, ways
from edgeloop_components.profile.plan import QUICK
from edgeloop_contracts import ProfilePoint, ResourceProfile, Target, dumps
from edgeloop_contracts.loop import Capabilities, NodeSelector
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
    assert by_name["onnxruntime"].accuracy == 1.0
    assert by_name["native"].accuracy == 1.0
    assert 0.8 < by_name["onnxruntime int8"].accuracy <= 1.0
    assert by_name["native"].size_mib < 1 < by_name["onnxruntime"].size_mib
    assert by_name["native"].memory_mib < by_name["onnxruntime"].memory_mib
    assert all(profile.points for _, profile in found)


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

    with pytest.raises(BudgetError, match=r"latency_p99_ms: at most 1e-06.*memory_mib: at most 1, needs 4"):
        run(cli.model_command, str(network), "--latency-p99-ms", "0.000001", "--memory-mib", "1")


@pytest.mark.usefixtures("short")
def test_a_compiled_folder_is_measured(network: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """`edgeloop profile FOLDER`: what it was compiled for is seen by what lies in it."""
    loop = cli._lone_loop(network, "native", (None, None, None))
    compiled = cli._compiled(cli._lone_folder(network, tmp_path, loop, 0), tmp_path / "out", loop)
    run(cli.command, str(compiled))
    shown = capsys.readouterr().out
    for word in ("CPU, request / limit", "memory, peak / floor", "sustainable rate", "the real server"):
        assert word in shown


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
    assert "500 requests a second (400 to ?)" in shown
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
