"""Metrics of classification with bootstrap intervals. Pure numpy, no loop over resamples.

Every metric is made of sums over rows, so a resample of blocks is a product of two matrices: how often each block was
drawn, and each block's sums. Rows near in time are alike; so blocks are days (UTC), or, where there are fewer than ten,
twenty equal stretches of time; rows without times are dealt into blocks at random.

- accuracy; balanced_accuracy: mean of the recalls of the classes that occur;
- log_loss: mean of -ln of the true class's probability (at least 1e-7);
- brier: mean of squared differences over all classes, halved for two classes, as is usual;
- ece: expected calibration error of the largest probability in 15 equal bins.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeloop_contracts import Metric

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]
    Ints = npt.NDArray[np.int64]
    Bools = npt.NDArray[np.bool_]

__all__ = ["ECE_BINS", "HIGHER_IS_BETTER", "METRICS", "Answers", "answers_of", "blocks_of", "difference", "measured"]

METRICS = ("accuracy", "balanced_accuracy", "log_loss", "ece", "brier")
HIGHER_IS_BETTER = frozenset(("accuracy", "balanced_accuracy"))
ECE_BINS, RESAMPLES = 15, 500
DAY_S, LEAST_DAYS, STRETCHES, MOST_BLOCKS = 86_400, 10, 20, 1000
_SMALLEST = 1e-7

Sums = Mapping[str, "Floats"]  # name: [blocks or resamples, cells]


@dataclass(frozen=True)
class Answers:
    """What a model said to rows [n], reduced to what metrics need. `truth` numbers the labels that occur."""

    right: Bools
    truth: Ints
    true_probability: Floats
    square: Floats
    confidence: Floats

    def take(self, places: Bools | Ints) -> Answers:
        return Answers(
            self.right[places],
            self.truth[places],
            self.true_probability[places],
            self.square[places],
            self.confidence[places],
        )


def answers_of(
    labels: npt.NDArray[np.object_], predicted: Ints, probabilities: Floats, classes: Sequence[str]
) -> Answers:
    """Answers of a model with these classes to rows with label texts [n]; a label that is no class is never right."""
    import numpy as np

    codes = {name: code for code, name in enumerate(classes)}
    places = np.array([codes.get(label, -1) for label in labels], dtype=np.int64)
    known = places >= 0
    true_probability = np.where(known, probabilities[np.arange(len(labels)), places], 0.0)
    square = (probabilities**2).sum(axis=1) - 2 * true_probability + 1.0
    _, truth = np.unique(labels.astype(str), return_inverse=True)
    halved = square / 2 if len(classes) == 2 else square
    return Answers(known & (places == predicted), truth, true_probability, halved, probabilities.max(axis=1))


def blocks_of(times_s: Floats | None, rows: int, seed: int) -> Ints:
    """The block of each row, as numbers from 0 on without gaps."""
    import numpy as np

    if times_s is None:
        dealt = np.arange(rows) * min(rows, MOST_BLOCKS) // max(rows, 1)
        return np.random.default_rng(seed).permutation(dealt)
    days, block = np.unique(np.floor(times_s / DAY_S), return_inverse=True)
    if len(days) >= LEAST_DAYS:
        return block.astype(np.int64)
    place = np.argsort(np.argsort(times_s, kind="stable"), kind="stable")
    return (place * min(STRETCHES, rows) // rows).astype(np.int64)


def _sums(answers: Answers, block: Ints) -> dict[str, Floats]:
    """Sums of each block."""
    import numpy as np

    blocks = int(block.max()) + 1

    def by(cell: Ints, cells: int, weights: Floats | Bools | None = None) -> Floats:
        return np.bincount(block * cells + cell, weights, blocks * cells).reshape(blocks, cells).astype(np.float64)

    one = np.zeros_like(block)
    bins = np.minimum((answers.confidence * ECE_BINS).astype(np.int64), ECE_BINS - 1)
    classes = int(answers.truth.max()) + 1
    return {
        "rows": by(one, 1),
        "right": by(one, 1, answers.right),
        "loss": by(one, 1, -np.log(np.clip(answers.true_probability, _SMALLEST, 1.0))),
        "square": by(one, 1, answers.square),
        "class_rows": by(answers.truth, classes),
        "class_right": by(answers.truth, classes, answers.right),
        "bin_right": by(bins, ECE_BINS, answers.right),
        "bin_confidence": by(bins, ECE_BINS, answers.confidence),
    }


def _values(sums: Sums) -> dict[str, Floats]:
    """The metrics of each line of sums."""
    import numpy as np

    rows = sums["rows"][:, 0]
    occurs = sums["class_rows"] > 0
    recall = np.divide(sums["class_right"], sums["class_rows"], out=np.zeros_like(sums["class_rows"]), where=occurs)
    return {
        "accuracy": sums["right"][:, 0] / rows,
        "balanced_accuracy": recall.sum(axis=1) / occurs.sum(axis=1),
        "log_loss": sums["loss"][:, 0] / rows,
        "ece": np.abs(sums["bin_right"] - sums["bin_confidence"]).sum(axis=1) / rows,
        "brier": sums["square"][:, 0] / rows,
    }


def _draws(blocks: int, seed: int) -> Floats:
    """How often each block was drawn in each resample: [RESAMPLES, blocks]."""
    import numpy as np

    random = np.random.default_rng(seed)
    return random.multinomial(blocks, np.full(blocks, 1.0 / blocks), RESAMPLES).astype(np.float64)


def _whole_and_resampled(answers: Answers, block: Ints, seed: int) -> tuple[dict[str, Floats], dict[str, Floats]]:
    sums = _sums(answers, block)
    draws = _draws(len(sums["rows"]), seed)
    whole = _values({name: array.sum(axis=0, keepdims=True) for name, array in sums.items()})
    return whole, _values({name: draws @ array for name, array in sums.items()})


def measured(answers: Answers, block: Ints, seed: int, *, slice_: str = "") -> list[Metric]:
    """All metrics with 95 % intervals, in the order of METRICS. There must be a row."""
    whole, resampled = _whole_and_resampled(answers, block, seed)
    rows = len(answers.right)
    return [_metric(name, whole[name], resampled[name], rows, slice_) for name in METRICS]


def difference(name: str, challenger: Answers, champion: Answers, block: Ints, seed: int) -> Metric:
    """By how much the challenger is better than the champion on the same rows, with the interval of paired resamples."""
    sign = 1.0 if name in HIGHER_IS_BETTER else -1.0
    (new, new_drawn), (old, old_drawn) = (_whole_and_resampled(a, block, seed) for a in (challenger, champion))
    better, drawn = sign * (new[name] - old[name]), sign * (new_drawn[name] - old_drawn[name])
    return _metric(name, better, drawn, len(challenger.right), "")


def _metric(name: str, whole: Floats, resampled: Floats, rows: int, slice_: str) -> Metric:
    import numpy as np

    low, high = np.quantile(resampled, [0.025, 0.975]).tolist()
    return Metric(name=name, value=float(whole[0]), low=low, high=high, rows=rows, slice=slice_)
