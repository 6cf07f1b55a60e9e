"""Lone ONNX files: as converters write them, and as they are taken; rows that are made up; figures of agreement."""

from __future__ import annotations

import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from edgeloop_components.compile.adapt import adapted
from edgeloop_components.compile.agreement import agreement, typical_size
from edgeloop_components.compile.lone import read_lone
from edgeloop_components.compile.rows import KINDS, Range, make_rows
from edgeloop_components.runtimes import ModelError
from edgeloop_components.runtimes.describe import read_model
from edgeloop_components.runtimes.onnxruntime import convention_problem, session

LABELS = {
    "texts": np.array(["a", "b", "c"]),
    "numbers": np.array([10, 20, 30]),
    "places": np.array([0, 1, 2]),
    "two": np.array(["n", "y"]),
    "truth": np.array([False, True]),
}


def estimators() -> dict[str, Any]:
    from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.naive_bayes import BernoulliNB, GaussianNB
    from sklearn.neural_network import MLPClassifier

    return {
        "lr": LogisticRegression(),
        "mlp": MLPClassifier((4,), max_iter=5, random_state=0),
        "rf": RandomForestClassifier(4, max_depth=4, random_state=0),
        "hgb": HistGradientBoostingClassifier(max_iter=4, random_state=0),
        "nb": GaussianNB(),
        "bnb": BernoulliNB(),
    }


def converted(name: str, labels: np.ndarray, folder: Path, **options: Any) -> Path:
    """A model of four features as skl2onnx writes it."""
    from skl2onnx import to_onnx

    x = np.random.default_rng(0).normal(size=(120, 4)).astype(np.float32)
    y = labels[np.digitize(x[:, 0] + x[:, 1] * x[:, 2], [-0.4, 0.4][: len(labels) - 1])]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = to_onnx(estimators()[name].fit(x, y), x[:1], **options)
    path = folder / f"{name}.onnx"
    path.write_bytes(model.SerializeToString())
    return path


@pytest.mark.parametrize("labels", LABELS)
@pytest.mark.parametrize("name", ["lr", "mlp", "rf", "hgb", "nb", "bnb"])
@pytest.mark.parametrize("options", [{}, {"options": {"zipmap": False}}], ids=["maps", "tensors"])
def test_a_classifier_is_brought_to_the_convention_and_answers_alike(
    name: str, labels: str, options: dict[str, Any], tmp_path: Path
) -> None:
    """Maps or tensors, labels of text, numbers or truth: the copy gives places of classes and the same probabilities."""
    path = converted(name, LABELS[labels], tmp_path, **options)
    lone = read_lone(path)
    assert lone.classifier
    assert set(lone.adapted.classes) in ({str(label) for label in LABELS[labels]}, {"0", "1"})
    loaded = session(lone.adapted.model.SerializeToString())
    assert convention_problem(loaded) == ""
    rows = lone.probes(300, 1).rows
    label, probabilities = loaded.run(["label", "probabilities"], {"X": rows})
    expected = lone.outputs(rows)
    figures = agreement(
        expected, {"label": label, "probabilities": probabilities}, 1e-6, label="label", probabilities="probabilities"
    )
    assert (figures.max_abs_difference, figures.label_differences) == (0.0, 0)


def test_columns_become_one_input(tmp_path: Path) -> None:
    """A model of a data frame has an input for each column; features keep their names, and the order."""
    import pandas as pd
    from skl2onnx import to_onnx
    from sklearn.compose import ColumnTransformer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    draw = np.random.default_rng(0)
    frame = pd.DataFrame({"speed": draw.normal(size=90), "heat": draw.normal(40, 3, size=90)}).astype(np.float32)
    scaled = ColumnTransformer([("s", StandardScaler(), ["speed", "heat"])])
    fitted = make_pipeline(scaled, LogisticRegression()).fit(frame, frame["heat"] + frame["speed"] > 40)
    path = tmp_path / "columns.onnx"
    path.write_bytes(to_onnx(fitted, frame[:1]).SerializeToString())
    lone = read_lone(path)
    assert lone.adapted.features == lone.adapted.columns == ("speed", "heat")
    rows = frame.to_numpy()
    (got,) = session(lone.adapted.model.SerializeToString()).run(["probabilities"], {"X": rows})
    assert (got == lone.outputs(rows)["probabilities"]).all()
    assert np.abs(got - fitted.predict_proba(frame)).max() < 2e-6


