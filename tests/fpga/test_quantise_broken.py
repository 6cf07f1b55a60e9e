"""Graphs that are broken, or put together in another way, are errors that name the node, never another exception."""

from __future__ import annotations

import contextlib
import random
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgeloop_components.fpga.quantise import Widths, quantised
from edgeloop_components.fpga.quantise.reading import OPERATORS
from edgeloop_components.onnxgraph import Unsupported, graph_of
from edgeloop_components.runtimes import ModelError

WIDTH, CLASSES = 3, 3
ROWS = np.random.default_rng(0).normal(size=(20, WIDTH)).astype(np.float32)


def constant(name: str, values: Any) -> Any:
    return numpy_helper.from_array(np.asarray(values), name)


def model(nodes: list[Any], constants: dict[str, Any]) -> Any:
    taken = [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N", WIDTH])]
    out = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", CLASSES])]
    graph = helper.make_graph(nodes, "g", taken, out, [constant(name, values) for name, values in constants.items()])
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def whole(activation: str = "Relu") -> Any:
    """Two layers with everything before and behind them that the reader knows."""
    rng = np.random.default_rng(1)
    make, ml = helper.make_node, {"domain": "ai.onnx.ml"}
    nodes = [
        make("Imputer", ["X"], ["a"], imputed_value_floats=[0.0, 1.0, 2.0], replaced_value_float=float("nan"), **ml),
        make("Scaler", ["a"], ["b"], offset=[0.5], scale=[2.0], **ml),
        make("Div", ["b", "wide"], ["c"]),
        make("Split", ["c", "sizes"], ["d", "e"], axis=1),
        make("Concat", ["e", "d"], ["f"], axis=1),
        make("Gather", ["f", "order"], ["f2"], axis=1),
        make("Gemm", ["f2", "first", "bias"], ["g"], transB=1, alpha=0.5),
        make(activation, ["g"], ["h"]),
        make("MatMul", ["h", "second"], ["i"]),
        make("Add", ["i", "more"], ["j"]),
        make("Softmax", ["j"], ["k"], axis=1),
        make("Clip", ["k", "low", "one"], ["l"]),
        make("Log", ["l"], ["m"]),
        make("Mul", ["m", "power"], ["n"]),
        make("Softmax", ["n"], ["probabilities"], axis=1),
    ]
    f32 = np.float32
    constants = {
        "wide": f32([1, 2, 3]), "sizes": np.array([1, 2]), "order": np.array([2, 0, 1]),
        "first": rng.normal(size=(4, WIDTH)).astype(f32), "bias": rng.normal(size=4).astype(f32),
        "second": rng.normal(size=(4, CLASSES)).astype(f32), "more": f32([0.1, 0, -0.1]),
        "low": f32(1e-6), "one": f32(1), "power": f32(1.5),
    }  # fmt: skip
    return model(nodes, constants)


def test_the_whole_graph_is_read() -> None:
    """Unbroken, it becomes a design that agrees with onnxruntime: so what follows breaks something that works."""
    import onnxruntime

    from edgeloop_components.fpga.quantise import vector

    found = quantised(graph_of(whole()), ROWS, Widths(14))
    wanted = onnxruntime.InferenceSession(whole().SerializeToString()).run(None, {"X": ROWS})[0]
    scores = vector.scores(found, vector.codes(found, ROWS))
    assert np.abs(vector.probabilities(found, scores) - wanted).max() < 0.002
    assert (found.tail.power, found.tail.floor) == (1.5, pytest.approx(1e-6))


def broken(seed: int) -> Any:
    """One to three random changes: of a constant, an input, an attribute or an operator."""
    rng, made = random.Random(seed), whole()

    def of_constant() -> None:
        place = rng.randrange(len(made.graph.initializer))
        shape = [rng.randrange(4) for _ in range(rng.randrange(3))]
        kind = rng.choice([np.float32, np.int64, np.float64])
        name = made.graph.initializer[place].name
        made.graph.initializer[place].CopyFrom(
            constant(name, np.array(rng.choice([0, 1, np.inf, 7])).astype(kind) * np.ones(shape, kind))
        )

    def of_input() -> None:
        node = rng.choice(made.graph.node)
        names = [one.name for one in made.graph.initializer] + ["X", ""]
        node.input[rng.randrange(len(node.input))] = rng.choice(names)

    def of_attribute() -> None:
        node = rng.choice(made.graph.node)
        if node.attribute:
            del node.attribute[rng.randrange(len(node.attribute))]

    def of_operator() -> None:
        node = rng.choice(made.graph.node)
        node.domain, node.op_type = rng.choice(sorted(OPERATORS))

    for _ in range(rng.randrange(1, 4)):
        rng.choice([of_constant, of_input, of_attribute, of_operator])()
    return made


@settings(max_examples=300)
@given(seed=st.integers(0, 10**9))
@pytest.mark.filterwarnings("ignore::RuntimeWarning")
def test_a_broken_graph_is_a_model_error(seed: int) -> None:
    """Whatever is broken, it is a ModelError, or a design still comes of it."""
    with contextlib.suppress(ModelError):
        assert quantised(graph_of(broken(seed)), ROWS).features == WIDTH


@pytest.mark.parametrize("operator", ["Tanh", "Sigmoid", "LeakyRelu", "Elu"])
def test_other_activations_are_refused_by_name(operator: str) -> None:
    """A core has ReLU only."""
    with pytest.raises(Unsupported, match=rf"ai\.onnx\.{operator} .*use the runtime native"):
        quantised(graph_of(whole(operator)), ROWS)


def test_a_graph_that_is_no_classifier_is_refused() -> None:
    """Values are no probabilities, and another output has no meaning here."""
    make = helper.make_node
    values = model([make("MatMul", ["X", "w"], ["probabilities"])], {"w": np.ones((WIDTH, CLASSES), np.float32)})
    with pytest.raises(Unsupported, match="'probabilities' is a dense layer, no probabilities"):
        quantised(graph_of(values), ROWS)
    renamed = model([make("Identity", ["X"], ["probabilities"])], {})
    renamed.graph.node[0].output[0] = renamed.graph.output[0].name = "Y"
    with pytest.raises(Unsupported, match=r"expected an output 'probabilities' .*, found 'Y'"):
        quantised(graph_of(renamed), ROWS)


def test_the_page_names_every_operator() -> None:
    """docs/fpga-quantise.md says what is read."""
    page = (Path(__file__).parents[2] / "docs" / "fpga-quantise.md").read_text()
    assert [op for _, op in OPERATORS if f"`{op}`" not in page] == []
