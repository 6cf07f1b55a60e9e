"""Trees of a design go the way that onnxruntime goes: for any comparison, before and behind scalers and imputers."""

from __future__ import annotations

import contextlib
import itertools
import math
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeloop_components.fpga.quantise import Widths, quantised, vector
from edgeloop_components.fpga.quantise.inputs import applied, pulled
from edgeloop_components.fpga.quantise.leaves import paid_by, visited
from edgeloop_components.fpga.quantise.model import Column
from edgeloop_components.fpga.quantise.reading import shares_of
from edgeloop_components.onnxgraph import Unsupported, graph_of
from edgeloop_components.runtimes import ModelError
from edgeloop_contracts.fpga_model import codes_of, scores_of

WIDTH, CLASSES = 3, 3
MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT")
VALUES = np.array([-2.5, -1.0, -0.0, 0.0, 1e-45, 0.1, 0.5, 1.0, 3.0, 3e38], np.float32)


def forest_lists(seed: int, modes: tuple[str, ...], depth: int, trees: int, width: int = WIDTH) -> dict[str, Any]:
    """Lists of a TreeEnsembleClassifier whose leaves pay whole numbers, another one each."""
    rng = np.random.default_rng(seed)
    lists: dict[str, list[Any]] = {name: [] for name in (*NODES, *PAYS)}
    counter = itertools.count()

    def grow(tree: int, number: Any, left: int) -> int:
        me = next(number)
        place = len(lists["nodes_treeids"])
        leaf = left == 0 or (left < depth and rng.random() < 0.2)
        row = (
            tree,
            me,
            rng.integers(width),
            rng.choice(VALUES),
            rng.integers(2),
            0,
            0,
            "LEAF" if leaf else rng.choice(modes),
        )
        for name, value in zip(NODES, row, strict=True):
            lists[name].append(
                str(value) if isinstance(value, str) else value.item() if hasattr(value, "item") else value
            )
        if leaf:
            for target in range(CLASSES):
                for name, value in zip(
                    PAYS, (tree, me, target, float(next(counter) * (target + 1) % 251)), strict=True
                ):
                    lists[name].append(value)
        else:
            lists["nodes_truenodeids"][place] = grow(tree, number, left - 1)
            lists["nodes_falsenodeids"][place] = grow(tree, number, left - 1)
        return me

    for tree in range(trees):
        grow(tree, itertools.count(), depth)
    return lists


NODES = (
    "nodes_treeids", "nodes_nodeids", "nodes_featureids", "nodes_values", "nodes_missing_value_tracks_true",
    "nodes_truenodeids", "nodes_falsenodeids", "nodes_modes",
)  # fmt: skip
PAYS = ("class_treeids", "class_nodeids", "class_ids", "class_weights")


def one_hot() -> list[Any]:
    """The first two columns as they are, and a column for each category 0 to 2 of the third: `encoded` [N, 5]."""
    from onnx import TensorProto, helper

    make, ml = helper.make_node, {"domain": "ai.onnx.ml"}
    return [
        make("Split", ["X", "sizes"], ["numbers", "codes"], axis=1),
        make("Imputer", ["codes"], ["known"], imputed_value_floats=[-1.0], replaced_value_float=math.nan, **ml),
        make("Cast", ["known"], ["whole"], to=TensorProto.INT64),
        make("OneHotEncoder", ["whole"], ["wide"], cats_int64s=[0, 1, 2], zeros=1, **ml),
        make("Reshape", ["wide", "flat"], ["hot"]),
        make("Concat", ["numbers", "hot"], ["encoded"], axis=1),
    ]


