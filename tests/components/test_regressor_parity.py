"""Parity of regressors: what is compiled rightly holds though its terms cancel, and what is not is refused all the same.

Answers of a changed graph stand for a wrong compile: onnxruntime gives both, so only the change is between them.
"""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeloop_components.compile.agreement import Agreement, agreement, largest, typical_sizes
from edgeloop_components.compile.lone import read_lone
from edgeloop_components.compile.lone_documents import write_documents
from edgeloop_components.compile.terms import term_sizes
from edgeloop_contracts.golden import golden_tensors

DRAW = np.random.default_rng(7)
ROWS = DRAW.normal(size=(300, 4)).astype(np.float32)
WIDE = (ROWS * np.array([1, 30, 0.02, 400]) + np.array([10, -60, 1, 9000])).astype(np.float32)
TARGET = 10_000 + 9_000 * ROWS[:, 0] - 4_000 * ROWS[:, 1] * np.abs(ROWS[:, 2]) + 500 * ROWS[:, 3]


def regressors() -> dict[str, Any]:
    from sklearn.linear_model import LinearRegression
    from sklearn.neural_network import MLPRegressor
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler
    from sklearn.svm import SVR

    return {
        "linear": LinearRegression(),
        "scaled": make_pipeline(StandardScaler(), LinearRegression()),
        "mlp": make_pipeline(StandardScaler(), MLPRegressor(hidden_layer_sizes=(12,), max_iter=40, random_state=0)),
        "svr": make_pipeline(StandardScaler(), SVR(C=1e4)),
        "svr linear": make_pipeline(StandardScaler(), SVR(kernel="linear", C=1e3)),
        "svr poly": make_pipeline(StandardScaler(), SVR(kernel="poly", C=1e3)),
    }


NAMES = ("linear", "scaled", "mlp", "svr", "svr linear", "svr poly")


@pytest.fixture(scope="module")
def graphs() -> dict[str, Any]:
    """The regressors as skl2onnx writes them."""
    from skl2onnx import to_onnx

    made = {}
    for name, regressor in regressors().items():
        rows = ROWS if name == "linear" else WIDE
        made[name] = to_onnx(regressor.fit(rows, TARGET), rows[:1], target_opset={"": 18, "ai.onnx.ml": 3})
    return made


def figures(graph: Any, other: Any, folder: Path) -> Agreement:
    """How parity judges the answers of another graph."""
    files = [folder / "right.onnx", folder / "other.onnx"]
    for file, model in zip(files, (graph, other), strict=True):
        file.write_bytes(model.SerializeToString())
    right, wrong = map(read_lone, files)
    rows = right.probes(1000, 0).rows
    expected, terms = right.outputs(rows), right.terms(rows)
    sizes = typical_sizes(expected, terms)
    scales = {name: np.maximum(size, terms.get(name, size)) for name, size in sizes.items()}
    return agreement(expected, wrong.outputs(rows), right.limit, scales=scales)


def places(graph: Any) -> list[tuple[str, Callable[[Any, float], None]]]:
    """Constants of a graph that its answers depend on, and what multiplies one of each."""
    from onnx import numpy_helper

    def of_attribute(node: int, attribute: int, place: int) -> Callable[[Any, float], None]:
        def change(model: Any, by: float) -> None:
            model.graph.node[node].attribute[attribute].floats[place] *= by

        return change

    def of_tensor(number: int) -> Callable[[Any, float], None]:
        def change(model: Any, by: float) -> None:
            tensor = model.graph.initializer[number]
            values = numpy_helper.to_array(tensor).copy()
            values.ravel()[np.abs(values).argmax()] *= by
            tensor.CopyFrom(numpy_helper.from_array(values, tensor.name))

        return change

    found = []
    for i, node in enumerate(graph.graph.node):
        for j, attribute in enumerate(node.attribute):
            values = np.array(attribute.floats)
            if len(values) and np.abs(values).max() > 0 and attribute.name != "kernel_params":
                found.append((attribute.name, of_attribute(i, j, int(np.abs(values).argmax()))))
    tensors = [(k, tensor) for k, tensor in enumerate(graph.graph.initializer) if tensor.data_type == 1]
    return [*found, *((tensor.name, of_tensor(k)) for k, tensor in tensors)]


