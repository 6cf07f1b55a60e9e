"""The node's caller of a model's shared library: the numbers of the build side's caller, from threads, as a Scorer."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pytest

from edgeloop_components.compile.lone import read_lone
from edgeloop_components.native.build import build_library
from edgeloop_components.native.library import open_library
from edgeloop_node.runtimes import ModelError, scorer_for
from edgeloop_node.runtimes.native import Library


def write_model(path: Path, *, label: str = "label", shape: tuple[int, ...] = (5,)) -> Path:
    """Softmax of a linear layer, five values to three classes."""
    from onnx import TensorProto, helper, numpy_helper

    draw = np.random.default_rng(0)
    sizes = (("W", (5, 3)), ("B", (3,)))
    constants = [numpy_helper.from_array(draw.normal(size=s).astype(np.float32), n) for n, s in sizes]
    nodes = [
        helper.make_node("Flatten", ["X"], ["flat"]),
        helper.make_node("Gemm", ["flat", "W", "B"], ["scores"]),
        helper.make_node("Softmax", ["scores"], ["probabilities"], axis=1),
        helper.make_node("ArgMax", ["scores"], [label], axis=1, keepdims=0),
    ]
    outputs = [
        helper.make_tensor_value_info(label, TensorProto.INT64, ["N"]),
        helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 3]),
    ]
    given = [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N", *shape])]
    model = helper.make_model(
        helper.make_graph(nodes, "g", given, outputs, constants),
        opset_imports=[helper.make_opsetid("", 17)],
        ir_version=8,
    )
    path.write_bytes(model.SerializeToString())
    return path


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    made = tmp_path_factory.mktemp("library")
    build_library(read_lone(write_model(made / "m.onnx")).emitted(), made / "model.so")
    return made


def test_descriptors_are_read(folder: Path) -> None:
    """Names, types and shapes of one row."""
    library = Library(folder / "model.so")
    assert (library.input.name, library.input.datatype, library.input.shape) == ("X", "float32", (5,))
    assert [(t.name, t.datatype, t.shape) for t in library.outputs] == [
        ("label", "int64", ()),
        ("probabilities", "float32", (3,)),
    ]


@pytest.mark.parametrize("count", [0, 1, 2, 100])
def test_every_batch_gives_the_build_sides_bits(folder: Path, count: int) -> None:
    """One row takes a path of its own; no row gives no answer."""
    rows = np.random.default_rng(1).normal(size=(count, 5)).astype(np.float32)
    expected = open_library(folder / "model.so")[1](rows)
    library = Library(folder / "model.so")
    got = library.run(rows)
    assert [array.tobytes() for array in got] == [array.tobytes() for array in expected]
    assert [array.shape for array in got] == [(count,), (count, 3)]
    assert library.last_output(rows).tobytes() == expected[-1].tobytes()


def test_rows_of_other_forms_are_taken_or_refused(folder: Path) -> None:
    """Float64, rows that do not lie together and lists are converted; another width is refused."""
    library = Library(folder / "model.so")
    rows = np.random.default_rng(1).normal(size=(1, 5)).astype(np.float32)
    expected = library.last_output(rows).tobytes()
    wide = np.zeros((1, 10), np.float32)
    wide[:, ::2] = rows
    for form in (rows.astype(np.float64), np.asfortranarray(rows), wide[:, ::2], rows.tolist()):
        assert library.last_output(np.asarray(form)).tobytes() == expected
    for wrong in (rows[:, :4], rows[0], rows.reshape(1, 5, 1)):
        with pytest.raises(ValueError, match=r"expected rows of the shape \[n, 5\], got"):
            library.run(wrong)


def test_an_answer_stays_when_the_next_is_computed(folder: Path) -> None:
    """Outputs of one row are copies, though they are computed in the same place."""
    library = Library(folder / "model.so")
    one, other = np.zeros((1, 5), np.float32), np.ones((1, 5), np.float32)
    first = library.last_output(one)
    kept = first.copy()
    library.last_output(other)
    assert (first == kept).all()


def test_threads_do_not_disturb_one_another(folder: Path) -> None:
    """Four threads, single rows: each gets the answers to its own rows."""
    library = Library(folder / "model.so")
    rows = np.random.default_rng(2).normal(size=(400, 5)).astype(np.float32)
    expected = library.run(rows)[1]
    with ThreadPoolExecutor(4) as pool:
        for _ in range(5):
            got = list(pool.map(lambda i: library.last_output(rows[i : i + 1])[0], range(len(rows))))
            assert np.array(got).tobytes() == expected.tobytes()


def test_the_scorer_serves_the_convention(folder: Path) -> None:
    """Lists in, lists out, the numbers of the library; sizes are known."""
    scorer = scorer_for("native", folder)
    assert (scorer.runtime, scorer.features, scorer.classes) == ("native", 5, 3)
    rows = np.random.default_rng(3).normal(size=(4, 5)).astype(np.float32)
    labels, probabilities = scorer.score(rows.tolist())
    expected = Library(folder / "model.so").run(rows)
    assert labels == expected[0].tolist()
    assert probabilities == expected[1].tolist()


def test_other_outputs_and_inputs_are_no_scorer(tmp_path: Path) -> None:
    """The message has what was expected and what was found."""
    for name, model, said in (
        ("a", write_model(tmp_path / "a.onnx", label="class"), "expected the output"),
        ("b", write_model(tmp_path / "b.onnx", shape=(1, 5)), "expected an input"),
    ):
        folder = tmp_path / name
        folder.mkdir()
        from edgeloop_components.native.emit import emit
        from edgeloop_components.onnxgraph import read_graph

        build_library(emit(read_graph(model)), folder / "model.so")
        with pytest.raises(ModelError, match=said):
            scorer_for("native", folder)


@pytest.mark.parametrize("content", [None, b"", b"no library"])
def test_what_is_no_library_is_refused(tmp_path: Path, content: bytes | None) -> None:
    """A missing file too."""
    if content is not None:
        (tmp_path / "model.so").write_bytes(content)
    with pytest.raises(ModelError, match=r"model\.so: expected a model's shared library"):
        scorer_for("native", tmp_path)
