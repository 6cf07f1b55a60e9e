"""Images of real wheels and code: deterministic, complete without this environment, within budget, small to update."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import pytest

from edgeloop_components.package import core, installed, layers, layout
from edgeloop_components.package.entry import server_script
from edgeloop_components.package.layers import File, Layer, PackageError
from edgeloop_components.runtimes import RUNTIMES
from edgeloop_contracts import (
    Capabilities,
    Loop,
    ModelVersion,
    Package,
    ResourceProfile,
    Target,
    digest_of,
    from_json,
    loads,
)

OTHER = {"linux/amd64": "linux/arm64", "linux/arm64": "linux/amd64"}[layers.host_platform()]


@pytest.fixture
def loop() -> Loop:
    """A loop with one onnxruntime target for this machine."""
    target = {"name": "cabinet", "platform": layers.host_platform(), "nodes": {"group": "cabinets"}}
    return from_json(
        Loop,
        {
            "apiVersion": "edgeloop.dev/v1alpha1",
            "kind": "Loop",
            "metadata": {"name": "turbine"},
            "data": {"source": "rows.csv", "label": "y", "features": ["a", "b"]},
            "train": {"onnx": "model.onnx"},
            "targets": [target],
        },
    )


@pytest.fixture
def version() -> ModelVersion:
    """turbine@3."""
    digests = {name: digest_of(name) for name in ("snapshot", "onnx", "reference", "golden")}
    return ModelVersion(loop="turbine", number=3, state="accepted", run_key="r3", created_s=1_700_000_000.5, **digests)


def compiled(folder: Path, bias: float = 0.5) -> Path:
    """A compiled model folder: a real ONNX graph of two features and two classes."""
    import numpy as np
    from onnx import TensorProto, helper, numpy_helper, save

    weights = numpy_helper.from_array(np.array([[1, -1], [0.5, 2]], np.float32), "W")
    bias_of = numpy_helper.from_array(np.array([bias, 0], np.float32), "b")
    nodes = [
        helper.make_node("Gemm", ["X", "W", "b"], ["z"]),
        helper.make_node("Softmax", ["z"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["z"], ["label"], axis=1, keepdims=0),
    ]
    graph = helper.make_graph(
        nodes,
        "model",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N", 2])],
        [
            helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]),
            helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 2]),
        ],
        [weights, bias_of],
    )
    folder.mkdir(parents=True)
    save(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8), folder / "model.onnx")
    (folder / "reference.json").write_text("{}")
    (folder / "golden.json").write_text('{"rows": [[1, 2]], "probabilities": [[0.5, 0.5]], "labels": [0]}')
    return folder


@pytest.fixture
def packed(loop: Loop, version: ModelVersion, images: Path, tmp_path: Path) -> Package:
    """turbine@3 for the cabinet."""
    return core.package(loop, version, loop.targets[0], compiled(tmp_path / "compiled"), images)


def test_package_says_what_is_in_the_image(packed: Package, version: ModelVersion, images: Path) -> None:
    """The Package names the image by digest, its size and its last layer; config and labels are as a node needs them."""
    assert (packed.loop, packed.version, packed.target, packed.runtime) == ("turbine", 3, "cabinet", "onnxruntime")
    assert packed.repository == "edgeloop/turbine/cabinet"
    assert layout.images(images)["edgeloop/turbine/cabinet:3"] == packed.digest
    assert packed.size_bytes == layout.image_size_bytes(images, packed.digest)
    last = layout.manifest(images, packed.digest)["layers"][-1]
    assert (packed.model_layer, packed.model_layer_bytes) == (last["digest"], last["size"])
    assert last["mediaType"].endswith(".tar")
    document = layout.image_config(images, packed.digest)
    assert f"{document['os']}/{document['architecture']}" == layers.host_platform()
    assert document["created"] == "2023-11-14T22:13:20Z"
    config = document["config"]
    assert config["User"] == "65532:65532"
    assert config["Entrypoint"] == ["/edgeloop/server"]
    assert set(config["Env"]) == {
        "EDGELOOP_MODEL=/models/turbine/3",
        "ORT_DISABLE_TELEMETRY=1",
        "PYTHONDONTWRITEBYTECODE=1",
        "PYTHONPATH=/usr/lib/python3/dist-packages",
    }
    assert config["Labels"]["dev.edgeloop.onnx"] == version.onnx
    assert (packed.needs.platform, packed.needs.runtime) == (layers.host_platform(), "python3.11")
    assert (packed.needs.instruction_set, packed.needs.accelerator, packed.needs.driver) == ("", "", "")
    assert packed.needs.disk_mib * 2**20 > packed.size_bytes
    layout.verify(images, packed.digest)


def test_a_package_states_what_its_runtime_and_profile_need(
    loop: Loop, version: ModelVersion, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Instruction set, accelerator and driver come from the runtime's row, memory from the measured limit."""
    row = replace(
        RUNTIMES["onnxruntime"],
        instruction_set=lambda target: target.has.instruction_set,
        accelerator=lambda target: target.part,
        driver="ftdi",
    )
    monkeypatch.setitem(RUNTIMES, "onnxruntime", row)
    target = replace(loop.targets[0], part="ice40-up5k", has=Capabilities(instruction_set="x86-64-v3"))
    profile = ResourceProfile(
        loop="turbine", target="cabinet", method="test", latency_p50_ms=1, latency_p99_ms=2, memory_peak_mib=70,
        cpu_request_m=100, cpu_limit_m=500, memory_request_mib=96, memory_limit_mib=160,
    )  # fmt: skip
    needs = core.package(loop, version, target, compiled(tmp_path / "compiled"), images, profile=profile).needs
    assert (needs.instruction_set, needs.accelerator, needs.driver, needs.memory_mib) == (
        "x86-64-v3",
        "ice40-up5k",
        "ftdi",
        160.0,
    )


