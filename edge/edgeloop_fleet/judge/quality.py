"""Is the data of a node broken? Looks at one node and one block at a time; finds faults, never asks for a run.

A fault is gross, so that a season is none:
- `missing`: the share of rows without the value is 0.2 or more above the training data's;
- `impossible`: 0.1 of the rows or more lie beyond the training range on one side, and on average by more than that whole range
  (a thermometer at -273 degrees; not a summer after a winter's training data);
- `stuck`: one and the same value in a whole block (at least 20 rows), which is no frequent value of the training data;
- `unknown`: the share of categories that training never saw is 0.2 or more above the training data's.
"""

from __future__ import annotations

from edgeloop_contracts import Counts, FeatureCounts, FeatureReference, Reference
from edgeloop_fleet.judge.blocks import Fault

__all__ = ["faults_in"]

MORE_MISSING = 0.2
FAR_OUT = 0.1
LEAST_ROWS = 20
ATOM = 0.01  # a value which fills a bin of this share of the training rows by itself is a frequent value


def _share(part: float, whole: float) -> float:
    return part / whole if whole else 0.0


def _missing(feature: FeatureReference, seen: FeatureCounts) -> float:
    share = _share(seen.missing, seen.missing + sum(seen.counts))
    usual = _share(feature.missing, feature.missing + sum(feature.counts))
    return share if share >= usual + MORE_MISSING else 0.0


def _unknown(feature: FeatureReference, seen: FeatureCounts) -> float:
    if feature.kind != "category" or not seen.counts or not feature.counts:
        return 0.0
    share = _share(seen.counts[-1], sum(seen.counts))
    return share if share >= _share(feature.counts[-1], sum(feature.counts)) + MORE_MISSING else 0.0


def _impossible(feature: FeatureReference, seen: FeatureCounts) -> float:
    width, rows = feature.maximum - feature.minimum, sum(seen.counts)
    if feature.kind != "number" or width <= 0 or not seen.sums or not seen.out_of_range:
        return 0.0
    ends = ((0, feature.minimum - width, -1.0), (-1, feature.maximum + width, 1.0))
    shares = [0.0]
    for i, limit, side in ends:
        n = seen.counts[i]
        if n and (seen.sums[i] * feature.quantum / n - limit) * side > 0:
            shares.append(_share(n, rows))
    return max(shares) if max(shares) >= FAR_OUT else 0.0


def _is_frequent(feature: FeatureReference, value: float) -> bool:
    """Whether a bin of the training data holds this value and nothing else."""
    if not feature.sums:
        return False
    total = sum(feature.counts)
    return any(
        n >= ATOM * total and abs(s * feature.quantum / n - value) <= 2 * feature.quantum
        for n, s in zip(feature.counts, feature.sums, strict=True)
        if n
    )


def _stuck(feature: FeatureReference, seen: FeatureCounts) -> float:
    varies = feature.kind != "number" or feature.std <= 0 or seen.minimum is None or seen.minimum != seen.maximum
    if varies or sum(seen.counts) < LEAST_ROWS or seen.minimum is None:
        return 0.0
    return 0.0 if _is_frequent(feature, seen.minimum) else 1.0


_RULES = (("missing", _missing), ("impossible", _impossible), ("stuck", _stuck), ("unknown", _unknown))


def faults_in(counts: Counts, reference: Reference) -> tuple[Fault, ...]:
    """The faults in what one node counted in one block; none when it scored fewer than 20 rows."""
    if counts.rows < LEAST_ROWS:
        return ()
    found = []
    for feature in reference.features:
        seen = counts.features.get(feature.name)
        shares = ((kind, rule(feature, seen)) for kind, rule in _RULES) if seen else ()
        found += [Fault(kind=kind, feature=feature.name, share=share) for kind, share in shares if share > 0]
    return tuple(found)
