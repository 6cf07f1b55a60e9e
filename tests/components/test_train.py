"""Train: split, calibration, reference, graph; and what is refused."""

from __future__ import annotations

import json
import math
from bisect import bisect_left
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as arrays

from edgeloop_components.compile.core import compile_model
from edgeloop_components.ingest.core import ingest
from edgeloop_components.runtimes import RUNTIMES
from edgeloop_components.runtimes.onnxruntime import session
from edgeloop_components.train.calibration import Temperature, calibration_map, fit_temperature, tempered
from edgeloop_components.train.core import Trained, TrainError, train
from edgeloop_components.train.reference import design_effect, feature_reference, windows_of
from edgeloop_components.train.split import holdout_of, split_rows
from edgeloop_contracts import FeatureReference, Loop, Reference, from_json, loads, schema_hash_of
from edgeloop_contracts.reference import calibrated

ROWS, NOON = 1200, 1_400_000_000


def make_loop(train_: dict[str, Any] | None = None, **data: Any) -> Loop:
    features = data.pop("features", ["a", "b", "kind"])
    document = {
        "apiVersion": "edgeloop.dev/v1alpha1",
        "kind": "Loop",
        "metadata": {"name": "toy"},
        "data": {"source": "x", "time": "time", "node": "node", "label": "y", "features": features, **data},
        "train": train_ or {"estimator": "sklearn.linear_model.LogisticRegression"},
        "targets": [{"name": "t", "nodes": {"group": "g"}}],
    }
    return from_json(Loop, document)


