"""`edgeloop model compile` and `edgeloop model parity` for a lone ONNX file."""

from __future__ import annotations

import json
import subprocess
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeloop_components.native.emulate import EmulatorUnavailable, emulator
from edgeloop_components.package.layers import host_platform
from edgeloop_components.runtimes.native import PLATFORMS
from edgeloop_pipelines.cli import main

FOREIGN = next(platform for platform in PLATFORMS if platform != host_platform())


def write_model(path: Path, *, seed: int = 0, label: bool = True, operator: str = "Gemm") -> Path:
    """Softmax of a linear layer over two features, with or without a label."""
    from onnx import TensorProto, helper, numpy_helper

    draw = np.random.default_rng(seed)
    constants = [
        numpy_helper.from_array(draw.normal(size=s).astype(np.float32), n) for n, s in (("W", (2, 2)), ("B", (2,)))
    ]
    inputs = ["X", "W", "B"] if operator == "Gemm" else ["X"]
    nodes = [
        helper.make_node(operator, inputs, ["scores"], name="first"),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
    ]
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.INT64, ["N"]),
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 2]),
    ]
    given = [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N", 2])]
    graph = helper.make_graph(nodes if label else nodes[:2], "g", given, outputs if label else outputs[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture
def model(tmp_path: Path) -> Path:
    return write_model(tmp_path / "m.onnx")


def document(capsys: pytest.CaptureFixture[str]) -> Any:
    return json.loads(capsys.readouterr().out)


def test_the_chapters_first_line(model, tmp_path, capsys):
    """A server for the platform asked for, sources, a library, and a manifest with all digests."""
    out = tmp_path / "out"
    words = ["model", "compile", str(model), "--platform", "linux/arm/v7", "--runtime", "native", "-o", f"{out}/"]
    assert main(words) == 0
    printed = capsys.readouterr()
    assert "linux/arm/v7: compiled in" in printed.err
    assert "m@1, 2 features, classes 0, 1" in printed.out
    server = out / "linux" / "arm" / "v7" / "server"
    assert server.read_bytes()[:4] == b"\x7fELF"
    assert server.read_bytes()[18] == 40  # ARM
    assert main(["model", "compile", str(model), "--platform", "linux/arm/v7", "-o", str(out), "--json"]) == 0
    manifest = document(capsys)
    assert manifest["platforms"] == {"linux/arm/v7": {"instruction_set": ""}}
    names = {"golden.json", "reference.json", "version.json", "model.c", "model.h", "model.so", "linux/arm/v7/server"}
    assert manifest["files"].keys() == names
    assert json.loads((out / "manifest.json").read_bytes())["files"] == manifest["files"]


def test_compiling_twice_gives_the_same_files(model, tmp_path, capsys):
    """In two folders: every digest of the manifest, the server's among them."""
    found = []
    for name in ("a", "b"):
        assert main(["model", "compile", str(model), "-o", str(tmp_path / name), "--json"]) == 0
        found.append(document(capsys)["files"])
    assert found[0] == found[1]


def test_the_compiled_server_runs(model, tmp_path, capsys):
    """It passes its self-test, and says what it serves."""
    assert main(["model", "compile", str(model), "--name", "pump", "--version", "7", "-o", str(tmp_path / "out")]) == 0
    server = tmp_path / "out" / host_platform() / "server"
    assert subprocess.run([server, "selftest"], capture_output=True).returncode == 0
    info = json.loads(subprocess.run([server, "info"], capture_output=True, check=True).stdout)
    assert (info["loop"], info["version"], info["runtime"]) == ("pump", 7, "native")


def test_another_platform_is_added_to_a_folder_of_the_same_model(model, tmp_path, capsys):
    """What was compiled before stays; another model is refused, and replaces it when that is asked for."""
    out = tmp_path / "out"
    assert main(["model", "compile", str(model), "-o", str(out)]) == 0
    assert main(["model", "compile", str(model), "--platform", FOREIGN, "-o", str(out), "--json"]) == 0
    assert document_after(capsys)["platforms"].keys() == {host_platform(), FOREIGN}
    other = write_model(tmp_path / "other.onnx", seed=9)
    assert main(["model", "compile", str(other), "-o", str(out)]) == 1
    error = capsys.readouterr().err
    assert "expected an empty folder or one made of this file, found a model made of m.onnx" in error
    assert "hint: --force replaces it" in error
    assert main(["model", "compile", str(other), "-o", str(out), "--force", "--json"]) == 0
    assert document_after(capsys)["platforms"].keys() == {host_platform()}
    assert not (out / FOREIGN).exists()


def document_after(capsys: pytest.CaptureFixture[str]) -> Any:
    """The JSON document at the end of what was printed."""
    text = capsys.readouterr().out
    return json.loads(text[text.index("{\n") :])


def test_a_folder_with_other_things_is_left_alone(model, tmp_path, capsys):
    """Nothing of it is touched, and nothing is left beside it."""
    out = tmp_path / "out"
    out.mkdir()
    (out / "thesis.txt").write_text("years of work")
    assert main(["model", "compile", str(model), "-o", str(out)]) == 1
    assert "found other files" in capsys.readouterr().err
    assert [path.name for path in out.iterdir()] == ["thesis.txt"]
    assert sorted(path.name for path in tmp_path.iterdir()) == ["m.onnx", "out"]


def write_regressor(path: Path, targets: int = 1) -> Path:
    """A forest of regression trees over three features, as skl2onnx writes it."""
    from skl2onnx import to_onnx
    from sklearn.ensemble import RandomForestRegressor

    draw = np.random.default_rng(4)
    rows = draw.normal(size=(200, 3)).astype(np.float32)
    truth = rows @ draw.normal(size=(3, targets)).astype(np.float32)
    fitted = RandomForestRegressor(5, max_depth=4, random_state=0).fit(rows, truth if targets > 1 else truth[:, 0])
    path.write_bytes(to_onnx(fitted, rows[:1], target_opset={"": 18, "ai.onnx.ml": 3}).SerializeToString())
    return path


@pytest.mark.parametrize("targets", [1, 3])
def test_what_is_no_classifier_is_served_too(targets, tmp_path, capsys):
    """Compiled, proved on its golden rows, its answers those of onnxruntime to the last bit: they are sums of leaves."""
    from edgeloop_components.runtimes.onnxruntime import session

    path = write_regressor(tmp_path / "power.onnx", targets)
    assert main(["model", "compile", str(path), "-o", str(tmp_path / "out")]) == 0
    assert "no classifier: outputs variable" in capsys.readouterr().out
    server = tmp_path / "out" / host_platform() / "server"
    assert (
        subprocess.run([server, "selftest"], capture_output=True, text=True, check=True).stdout == "self-test passed\n"
    )
    said = json.loads(subprocess.run([server, "info"], capture_output=True, check=True).stdout)
    assert said["outputs"] == [{"name": "variable", "datatype": "FP32", "shape": [-1, targets]}]
    rows = np.random.default_rng(5).normal(size=(50, 3)).astype(np.float32)
    raw = subprocess.run([server, "predict"], input=rows.tobytes(), capture_output=True, check=True).stdout
    (expected,) = session(path.read_bytes()).run(None, {"X": rows})
    assert np.frombuffer(raw, np.float32).reshape(50, targets).tolist() == expected.tolist()


def test_rows_too_wide_for_a_server_get_a_program(tmp_path, capsys):
    """`predict` in the server's place: rows in, outputs out; the other runtime, which has no such program, refuses."""
    from onnx import TensorProto, helper

    width = 20_000
    given, made = (helper.make_tensor_value_info(n, TensorProto.FLOAT, ["N", width]) for n in ("X", "Y"))
    graph = helper.make_graph([helper.make_node("Relu", ["X"], ["Y"])], "g", [given], [made])
    path = tmp_path / "wide.onnx"
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    path.write_bytes(model.SerializeToString())
    assert main(["model", "compile", str(path), "-o", str(tmp_path / "out")]) == 0
    assert "too wide to serve, predict instead" in capsys.readouterr().out
    program = tmp_path / "out" / host_platform() / "predict"
    rows = np.random.default_rng(0).normal(size=(3, width)).astype(np.float32)
    raw = subprocess.run([program], input=rows.tobytes(), capture_output=True, check=True).stdout
    assert (np.frombuffer(raw, np.float32).reshape(3, width) == np.maximum(rows, 0)).all()
    assert main(["model", "compile", str(path), "--runtime", "onnxruntime", "-o", str(tmp_path / "other")]) == 1
    assert "expected rows that a server can answer and count" in capsys.readouterr().err


def test_onnxruntime_gets_a_model_folder(model, tmp_path, capsys):
    """What `edgeloop-node server --model` takes; a platform without a wheel is refused."""
    assert main(["model", "compile", str(model), "--runtime", "onnxruntime", "-o", str(tmp_path / "out")]) == 0
    names = ["golden.json", "manifest.json", "model.onnx", "reference.json", "version.json"]
    assert sorted(path.name for path in (tmp_path / "out").iterdir()) == names
    assert (
        main(["model", "compile", str(model), "--runtime", "onnxruntime", "--platform", "linux/riscv64", "-o", "x"])
        == 1
    )
    assert "expected one of linux/amd64, linux/arm64, got 'linux/riscv64'" in capsys.readouterr().err


MISTAKES = [
    (["--platform", "linux/armv7"], "got 'linux/armv7'", "did you mean linux/arm/v7?"),
    (["--platform", "amd64"], "expected one of linux/amd64", "did you mean linux/amd64?"),
    (["--runtime", "nativ"], "--runtime: expected one of native, onnxruntime, got 'nativ'", "did you mean native?"),
    (["--runtime", "fpga"], "--runtime: expected native or onnxruntime, got fpga", "edgeloop fpga build --help"),
    (["--instruction-set", "avx"], "--instruction-set: expected x86-64-v3", ""),
]


@pytest.mark.parametrize(("words", "said", "hint"), MISTAKES)
def test_a_wrong_word_is_answered_with_the_nearest(words, said, hint, model, tmp_path, capsys):
    """Platforms, runtimes, instruction sets; nothing is written."""
    assert main(["model", "compile", str(model), *words, "-o", str(tmp_path / "out")]) == 1
    error = capsys.readouterr().err
    assert said in error
    assert hint in error
    assert not (tmp_path / "out").exists()


def test_an_operator_without_code_is_named_with_the_way_out(tmp_path, capsys):
    """File, node, operator, and the runtime that has it."""
    path = write_model(tmp_path / "odd.onnx", operator="Acosh")
    for command in (["compile", str(path), "-o", str(tmp_path / "out")], ["parity", str(path)]):
        assert main(["model", *command]) == 1
        error = capsys.readouterr().err
        assert "odd.onnx" in error
        assert "Acosh" in error
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("kind", [11, 7], ids=["float64", "int64"])
@pytest.mark.parametrize("width", [3, "M"])
@pytest.mark.parametrize("runtime", ["native", "onnxruntime"])
def test_what_both_runtimes_refuse_names_neither_as_the_way_out(kind, width, runtime, tmp_path, capsys):
    """An input that is not float32, and rows of unknown width (of float32): no other --runtime helps, and none is named."""
    from onnx import TensorProto, helper

    kind = kind if width == 3 else TensorProto.FLOAT
    ends = [helper.make_tensor_value_info(name, kind, ["N", width]) for name in ("X", "Y")]
    graph = helper.make_graph([helper.make_node("Neg", ["X"], ["Y"])], "g", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    assert main(["model", "compile", str(tmp_path / "m.onnx"), "--runtime", runtime, "-o", str(tmp_path / "out")]) == 1
    printed = capsys.readouterr()
    assert "'X'" in printed.out + printed.err
    assert "use the runtime" not in printed.out + printed.err


@pytest.mark.slow
def test_rows_too_wide_for_a_server_have_no_other_runtime(tmp_path, capsys):
    """The native runtime lacks the operator, and onnxruntime serves no such rows: it is no way out."""
    from onnx import TensorProto, helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 20_000]) for name in ("X", "Y")]
    graph = helper.make_graph([helper.make_node("Sin", ["X"], ["Y"])], "g", ends[:1], ends[1:])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    assert main(["model", "compile", str(tmp_path / "m.onnx"), "-o", str(tmp_path / "out")]) == 1
    printed = capsys.readouterr()
    assert "ai.onnx.Sin" in printed.out + printed.err
    assert "use the runtime" not in printed.out + printed.err


def test_an_output_that_no_row_changes_is_refused(tmp_path, capsys):
    """A constant is named as what it is, in place of a fault of ours."""
    from onnx import TensorProto, helper, numpy_helper

    ends = [helper.make_tensor_value_info(name, TensorProto.FLOAT, ["N", 3]) for name in ("X", "Y", "C")]
    nodes = [helper.make_node("Neg", ["X"], ["Y"]), helper.make_node("Exp", ["w"], ["C"])]
    weights = [numpy_helper.from_array(np.ones((1, 3), np.float32), "w")]
    graph = helper.make_graph(nodes, "g", ends[:1], ends[1:], weights)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    (tmp_path / "m.onnx").write_bytes(model.SerializeToString())
    assert main(["model", "compile", str(tmp_path / "m.onnx"), "-o", str(tmp_path / "out")]) == 1
    printed = capsys.readouterr()
    assert "output 'C': expected a tensor computed from the input, found a constant" in printed.out + printed.err


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04abc", b"a,b\n1,2\n"])
@pytest.mark.parametrize("command", ["compile", "parity"])
def test_what_is_no_model_is_said(content, command, tmp_path, capsys):
    """The same words as of inspect, in text and in JSON."""
    path = tmp_path / "no.onnx"
    path.write_bytes(content)
    further = ["-o", str(tmp_path / "out")] if command == "compile" else []
    assert main(["model", command, str(path), *further]) == 1
    assert "expected an ONNX model" in capsys.readouterr().err
    assert main(["model", command, str(path), *further, "--json"]) == 1
    assert "expected an ONNX model" in document(capsys)["error"]["message"]


def test_a_place_that_cannot_be_written_is_named(model, tmp_path, capsys):
    """A file where a folder should be."""
    (tmp_path / "file").write_text("")
    assert main(["model", "compile", str(model), "-o", str(tmp_path / "file" / "out")]) == 1
    assert "cannot be written" in capsys.readouterr().err


def test_parity_holds_on_all_platforms(model, capsys):
    """Exit code 0, one row for each, one digest."""
    for platform in PLATFORMS:
        try:
            emulator(platform)
        except EmulatorUnavailable as error:
            pytest.skip(f"{error}; {error.hint}")
    assert main(["model", "parity", str(model), "--runtime", "native", "--rows", "200", "--json"]) == 0
    found = document(capsys)
    assert [result["platform"] for result in found["platforms"]] == list(PLATFORMS)
    assert {result["state"] for result in found["platforms"]} == {"passed"}
    assert len({result["output_digest"] for result in found["platforms"]}) == 1
    assert all(result["rows"] == 200 and result["max_abs_difference"] <= 1e-6 for result in found["platforms"])


def test_parity_that_fails_shows_the_worst_row(model, capsys, monkeypatch):
    """Another model's program gives other answers: exit code 1, the row, what was expected and what came."""
    from edgeloop_components.compile import lone

    real = lone.emit
    other = lone.read_lone(write_model(model.parent / "other.onnx", seed=9)).graph
    monkeypatch.setattr(lone, "emit", lambda graph, way_out: real(other, way_out))
    assert main(["model", "parity", str(model), "--platform", host_platform(), "--rows", "50"]) == 1
    words = capsys.readouterr().out
    assert "differs from onnxruntime by" in words
    assert f"the worst row on {host_platform()}" in words
    for part in ("values: [", "expected: {", "got: {"):
        assert part in words


def test_a_platform_without_its_emulator_is_not_run(model, capsys, monkeypatch, tmp_path):
    """Exit code 3, the package to install; this machine's own platform is still compared."""
    monkeypatch.setenv("PATH", str(tmp_path))
    words = ["model", "parity", str(model), "--platform", host_platform(), "--platform", FOREIGN, "--rows", "50"]
    assert main(words) == 3
    printed = capsys.readouterr().out
    assert f"{FOREIGN}: not run" in printed
    assert "qemu-user-static" in printed
    assert main([*words, "--json"]) == 3
    assert [result["state"] for result in document(capsys)["platforms"]] == ["passed", "not run"]


def test_onnxruntimes_parity_is_of_this_machine(model, capsys):
    """The packaged graph, row by row, against the file's own answers."""
    assert main(["model", "parity", str(model), "--runtime", "onnxruntime", "--rows", "60", "--json"]) == 0
    (result,) = document(capsys)["platforms"]
    assert (result["platform"], result["state"], result["label_differences"]) == (host_platform(), "passed", 0)


@pytest.mark.parametrize("command", ["compile", "parity"])
def test_help_has_examples(command, capsys):
    """Lines that can be copied."""
    assert main(["model", command, "--help"]) == 0
    assert f"edgeloop model {command} m.onnx" in capsys.readouterr().out
