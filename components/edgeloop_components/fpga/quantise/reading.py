"""Reads a graph of the project's convention as probabilities of dense layers or of trees.

A table has a reader for each operator; it gives the value of the node's tensor. What has no reader, or is put together in
another way than classifiers are, is refused by the operator's name, with the way out.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_components.fpga.quantise import arithmetic, classifiers, inputs
from edgeloop_components.fpga.quantise.model import NAMES, Column, Columns, Shares, Value
from edgeloop_components.onnxgraph import Graph, Node, Unsupported
from edgeloop_components.runtimes import ModelError

if TYPE_CHECKING:
    import numpy.typing as npt

    Argument = Value | npt.NDArray[Any] | None
    Reader = Callable[[Node, Sequence[Argument]], Value]

__all__ = ["OPERATORS", "read", "shares_of"]

OUTPUT = "probabilities"
WAY_OUT = "use the runtime native or onnxruntime for this model"

OPERATORS: Mapping[tuple[str, str], Reader] = {
    **inputs.OPERATORS,
    **arithmetic.OPERATORS,
    **classifiers.OPERATORS,
}
SECOND = ("LinearClassifier", "TreeEnsembleClassifier")  # of their outputs, the second holds the probabilities


def read(path: Path) -> Graph:
    """The graph in an ONNX file, brought to the convention where it has another form. ModelError, Unsupported."""
    from edgeloop_components.compile.adapt import adapted
    from edgeloop_components.onnxgraph import graph_of
    from edgeloop_components.runtimes.describe import read_model

    model = read_model(path)
    names = [value.name for value in model.graph.output]
    if OUTPUT not in names or any(node.op_type == "ZipMap" for node in model.graph.node):
        model = adapted(model).model
    return graph_of(model)


def shares_of(graph: Graph) -> Shares:
    """What the output `probabilities` is. Unsupported for operators and forms that a design has not."""
    if OUTPUT not in {tensor.name for tensor in graph.outputs}:
        found = ", ".join(repr(tensor.name) for tensor in graph.outputs)
        raise Unsupported(
            f"the graph: expected an output {OUTPUT!r} [N, classes] of a classifier, found {found}; {WAY_OUT}"
        )
    shape = graph.input.shape or ()
    if len(shape) != 2 or shape[1] is None:
        raise Unsupported(
            f"the input {graph.input.name!r}: expected rows [N, features], found {list(shape)}; {WAY_OUT}"
        )
    known: dict[str, Any] = dict(graph.constants)
    known[graph.input.name] = Columns(tuple(Column(place) for place in range(shape[1])))
    for node in _needed(graph):
        known.update(_read(node, [known.get(name) for name in node.inputs]))
    shares = classifiers.as_shares(known.get(OUTPUT))
    if shares is None or not shares.normal:
        raise Unsupported(f"the output {OUTPUT!r} is {_shown(known.get(OUTPUT))}, no probabilities; {WAY_OUT}")
    return shares


def _needed(graph: Graph) -> list[Node]:
    """The nodes that the probabilities need, in their order."""
    wanted, kept = {OUTPUT}, []
    for node in reversed(graph.nodes):
        if wanted.intersection(node.outputs):
            wanted.update(node.inputs)
            kept.append(node)
    return kept[::-1]


def _read(node: Node, arguments: Sequence[Argument]) -> dict[str, Any]:
    reader = OPERATORS.get((node.domain, node.op))
    if reader is None:
        known = ", ".join(sorted(op for _, op in OPERATORS))
        raise Unsupported(f"node {node.title}: an FPGA design has no such operator (it has {known}); {WAY_OUT}")
    try:
        return _named(node, arguments, reader(node, arguments))
    except ModelError:
        raise
    except NotImplementedError as error:
        shown = ", ".join(_shown(one) for one in arguments)
        raise Unsupported(f"node {node.title} of {shown}: {str(error) or 'not supported'}; {WAY_OUT}") from error
    except (ValueError, IndexError, TypeError, KeyError, AttributeError, ZeroDivisionError) as error:
        raise node.wrong(f"its inputs do not fit: {str(error)[:200]}") from error


def _named(node: Node, arguments: Sequence[Argument], value: Value) -> dict[str, Value]:
    """The value under the name of the output that holds it."""
    if node.op in SECOND:
        return {node.outputs[1]: value} if len(node.outputs) > 1 else {}
    if node.op == "Split":
        return dict(zip(node.outputs, inputs.split(node, arguments), strict=True))
    return {node.outputs[0]: value}


def _shown(value: Argument) -> str:
    if value is None:
        return "nothing"
    return NAMES.get(type(value), "a constant")
