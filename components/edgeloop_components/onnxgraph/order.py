"""Puts nodes into an order in which they can be computed, and leaves out those that the outputs do not need.

Refuses a tensor that two nodes compute, one that nothing computes, and cycles.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

from edgeloop_components.onnxgraph.ir import Node
from edgeloop_components.runtimes import ModelError

__all__ = ["ordered"]


def ordered(nodes: Sequence[Node], outputs: Sequence[str], known: set[str]) -> list[Node]:
    """The nodes that `outputs` need, each after those it needs. `known`: tensors that are there already. ModelError."""
    makers = _makers(nodes, known)
    done: dict[int, bool] = {}  # index of a node: False while what it needs is looked at
    order: list[Node] = []
    stack = _needed(outputs, makers, known, "the graph's outputs")[::-1]
    while stack:
        place = stack[-1]
        if done.get(place):
            stack.pop()
            continue
        inputs = _needed(nodes[place].inputs, makers, known, f"node {nodes[place].title}")
        missing = [i for i in inputs if not done.get(i)]
        if place in done and missing:
            raise nodes[place].wrong("it needs its own result: the graph has a cycle")
        done[place] = not missing
        if not missing:
            order.append(nodes[stack.pop()])
        stack.extend(reversed(missing))
    return order


def _makers(nodes: Sequence[Node], known: set[str]) -> dict[str, int]:
    makers: dict[str, int] = {}
    for place, node in enumerate(nodes):
        for name in filter(None, node.outputs):
            if name in makers or name in known:
                raise node.wrong(f"the tensor {name[:80]!r} is already there: two things compute it")
            makers[name] = place
    return makers


def _needed(names: Sequence[str], makers: Mapping[str, int], known: set[str], who: str) -> list[int]:
    """The nodes that compute these tensors."""
    wanted = [name for name in names if name and name not in known]
    stranger = next((name for name in wanted if name not in makers), None)
    if stranger is not None:
        raise ModelError(f"{who}: nothing computes the tensor {stranger[:80]!r}")
    return [makers[name] for name in dict.fromkeys(wanted)]
