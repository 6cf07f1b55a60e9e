"""Operators that work on each element: arithmetic, comparisons, Cast, Clip, Where.

Inputs are broadcast as numpy does, as long as the batch axis meets no other one. NaN and infinity go through as onnxruntime
lets them. Integers wrap around. Casting NaN, or what does not fit, to an integer gives the lowest one, as onnxruntime does
on linux/amd64.

Refuses integer division by what varies or is 0, powers of integers, text, and the broadcast attributes of operator sets before 7.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from edgeloop_components.native.strides import (
    Inputs,
    aligned,
    c_type,
    contiguous,
    literal,
    loops,
    numbers,
    operand,
    taken,
)
from edgeloop_components.native.values import C_TYPES, Value
from edgeloop_components.native.writer import Writer
from edgeloop_components.onnxgraph import Node

if TYPE_CHECKING:
    from edgeloop_components.native.operators import Operator

__all__ = ["FLOATS", "INTEGERS", "NUMBERS", "OPERATORS", "casted", "elements"]

FLOATS = ("float32", "float64")
INTEGERS = ("int64", "int32")
NUMBERS = FLOATS + INTEGERS
ELEMENTS = {1: "float32", 6: "int32", 7: "int64", 9: "bool", 11: "float64"}  # onnx.TensorProto's numbers
LARGEST = {"float32": "0x1.fffffep+127f", "float64": "0x1.fffffffffffffp+1023"}
LOWEST = {"int32": "(-2147483647 - 1)", "int64": "(-9223372036854775807LL - 1)"}


def elements(
    node: Node, writer: Writer, values: Sequence[Value], kind: str, body: Callable[..., str], *, gives: str = ""
) -> tuple[Value, ...]:
    """One result, of `body` over an expression for each value; each is read once, into a variable."""
    shape, steps = aligned(node, values)
    out = writer.new(gives or kind, shape)
    kinds = [value.kind if value.constant is None else kind for value in values]
    reads = [operand(writer, value, one) for value, one in zip(values, kinds, strict=True)]
    names = [f"v{place}" for place in range(len(values))]
    steps.append(contiguous(shape))

    def statements(*indices: str) -> list[str]:
        *given, put = indices
        parts = zip(kinds, names, reads, given, strict=True)
        found = [f"const {C_TYPES[one]} {name} = {read(index)};" for one, name, read, index in parts]
        return [*found, f"{out.name}[{put}] = {body(*names)};"]

    loops(writer, shape, steps, statements)
    return (out,)


# Two or more inputs: an expression over two names; further inputs are taken in one after the other.
Pair = Callable[[str, str, str], str]  # kind, a, b


def _wrapping(sign: str) -> Pair:
    def expression(kind: str, a: str, b: str) -> str:
        if kind in FLOATS:
            return f"{a} {sign} {b}"
        unsigned = "u" + c_type(kind)
        return f"({c_type(kind)})(({unsigned}){a} {sign} ({unsigned}){b})"

    return expression


def _divided(kind: str, a: str, b: str) -> str:
    if kind in FLOATS:
        return f"{a} / {b}"
    return f"{b} == -1 ? ({c_type(kind)})(0u - (u{c_type(kind)}){a}) : {a} / {b}"


def _both(sign: str) -> Pair:
    return lambda _, a, b: f"{a} {sign} {b}"


def _best(sign: str) -> Pair:
    return lambda kind, a, b: (
        f"(({a} {sign} {b}) | ({a} != {a})) ? {a} : {b}" if kind in FLOATS else f"{a} {sign} {b} ? {a} : {b}"
    )


PAIRS: Mapping[str, tuple[Pair, tuple[str, ...], str]] = {  # expression, kinds, kind of the result
    "Add": (_wrapping("+"), NUMBERS, ""),
    "Sub": (_wrapping("-"), NUMBERS, ""),
    "Mul": (_wrapping("*"), NUMBERS, ""),
    "Div": (_divided, NUMBERS, ""),
    "PRelu": (lambda _, a, b: f"{a} >= 0 ? {a} : {a} * {b}", ("float32",), ""),
    "Less": (_both("<"), NUMBERS, "bool"),
    "Greater": (_both(">"), NUMBERS, "bool"),
    "LessOrEqual": (_both("<="), NUMBERS, "bool"),
    "GreaterOrEqual": (_both(">="), NUMBERS, "bool"),
    "Equal": (_both("=="), (*NUMBERS, "bool"), "bool"),
    "And": (_both("&"), ("bool",), "bool"),
    "Or": (_both("|"), ("bool",), "bool"),
    "Xor": (_both("^"), ("bool",), "bool"),
}
SERIES: Mapping[str, tuple[Pair, tuple[str, ...]]] = {
    "Max": (_best(">"), NUMBERS),
    "Min": (_best("<"), NUMBERS),
    "Sum": (_wrapping("+"), FLOATS),
    "Mean": (_wrapping("+"), FLOATS),
}


def _pair(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    expression, kinds, out_kind = PAIRS[node.op]
    node.only()
    values = taken(node, inputs, 2, 2)
    _modern(node, values, 7)
    kind = numbers(node, values, kinds)
    _divisible(node, kind, values[1])
    if node.op == "PRelu" and (aligned(node, values)[0] != values[0].shape or values[0].constant is not None):
        raise node.refused("expected slopes that broadcast to the first input")
    return elements(node, writer, values, kind, lambda a, b: expression(kind, a, b), gives=out_kind)


def _modern(node: Node, values: Sequence[Value], version: int) -> None:
    """Before this version of the operator set, shapes were matched in another way."""
    if node.version < version and len({value.shape for value in values}) > 1:
        raise node.refused(f"a broadcast in operator set {node.version} is not supported; {version} or newer is")


def _divisible(node: Node, kind: str, divisor: Value) -> None:
    if node.op == "Div" and kind in INTEGERS and (divisor.constant is None or not divisor.constant.all()):
        raise node.refused("integers are divided only by constants other than 0")


def _series(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    expression, kinds = SERIES[node.op]
    node.only()
    values = taken(node, inputs, 1, len(inputs))
    _modern(node, values, 8)
    kind = numbers(node, values, kinds)
    while len(values) > 1:
        if all(value.constant is not None for value in values[:2]):
            raise node.refused("expected at most one constant before the inputs that vary")
        values[:2] = elements(node, writer, values[:2], kind, lambda a, b: expression(kind, a, b))
    if node.op == "Mean":
        return elements(node, writer, values, kind, lambda a: f"{a} / {literal(len(inputs), kind)}")
    return (values[0],)


def _pow(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    node.only()
    values = taken(node, inputs, 2, 2)
    _modern(node, values, 7)
    numbers(node, values[:1], ("float32",))
    numbers(node, values[1:], NUMBERS)
    base, power = values
    if power.constant is not None:
        power = Value("float32", power.shape, constant=power.constant.astype("float32"))
    known = float(power.constant.ravel()[0]) if power.constant is not None and power.width == 1 else None
    special = {2.0: "@ * @", 3.0: "@ * @ * @"}.get(known or 0.0)
    if special and aligned(node, (base, power)):
        return elements(node, writer, [base], "float32", lambda x: special.replace("@", x))
    return elements(node, writer, (base, power), "float32", lambda x, y: f"el_powf({x}, (float){y})")


def _where(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    node.only()
    values = taken(node, inputs, 3, 3)
    numbers(node, values[:1], ("bool",))
    kind = numbers(node, values[1:], (*NUMBERS, "bool"))
    condition = values[0]
    if condition.constant is not None:
        condition = Value(kind, condition.shape, constant=condition.constant.astype(kind))
    return elements(node, writer, (condition, *values[1:]), kind, lambda c, a, b: f"{c} != 0 ? {a} : {b}")


def _clip(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    """Bounds are attributes before operator set 11, and inputs since."""
    node.only(*(("min", "max") if node.version < 11 else ()))
    value = inputs[0]
    if value is None or len(inputs) > (1 if node.version < 11 else 3):
        raise node.wrong("expected a tensor and two bounds")
    kind = numbers(node, [value], NUMBERS)
    low, high = (_bound(node, inputs, place, name, kind) for place, name in enumerate(("min", "max"), 1))
    text = f"(@ < {low} ? {low} : @)" if low else "@"
    text = f"{text} > {high} ? {high} : {text}" if high else text
    return elements(node, writer, [value], kind, lambda x: text.replace("@", x))


def _bound(node: Node, inputs: Inputs, place: int, name: str, kind: str) -> str:
    """A bound as literal; of floats, one that is left out is the lowest or largest finite number; of integers, empty."""
    default = LARGEST.get(kind, "") and f"({'-' if name == 'min' else ''}{LARGEST[kind]})"
    if node.version < 11:
        return literal(node.number(name, 0.0), kind) if name in node.attributes else default
    value = inputs[place] if place < len(inputs) else None
    if value is None:
        return default
    if value.constant is None or value.width != 1 or value.kind != kind:
        raise node.refused(f"expected {name} as one constant of {kind}")
    if value.constant != value.constant:
        raise node.refused(f"expected a {name} that is a number, found NaN")
    return literal(value.constant.ravel()[0], kind)


def _cast(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    node.only("to", "saturate", "round_mode")
    (value,) = taken(node, inputs, 1, 1)
    kind = ELEMENTS.get(node.integer("to", 0))
    if value.texts is not None and node.integer("to", 0) == 8:
        return (value,)
    if kind is None or value.texts is not None:
        found = "text" if value.texts is not None else value.kind
        raise node.refused(f"a cast from {found} to the type {node.integer('to', 0)} is not supported")
    if kind == value.kind:
        return (value,)
    out = writer.new(kind, value.shape)
    read = writer.at(value)
    writer.loop(value.width, f"{out.name}[i] = {casted(value.kind, kind, f'{read}[i]')};")
    return (out.alias(out.shape, value.batch_axis),)


def casted(given: str, kind: str, x: str) -> str:
    if kind == "bool":
        return f"{x} != 0"
    if given in FLOATS and kind in INTEGERS:
        high, suffix = (31 if kind == "int32" else 63), "f" if given == "float32" else ""
        low = "> -2147483649.0" if (given, kind) == ("float64", "int32") else f">= -0x1p+{high}{suffix}"
        return f"(({x} {low}) & ({x} < 0x1p+{high}{suffix})) ? ({c_type(kind)}){x} : {LOWEST[kind]}"
    return f"({c_type(kind)}){x}"


OPERATORS: Mapping[tuple[str, str], Operator] = {
    **{("", op): _pair for op in PAIRS},
    **{("", op): _series for op in SERIES},
    ("", "Cast"): _cast,
    ("", "Clip"): _clip,
    ("", "Pow"): _pow,
    ("", "Where"): _where,
}