def make_rows(n: int = ROWS, seed: int = 0) -> list[dict[str, Any]]:
    random = np.random.default_rng(seed)
    a, b, noise = random.normal(size=(3, n))
    kind = random.integers(0, 3, n)
    score = a + np.where(kind == 1, b, -b) + 0.5 * noise
    y = np.array(["low", "mid", "high"])[np.digitize(score, [-0.7, 0.7])]
    return [
        {
            "time": NOON + 1800 * (i // 2),
            "node": f"n{i % 2}",
            "a": round(float(a[i]), 2) if i % 17 else None,
            "b": float(b[i]),
            "kind": "xyz"[kind[i]] if i % 23 else None,
            "y": str(y[i]),
        }
        for i in range(n)
    ]


def snapshot_of(folder: Path, loop: Loop, rows: list[dict[str, Any]]) -> Path:
    import pandas as pd

    folder.mkdir(parents=True, exist_ok=True)
    pd.DataFrame(rows).to_parquet(folder / "rows-in.parquet", index=False)
    data = from_json(type(loop.data), {"source": str(folder / "rows-in.parquet"), "label": "y", "features": ["a"]})
    import dataclasses

    sourced = dataclasses.replace(loop, data=dataclasses.replace(loop.data, source=data.source))
    ingest(sourced, folder / "snapshot", objects=None)
    return folder / "snapshot"


@pytest.fixture(scope="module")
def snapshot(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return snapshot_of(tmp_path_factory.mktemp("snapshot"), make_loop(), make_rows())


# the split


@settings(max_examples=50, deadline=None)
@given(st.integers(20, 3000), st.floats(0.01, 0.5), st.integers(0, 99), st.integers(1, 7), st.booleans())
def test_the_split_is_a_partition_and_the_holdout_the_newest(
    rows: int, holdout: float, seed: int, together: int, timed: bool
) -> None:
    """Each row is in one part; no held-out row is older than a known one; rows of one moment stay together."""
    times = np.arange(rows) // together * 600.0
    try:
        split = split_rows(times if timed else None, rows, holdout, seed)
    except TrainError:
        assert rows * (1 - holdout) < 10 + together
        return
    parts = np.concatenate([split.fit, split.calibration, split.holdout])
    assert sorted(parts.tolist()) == list(range(rows))
    assert len(split.fit) > len(split.calibration) > 0
    assert holdout_of(split.to_json()).tolist() == split.holdout.tolist()
    if timed:
        assert times[split.known].max() < times[split.holdout].min()


def test_calibration_rows_are_spread_over_time() -> None:
    """Blocks of calibration rows lie in every part of the time, not in one."""
    split = split_rows(np.arange(5000) * 600.0, 5000, 0.2, seed=1)
    quarters = np.histogram(split.calibration, bins=4, range=(0, 4000))[0]
    assert quarters.min() > 0.5 * quarters.mean()
    assert 0.1 < len(split.calibration) / 4000 < 0.2


# calibration


@settings(max_examples=100, deadline=None)
@given(
    arrays.arrays(np.float64, st.tuples(st.integers(1, 20), st.integers(2, 5)), elements=st.floats(1e-6, 1)),
    st.floats(0.05, 20),
)
def test_tempered_probabilities_sum_to_one_and_keep_the_best_class(raw: Any, power: float) -> None:
    """Any temperature gives distributions whose largest value is where it was."""
    given_ = raw / raw.sum(axis=1, keepdims=True)
    result = tempered(given_, Temperature(power, 1e-7))
    assert np.abs(result.sum(axis=1) - 1).max() < 1e-9
    assert (result[np.arange(len(result)), given_.argmax(axis=1)] >= result.max(axis=1) - 1e-12).all()


@pytest.mark.parametrize("power", [0.5, 1.0, 2.0])
def test_the_temperature_of_the_data_is_found(power: float) -> None:
    """Labels drawn from p**power are answered with that power, within sampling error."""
    random = np.random.default_rng(0)
    logits = random.normal(size=(20_000, 3)) * 1.5
    said = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    true = tempered(said, Temperature(power, 1e-12))
    labels = (true.cumsum(axis=1) < random.random((20_000, 1))).sum(axis=1)
    assert fit_temperature(said, labels).power == pytest.approx(power, rel=0.06)


def test_few_rows_change_no_temperature() -> None:
    """Fewer than 50 calibration rows leave the model as it is."""
    assert fit_temperature(np.full((49, 2), 0.5), np.zeros(49, dtype=np.int64)).power == 1.0


@settings(max_examples=50, deadline=None)
@given(st.integers(1, 3000), st.integers(0, 2**32))
def test_the_calibration_map_rises_within_zero_and_one(rows: int, seed: int) -> None:
    """At most 50 knots, x strictly rising, y never falling and in [0, 1], whatever the answers were."""
    random = np.random.default_rng(seed)
    confidence = random.random(rows).round(random.integers(1, 6))
    found = calibration_map(confidence, random.random(rows) < confidence)
    assert 1 <= len(found.x) == len(found.y) <= 50
    assert all(a < b for a, b in zip(found.x, found.x[1:], strict=False))
    assert all(a <= b for a, b in zip(found.y, found.y[1:], strict=False))
    assert 0 <= min(found.y) <= max(found.y) <= 1


def test_the_calibration_map_is_isotonic_regression() -> None:
    """With few enough knots it is what scikit-learn's isotonic regression gives."""
    from sklearn.isotonic import IsotonicRegression

    random = np.random.default_rng(3)
    confidence = random.random(400).round(2)
    right = random.random(400) < confidence
    found = calibration_map(confidence, right)
    other = IsotonicRegression(out_of_bounds="clip").fit(confidence, right)
    places = np.unique(confidence)
    mine = [calibrated(found, x) for x in places.tolist()]
    assert len(found.x) < 50
    assert np.allclose(mine, other.predict(places), atol=1e-9)


# the reference


FLOATS = st.floats(-1e30, 1e30, allow_nan=False) | st.just(math.nan) | st.sampled_from([0.0, -0.0, 1.0, 2.5])


@settings(max_examples=100, deadline=None)
@given(st.lists(FLOATS, min_size=1, max_size=300))
def test_bins_hold_every_row_as_the_contract_says(values: list[float]) -> None:
    """Counts and sums are those of counting row by row with bisect_left and round, as a node does; nothing is lost."""
    found = feature_reference(FeatureReference(name="a", kind="number"), np.array(values), None)
    counts, sums = [0] * found.bins, [0] * found.bins
    seen = [value for value in values if not math.isnan(value)]
    for value in seen:
        place = bisect_left(found.edges, value)
        counts[place] += 1
        sums[place] += round(value / found.quantum)
    assert (found.counts, found.sums) == (tuple(counts), tuple(sums))
    assert sum(found.counts) + found.missing == len(values)
    assert len(found.edges) <= 35
    assert list(found.edges) == sorted(set(found.edges))
    assert set(found.edges) <= {value + 0.0 for value in seen}
    assert math.frexp(found.quantum)[0] == 0.5  # a power of two
    assert found.quantum >= 2.0**-40


def test_the_quantum_is_near_the_deviation_over_a_million() -> None:
    """Within a factor of the square root of two of std / 2**20."""
    values = np.random.default_rng(0).normal(size=5000) * 37.0
    found = feature_reference(FeatureReference(name="a", kind="number"), values, None)
    assert 2**-0.5 <= found.quantum / (found.std / 2**20) <= 2**0.5


@settings(max_examples=50, deadline=None)
@given(st.lists(st.sampled_from([0.0, 1.0, 2.0, -1.0, math.nan]), min_size=1, max_size=50))
def test_categories_have_a_bin_each_and_one_for_the_rest(codes: list[float]) -> None:
    """Unknown codes are in the last bin, missing ones in none."""
    found = feature_reference(FeatureReference(name="k", kind="category", categories=("x", "y")), np.array(codes), None)
    rest = sum(code in (2.0, -1.0) for code in codes)
    assert found.counts == (codes.count(0.0), codes.count(1.0), rest)
    assert found.missing == len(codes) - sum(found.counts)


def test_the_design_effect_of_independent_rows_is_one_and_of_correlated_rows_is_not() -> None:
    """Rows that follow each other with rho .95 inflate the variance of window means about (1 + rho) / (1 - rho) = 39 times."""
    random = np.random.default_rng(0)
    noise = random.normal(size=100_000)
    chain = np.empty_like(noise)
    chain[0] = noise[0]
    for i in range(1, len(noise)):
        chain[i] = 0.95 * chain[i - 1] + noise[i]
    windows = windows_of(np.arange(100_000.0), np.zeros(100_000, dtype=np.int64), 1000)
    assert design_effect(noise[:, None], windows) < 1.7
    assert 25 < design_effect(chain[:, None], windows) < 55


def test_the_design_effect_looks_at_windows_of_one_node() -> None:
    """Values that only depend on the node make every window one row: f = W. Fewer than 20 windows say nothing: f = 1."""
    nodes = np.tile(np.arange(4), 2500)
    times = np.repeat(np.arange(2500.0), 4)
    values = nodes[:, None].astype(float)
    assert design_effect(values, windows_of(times, nodes, 100)) == pytest.approx(100, rel=0.05)
    assert design_effect(values, windows_of(times, nodes, 1000)) == 1.0
    assert design_effect(values, windows_of(None, nodes, 100)) == 1.0


# training


ESTIMATORS = {
    "sklearn.ensemble.HistGradientBoostingClassifier": {"max_iter": 15},
    "sklearn.ensemble.RandomForestClassifier": {"n_estimators": 10, "max_depth": 6},
    "sklearn.ensemble.ExtraTreesClassifier": {"n_estimators": 10, "max_depth": 6},
    "sklearn.ensemble.GradientBoostingClassifier": {"n_estimators": 5},
    "sklearn.tree.DecisionTreeClassifier": {"max_depth": 5},
    "sklearn.linear_model.LogisticRegression": {},
    "sklearn.neural_network.MLPClassifier": {"hidden_layer_sizes": [8], "max_iter": 60, "learning_rate_init": 0.02},
    "sklearn.naive_bayes.GaussianNB": {},
}


@pytest.mark.filterwarnings("ignore::sklearn.exceptions.ConvergenceWarning")
@pytest.mark.parametrize(("estimator", "params"), ESTIMATORS.items())
def test_an_estimator_by_its_name_becomes_a_proven_model(
    snapshot: Path, tmp_path: Path, estimator: str, params: dict[str, Any]
) -> None:
    """The graph keeps the convention, answers as the estimator does, and its golden rows hold the hard cases."""
    made = train(make_loop({"estimator": estimator, "params": params}), snapshot, tmp_path / "out")
    assert made.proof is not None
    assert made.proof.max_abs_difference < 1e-5
    assert made.proof.label_differences == 0
    assert made.reference.accuracy > 0.6
    loaded = session((tmp_path / "out" / "model.onnx").read_bytes())
    golden = json.loads((tmp_path / "out" / "golden.json").read_bytes())
    rows = np.array(golden["rows"], dtype=np.float32)
    labels, probabilities = loaded.run(["label", "probabilities"], {"X": rows})
    assert len(rows) >= 32
    assert np.isnan(rows).all(axis=1).any()
    assert (rows[:, 2] == -1).any()  # an unknown category
    assert np.abs(probabilities.sum(axis=1) - 1).max() < 1e-6
    assert (labels == probabilities.argmax(axis=1)).all()
    assert np.abs(probabilities - golden["probabilities"]).max() < 1e-6
    own = np.array(golden["estimator"]["probabilities"])
    assert golden["estimator"]["limit"] == 2e-6
    assert len(own) == (~np.isinf(rows).any(axis=1)).sum(), "every row that an estimator takes"
    assert 0 < np.abs(own - probabilities[: len(own)]).max() < 1e-5, "float64, not the graph's float32 again"
    assert np.abs(own.sum(axis=1) - 1).max() < 1e-12


@pytest.mark.parametrize("runtime", [name for name, row in RUNTIMES.items() if not row.judged])
def test_every_runtime_is_near_the_estimator_itself(snapshot: Path, tmp_path: Path, runtime: str) -> None:
    """From training to the compiled model: its distance from scikit-learn at float64 is measured, and within 2e-6."""
    loop = make_loop({"estimator": "sklearn.ensemble.HistGradientBoostingClassifier", "params": {"max_iter": 15}})
    train(loop, snapshot, tmp_path / "version")
    target = replace(loop.targets[0], runtime=runtime)
    parity = compile_model(loop, target, tmp_path / "version", tmp_path / "out").parity
    assert parity.estimator_difference is not None
    assert parity.estimator_limit is not None
    assert 0 < parity.estimator_difference <= parity.estimator_limit
    assert 2e-6 <= parity.estimator_limit <= 1e-5, "calibration may widen it, as decision 0007 says"


def test_the_reference_holds_together(snapshot: Path, tmp_path: Path) -> None:
    """Counts add up to the rows that training saw, or that were held out; the schema hash is that of its bins."""
    made = train(make_loop(), snapshot, tmp_path / "out")
    found = loads(Reference, (tmp_path / "out" / "reference.json").read_bytes())
    assert found == made.reference
    assert found.rows == made.rows_fit + made.rows_calibration
    assert all(sum(f.counts) + f.missing == found.rows for f in found.features)
    assert sum(found.class_counts) == sum(found.confidence_counts) == found.accuracy_rows == made.rows_holdout
    assert found.schema_hash == schema_hash_of(found.features, found.classes)
    assert found.classes == ("high", "low", "mid")
    assert [f.kind for f in found.features] == ["number", "number", "category"]
    assert found.window_s == 3600


def test_training_twice_gives_the_same_bytes(snapshot: Path, tmp_path: Path) -> None:
    """Model, reference, golden rows and split follow from snapshot, loop and seed."""
    loop = make_loop({"estimator": "sklearn.ensemble.RandomForestClassifier", "params": {"n_estimators": 5}, "seed": 3})
    for name in ("one", "two"):
        train(loop, snapshot, tmp_path / name)
    for name in ("model.onnx", "reference.json", "golden.json", "split.json"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_the_holdout_does_not_reach_the_model(tmp_path: Path) -> None:
    """Other labels in the newest rows give the very same model, and another accuracy."""
    rows = make_rows()
    changed = [*rows[:-200], *({**row, "y": "low" if row["y"] != "low" else "mid"} for row in rows[-200:])]
    loop = make_loop()
    made = [
        train(loop, snapshot_of(tmp_path / name, loop, content), tmp_path / f"{name}-out")
        for name, content in (("one", rows), ("two", changed))
    ]
    assert (made[0].folder / "model.onnx").read_bytes() == (made[1].folder / "model.onnx").read_bytes()
    assert made[1].reference.accuracy < made[0].reference.accuracy - 0.3


def test_the_graph_carries_what_belongs_to_it(snapshot: Path, tmp_path: Path) -> None:
    """Features, categories, classes and temperature are in the file's metadata."""
    made = train(make_loop(), snapshot, tmp_path / "out")
    metadata = session((tmp_path / "out" / "model.onnx").read_bytes()).get_modelmeta().custom_metadata_map
    assert json.loads(metadata["edgeloop.features"]) == ["a", "b", "kind"]
    assert json.loads(metadata["edgeloop.categories"]) == {"kind": ["x", "y", "z"]}
    assert json.loads(metadata["edgeloop.classes"]) == ["high", "low", "mid"]
    assert json.loads(metadata["edgeloop.temperature"]) == made.temperature


def test_rows_without_times_are_held_out_at_random(tmp_path: Path) -> None:
    """Without a time column the split is random, the design effects are 1, and training works."""
    loop = make_loop(time="", node="")
    made = train(loop, snapshot_of(tmp_path, loop, make_rows()), tmp_path / "out")
    assert json.loads((tmp_path / "out" / "split.json").read_bytes())["order"] == "random"
    assert {f.design_effect for f in made.reference.features} == {1.0} == {made.reference.error_design_effect}


def test_a_seed_is_given_to_the_estimator(snapshot: Path, tmp_path: Path) -> None:
    """Another seed makes another forest."""
    estimator = {"estimator": "sklearn.ensemble.RandomForestClassifier", "params": {"n_estimators": 5}}
    digests = set()
    for seed in (1, 2):
        train(make_loop({**estimator, "seed": seed}), snapshot, tmp_path / str(seed))
        digests.add((tmp_path / str(seed) / "model.onnx").read_bytes())
    assert len(digests) == 2


REFUSED = [
    ({"estimator": "sklearn.ensemble.RandomForestClasifier"}, r"did you mean RandomForestClassifier\?"),
    ({"estimator": "sklaern.ensemble.X"}, "no module sklaern can be imported"),
    ({"estimator": "sklearn.linear_model.LinearRegression"}, "expected a classifier, got .*classes only, for now"),
    ({"estimator": "sklearn.svm.LinearSVC"}, "expected a classifier with predict_proba"),
    ({"estimator": "sklearn.metrics.accuracy_score"}, "expected a scikit-learn classifier"),
    ({"estimator": "sklearn.linear_model.LogisticRegression", "params": {"c": 1}}, r"no parameter 'c' \("),
    (
        {"estimator": "sklearn.ensemble.HistGradientBoostingClassifier", "params": {"max_itr": 5}},
        r"no parameter 'max_itr' \(did you mean max_iter\?\)",
    ),
    (
        {"estimator": "sklearn.linear_model.LogisticRegression", "params": {"C": -1}},
        "cannot be fitted: .*'C' parameter",
    ),
    ({"entrypoint": "own_missing:fit"}, "no module own_missing can be imported"),
    ({"onnx": "nowhere.onnx"}, "expected an ONNX file, found none"),
]


@pytest.mark.parametrize(("given_", "said"), REFUSED)
def test_what_cannot_be_trained_is_refused_and_nothing_is_left(
    snapshot: Path, tmp_path: Path, given_: dict[str, Any], said: str
) -> None:
    """The field, what was expected and what is near are in the message; no folder is made."""
    with pytest.raises(TrainError, match=said):
        train(make_loop(given_), snapshot, tmp_path / "out")
    assert not (tmp_path / "out").exists()


def test_measurements_are_no_labels(tmp_path: Path) -> None:
    """A label column of many numbers is named, and what edgeloop predicts."""
    rows = [{**row, "y": row["b"]} for row in make_rows(300)]
    loop = make_loop()
    with pytest.raises(TrainError, match=r"data\.label: y has 300 different numbers.*classes only"):
        train(loop, snapshot_of(tmp_path, loop, rows), tmp_path / "out")


def test_one_class_is_no_label(tmp_path: Path) -> None:
    """A label that is always the same is named."""
    loop = make_loop()
    with pytest.raises(TrainError, match=r"at least two classes in y, found \['low'\]"):
        train(loop, snapshot_of(tmp_path, loop, [{**row, "y": "low"} for row in make_rows(100)]), tmp_path / "out")


ENTRYPOINT = '''
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler


def fit(features, labels, strength=1.0):
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    codes = make_pipeline(SimpleImputer(strategy="constant", fill_value=-1), OneHotEncoder(handle_unknown="ignore"))
    columns = ColumnTransformer([("numbers", numbers, ["a", "b"]), ("codes", codes, ["kind"])], sparse_threshold=0)
    return make_pipeline(columns, LogisticRegression(C=strength)).fit(features, labels)


def not_fitted(features, labels):
    return LogisticRegression()


def nothing(features, labels):
    return None


def scaled(features, labels):
    """Divides rows by their largest value, which the converter writes in another way without a word."""
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import Normalizer
    return make_pipeline(SimpleImputer(), Normalizer("max"), LogisticRegression()).fit(features, labels)
'''


@pytest.fixture
def entrypoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    (tmp_path / "own_training.py").write_text(ENTRYPOINT)
    monkeypatch.chdir(tmp_path)
    monkeypatch.delitem(__import__("sys").modules, "own_training", raising=False)
    return "own_training"


def test_an_entrypoint_may_choose_columns_by_name(snapshot: Path, tmp_path: Path, entrypoint: str) -> None:
    """A Pipeline over a DataFrame, with parameters from the loop, becomes a graph with one input."""
    loop = make_loop({"entrypoint": f"{entrypoint}:fit", "params": {"strength": 0.5}})
    made = train(loop, snapshot, tmp_path / "out")
    assert made.proof is not None
    assert made.proof.max_abs_difference < 2e-6
    code = json.loads((tmp_path / "out" / "training.json").read_bytes())["code"]
    (tmp_path / "own_training.py").write_text(ENTRYPOINT + "\n# changed\n")
    train(loop, snapshot, tmp_path / "again")
    assert json.loads((tmp_path / "again" / "training.json").read_bytes())["code"] != code


@pytest.mark.parametrize(
    ("function", "said"),
    [
        ("not_fitted", "to give a fitted estimator"),
        ("nothing", "predict_proba, got NoneType"),
        ("scaled", r"the ONNX form differs from the estimator by 0\.\d+ .* on {'a': "),
        ("fits", r"has no 'fits' \(did you mean fit\?\)"),
    ],
)
def test_an_entrypoint_that_gives_no_sound_model_is_refused(
    snapshot: Path, tmp_path: Path, entrypoint: str, function: str, said: str
) -> None:
    """Among them one whose ONNX form computes something else without a word."""
    with pytest.raises(TrainError, match=said):
        train(make_loop({"entrypoint": f"{entrypoint}:{function}"}), snapshot, tmp_path / "out")
    assert not (tmp_path / "out").exists()


# ready ONNX files


def numbers_only(estimator: Any, zipmap: bool = False, opset: int = 17) -> bytes:
    """A model of the columns a and b as skl2onnx writes it."""
    from skl2onnx import to_onnx

    rows = [row for row in make_rows() if row["a"] is not None]
    x = np.array([[row["a"], row["b"]] for row in rows], dtype=np.float32)
    estimator.fit(x, [row["y"] for row in rows])
    made: bytes = to_onnx(estimator, x[:1], options={"zipmap": zipmap}, target_opset=opset).SerializeToString()
    return made


def ready_pipeline() -> Any:
    from sklearn.impute import SimpleImputer
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline

    return make_pipeline(SimpleImputer(), LogisticRegression())


def train_ready(tmp_path: Path, data: bytes) -> Trained:
    (tmp_path / "ready.onnx").write_bytes(data)
    loop = make_loop({"onnx": str(tmp_path / "ready.onnx")}, features=["a", "b"])
    return train(loop, snapshot_of(tmp_path, loop, make_rows()), tmp_path / "out")


@pytest.mark.parametrize(("zipmap", "opset"), [(False, 17), (True, 17), (False, 12)])
def test_a_ready_file_is_adapted(tmp_path: Path, zipmap: bool, opset: int) -> None:
    """With or without a map of classes, of an old opset too, it comes to keep the convention; classes are read from it."""
    made = train_ready(tmp_path, numbers_only(ready_pipeline(), zipmap, opset))
    assert made.proof is None
    assert made.reference.classes == ("high", "low", "mid")
    rows = np.array([[0.1, 0.2], [np.nan, 0.3]], dtype=np.float32)
    labels, probabilities = session((tmp_path / "out" / "model.onnx").read_bytes()).run(None, {"X": rows})
    assert np.abs(probabilities.sum(axis=1) - 1).max() < 1e-6
    assert (labels == probabilities.argmax(axis=1)).all()


def test_a_model_of_edgeloop_is_a_ready_file(snapshot: Path, tmp_path: Path) -> None:
    """A finished model can be taken again, in its own categories; its answers stay but for the calibration."""
    first = train(make_loop(), snapshot, tmp_path / "first")
    second = train(make_loop({"onnx": str(tmp_path / "first" / "model.onnx")}), snapshot, tmp_path / "second")
    assert second.temperature == pytest.approx(1.0, abs=0.02)
    assert second.reference.classes == first.reference.classes
    assert second.reference.accuracy == first.reference.accuracy


def broken(data: bytes) -> bytes:
    return data[: len(data) // 2]


def test_a_ready_file_that_is_cut_off_is_refused(tmp_path: Path) -> None:
    """Half a file is said to be damaged."""
    with pytest.raises(TrainError, match="expected an ONNX model, found one that begins as ONNX and breaks off"):
        train_ready(tmp_path, broken(numbers_only(ready_pipeline())))


def test_a_ready_file_of_another_width_is_refused(tmp_path: Path) -> None:
    """The width of the input and the number of features are in the message."""
    (tmp_path / "ready.onnx").write_bytes(numbers_only(ready_pipeline()))
    loop = make_loop({"onnx": str(tmp_path / "ready.onnx")})
    with pytest.raises(TrainError, match="the input has 2 columns, the loop has 3 features"):
        train(loop, snapshot_of(tmp_path, loop, make_rows()), tmp_path / "out")


def test_a_ready_file_without_an_answer_to_missing_values_is_refused(tmp_path: Path) -> None:
    """A node gives missing values to every model; one that answers NaN cannot serve."""
    from sklearn.linear_model import LogisticRegression

    with pytest.raises(TrainError, match="put an imputer into the graph"):
        train_ready(tmp_path, numbers_only(LogisticRegression()))


def test_a_ready_file_with_other_classes_is_refused(tmp_path: Path) -> None:
    """A label of the data that the model does not know is named."""
    (tmp_path / "ready.onnx").write_bytes(numbers_only(ready_pipeline()))
    loop = make_loop({"onnx": str(tmp_path / "ready.onnx")}, features=["a", "b"])
    rows = [*make_rows(), {**make_rows()[0], "time": NOON - 1, "y": "storm"}]
    with pytest.raises(TrainError, match=r"not among its classes .*: \['storm'\]"):
        train(loop, snapshot_of(tmp_path, loop, rows), tmp_path / "out")