def test_what_is_no_classifier_keeps_its_names(tmp_path: Path) -> None:
    """A regressor; and scores that are no probabilities, which a server would have to refuse row by row."""
    from skl2onnx import to_onnx
    from sklearn.linear_model import LinearRegression
    from sklearn.svm import LinearSVC

    x = np.random.default_rng(0).normal(size=(60, 3)).astype(np.float32)
    for number, fitted in enumerate((LinearRegression().fit(x, x[:, 0]), LinearSVC().fit(x, x[:, 0] > 0))):
        path = tmp_path / f"{number}.onnx"
        path.write_bytes(to_onnx(fitted, x[:1]).SerializeToString())
        lone = read_lone(path)
        assert not lone.classifier
        names = [output.name for output in read_model(path).graph.output]
        assert [output.name for output in lone.graph.outputs] == names
        assert list(lone.outputs(x)) == names


def test_inputs_that_cannot_be_joined_are_refused(tmp_path: Path) -> None:
    """A text column among floats is named."""
    from onnx import TensorProto, helper

    inputs = [
        helper.make_tensor_value_info("speed", TensorProto.FLOAT, [None, 1]),
        helper.make_tensor_value_info("site", TensorProto.STRING, [None, 1]),
    ]
    out = helper.make_tensor_value_info("y", TensorProto.FLOAT, [None, 1])
    graph = helper.make_graph([helper.make_node("Identity", ["speed"], ["y"])], "g", inputs, [out])
    with pytest.raises(
        ModelError, match=r"several of one column of floats each, found 'site' string \[None, 1\] among 2"
    ):
        adapted(helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)]))


def test_name_and_version_come_from_the_file(tmp_path: Path) -> None:
    """The file's name in small letters, and the model's own version; both can be given."""
    path = converted("lr", LABELS["two"], tmp_path).rename(tmp_path / "Pump Station_2.onnx")
    assert (read_lone(path).name, read_lone(path).version) == ("pump-station-2", 1)
    assert (read_lone(path, name="pump", version=7).name, read_lone(path, name="pump", version=7).version) == (
        "pump",
        7,
    )


def test_ranges_are_those_of_the_trees(tmp_path: Path) -> None:
    """Rows stand exactly on thresholds that the file holds, and just above and below."""
    lone = read_lone(converted("rf", LABELS["two"], tmp_path))
    thresholds = {np.float32(value) for known in lone.ranges for value in known.thresholds}
    assert len(thresholds) > 5
    probes = lone.probes(400, 0)
    on = [row for row, kind in zip(probes.rows, probes.kinds, strict=True) if kind == "threshold"]
    hits = sum(value in thresholds for row in on for value in row)
    assert hits > len(on)


@settings(max_examples=25)
@given(st.integers(1, 9), st.integers(20, 400), st.integers(0, 2**32 - 1))
def test_rows_are_of_every_kind_and_the_same_for_the_same_seed(width: int, count: int, seed: int) -> None:
    """NaN, infinities and the ends of float32 are among them; their number is the one asked for."""
    found = [Range(float(i), 2.0**i, (0.5, 1.5) if i % 2 else ()) for i in range(width)]
    probes = make_rows(found, count, seed)
    assert probes.rows.shape == (count, width)
    assert probes.rows.dtype == np.float32
    assert set(probes.kinds) == set(KINDS)
    kinds = np.array(probes.kinds)
    assert np.isnan(probes.rows[kinds == "missing"]).any(axis=1).all()
    assert np.isinf(probes.rows[kinds == "infinite"]).any(axis=1).all()
    assert np.isfinite(probes.rows[kinds == "ordinary"]).all()
    again = make_rows(found, count, seed)
    assert probes.rows.tobytes() == again.rows.tobytes()


