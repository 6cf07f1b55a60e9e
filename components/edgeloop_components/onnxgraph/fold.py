"""Computes what depends on constants only, so that targets see nodes with at least one input that varies.

FOLDS holds the operators with which exporters build shapes and tables; all others run alone (evaluate.py). What has a graph
inside, and operators that are not ONNX's own, stay in the graph.

Refuses operators that draw at random, by name: no answer of such a graph can be compared with another.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgeloop_components.onnxgraph.evaluate import RANDOM, can_evaluate, evaluated
from edgeloop_components.onnxgraph.ir import Node

if TYPE_CHECKING:
    import numpy.typing as npt

    Arrays = Sequence[npt.NDArray[Any]]

__all__ = ["FOLDS", "folded"]

MOST_ELEMENTS = 1 << 26  # of what folding may make


def folded(nodes: Sequence[Node], constants: Mapping[str, Any]) -> tuple[tuple[Node, ...], dict[str, Any]]:
    """The nodes that are left, and the constants with what was computed. ModelError when an operator does not fit."""
    known = dict(constants)
    left = []
    for node in nodes:
        if node.domain == "" and node.op in RANDOM:
            raise node.refused("it draws at random, so that no two answers can be compared")
        names = [name for name in node.inputs if name]
        constant = all(name in known for name in names)
        if constant and node.domain == "" and node.op in FOLDS:
            known[node.outputs[0]] = _computed(node, [known[name] for name in names])
        elif constant and names and can_evaluate(node):
            known |= evaluated(node, {name: known[name] for name in names})
        else:
            left.append(node)
    return tuple(left), known


def _computed(node: Node, inputs: Arrays) -> Any:
    import numpy as np

    if len(node.outputs) != 1:
        raise node.wrong(f"expected one output, found {len(node.outputs)}")
    try:
        with np.errstate(all="ignore"):
            found = np.asarray(FOLDS[node.op](node, inputs))
    except (ValueError, IndexError, TypeError, OverflowError) as error:
        raise node.wrong(f"its inputs do not fit: {str(error)[:200]}") from error
    if found.size > MOST_ELEMENTS:
        raise node.wrong(f"expected at most {MOST_ELEMENTS} values, got {found.size}")
    return found


def _constant(node: Node, _: Arrays) -> Any:
    import numpy as np

    readers: dict[str, Callable[[str], Any]] = {
        "value": node.tensor,
        "value_float": lambda name: np.float32(node.number(name, 0.0)),
        "value_int": lambda name: np.int64(node.integer(name, 0)),
        "value_string": lambda name: np.array(node.text(name, ""), dtype=object),
        "value_floats": node.numbers,
        "value_ints": node.integers,
        "value_strings": lambda name: np.array(node.texts(name), dtype=object),
    }
    names = [name for name in readers if name in node.attributes]
    if len(names) != 1 or len(node.attributes) != 1:
        raise node.refused(f"expected one value, found the attributes {sorted(node.attributes)[:4]}")
    return readers[names[0]](names[0])


def _cast(node: Node, inputs: Arrays) -> Any:
    import onnx

    try:
        kind = onnx.helper.tensor_dtype_to_np_dtype(node.integer("to", 0))
    except KeyError:
        raise node.refused(f"the type {node.integer('to', 0)} is not supported") from None
    if "O" in (kind.kind, inputs[0].dtype.kind):
        raise node.refused("casts from and to text are not supported")
    return inputs[0].astype(kind)


def _reshape(node: Node, inputs: Arrays) -> Any:
    sizes = [int(size) for size in inputs[1].ravel()]
    if not node.integer("allowzero", 0):
        sizes = [inputs[0].shape[i] if size == 0 else size for i, size in enumerate(sizes)]
    return inputs[0].reshape(sizes)


def _axes(node: Node, inputs: Arrays) -> tuple[int, ...]:
    values = inputs[1].ravel() if len(inputs) > 1 else node.integers("axes")
    return tuple(int(value) for value in values)


def _squeeze(node: Node, inputs: Arrays) -> Any:
    return inputs[0].squeeze(_axes(node, inputs) or None)


def _unsqueeze(node: Node, inputs: Arrays) -> Any:
    import numpy as np

    return np.expand_dims(inputs[0], _axes(node, inputs))


def _transpose(node: Node, inputs: Arrays) -> Any:
    return inputs[0].transpose(node.integers("perm").tolist() or None)


def _concat(node: Node, inputs: Arrays) -> Any:
    import numpy as np

    if sum(one.size for one in inputs) > MOST_ELEMENTS:
        raise node.wrong("it is too large")
    return np.concatenate(inputs, axis=node.integer("axis", 0))


def _gather(node: Node, inputs: Arrays) -> Any:
    if inputs[0].size and inputs[1].size > MOST_ELEMENTS // inputs[0].size:
        raise node.wrong("it is too large")
    return inputs[0].take(inputs[1], axis=node.integer("axis", 0))


FOLDS: Mapping[str, Callable[[Node, Arrays], Any]] = {
    "Cast": _cast,
    "Concat": _concat,
    "Constant": _constant,
    "Gather": _gather,
    "Identity": lambda _, inputs: inputs[0],
    "Neg": lambda _, inputs: -inputs[0],
    "Reshape": _reshape,
    "Squeeze": _squeeze,
    "Transpose": _transpose,
    "Unsqueeze": _unsqueeze,
}
