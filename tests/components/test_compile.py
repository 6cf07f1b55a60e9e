"""Compile, parity and profile on a small real model."""

import json
from pathlib import Path

import numpy as np
import pytest

from edgeloop_components.compile.core import LIMIT, ParityError, compare, compile_model, parity_of
from edgeloop_components.profile.core import BudgetError, over_budget, profile
from edgeloop_components.runtimes import ModelError, RuntimeRefused
from edgeloop_contracts import Loop, ParityResult, ResourceProfile, from_json, loads

NAMES = ("reference.json", "golden.json")


def _loop(**target: object) -> Loop:
    document = {
        "apiVersion": "edgeloop.dev/v1alpha1",
        "kind": "Loop",
        "metadata": {"name": "small"},
        "data": {"source": "x.csv", "label": "y", "features": ["a", "b"]},
        "train": {"estimator": "sklearn.linear_model.LogisticRegression"},
        "targets": [{"name": "cabinet", "nodes": {"group": "cabinets"}, **target}],
    }
    return from_json(Loop, document)


def _onnx(bias: float) -> bytes:
    """Softmax of a linear layer over two features; its labels are the argmax."""
    from onnx import TensorProto, helper, numpy_helper

    weights = numpy_helper.from_array(np.array([[1.0, -1.0], [0.5, 0.25]], np.float32), "W")
    offset = numpy_helper.from_array(np.array([bias, 0.0], np.float32), "B")
    nodes = [
        helper.make_node("Gemm", ["X", "W", "B"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["scores"], ["label"], axis=1, keepdims=0),
    ]
    inputs = [helper.make_tensor_value_info("X", TensorProto.FLOAT, [None, 2])]
    outputs = [
        helper.make_tensor_value_info("label", TensorProto.INT64, [None]),
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, [None, 2]),
    ]
    graph = helper.make_graph(nodes, "g", inputs, outputs, [weights, offset])
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=9)
    return model.SerializeToString()


@pytest.fixture
def model_dir(tmp_path: Path) -> Path:
    from edgeloop_components.runtimes.onnxruntime import session

    folder = tmp_path / "version"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(_onnx(0.1))
    rows = np.random.default_rng(0).normal(size=(40, 2)).astype(np.float32)
    labels, probabilities = session(_onnx(0.1)).run(["label", "probabilities"], {"X": rows})
    golden = {"rows": rows.tolist(), "labels": labels.tolist(), "probabilities": probabilities.tolist()}
    (folder / "golden.json").write_text(json.dumps(golden))
    (folder / "reference.json").write_text("{}")
    return folder


def test_a_compiled_model_answers_as_the_reference(model_dir: Path, tmp_path: Path) -> None:
    """Compiling leaves the model, its documents and a passed parity."""
    loop = _loop()
    result = compile_model(loop, loop.targets[0], model_dir, tmp_path / "out")
    assert result.parity.passed
    assert result.parity.rows == 40
    assert sorted(p.name for p in result.folder.iterdir()) == ["golden.json", "model.onnx", "reference.json"]
    assert loads(ParityResult, (tmp_path / "out" / "parity.json").read_bytes()) == result.parity


def test_another_model_is_refused_with_its_worst_row(model_dir: Path, tmp_path: Path) -> None:
    """A compiled model with one changed weight fails parity, and the message shows the row."""
    compiled = tmp_path / "compiled"
    compiled.mkdir()
    (compiled / "model.onnx").write_bytes(_onnx(0.11))
    with pytest.raises(ParityError, match=r"worst is row \d+: ") as caught:
        compare("small", _loop().targets[0], model_dir, compiled)
    assert caught.value.result.max_abs_difference > LIMIT


def test_golden_rows_of_another_model_are_refused(model_dir: Path, tmp_path: Path) -> None:
    """A model that does not give the recorded answers is not the one that was trained."""
    (model_dir / "model.onnx").write_bytes(_onnx(0.5))
    loop = _loop()
    with pytest.raises(ModelError, match="expected the recorded answers"):
        compile_model(loop, loop.targets[0], model_dir, tmp_path / "out")
    assert not (tmp_path / "out" / "model").exists()


def test_what_is_no_model_is_refused_and_nothing_is_left(model_dir: Path, tmp_path: Path) -> None:
    """A truncated ONNX file gives a clear error and no compiled folder."""
    (model_dir / "model.onnx").write_bytes(_onnx(0.1)[:150])
    loop = _loop()
    with pytest.raises(ModelError, match=r"model\.onnx: expected"):
        compile_model(loop, loop.targets[0], model_dir, tmp_path / "out")
    assert not (tmp_path / "out" / "model").exists()


@pytest.mark.parametrize(
    ("target", "said"),
    [({"runtime": "native"}, "got native"), ({"platform": "linux/riscv64"}, "not on linux/riscv64")],
)
def test_an_unknown_runtime_or_platform_is_refused(
    target: dict[str, str], said: str, model_dir: Path, tmp_path: Path
) -> None:
    """What there is no row for is refused with what there is."""
    loop = _loop(**target)
    with pytest.raises(RuntimeRefused, match=said):
        compile_model(loop, loop.targets[0], model_dir, tmp_path / "out")


def test_labels_may_differ_at_ties_only() -> None:
    """Two classes of equal probability may be named either way; others not."""
    probabilities = np.array([[0.5, 0.5], [0.9, 0.1]], np.float32)
    expected = (np.array([0, 0]), probabilities)
    target = _loop().targets[0]
    assert parity_of("small", target, expected, (np.array([1, 0]), probabilities)).passed
    assert parity_of("small", target, expected, (np.array([0, 1]), probabilities)).label_differences == 1


def test_a_number_that_is_none_fails() -> None:
    """NaN from a compiled model is the largest difference there is."""
    probabilities = np.array([[0.5, 0.5]], np.float32)
    broken = np.array([[np.nan, 0.5]], np.float32)
    result = parity_of("small", _loop().targets[0], (np.array([0]), probabilities), (np.array([0]), broken))
    assert not result.passed


def test_the_profile_is_measured_and_kept(model_dir: Path, tmp_path: Path) -> None:
    """A real process gives figures that hang together, and resources that cover them."""
    loop = _loop()
    compiled = compile_model(loop, loop.targets[0], model_dir, tmp_path / "out").folder
    result = profile(loop, loop.targets[0], compiled, tmp_path / "profile")
    assert 0 < result.latency_p50_ms <= result.latency_p99_ms
    assert result.memory_peak_mib < result.memory_request_mib < result.memory_limit_mib
    assert loads(ResourceProfile, (tmp_path / "profile" / "profile.json").read_bytes()) == result


def test_a_model_over_its_budget_is_refused_with_numbers(model_dir: Path, tmp_path: Path) -> None:
    """The budget is compared with what was measured; the message has both numbers and nothing is written."""
    loop = _loop(budget={"memory_mib": 8})
    compiled = compile_model(loop, loop.targets[0], model_dir, tmp_path / "out").folder
    with pytest.raises(BudgetError, match=r"memory_mib: expected at most 8, measured \d+"):
        profile(loop, loop.targets[0], compiled, tmp_path / "profile")
    assert not (tmp_path / "profile").exists()


def test_no_budget_is_no_limit(model_dir: Path, tmp_path: Path) -> None:
    """Without a budget nothing is over it."""
    loop = _loop()
    compiled = compile_model(loop, loop.targets[0], model_dir, tmp_path / "out").folder
    assert over_budget(profile(loop, loop.targets[0], compiled, tmp_path / "profile"), loop.targets[0]) == []
