"""Classifiers as training and converters write them become designs that agree with onnxruntime; what cannot, is named."""

from __future__ import annotations

import math
import warnings
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import samples
from hypothesis import given
from hypothesis import strategies as st
from onnx import numpy_helper

from edgeloop_components.fpga.quantise import Evidence, Floors, Widths, quantised, read, search, vector
from edgeloop_components.fpga.quantise.bounds import forest_ranges, sum_ranges, width_of
from edgeloop_components.fpga.quantise.dense import ACCUMULATOR_BITS
from edgeloop_components.onnxgraph import Unsupported, graph_of
from edgeloop_components.runtimes import ModelError
from edgeloop_contracts import fpga_model
from edgeloop_contracts.fpga import DenseLayer, FpgaPerceptron

FEATURES = 6


def data(classes: int, rows: int = 1500, seed: int = 0) -> tuple[Any, Any]:
    from sklearn.datasets import make_classification

    x, y = make_classification(
        rows, FEATURES, n_informative=5, n_redundant=1, n_classes=classes, class_sep=1.5, random_state=seed
    )
    scales = np.array([1.0, 40.0, 0.01, 1.0, 7.0, 1.0])  # no two sensors have one unit
    return (x * scales + np.array([0, 300.0, 0, -5.0, 0, 0])).astype(np.float32), y


def estimator(name: str) -> Any:
    from sklearn import ensemble, linear_model, neural_network, tree
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    prepared = [SimpleImputer(strategy="median"), StandardScaler()]
    made = {
        "logistic": lambda: make_pipeline(*prepared, linear_model.LogisticRegression()),
        "mlp": lambda: make_pipeline(*prepared, neural_network.MLPClassifier((12, 6), max_iter=60, random_state=0)),
        "boosting": lambda: ensemble.GradientBoostingClassifier(n_estimators=6, random_state=0),
        "histograms": lambda: ensemble.HistGradientBoostingClassifier(max_iter=6, random_state=0),
        "forest": lambda: make_pipeline(prepared[0], ensemble.RandomForestClassifier(8, max_depth=5, random_state=0)),
        "scaled_forest": lambda: make_pipeline(
            *prepared, ensemble.ExtraTreesClassifier(8, max_depth=5, random_state=0)
        ),
        "extra": lambda: ensemble.ExtraTreesClassifier(8, max_depth=5, random_state=0),
        "tree": lambda: tree.DecisionTreeClassifier(max_depth=4, random_state=0),
        "adaboost": lambda: ensemble.AdaBoostClassifier(n_estimators=2, random_state=0),
        "tanh": lambda: make_pipeline(
            *prepared, neural_network.MLPClassifier((4,), activation="tanh", max_iter=5, random_state=0)
        ),
    }
    return made[name]()


def test_categories_before_trees() -> None:
    """As training makes them: an imputer, a cast and one-hot columns; every label is that of onnxruntime. Layers refuse them."""
    from edgeloop_components.train.calibration import Temperature
    from edgeloop_components.train.estimator import fit_model
    from edgeloop_components.train.export import to_raw
    from edgeloop_components.train.graph import finished
    from edgeloop_contracts.loop import Train

    x, y = data(3)
    rng = np.random.default_rng(0)
    x[:, 2] = np.where(rng.random(len(x)) < 0.1, np.nan, rng.integers(0, 5, len(x)))
    y = np.where(np.isin(x[:, 2], [1, 3]), (y + 1) % 3, y)  # the category matters
    features: Any = [SimpleNamespace(name=f"f{place}", kind="number", categories=()) for place in range(FEATURES)]
    features[2] = SimpleNamespace(name="kind", kind="category", categories=("a", "b", "c", "d"))
    made = {}
    for name, params in {
        "ensemble.HistGradientBoostingClassifier": {"max_iter": 5, "max_leaf_nodes": 8},
        "ensemble.RandomForestClassifier": {"n_estimators": 5, "max_depth": 6},
        "linear_model.LogisticRegression": {},
    }.items():
        model = fit_model(Train(estimator=f"sklearn.{name}", params=params), features, x[:800], y[:800].astype(object))
        made[name] = finished(to_raw(model, features, name), Temperature(0.8, 1e-7), FEATURES, {})
    for name in list(made)[:2]:
        design = quantised(graph_of(made[name]), x, Widths(14))
        label, _ = answers(made[name], x)
        assert (vector.labels(design, vector.scores(design, vector.codes(design, x))) == label).mean() >= 0.999
        assert len(design.forest.thresholds[2]) >= 2  # type: ignore[union-attr]
    with pytest.raises(Unsupported, match="OneHotEncoder"):
        quantised(graph_of(made["linear_model.LogisticRegression"]), x)


