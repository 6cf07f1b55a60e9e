"""Makes and fits what is to be trained: a scikit-learn classifier by its name, or what the user's own function gives.

A named estimator gets one Pipeline over a float32 matrix: numbers as they are where the estimator knows missing values,
else imputed (and scaled, but for trees); category codes one-hot, unknown and missing ones as zeros. So preprocessing is
part of the model, and of its ONNX graph.

Why every estimator but HistGradientBoosting gets an imputer: forests of scikit-learn take missing values, but their ONNX
form sends them another way without a word.

An entrypoint `module:function(features, labels, **params)` gets a DataFrame (numbers as float32, categories as codes, NaN
for missing) and a Series of label texts, and gives a fitted classifier that takes such a DataFrame.

Refuses a name that leads nowhere, what is no classifier, an unknown parameter, and what cannot say probabilities.
"""

from __future__ import annotations

import inspect
import warnings
from collections.abc import Sequence
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from edgeloop_components.ingest.named import NameProblem, nearest, thing_named
from edgeloop_components.train.problem import TrainError
from edgeloop_contracts import FeatureReference
from edgeloop_contracts.loop import Train

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Matrix = npt.NDArray[np.float32]
    Texts = npt.NDArray[np.object_]

__all__ = ["as_input", "fit_model", "needs_names", "one_thread"]

TREES = ("sklearn.ensemble.", "sklearn.tree.")  # thresholds do not care for scale, and scaling would round them
KNOWS_MISSING = "HistGradientBoostingClassifier"


def fit_model(train: Train, features: Sequence[FeatureReference], matrix: Matrix, labels: Texts) -> Any:
    """The fitted classifier for rows float32 [n, features] and label texts [n]. TrainError, NameProblem."""
    if train.entrypoint:
        return _from_entrypoint(train, features, matrix, labels)
    model = _pipeline(_named(train), features)
    with warnings.catch_warnings(), one_thread():
        warnings.filterwarnings("ignore", category=FutureWarning)
        try:
            return model.fit(matrix, labels.astype(str))
        except (ValueError, TypeError) as error:  # scikit-learn checks parameters at fit
            raise TrainError(f"train: {train.estimator} cannot be fitted: {str(error)[:500]}") from error


def one_thread() -> AbstractContextManager[Any]:
    """Keeps native thread pools at one thread: sums then come out alike on every machine, and a busy machine does not stall.

    OpenMP threads that wait for one that has no core can cost twenty times the work itself.
    """
    from threadpoolctl import threadpool_limits  # type: ignore[import-untyped]

    limits: AbstractContextManager[Any] = threadpool_limits(limits=1)
    return limits


def _named(train: Train) -> Any:
    """The estimator of the loop, not fitted."""
    from sklearn.base import is_classifier

    try:
        cls = thing_named(train.estimator, "train.estimator", separator=".")
    except NameProblem as problem:
        raise TrainError(str(problem)) from problem
    if not (inspect.isclass(cls) and hasattr(cls, "fit") and hasattr(cls, "get_params")):
        raise TrainError(
            f"train.estimator: expected a scikit-learn classifier, got {train.estimator} ({type(cls).__name__})"
        )
    estimator = _constructed(cls, train)
    if not is_classifier(estimator):
        raise TrainError(
            f"train.estimator: expected a classifier, got {train.estimator}; edgeloop predicts classes only, for now"
        )
    if not hasattr(estimator, "predict_proba"):
        raise TrainError(
            f"train.estimator: expected a classifier with predict_proba, got {train.estimator} with these parameters; "
            "sklearn.calibration.CalibratedClassifierCV around it gives one, in an entrypoint of your own"
        )
    return estimator


def _constructed(cls: Any, train: Train) -> Any:
    known = set(inspect.signature(cls).parameters)
    unknown = [name for name in train.params if name not in known]
    if unknown:
        listed = ", ".join(f"{name!r} ({nearest(name, known)})" for name in unknown)
        raise TrainError(f"train.params: {train.estimator} has no parameter {listed}")
    seed = {"random_state": train.seed} if "random_state" in known and "random_state" not in train.params else {}
    try:
        return cls(**{**train.params, **seed})
    except TypeError as error:
        raise TrainError(f"train.params: {train.estimator}: {error}") from error