def test_same_input_same_digest(
    packed: Package, loop: Loop, version: ModelVersion, images: Path, tmp_path: Path
) -> None:
    """Packing the same version again, from a copy made at another time, gives the same digest and writes no blob."""
    again = compiled(tmp_path / "again")
    os.utime(again / "model.onnx", (1, 1))
    before = {path: path.stat().st_mtime_ns for path in (images / "blobs" / "sha256").iterdir()}
    assert core.package(loop, version, loop.targets[0], again, images) == packed
    assert {path: path.stat().st_mtime_ns for path in (images / "blobs" / "sha256").iterdir()} == before


def test_layers_are_the_same_bytes_in_another_layout(images: Path, packed: Package, tmp_path: Path) -> None:
    """The code and agent layers, made anew elsewhere, have the digests that they have here."""
    code = installed.code_layer(["edgeloop_contracts", "edgeloop_node"], further=[server_script()])
    here = layout.write_layer(images, code)
    assert layout.write_layer(tmp_path / "new", code) == here
    assert here.digest in {part["digest"] for part in layout.manifest(images, packed.digest)["layers"]}
    assert core.agent_image(tmp_path / "new") == core.agent_image(images)


@pytest.mark.slow
def test_wheels_layer_is_the_same_bytes_made_twice(images: Path, packed: Package, tmp_path: Path) -> None:
    """The layer of 130 MB of wheels, compressed a second time from the files, has the same digest."""
    first = layout.manifest(images, packed.digest)["layers"][0]["digest"]
    wheels = installed.wheels_layer(["uvloop", "httptools", "uvicorn", "numpy", "onnxruntime"])
    assert layout.write_layer(tmp_path / "new", wheels).digest == first


def test_only_the_model_is_shipped_when_only_the_model_changes(
    packed: Package, loop: Loop, version: ModelVersion, images: Path, tmp_path: Path
) -> None:
    """A node that has version 3 pulls version 4 with the model's layer and two small documents: under 16 KiB, of 40 MB."""
    node = tmp_path / "node"
    assert layout.transfer(images, node, packed.digest) == packed.size_bytes
    newer = replace(version, number=4, onnx=digest_of("newer"))
    second = core.package(loop, newer, loop.targets[0], compiled(tmp_path / "newer", bias=0.7), images)
    old, new = (layout.manifest(images, digest)["layers"] for digest in (packed.digest, second.digest))
    assert old[:-1] == new[:-1]
    assert old[-1] != new[-1]
    shipped = layout.transfer(images, node, second.digest)
    assert second.model_layer_bytes < shipped < 16 << 10
    assert second.size_bytes > 20 << 20


RUN = """
import json, sys
import numpy, onnxruntime, uvicorn, uvloop, httptools, h11, click, edgeloop_contracts, edgeloop_node
session = onnxruntime.InferenceSession(sys.argv[1] + "/models/turbine/3/model.onnx", providers=["CPUExecutionProvider"])
label, probabilities = session.run(["label", "probabilities"], {"X": numpy.array([[1, 2]], numpy.float32)})
modules = [m.__file__ for m in (numpy, onnxruntime, uvicorn, uvloop, httptools, h11, click, edgeloop_contracts, edgeloop_node)]
print(json.dumps({"label": label.tolist(), "sum": float(probabilities.sum()), "modules": modules}))
"""


def test_image_runs_without_this_environment(packed: Package, images: Path, tmp_path: Path) -> None:
    """Unpacked, the image's files are all that Python needs to score: no module comes from this environment."""
    root = tmp_path / "root"
    layout.unpack(images, packed.digest, root)
    environment = dict(item.split("=", 1) for item in layout.image_config(images, packed.digest)["config"]["Env"])
    environment["PYTHONPATH"] = f"{root}{environment['PYTHONPATH']}"
    command = [sys.executable, "-S", "-c", RUN, str(root)]  # -S: no site-packages
    done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    answer = json.loads(done.stdout)
    assert answer["label"] == [1]
    assert answer["sum"] == pytest.approx(1)
    assert all(module.startswith(str(root)) for module in answer["modules"])
    assert loads(ModelVersion, (root / "models/turbine/3/version.json").read_bytes()).number == 3
    assert not list(root.rglob("*.pyc"))