def figures(expected: Any, got: Any, **names: str) -> Any:
    def arrays(document: dict[str, Any]) -> dict[str, np.ndarray]:
        kinds: dict[str, Callable[[Any], np.ndarray]] = {
            "label": lambda v: np.array(v, dtype=np.int64),
            "p": lambda v: np.array(v, dtype=np.float32),
        }
        return {name: kinds[name](value) for name, value in document.items()}

    return agreement(arrays(expected), arrays(got), 1e-6, **names)


def test_equal_answers_agree_to_the_bit() -> None:
    """NaN is as NaN, and infinity as infinity."""
    rows = {"p": [[0.5, np.nan], [np.inf, -np.inf]]}
    found = figures(rows, rows)
    assert (found.max_abs_difference, found.max_ulp, found.bit_equal, found.holds(True)) == (0.0, 0, 1.0, True)


def test_a_number_beside_none_is_the_largest_difference() -> None:
    """In both directions; so is another infinity."""
    for one, other in ((np.nan, 0.5), (0.5, np.nan), (np.inf, 3e38), (np.inf, -np.inf)):
        found = figures({"p": [[0.1, 0.9], [one, 0.5]]}, {"p": [[0.1, 0.9], [other, 0.5]]})
        assert found.max_abs_difference == np.inf
        assert (found.worst_row, found.holds(False)) == (1, False)


def test_one_ulp_is_counted_as_one() -> None:
    """Also across zero, where two numbers of different sign are neighbours."""
    above = float(np.nextafter(np.float32(0.5), np.float32(1)))
    assert figures({"p": [[0.5]]}, {"p": [[above]]}).max_ulp == 1
    tiny = float(np.float32(1e-45))
    assert figures({"p": [[tiny]]}, {"p": [[-tiny]]}).max_ulp == 2
    found = figures({"p": [[0.5, 0.5]]}, {"p": [[above, 0.5]]})
    assert (found.bit_equal, found.holds(False), found.holds(True)) == (0.5, True, False)


def test_an_outputs_size_is_the_median_of_its_rows() -> None:
    """At least 1, of finite values; rows without any are left out, and no mean of two lets a row far out of range in."""
    rows = np.array([[3.0, -50.0], [np.nan, 40.0], [np.nan, np.inf], [1e30, 0.0], [0.0, 60.0]], np.float32)
    assert typical_size(rows) == 50.0
    assert typical_size(rows[[0, 3]]) == 50.0
    assert typical_size(rows[2:3]) == typical_size(np.zeros((4, 2), np.float32)) == 1.0


def test_a_row_near_zero_is_compared_with_the_outputs_size() -> None:
    """Where terms cancel rounding is of the terms' size; another output, and a row above it, are measured as before."""
    expected = {"p": np.array([[0.01], [5e6]], np.float32), "q": np.array([[0.5], [0.5]], np.float32)}
    got = {"p": np.array([[0.06], [5e6 + 40]], np.float32), "q": np.array([[0.5], [0.5 + 4e-6]], np.float32)}
    found = agreement(expected, got, 1e-5, scales={"p": 1e4})
    assert found.holds(False)
    assert found.of_limit == pytest.approx(0.8, rel=0.05)
    assert not agreement(expected, got, 1e-5).holds(False)
    got["q"][1] += np.float32(0.01)
    assert agreement(expected, got, 1e-5, scales={"p": 1e4}).worst_row == 1


def test_large_values_are_compared_with_the_largest_of_their_row() -> None:
    """A float32 of 1e9 has steps of 64: no absolute limit holds for it."""
    found = figures({"p": [[1e9, 1.0]]}, {"p": [[1e9 + 64, 1.0]]})
    assert 0 < found.max_abs_difference < 1e-7


def test_labels_may_differ_at_ties_only() -> None:
    """A tie is within the limit; a label that is no class never is."""
    names = {"label": "label", "probabilities": "p"}
    expected = {"label": [0, 0], "p": [[0.5, 0.5], [0.9, 0.1]]}
    assert figures(expected, {**expected, "label": [1, 0]}, **names).label_differences == 0
    found = figures(expected, {**expected, "label": [1, 1]}, **names)
    assert (found.label_differences, found.worst_row, found.holds(False)) == (1, 1, False)
    assert figures(expected, {**expected, "label": [2, 0]}, **names).label_differences == 1