MISSING = ("logistic", "mlp", "histograms", "forest", "scaled_forest")
FAMILIES = ("logistic", "mlp", "boosting", "histograms", "forest", "scaled_forest", "extra", "tree")


def trained(name: str, classes: int, *, missing: bool = False) -> tuple[Any, Any, Any]:
    """The finished graph of training, and 700 rows that it has not seen, with their true classes."""
    from edgeloop_components.train.calibration import Temperature
    from edgeloop_components.train.estimator import one_thread
    from edgeloop_components.train.export import to_raw
    from edgeloop_components.train.graph import finished

    x, y = data(classes)
    if missing:
        x[np.random.default_rng(1).random(x.shape) < 0.1] = np.nan
    with warnings.catch_warnings(), one_thread():
        warnings.simplefilter("ignore")
        model = estimator(name).fit(x[:800], y[:800])
        names: Any = [SimpleNamespace(name=f"f{place}") for place in range(FEATURES)]
        raw = to_raw(model, names, name)
    return finished(raw, Temperature(0.8, 1e-7), FEATURES, {}), x[800:], y[800:]


def answers(model: Any, rows: Any) -> tuple[Any, Any]:
    import onnxruntime

    session = onnxruntime.InferenceSession(model.SerializeToString())
    label, probabilities = session.run(["label", "probabilities"], {"X": rows})
    return label, probabilities


@pytest.mark.parametrize("classes", [2, 4])
@pytest.mark.parametrize("name", FAMILIES)
def test_a_design_agrees_with_onnxruntime(name: str, classes: int) -> None:
    """With 12 bits: labels of 99 rows of 100 (missing values among them), and nearly the same calibrated probabilities."""
    model, rows, _ = trained(name, classes, missing=name in MISSING)
    label, probabilities = answers(model, rows)
    design = quantised(graph_of(model), rows, Widths(12))
    scores = vector.scores(design, vector.codes(design, rows))
    assert (vector.labels(design, scores) == label).mean() >= 0.99
    assert np.abs(vector.probabilities(design, scores[:200]) - probabilities[:200]).mean() < 0.003
    assert (design.classes, design.scores) == (classes, 1 if classes == 2 else classes)
    assert design.tail.calibrated
    assert design.tail.power == pytest.approx(0.8)


@pytest.mark.parametrize("name", ["mlp", "histograms"])
def test_missing_values_matter(name: str) -> None:
    """Zeros in their place give other codes: what the model learnt of them, or what the imputer says, is kept."""
    model, rows, _ = trained(name, 4, missing=True)
    design = quantised(graph_of(model), rows, Widths(8))
    gone = np.isnan(rows).any(axis=1)
    assert gone.any()
    assert (vector.codes(design, rows) != vector.codes(design, np.nan_to_num(rows)))[gone].any()
    if design.forest:
        edges = np.array([len(found) for found in design.forest.thresholds])
        assert (np.array(design.missing) > edges).any()


