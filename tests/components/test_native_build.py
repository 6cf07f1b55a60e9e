"""Building: servers of all platforms, equal bytes, the plain sources with another compiler, the shared library."""

from __future__ import annotations

import hashlib
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeloop_components.compile.lone import Lone, read_lone
from edgeloop_components.compile.lone_documents import write_documents
from edgeloop_components.compile.lone_parity import parity_lone
from edgeloop_components.native import build as building
from edgeloop_components.native.build import build_library, build_predict, build_server, write_source
from edgeloop_components.native.emulate import EmulatorUnavailable, emulator, run_program
from edgeloop_components.native.library import open_library
from edgeloop_components.native.toolchain import ToolchainError
from edgeloop_components.package.layers import host_platform
from edgeloop_components.runtimes import ModelError
from edgeloop_components.runtimes.native import PLATFORMS

DOCS = Path(__file__).resolve().parents[2] / "docs" / "native.md"


def linear(seed: int = 0) -> bytes:
    """Softmax of a linear layer over two features; the label is the argmax."""
    from onnx import TensorProto, helper, numpy_helper

    draw = np.random.default_rng(seed)
    constants = [
        numpy_helper.from_array(draw.normal(size=s).astype(np.float32), n) for n, s in (("W", (2, 2)), ("B", (2,)))
    ]
    nodes = [
        helper.make_node("Gemm", ["X", "W", "B"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
    ]
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]),
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 2]),
    ]
    inputs = [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N", 2])]
    graph = helper.make_graph(nodes, "g", inputs, outputs, constants)
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    )


def convolution() -> bytes:
    """Conv, pooling and a dense layer over three channels of 16 values."""
    from onnx import TensorProto, helper, numpy_helper

    draw = np.random.default_rng(0)
    sizes = {"w1": (4, 3, 3), "b1": (4,), "w2": (28, 3), "b2": (3,)}
    constants = [numpy_helper.from_array((draw.normal(size=s) / 2).astype(np.float32), n) for n, s in sizes.items()]
    nodes = [
        helper.make_node("Conv", ["X", "w1", "b1"], ["c"], kernel_shape=[3]),
        helper.make_node("Relu", ["c"], ["r"]),
        helper.make_node("MaxPool", ["r"], ["p"], kernel_shape=[2], strides=[2]),
        helper.make_node("Flatten", ["p"], ["f"]),
        helper.make_node("Gemm", ["f", "w2", "b2"], ["g"]),
        helper.make_node("Softmax", ["g"], ["y"], axis=1),
    ]
    inputs = [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N", 3, 16])]
    outputs = [helper.make_tensor_value_info("y", TensorProto.FLOAT, ["N", 3])]
    graph = helper.make_graph(nodes, "cnn", inputs, outputs, constants)
    return bytes(
        helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8).SerializeToString()
    )


def fitted(name: str) -> bytes:
    from skl2onnx import to_onnx
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    estimator = {
        "lr": lambda: make_pipeline(StandardScaler(), LogisticRegression()),
        "mlp": lambda: make_pipeline(StandardScaler(), MLPClassifier((16,), max_iter=30, random_state=0)),
        "rf": lambda: RandomForestClassifier(25, max_depth=6, random_state=0),
        "rf of two": lambda: RandomForestClassifier(25, max_depth=6, random_state=0),
        "hgb": lambda: HistGradientBoostingClassifier(max_iter=15, random_state=0),
    }[name]()
    draw = np.random.default_rng(0)
    x = draw.normal(size=(600, 6)).astype(np.float32)
    score = x[:, 0] + x[:, 1] * x[:, 2]
    y = score > 0 if name == "rf of two" else np.array(["low", "mid", "high"])[np.digitize(score, [-0.5, 0.5])]
    if name == "hgb":
        x[draw.random(x.shape) < 0.05] = np.nan
    return bytes(to_onnx(estimator.fit(x, y), x[:1]).SerializeToString())


MODELS = {
    "linear": linear,
    "cnn": convolution,
    **{name: (lambda name=name: fitted(name)) for name in ("lr", "mlp", "rf", "rf of two", "hgb")},
}


