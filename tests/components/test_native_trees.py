"""Trees as C: the bits of onnxruntime on one thread, in every layout, with every comparison; and broken ones refused."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgeloop_components.native import emit
from edgeloop_components.onnxgraph import graph_of
from edgeloop_components.runtimes import ModelError

MODES = ("BRANCH_LEQ", "BRANCH_LT", "BRANCH_GTE", "BRANCH_GT", "BRANCH_EQ", "BRANCH_NEQ")
VALUES = (-2.5, -1.0, -0.0, 0.0, 1e-45, 0.5, 1.0, 3.0, 3e38, np.inf, -np.inf)
WIDTH = 5


def rows_of(seed: int, count: int = 60) -> Any:
    """Rows with values on thresholds, infinities and NaN among them."""
    rng = np.random.default_rng(seed)
    rows = rng.choice(np.array([*VALUES, np.nan], dtype=np.float32), (count, WIDTH))
    rows[::3] = rng.normal(size=rows[::3].shape).astype(np.float32)
    return rows


def random_trees(
    seed: int, *, modes: tuple[str, ...], depth: int, trees: int, targets: int, spread: bool
) -> dict[str, Any]:
    """The lists of a classic operator, with the prefix `target` for what leaves pay."""
    rng = np.random.default_rng(seed)
    lists: dict[str, list[Any]] = {name: [] for name in NAMES}

    def add(tree: int, number: list[int], left: int) -> int:
        me = number[0]
        number[0] += 1
        place = len(lists["nodes_treeids"])
        leaf = left == 0 or (left < depth and rng.random() < 0.25)
        row = (tree, me, int(rng.integers(WIDTH)), float(rng.choice(VALUES)), int(rng.integers(2)), 0, 0)
        for name, value in zip(NAMES[:7], row, strict=True):
            lists[name].append(value)
        lists["nodes_modes"].append("LEAF" if leaf else str(rng.choice(modes)))
        if leaf:
            for target in range(targets) if spread else [tree % targets]:
                pay = (tree, me, target, float(np.float32(rng.normal())))
                for name, value in zip(NAMES[8:], pay, strict=True):
                    lists[name].append(value)
        else:
            lists["nodes_truenodeids"][place] = add(tree, number, left - 1)
            lists["nodes_falsenodeids"][place] = add(tree, number, left - 1)
        return me

    for tree in range(trees):
        add(tree, [0], depth)
    return lists


NAMES = (
    "nodes_treeids", "nodes_nodeids", "nodes_featureids", "nodes_values", "nodes_missing_value_tracks_true",
    "nodes_truenodeids", "nodes_falsenodeids", "nodes_modes",
    "target_treeids", "target_nodeids", "target_ids", "target_weights",
)  # fmt: skip


def model_of(op: str, outputs: dict[str, int], version: int = 3, **attributes: Any) -> Any:
    """A model of one tree operator."""
    node = helper.make_node(op, ["X"], list(outputs), domain="ai.onnx.ml", **attributes)
    given = [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()]
    taken = [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N", WIDTH])]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", version)]
    return helper.make_model(helper.make_graph([node], "g", taken, given), opset_imports=opsets, ir_version=8)


def regressor(lists: dict[str, Any], targets: int, **attributes: Any) -> Any:
    return model_of("TreeEnsembleRegressor", {"Y": TensorProto.FLOAT}, n_targets=targets, **lists, **attributes)


def classifier(lists: dict[str, Any], classes: int, **attributes: Any) -> Any:
    renamed = {name.replace("target", "class"): value for name, value in lists.items()}
    outputs = {"label": TensorProto.INT64, "scores": TensorProto.FLOAT}
    labels = attributes.pop("classlabels_int64s", list(range(classes)))
    return model_of("TreeEnsembleClassifier", outputs, classlabels_int64s=labels, **renamed, **attributes)


def same_bits(got: Any, expected: Any) -> bool:
    return bool((np.isnan(got) == np.isnan(expected)).all() and ((got == expected) | np.isnan(expected)).all())


SHAPES = st.fixed_dictionaries(
    {
        "seed": st.integers(0, 10**6),
        "modes": st.sampled_from([*[(mode,) for mode in MODES], MODES[:4], MODES]),
        "depth": st.integers(0, 6),
        "trees": st.integers(1, 20),
        "targets": st.integers(1, 4),
        "spread": st.booleans(),
    }
)


@settings(max_examples=25, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(SHAPES, st.sampled_from(["SUM", "AVERAGE", "MIN", "MAX"]), st.booleans())
def test_regressors_give_onnxruntimes_bits(
    compile_c: Any, onnxruntime_answers: Any, shape: dict[str, Any], aggregate: str, with_base: bool
) -> None:
    """Any comparison, depth, number of targets and way to aggregate: all outputs are those of onnxruntime, bit by bit."""
    base = {"base_values": [0.25 * (i + 1) for i in range(shape["targets"])]} if with_base else {}
    model = regressor(random_trees(**shape), shape["targets"], aggregate_function=aggregate, **base)
    rows = rows_of(shape["seed"])
    assert same_bits(compile_c(emit(graph_of(model)), "-O0")(rows)[0], onnxruntime_answers(model, rows)[0])


@settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])
@given(SHAPES, st.sampled_from(["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO"]), st.booleans())
def test_classifiers_give_onnxruntimes_labels_and_scores(
    compile_c: Any, onnxruntime_answers: Any, shape: dict[str, Any], transform: str, with_base: bool
) -> None:
    """Two or more classes, paid by some trees or by all: the same labels; scores bit-equal without a post-transform."""
    shape = shape | {"targets": max(shape["targets"], 2)}
    base = {"base_values": [0.25 * (i + 1) for i in range(shape["targets"])]} if with_base else {}
    model = classifier(random_trees(**shape), shape["targets"], post_transform=transform, **base)
    rows = rows_of(shape["seed"])
    (label, scores), (expected, wanted) = (
        compile_c(emit(graph_of(model)), "-O0")(rows),
        onnxruntime_answers(model, rows),
    )
    assert (label == expected).all()
    assert same_bits(scores, wanted) if transform == "NONE" else np.abs(scores - wanted).max() <= 1e-6


@pytest.mark.parametrize("transform", ["NONE", "LOGISTIC", "SOFTMAX"])
@pytest.mark.parametrize("base", [[], [0.3], [0.3, -0.2]])
@pytest.mark.parametrize("positive", [True, False])
@pytest.mark.parametrize("second", [0, 1])
def test_two_classes_from_one_sum(
    compile_c: Any, onnxruntime_answers: Any, transform: str, base: list[float], positive: bool, second: int
) -> None:
    """Two classes of which one is paid: whatever onnxruntime makes of base values and signs, labels included."""
    lists = random_trees(7, modes=MODES[:1], depth=4, trees=6, targets=1, spread=False)
    lists["target_weights"] = [abs(w) / 6 if positive else w for w in lists["target_weights"]]
    lists["target_ids"] = [second for _ in lists["target_ids"]]
    attributes = {"base_values": base} if base else {}
    model = classifier(lists, 2, post_transform=transform, classlabels_int64s=[4, 9], **attributes)
    rows = rows_of(3)
    (label, scores), (expected, wanted) = (
        compile_c(emit(graph_of(model)), "-O0")(rows),
        onnxruntime_answers(model, rows),
    )
    assert (label == expected).all()
    assert same_bits(scores, wanted) if transform == "NONE" else np.abs(scores - wanted).max() <= 1e-6


@pytest.mark.parametrize("depth", [9, 10, 11, 16])
def test_deep_and_lopsided_trees_lie_in_tables(compile_c: Any, onnxruntime_answers: Any, depth: int) -> None:
    """A chain of many tests is no padded tree; it is small, and answers as onnxruntime does."""
    rng = np.random.default_rng(depth)
    lists: dict[str, list[Any]] = {name: [] for name in NAMES}
    for tree in range(11):
        for number in range(2 * depth + 1):
            inner = number % 2 == 0 and number < 2 * depth
            row = (tree, number, int(rng.integers(WIDTH)), float(rng.normal()), 0, number + 1, number + 2)
            for name, value in zip(NAMES[:7], row, strict=True):
                lists[name].append(value if inner or name in NAMES[:2] else 0)
            lists["nodes_modes"].append("BRANCH_LEQ" if inner else "LEAF")
            if not inner:
                for name, value in zip(NAMES[8:], (tree, number, 0, float(rng.normal())), strict=True):
                    lists[name].append(value)
    emitted = emit(graph_of(model := regressor(lists, 1)))
    rows = rows_of(depth)
    assert emitted.data_bytes < 11 * (2 * depth + 1) * 20
    assert same_bits(compile_c(emitted)(rows)[0], onnxruntime_answers(model, rows)[0])


@pytest.mark.parametrize("modes", [(0, 1, 2, 3), (0, 6), (4, 5, 6)])
@pytest.mark.parametrize("aggregate", [0, 1, 2, 3])
def test_the_newer_operator(compile_c: Any, onnxruntime_answers: Any, modes: tuple[int, ...], aggregate: int) -> None:
    """TreeEnsemble of ai.onnx.ml 5, tests for sets of values included."""
    rng = np.random.default_rng(sum(modes))
    chosen = rng.choice(modes, 14).astype(np.uint8)
    members = [np.array([*rng.choice([1, 2, 3, 5], 3, replace=False), np.nan]) for mode in chosen if mode == 6]
    tensors = {
        "nodes_modes": chosen,
        "nodes_splits": rng.choice(VALUES, 14).astype(np.float32),
        "leaf_weights": rng.normal(size=16).astype(np.float32),
        **({"membership_values": np.concatenate(members).astype(np.float32)} if members else {}),
    }
    ids = {  # two perfect trees of 7 tests, 8 leaves each
        "nodes_featureids": rng.integers(WIDTH, size=14).tolist(),
        "nodes_truenodeids": [
            t * (7 if i < 3 else 8) + (2 * i + 1 if i < 3 else 2 * (i - 3)) for t in (0, 1) for i in range(7)
        ],
        "nodes_falsenodeids": [
            t * (7 if i < 3 else 8) + (2 * i + 2 if i < 3 else 2 * i - 5) for t in (0, 1) for i in range(7)
        ],
        "nodes_trueleafs": [int(i >= 3) for _ in (0, 1) for i in range(7)],
        "nodes_falseleafs": [int(i >= 3) for _ in (0, 1) for i in range(7)],
        "nodes_missing_value_tracks_true": rng.integers(2, size=14).tolist(),
        "leaf_targetids": rng.integers(2, size=16).tolist() if aggregate < 2 else [0] * 16,
        "tree_roots": [0, 7],
    }
    named = {name: numpy_helper.from_array(value, name) for name, value in tensors.items()}
    count = 2 if aggregate < 2 else 1
    model = model_of(
        "TreeEnsemble", {"Y": TensorProto.FLOAT}, 5, n_targets=count, aggregate_function=aggregate, **ids, **named
    )
    rows = rows_of(5)
    assert same_bits(compile_c(emit(graph_of(model)), "-O0")(rows)[0], onnxruntime_answers(model, rows)[0])


BREAKS = {
    "a cycle": ("nodes_truenodeids", 0, 0),
    "a child that is not there": ("nodes_falsenodeids", 0, 999),
    "a feature that rows do not have": ("nodes_featureids", 0, WIDTH),
    "a negative feature": ("nodes_featureids", 0, -1),
    "a threshold that is NaN": ("nodes_values", 0, float("nan")),
    "an unknown mode": ("nodes_modes", 0, "BRANCH_MAYBE"),
    "a target out of range": ("target_ids", 0, 7),
    "a negative target": ("target_ids", 0, -1),
    "a weight of a test": ("target_nodeids", 0, 0),
    "a number twice": ("nodes_nodeids", 1, 0),
}


@pytest.mark.parametrize("what", BREAKS)
def test_broken_trees_are_refused_by_name(what: str) -> None:
    """Whatever would read outside or never end is refused, and the message names the node."""
    lists = random_trees(3, modes=MODES[:1], depth=3, trees=2, targets=1, spread=False)
    name, place, value = BREAKS[what]
    assert lists["nodes_modes"][0] != "LEAF"
    lists[name][place] = value
    with pytest.raises(ModelError, match=r"node ai\.onnx\.ml\.TreeEnsembleRegressor"):
        emit(graph_of(regressor(lists, 1)))


@pytest.mark.parametrize("name", [name for name in NAMES if name != "nodes_missing_value_tracks_true"])
def test_lists_of_other_lengths_are_refused(name: str) -> None:
    """A list that is too short is refused before anything is read from it."""
    lists = random_trees(3, modes=MODES[:1], depth=3, trees=2, targets=1, spread=False)
    lists[name].pop()
    with pytest.raises(ModelError, match="lists of one length"):
        emit(graph_of(regressor(lists, 1)))


def estimators() -> dict[str, Any]:
    from sklearn import ensemble, tree

    return {
        "forest": ensemble.RandomForestClassifier(40, max_depth=6, random_state=0),
        "deep forest": ensemble.RandomForestClassifier(8, random_state=0),
        "extra": ensemble.ExtraTreesClassifier(8, random_state=0),
        "boosted": ensemble.GradientBoostingClassifier(n_estimators=20, random_state=0),
        "histogram": ensemble.HistGradientBoostingClassifier(max_iter=20, random_state=0),
        "tree": tree.DecisionTreeClassifier(random_state=0),
        "forest of numbers": ensemble.RandomForestRegressor(10, random_state=0),
        "histogram of numbers": ensemble.HistGradientBoostingRegressor(max_iter=20, random_state=0),
    }


@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", list(estimators()))
def test_estimators_of_scikit_learn(compile_c: Any, onnxruntime_answers: Any, name: str, classes: int) -> None:
    """Fitted trees: the label and the bits of onnxruntime, and the estimator's own answer within 2e-6."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.datasets import make_classification

    x, y = make_classification(400, 8, n_informative=6, n_classes=classes, random_state=0)
    x = x.astype(np.float32)
    if "histogram" in name:
        x[::7, 3] = np.nan
    model = estimators()[name].fit(x, y)
    options = {"zipmap": False} if hasattr(model, "classes_") else None
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        types = [("X", FloatTensorType([None, 8]))]
        converted = convert_sklearn(model, initial_types=types, target_opset={"": 17, "ai.onnx.ml": 3}, options=options)
    got, expected = compile_c(emit(graph_of(converted)))(x), onnxruntime_answers(converted, x)
    assert (got[0] == expected[0]).all()
    assert np.abs(got[-1] - expected[-1]).max() <= 1e-6
    own = model.predict_proba(x) if options else model.predict(x)[:, None]
    assert np.abs(got[-1] - own).max() <= 2e-6 * max(1.0, np.abs(own).max())
