"""From an ONNX graph to the Verilated circuit: what no ready sample has, bit for bit."""

from __future__ import annotations

import itertools
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper
from simulation import needs_simulator

from edgeloop_components.fpga.proof.program import program
from edgeloop_components.fpga.proof.rows import compared, expected
from edgeloop_components.fpga.quantise import Widths, quantised
from edgeloop_components.fpga.rtl import RtlOptions, emit
from edgeloop_components.onnxgraph import graph_of

WIDTH = 2


def stumps(thresholds: list[tuple[int, float]], missing: bool) -> Any:
    """Three classes; a tree of one comparison for each (feature, threshold), which pays whole numbers."""
    nodes, pays = [], []
    for tree, (feature, threshold) in enumerate(thresholds):
        nodes += [(tree, 0, feature, threshold, int(missing and tree % 3 == 0), 1, 2, "BRANCH_LEQ")]
        nodes += [(tree, node, 0, 0.0, 0, 0, 0, "LEAF") for node in (1, 2)]
        pays += [(tree, node, k, float((5 * tree + 3 * node + 7 * k) % 11)) for node in (1, 2) for k in range(3)]
    names = (
        "treeids",
        "nodeids",
        "featureids",
        "values",
        "missing_value_tracks_true",
        "truenodeids",
        "falsenodeids",
        "modes",
    )
    lists = {f"nodes_{name}": list(one) for name, one in zip(names, zip(*nodes, strict=True), strict=True)}
    paid = ("class_treeids", "class_nodeids", "class_ids", "class_weights")
    lists |= {name: list(one) for name, one in zip(paid, zip(*pays, strict=True), strict=True)}
    node = helper.make_node(
        "TreeEnsembleClassifier", ["X"], ["label", "probabilities"], domain="ai.onnx.ml", post_transform="SOFTMAX",
        classlabels_int64s=[0, 1, 2], **lists,
    )  # fmt: skip
    taken = [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N", WIDTH])]
    out = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", 3])]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(helper.make_graph([node], "g", taken, out), opset_imports=opsets, ir_version=8)


def layers(sizes: list[int], seed: int) -> Any:
    """An MLP with ReLU and a softmax, of random weights."""
    rng, here = np.random.default_rng(seed), "X"
    nodes, constants = [], []
    for place, (inputs, outputs) in enumerate(itertools.pairwise(sizes)):
        for name, values in (("w", rng.normal(size=(inputs, outputs))), ("b", rng.normal(size=outputs))):
            constants.append(helper.make_tensor(f"{name}{place}", TensorProto.FLOAT, values.shape, values.ravel()))
        nodes.append(helper.make_node("Gemm", [here, f"w{place}", f"b{place}"], [f"s{place}"]))
        here = f"s{place}"
        if place < len(sizes) - 2:
            nodes.append(helper.make_node("Relu", [here], [f"a{place}"]))
            here = f"a{place}"
    nodes.append(helper.make_node("Softmax", [here], ["probabilities"], axis=1))
    taken = [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N", sizes[0]])]
    out = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", sizes[-1]])]
    graph = helper.make_graph(nodes, "g", taken, out, constants)
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)


def rows_of(width: int, count: int = 600) -> Any:
    """Random rows; some values are missing or infinite."""
    rng = np.random.default_rng(5)
    rows = rng.normal(size=(count, width), scale=3).astype(np.float32)
    rows[rng.random(rows.shape) < 0.1] = np.nan
    rows[rng.random(rows.shape) < 0.05] = np.inf
    rows[rng.random(rows.shape) < 0.05] = -np.inf
    return rows


WIDE = [(place % WIDTH, (place - 300) / 50) for place in range(620)]  # 310 thresholds a feature: codes of 9 bits
ENDS = [(0, float("inf")), (0, 0.5), (1, -1.0), (1, 1.0), (0, float("inf"))]  # one that only missing values fail

CASES = {
    "wide codes": (stumps(WIDE, missing=False), WIDTH, 8, RtlOptions()),
    "wide codes and missing values": (stumps(WIDE, missing=True), WIDTH, 8, RtlOptions(tables=2, table_words=512)),
    "true of all but missing values": (stumps(ENDS, missing=False), WIDTH, 8, RtlOptions()),
    "the same in tables": (stumps(ENDS, missing=True), WIDTH, 8, RtlOptions(tables=2)),
    "layers of 11 bits": (layers([5, 9, 4, 3], 1), 5, 11, RtlOptions(multipliers=2)),
    "one layer": (layers([7, 4], 2), 7, 9, RtlOptions()),
}


@needs_simulator
@pytest.mark.slow
@pytest.mark.parametrize("name", CASES)
def test_the_circuit_has_the_bits_of_the_quantised_model(name: str, tmp_path: Path) -> None:
    """Codes of two bytes, thresholds at infinity, uneven layers: label and raw scores of every row."""
    model, width, bits, options = CASES[name]
    rows = rows_of(width)
    design = quantised(graph_of(model), rows, Widths(bits))
    if "wide" in name:
        assert design.code_bits > 8
    if "all but missing" in name:
        assert design.forest
        ends = {len(design.forest.thresholds[0])}
        assert ends & {
            e for tree in design.forest.trees for f, e in zip(tree.features, tree.edges, strict=True) if f == 0
        }
    want = expected(design, rows)
    assert len(set(want.payloads)) > 2
    assert compared(want, program(emit(design, options), tmp_path / "board"), name).rows == len(rows)
