"""The table of operators: (domain, type) -> the function that puts an operator's C statements. One row is one operator.

A function gets the node, a Value for each input (None where an optional one is left out) and the Writer; it gives a Value
for each output. It refuses a form that it cannot compute with `node.refused(why)`, a broken one with `node.wrong(why)`.
ANY_AXIS names those that also take a value whose batch axis is not the first.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from edgeloop_components.native import (
    activations,
    conv,
    dense,
    elementwise,
    encoders,
    labels,
    linear,
    moving,
    reductions,
    shaping,
    svm,
    trees,
)
from edgeloop_components.native.values import Value
from edgeloop_components.native.writer import Writer
from edgeloop_components.onnxgraph import Node

__all__ = ["ANY_AXIS", "OPERATORS", "Operator"]

Operator = Callable[[Node, "tuple[Value | None, ...]", Writer], "tuple[Value, ...]"]

OPERATORS: Mapping[tuple[str, str], Operator] = {
    **activations.OPERATORS,
    **conv.OPERATORS,
    **dense.OPERATORS,
    **elementwise.OPERATORS,
    **encoders.OPERATORS,
    **labels.OPERATORS,
    **linear.OPERATORS,
    **moving.OPERATORS,
    **reductions.OPERATORS,
    **shaping.OPERATORS,
    **svm.OPERATORS,
    **trees.OPERATORS,
}
ANY_AXIS = frozenset(
    ("", op) for op in ("Cast", "Concat", "Flatten", "Identity", "Reshape", "Shape", "Squeeze", *reductions.FORMS)
)
