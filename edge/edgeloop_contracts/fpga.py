"""What a model is on an FPGA: integers only, as the quantiser made them. The sidecar of a bitstream holds this document.

A row becomes codes (`edgeloop_contracts.fpga_model.codes_of`), the core makes integer scores of them, and the host makes
probabilities of the scores. Codes and scores are exact: hardware, simulation and the model in Python give the same ones.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import ClassVar, Literal

from edgeloop_contracts.codec import Contract, option

__all__ = ["DenseLayer", "FpgaDesign", "FpgaForest", "FpgaPerceptron", "FpgaTail", "FpgaTree"]


@dataclass(frozen=True, kw_only=True)
class DenseLayer(Contract):
    """sums = weights @ activations + biases, in units of the accumulator; exact.

    Of all layers but the last: activation = clip((sum + 2^(shift-1)) >> shift, 0, 2^bits - 1), which is a saturating ReLU
    rounded half up. Of the last layer the sums are the scores, and `shift` is 0.
    """

    weights: tuple[tuple[int, ...], ...] = option(doc="[outputs][inputs], signed, `bits` wide")
    biases: tuple[int, ...] = option(doc="[outputs]")
    shift: int = option(0, minimum=0)


@dataclass(frozen=True, kw_only=True)
class FpgaPerceptron(Contract):
    """Dense layers. The code of an input is clip(floor(x * factor + offset + 0.5), -2^(bits-1), 2^(bits-1) - 1)."""

    bits: int = option(doc="of inputs, weights and activations", minimum=2)
    factors: tuple[float, ...]
    offsets: tuple[float, ...]
    layers: tuple[DenseLayer, ...]


@dataclass(frozen=True, kw_only=True)
class FpgaTree(Contract):
    """One tree, nodes before their children, the root first. A leaf has feature -1; `values` of inner nodes are empty.

    An inner node goes left when the code of its feature is <= `edges` [node], or the value is missing and `missing_left`.
    """

    features: tuple[int, ...] = option(doc="[nodes]; -1: a leaf")
    edges: tuple[int, ...] = option(doc="[nodes]: place of the threshold among those of its feature")
    left: tuple[int, ...] = option(doc="[nodes]: place of the child")
    right: tuple[int, ...]
    missing_left: tuple[bool, ...]
    values: tuple[tuple[int, ...], ...] = option(doc="[nodes][outputs]")
    outputs: tuple[int, ...] = option(doc="the scores that the tree adds to")


@dataclass(frozen=True, kw_only=True)
class FpgaForest(Contract):
    """Trees over features that are binned by their own thresholds, so that comparisons are those of the float model.

    `thresholds` [features] are sorted float32 values. The code of x is how many of them are < x: x <= thresholds[k] exactly
    when the code is <= k. `edges` may be len(thresholds): true of all but missing values. A missing value has the code
    len(thresholds) + 1 where a tree of the design tells them apart, else that of what an imputer puts there, or of infinity.
    """

    thresholds: tuple[tuple[float, ...], ...]
    trees: tuple[FpgaTree, ...]
    base: tuple[int, ...] = option(doc="[scores], added once")


@dataclass(frozen=True, kw_only=True)
class FpgaTail(Contract):
    """What the host makes of scores: `transform` of score * 2^-fraction_bits, then the temperature of the calibration.

    probability = softmax(log(max(p, floor)) * power) over the classes, where `power` is 1/T; without `calibrated`, p itself.
    A design with one score and two classes has the probabilities (1 - p, p): p = logistic(score), or score + 1/2 under
    `identity`, so that the score's sign is the label in both cases.
    """

    transform: Literal["softmax", "logistic", "identity"] = "softmax"
    calibrated: bool = False
    power: float = 1.0
    floor: float = 0.0


@dataclass(frozen=True, kw_only=True)
class FpgaDesign(Contract):
    """A quantised model: exactly one of `perceptron` and `forest`. Its digest is baked into the core (operation ID)."""

    KIND: ClassVar[str] = "FpgaDesign"

    features: int = option(doc="inputs of a row", minimum=1)
    classes: int = option(doc="label = argmax of the scores, ties to the lower; with one score: score > 0", minimum=2)
    scores: int = option(doc="1 where two classes share one score, else `classes`", minimum=1)
    missing: tuple[int, ...] = option(doc="[features]: the code of a missing value (NaN)")
    code_bits: int = option(doc="of every feature on the link and in the core", minimum=1)
    score_bits: int = option(doc="signed; holds the largest sum that can occur", minimum=2)
    fraction_bits: int = option(doc="a score is raw * 2^-fraction_bits")
    tail: FpgaTail = option(FpgaTail())
    perceptron: FpgaPerceptron | None = None
    forest: FpgaForest | None = None