@pytest.mark.parametrize("name", [*samples.SAMPLES, "wide"])
@given(seed=st.integers(0, 10**6))
def test_vectors_have_the_bits_of_the_golden_model(name: str, seed: int) -> None:
    """Codes, scores and labels of random designs are those of the model in plain Python."""
    made = {**samples.SAMPLES, "wide": lambda seed: samples.perceptron(seed, bits=12, sizes=(5, 9, 7, 2))}
    design = made[name](seed)  # type: ignore[operator]
    rows = np.array(samples.rows(design, 12, seed), np.float64)
    rows[0] = [1e39, -1e39, math.nan, math.inf, 0.1][: design.features]
    codes = vector.codes(design, rows)
    scores = vector.scores(design, codes)
    labels = vector.labels(design, scores)
    for place, row in enumerate(rows.tolist()):
        assert tuple(codes[place]) == fpga_model.codes_of(design, row)
        assert tuple(scores[place]) == fpga_model.scores_of(design, codes[place].tolist())
        assert labels[place] == fpga_model.label_of(design, scores[place].tolist())


@given(st.lists(st.tuples(st.integers(-(2**40), 2**40), st.integers(-(2**40), 2**40)), min_size=1, max_size=4))
def test_a_width_holds_its_ranges_and_no_more(ranges: list[tuple[int, int]]) -> None:
    """All ends fit; with a bit less, one does not."""
    width = width_of(ranges)
    ends = [end for pair in ranges for end in pair]
    assert all(-(1 << (width - 1)) <= end < 1 << (width - 1) for end in ends)
    assert width == 2 or not all(-(1 << (width - 2)) <= end < 1 << (width - 2) for end in ends)


@given(seed=st.integers(0, 10**6))
def test_worst_cases_are_worst_and_can_happen(seed: int) -> None:
    """No codes leave the range of a layer's sums, and some reach both ends."""
    rng = np.random.default_rng(seed)
    weights = rng.integers(-8, 8, (1, 3)).tolist()
    layer = DenseLayer(weights=tuple(map(tuple, weights)), biases=(int(rng.integers(-99, 99)),))
    model = FpgaPerceptron(bits=4, factors=(1.0,) * 3, offsets=(0.0,) * 3, layers=(layer,))
    grid = np.stack(np.meshgrid(*[np.arange(-8, 8)] * 3), axis=-1).reshape(-1, 3)
    sums = grid @ np.array(weights[0]) + layer.biases[0]
    assert sum_ranges(model) == [[(sums.min(), sums.max())]]
    design = samples.boosting3(seed)
    assert design.forest
    scores = vector.scores(design, vector.codes(design, np.array(samples.rows(design, 50, seed))))
    for (low, high), column in zip(forest_ranges(design.forest), scores.T, strict=True):
        assert low <= column.min()
        assert column.max() <= high


def test_a_retrained_network_keeps_the_shape() -> None:
    """Other weights of the same layers have the same widths, so that a bitstream can be patched; and they are wide enough."""
    designs = []
    for seed in (0, 1):
        model, rows, _ = trained("mlp", 4)
        for tensor in model.graph.initializer:
            values = numpy_helper.to_array(tensor)
            if values.ndim == 2:
                drawn = np.random.default_rng(seed).normal(size=values.shape, scale=1 + 3 * seed)
                tensor.CopyFrom(numpy_helper.from_array(drawn.astype(np.float32), tensor.name))
        designs.append(quantised(graph_of(model), rows, Widths(8)))
    one, other = designs
    assert one.perceptron != other.perceptron
    assert (one.code_bits, one.score_bits) == (other.code_bits, other.score_bits)
    for design in designs:
        assert design.perceptron
        assert width_of(sum_ranges(design.perceptron)[-1]) <= design.score_bits


@pytest.mark.parametrize(("name", "operator"), [("adaboost", "ArgMax"), ("tanh", "Tanh")])
def test_what_has_no_design_is_refused_by_name(name: str, operator: str) -> None:
    """The operator, and another runtime as the way out."""
    model, rows, _ = trained(name, 4)
    with pytest.raises(Unsupported, match=rf"{operator}.*use the runtime native"):
        quantised(graph_of(model), rows)


