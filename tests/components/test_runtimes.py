"""The table of runtimes, and what is said of an ONNX file."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeloop_components.package.layers import Build, host_platform
from edgeloop_components.runtimes import RUNTIMES, ModelError, RuntimeRefused, runtime_for
from edgeloop_components.runtimes.describe import describe
from edgeloop_contracts import Target, from_json


def target(runtime: str, platform: str = "linux/amd64") -> Target:
    return from_json(Target, {"name": "t", "nodes": {"group": "g"}, "runtime": runtime, "platform": platform})


@pytest.fixture(scope="module")
def model(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A forest of two classes as skl2onnx writes it."""
    from skl2onnx import to_onnx
    from sklearn.ensemble import RandomForestClassifier

    x = np.random.default_rng(0).normal(size=(80, 3)).astype(np.float32)
    fitted = RandomForestClassifier(3, random_state=0).fit(x, x[:, 0] > 0)
    path = tmp_path_factory.mktemp("runtimes") / "model.onnx"
    path.write_bytes(to_onnx(fitted, x[:1], options={"zipmap": False}).SerializeToString())
    return path


def test_every_row_of_the_table_is_whole() -> None:
    """A name, platforms, and a tight limit for parity, or what a quantised model is judged on in its place."""
    assert {"fpga", "fpga-sim", "native", "onnxruntime"} == RUNTIMES.keys()
    for name, runtime in RUNTIMES.items():
        assert runtime.name == name
        assert runtime.platforms
        assert (0 < runtime.parity_limit <= 1e-5) == (runtime.judged is None)
    assert runtime_for(target("onnxruntime", "linux/arm64")).name == "onnxruntime"
    assert runtime_for(target("native", "linux/arm/v7")).name == "native"


@pytest.mark.parametrize("runtime", ["vendor"])
def test_a_runtime_without_a_row_is_refused_with_those_that_have_one(runtime: str) -> None:
    """The message lists the known."""
    with pytest.raises(
        RuntimeRefused,
        match=rf"target t: expected a runtime of this edgeloop \(fpga, fpga-sim, native, onnxruntime\), got {runtime}",
    ):
        runtime_for(replace(target("native"), runtime=runtime))  # type: ignore[arg-type]


def test_the_models_layer_is_the_last_and_holds_only_the_model(tmp_path: Path) -> None:
    """A node that has the runtime fetches only this layer; it lies where the build says."""
    (tmp_path / "model.onnx").write_bytes(b"weights")
    (tmp_path / "reference.json").write_text("{}")
    layers = RUNTIMES["onnxruntime"].layers(tmp_path, Build(host_platform(), "models/pump/1"))
    assert [file.path for file in layers[-1].files] == ["models/pump/1/model.onnx", "models/pump/1/reference.json"]
    others = {file.path for layer in layers[:-1] for file in layer.files}
    assert not any(path.startswith("models/") for path in others)
    assert any(path.endswith("edgeloop_node/__init__.py") for path in others)


def test_a_native_image_holds_its_server_and_nothing_else(tmp_path: Path) -> None:
    """One plain layer, executable, of the target's platform; sources and library stay out of it."""
    for name in ("server", "model.c", "model.h", "model.so", "golden.json", "reference.json"):
        (tmp_path / name).write_bytes(b"content")
    (tmp_path / "server").chmod(0o755)
    (layer,) = RUNTIMES["native"].layers(tmp_path, Build("linux/riscv64", "models/pump/1"))
    assert [(file.path, file.mode) for file in layer.files] == [("edgeloop/server", 0o755)]
    assert (layer.compressed, layer.platform) == (False, "linux/riscv64")
    (tmp_path / "signature.json").write_text("{}")
    (signed,) = RUNTIMES["native"].layers(tmp_path, Build("linux/riscv64", "models/pump/1"))
    assert [file.path for file in signed.files] == ["edgeloop/server", "edgeloop/signature.json"]
    assert not RUNTIMES["native"].python
    assert RUNTIMES["native"].environment == {}


def test_a_file_is_described(model: Path) -> None:
    """Inputs, outputs, operators, parameters, and that each runtime of the table has its say."""
    found = describe(model)
    assert found["inputs"] == [{"name": "X", "type": "float", "shape": [None, 3]}]
    assert [output["type"] for output in found["outputs"]] == ["int64", "float"]
    assert found["operators"]["ai.onnx.ml.TreeEnsembleClassifier"] == 1
    assert found["parameters"] > 10
    assert found["size_bytes"] == model.stat().st_size
    assert found["opsets"]["ai.onnx.ml"] >= 1
    assert found["runtimes"].keys() == RUNTIMES.keys()
    assert found["runtimes"]["onnxruntime"] == "runs it as it is"


def test_a_map_of_classes_is_described_and_needs_adapting(tmp_path: Path) -> None:
    """skl2onnx's default output is a sequence of maps: no tensor, so no runtime serves it as it is."""
    from skl2onnx import to_onnx
    from sklearn.linear_model import LogisticRegression

    x = np.random.default_rng(0).normal(size=(80, 3)).astype(np.float32)
    (tmp_path / "m.onnx").write_bytes(to_onnx(LogisticRegression().fit(x, x[:, 0] > 0), x[:1]).SerializeToString())
    found = describe(tmp_path / "m.onnx")
    assert found["outputs"][1] == {"name": "output_probability", "type": "sequence", "shape": None}
    assert "needs adapting" in found["runtimes"]["onnxruntime"]


def no_model(name: str, model: bytes) -> bytes:
    return {
        "empty": b"",
        "truncated": model[: len(model) // 2],
        "almost whole": model[:-40],
        "zip": b"PK\x03\x04 more",
        "pickle": b"\x80\x05 more",
        "json": b'{"rows": []}',
        "text": b"hello, this is text",
        "bytes": bytes(range(200, 256)),
        "zeros": bytes(64),
    }[name]


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("empty", "an empty file"),
        ("truncated", "begins as ONNX and breaks off or is damaged"),
        ("almost whole", "begins as ONNX and breaks off or is damaged"),
        ("zip", "a zip archive"),
        ("pickle", "a Python pickle"),
        ("json", "JSON text"),
        ("text", "text that begins 'hello, this is text'"),
        ("bytes", "bytes that begin c8 c9 ca"),
        ("zeros", "64 bytes"),
    ],
)
def test_a_file_that_is_not_onnx_is_refused_with_what_it_is(tmp_path: Path, model: Path, name: str, said: str) -> None:
    """What, where, what was expected and what was found."""
    path = tmp_path / "x.onnx"
    path.write_bytes(no_model(name, model.read_bytes()))
    with pytest.raises(ModelError, match=rf"x\.onnx: expected an ONNX model.*, found .*{said}"):
        describe(path)


def test_a_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    """The reason of the operating system is in the message."""
    with pytest.raises(
        ModelError, match=r"none\.onnx: expected an ONNX file, found none that can be read: No such file"
    ):
        describe(tmp_path / "none.onnx")


def test_a_batch_and_its_rows_alone_give_the_same_bits(model: Path, tmp_path: Path) -> None:
    """The session has one thread, so sums are added in one order; with more of them a batch may come out otherwise."""
    (tmp_path / "model.onnx").write_bytes(model.read_bytes())
    score: Any = RUNTIMES["onnxruntime"].load(tmp_path)
    rows = np.random.default_rng(1).normal(size=(50, 3)).astype(np.float32)
    together = score(rows)[1]
    alone = np.concatenate([score(rows[i : i + 1])[1] for i in range(50)])
    assert (together == alone).all()
