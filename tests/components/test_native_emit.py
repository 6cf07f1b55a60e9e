"""Whole graphs as C: inputs, outputs, memory, texts, refusals, and the operators that end a classifier."""

from __future__ import annotations

from typing import Any

import numpy as np
from onnx import TensorProto, helper, numpy_helper

from edgeloop_components.native import emit
from edgeloop_components.onnxgraph import graph_of


def model_of(nodes: list[Any], shape: list[Any], outputs: dict[str, tuple[int, int]], **weights: Any) -> Any:
    """A model with the input X; `outputs`: name -> (element type, rank)."""
    given = [helper.make_tensor_value_info(n, kind, [None] * rank) for n, (kind, rank) in outputs.items()]
    graph = helper.make_graph(
        nodes,
        "g",
        [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N", *shape])],
        given,
        [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()],
    )
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(graph, opset_imports=opsets, ir_version=8)


def test_a_dense_layer_with_softmax_and_argmax(compile_c: Any, onnxruntime_answers: Any) -> None:
    """Gemm, Softmax and ArgMax together give the label and the probabilities that onnxruntime gives."""
    rng = np.random.default_rng(0)
    nodes = [
        helper.make_node("Gemm", ["X", "W", "b"], ["z"], transB=1),
        helper.make_node("Softmax", ["z"], ["p"], axis=1),
        helper.make_node("ArgMax", ["p"], ["label"], axis=1, keepdims=0),
    ]
    weights = {"W": rng.normal(0, 0.3, (40, 24)).astype(np.float32), "b": rng.normal(size=40).astype(np.float32)}
    outputs = {"label": (TensorProto.INT64, 1), "p": (TensorProto.FLOAT, 2)}
    model = model_of(nodes, [24], outputs, **weights)
    rows = rng.normal(size=(50, 24)).astype(np.float32)
    got, expected = compile_c(emit(graph_of(model)))(rows), onnxruntime_answers(model, rows)
    assert (got[0] == expected[0]).all()
    assert np.abs(got[1] - expected[1]).max() <= 1e-6
