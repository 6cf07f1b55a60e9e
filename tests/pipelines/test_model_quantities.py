"""`edgeloop model package` and `profile` for graphs that are no classifiers: both runtimes, and what has no server."""

from __future__ import annotations

import json
import subprocess
import sys
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeloop_components.package import layout as oci
from edgeloop_components.package.layers import host_platform
from edgeloop_components.profile.accuracy import agreeing
from edgeloop_components.profile.candidates import measure_all
from edgeloop_components.profile.plan import QUICK
from edgeloop_components.profile.rows import bodies_for
from edgeloop_components.runtimes.onnxruntime import session
from edgeloop_components.signing import new_key
from edgeloop_node.verify import verify_image
from edgeloop_pipelines.cli import main
from edgeloop_pipelines.cli import profile as cli

SHORT = replace(QUICK, point_s=0.2, longest_point_s=0.2, warm_s=0.1, steps=1)


def save(
    path: Path, nodes: list[Any], given: tuple[str, list[Any]], made: tuple[str, list[Any]], *constants: Any
) -> Path:
    from onnx import TensorProto, helper

    start, end = (helper.make_tensor_value_info(name, TensorProto.FLOAT, shape) for name, shape in (given, made))
    graph = helper.make_graph(nodes, "g", [start], [end], list(constants))
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


def write_image(path: Path, rows: Any = "N") -> Path:
    """A convolution over pictures of 3 x 6 x 6: an input of another name and of more axes than a table's row."""
    from onnx import helper, numpy_helper

    kernel = numpy_helper.from_array(np.random.default_rng(1).normal(size=(2, 3, 3, 3)).astype(np.float32), "W")
    nodes = [helper.make_node("Conv", ["picture", "W"], ["sums"]), helper.make_node("Relu", ["sums"], ["map"])]
    return save(path, nodes, ("picture", [rows, 3, 6, 6]), ("map", [rows, 2, 4, 4]), kernel)


def write_dense(path: Path) -> Path:
    """A regression of 80 features, wide enough for 8-bit weights."""
    from onnx import helper, numpy_helper

    draw = np.random.default_rng(2)
    sizes = {"W": (80, 64), "V": (64, 1)}
    weights = [numpy_helper.from_array(draw.normal(0, 0.1, s).astype(np.float32), n) for n, s in sizes.items()]
    nodes = [helper.make_node("MatMul", ["X", "W"], ["h"]), helper.make_node("MatMul", ["h", "V"], ["power"])]
    return save(path, nodes, ("X", ["N", 80]), ("power", ["N", 1]), *weights)


def write_wide(path: Path) -> Path:
    """Rows whose report is longer than a server keeps."""
    from onnx import helper

    return save(path, [helper.make_node("Relu", ["X"], ["Y"])], ("X", ["N", 20_000]), ("Y", ["N", 20_000]))


@pytest.fixture(scope="module")
def forest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A forest of regression trees, as skl2onnx writes it."""
    from skl2onnx import to_onnx
    from sklearn.ensemble import RandomForestRegressor

    rows = np.random.default_rng(4).normal(size=(200, 3)).astype(np.float32)
    fitted = RandomForestRegressor(5, max_depth=4, random_state=0).fit(rows, 100 * rows[:, 0])
    path = tmp_path_factory.mktemp("forest") / "power.onnx"
    path.write_bytes(to_onnx(fitted, rows[:1], target_opset={"": 18, "ai.onnx.ml": 3}).SerializeToString())
    return path


@contextmanager
def serving(root: Path, run_dir: Path, runtime: str) -> Iterator[str]:
    """The server of an unpacked image; its address."""
    python = [] if runtime == "native" else [sys.executable, "-sP"]  # the image has no base, and so no Python
    words = [
        *python,
        str(root / "edgeloop" / "server"),
        "serve",
        "--port",
        "0",
        "--run-dir",
        str(run_dir),
        "--node",
        "n",
    ]
    (version,) = [str(path.parent) for path in root.rglob("model.onnx")] or [""]
    run_dir.mkdir()
    process = subprocess.Popen(words, env={"EDGELOOP_MODEL": version} if version else {})
    try:
        end_s = time.monotonic() + 60
        while not (entries := list(run_dir.glob("*.json"))):
            assert process.poll() is None
            assert time.monotonic() < end_s
            time.sleep(0.02)
        yield f"http://127.0.0.1:{json.loads(entries[0].read_bytes())['port']}"
    finally:
        process.terminate()
        process.wait(20)


def infer(url: str, name: str, rows: Any) -> Any:
    tensor = {"name": "X", "shape": list(rows.shape), "datatype": "FP32", "data": rows.ravel().tolist()}
    body = json.dumps({"inputs": [tensor]}).encode()
    with urllib.request.urlopen(urllib.request.Request(f"{url}/v2/models/{name}/infer", body), timeout=10) as answer:
        return json.load(answer)


@pytest.mark.parametrize("runtime", ["native", "onnxruntime"])
def test_a_regressor_is_packed_signed_and_served_from_its_image(
    runtime: str, forest: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Proved first; index, ModelPack artifact and modelcar as for a classifier; the program in the image answers over V2."""
    private, public = new_key(tmp_path / "k.key")
    images, root = tmp_path / "images", tmp_path / "root"
    words = ["--runtime", runtime, "--key", str(private), "-o", str(images), "--json"]
    assert main(["model", "package", str(forest), *words]) == 0
    made = json.loads(capsys.readouterr().out)
    (package,) = made["packages"]
    assert made["signed"]
    assert (package["platform"], package["parity"]["passed"], package["parity"]["limit"]) == (
        host_platform(),
        True,
        1e-5,
    )
    assert oci.images(images)["edgeloop/power:1"] == made["index"]
    named = oci.images(images)
    wanted = (package["model_artifact"], package["modelcar"])
    assert (named["edgeloop/power/model:1"], named["edgeloop/power/model:1-modelcar"]) == wanted
    assert main(["model", "verify", f"oci:{images}:edgeloop/power:1", "--key", str(public)]) == 0
    oci.unpack(images, package["digest"], root)
    verify_image(root, public)
    rows = np.random.default_rng(5).normal(size=(4, 3)).astype(np.float32)
    with serving(root, tmp_path / "run", runtime) as url:
        (answer,) = infer(url, "power", rows)["outputs"]
    (expected,) = session(forest.read_bytes()).run(None, {"X": rows})
    assert (answer["name"], answer["shape"], answer["datatype"]) == ("variable", [4, 1], "FP32")
    assert np.array(answer["data"], np.float32).tolist() == expected.ravel().tolist()


