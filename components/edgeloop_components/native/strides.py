"""Loops over elements that lie at regular distances: what broadcasting, transposing, slicing and padding come down to.

Axes over which all operands go on in step are joined, so that most loops are one loop, which compilers make vectors of.
Refuses a broadcast in which the batch axis would meet another one.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from edgeloop_components.native.literals import double_text, float_text, integer_text
from edgeloop_components.native.values import C_TYPES, Value
from edgeloop_components.native.writer import Writer
from edgeloop_components.onnxgraph import Node

if TYPE_CHECKING:
    from typing import Any

__all__ = [
    "Inputs",
    "Steps",
    "aligned",
    "constant_integers",
    "contiguous",
    "copy",
    "loops",
    "numbers",
    "operand",
    "taken",
]

Inputs = tuple["Value | None", ...]
Steps = tuple[int, ...]  # elements from one place to the next along each axis; 0 where it is broadcast


def taken(node: Node, inputs: Inputs, least: int, most: int) -> list[Value]:
    """The inputs, of which `least` must be there and none left out in between. ModelError; Unsupported for text."""
    given = list(inputs)
    while given and given[-1] is None:
        given.pop()
    found = [value for value in given if value is not None]
    if len(found) != len(given) or not least <= len(found) <= most:
        raise node.wrong(f"expected {least} to {most} inputs, found {len(found)}")
    return found


def numbers(node: Node, values: Sequence[Value], kinds: Sequence[str]) -> str:
    """The kind that all values have. Unsupported for text, for other kinds, and for different ones."""
    found = {"text" if value.texts is not None else value.kind for value in values}
    if len(found) != 1 or not found <= set(kinds):
        raise node.refused(f"expected inputs of one type of {', '.join(kinds)}, found {', '.join(sorted(found))}")
    return found.pop()


def constant_integers(node: Node, value: Value | None, what: str) -> list[int]:
    """The numbers of a constant input. Unsupported when they are computed."""
    if value is None:
        return []
    if value.constant is None or value.texts is not None or value.kind not in ("int64", "int32"):
        raise node.refused(f"expected {what} as constant integers")
    return [int(number) for number in value.constant.ravel()]


def contiguous(shape: Sequence[int]) -> Steps:
    """The steps of a row-major array."""
    steps, step = [], 1
    for size in reversed(shape):
        steps.append(step)
        step *= size
    return tuple(reversed(steps))


def aligned(node: Node, values: Sequence[Value]) -> tuple[tuple[int, ...], list[Steps]]:
    """The row shape to which values broadcast, and the steps of each. Unsupported, ModelError."""
    ranks = {value.rank for value in values if value.constant is None}
    most = max(ranks)
    if len(ranks) > 1 or any(
        v.rank > most or (v.rank == most and v.shape[:1] != (1,)) for v in values if v.constant is not None
    ):
        shown = " and ".join(str(list(v.shape) if v.constant is not None else ["N", *v.shape]) for v in values)
        raise node.refused(f"in a broadcast of {shown} the batch would meet another axis")
    rows = [_row(value, most) for value in values]
    shape = tuple(max((row[axis] for row in rows), key=lambda size: (size != 1, size)) for axis in range(most - 1))
    for row in rows:
        if any(size not in (1, whole) for size, whole in zip(row, shape, strict=True)):
            raise node.wrong(f"rows of {list(row)} do not broadcast to {list(shape)}")
    return shape, [
        tuple(step if size != 1 else 0 for step, size in zip(contiguous(row), row, strict=True)) for row in rows
    ]


def _row(value: Value, rank: int) -> tuple[int, ...]:
    """The shape of the row, as long as `rank` asks."""
    return value.shape if value.constant is None else ((1,) * (rank - value.rank) + value.shape)[1:]


def operand(writer: Writer, value: Value, kind: str) -> Callable[[str], str]:
    """The C expression of an element, by its index; a single constant is written as a literal."""
    if value.constant is not None and value.width == 1:
        text = literal(value.constant.ravel()[0], kind)
        return lambda _: text
    name = writer.at(value) if value.constant is None else writer.table(value.constant, kind)
    return lambda index: f"{name}[{index}]"


def literal(number: Any, kind: str) -> str:
    """A number as a C expression of that kind."""
    if kind == "float32":
        text = float_text(float(number))
    elif kind == "float64":
        text = double_text(float(number)).replace("EL_", "(double)EL_")
    else:
        text = integer_text(int(number))
    return f"({text})" if text.startswith("-") else text


def loops(
    writer: Writer,
    shape: Sequence[int],
    steps: Sequence[Steps],
    body: Callable[..., Sequence[str]],
    starts: Sequence[int] = (),
) -> None:
    """Puts loops over `shape`; `body` gets an index expression for each entry of `steps` and gives the statements."""
    axes = _joined(shape, steps)
    for depth, (size, *_) in enumerate(axes):
        writer.put(f"for (int i{depth} = 0; i{depth} < {size}; ++i{depth}) {{")
    first = starts or [0] * len(steps)
    indices = [_index([axis[1 + place] for axis in axes], first[place]) for place in range(len(steps))]
    statements = body(*indices)
    writer.put(*(statements if axes else ("{", *statements, "}")), *("}" for _ in axes))


def _joined(shape: Sequence[int], steps: Sequence[Steps]) -> list[tuple[int, ...]]:
    axes: list[tuple[int, ...]] = []
    for size, *inner in zip(shape, *steps, strict=True):
        if size == 1:
            continue
        if axes and all(outer == size * step for outer, step in zip(axes[-1][1:], inner, strict=True)):
            axes[-1] = (axes[-1][0] * size, *inner)
        else:
            axes.append((size, *inner))
    return axes


def _index(steps: Sequence[int], start: int) -> str:
    words = [f"i{depth}" if step == 1 else f"i{depth} * {step}" for depth, step in enumerate(steps) if step]
    return " + ".join([*([str(start)] if start or not words else []), *words])


def copy(
    writer: Writer,
    source: Value,
    out: Value,
    shape: Sequence[int],
    *,
    given: Steps,
    put: Steps,
    start: int = 0,
    at: int = 0,
) -> None:
    """Puts loops that copy elements of `shape` from `source` to `out`, which begin at `start` and `at`."""
    read = operand(writer, source, out.kind)
    loops(writer, shape, (given, put), lambda i, o: [f"{out.name}[{o}] = {read(i)};"], (start, at))


def c_type(kind: str) -> str:
    """The C type of a kind."""
    return C_TYPES[kind]
