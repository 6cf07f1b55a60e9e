"""Compile: the compiled folder, what is refused, and that nothing is left of a failure."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from edgeloop_components.compile.core import ParityError, compile_model
from edgeloop_components.runtimes import ModelError, RuntimeRefused
from edgeloop_components.runtimes.onnxruntime import session
from edgeloop_contracts import CalibrationMap, FeatureReference, Loop, Reference, dumps, from_json

REFERENCE = Reference(
    loop="small",
    schema_hash="0" * 16,
    rows=40,
    features=(FeatureReference(name="a", kind="number"), FeatureReference(name="b", kind="number")),
    classes=("no", "yes"),
    calibration=CalibrationMap(x=(0.0, 1.0), y=(0.0, 1.0)),
)


def make_loop(**target: object) -> Loop:
    document = {
        "apiVersion": "edgeloop.dev/v1alpha1",
        "kind": "Loop",
        "metadata": {"name": "small"},
        "data": {"source": "x.csv", "label": "y", "features": ["a", "b"]},
        "train": {"estimator": "sklearn.linear_model.LogisticRegression"},
        "targets": [{"name": "cabinet", "nodes": {"group": "cabinets"}, **target}],
    }
    return from_json(Loop, document)


def make_onnx(bias: float, output: str = "probabilities") -> bytes:
    """Softmax of a linear layer over two features; its labels are the argmax."""
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.array([[1.0, -1.0], [0.5, 0.25]], np.float32), "W")
    offset = numpy_helper.from_array(np.array([bias, 0.0], np.float32), "B")
    nodes = [
        helper.make_node("Gemm", ["X", "W", "B"], ["scores"]),
        helper.make_node("Softmax", ["scores"], [output], axis=1),
        helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
    ]
    inputs = [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 2])]
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
        helper.make_tensor_value_info(output, TensorProto.FLOAT, [None, 2]),
    ]
    graph = helper.make_graph(nodes, "g", inputs, outputs, [weights, offset])
    model: bytes = helper.make_model(
        graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9
    ).SerializeToString()
    return model


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "version"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(make_onnx(0.1))
    rows = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    labels, probabilities = session(make_onnx(0.1)).run(["label", "probabilities"], {"X": rows})
    golden = {"rows": rows.tolist(), "labels": labels.tolist(), "probabilities": probabilities.tolist()}
    (folder / "golden.json").write_text(json.dumps(golden))
    (folder / "reference.json").write_text(dumps(REFERENCE))
    return folder


def test_a_compiled_model_answers_as_the_reference(model_dir: Path, tmp_path: Path) -> None:
    """Compiling leaves the model and its documents, version.json where there is one, and a passed parity."""
    loop = make_loop()
    result = compile_model(loop, loop.targets[0], model_dir, tmp_path / "out")
    assert result.parity.passed
    assert result.parity.rows == 40
    assert sorted(p.name for p in (tmp_path / "out").iterdir()) == ["golden.json", "model.onnx", "reference.json"]
    assert result.size_bytes == sum(p.stat().st_size for p in (tmp_path / "out").iterdir())
    (model_dir / "version.json").write_text("{}")
    compile_model(loop, loop.targets[0], model_dir, tmp_path / "numbered")
    assert (tmp_path / "numbered" / "version.json").exists()


def test_golden_rows_of_another_model_are_refused(model_dir: Path, tmp_path: Path) -> None:
    """A model that does not give the recorded answers is not the one that was trained; nothing is left."""
    (model_dir / "model.onnx").write_bytes(make_onnx(0.5))
    loop = make_loop()
    with pytest.raises(ParityError, match=r"The worst is row \d+, \["):
        compile_model(loop, loop.targets[0], model_dir, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def with_estimator(model_dir: Path, moved: float = 0.0, **other: object) -> None:
    """Puts an estimator's answers into the golden rows: the recorded ones, the first row's `moved`."""
    golden = json.loads((model_dir / "golden.json").read_bytes())
    own = [list(row) for row in golden["probabilities"]]
    own[0] = [own[0][0] + moved, own[0][1] - moved]
    golden["estimator"] = {"limit": 2e-6, "probabilities": own, **other}
    (model_dir / "golden.json").write_text(json.dumps(golden))


def test_a_model_is_compared_with_its_estimator(model_dir: Path, tmp_path: Path) -> None:
    """The distance is in the parity result; a model far from its estimator is refused and nothing is left."""
    with_estimator(model_dir)
    loop = make_loop()
    parity = compile_model(loop, loop.targets[0], model_dir, tmp_path / "out").parity
    assert parity.estimator_difference is not None
    assert parity.estimator_difference <= 2e-6 == parity.estimator_limit
    with_estimator(model_dir, moved=1e-5)
    with pytest.raises(ParityError, match=r"differs from the estimator by .* on golden row 0"):
        compile_model(loop, loop.targets[0], model_dir, tmp_path / "far")
    assert not (tmp_path / "far").exists()


@pytest.mark.parametrize("wrong", [{"limit": 0.1}, {"limit": 0}, {"probabilities": [[1.0]]}, {"probabilities": []}])
def test_an_estimators_answers_must_fit(model_dir: Path, tmp_path: Path, wrong: dict[str, object]) -> None:
    """A limit that would let anything pass, and answers of another form, are no golden rows."""
    with_estimator(model_dir, **wrong)
    loop = make_loop()
    with pytest.raises(ModelError, match="estimator: shape"):
        compile_model(loop, loop.targets[0], model_dir, tmp_path / "out")


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (make_onnx(0.1)[:150], "breaks off or is damaged, 150 bytes"),
        (b"", "an empty file"),
        (make_onnx(0.1, output="p"), r"expected the output \('probabilities'"),
    ],
)
def test_what_is_no_model_is_refused_and_nothing_is_left(
    model_dir: Path, tmp_path: Path, data: bytes, said: str
) -> None:
    """A truncated file, an empty one and a graph with other outputs give a clear error and no compiled folder."""
    (model_dir / "model.onnx").write_bytes(data)
    loop = make_loop()
    with pytest.raises(ModelError, match=said):
        compile_model(loop, loop.targets[0], model_dir, tmp_path / "out")
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize("golden", ['{"rows": []}', '{"rows": [], "labels": [], "probabilities": []}', "nothing"])
def test_golden_rows_must_be_there(model_dir: Path, tmp_path: Path, golden: str) -> None:
    """Parity over no rows would prove nothing."""
    (model_dir / "golden.json").write_text(golden)
    loop = make_loop()
    with pytest.raises(ModelError, match=r"golden\.json: expected rows, probabilities and labels"):
        compile_model(loop, loop.targets[0], model_dir, tmp_path / "out")


@pytest.mark.parametrize(
    ("target", "said"),
    [
        (
            {"runtime": "fpga", "part": "ice40-up5k", "platform": "linux/riscv64"},
            "fpga runs on linux/amd64, linux/arm64, not on linux/riscv64",
        ),
        ({"platform": "linux/riscv64"}, "onnxruntime runs on linux/amd64, linux/arm64, not on linux/riscv64"),
    ],
)
def test_a_platform_that_a_runtime_does_not_run_on_is_refused(
    target: dict[str, str], said: str, model_dir: Path, tmp_path: Path
) -> None:
    """What there is no row for is refused with what there is."""
    loop = make_loop(**target)
    with pytest.raises(RuntimeRefused, match=said):
        compile_model(loop, loop.targets[0], model_dir, tmp_path / "out")
