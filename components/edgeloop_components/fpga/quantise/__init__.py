"""Quantises classifiers for FPGAs: from an ONNX graph to a design of integers, with the smallest widths that keep a floor.

`read` gives the graph of a file, `quantised` the design with given widths, `search` the smallest design that agrees with the
float model well enough. `vector` computes what the design computes, over many rows at once.
"""

from edgeloop_components.fpga.quantise.design import Widths, quantised
from edgeloop_components.fpga.quantise.reading import read
from edgeloop_components.fpga.quantise.search import Evidence, Floors, Found, Tried, search

__all__ = ["Evidence", "Floors", "Found", "Tried", "Widths", "quantised", "read", "search"]