def _pipeline(estimator: Any, features: Sequence[FeatureReference]) -> Any:
    from sklearn.pipeline import Pipeline

    steps = _preprocessing(estimator, features)
    return Pipeline([*([("prepare", steps)] if steps is not None else []), ("estimator", estimator)])


def _preprocessing(estimator: Any, features: Sequence[FeatureReference]) -> Any:
    """A ColumnTransformer, or None where the matrix can go in as it is."""
    from sklearn.compose import ColumnTransformer

    numbers = [i for i, feature in enumerate(features) if feature.kind == "number"]
    blocks = [("numbers", _for_numbers(estimator), numbers)] if numbers else []
    blocks += [(f"codes{i}", _for_codes(f), [i]) for i, f in enumerate(features) if f.kind == "category"]
    if blocks == [("numbers", "passthrough", numbers)]:
        return None
    return ColumnTransformer(blocks, sparse_threshold=0.0)


def _for_numbers(estimator: Any) -> Any:
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import StandardScaler

    if type(estimator).__name__ == KNOWS_MISSING:
        return "passthrough"
    imputer = SimpleImputer(strategy="median", keep_empty_features=True)
    if type(estimator).__module__.startswith(TREES):
        return imputer
    return Pipeline([("impute", imputer), ("scale", StandardScaler())])


def _for_codes(feature: FeatureReference) -> Any:
    """Missing becomes -1, the code of the unknown; both give zeros."""
    import numpy as np
    from sklearn.impute import SimpleImputer
    from sklearn.pipeline import Pipeline
    from sklearn.preprocessing import OneHotEncoder

    known = [np.arange(len(feature.categories), dtype=np.float32)]
    return Pipeline(
        [
            ("missing", SimpleImputer(strategy="constant", fill_value=-1.0, keep_empty_features=True)),
            ("one_hot", OneHotEncoder(categories=known, handle_unknown="ignore", sparse_output=False)),
        ]
    )


def _from_entrypoint(train: Train, features: Sequence[FeatureReference], matrix: Matrix, labels: Texts) -> Any:
    import pandas as pd
    from sklearn.exceptions import NotFittedError
    from sklearn.utils.validation import check_is_fitted

    try:
        function = thing_named(train.entrypoint, "train.entrypoint")
    except NameProblem as problem:
        raise TrainError(str(problem)) from problem
    names = [feature.name for feature in features]
    frame, series = pd.DataFrame(matrix, columns=names), pd.Series(labels.astype(str), name="label")
    with one_thread():
        model = function(frame, series, **train.params)
    if not hasattr(model, "predict_proba"):
        kind = type(model).__name__
        raise TrainError(
            f"train.entrypoint: expected {train.entrypoint} to give a classifier with predict_proba, got {kind}"
        )
    try:
        check_is_fitted(model)
    except (NotFittedError, TypeError) as error:
        raise TrainError(
            f"train.entrypoint: expected {train.entrypoint} to give a fitted estimator: {error}"
        ) from error
    return model


def as_input(model: Any, features: Sequence[FeatureReference], matrix: Matrix) -> Any:
    """The matrix as the model wants it: a DataFrame if it was fitted on one."""
    if not hasattr(model, "feature_names_in_"):
        return matrix
    import pandas as pd

    return pd.DataFrame(matrix, columns=[feature.name for feature in features])


def needs_names(model: Any) -> bool:
    """Whether some ColumnTransformer in the model chooses its columns by name: its graph then needs an input a column."""
    parts = _parts(model)
    if any(_by_name(columns) for _, _, columns in getattr(model, "transformers", ())):
        return True
    return any(needs_names(part) for part in parts)


def _by_name(columns: Any) -> bool:
    if isinstance(columns, str):
        return True
    return not callable(columns) and not isinstance(columns, slice) and any(isinstance(c, str) for c in columns)


def _parts(model: Any) -> list[Any]:
    steps = getattr(model, "steps", None) or getattr(model, "transformer_list", None) or []
    return [step for _, step in steps]
