"""The Report: what one counting process on a node saw in one time window, as cumulative counts.

A report is a state, not an event: a later one of the same key (node, boot, window, version, schema) says more of the same
window and replaces the earlier one, whatever the order in which they arrive. So sending twice, late or out of order changes
nothing. `newer` is that merge (idempotent, commutative, associative); `total` adds reports of different keys. All counts are
whole numbers.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import ClassVar

from edgeloop_contracts.codec import Contract, option
from edgeloop_contracts.reference import CONFIDENCE_BINS

__all__ = ["CONFIDENCE_UNIT", "LATENCY_EDGES_US", "Counts", "FeatureCounts", "Key", "Report", "newer", "total"]

LATENCY_EDGES_US = (
    50,
    100,
    200,
    400,
    800,
    1600,
    3200,
    6400,
    12800,
    25600,
    51200,
    102400,
)  # bin i: <= edge i; last: above
CONFIDENCE_UNIT = 1e-6  # confidence sums count millionths

Key = tuple[str, str, str, int, int, str]  # loop, node, boot, window start, version, schema hash


@dataclass(frozen=True, kw_only=True)
class FeatureCounts(Contract):
    """One feature's values in the reference's bins. `minimum` and `maximum` are None while no value was seen."""

    counts: tuple[int, ...] = option(minimum=0)
    sums: tuple[int, ...] = ()
    missing: int = option(0, minimum=0)
    out_of_range: int = option(0, minimum=0)
    minimum: float | None = None
    maximum: float | None = None


@dataclass(frozen=True, kw_only=True)
class Counts(Contract):
    """What is added up. `labelled` rows are those whose label came; `correct` those of them that were predicted right."""

    rows: int = option(0, doc="rows scored", minimum=0)
    refused: int = option(0, doc="requests answered with 4xx", minimum=0)
    failed: int = option(0, doc="requests answered with 5xx", minimum=0)
    features: Mapping[str, FeatureCounts] = option({})
    classes: tuple[int, ...] = option((), doc="rows predicted as each class", minimum=0)
    confidence: tuple[int, ...] = option(
        (), doc=f"rows in each of {CONFIDENCE_BINS} bins of the largest probability", minimum=0
    )
    confidence_sums: tuple[int, ...] = option(
        (), doc="sum of each bin's largest probabilities, in millionths", minimum=0
    )
    latency: tuple[int, ...] = option((), doc="rows in each bin of LATENCY_EDGES_US", minimum=0)
    labelled: int = option(0, minimum=0)
    correct: int = option(0, minimum=0)
    quality: Mapping[str, int] = option({}, doc="fault/feature: rows that showed it", minimum=0)


@dataclass(frozen=True, kw_only=True)
class Report(Contract):
    """Counts of one (node, boot, window, version, schema), with the sequence number of this state of them."""

    KIND: ClassVar[str] = "Report"

    loop: str
    node: str
    group: str
    boot: str = option(doc="id of the counting process: new at each start of a server; kept by an agent's spool")
    sequence: int = option(doc="rises with each change of this key's counts", minimum=1)
    version: int = option(doc="number of the model version that was counted", minimum=1)
    image: str = option("", doc="digest of the image that is loaded")
    schema_hash: str
    window_start_s: int
    window_end_s: int
    counts: Counts

    @property
    def key(self) -> Key:
        return (self.loop, self.node, self.boot, self.window_start_s, self.version, self.schema_hash)


@dataclass(frozen=True, kw_only=True)
class Loaded(Contract):
    """What one server on the node has loaded now, as it says itself."""

    loop: str
    version: int = option(minimum=1)
    image: str = ""
    boot: str = ""
    ready: bool = True


@dataclass(frozen=True, kw_only=True)
class Delivery(Contract):
    """One message of a node's agent: that it lives, what is loaded there, and reports not yet acknowledged."""

    KIND: ClassVar[str] = "Delivery"

    node: str
    group: str
    sent_s: float = 0.0
    loaded: tuple[Loaded, ...] = ()
    reports: tuple[Report, ...] = ()


@dataclass(frozen=True, kw_only=True)
class Acknowledged(Contract):
    """One report that is safely stored: its key on this node, and the sequence up to which it is."""

    loop: str
    boot: str
    window_start_s: int
    version: int
    schema_hash: str
    sequence: int


@dataclass(frozen=True, kw_only=True)
class Acknowledgement(Contract):
    """The fleet service's answer to a delivery; what it does not name is sent again."""

    KIND: ClassVar[str] = "Acknowledgement"

    node: str
    reports: tuple[Acknowledged, ...] = ()


def newer(a: Report, b: Report) -> Report:
    """The merge of two reports of one key: the one with the higher sequence. ValueError when the keys differ."""
    if a.key != b.key:
        raise ValueError(f"reports of different keys cannot replace each other: {a.key} and {b.key}")
    return a if a.sequence >= b.sequence else b


def _add(a: tuple[int, ...], b: tuple[int, ...]) -> tuple[int, ...]:
    if not a or not b:
        return a or b
    if len(a) != len(b):
        raise ValueError(f"counts of different bins cannot be added: {len(a)} and {len(b)}")
    return tuple(x + y for x, y in zip(a, b, strict=True))


def _least(values: Iterable[float | None]) -> float | None:
    return min((v for v in values if v is not None), default=None)


def _most(values: Iterable[float | None]) -> float | None:
    return max((v for v in values if v is not None), default=None)


def _add_feature(a: FeatureCounts, b: FeatureCounts) -> FeatureCounts:
    return FeatureCounts(
        counts=_add(a.counts, b.counts),
        sums=_add(a.sums, b.sums),
        missing=a.missing + b.missing,
        out_of_range=a.out_of_range + b.out_of_range,
        minimum=_least((a.minimum, b.minimum)),
        maximum=_most((a.maximum, b.maximum)),
    )


def _add_counts(a: Counts, b: Counts) -> Counts:
    features = dict(a.features)
    for name, counts in b.features.items():
        features[name] = _add_feature(features[name], counts) if name in features else counts
    return Counts(
        rows=a.rows + b.rows,
        refused=a.refused + b.refused,
        failed=a.failed + b.failed,
        features=features,
        classes=_add(a.classes, b.classes),
        confidence=_add(a.confidence, b.confidence),
        confidence_sums=_add(a.confidence_sums, b.confidence_sums),
        latency=_add(a.latency, b.latency),
        labelled=a.labelled + b.labelled,
        correct=a.correct + b.correct,
        quality={k: a.quality.get(k, 0) + b.quality.get(k, 0) for k in sorted({*a.quality, *b.quality})},
    )


def total(parts: Iterable[Counts]) -> Counts:
    """The sum of counts in the same bins; the order does not matter. ValueError when the bins differ."""
    result = Counts()
    for counts in parts:
        result = _add_counts(result, counts)
    return result
