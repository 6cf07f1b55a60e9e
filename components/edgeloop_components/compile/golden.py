"""Reads golden.json: the rows on which every form of a model must answer alike, and the answers of the reference."""

from __future__ import annotations

import json
import math
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_components.compile.tolerance import MOST
from edgeloop_components.runtimes import ModelError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Estimator", "Golden", "read_golden"]


@dataclass(frozen=True)
class Estimator:
    """What the estimator itself said in training, at float64: `probabilities` [k, classes] to the first k golden rows.

    `limit` is how far a compiled model may be from a row that calibration does not stretch.
    """

    probabilities: npt.NDArray[np.float64]
    limit: float


@dataclass(frozen=True)
class Golden:
    """`rows` float32 [n, features] (NaN: missing), `probabilities` float64 [n, classes], `labels` int64 [n].

    `estimator` is None for a model that came as an ONNX file, of which no estimator is known.
    """

    rows: npt.NDArray[np.float32]
    probabilities: npt.NDArray[np.float64]
    labels: npt.NDArray[np.int64]
    estimator: Estimator | None = None


def read_golden(path: Path) -> Golden:
    """Reads the file. ModelError when it is not what it should be."""
    try:
        document: Any = json.loads(path.read_bytes())
        return _golden(document)
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise ModelError(f"{path}: expected rows, probabilities and labels of equal length, got: {error}") from error


INFINITIES = {"inf": math.inf, "-inf": -math.inf}


def _number(value: Any) -> Any:
    if value is None:
        return math.nan
    return INFINITIES[value] if isinstance(value, str) else value


def _golden(document: Any) -> Golden:
    import numpy as np

    rows = np.array([[_number(v) for v in row] for row in document["rows"]], dtype=np.float32)
    probabilities = np.array(document["probabilities"], dtype=np.float64)
    labels = np.array(document["labels"], dtype=np.int64)
    if rows.ndim != 2 or probabilities.ndim != 2 or not len(rows) == len(probabilities) == len(labels) > 0:
        raise ValueError(f"shapes {rows.shape}, {probabilities.shape}, {labels.shape}")
    return Golden(rows, probabilities, labels, _estimator(document.get("estimator"), probabilities))


def _estimator(document: Any, probabilities: npt.NDArray[np.float64]) -> Estimator | None:
    import numpy as np

    if document is None:
        return None
    own, limit = np.array(document["probabilities"], dtype=np.float64), float(document["limit"])
    fits = own.ndim == 2 and own.shape[1:] == probabilities.shape[1:] and 0 < len(own) <= len(probabilities)
    if not fits or not 0 < limit <= MOST:
        raise ValueError(
            f"estimator: shape {own.shape} beside {probabilities.shape}, limit {limit:g} (at most {MOST:g})"
        )
    return Estimator(own, limit)
