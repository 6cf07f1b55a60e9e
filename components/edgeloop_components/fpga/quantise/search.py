"""Looks for the smallest widths with which a design agrees with the float model well enough; keeps all that was tried.

Pure: the float model's labels are given. What is measured is said with the number of rows; nothing is taken for granted, such
as that more bits agree more.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeloop_components.fpga.quantise import vector
from edgeloop_components.fpga.quantise.design import Widths, made
from edgeloop_components.fpga.quantise.model import Dense
from edgeloop_components.fpga.quantise.reading import shares_of
from edgeloop_components.onnxgraph import Graph, Unsupported
from edgeloop_components.runtimes import ModelError
from edgeloop_contracts.fpga import FpgaDesign

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Rows = npt.NDArray[np.float32]
    Labels = npt.NDArray[np.int64]

__all__ = ["DENSE_BITS", "LEAF_BITS", "Evidence", "Floors", "Found", "Tried", "search"]

DENSE_BITS = tuple(range(4, 17))
LEAF_BITS = tuple(range(3, 17))


@dataclass(frozen=True)
class Evidence:
    """Rows [n, features] to judge on, the float model's labels [n] for them, and the true ones, where they are known.

    `truth` may hold -1 for rows whose label is not known. `calibration` are other rows to take ranges from; None: the same.
    """

    rows: Rows
    labels: Labels
    truth: Labels | None = None
    calibration: Rows | None = None

    def __post_init__(self) -> None:
        if not len(self.rows) or len(self.rows) != len(self.labels):
            raise ValueError(
                f"evidence: expected rows with a label each, found {len(self.rows)} and {len(self.labels)}"
            )
        if self.truth is not None and len(self.truth) != len(self.rows):
            raise ValueError(f"evidence: expected {len(self.rows)} true labels, found {len(self.truth)}")


@dataclass(frozen=True)
class Floors:
    """What a design must keep: share of rows with the float model's label, and at most so much accuracy lost."""

    agreement: float = 0.99
    accuracy_loss: float = 0.005


@dataclass(frozen=True)
class Tried:
    """One width. Sizes: multipliers' width and number of weights of dense layers; distinct comparisons and leaves of trees.

    `problem` says why there is no design with it; then the figures are 0.
    """

    bits: int
    rows: int
    agreement: float = 0.0
    accuracy_loss: float | None = None  # None: true labels are not known
    code_bits: int = 0
    score_bits: int = 0
    weights: int = 0
    comparisons: int = 0
    leaves: int = 0
    kept: bool = False  # whether it holds the floors
    problem: str = ""

    def __str__(self) -> str:
        """A line of progress."""
        return f"{self.bits} bits: " + (self.problem or f"agreement {self.agreement:.4f} on {self.rows:,} rows")


@dataclass(frozen=True)
class Found:
    """The smallest design that holds the floors, and what was tried, in order."""

    design: FpgaDesign
    widths: Widths
    tried: tuple[Tried, ...]


def search(
    graph: Graph,
    evidence: Evidence,
    floors: Floors = Floors(),
    *,
    bits: Iterable[int] | None = None,
    progress: Callable[[Tried], None] = lambda _: None,
) -> Found:
    """Tries widths, the smallest first, until one holds the floors. ModelError with the table where none does; Unsupported."""
    shares = shares_of(graph)
    features = (graph.input.shape or (None, 0))[1] or 0
    rows = evidence.rows if evidence.calibration is None else evidence.calibration
    tried: list[Tried] = []
    for width in sorted(bits) if bits is not None else DENSE_BITS if isinstance(shares.core, Dense) else LEAF_BITS:
        try:
            design = made(shares, features, rows, Widths(width))
        except ModelError as error:
            if isinstance(error, Unsupported):
                raise
            tried.append(Tried(width, len(evidence.rows), problem=str(error)))
        else:
            tried.append(_measured(design, width, evidence, floors))
        progress(tried[-1])
        if tried[-1].kept:
            return Found(design, Widths(width), tuple(tried))
    raise ModelError(_none_holds(tried, floors))


def _measured(design: FpgaDesign, bits: int, evidence: Evidence, floors: Floors) -> Tried:
    labels = vector.labels(design, vector.scores(design, vector.codes(design, evidence.rows)))
    agreement = float((labels == evidence.labels).mean())
    loss = _loss(labels, evidence)
    forest, dense = design.forest, design.perceptron
    return Tried(
        bits=bits,
        rows=len(labels),
        agreement=agreement,
        accuracy_loss=loss,
        code_bits=design.code_bits,
        score_bits=design.score_bits,
        weights=sum(len(layer.weights) * len(layer.weights[0]) for layer in dense.layers) if dense else 0,
        comparisons=sum(map(len, forest.thresholds)) if forest else 0,
        leaves=sum(tree.features.count(-1) for tree in forest.trees) if forest else 0,
        kept=agreement >= floors.agreement and (loss is None or loss <= floors.accuracy_loss),
    )


def _loss(labels: Labels, evidence: Evidence) -> float | None:
    """Accuracy of the float model less that of the design; below 0 where the design is better."""
    if evidence.truth is None or not (known := evidence.truth >= 0).any():
        return None
    truth = evidence.truth[known]
    return float((evidence.labels[known] == truth).mean() - (labels[known] == truth).mean())


def _none_holds(tried: list[Tried], floors: Floors) -> str:
    best = max(tried, key=lambda one: one.agreement, default=None)
    if best is None:
        return "widths: expected at least one to try, found none"
    shown = f"{best.agreement:.4f} with {best.bits} bits ({best.rows} rows)" if not best.problem else best.problem
    wanted = f"an agreement >= {floors.agreement:g} and at most {floors.accuracy_loss:g} accuracy lost"
    return f"widths {tried[0].bits} to {tried[-1].bits}: expected {wanted}, found at best {shown}"
