"""The native target: an ONNX graph as self-contained C99, without libc, libm, allocation or threads.

`emit` turns a Graph into the texts of model.h and model.c. To add an operator: write a function
`(node, inputs, writer) -> outputs`, and a row for it in its module's OPERATORS; `operators.py` gathers them.
"""

from edgeloop_components.native.emit import Emitted, TensorInfo, emit
from edgeloop_components.onnxgraph import Unsupported

__all__ = ["Emitted", "TensorInfo", "Unsupported", "emit"]
