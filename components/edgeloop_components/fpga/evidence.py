"""Rows to judge a quantised model on, for a model folder that holds no data: drawn from the bins of its reference.

Each feature is drawn by itself: a bin as often as training rows lay in it, and a place in that bin evenly; missing as often as
in training. How features go together is lost by that, so that rows lie farther out than real ones do. The labels are those of
the reference runtime; rows that it has no sound answer to, such as missing values in a linear model, are left out.
"""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_components.fpga.quantise import Evidence
from edgeloop_components.runtimes import ModelError, onnxruntime
from edgeloop_contracts import ContractError, FeatureReference, Reference, loads

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Rows = npt.NDArray[np.float32]

__all__ = ["ROWS", "drawn", "drawn_rows"]

ROWS = 4000


def drawn(model_dir: Path, count: int = ROWS) -> Evidence:
    """At most `count` rows drawn for the folder's model, the same at every call, with the reference's labels. ModelError."""
    import numpy as np

    path = model_dir / "reference.json"
    try:
        reference = loads(Reference, path.read_bytes())
    except (OSError, ContractError) as error:
        raise ModelError(f"{path}: {error}") from error
    content = (model_dir / "model.onnx").read_bytes()
    rows = drawn_rows(reference, count, int.from_bytes(hashlib.sha256(content).digest()[:8], "little"))
    labels, probabilities = onnxruntime.load(model_dir)(rows)
    sound = np.isfinite(probabilities).all(axis=1)
    if not sound.any():
        raise ModelError(f"{path}: expected rows that the model has an answer to, found none of {count}")
    return Evidence(rows[sound], labels[sound])


def drawn_rows(reference: Reference, count: int, seed: int) -> Rows:
    """float32 [count, features]; NaN: missing."""
    import numpy as np

    rng = np.random.default_rng(seed)
    columns = [_column(feature, reference.rows, count, rng) for feature in reference.features]
    return np.stack(columns, axis=1).astype(np.float32)


def _column(feature: FeatureReference, rows: int, count: int, rng: np.random.Generator) -> npt.NDArray[np.float64]:
    import numpy as np

    weights = np.array(feature.counts or [1] * feature.bins, dtype=np.float64)
    weights = weights if weights.sum() > 0 else np.ones(feature.bins)
    places = rng.choice(len(weights), size=count, p=weights / weights.sum())
    if feature.kind == "category":
        values = np.where(places < len(feature.categories), places, -1).astype(np.float64)
    else:
        ends = np.array([feature.minimum, *feature.edges, feature.maximum])
        low, high = ends[places], np.maximum(ends[places], ends[places + 1])
        values = low + (high - low) * rng.random(count)
    values[rng.random(count) < feature.missing / max(rows, 1)] = np.nan
    return values
