"""Small ready designs for tests: an MLP 4-6-3, boosted trees with one score, a forest and boosted trees of three classes.

They are drawn from a seed, so that a test may ask for another one. Score widths are those of the worst case.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Sequence

from edgeloop_contracts.fpga import DenseLayer, FpgaDesign, FpgaForest, FpgaPerceptron, FpgaTail, FpgaTree

FEATURES = 4


def perceptron(seed: int = 5, bits: int = 8, sizes: Sequence[int] = (FEATURES, 6, 3)) -> FpgaDesign:
    """An MLP; inputs from -4 to 4 fill the codes."""
    rng = random.Random(seed)
    half = 1 << (bits - 1)
    layers = tuple(
        DenseLayer(
            weights=tuple(tuple(rng.randrange(-half, half) for _ in range(n)) for _ in range(m)),
            biases=tuple(rng.randrange(-half * 8, half * 8) for _ in range(m)),
            shift=0 if place == len(sizes) - 2 else bits - 1,
        )
        for place, (n, m) in enumerate(itertools.pairwise(sizes))
    )
    most = (1 << bits) - 1 if len(layers) > 1 else half
    reach = max(
        sum(map(abs, row)) * most + abs(bias) for row, bias in zip(layers[-1].weights, layers[-1].biases, strict=True)
    )
    return FpgaDesign(
        features=sizes[0], classes=sizes[-1], scores=sizes[-1], code_bits=bits, score_bits=reach.bit_length() + 1,
        fraction_bits=2 * bits - 4, missing=(0,) * sizes[0],
        perceptron=FpgaPerceptron(
            bits=bits, factors=(half / 4,) * sizes[0], offsets=(0.0, 3.5, -2.0, 0.25, *[0.0] * sizes[0])[: sizes[0]],
            layers=layers,
        ),
    )  # fmt: skip


def boosting(seed: int = 2, trees: int = 10, depth: int = 3, edges: int = 15) -> FpgaDesign:
    """Two classes, one score; features 0 and 2 tell missing values apart."""
    return _forest(seed, [(0,)] * trees, depth, edges, classes=2, scores=1, missing=(0, 2), leaf_bits=10)


def forest(seed: int = 3, trees: int = 6, depth: int = 4, edges: int = 15) -> FpgaDesign:
    """Three classes; every tree adds to every score, and no value is missing."""
    return _forest(seed, [(0, 1, 2)] * trees, depth, edges, classes=3, scores=3, missing=(), leaf_bits=8)


def boosting3(seed: int = 4, rounds: int = 4, depth: int = 3, edges: int = 15) -> FpgaDesign:
    """Three classes; every tree adds to one score."""
    outputs = [(k,) for _ in range(rounds) for k in range(3)]
    return _forest(seed, outputs, depth, edges, classes=3, scores=3, missing=(1,), leaf_bits=10)


SAMPLES: dict[str, Callable[[], FpgaDesign]] = {
    "perceptron": perceptron,
    "boosting": boosting,
    "forest": forest,
    "boosting3": boosting3,
}


def rows(design: FpgaDesign, count: int, seed: int = 9) -> list[list[float]]:
    """Random rows; where the design tells missing values apart, one in ten is NaN. Some are infinite or at a threshold."""
    rng = random.Random(seed)
    special = [float("inf"), float("-inf"), 0.0, *(t for ts in _thresholds(design) for t in ts)]

    def value(place: int) -> float:
        if rng.random() < 0.1 and design.forest and design.missing[place] > len(design.forest.thresholds[place]):
            return float("nan")
        return rng.choice(special) if rng.random() < 0.1 else rng.uniform(-4.5, 4.5)

    return [[value(place) for place in range(design.features)] for _ in range(count)]


def _thresholds(design: FpgaDesign) -> Sequence[Sequence[float]]:
    return design.forest.thresholds if design.forest else ()


def _forest(
    seed: int, outputs: Sequence[tuple[int, ...]], depth: int, edges: int, *, classes: int, scores: int,
    missing: Sequence[int], leaf_bits: int,
) -> FpgaDesign:  # fmt: skip
    rng = random.Random(seed)
    thresholds = tuple(tuple(sorted(rng.sample([k / 8 for k in range(-32, 33)], edges))) for _ in range(FEATURES))
    trees = tuple(_tree(rng, depth, edges, out, missing, leaf_bits) for out in outputs)
    base = tuple(rng.randrange(-20, 20) for _ in range(scores))
    reach = [abs(one) for one in base]
    for tree in trees:
        for place, output in enumerate(tree.outputs):
            reach[output] += max(abs(values[place]) for values in tree.values if values)
    most = max(edges + 1 if feature in missing else edges for feature in range(FEATURES))
    return FpgaDesign(
        features=FEATURES, classes=classes, scores=scores, code_bits=most.bit_length(),
        score_bits=max(reach).bit_length() + 1, fraction_bits=leaf_bits - 2,
        missing=tuple(edges + 1 if feature in missing else edges for feature in range(FEATURES)),
        tail=FpgaTail(transform="logistic" if scores == 1 else "softmax", calibrated=True, power=0.8, floor=1e-7),
        forest=FpgaForest(thresholds=thresholds, trees=trees, base=base),
    )  # fmt: skip


def _tree(
    rng: random.Random, depth: int, edges: int, outputs: tuple[int, ...], missing: Sequence[int], leaf_bits: int
) -> FpgaTree:
    """A tree that is full at the root, and thinner below."""
    features: list[int] = []
    rows_of: list[list[int]] = []  # edge, left, right, missing left
    values: list[tuple[int, ...]] = []

    def grow(level: int) -> int:
        place = len(features)
        inner = level < depth and (level < 2 or rng.random() < 0.8)
        feature = rng.randrange(FEATURES) if inner else -1
        features.append(feature)
        rows_of.append([rng.randrange(edges) if inner else 0, 0, 0, int(feature in missing and rng.random() < 0.5)])
        half = 1 << (leaf_bits - 1)
        values.append(() if inner else tuple(rng.randrange(-half, half) for _ in outputs))
        if inner:
            rows_of[place][1], rows_of[place][2] = grow(level + 1), grow(level + 1)
        return place

    grow(0)
    edge, left, right, missing_left = zip(*rows_of, strict=True)
    return FpgaTree(
        features=tuple(features), edges=edge, left=left, right=right, missing_left=tuple(map(bool, missing_left)),
        values=tuple(values), outputs=outputs,
    )  # fmt: skip
