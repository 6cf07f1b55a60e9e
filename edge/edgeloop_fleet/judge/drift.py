"""Have the inputs moved away from the training data? Used to explain and to rank; rarely a reason to act.

Per feature and block an e-value against "same distribution as the reference" on 8 merged bins (a Shiryaev-Roberts
e-detector, arXiv 2203.03532): reference r and block counts c are divided by the design effect f, a = r/f + 1/2,
n = sum(c), p = a / sum(a),

    log e = log( DM(c; n/2 p) / 2 + DM(c; 2n p) / 2 ) - log DM(c; a),    DM = Dirichlet-multinomial likelihood
    M <- min(e^min(log e, 50) (1 + M), 1e12),   M = 0 at the start;   a feature stands out while M >= A x features

so that the average number of blocks to a false alarm of any feature is at least A (a Bonferroni split in place of the
mean of M, because it names the feature). The design effect of the reference holds for its windows; a block of k windows is
granted k times that, as if its windows said the same thing: too careful, never too bold. The effect is W1 / std, for
categories the total variation distance. Drift is told when both hold, e and effect >= 0.1, in two blocks running.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from functools import lru_cache
from itertools import pairwise
from math import exp, lgamma, log

from edgeloop_contracts import Counts, FeatureCounts, FeatureReference, Reference

__all__ = ["LARGE", "Moved", "drifted", "effect", "log_e", "merged"]

BINS = 8
EFFECT = 0.1  # W1 / std from which a shift is worth telling
LARGE = 0.5  # from which it may ask for a run, where loop.yaml allows it


@dataclass(frozen=True, kw_only=True)
class Moved:
    """A feature that has drifted: by how much (W1 / std), and in which block it was found first."""

    feature: str
    effect: float
    since_s: int


def merged(counts: Sequence[int], like: Sequence[int], bins: int = BINS) -> tuple[int, ...]:
    """Adjacent bins summed to at most `bins`, cut where `like` (the reference's counts) holds about equal shares."""
    total, done, parts = max(sum(like), 1), 0, [0] * bins
    for n, weight in zip(counts, like, strict=True):
        parts[min(bins - 1, bins * (2 * done + weight) // (2 * total))] += n
        done += weight
    return tuple(parts)


def _log_dm(c: Sequence[float], a: Sequence[float]) -> float:
    whole, n = sum(a), sum(c)
    return lgamma(whole) - lgamma(whole + n) + sum(lgamma(x + k) - lgamma(x) for k, x in zip(c, a, strict=True))


@lru_cache(maxsize=65_536)
def log_e(counts: tuple[int, ...], reference: tuple[int, ...], inflation: float) -> float:
    """log of the e-value of one block against the reference, both in the same bins. ValueError for an empty block."""
    c = [v / inflation for v in counts]
    a = [v / inflation + 0.5 for v in reference]
    n, whole = sum(c), sum(a)
    if n <= 0:
        raise ValueError("log_e: expected a block with rows, got none")
    far = _log_dm(c, [0.5 * n * v / whole for v in a])
    near = _log_dm(c, [2.0 * n * v / whole for v in a])
    top = max(far, near)
    return top + log(exp(far - top) + exp(near - top)) - log(2.0) - _log_dm(c, a)


def effect(feature: FeatureReference, seen: FeatureCounts) -> float:
    """W1 / std between block and reference, each bin an atom at its mean; for categories the total variation distance."""
    whole, n = sum(feature.counts), sum(seen.counts)
    if not whole or not n:
        return 0.0
    if feature.kind == "category" or not seen.sums or not feature.sums:
        return sum(abs(r / whole - c / n) for r, c in zip(feature.counts, seen.counts, strict=True)) / 2
    atoms = [(s / r, r / whole, 0.0) for r, s in zip(feature.counts, feature.sums, strict=True) if r]
    atoms += [(s / c, 0.0, c / n) for c, s in zip(seen.counts, seen.sums, strict=True) if c]
    atoms.sort()
    f = g = area = 0.0
    for (x, p, q), following in pairwise(atoms):
        f, g = f + p, g + q
        area += abs(f - g) * (following[0] - x)
    return area * feature.quantum / max(feature.std, 1e-3)


def _inflation(feature: FeatureReference, reference: Reference, block_s: int) -> float:
    return feature.design_effect * max(1.0, block_s / reference.window_s)


def _path(
    feature: FeatureReference, blocks: Sequence[tuple[int, Counts]], inflation: float
) -> list[tuple[int, float, float]]:
    """(block start, M, effect) of each block in which the feature was seen."""
    m, path, like = 0.0, [], feature.counts
    reference = merged(like, like)
    for start_s, counts in blocks:
        seen = counts.features.get(feature.name)
        if seen is None or sum(seen.counts) == 0:
            continue
        m = min(exp(min(log_e(merged(seen.counts, like), reference, inflation), 50.0)) * (1.0 + m), 1e12)
        path.append((start_s, m, effect(feature, seen)))
    return path


def _moved(feature: FeatureReference, path: Sequence[tuple[int, float, float]], limit: float) -> Moved | None:
    far = [m >= limit and size >= EFFECT for _, m, size in path]
    if len(far) < 2 or not (far[-1] and far[-2]):
        return None
    first = len(far) - 1
    while first and far[first - 1]:
        first -= 1
    return Moved(feature=feature.name, effect=min(path[-1][2], path[-2][2]), since_s=path[first][0])


def drifted(
    blocks: Sequence[tuple[int, Counts]], reference: Reference, block_s: int, limit: float
) -> tuple[Moved, ...]:
    """The features that have moved, the furthest first, from the fleet's blocks (start, counts), oldest first.

    `limit` is the average run length in blocks.
    """
    found = []
    for feature in reference.features:
        path = _path(feature, blocks, _inflation(feature, reference, block_s))
        moved = _moved(feature, path, limit * len(reference.features))
        found += [moved] if moved else []
    return tuple(sorted(found, key=lambda moved: -moved.effect))
