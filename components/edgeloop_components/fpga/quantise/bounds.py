"""The widths that sums need in the worst case, whatever the codes are: proofs against overflow, never samples."""

from __future__ import annotations

from collections.abc import Sequence

from edgeloop_contracts.fpga import DenseLayer, FpgaForest, FpgaPerceptron

__all__ = ["forest_ranges", "sum_ranges", "width_of"]

Range = tuple[int, int]


def width_of(ranges: Sequence[Range]) -> int:
    """Bits of the two's complement number that holds all of them; 2 at least."""
    ends = [end for pair in ranges for end in pair]
    return max(2, *((-end - 1 if end < 0 else end).bit_length() + 1 for end in ends))


def sum_ranges(model: FpgaPerceptron) -> list[list[Range]]:
    """Least and largest sum of every output of every layer [layers][outputs]."""
    half = 1 << (model.bits - 1)
    inputs: Range = (-half, half - 1)
    found = []
    for layer in model.layers:
        found.append(_sums(layer, inputs))
        inputs = (0, (1 << model.bits) - 1)
    return found


def _sums(layer: DenseLayer, inputs: Range) -> list[Range]:
    low, high = inputs
    return [
        (
            bias + sum(min(weight * low, weight * high) for weight in row),
            bias + sum(max(weight * low, weight * high) for weight in row),
        )
        for row, bias in zip(layer.weights, layer.biases, strict=True)
    ]


def forest_ranges(forest: FpgaForest) -> list[Range]:
    """Least and largest value of every score [scores]: every tree at its worst leaf."""
    low, high = list(forest.base), list(forest.base)
    for tree in forest.trees:
        leaves = [values for values, feature in zip(tree.values, tree.features, strict=True) if feature < 0]
        for place, output in enumerate(tree.outputs):
            low[output] += min(values[place] for values in leaves)
            high[output] += max(values[place] for values in leaves)
    return list(zip(low, high, strict=True))