def test_agent_image_starts_without_this_environment(images: Path, tmp_path: Path) -> None:
    """The agent's image holds paho and the node's code, under 1 MiB, and its entrypoint finds them."""
    image = core.agent_image(images)
    assert image.size_bytes < 1 << 20
    config = layout.image_config(images, image.digest)["config"]
    assert tuple(config["Entrypoint"]) == core.AGENT_ENTRYPOINT
    root = tmp_path / "root"
    layout.unpack(images, image.digest, root)
    path = f"{root}/{layers.SITE}"
    command = [
        sys.executable,
        "-S",
        "-c",
        "import paho.mqtt.client as p, edgeloop_node as n; print(p.__file__, n.__file__)",
    ]
    done = subprocess.run(command, env={"PYTHONPATH": path}, capture_output=True, text=True, timeout=60)
    assert done.returncode == 0, done.stderr
    assert all(module.startswith(path) for module in done.stdout.split())
    assert core.agent_image(images, platform=OTHER).platform == OTHER  # pure Python fits every platform


def test_budget_is_kept(loop: Loop, version: ModelVersion, images: Path, tmp_path: Path) -> None:
    """An image over budget.image_mib is refused with both numbers, and the layout lists no such image."""
    target = loop.targets[0]
    tight = replace(target, name="tight", budget=replace(target.budget, image_mib=1.5))
    with pytest.raises(PackageError, match=r"target tight: the image has \d+\.\d+ MiB, its budget is 1\.5 MiB"):
        core.package(loop, version, tight, compiled(tmp_path / "c"), images)
    assert not [name for name in layout.images(images) if "tight" in name]
    wide = replace(tight, budget=replace(target.budget, image_mib=500))
    assert core.package(loop, version, wide, tmp_path / "c", images).size_bytes < 500 << 20


def test_machine_code_of_another_platform_is_refused(
    loop: Loop, version: ModelVersion, images: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A layer of this machine is not packed for another one: the error names both platforms, and nothing is listed."""
    foreign: Target = replace(loop.targets[0], name="foreign", platform=OTHER)
    here = Layer(
        "server", (File("edgeloop/server", b"", digest_of("").removeprefix("sha256:"), 0),), platform="linux/riscv64"
    )
    runtime = replace(RUNTIMES["onnxruntime"], layers=lambda folder, build: [here])
    monkeypatch.setitem(RUNTIMES, "onnxruntime", runtime)
    with pytest.raises(PackageError, match=f"for {OTHER}, found linux/riscv64"):
        core.package(loop, version, foreign, compiled(tmp_path / "c"), images)
    assert not [name for name in layout.images(images) if "foreign" in name]


def test_incomplete_model_folder_is_refused(loop: Loop, version: ModelVersion, images: Path, tmp_path: Path) -> None:
    """A compiled folder without golden rows cannot be packed: the server could not test itself."""
    folder = compiled(tmp_path / "c")
    (folder / "golden.json").unlink()
    with pytest.raises(
        PackageError, match=r"expected golden.json of a compiled model, found model.onnx, reference.json"
    ):
        core.package(loop, version, loop.targets[0], folder, images)


def test_missing_distribution_is_named() -> None:
    """A wheel or package that is not installed is an error that says so."""
    with pytest.raises(PackageError, match="distribution no-such-wheel: not installed"):
        installed.wheels_layer(["no-such-wheel"])
    with pytest.raises(PackageError, match="package no_such_package: not installed"):
        installed.code_layer(["no_such_package"])


def paths(layer: Layer) -> set[str]:
    return {file.path.removeprefix(f"{layers.SITE}/") for file in layer.files}


def test_wheels_layer_holds_what_is_needed_and_no_more() -> None:
    """Dependencies come along, extras do not; no tests, bytecode, stubs or scripts, nothing that names this machine."""
    wheels = installed.wheels_layer(["uvicorn"])
    assert [d.metadata["Name"] for d in installed.closure(["uvicorn"])] == ["click", "h11", "uvicorn"]
    assert {path.split("/")[0] for path in paths(wheels)} >= {"uvicorn", "click", "h11"}
    assert wheels.platform == ""
    native = installed.wheels_layer(["numpy"])
    assert native.platform == layers.host_platform()
    for path in paths(wheels) | paths(native):
        assert not path.endswith((".pyc", ".pyi", "RECORD", "INSTALLER", "direct_url.json"))
        assert "tests" not in path.split("/")
        assert not path.startswith(("..", "/"))
    assert any(path.startswith("numpy.libs/") for path in paths(native))


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
def test_skopeo_reads_the_package(packed: Package, images: Path) -> None:
    """The real skopeo finds the image under its name with the digest, labels and environment that the package says."""
    at = f"oci:{images}:{packed.repository}:{packed.version}"
    seen = json.loads(subprocess.run(["skopeo", "inspect", at], capture_output=True, check=True).stdout)
    assert seen["Digest"] == packed.digest
    assert seen["Labels"]["dev.edgeloop.loop"] == "turbine"
    assert "ORT_DISABLE_TELEMETRY=1" in seen["Env"]