def model_of(lists: dict[str, Any], before: str) -> Any:
    """A classifier that gives the sums as `probabilities`; `before`: letters of what stands before it."""
    from onnx import TensorProto, helper

    steps = {
        "i": ("Imputer", {"imputed_value_floats": [0.1, -1.0, 2.0], "replaced_value_float": math.nan}),
        "s": ("Scaler", {"offset": [0.3, -1.7, 100.0], "scale": [0.37, 11.1, 1e-3]}),
        "c": ("ArrayFeatureExtractor", {}),
        "w": ("Scaler", {"offset": [0.3, -1.7, 0.4, 0.5, 0.6], "scale": [0.37, 11.1, 2.0, 1.0, 1.0]}),
    }
    nodes, here = (one_hot(), "encoded") if before.startswith("h") else ([], "X")
    before = before.removeprefix("h")
    for number, letter in enumerate(before):
        op, attributes = steps[letter]
        given = [here, "order"] if letter == "c" else [here]
        nodes.append(helper.make_node(op, given, [f"t{number}"], domain="ai.onnx.ml", **attributes))
        here = f"t{number}"
    nodes.append(
        helper.make_node(
            "TreeEnsembleClassifier", [here], ["label", "probabilities"], domain="ai.onnx.ml", post_transform="NONE",
            classlabels_int64s=list(range(CLASSES)), **lists,
        )
    )  # fmt: skip
    numbers = {"order": [2, 0, 1], "sizes": [2, 1], "flat": [-1, 3]}
    used = {name for node in nodes for name in node.input} & set(numbers)
    constants = [
        helper.make_tensor(name, TensorProto.INT64, [len(numbers[name])], numbers[name]) for name in sorted(used)
    ]
    taken = [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N", WIDTH])]
    out = [helper.make_tensor_value_info("probabilities", TensorProto.FLOAT, ["N", CLASSES])]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(helper.make_graph(nodes, "g", taken, out, constants), opset_imports=opsets, ir_version=8)


def answers(model: Any, rows: Any) -> Any:
    import onnxruntime

    return onnxruntime.InferenceSession(model.SerializeToString()).run(["probabilities"], {"X": rows})[0]


def rows_for(design: Any, seed: int) -> Any:
    """Random values, infinities, missing ones, each threshold and the float32 values around it."""
    edges = np.array([t for ts in design.forest.thresholds for t in ts], np.float32)
    with np.errstate(over="ignore"):
        near = [edges, np.nextafter(edges, np.float32(np.inf)), np.nextafter(edges, np.float32(-np.inf))]
    return any_rows(seed, np.concatenate([*near, VALUES]))


def any_rows(seed: int, values: Any) -> Any:
    """Rows of these values, of missing and infinite ones, and of random ones."""
    rng = np.random.default_rng(seed)
    pool = np.concatenate([values, np.array([np.nan, np.inf, -np.inf, 2.0, 1.5, -0.5], np.float32)])
    rows = rng.choice(pool, (400, WIDTH))
    rows[::4] = rng.normal(size=rows[::4].shape)
    return rows.astype(np.float32)


@settings(max_examples=60)
@given(
    seed=st.integers(0, 10**6),
    modes=st.sampled_from([*[(mode,) for mode in MODES], MODES]),
    depth=st.integers(1, 5),
    trees=st.integers(1, 6),
    before=st.sampled_from(["", "i", "s", "is", "c", "cis", "h", "hw"]),
)
def test_every_row_reaches_onnxruntimes_leaves(
    seed: int, modes: tuple[str, ...], depth: int, trees: int, before: str
) -> None:
    """Leaves that are whole numbers stay exact, so the scores are onnxruntime's sums: no comparison goes another way."""
    model = model_of(forest_lists(seed, modes, depth, trees, 5 if before.startswith("h") else WIDTH), before)
    design = None
    with contextlib.suppress(ModelError):
        design = quantised(graph_of(model), np.zeros((1, WIDTH), np.float32), Widths(16))
    if design is None:  # there is one for all trees that do not answer every row alike
        assert len(np.unique(answers(model, any_rows(seed, VALUES)), axis=0)) == 1
        return
    rows = rows_for(design, seed)
    codes = vector.codes(design, rows)
    scores = vector.scores(design, codes)
    assert (np.ldexp(scores.astype(float), -design.fraction_bits) == answers(model, rows)).all()
    assert codes.min() >= 0
    assert codes.max() < 1 << design.code_bits
    for row, code, score in zip(rows[:40].tolist(), codes.tolist(), scores.tolist(), strict=False):
        assert codes_of(design, row) == tuple(code)
        assert scores_of(design, code) == tuple(score)


def test_the_property_sees_a_threshold_that_moved():
    """One threshold a float32 higher, and the comparison with onnxruntime fails."""
    from dataclasses import replace

    model = model_of(forest_lists(3, MODES, 4, 4), "is")
    design = quantised(graph_of(model), np.zeros((1, WIDTH), np.float32), Widths(16))
    rows = rows_for(design, 1)
    first, *others = design.forest.thresholds
    moved = (float(np.nextafter(np.float32(first[0]), np.float32(np.inf))), *first[1:])
    broken = replace(design, forest=replace(design.forest, thresholds=(moved, *others)))
    wrong = vector.scores(broken, vector.codes(broken, rows))
    assert (np.ldexp(wrong.astype(float), -design.fraction_bits) != answers(model, rows)).any()


@settings(max_examples=60)
@given(
    offset=st.floats(-1e6, 1e6, width=32),
    scale=st.floats(2**-20, 2**20, width=32),
    thresholds=st.lists(st.floats(-1e6, 1e6, width=32), min_size=1, max_size=5),
)
def test_a_threshold_before_a_scaler_is_the_last_value_that_passes(
    offset: float, scale: float, thresholds: list[float]
) -> None:
    """It passes the comparison behind the scaler, and the next float32 does not."""
    column = Column(0, (("sub", offset), ("mul", scale)))
    wanted = np.array(thresholds, np.float32)
    found = pulled(column, wanted)
    assert (applied(column, found) <= wanted).all()
    above = np.nextafter(found, np.float32(np.inf))
    assert ((applied(column, above) > wanted) | np.isinf(found)).all()


@settings(max_examples=30)
@given(seed=st.integers(0, 10**6), before=st.sampled_from(["", "is", "h", "hw"]))
def test_calibration_rows_reach_onnxruntimes_leaves(seed: int, before: str) -> None:
    """The float trees that leaves are fitted with go the same way: what is paid adds up to onnxruntime's sums."""
    model = model_of(forest_lists(seed, MODES, 4, 3, 5 if before.startswith("h") else WIDTH), before)
    core = shares_of(graph_of(model)).core
    paid = paid_by(core)  # type: ignore[arg-type]
    rows = any_rows(seed, VALUES)
    sums = np.zeros((len(rows), CLASSES))
    for pays, nodes in zip(paid.pays, visited(paid.core, paid.comparisons, rows), strict=True):
        sums += np.array([[pays[node][k] for k in range(CLASSES)] for node in nodes.tolist()])
    assert (sums == answers(model, rows)).all()


def test_a_large_leaf_that_rows_do_not_reach_is_cut() -> None:
    """It would cost all others a bit. Where rows reach it, it stays; without rows, too. Leaves keep to their bits."""
    # Tree 0: -12 up to -100, 12 beyond 100, else 0. Tree 1: 0.6 up to 0, else -0.6.
    nodes = [
        (0, 0, 0, -100.0, 0, 1, 2, "BRANCH_LEQ"), (0, 1, 0, 0.0, 0, 0, 0, "LEAF"),
        (0, 2, 0, 100.0, 0, 3, 4, "BRANCH_LEQ"), (0, 3, 0, 0.0, 0, 0, 0, "LEAF"), (0, 4, 0, 0.0, 0, 0, 0, "LEAF"),
        (1, 0, 1, 0.0, 0, 1, 2, "BRANCH_LEQ"), (1, 1, 0, 0.0, 0, 0, 0, "LEAF"), (1, 2, 0, 0.0, 0, 0, 0, "LEAF"),
    ]  # fmt: skip
    pays = [(0, 1, 0, -12.0), (0, 3, 0, 0.0), (0, 4, 0, 12.0), (1, 1, 0, 0.6), (1, 2, 0, -0.6)]
    lists = {name: list(one) for name, one in zip(NODES, zip(*nodes, strict=True), strict=True)}
    lists |= {name: list(one) for name, one in zip(PAYS, zip(*pays, strict=True), strict=True)}
    graph = graph_of(model_of(lists, ""))
    near = np.random.default_rng(0).uniform(-1, 1, (50, WIDTH)).astype(np.float32)
    designs = [quantised(graph, rows, Widths(4)) for rows in (near[:0], near * 1000, near)]
    assert [design.fraction_bits for design in designs] == [-1, -1, 0]
    leaves = [{v for tree in design.forest.trees for leaf in tree.values for v in leaf} for design in designs]  # type: ignore[union-attr]
    assert leaves == [{-6, 0, 6}, {-6, 0, 6}, {-7, -1, 0, 1, 7}]


def test_trees_without_use_are_pruned():
    """A comparison whose leaves are rounded to one value goes, with its threshold, and so do trees that are one leaf."""
    lists = forest_lists(5, ("BRANCH_LEQ",), 4, 6)
    model = model_of(lists, "")
    graph, rows = graph_of(model), np.zeros((1, WIDTH), np.float32)
    fine, coarse = quantised(graph, rows, Widths(16)), quantised(graph, rows, Widths(2))
    leaves = [sum(tree.features.count(-1) for tree in design.forest.trees) for design in (fine, coarse)]
    assert leaves[1] < leaves[0] <= lists["nodes_modes"].count("LEAF")
    for tree in coarse.forest.trees:
        for left, right in zip(tree.left, tree.right, strict=True):
            assert left == 0 or not tree.values[left] or tree.values[left] != tree.values[right]
        for place in range(len(tree.outputs)):
            assert len({values[place] for values in tree.values if values}) > 1


@pytest.mark.parametrize("mode", ["BRANCH_EQ", "BRANCH_NEQ"])
def test_comparisons_for_equality_are_refused_by_name(mode: str) -> None:
    """Categories are no thresholds."""
    model = model_of(forest_lists(1, (mode,), 2, 1), "")
    with pytest.raises(Unsupported, match=rf"{mode}.*use the runtime native"):
        quantised(graph_of(model), np.zeros((1, WIDTH), np.float32))
