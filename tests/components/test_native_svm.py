"""Support vector machines as C against onnxruntime and scikit-learn: every kernel, with and without probabilities."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from onnx import TensorProto, helper

from edgeloop_components.native import emit
from edgeloop_components.onnxgraph import Unsupported, graph_of
from edgeloop_components.runtimes import ModelError

KERNELS = ("linear", "poly", "rbf", "sigmoid")


def data(classes: int, rows: int = 240, features: int = 5) -> tuple[Any, Any]:
    rng = np.random.default_rng(classes)
    x = rng.normal(size=(rows, features)).astype(np.float32)
    score = x[:, 0] + 0.5 * x[:, 1] * x[:, 2] + 0.2 * rng.normal(size=rows)
    return x, np.digitize(score, np.quantile(score, np.arange(1, classes) / classes))


def converted(estimator: Any, rows: Any) -> Any:
    from skl2onnx import to_onnx

    options = {"zipmap": False} if hasattr(estimator, "classes_") else None
    return to_onnx(estimator, rows[:1], options=options, target_opset={"": 17, "ai.onnx.ml": 3})


def special(rows: Any) -> Any:
    """Ordinary rows, and some with values that no training row had."""
    odd = np.repeat(rows[:6], 1, axis=0)
    for place, value in enumerate((np.nan, np.inf, -np.inf, 1e30, -1e30, 0.0)):
        odd[place, place % rows.shape[1]] = value
    return np.concatenate([rows, odd])


def alike(got: Any, expected: Any, limit: float = 1e-6) -> None:
    """Equal where onnxruntime gives no finite number; elsewhere within the limit, or a ulp or two of a large score."""
    finite = np.isfinite(expected)
    assert (np.isnan(got) == np.isnan(expected)).all()
    scale = np.maximum(1, np.abs(expected[finite]))
    assert (np.abs(got[finite] - expected[finite]) / scale).max() <= limit


@pytest.mark.parametrize("classes", [2, 3, 5])
@pytest.mark.parametrize("kernel", KERNELS)
@pytest.mark.parametrize("probability", [False, True])
def test_classifiers(compile_c: Any, onnxruntime_answers: Any, classes: int, kernel: str, probability: bool) -> None:
    """Scores or probabilities within 1e-6 of onnxruntime, the same label, and NaN where it has NaN."""
    from sklearn.svm import SVC

    x, y = data(classes)
    model = converted(SVC(kernel=kernel, probability=probability, random_state=0).fit(x, y), x)
    rows = special(np.random.default_rng(9).normal(size=(120, 5)).astype(np.float32))
    got, expected = compile_c(emit(graph_of(model)))(rows), onnxruntime_answers(model, rows)
    alike(got[1], expected[1], 1e-6 if probability else 4e-6)
    assert (got[0] == expected[0])[np.isfinite(expected[1]).all(axis=1)].all()


@pytest.mark.parametrize("kernel", KERNELS)
def test_regressors(compile_c: Any, onnxruntime_answers: Any, kernel: str) -> None:
    """SVR and NuSVR give onnxruntime's value, as near as sums in float32 can be."""
    from sklearn.svm import SVR, NuSVR

    x, _ = data(3)
    y = np.sin(x[:, 0]) + 0.3 * x[:, 1]
    for kind in (SVR, NuSVR):
        fitted = kind(kernel=kernel).fit(x, y)
        model, rows = converted(fitted, x), special(x[:60])
        (got,), (expected,) = compile_c(emit(graph_of(model)))(rows), onnxruntime_answers(model, rows)
        finite = np.isfinite(expected[:, 0]) & np.isfinite(rows).all(axis=1)
        assert (np.isnan(got) == np.isnan(expected)).all()
        room = 1e-6 * terms(fitted, kernel, rows[finite])
        assert (np.abs(got[finite, 0].astype(float) - expected[finite, 0]) <= room).all()


def terms(fitted: Any, kernel: str, rows: Any) -> Any:
    """The sum of what is added up to a row's value, without signs: float32 rounds in proportion to it. [rows]"""
    from sklearn.metrics.pairwise import pairwise_kernels

    given = {} if kernel == "linear" else {"gamma": fitted._gamma}
    given |= {"degree": 3, "coef0": 0.0} if kernel == "poly" else {"coef0": 0.0} if kernel == "sigmoid" else {}
    size, vectors = np.abs(rows.astype(float)), np.abs(fitted.support_vectors_)
    kernels = (
        np.ones((len(rows), len(vectors))) if kernel == "rbf" else pairwise_kernels(size, vectors, kernel, **given)
    )
    return 1 + np.abs(kernels) @ np.abs(fitted.dual_coef_[0])