@pytest.mark.slow
def test_an_image_for_every_platform(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """The same bits on all four, so one digest of outputs."""
    file = write_image(tmp_path / "eye.onnx")
    assert main(["model", "package", str(file), "--platform", "all", "-o", str(tmp_path / "images"), "--json"]) == 0
    packages = json.loads(capsys.readouterr().out)["packages"]
    assert len(packages) == 4
    assert len({package["parity"]["output_digest"] for package in packages}) == 1


@pytest.mark.parametrize("runtime", ["native", "onnxruntime"])
@pytest.mark.parametrize("what", ["forest", "picture"])
def test_a_graph_without_classes_is_measured(
    what: str,
    runtime: str,
    forest: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    """The real server, asked for what it takes: every request is answered."""
    monkeypatch.setattr(cli, "_plan", lambda _: SHORT)
    file = forest if what == "forest" else write_image(tmp_path / "eye.onnx")
    assert main(["model", "profile", str(file), "--runtime", runtime, "--json"]) == 0
    (found,) = json.loads(capsys.readouterr().out)["profiles"]
    assert found["latency_p99_ms"] > 0
    assert found["memory_request_mib"] >= 4


def folder_of(file: Path, made: Path) -> tuple[Any, Path]:
    loop = cli._lone_loop(file, "native", (None, None, None))
    return loop, cli._lone_folder(file, made, loop, 0)


def test_requests_have_the_shape_of_the_graphs_own_input(tmp_path: Path) -> None:
    """Its name too; and no two rows are alike, though nothing is known of the values."""
    _, folder = folder_of(write_image(tmp_path / "eye.onnx"), tmp_path)
    tensors = [json.loads(body)["inputs"][0] for body in bodies_for(folder, 3)]
    assert {(tensor["name"], tuple(tensor["shape"])) for tensor in tensors} == {("picture", (1, 3, 6, 6))}
    assert all(len(tensor["data"]) == 108 for tensor in tensors)
    assert len({json.dumps(tensor["data"]) for tensor in tensors}) == len(tensors) == 256


@pytest.mark.slow
def test_candidates_of_a_graph_without_classes(tmp_path: Path) -> None:
    """Each runtime agrees with the file; 8 bits are left out, since there are no labels to weigh them by."""
    loop, folder = folder_of(write_dense(tmp_path / "dense.onnx"), tmp_path)
    said: list[str] = []
    found = {
        candidate.name: candidate
        for candidate, _ in measure_all(loop, loop.targets[0], folder, plan=SHORT, say=said.append)
    }
    assert {"onnxruntime", "native"} <= set(found)
    assert {candidate.accuracy for candidate in found.values()} == {1.0}
    assert not any(candidate.quantised for candidate in found.values())
    assert any(line.startswith("onnxruntime int8: left out") and "no classifier" in line for line in said)


def test_agreement_of_values_is_what_parity_asks(tmp_path: Path) -> None:
    """A folder with another graph agrees almost nowhere; with its own everywhere."""
    _, folder = folder_of(write_dense(tmp_path / "dense.onnx"), tmp_path)
    other = tmp_path / "other"
    other.mkdir()
    changed = (folder / "model.onnx").read_bytes()
    weight = np.random.default_rng(2).normal(0, 0.1, (80, 64)).astype(np.float32).tobytes()[:64]
    assert weight in changed
    (other / "model.onnx").write_bytes(changed.replace(weight, bytes(64)))
    assert agreeing("onnxruntime", folder, folder) == 1.0
    assert agreeing("onnxruntime", other, folder) < 0.05


WITHOUT_SERVER = {
    "too wide": (
        write_wide,
        r"wide.onnx: expected rows that a server can answer and count in 2097152 bytes each, found an",
    ),
    "batches": (
        lambda path: write_image(path, rows=4),
        "input 'picture': expected any number of rows, or one at a time, found 4 at a time",
    ),
}


@pytest.mark.parametrize("command", ["package", "profile"])
@pytest.mark.parametrize("what", WITHOUT_SERVER)
def test_what_has_no_server_is_refused_at_once(
    what: str, command: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """With the numbers, and the way out; nothing is written."""
    make, problem = WITHOUT_SERVER[what]
    file = make(tmp_path / "wide.onnx")
    more = ["-o", str(tmp_path / "images")] if command == "package" else []
    assert main(["model", command, str(file), *more]) == 1
    assert problem in " ".join(capsys.readouterr().err.split())
    assert not (tmp_path / "images").exists()
