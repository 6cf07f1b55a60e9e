"""From a graph to a design with given widths."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from edgeloop_components.fpga.quantise.dense import dense_design
from edgeloop_components.fpga.quantise.forest import forest_design
from edgeloop_components.fpga.quantise.model import Dense, Shares
from edgeloop_components.fpga.quantise.reading import WAY_OUT, shares_of
from edgeloop_components.onnxgraph import Graph, Unsupported
from edgeloop_contracts.fpga import FpgaDesign

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Rows = npt.NDArray[np.float32]

__all__ = ["Widths", "made", "quantised"]

LEAST, MOST = 2, 16  # bits
MOST_CLASSES = 255  # a label is one byte of a frame


@dataclass(frozen=True)
class Widths:
    """Bits of a design: of inputs, weights and activations of dense layers; of the leaves of trees.

    Trees have no width of inputs to choose: codes are as wide as the number of a feature's thresholds wants it.
    """

    bits: int = 8

    def __post_init__(self) -> None:
        if not LEAST <= self.bits <= MOST:
            raise ValueError(f"widths.bits: expected {LEAST} to {MOST}, found {self.bits}")


def quantised(graph: Graph, rows: Rows, widths: Widths = Widths()) -> FpgaDesign:
    """The design of a graph. `rows` [n, features] are as rows usually are: they say what is cut off, and what is lost by that.

    Unsupported names the operator that a design has not; ModelError what cannot be done with these widths.
    """
    return made(shares_of(graph), (graph.input.shape or (None, 0))[1] or 0, rows, widths)


def made(shares: Shares, features: int, rows: Rows, widths: Widths) -> FpgaDesign:
    """As `quantised`, of a graph that was read."""
    if shares.classes > MOST_CLASSES:
        raise Unsupported(f"expected up to {MOST_CLASSES} classes, found {shares.classes}; {WAY_OUT}")
    try:
        if isinstance(shares.core, Dense):
            return dense_design(shares, features, rows, widths.bits)
        return forest_design(shares, features, rows, widths.bits)
    except NotImplementedError as error:
        raise Unsupported(f"{error}; {WAY_OUT}") from error