def test_one_class(compile_c: Any, onnxruntime_answers: Any) -> None:
    """OneClassSVM gives the same side of the border as onnxruntime, and its score."""
    from sklearn.svm import OneClassSVM

    x, _ = data(2)
    model = converted(OneClassSVM(nu=0.2).fit(x), x)
    got, expected = compile_c(emit(graph_of(model)))(x), onnxruntime_answers(model, x)
    alike(got[1], expected[1], 4e-6)
    clear = np.abs(expected[1][:, 0]) > 1e-4
    assert (got[0].ravel() == expected[0].ravel())[clear].all()


def test_text_labels(compile_c: Any, onnxruntime_answers: Any) -> None:
    """Labels of text come as places in `texts`, and name what onnxruntime names."""
    from sklearn.svm import SVC

    x, y = data(3)
    names = np.array(["low", "mid", "high"])[y]
    model = converted(SVC(probability=True, random_state=0).fit(x, names), x)
    emitted = emit(graph_of(model))
    got, expected = compile_c(emitted)(x), onnxruntime_answers(model, x)
    label = next(name for name in emitted.texts)
    assert [emitted.texts[label][i] for i in got[0].ravel()] == expected[0].ravel().tolist()


def linear_mode(labels: list[int], coefficients: list[float], rho: float) -> Any:
    node = helper.make_node(
        "SVMClassifier", ["X"], ["label", "scores"], domain="ai.onnx.ml", classlabels_ints=labels,
        coefficients=coefficients, rho=[rho], kernel_type="LINEAR", post_transform="NONE",
        kernel_params=[0.0, 0.0, 0.0],
    )  # fmt: skip
    return model_of(node, {"label": (TensorProto.INT64, 1), "scores": (TensorProto.FLOAT, 2)})


def model_of(node: Any, outputs: dict[str, tuple[int, int]]) -> Any:
    ends = [helper.make_tensor_value_info(n, kind, [None] * rank) for n, (kind, rank) in outputs.items()]
    given = [helper.make_tensor_value_info("X", TensorProto.FLOAT, ["N", 3])]
    opsets = [helper.make_opsetid("", 17), helper.make_opsetid("ai.onnx.ml", 3)]
    return helper.make_model(helper.make_graph([node], "g", given, ends), opset_imports=opsets, ir_version=8)


@pytest.mark.parametrize("labels", [[5, 7], [1, 2, 9]])
@pytest.mark.parametrize("positive", [False, True])
def test_linear_mode(compile_c: Any, onnxruntime_answers: Any, labels: list[int], positive: bool) -> None:
    """Without support vectors: the rows of coefficients, one constant, and the rules for two classes."""
    rng = np.random.default_rng(1)
    coefficients = rng.normal(size=3 * len(labels))
    model = linear_mode(labels, (np.abs(coefficients) if positive else coefficients).tolist(), 0.25)
    rows = rng.normal(size=(200, 3)).astype(np.float32)
    got, expected = compile_c(emit(graph_of(model)))(rows), onnxruntime_answers(model, rows)
    alike(got[1], expected[1])
    assert (got[0] == expected[0]).all()


def regressor(**changes: Any) -> Any:
    given = {
        "coefficients": [0.5, -0.5], "support_vectors": [1.0] * 6, "n_supports": 2, "rho": [0.1],
        "kernel_type": "RBF", "kernel_params": [0.1, 0.0, 3.0], **changes,
    }  # fmt: skip
    return model_of(
        helper.make_node("SVMRegressor", ["X"], ["y"], domain="ai.onnx.ml", **given), {"y": (TensorProto.FLOAT, 2)}
    )


@pytest.mark.parametrize(
    ("changes", "says"),
    [
        ({"support_vectors": [1.0] * 5}, "support_vectors: expected 2 of 3 values"),
        ({"coefficients": [0.5]}, "coefficients: expected 2 numbers, found 1"),
        ({"n_supports": -2}, "n_supports"),
        ({"n_supports": 2**40}, "support_vectors"),
        ({"kernel_params": [0.1]}, "kernel_params"),
        ({"kernel_type": "COSINE"}, "kernel_type"),
    ],
)
def test_sizes_that_do_not_fit(changes: dict[str, Any], says: str) -> None:
    """Attributes that do not fit together are refused, with the node and the attribute."""
    with pytest.raises(ModelError, match="SVMRegressor") as caught:
        emit(graph_of(regressor(**changes)))
    assert says in str(caught.value)


def test_post_transforms_are_refused() -> None:
    """A post transform is refused by name, with the way out."""
    with pytest.raises(Unsupported, match=r"SVMRegressor.*post transform LOGISTIC.*onnxruntime"):
        emit(graph_of(regressor(post_transform="LOGISTIC")))