@pytest.fixture(scope="module")
def lone_of(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """`lone_of(name)`: a model of MODELS, read."""
    made: dict[str, Lone] = {}

    def find(name: str) -> Lone:
        if name not in made:
            path = tmp_path_factory.mktemp("models") / f"{name.replace(' ', '-')}.onnx"
            path.write_bytes(MODELS[name]())
            made[name] = read_lone(path)
        return made[name]

    return find


def needs_emulators() -> None:
    for platform in PLATFORMS:
        try:
            emulator(platform)
        except EmulatorUnavailable as error:
            pytest.skip(f"{error}; {error.hint}")


@pytest.mark.slow
@pytest.mark.parametrize("name", MODELS)
def test_all_platforms_give_the_same_bits_and_onnxruntimes_answers(name: str, lone_of: Any) -> None:
    """Ordinary, missing, infinite, threshold-exact and out-of-range rows, through each platform's own program."""
    needs_emulators()
    lone = lone_of(name)
    found = parity_lone(lone, PLATFORMS, "native", rows=400, seed=3)
    assert [(result.platform, result.state, result.why) for result in found] == [(p, "passed", "") for p in PLATFORMS]
    assert len({result.digest for result in found}) == 1
    assert lone.classifier == (name != "cnn")
    if name.startswith("rf"):
        assert lone.exact
        assert all(result.agreement is not None and result.agreement.bit_equal == 1.0 for result in found)


@pytest.mark.parametrize("platform", PLATFORMS)
def test_a_server_has_the_same_bytes_in_every_folder(platform: str, lone_of: Any, tmp_path: Path) -> None:
    """Twice, with a cold and with a warm cache of the server's own objects."""
    lone, digests = lone_of("linear"), set()
    for name in ("a", "another-folder"):
        folder = tmp_path / name
        folder.mkdir()
        write_documents(lone, folder, 0)
        build_server(lone.emitted(), folder, folder / "server", platform=platform)
        digests.add(hashlib.sha256((folder / "server").read_bytes()).hexdigest())
        assert sorted(path.name for path in folder.iterdir()) == [
            "golden.json",
            "reference.json",
            "server",
            "version.json",
        ]
        assert (folder / "server").stat().st_mode & 0o777 == 0o755
        assert (folder / "server").stat().st_size < 300 * 1024
    assert len(digests) == 1


def test_only_what_depends_on_the_model_is_compiled_again(
    lone_of: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Sources that do not include the model's headers come from the cache, for another model too."""
    lone = lone_of("linear")
    write_documents(lone, tmp_path, 0)
    build_server(lone.emitted(), tmp_path, tmp_path / "server", platform=host_platform())
    compiled: list[str] = []
    real = building.cc

    def counted(words: Any, **settings: Any) -> None:
        compiled.append(settings["what"].partition(",")[0])
        real(words, **settings)

    monkeypatch.setattr(building, "cc", counted)
    build_server(lone.emitted(), tmp_path, tmp_path / "server", platform=host_platform())
    assert "model" in compiled
    sources = {path.stem + "-server" for path in building.server_sources().glob("*.c")}
    again = sources & set(compiled)
    assert 0 < len(again) < len(sources)


def test_the_server_passes_its_self_test(lone_of: Any, tmp_path: Path) -> None:
    """With the golden rows that were made up; with a wrong answer in them it says which row, and is not served."""
    lone = lone_of("linear")
    write_documents(lone, tmp_path, 0)
    build_server(lone.emitted(), tmp_path, tmp_path / "server", platform=host_platform())
    assert subprocess.run([tmp_path / "server", "selftest"], capture_output=True).returncode == 0
    other = tmp_path / "other.onnx"
    other.write_bytes(linear(seed=5))
    build_server(read_lone(other).emitted(), tmp_path, tmp_path / "server", platform=host_platform())
    done = subprocess.run([tmp_path / "server", "selftest"], capture_output=True, text=True)
    assert done.returncode == 3
    assert "self-test: golden row 0" in done.stderr


def test_the_library_gives_the_bytes_of_the_program(lone_of: Any, tmp_path: Path) -> None:
    """Rows one by one, together, and through another compiler's way of linking."""
    lone = lone_of("linear")
    build_library(lone.emitted(), tmp_path / "model.so")
    build_predict(lone.emitted(), tmp_path / "predict", platform=host_platform())
    infos, outputs = open_library(tmp_path / "model.so")
    rows = lone.probes(200, 0).rows
    together = outputs(rows)
    assert [(info.name, array.dtype, array.shape) for info, array in zip(infos, together, strict=True)] == [
        ("label", np.int64, (200,)),
        ("probabilities", np.float32, (200, 2)),
    ]
    raw = run_program(tmp_path / "predict", [], rows.tobytes(), host_platform())
    assert raw == b"".join(array.tobytes() for array in together)
    alone = [outputs(rows[i : i + 1]) for i in range(len(rows))]
    for place, array in enumerate(together):
        assert np.concatenate([one[place] for one in alone]).tobytes() == array.tobytes()


@pytest.mark.parametrize("content", [b"", b"\x7fELF nothing", b"text"])
def test_what_is_no_library_is_refused(content: bytes, tmp_path: Path) -> None:
    """A clear error, and no crash."""
    (tmp_path / "model.so").write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.so: expected a model's shared library, got"):
        open_library(tmp_path / "model.so")


def test_the_instruction_set_changes_no_bit(lone_of: Any, tmp_path: Path) -> None:
    """x86-64-v3 has fused operations and wider vectors; neither may change a result."""
    cpu = Path("/proc/cpuinfo")
    if (
        host_platform() != "linux/amd64"
        or not cpu.exists()
        or not {"avx2", "fma", "bmi2"} <= set(cpu.read_text().split())
    ):
        pytest.skip("this machine does not run x86-64-v3")
    lone = lone_of("linear")
    rows, found = lone.probes(300, 0).rows, []
    for name in ("", "x86-64-v3"):
        build_library(lone.emitted(), tmp_path / f"{name}.so", instruction_set=name)
        found.append(b"".join(array.tobytes() for array in open_library(tmp_path / f"{name}.so")[1](rows)))
    assert found[0] == found[1]


@pytest.mark.parametrize("compiler", ["cc", "clang-14"])
def test_the_docs_example_compiles_without_a_warning_and_runs(compiler: str, lone_of: Any, tmp_path: Path) -> None:
    """The plain sources with the machine's own compiler: the example prints the library's numbers."""
    if not shutil.which(compiler):
        pytest.skip(f"{compiler} is not installed")
    emitted = lone_of("linear").emitted()
    write_source(emitted, tmp_path)
    example = re.search(r"```c\n(.*?)```", DOCS.read_text(), re.DOTALL)
    assert example
    (tmp_path / "main.c").write_text(example[1])
    strict = ["-std=c11", "-Wall", "-Wextra", "-Werror", "-pedantic", "-O2", "-ffp-contract=off", "-fno-math-errno"]
    subprocess.run([compiler, *strict, "main.c", "model.c", "-o", "main"], cwd=tmp_path, check=True)
    words = subprocess.run([tmp_path / "main"], capture_output=True, text=True, check=True).stdout
    build_library(emitted, tmp_path / "model.so")
    label, probabilities = open_library(tmp_path / "model.so")[1](np.array([[0.5, -1.0], [2.0, 0.25]], np.float32))
    printed = [line.split() for line in words.splitlines()]
    assert [int(line[0]) for line in printed] == label.tolist()
    assert np.array([line[1:] for line in printed], dtype=np.float32).tobytes() == probabilities.tobytes()


def test_the_model_is_c99(lone_of: Any, tmp_path: Path) -> None:
    """model.c alone keeps to the older standard, for compilers of other worlds."""
    if not shutil.which("cc"):
        pytest.skip("cc is not installed")
    write_source(lone_of("linear").emitted(), tmp_path)
    strict = ["-std=c99", "-Wall", "-Wextra", "-Werror", "-c"]
    subprocess.run(["cc", *strict, "model.c", "-o", "model.o"], cwd=tmp_path, check=True)


def test_a_folder_that_cannot_be_written_is_named(lone_of: Any, tmp_path: Path) -> None:
    """Before anything is compiled."""
    (tmp_path / "file").write_text("")
    with pytest.raises(ToolchainError, match="file: cannot be written: Not a directory"):
        build_library(lone_of("linear").emitted(), tmp_path / "file" / "model.so")


def test_documents_of_another_width_are_refused(lone_of: Any, tmp_path: Path) -> None:
    """The server's sources assert it at compile time: nothing is written."""
    write_documents(lone_of("lr"), tmp_path, 0)
    with pytest.raises(ToolchainError, match="must have the same number of features"):
        build_server(lone_of("linear").emitted(), tmp_path, tmp_path / "server", platform=host_platform())
    assert not (tmp_path / "server").exists()
