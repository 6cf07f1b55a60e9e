"""The models of `make bench-fpga`: made-up machine-condition data, 12 features, 4 classes or 2, and three classifiers.

The data are drawn from a seed and serve for area, timing and agreement only; nothing about real machines follows from them.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Rows = npt.NDArray[np.float32]
    Labels = npt.NDArray[np.int64]

__all__ = ["HELD_OUT", "MODELS", "Made", "make"]

FEATURES, TRAINING, HELD_OUT = 12, 12_000, 4_000


@dataclass(frozen=True)
class Made:
    """An ONNX file with held-out rows [n, 12], their labels, and rows to take ranges from."""

    path: Path
    rows: Rows
    truth: Labels
    calibration: Rows


def _perceptron() -> Any:
    from sklearn.neural_network import MLPClassifier
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return make_pipeline(StandardScaler(), MLPClassifier((32, 16), max_iter=60, random_state=0))


def _boosting(rounds: int) -> Any:
    from sklearn.ensemble import GradientBoostingClassifier

    return GradientBoostingClassifier(n_estimators=rounds, max_depth=4, random_state=0)


MODELS: Mapping[str, tuple[int, Callable[[], Any]]] = MappingProxyType(
    {
        "perceptron": (4, _perceptron),  # 12-32-16-4
        "boosting": (4, lambda: _boosting(25)),  # 100 trees
        "boosting-binary": (2, lambda: _boosting(50)),
    }
)


def make(name: str, folder: Path, *, seed: int = 1) -> Made:
    """Trains the model and writes `<name>.onnx`; another seed gives another model of the same shape."""
    from skl2onnx import to_onnx
    from sklearn.datasets import make_classification

    classes, estimator = MODELS[name]
    values, labels = make_classification(
        TRAINING + HELD_OUT,
        FEATURES,
        n_informative=8,
        n_redundant=2,
        n_classes=classes,
        n_clusters_per_class=2,
        flip_y=0.03,
        class_sep=1.4,
        random_state=7,
    )
    rows = values.astype("float32")
    fitted = estimator()
    if seed != 1:
        fitted.set_params(**{key: seed for key in fitted.get_params() if key.split("__")[-1] == "random_state"})
    fitted.fit(rows[:TRAINING], labels[:TRAINING])
    path = folder / f"{name}.onnx"
    path.write_bytes(to_onnx(fitted, rows[:1], options={"zipmap": False}, target_opset=17).SerializeToString())
    return Made(path, rows[TRAINING:], labels[TRAINING:], rows[:TRAINING])
