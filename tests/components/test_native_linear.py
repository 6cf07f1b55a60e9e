"""Linear models, scalers and what ends a classifier as C: as onnxruntime computes them, for special values too."""

from __future__ import annotations

import warnings
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from onnx import TensorProto, helper, numpy_helper

from edgeloop_components.native import Unsupported, emit
from edgeloop_components.onnxgraph import graph_of
from edgeloop_components.runtimes import ModelError

WIDTH = 6
LAWS = settings(max_examples=20, suppress_health_check=[HealthCheck.function_scoped_fixture, HealthCheck.too_slow])


def rows_of(seed: int) -> Any:
    """Ordinary rows; zeros, large values, infinities, NaN."""
    rows = np.random.default_rng(seed).normal(size=(40, WIDTH)).astype(np.float32)
    rows[0], rows[1], rows[2], rows[3] = 0, -0.0, 3, -np.abs(rows[3])
    rows[4, 2], rows[5, 1], rows[6, 0] = np.nan, np.inf, -np.inf
    return rows


def model_of(nodes: list[Any], outputs: dict[str, int], **weights: Any) -> Any:
    taken = [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N", WIDTH])]
    given = [helper.make_tensor_value_info(name, kind, None) for name, kind in outputs.items()]
    constants = [numpy_helper.from_array(np.asarray(value), name) for name, value in weights.items()]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(helper.make_graph(nodes, "g", taken, given, constants), opset_imports=opsets, ir_version=8)


def ml(op: str, outputs: dict[str, int], **attributes: Any) -> Any:
    return model_of([helper.make_node(op, ["X"], list(outputs), domain="ai.onnx.ml", **attributes)], outputs)


def close(got: Any, expected: Any, limit: float = 1e-6) -> bool:
    """NaN and infinities at the same places, and all else within `limit` of the larger of 1 and the value."""
    special = ~np.isfinite(expected)
    same = (np.isnan(got) == np.isnan(expected)) & ((got == expected) | np.isnan(expected))
    with np.errstate(invalid="ignore"):
        near = np.abs(got - expected) <= limit * np.maximum(1, np.abs(expected))
    return bool(np.where(special, same, near).all())


@LAWS
@given(st.integers(0, 10**6), st.booleans())
def test_scaler(compile_c: Any, onnxruntime_answers: Any, seed: int, single: bool) -> None:
    """(x - offset) * scale, with a pair for each feature or one for all."""
    rng = np.random.default_rng(seed)
    count = 1 if single else WIDTH
    model = ml(
        "Scaler",
        {"Y": TensorProto.FLOAT},
        offset=rng.normal(size=count).tolist(),
        scale=rng.normal(size=count).tolist(),
    )
    rows = rows_of(seed)
    assert np.array_equal(
        compile_c(emit(graph_of(model)), "-O0")(rows)[0], onnxruntime_answers(model, rows)[0], equal_nan=True
    )


@pytest.mark.parametrize("norm", ["MAX", "L1", "L2"])
def test_normalizer(compile_c: Any, onnxruntime_answers: Any, norm: str) -> None:
    """Each norm; rows of zeros stay, and the largest is not the largest of absolute values."""
    model = ml("Normalizer", {"Y": TensorProto.FLOAT}, norm=norm)
    rows = rows_of(1)
    assert close(compile_c(emit(graph_of(model)), "-O0")(rows)[0], onnxruntime_answers(model, rows)[0])


@LAWS
@given(
    st.integers(0, 10**6),
    st.integers(1, 5),
    st.sampled_from(["NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO"]),
    st.sampled_from([0, 1]),
    st.booleans(),
)
def test_linear_classifier(
    compile_c: Any, onnxruntime_answers: Any, seed: int, count: int, transform: str, multi: int, texts: bool
) -> None:
    """One row of coefficients for two classes, or one a class; labels of ints and of texts."""
    rng = np.random.default_rng(seed)
    classes = max(count, 2)
    labels = [f"class {i}" for i in range(classes)] if texts else [7 - 3 * i for i in range(classes)]
    model = ml(
        "LinearClassifier",
        {"label": TensorProto.STRING if texts else TensorProto.INT64, "scores": TensorProto.FLOAT},
        coefficients=rng.normal(0, 0.5, count * WIDTH).tolist(),
        intercepts=rng.normal(size=count).tolist(),
        multi_class=multi,
        post_transform=transform,
        **{"classlabels_strings" if texts else "classlabels_ints": labels},
    )
    rows = rows_of(seed)
    rows = rows[np.isfinite(rows).all(axis=1)]
    emitted = emit(graph_of(model))
    (label, scores), (expected, wanted) = compile_c(emitted, "-O0")(rows), onnxruntime_answers(model, rows)
    label = np.array(emitted.texts["label"])[label] if texts else label
    assert (label == expected).all()
    assert close(scores, wanted)


@LAWS
@given(st.integers(0, 10**6), st.integers(1, 40), st.booleans())
def test_linear_regressor(
    compile_c: Any, onnxruntime_answers: Any, seed: int, targets: int, with_intercepts: bool
) -> None:
    """One target or more than a block of them, with intercepts and without; special values go through."""
    rng = np.random.default_rng(seed)
    more = {"intercepts": rng.normal(size=targets).tolist()} if with_intercepts else {}
    coefficients = rng.normal(size=targets * WIDTH).tolist()
    model = ml("LinearRegressor", {"Y": TensorProto.FLOAT}, coefficients=coefficients, targets=targets, **more)
    rows = rows_of(seed)
    assert close(compile_c(emit(graph_of(model)), "-O0")(rows)[0], onnxruntime_answers(model, rows)[0], 3e-6)


@LAWS
@given(
    st.integers(0, 10**6),
    st.integers(1, 70),
    st.sampled_from([1.0, 0.5, -2.0]),
    st.sampled_from([1.0, 0.0, 3.0]),
    st.booleans(),
    st.sampled_from(["none", "row", "one", "column"]),
)
def test_gemm(
    compile_c: Any,
    onnxruntime_answers: Any,
    seed: int,
    outputs: int,
    alpha: float,
    beta: float,
    turned: bool,
    added: str,
) -> None:
    """alpha, beta, transB, and what may be added: nothing, a row, one number."""
    rng = np.random.default_rng(seed)
    weights = {"W": rng.normal(size=(outputs, WIDTH) if turned else (WIDTH, outputs)).astype(np.float32)}
    shapes = {"row": (outputs,), "one": (1,), "column": (1, outputs)}
    if added != "none":
        weights["b"] = rng.normal(size=shapes[added]).astype(np.float32)
    node = helper.make_node("Gemm", ["X", *weights], ["Y"], alpha=alpha, beta=beta, transB=int(turned))
    model = model_of([node], {"Y": TensorProto.FLOAT}, **weights)
    rows = rows_of(seed)
    rows = rows[np.isfinite(rows).all(axis=1)]
    assert close(compile_c(emit(graph_of(model)), "-O0")(rows)[0], onnxruntime_answers(model, rows)[0], 2e-6)


REFUSED = {
    "a norm": ("Normalizer", {"norm": "L3"}, "the norm"),
    "a transform": (
        "LinearRegressor",
        {"coefficients": [1.0] * WIDTH, "targets": 1, "post_transform": "MAYBE"},
        "post_transform",
    ),
    "too few offsets": ("Scaler", {"offset": [1.0], "scale": [1.0] * WIDTH}, "offsets and scales"),
    "too many coefficients": ("LinearRegressor", {"coefficients": [1.0] * 7, "targets": 1}, "coefficients"),
    "targets below 1": ("LinearRegressor", {"coefficients": [1.0] * 6, "targets": -1}, "coefficients"),
    "an unknown attribute": ("Normalizer", {"norm": "L1", "strength": 3}, "strength"),
}


@pytest.mark.parametrize("what", REFUSED)
def test_what_does_not_fit_is_refused(what: str) -> None:
    """The message names the node and what is wrong."""
    op, attributes, text = REFUSED[what]
    with pytest.raises(ModelError, match=text) as caught:
        emit(graph_of(ml(op, {"Y": TensorProto.FLOAT}, **attributes)))
    assert f"ai.onnx.ml.{op}" in str(caught.value)


def test_an_operator_without_code_is_named_with_the_way_out() -> None:
    """The refusal names the operator's domain and type, and where the model does run."""
    model = model_of([helper.make_node("Det", ["X"], ["Y"])], {"Y": TensorProto.FLOAT})
    with pytest.raises(Unsupported, match=r"ai\.onnx\.Det.*onnxruntime.*linux/arm64"):
        emit(graph_of(model))


def estimators() -> dict[str, Any]:
    from sklearn import linear_model, neural_network, preprocessing
    from sklearn.compose import ColumnTransformer
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import make_pipeline

    regression, scale = linear_model.LogisticRegression(), preprocessing.StandardScaler
    columns = ColumnTransformer([("a", scale(), [0, 2]), ("b", preprocessing.MinMaxScaler(), [1, 4, 5])])
    codes = ColumnTransformer(
        [("a", scale(), [0, 1, 2]), ("c", preprocessing.OneHotEncoder(handle_unknown="ignore"), [6])]
    )
    return {
        "logistic": regression,
        "liblinear": linear_model.LogisticRegression(solver="liblinear", C=0.3),
        "imputer, scaler, normalizer": make_pipeline(SimpleImputer(), scale(), preprocessing.Normalizer(), regression),
        "normalizer l1": make_pipeline(preprocessing.Normalizer("l1"), regression),
        "perceptron": make_pipeline(scale(), neural_network.MLPClassifier((24, 16), max_iter=60, random_state=0)),
        "perceptron tanh": neural_network.MLPClassifier((8,), activation="tanh", max_iter=60, random_state=0),
        "columns": make_pipeline(columns, neural_network.MLPClassifier((8,), max_iter=60, random_state=0)),
        "codes": make_pipeline(codes, regression),
        "sgd": make_pipeline(scale(), linear_model.SGDClassifier(loss="log_loss", random_state=0)),
    }


@pytest.mark.parametrize("labels", ["numbers", "texts"])
@pytest.mark.parametrize("classes", [2, 3])
@pytest.mark.parametrize("name", list(estimators()))
def test_estimators_of_scikit_learn(
    compile_c: Any, onnxruntime_answers: Any, name: str, classes: int, labels: str
) -> None:
    """As skl2onnx writes it, label path included: the answers of onnxruntime within 1e-6, of the estimator within 2e-6."""
    from skl2onnx import convert_sklearn
    from skl2onnx.common.data_types import FloatTensorType
    from sklearn.datasets import make_classification

    x, y = make_classification(300, 7, n_informative=5, n_classes=classes, random_state=0)
    x = x.astype(np.float32)
    x[:, 6] = np.arange(300) % 4
    if name == "imputer, scaler, normalizer":
        x[::9, 3] = np.nan
    if name == "liblinear" and classes == 3:
        pytest.skip("this solver is for two classes")
    model = estimators()[name]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        model.fit(x, np.array(["low", "high", "odd"])[y] if labels == "texts" else 2 * y + 3)
        types = [("X", FloatTensorType([None, 7]))]
        converted = convert_sklearn(
            model, initial_types=types, target_opset={"": 17, "ai.onnx.ml": 3}, options={"zipmap": False}
        )
    emitted = emit(graph_of(converted))
    got, expected = compile_c(emitted)(x), onnxruntime_answers(converted, x)
    label = np.array(emitted.texts[emitted.outputs[0].name])[got[0]] if labels == "texts" else got[0]
    assert (label == expected[0]).all()
    assert np.abs(got[1] - expected[1]).max() <= 1e-6
    assert np.abs(got[1] - model.predict_proba(x)).max() <= 2e-6
