"""Makes the C code of a graph: model.h, which is the same for every model but for its sizes, and model.c.

The code computes one row after the other, in plain loops, and never calls anything. Values are locals while they are small
and lie in the caller's scratch memory otherwise; a value that the graph gives out is computed where the caller wants it.
NaN in an output is the same bits on every processor.

Refuses operators that are not in OPERATORS, and outputs other than float32, int64 and text.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from edgeloop_components.native import source
from edgeloop_components.native.operators import ANY_AXIS, OPERATORS
from edgeloop_components.native.places import placed
from edgeloop_components.native.shaping import SIZES
from edgeloop_components.native.values import Value, constant
from edgeloop_components.native.writer import Writer
from edgeloop_components.onnxgraph import Graph, Node, Tensor, Unsupported
from edgeloop_components.runtimes import ModelError

__all__ = ["WAY_OUT", "Emitted", "TensorInfo", "emit"]

OUTPUT_KINDS = ("float32", "int64")
WAY_OUT = "use the runtime onnxruntime, which runs on linux/amd64 and linux/arm64"


@dataclass(frozen=True)
class TensorInfo:
    """An input or output of the emitted model: `kind` is float32 or int64, `shape` is without the batch axis."""

    name: str
    kind: str
    shape: tuple[int, ...]

    @property
    def width(self) -> int:
        """Values a row."""
        return Value(self.kind, self.shape).width


@dataclass(frozen=True)
class Emitted:
    """The C code of a model. `texts` has, for each output of text labels, the texts that its int64 values stand for."""

    header: str
    source: str
    inputs: tuple[TensorInfo, ...]
    outputs: tuple[TensorInfo, ...]
    texts: Mapping[str, tuple[str, ...]]
    scratch_bytes: int
    data_bytes: int


def emit(graph: Graph, way_out: str = WAY_OUT) -> Emitted:
    """The C code of a graph. Unsupported names the operator that there is no code for; ModelError for a broken one.

    `way_out` ends the refusal of an operator: what runs the graph instead; empty where nothing does.
    """
    writer = Writer()
    shape = tuple(int(size or 0) for size in (graph.input.shape or ())[1:])
    try:
        values = _computed(graph, shape, writer)
    except Unsupported as error:
        raise Unsupported("; ".join(filter(None, (str(error), way_out)))) from error
    writer.step = len(graph.nodes)
    outputs = tuple(_output(tensor, values, graph.constants) for tensor in graph.outputs)
    places = placed(writer, outputs)
    infos = tuple(TensorInfo(t.name, v.kind, v.shape) for t, v in zip(graph.outputs, outputs, strict=True))
    info = TensorInfo(graph.input.name, "float32", shape)
    return Emitted(
        header=source.header(info.width, len(infos), places.scratch_bytes),
        source=source.source(writer, places, info, infos),
        inputs=(info,),
        outputs=infos,
        texts={t.name: v.texts for t, v in zip(graph.outputs, outputs, strict=True) if v.texts is not None},
        scratch_bytes=places.scratch_bytes,
        data_bytes=writer.data_bytes,
    )


def _computed(graph: Graph, shape: tuple[int, ...], writer: Writer) -> dict[str, Value | None]:
    """The values of all tensors but constants; their statements are put."""
    values = {"": None, graph.input.name: Value("float32", shape, "x")}
    for step, node in enumerate(graph.nodes):
        writer.step = step
        results = _results(node, _inputs(node, values, graph.constants), writer)
        values |= {name: value for name, value in zip(node.outputs, results, strict=False) if name}
    return values


def _inputs(node: Node, values: Mapping[str, Value | None], constants: Mapping[str, Any]) -> tuple[Value | None, ...]:
    try:
        found = tuple(values[name] if name in values else constant(constants[name]) for name in node.inputs)
    except KeyError as error:
        raise node.refused(f"an input of the type {str(error)[:40]} is not supported") from error
    if not any(value is not None and (value.constant is None or value.kind == SIZES) for value in found):
        raise node.refused("all its inputs are constants, and it cannot be computed beforehand")
    return found


def _results(node: Node, inputs: tuple[Value | None, ...], writer: Writer) -> tuple[Value, ...]:
    operator = OPERATORS.get((node.domain, node.op))
    if operator is None:
        raise node.refused("the runtime native has no such operator")
    if (node.domain, node.op) not in ANY_AXIS and any(value is not None and value.batch_axis for value in inputs):
        raise node.refused("its input does not have the batch as its first axis")
    writer.put(f"/* {node.op} */", "{")
    try:
        results = operator(node, inputs, writer)
    except ModelError:
        raise
    except (ArithmeticError, AttributeError, LookupError, TypeError, ValueError) as error:
        raise node.wrong(f"its attributes and inputs do not fit together: {str(error)[:200]}") from error
    writer.put("}")
    if any(node.outputs[len(results) :]):
        raise node.refused(f"only its first {len(results)} outputs are supported")
    return results


def _output(tensor: Tensor, values: Mapping[str, Value | None], constants: Mapping[str, Any]) -> Value:
    value = values.get(tensor.name)
    if value is None:
        found = "a constant" if tensor.name in constants else "nothing"
        raise Unsupported(f"output {tensor.name[:80]!r}: expected a computed tensor, found {found}")
    if value.kind not in OUTPUT_KINDS or value.batch_axis or not value.width:
        shape = list(value.shape)
        raise Unsupported(
            f"output {tensor.name[:80]!r}: expected float32 or int64 [N, ...], found {value.kind} rows {shape}"
        )
    return value
