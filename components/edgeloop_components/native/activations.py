"""Operators of one input that work on each element: activations, roundings, signs, tests for NaN and infinity.

NaN and infinity come out as onnxruntime lets them: NaN stays NaN but in ThresholdedRelu, and forms such as infinity times 0
(HardSwish, Mish, Softsign, Swish at infinity) are NaN.

Refuses float64 where only float has a function, and integers but in Abs, Neg, Sign and Relu.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import TYPE_CHECKING

from edgeloop_components.native.elementwise import FLOATS, NUMBERS, elements
from edgeloop_components.native.strides import Inputs, literal, numbers, taken
from edgeloop_components.native.values import Value
from edgeloop_components.native.writer import Writer
from edgeloop_components.onnxgraph import Node

if TYPE_CHECKING:
    from edgeloop_components.native.operators import Operator

__all__ = ["OPERATORS"]

Expression = Callable[[Node, str], str]


def _by_number(name: str, default: float) -> Callable[[Node], str]:
    return lambda node: literal(node.number(name, default), "float32")


ALPHA_1 = _by_number("alpha", 1.0)


def _elu(node: Node, x: str) -> str:
    return f"{x} >= 0.0f ? {x} : {ALPHA_1(node)} * el_expm1f({x})"


def _selu(node: Node, x: str) -> str:
    alpha, gamma = node.number("alpha", 1.67326319217681884765625), node.number("gamma", 1.05070102214813232421875)
    return f"{literal(gamma, 'float32')} * ({x} > 0.0f ? {x} : {literal(alpha, 'float32')} * el_expm1f({x}))"


def _celu(node: Node, x: str) -> str:
    if node.number("alpha", 1.0) <= 0:
        raise node.refused("expected an alpha above 0")
    return f"{x} > 0.0f ? {x} : {ALPHA_1(node)} * el_expm1f({x} / {ALPHA_1(node)})"


def _between(x: str, low: str, high: str) -> str:
    return f"{x} < {low} ? {low} : {x} > {high} ? {high} : {x}"


def _hard_sigmoid(node: Node, x: str) -> str:
    line = f"({_by_number('alpha', 0.2)(node)} * {x} + {_by_number('beta', 0.5)(node)})"
    return _between(line, "0.0f", "1.0f")


SIXTH = literal(1 / 6, "float32")


def _hard_swish(_: Node, x: str) -> str:
    return f"{x} * ({_between(f'({x} * {SIXTH} + 0.5f)', '0.0f', '1.0f')})"


def _gelu(node: Node, x: str) -> str:
    how = node.text("approximate", "none")
    if how == "tanh":
        inner = f"{literal(0.7978845608028654, 'float32')} * ({x} + {literal(0.044715, 'float32')} * {x} * {x} * {x})"
        return f"0.5f * {x} * (1.0f + el_tanhf({inner}))"
    if how != "none":
        raise node.wrong(f"expected approximate none or tanh, found {how[:40]!r}")
    return f"0.5f * {x} * (1.0f + el_erff({x} * {literal(0.7071067811865476, 'float32')}))"


def _swish(node: Node, x: str) -> str:
    return f"{x} * el_sigmoidf({ALPHA_1(node)} * {x})"


def _infinite(node: Node, x: str) -> str:
    kind = "(double)EL_INFINITY" if x.startswith("(double)") else "EL_INFINITY"
    up, down = node.integer("detect_positive", 1), node.integer("detect_negative", 1)
    parts = [f"({x} == {kind})"] * bool(up) + [f"({x} == -{kind})"] * bool(down)
    return " | ".join(parts) or f"({x} != {x}) & 0"


def _plain(text: str) -> Expression:
    return lambda _, x: text.replace("@", x)


SIGN = "(@ > 0) - (@ < 0)"
UNARY: Mapping[str, tuple[Mapping[str, Expression], tuple[str, ...], str]] = {  # kinds, attributes, kind of the result
    "Abs": (
        {
            "float32": _plain("__builtin_fabsf(@)"), "float64": _plain("__builtin_fabs(@)"),
            "int64": _plain("@ < 0 ? (int64_t)(0u - (uint64_t)@) : @"),
            "int32": _plain("@ < 0 ? (int32_t)(0u - (uint32_t)@) : @"),
        }, (), "",
    ),
    "Neg": (
        {
            "float32": _plain("-@"), "float64": _plain("-@"),
            "int64": _plain("(int64_t)(0u - (uint64_t)@)"), "int32": _plain("(int32_t)(0u - (uint32_t)@)"),
        }, (), "",
    ),
    "Sign": (
        {
            "float32": _plain(f"@ != @ ? @ : (float)({SIGN})"), "float64": _plain(f"@ != @ ? @ : (double)({SIGN})"),
            "int64": _plain(SIGN), "int32": _plain(SIGN),
        }, (), "",
    ),
    "Relu": (dict.fromkeys(NUMBERS, _plain("@ < 0 ? 0 : @")), (), ""),
    "Exp": ({"float32": _plain("el_expf(@)"), "float64": _plain("el_exp(@)")}, (), ""),
    "Log": ({"float32": _plain("el_logf(@)"), "float64": _plain("el_log(@)")}, (), ""),
    "Sqrt": ({"float32": _plain("__builtin_sqrtf(@)"), "float64": _plain("__builtin_sqrt(@)")}, (), ""),
    "Reciprocal": ({"float32": _plain("1.0f / @"), "float64": _plain("1.0 / @")}, (), ""),
    "IsNaN": (dict.fromkeys(FLOATS, _plain("@ != @")), (), "bool"),
    "IsInf": ({"float32": _infinite}, ("detect_positive", "detect_negative"), "bool"),
    "Not": ({"bool": _plain("!@")}, (), "bool"),
    "Celu": ({"float32": _celu}, ("alpha",), ""),
    "Ceil": ({"float32": _plain("el_ceilf(@)")}, (), ""),
    "Elu": ({"float32": _elu}, ("alpha",), ""),
    "Erf": ({"float32": _plain("el_erff(@)")}, (), ""),
    "Floor": ({"float32": _plain("el_floorf(@)")}, (), ""),
    "Gelu": ({"float32": _gelu}, ("approximate",), ""),
    "HardSigmoid": ({"float32": _hard_sigmoid}, ("alpha", "beta"), ""),
    "HardSwish": ({"float32": _hard_swish}, (), ""),
    "LeakyRelu": (
        {"float32": lambda node, x: f"{x} >= 0.0f ? {x} : {_by_number('alpha', 0.01)(node)} * {x}"}, ("alpha",), "",
    ),
    "Mish": ({"float32": _plain("@ * el_tanhf(el_softplusf(@))")}, (), ""),
    "Round": ({"float32": _plain("el_roundf(@)")}, (), ""),
    "Selu": ({"float32": _selu}, ("alpha", "gamma"), ""),
    "Sigmoid": ({"float32": _plain("el_sigmoidf(@)")}, (), ""),
    "Softplus": ({"float32": _plain("el_softplusf(@)")}, (), ""),
    "Softsign": ({"float32": _plain("@ / (1.0f + __builtin_fabsf(@))")}, (), ""),
    "Swish": ({"float32": _swish}, ("alpha",), ""),
    "Tanh": ({"float32": _plain("el_tanhf(@)")}, (), ""),
    "ThresholdedRelu": ({"float32": lambda node, x: f"{x} > {ALPHA_1(node)} ? {x} : 0.0f"}, ("alpha",), ""),
}  # fmt: skip


def _unary(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    forms, attributes, out_kind = UNARY[node.op]
    node.only(*attributes)
    values = taken(node, inputs, 1, 1)
    kind = numbers(node, values, tuple(forms))
    return elements(node, writer, values, kind, lambda x: forms[kind](node, x), gives=out_kind)


OPERATORS: Mapping[tuple[str, str], Operator] = {("", op): _unary for op in UNARY}