@pytest.mark.parametrize("name", NAMES)
def test_any_constant_that_is_wrong_is_refused(name: str, graphs: dict[str, Any], tmp_path: Path) -> None:
    """The same graph holds; with one weight, vector, offset or constant off by a thousandth it does not."""
    graph = graphs[name]
    assert figures(graph, graph, tmp_path).of_limit == 0.0
    changes = places(graph)
    assert len(changes) >= 2
    for what, change in changes:
        other = type(graph)()
        other.CopyFrom(graph)
        change(other, 1.001)
        found = figures(graph, other, tmp_path)
        assert not found.holds(False), (what, found)


def test_a_weight_that_counts_for_little_is_still_held(graphs: dict[str, Any], tmp_path: Path) -> None:
    """Its term is below 1e-5 of every ordinary answer; in rows where its feature is far out of range it is the answer."""
    graph, other = (type(graphs["linear"])() for _ in range(2))
    graph.CopyFrom(graphs["linear"])
    (weights,) = (a for node in graph.graph.node for a in node.attribute if a.name == "coefficients")
    weights.floats[1] = 1e-3
    other.CopyFrom(graph)
    (weights,) = (a for node in other.graph.node for a in node.attribute if a.name == "coefficients")
    weights.floats[1] *= 1.001
    assert not figures(graph, other, tmp_path).holds(False)


@pytest.mark.parametrize("name", ["svr", "svr linear", "svr poly"])
def test_the_terms_of_support_vectors_cover_what_onnxruntime_loses(
    name: str, graphs: dict[str, Any], tmp_path: Path
) -> None:
    """Beside scikit-learn in double; and they are no blanket: not above a few times the answers."""
    path = tmp_path / "m.onnx"
    path.write_bytes(graphs[name].SerializeToString())
    lone = read_lone(path)
    rows = WIDE[:200]
    (terms,), (answers,) = lone.terms(rows).values(), lone.outputs(rows).values()
    exact = regressors()[name].fit(WIDE, TARGET).predict(rows.astype(np.float64))
    lost = np.abs(answers.ravel() - exact)
    sizes = np.maximum(np.maximum(terms, largest(answers.reshape(len(rows), -1))), np.median(terms))
    assert (lost <= 1e-5 * sizes).all()
    assert np.median(terms) < 5 * np.median(np.abs(answers))


def test_graphs_without_support_vectors_have_no_terms(graphs: dict[str, Any], tmp_path: Path) -> None:
    """Of a linear model the answers' size is enough; of a value that is changed afterwards nothing is known."""
    from onnx import TensorProto, helper, numpy_helper

    assert term_sizes(graphs["linear"], ROWS, 1e-5) == {}
    graph = type(graphs["svr"])()
    graph.CopyFrom(graphs["svr"])
    (output,) = graph.graph.output
    graph.graph.initializer.append(numpy_helper.from_array(np.array([2], np.float32), "two"))
    graph.graph.node.append(helper.make_node("Mul", [output.name, "two"], ["double"]))
    del graph.graph.output[:]
    graph.graph.output.append(helper.make_tensor_value_info("double", TensorProto.FLOAT, [None, 1]))
    assert term_sizes(graph, WIDE, 1e-5) == {}


def test_coefficients_that_do_not_fit_have_no_terms(graphs: dict[str, Any]) -> None:
    """The emitter names what is wrong, and onnxruntime refuses other attributes; here nothing is computed of it."""
    graph = type(graphs["svr"])()
    graph.CopyFrom(graphs["svr"])
    assert term_sizes(graph, WIDE, 1e-5)
    (numbers,) = (a for node in graph.graph.node for a in node.attribute if a.name == "coefficients")
    numbers.floats.append(1.0)
    assert term_sizes(graph, WIDE, 1e-5) == {}


@pytest.mark.parametrize("name", ["linear", "svr linear"])
def test_golden_rows_are_held_by_the_scale_that_is_written(name: str, graphs: dict[str, Any], tmp_path: Path) -> None:
    """The scale is about the target's, and no row is left whose terms ask for more than its answer and the scale."""
    path = tmp_path / "m.onnx"
    path.write_bytes(graphs[name].SerializeToString())
    lone = read_lone(path)
    write_documents(lone, tmp_path, 0)
    golden = golden_tensors(json.loads((tmp_path / "golden.json").read_bytes()))
    (tensor,), (answers,) = golden.outputs, golden.answers
    assert 5_000 < tensor.scale < 50_000
    rows = np.array(golden.rows, np.float32)
    assert len(rows) >= 24
    for terms in lone.terms(rows).values():
        assert (terms <= np.maximum(largest(np.array(answers)), tensor.scale)).all()