@pytest.mark.parametrize("name", ["logistic", "mlp", "boosting", "forest"])
@pytest.mark.parametrize("texts", [False, True])
def test_a_lone_file_is_read(name: str, texts: bool, tmp_path: Path) -> None:
    """As skl2onnx writes it: a map of classes, labels of text or numbers."""
    import onnxruntime
    from skl2onnx import to_onnx

    x, y = data(3)
    labels = np.array(["low", "mid", "top"])[y] if texts else y * 10
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model = to_onnx(estimator(name).fit(x[:800], labels[:800]), x[:1])
    path = tmp_path / "lone.onnx"
    path.write_bytes(model.SerializeToString())
    design = quantised(read(path), x[:800], Widths(12))
    found = vector.labels(design, vector.scores(design, vector.codes(design, x[800:])))
    wanted = onnxruntime.InferenceSession(str(path)).run(None, {"X": x[800:]})[0]
    assert (np.unique(labels)[found] == wanted).mean() >= 0.99


def test_accumulators_are_checked() -> None:
    """16 bits over enough inputs leave 32 bits in the worst case, and that is an error with both numbers."""
    model, rows, _ = trained("mlp", 4)
    with pytest.raises(ModelError, match=rf"16 bits need accumulators of 3\d bits, {ACCUMULATOR_BITS} are there"):
        quantised(graph_of(model), rows, Widths(16))


def evidence_for(name: str) -> tuple[Any, Evidence]:
    model, rows, truth = trained(name, 4)
    return graph_of(model), Evidence(rows[:500], answers(model, rows[:500])[0], truth[:500], calibration=rows[500:])


@pytest.mark.parametrize("name", ["mlp", "boosting"])
def test_the_smallest_width_that_holds_is_found(name: str) -> None:
    """Widths rise; all but the last fall short of a floor; the last's figures can be measured again."""
    graph, evidence = evidence_for(name)
    seen: list[int] = []
    found = search(graph, evidence, Floors(0.98, 0.01), progress=lambda one: seen.append(one.bits))
    assert seen == [one.bits for one in found.tried] == sorted(seen)
    assert len(seen) > 1
    assert [one.kept for one in found.tried] == [False] * (len(seen) - 1) + [True]
    for one in found.tried[:-1]:
        assert one.agreement < 0.98 or one.accuracy_loss > 0.01  # type: ignore[operator]
    last = found.tried[-1]
    labels = vector.labels(found.design, vector.scores(found.design, vector.codes(found.design, evidence.rows)))
    assert last.agreement == (labels == evidence.labels).mean() >= 0.98
    assert last.accuracy_loss == pytest.approx(
        (evidence.labels == evidence.truth).mean() - (labels == evidence.truth).mean()
    )
    assert found.widths.bits == last.bits
    assert last.score_bits == found.design.score_bits
    assert (last.weights > 0) == (name == "mlp")
    assert (last.comparisons > 0) == (name == "boosting")


def test_no_width_that_holds_is_an_error_with_the_best() -> None:
    """What was wanted, what was found, on how many rows."""
    graph, evidence = evidence_for("mlp")
    with pytest.raises(
        ModelError, match=r"widths 3 to 4: expected an agreement >= 1 .* found at best 0\.\d+ with 4 bits \(500 rows\)"
    ):
        search(graph, evidence, Floors(1.0, 0.0), bits=(4, 3))


def test_a_width_without_a_design_is_in_the_table() -> None:
    """Why there is none is kept, and the search goes on."""
    graph, evidence = evidence_for("mlp")
    with pytest.raises(ModelError, match="accumulators"):
        search(graph, evidence, bits=(16,))


def test_true_labels_may_be_unknown() -> None:
    """Without them nothing is said of accuracy; -1 leaves a row out."""
    graph, evidence = evidence_for("boosting")
    blind = Evidence(evidence.rows, evidence.labels)
    assert search(graph, blind, Floors(0.0)).tried[0].accuracy_loss is None
    none = Evidence(evidence.rows, evidence.labels, np.full(len(evidence.rows), -1))
    assert search(graph, none, Floors(0.0)).tried[0].accuracy_loss is None
    with pytest.raises(ValueError, match="found 500 and 3"):
        Evidence(evidence.rows, evidence.labels[:3])


def test_widths_have_bounds() -> None:
    """One bit is no width."""
    with pytest.raises(ValueError, match="expected 2 to 16, found 1"):
        Widths(1)
