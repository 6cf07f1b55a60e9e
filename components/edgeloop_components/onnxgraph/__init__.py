"""ONNX files as plain values: what every target that makes code from a graph reads, instead of protobuf messages.

`read_graph` gives the nodes that the outputs need, in an order in which they can be computed, with constants as numpy
arrays. Nothing that comes out refers to a name that is not there, so code that walks a Graph checks operators, not files.
"""

from edgeloop_components.onnxgraph.ir import Graph, Node, Tensor, Unsupported
from edgeloop_components.onnxgraph.read import graph_of, read_graph

__all__ = ["Graph", "Node", "Tensor", "Unsupported", "graph_of", "read_graph"]
