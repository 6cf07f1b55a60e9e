"""The Reference: what the training data looked like, reduced to what nodes can count against.

Per numeric feature there are at most 35 edges: the distinct values of the training quantiles at 0.001, 0.005, k/32 and
0.995, 0.999. Bin i holds `edges[i-1] < x <= edges[i]`. Counts and sums are whole numbers, so that merging is exact in any
order: a sum counts multiples of the feature's `quantum`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

from edgeloop_contracts.codec import Contract, digest_of, option

__all__ = [
    "CONFIDENCE_BINS",
    "CalibrationMap",
    "FeatureReference",
    "Reference",
    "bin_of",
    "calibrated",
    "schema_hash_of",
]

CONFIDENCE_BINS = 20  # equal widths on [0, 1]; bin i holds i/20 < p <= (i+1)/20, p = 0 in bin 0


@dataclass(frozen=True, kw_only=True)
class FeatureReference(Contract):
    """One feature. A category feature has a bin for each category and a last one for everything else."""

    name: str
    kind: Literal["number", "category"]
    edges: tuple[float, ...] = ()
    categories: tuple[str, ...] = ()
    counts: tuple[int, ...] = option((), doc="training rows in each bin")
    sums: tuple[int, ...] = option((), doc="sum of each bin's values, in quanta; empty for categories")
    quantum: float = option(1.0, doc="unit of the sums: a power of two near std / 2**20", minimum=0)
    minimum: float = 0.0
    maximum: float = 0.0
    std: float = option(0.0, minimum=0)
    missing: int = option(0, minimum=0)
    design_effect: float = option(1.0, doc="variance inflation of window means; >= 1", minimum=1)

    @property
    def bins(self) -> int:
        return len(self.categories) + 1 if self.kind == "category" else len(self.edges) + 1


@dataclass(frozen=True, kw_only=True)
class CalibrationMap(Contract):
    """Isotonic map from a row's largest probability to the chance that the prediction is right.

    `x` rises, `y` does not fall; values between are interpolated, values outside take the end's. Fitted on rows that were
    not used for training.
    """

    x: tuple[float, ...]
    y: tuple[float, ...]
    rows: int = option(0, minimum=0)


@dataclass(frozen=True, kw_only=True)
class Reference(Contract):
    """The reference of one version. `schema_hash` names the bins; counts of other bins must never be merged with them."""

    KIND: ClassVar[str] = "Reference"

    loop: str
    schema_hash: str
    rows: int = option(minimum=0)
    features: tuple[FeatureReference, ...]
    classes: tuple[str, ...]
    class_counts: tuple[int, ...] = option((), doc="how often the model predicted each class on the held-out rows")
    confidence_counts: tuple[int, ...] = option(
        (), doc=f"held-out rows in each of {CONFIDENCE_BINS} bins of confidence"
    )
    calibration: CalibrationMap
    accuracy: float = option(0.0, doc="on the held-out rows", minimum=0, maximum=1)
    accuracy_rows: int = option(0, minimum=0)
    error_design_effect: float = option(1.0, doc="variance inflation of daily error rates", minimum=1)
    window_s: int = option(3600, doc="length of the windows that the design effects hold for", minimum=1)


def schema_hash_of(features: Sequence[FeatureReference], classes: Sequence[str]) -> str:
    """16 hex digits that name what is counted: features, their bins and quanta, and the classes."""
    shape: list[Mapping[str, Any]] = [
        {"name": f.name, "kind": f.kind, "edges": f.edges, "categories": f.categories, "quantum": f.quantum}
        for f in features
    ]
    return digest_of({"features": shape, "classes": list(classes)})[7:23]


def bin_of(confidence: float) -> int:
    """The confidence bin of a probability in [0, 1]."""
    scaled = confidence * CONFIDENCE_BINS
    whole = int(scaled)
    return max(0, min(CONFIDENCE_BINS - 1, whole - 1 if scaled == whole else whole))


def calibrated(calibration: CalibrationMap, confidence: float) -> float:
    """The chance that a prediction with this largest probability is right."""
    x, y = calibration.x, calibration.y
    if confidence <= x[0]:
        return y[0]
    for left, right, low, high in zip(x, x[1:], y, y[1:], strict=False):
        if confidence <= right:
            return low + (high - low) * (confidence - left) / (right - left) if right > left else high
    return y[-1]
