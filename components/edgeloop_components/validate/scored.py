"""Scores the rows of a snapshot with a model folder (model.onnx, reference.json), in that model's own codes."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_components.ingest.rows import Rows, encode
from edgeloop_components.runtimes.onnxruntime import load
from edgeloop_components.validate.metrics import Answers, answers_of
from edgeloop_contracts import Reference, loads

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Scored", "score_rows"]


@dataclass(frozen=True)
class Scored:
    """A model's answers to rows: predicted class codes [n], probabilities [n, classes], and what metrics need of them."""

    classes: tuple[str, ...]
    predicted: npt.NDArray[np.int64]
    probabilities: npt.NDArray[np.float64]
    answers: Answers


def score_rows(folder: Path, rows: Rows, places: npt.NDArray[np.int64], labels: npt.NDArray[np.object_]) -> Scored:
    """The model in `folder` on the rows at `places`, with their label texts. DataError when a feature is not there."""
    import numpy as np

    reference = loads(Reference, (folder / "reference.json").read_bytes())
    matrix = encode(rows, reference.features)[places].astype(np.float32)
    predicted, probabilities = load(folder)(matrix)
    exact = probabilities.astype(np.float64)
    return Scored(reference.classes, predicted, exact, answers_of(labels, predicted, exact, reference.classes))
