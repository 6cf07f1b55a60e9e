"""Every operator of the native target against onnxruntime: random shapes, attributes and values, NaN and infinity among them.

A Maker puts nodes of its operator behind a tensor of a random graph. The graphs of one example are compiled together.
"""

from __future__ import annotations

import ctypes
import hashlib
import shutil
import subprocess
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnxruntime
import pytest
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from onnx import helper, numpy_helper

from edgeloop_components.native import Emitted, Unsupported, emit, emulate, toolchain
from edgeloop_components.native.forms import FORMS, markdown
from edgeloop_components.native.operators import OPERATORS
from edgeloop_components.onnxgraph import graph_of

ROWS, GRAPHS = 6, 5
ML = "ai.onnx.ml"
KINDS = {"float32": 1, "int32": 6, "int64": 7, "bool": 9, "float64": 11}
FLAGS = "-std=c99 -O2 -ffp-contract=off -fno-math-errno -Wall -Wextra -Wshadow -Wdouble-promotion -Werror -shared -fPIC"
SYMBOLS = ("model_predict", "model_input", "model_output_count", "model_outputs", "model_scratch_bytes")


def words(text: str) -> list[str]:
    return text.split()


@dataclass
class T:
    """A tensor of the graph under construction: its name, and what onnxruntime makes of it for the test's rows."""

    name: str
    array: Any

    @property
    def shape(self) -> tuple[int, ...]:
        return tuple(self.array.shape[1:])

    @property
    def kind(self) -> str:
        return str(self.array.dtype)


@dataclass
class G:
    """A graph under construction over rows `x`."""

    x: Any
    opset: int = 21
    ml: int = 3
    nodes: list[Any] = field(default_factory=list)
    constants: list[Any] = field(default_factory=list)

    def constant(self, array: Any) -> str:
        name = f"k{len(self.constants)}"
        self.constants.append(numpy_helper.from_array(np.asarray(array), name))
        return name

    def node(self, op: str, inputs: Sequence[str], *, domain: str = "", outputs: int = 1, **attributes: Any) -> Any:
        """Adds a node; gives its output, or a list of them."""
        names = [f"t{len(self.nodes)}_{i}" for i in range(outputs)]
        kept = {name: value for name, value in attributes.items() if value is not None}
        self.nodes.append(helper.make_node(op, list(inputs), names, domain=domain, **kept))
        made = [T(name, array) for name, array in zip(names, self.answers(names), strict=True)]
        return made if outputs > 1 else made[0]

    def model(self, outputs: Sequence[str]) -> Any:
        rows = helper.make_tensor_value_info("x", 1, [None, *self.x.shape[1:]])
        graph = helper.make_graph(
            self.nodes, "g", [rows], [onnx.ValueInfoProto(name=name) for name in outputs], self.constants
        )
        opsets = [helper.make_opsetid("", self.opset), helper.make_opsetid(ML, self.ml)]
        return helper.make_model(graph, opset_imports=opsets, ir_version=8)

    def answers(self, names: Sequence[str]) -> list[Any]:
        options = onnxruntime.SessionOptions()
        options.intra_op_num_threads = 1
        options.log_severity_level = 4
        found: list[Any] = onnxruntime.InferenceSession(self.model(names).SerializeToString(), options).run(
            None, {"x": self.x}
        )
        return found

    def finished(self, tensors: Sequence[T]) -> tuple[Any, list[T]]:
        """The model and its outputs, cast to what a model may give out."""
        ends = []
        for tensor in tensors:
            if tensor.kind in ("float32", "int64"):
                ends.append(tensor)
            else:
                to = KINDS["int64" if tensor.kind in ("bool", "int32") else "float32"]
                ends.append(self.node("Cast", [tensor.name], to=to))
        typed = self.model([tensor.name for tensor in ends])
        for value, tensor in zip(typed.graph.output, ends, strict=True):
            value.CopyFrom(helper.make_tensor_value_info(tensor.name, KINDS[tensor.kind], [None, *tensor.shape]))
        return typed, ends


Draw = Callable[..., Any]
Maker = Callable[[Draw, G, T], "T | list[T]"]


def random_of(d: Draw) -> np.random.Generator:
    return np.random.default_rng(d(st.integers(0, 1 << 30)))


SPECIALS = (np.nan, np.inf, -np.inf, 0.0, -0.0, 1e30, -1e30, 1e-40, 87.0)


def rows(d: Draw, shape: Sequence[int], special: Sequence[float] = SPECIALS, span: float = 4.0) -> Any:
    """Values between -span and span, halves and special values among them."""
    random = random_of(d)
    found = random.uniform(-span, span, (ROWS, *shape)).astype(np.float32)
    halves = random.random(found.shape) < 0.2
    found[halves] = np.round(found[halves] * 2) / 2
    if special and d(st.booleans()):
        places = random.random(found.shape) < 0.15
        found[places] = random.choice(np.array(special, np.float32), places.sum())
    return found


def shapes(d: Draw, least: int = 0, most: int = 3, sizes: int = 5) -> tuple[int, ...]:
    return tuple(d(st.lists(st.integers(1, sizes), min_size=least, max_size=most)))


def as_kind(g: G, t: T, kind: str) -> T:
    """The tensor as another type, from values that fit it."""
    if t.kind == kind:
        return t
    if kind == "bool":
        return g.node("Greater", [t.name, g.constant(t.array.dtype.type(0))])
    return g.node("Cast", [t.name], to=KINDS[kind])


def finite(d: Draw, kind: str, shape: Sequence[int]) -> Any:
    """A constant."""
    found = random_of(d).uniform(-4, 4, tuple(shape))
    return np.asarray(found > 0 if kind == "bool" else np.round(found * 2) / 2 if kind == "float32" else found).astype(
        kind
    )


def broadcastable(d: Draw, shape: Sequence[int]) -> tuple[int, ...]:
    """A constant's shape that broadcasts to rows of `shape`: some sizes 1, leading ones left out."""
    kept = [size if d(st.booleans()) else 1 for size in shape]
    return tuple(([1] if d(st.booleans()) else []) + kept if d(st.booleans()) else kept[d(st.integers(0, len(kept))) :])


# Makers of operators on elements.
FLOAT_ATTRIBUTES = {
    "Celu": {"alpha": (0.5, 2.0)}, "Elu": {"alpha": (0.25, 2.0)}, "LeakyRelu": {"alpha": (-0.5, 0.5)},
    "HardSigmoid": {"alpha": (0.25, 0.5), "beta": (0.0, 1.0)}, "Selu": {"alpha": (0.5, 2.0), "gamma": (0.5, 2.0)},
    "ThresholdedRelu": {"alpha": (-1.0, 2.0)}, "Swish": {"alpha": (0.5, 2.0)},
}  # fmt: skip
UNARY_KINDS = {
    **dict.fromkeys(("Abs", "Neg", "Sign"), ("float32", "float64", "int64", "int32")),
    **dict.fromkeys(("Exp", "Log", "Sqrt", "Reciprocal", "IsNaN"), ("float32", "float64")),
    "Relu": ("float32", "float64", "int32"), "Not": ("bool",),
}  # fmt: skip
UNARY = words(
    "Abs Neg Sign Relu Exp Log Sqrt Reciprocal IsNaN IsInf Not Celu Ceil Elu Erf Floor Gelu "
    "HardSigmoid HardSwish LeakyRelu Mish Round Selu Sigmoid Softplus Softsign Swish Tanh "
    "ThresholdedRelu"
)


def unary(op: str) -> Maker:
    def make(d: Draw, g: G, t: T) -> T:
        g.opset = max(g.opset, 24 if op == "Swish" else 21)
        t = as_kind(g, t, d(st.sampled_from(UNARY_KINDS.get(op, ("float32",)))))
        found = {
            n: d(st.floats(*span, width=32)) for n, span in FLOAT_ATTRIBUTES.get(op, {}).items() if d(st.booleans())
        }
        if op == "IsInf":
            found = {"detect_positive": d(st.integers(0, 1)), "detect_negative": d(st.integers(0, 1))}
        if op == "Gelu":
            found = {"approximate": d(st.sampled_from(["none", "tanh"]))}
        return g.node(op, [t.name], **found)

    return make


def other_side(d: Draw, g: G, t: T, kind: str) -> str:
    """A second input: a constant that broadcasts, or a tensor made from the first, of which an axis may be 1."""
    if d(st.booleans()):
        return g.constant(finite(d, kind, broadcastable(d, t.shape)))
    other = g.node("Mul" if kind != "bool" else "And", [t.name, g.constant(finite(d, kind, ()))])
    if t.shape and kind != "bool" and d(st.booleans()):
        axis = d(st.integers(1, len(t.shape)))
        other = g.node("ReduceMax", [other.name, g.constant(np.array([axis]))])
    return other.name


PAIR_KINDS = {
    **dict.fromkeys(("Add", "Sub", "Mul"), ("float32", "float64", "int64", "int32")),
    **dict.fromkeys(("Less", "Greater", "LessOrEqual", "GreaterOrEqual"), ("float32", "float64", "int64", "int32")),
    "Equal": ("float32", "float64", "int64", "int32", "bool"), "Div": ("float32", "float64", "int64"),
    **dict.fromkeys(("And", "Or", "Xor"), ("bool",)), "PRelu": ("float32",),
}  # fmt: skip


def pair(op: str) -> Maker:
    def make(d: Draw, g: G, t: T) -> T:
        kind = d(st.sampled_from(PAIR_KINDS[op]))
        t = as_kind(g, t, kind)
        if op == "PRelu" or (op == "Div" and kind == "int64"):
            values = finite(d, kind, broadcastable(d, t.shape))
            names = [
                t.name,
                g.constant(values if op == "PRelu" else np.abs(values) + 2),
            ]  # lowest / -1 ends onnxruntime
        else:
            names = [t.name, other_side(d, g, t, kind)]
        if op in ("Sub", "Div", "Less", "Greater") and kind.startswith("float") and d(st.booleans()):
            names.reverse()
        return g.node(op, names)

    return make


def series(op: str) -> Maker:
    def make(d: Draw, g: G, t: T) -> T:
        kind = d(st.sampled_from(("float32", "float64", "int64") if op in ("Max", "Min") else ("float32",)))
        t = as_kind(g, t, kind)
        return g.node(op, [t.name, *(other_side(d, g, t, kind) for _ in range(d(st.integers(0, 3))))])

    return make


def power(d: Draw, g: G, t: T) -> T:
    kind = d(st.sampled_from(("float32", "int64")))
    single = np.asarray(
        d(st.sampled_from([2, 3, 0, 1, -1, 5])) if kind == "int64" else d(st.floats(-3, 3, width=16)), kind
    )
    if d(st.booleans()):
        return g.node("Pow", [t.name, g.constant(single)])
    if kind == "float32" and d(st.booleans()):
        return g.node("Pow", [g.node("Abs", [t.name]).name, other_side(d, g, t, kind)])
    return g.node("Pow", [t.name, g.constant(finite(d, kind, broadcastable(d, t.shape)))])


def where(d: Draw, g: G, t: T) -> T:
    condition = (
        as_kind(g, t, "bool").name if d(st.booleans()) else g.constant(finite(d, "bool", broadcastable(d, t.shape)))
    )
    kind = d(st.sampled_from(("float32", "int64")))
    t = as_kind(g, t, kind)
    names = [t.name, g.constant(finite(d, kind, broadcastable(d, t.shape)))]
    return g.node("Where", [condition, *(names if d(st.booleans()) else names[::-1])])


def clip(d: Draw, g: G, t: T) -> T:
    low, high = (d(st.none() | st.floats(-3, 3, width=16)) for _ in range(2))
    if d(st.booleans()) and not g.nodes:
        g.opset = 10
        if low is not None and high is not None:
            low, high = sorted((low, high))  # onnxruntime wants that of attributes
        return g.node("Clip", [t.name], min=low, max=high)
    kind = d(st.sampled_from(("float32", "float64", "int64")))
    t = as_kind(g, t, kind)
    bounds = ["" if bound is None else g.constant(np.asarray(bound).astype(kind)) for bound in (low, high)]
    return g.node("Clip", [t.name, *bounds][: 3 if bounds[1] else 2 if bounds[0] else 1])


def cast(d: Draw, g: G, t: T) -> T:
    first = g.node("Cast", [t.name], to=KINDS[d(st.sampled_from(sorted(KINDS)))])
    return g.node("Cast", [first.name], to=KINDS[d(st.sampled_from(sorted(KINDS)))])


# Makers of reductions and normalisations.
def some_axes(d: Draw, t: T) -> list[int]:
    """Some axes of the row, of which some are counted from the end."""
    rank = len(t.shape) + 1
    axes = d(st.lists(st.integers(1, rank - 1), min_size=1, max_size=rank - 1, unique=True))
    return [axis - rank if d(st.booleans()) else axis for axis in axes]


def reduction(op: str) -> Maker:
    def make(d: Draw, g: G, t: T) -> T:
        kinds = {"ReduceSum": 4, "ReduceMax": 4, "ReduceMin": 4, "ReduceProd": 4, "ReduceMean": 2, "ReduceSumSquare": 4}
        kind = d(st.sampled_from(("float32", "float64", "int64", "int32")[: kinds.get(op, 1)]))
        keep = d(st.none() | st.integers(0, 1))
        if kind.startswith("int") and not np.isfinite(t.array).all():
            kind = "float32"  # onnxruntime adds integers as doubles, which loses digits of the lowest one
        if d(st.booleans()) and not g.nodes:
            g.opset = 11
            return g.node(op, [as_kind(g, t, kind).name], axes=some_axes(d, t), keepdims=keep)
        t = as_kind(g, t, kind)
        return g.node(op, [t.name, g.constant(np.array(some_axes(d, t)))], keepdims=keep)

    return make


def lp_normalization(d: Draw, g: G, t: T) -> T:
    return g.node(
        "LpNormalization", [t.name], axis=d(st.integers(1, len(t.shape)) | st.just(-1)), p=d(st.integers(1, 2))
    )


def layer_normalization(d: Draw, g: G, t: T) -> T:
    axis = d(st.integers(1, len(t.shape)))
    names = [g.constant(finite(d, "float32", t.shape[axis - 1 :])) for _ in range(d(st.integers(1, 2)))]
    return g.node("LayerNormalization", [t.name, *names], axis=axis, epsilon=d(st.sampled_from([None, 1e-3])))


def instance_normalization(d: Draw, g: G, t: T) -> T:
    names = [g.constant(finite(d, "float32", t.shape[:1])) for _ in range(2)]
    return g.node("InstanceNormalization", [t.name, *names], epsilon=d(st.sampled_from([None, 1e-3])))


def batch_normalization(d: Draw, g: G, t: T) -> T:
    scale, bias, mean = (finite(d, "float32", t.shape[:1]) for _ in range(3))
    names = [
        g.constant(one) for one in (scale, bias, mean, np.abs(finite(d, "float32", t.shape[:1])) + np.float32(0.1))
    ]
    return g.node("BatchNormalization", [t.name, *names], epsilon=d(st.sampled_from([None, 1e-3])))


# Makers of shapes and moves.
def identity(d: Draw, g: G, t: T) -> T:
    return g.node("Identity", [as_kind(g, t, d(st.sampled_from(("float32", "int64", "bool")))).name])


def dropout(d: Draw, g: G, t: T) -> T:
    names = [g.constant(np.float32(0.3)), g.constant(np.array(False))][: d(st.integers(0, 2))]
    return g.node("Dropout", [t.name, *names])


def reshape(d: Draw, g: G, t: T) -> T:
    """The batch is kept by 0 or -1; the row in another order of its factors."""
    width = int(np.prod(t.shape, dtype=int))
    first = d(st.sampled_from([size for size in range(1, width + 1) if width % size == 0]))
    row = d(st.sampled_from([[width], [first, width // first], [first, 1, width // first]]))
    if d(st.booleans()):
        row[d(st.integers(0, len(row) - 1))] = -1
        return g.node("Reshape", [t.name, g.constant(np.array([0, *row]))])
    return g.node("Reshape", [t.name, g.constant(np.array([-1, *row]))])


def shape(d: Draw, g: G, t: T) -> T:
    """The shape of one tensor for another of the same elements."""
    width = int(np.prod(t.shape, dtype=int))
    flat = g.node("Reshape", [t.name, g.constant(np.array([-1, width]))])
    sizes = g.node("Shape", [t.name])
    return g.node("Reshape", [flat.name, sizes.name])


def constant_of_shape(d: Draw, g: G, t: T) -> T:
    sizes = g.node("Shape", [t.name])
    kind = d(st.sampled_from(("float32", "int64")))
    value = d(st.sampled_from([None, numpy_helper.from_array(finite(d, kind, (1,)))]))
    made = g.node("ConstantOfShape", [sizes.name], value=value)
    return g.node("Add", [as_kind(g, made, t.kind).name, t.name])


def stacked(d: Draw, g: G, t: T) -> T:
    """Rows as [1, N, C], several of them as [k, N, C], and one number of each k: how voting graphs look."""
    names = []
    for _ in range(d(st.integers(2, 3))):
        scaled = g.node("Mul", [t.name, g.constant(finite(d, "float32", ()))])
        names.append(g.node("Reshape", [scaled.name, g.constant(np.array([1, -1, *t.shape]))]).name)
    many = g.node("Concat", names, axis=0)
    keep = d(st.integers(0, 1))
    mean = g.node(
        d(st.sampled_from(["ReduceMean", "ReduceSum"])), [many.name, g.constant(np.array([0]))], keepdims=keep
    )
    return g.node("Squeeze", [mean.name, g.constant(np.array([0]))]) if keep else mean


def flatten(d: Draw, g: G, t: T) -> T:
    return g.node("Flatten", [t.name], axis=d(st.sampled_from([None, 1, -len(t.shape)]) if t.shape else st.just(1)))


def unsqueezed(d: Draw, g: G, t: T) -> tuple[T, list[int]]:
    axes = sorted(d(st.lists(st.integers(1, len(t.shape) + 1), min_size=1, max_size=2, unique=True)))
    if d(st.booleans()) and not g.nodes:
        g.opset = 11
        return g.node("Unsqueeze", [t.name], axes=axes), axes
    return g.node("Unsqueeze", [t.name, g.constant(np.array(axes))]), axes


def unsqueeze(d: Draw, g: G, t: T) -> T:
    return unsqueezed(d, g, t)[0]


def squeeze(d: Draw, g: G, t: T) -> T:
    t, axes = unsqueezed(d, g, t)
    less = [axis - len(t.shape) - 1 if d(st.booleans()) else axis for axis in axes]
    return (
        g.node("Squeeze", [t.name], axes=less)
        if g.opset < 13
        else g.node("Squeeze", [t.name, g.constant(np.array(less))])
    )


def transpose(d: Draw, g: G, t: T) -> T:
    t = as_kind(g, t, d(st.sampled_from(("float32", "int64"))))
    return g.node("Transpose", [t.name], perm=[0, *d(st.permutations(range(1, len(t.shape) + 1)))])


def concat(d: Draw, g: G, t: T) -> T:
    t = as_kind(g, t, d(st.sampled_from(("float32", "int64"))))
    axis = d(st.integers(1, len(t.shape)))
    others = [g.node("Mul", [t.name, g.constant(finite(d, t.kind, ()))]).name for _ in range(d(st.integers(0, 2)))]
    half = g.node("ReduceMax", [t.name, g.constant(np.array([axis]))]).name
    return g.node("Concat", [t.name, *others, half], axis=axis - len(t.shape) - 1 if d(st.booleans()) else axis)


def split(d: Draw, g: G, t: T) -> list[T]:
    axis = d(st.integers(1, len(t.shape)))
    t = t if t.shape[axis - 1] > 1 else g.node("Concat", [t.name, t.name], axis=axis)
    first = d(st.integers(1, t.shape[axis - 1] - 1))
    sizes = [first, t.shape[axis - 1] - first]
    if d(st.booleans()) and not g.nodes:
        g.opset = 11
        return g.node("Split", [t.name], outputs=2, axis=axis, split=sizes)
    if d(st.booleans()):
        return g.node("Split", [t.name], outputs=2, axis=axis, num_outputs=2)
    return g.node("Split", [t.name, g.constant(np.array(sizes))], outputs=2, axis=axis)


def cut(d: Draw, g: G, t: T) -> T:
    """Starts, ends and steps that leave something, from both ends."""
    axis = d(st.integers(1, len(t.shape)))
    size = t.shape[axis - 1]
    start = d(st.integers(0, size - 1))
    if d(st.booleans()) and not g.nodes:
        g.opset = 9
        return g.node("Slice", [t.name], axes=[0, axis], starts=[0, start - size], ends=[(1 << 31) - 1, size + 3])
    step = d(st.sampled_from([1, 2, -1, -2]))
    end = (
        d(st.integers(start + 1, size + 2)) if step > 0 else d(st.sampled_from([*range(start), -size - 1, -(1 << 62)]))
    )
    given = [np.array([value]) for value in (start - size if d(st.booleans()) else start, end, axis, step)]
    return g.node("Slice", [t.name, *map(g.constant, given)])


def gather(d: Draw, g: G, t: T) -> T:
    axis = d(st.integers(1, len(t.shape)))
    size = t.shape[axis - 1]
    shape = d(st.sampled_from([(), (1,), (4,), (2, 3)]))
    indices = random_of(d).integers(-size, size, shape)
    return g.node("Gather", [t.name, g.constant(np.asarray(indices, np.int64))], axis=axis)


def expand(d: Draw, g: G, t: T) -> T:
    small = g.node("ReduceMax", [t.name, g.constant(np.array([d(st.integers(1, len(t.shape)))]))])
    sizes = [d(st.integers(1, 4)) if size == 1 else size for size in small.shape]
    return g.node("Expand", [small.name, g.constant(np.array([1, *sizes] if d(st.booleans()) else sizes))])


def tile(d: Draw, g: G, t: T) -> T:
    return g.node("Tile", [t.name, g.constant(np.array([1, *(d(st.integers(1, 3)) for _ in t.shape)]))])


def pad(d: Draw, g: G, t: T) -> T:
    pads = [0, *(d(st.integers(0, 2)) for _ in t.shape), 0, *(d(st.integers(0, 2)) for _ in t.shape)]
    value = d(st.sampled_from([0.0, 1.5, -2.0]))
    if d(st.booleans()) and not g.nodes:
        g.opset = 10
        return g.node("Pad", [t.name], pads=pads, value=value)
    if d(st.booleans()):
        axes = g.constant(np.array([len(t.shape)]))
        return g.node("Pad", [t.name, g.constant(np.array([1, 2])), g.constant(np.float32(value)), axes])
    return g.node(
        "Pad", [t.name, g.constant(np.array(pads)), *([g.constant(np.float32(value))] * d(st.integers(0, 1)))]
    )


# Makers of images and signals.
def window(d: Draw, t: T, *, dilated: bool = True, padded: bool = True) -> dict[str, Any]:
    """A kernel that fits, and how it moves."""
    kernel = [d(st.integers(1, min(3, size))) for size in t.shape[1:]]
    found: dict[str, Any] = {"kernel_shape": kernel}
    if d(st.booleans()):
        found["strides"] = [d(st.integers(1, 3)) for _ in kernel]
    if d(st.booleans()) and dilated:
        found["dilations"] = [
            d(st.integers(1, max(1, (size - 1) // max(k - 1, 1)))) for k, size in zip(kernel, t.shape[1:], strict=True)
        ]
    how = d(st.sampled_from(["none", "pads", "SAME_UPPER", "SAME_LOWER", "VALID"]))
    if how == "pads" and padded:
        found["pads"] = [d(st.integers(0, k - 1)) for k in kernel] + [d(st.integers(0, k - 1)) for k in kernel]
    elif how not in ("none", "pads") and max(found.get("dilations", [1])) == 1:
        found["auto_pad"] = how
    return found


def conv(d: Draw, g: G, t: T) -> T:
    group = d(st.sampled_from([size for size in range(1, t.shape[0] + 1) if t.shape[0] % size == 0]))
    found = window(d, t)
    outputs = group * d(st.integers(1, 3))
    weights = finite(d, "float32", (outputs, t.shape[0] // group, *found["kernel_shape"])) / np.float32(8)
    names = [g.constant(weights), g.constant(finite(d, "float32", (outputs,)))][: d(st.integers(1, 2))]
    return g.node("Conv", [t.name, *names], group=group, **found)


def max_pool(d: Draw, g: G, t: T) -> T:
    return g.node("MaxPool", [t.name], ceil_mode=d(st.integers(0, 1)), **window(d, t))


def average_pool(d: Draw, g: G, t: T) -> T:
    given = {"ceil_mode": d(st.integers(0, 1)), "count_include_pad": d(st.integers(0, 1))}
    return g.node("AveragePool", [t.name], **given, **window(d, t))


def plain(op: str) -> Maker:
    return lambda d, g, t: g.node(op, [t.name])


# Makers of ai.onnx.ml.
def binarizer(d: Draw, g: G, t: T) -> T:
    return g.node("Binarizer", [t.name], domain=ML, threshold=d(st.sampled_from([None, 0.5, -1.0])))


def feature_vectorizer(d: Draw, g: G, t: T) -> T:
    other = as_kind(g, g.node("Mul", [t.name, g.constant(np.float32(0.25))]), "float32")
    return g.node("FeatureVectorizer", [t.name, other.name], domain=ML, inputdimensions=[*t.shape, *t.shape])


def imputer(d: Draw, g: G, t: T) -> T:
    count = d(st.sampled_from([1, t.shape[0]]))
    if d(st.booleans()):
        t = as_kind(g, t, "int64")
        values = finite(d, "int64", (count,)).tolist()
        return g.node(
            "Imputer", [t.name], domain=ML, imputed_value_int64s=values, replaced_value_int64=d(st.integers(-1, 1))
        )
    values, replaced = (
        finite(d, "float32", (count,)).tolist(),
        d(st.sampled_from([float("nan"), 0.0, 0.5, float("inf")])),
    )
    return g.node("Imputer", [t.name], domain=ML, imputed_value_floats=values, replaced_value_float=replaced)


def one_hot(d: Draw, g: G, t: T) -> T:
    t = as_kind(g, t, d(st.sampled_from(("float32", "float64", "int64"))))
    categories = d(st.lists(st.integers(-4, 4), min_size=1, max_size=6, unique=True))
    return g.node("OneHotEncoder", [t.name], domain=ML, cats_int64s=categories, zeros=1)


def label_encoder(d: Draw, g: G, t: T) -> T:
    """Attribute pairs of operator set 2, and tensors of 4; keys may be NaN."""
    g.ml = 4 if d(st.booleans()) else 3
    kind = d(st.sampled_from(("float32", "int64")))
    t, size = as_kind(g, t, kind), d(st.integers(1, 6))
    keys = np.unique(finite(d, kind, (size,)))
    keys = np.append(keys, np.float32(np.nan)) if kind == "float32" and d(st.booleans()) else keys
    values = finite(d, d(st.sampled_from(("float32", "int64"))), keys.shape)
    if g.ml == 4 and d(st.booleans()):
        default = numpy_helper.from_array(np.array([9], values.dtype))
        tensors = {"keys_tensor": numpy_helper.from_array(keys), "values_tensor": numpy_helper.from_array(values)}
        return g.node("LabelEncoder", [t.name], domain=ML, **tensors, default_tensor=default)
    names = {"float32": "floats", "int64": "int64s"}
    lists = {f"keys_{names[kind]}": keys.tolist(), f"values_{names[str(values.dtype)]}": values.tolist()}
    default = {f"default_{names[str(values.dtype)][:-1]}": d(st.sampled_from([None, 7]))}
    return g.node(
        "LabelEncoder",
        [t.name],
        domain=ML,
        **lists,
        **{n: v if v is None or "int" in n else float(v) for n, v in default.items()},
    )


def extractor(d: Draw, g: G, t: T) -> T:
    """Columns of the row; or labels picked by ArgMax, as [1, N], and put into rows again."""
    if d(st.booleans()):
        places = random_of(d).integers(0, t.shape[0], d(st.integers(1, 5)))
        return g.node("ArrayFeatureExtractor", [t.name, g.constant(places)], domain=ML)
    best = g.node("ArgMax", [t.name], axis=1, keepdims=d(st.integers(0, 1)))
    values = finite(d, d(st.sampled_from(("int64", "float32"))), t.shape)
    picked = g.node("ArrayFeatureExtractor", [g.constant(values), best.name], domain=ML)
    same_kind = g.node("Cast", [picked.name], to=KINDS[d(st.sampled_from(("int64", "float32", "int32")))])
    return g.node("Reshape", [same_kind.name, g.constant(np.array(d(st.sampled_from([[-1], [-1, 1]]))))])


# Makers of dense layers and what ends a classifier.
def matmul(d: Draw, g: G, t: T) -> T:
    return g.node("MatMul", [t.name, g.constant(finite(d, "float32", (t.shape[-1], d(st.integers(1, 40)))))])


def gemm(d: Draw, g: G, t: T) -> T:
    turned, outputs = d(st.integers(0, 1)), d(st.integers(1, 40))
    weights = g.constant(finite(d, "float32", (outputs, t.shape[0]) if turned else (t.shape[0], outputs)))
    bias = [g.constant(finite(d, "float32", (outputs,)))] * d(st.integers(0, 1))
    return g.node(
        "Gemm",
        [t.name, weights, *bias],
        transB=turned,
        alpha=d(st.sampled_from([None, 0.5])),
        beta=d(st.sampled_from([None, 2.0])),
    )


def by_axis(op: str, **attributes: Any) -> Maker:
    def make(d: Draw, g: G, t: T) -> T:
        return g.node(op, [t.name], axis=d(st.integers(1, len(t.shape))), **{n: d(v) for n, v in attributes.items()})

    return make


MAKERS: dict[tuple[str, str], Maker] = {
    **{("", op): unary(op) for op in UNARY},
    **{("", op): pair(op) for op in PAIR_KINDS},
    **{("", op): series(op) for op in ("Max", "Min", "Sum", "Mean")},
    **{("", op): reduction(op) for op in words(
        "ReduceSum ReduceMean ReduceMax ReduceMin ReduceProd ReduceSumSquare ReduceL1 ReduceL2 "
        "ReduceLogSum ReduceLogSumExp"
    )},
    ("", "Cast"): cast, ("", "Clip"): clip, ("", "Pow"): power, ("", "Where"): where,
    ("", "LpNormalization"): lp_normalization, ("", "LayerNormalization"): layer_normalization,
    ("", "InstanceNormalization"): instance_normalization, ("", "BatchNormalization"): batch_normalization,
    ("", "Identity"): identity, ("", "Shape"): shape, ("", "ConstantOfShape"): constant_of_shape,
    ("", "Dropout"): dropout, ("", "Reshape"): reshape, ("", "Flatten"): flatten,
    ("", "Squeeze"): squeeze, ("", "Unsqueeze"): unsqueeze, ("", "Transpose"): transpose, ("", "Concat"): concat,
    ("", "Split"): split, ("", "Slice"): cut, ("", "Gather"): gather, ("", "Expand"): expand, ("", "Tile"): tile,
    ("", "Pad"): pad, ("", "Conv"): conv, ("", "MaxPool"): max_pool, ("", "AveragePool"): average_pool,
    ("", "GlobalMaxPool"): plain("GlobalMaxPool"), ("", "GlobalAveragePool"): plain("GlobalAveragePool"),
    (ML, "Binarizer"): binarizer, (ML, "FeatureVectorizer"): feature_vectorizer, (ML, "Imputer"): imputer,
    (ML, "OneHotEncoder"): one_hot, (ML, "ArrayFeatureExtractor"): extractor, (ML, "LabelEncoder"): label_encoder,
    ("", "MatMul"): matmul, ("", "Gemm"): gemm, ("", "Softmax"): by_axis("Softmax"), ("", "LogSoftmax"): by_axis("LogSoftmax"),
    ("", "ArgMax"): by_axis("ArgMax", keepdims=st.integers(0, 1)), ("", "ArgMin"): by_axis("ArgMin", keepdims=st.integers(0, 1)),
}  # fmt: skip
ROW_AXES = {  # least and most axes of a row, where it is not 0 to 3
    **dict.fromkeys(("Conv", "MaxPool", "AveragePool", "InstanceNormalization"), (2, 3)), "GlobalMaxPool": (2, 3),
    "GlobalAveragePool": (2, 3), **dict.fromkeys(("FeatureVectorizer", "Imputer", "Gemm", "ArrayFeatureExtractor"), (1, 1)),
    "OneHotEncoder": (1, 1),
    **dict.fromkeys(
        words(
        "Transpose Concat Split Slice Gather Expand Tile Pad BatchNormalization LayerNormalization "
        "LpNormalization MatMul Softmax LogSoftmax ArgMax ArgMin LabelEncoder"
    ), (1, 3),
    ),
}  # fmt: skip
ORDER = words("Conv AveragePool GlobalAveragePool Gemm MatMul InstanceNormalization LayerNormalization LpNormalization")
PLAIN = words(  # NaN: see docs/native-operators.md
    "MaxPool GlobalMaxPool ReduceMax ReduceMin Concat Expand ArrayFeatureExtractor"
)


def special_values(op: str) -> tuple[float, ...]:
    """What is put among ordinary values: not what would make the order of a sum matter, and nothing for PLAIN."""
    if op in PLAIN:
        return ()
    if op == "Binarizer":
        return SPECIALS[1:]  # onnxruntime refuses rows with NaN
    return (
        (np.nan, np.inf, 0.0, -0.0, 1e-40)
        if op in ORDER or op.startswith(("Reduce", "Softmax", "LogSoftmax", "Arg"))
        else SPECIALS
    )


def write_model(folder: Path, place: int, model: Emitted) -> None:
    """A C file whose symbols end with the place, so that many models fit into one library."""
    (folder / f"m{place}").mkdir()
    (folder / f"m{place}" / "model.h").write_text(model.header)
    (folder / f"m{place}" / "model.c").write_text(model.source)
    renamed = "".join(f"#define {symbol} {symbol}_{place}\n" for symbol in SYMBOLS)
    (folder / f"{place}.c").write_text(f'{renamed}#include "m{place}/model.c"\n')


@pytest.fixture(scope="module")
def compile_all(
    tmp_path_factory: pytest.TempPathFactory,
) -> Callable[[Sequence[Emitted]], list[Callable[[Any], list[Any]]]]:
    """Compiles the models into one library: a function from rows to outputs for each."""
    if shutil.which("cc") is None:
        pytest.skip("no C compiler: `cc` is not on the PATH")

    def compiled(models: Sequence[Emitted]) -> list[Callable[[Any], list[Any]]]:
        folder = tmp_path_factory.mktemp("operators")
        for place, model in enumerate(models):
            write_model(folder, place, model)
        words = ["cc", *FLAGS.split(), *(f"{place}.c" for place in range(len(models))), "-o", "all.so"]
        done = subprocess.run(words, cwd=folder, capture_output=True, text=True)
        assert done.returncode == 0, done.stderr[:3000]
        library = ctypes.CDLL(str(folder / "all.so"))
        return [caller(library[f"model_predict_{place}"], model) for place, model in enumerate(models)]

    return compiled


def caller(function: Any, model: Emitted) -> Callable[[Any], list[Any]]:
    def predict(x: Any) -> list[Any]:
        made = [np.full(len(x) * o.width + 4, 77, o.kind) for o in model.outputs]
        scratch = np.zeros(model.scratch_bytes + 32, np.uint8)
        pointers = (ctypes.c_void_p * len(made))(*(array.ctypes.data for array in made))
        start = -(-scratch.ctypes.data // 16) * 16
        function(ctypes.c_void_p(x.ctypes.data), ctypes.c_uint64(len(x)), pointers, ctypes.c_void_p(start))
        assert all((array[-4:] == 77).all() for array in made), "it wrote behind an output"
        return [array[:-4].reshape(len(x), *o.shape) for array, o in zip(made, model.outputs, strict=True)]

    return predict


def same(found: Any, expected: Any, atol: float) -> None:
    """Integers are equal; floats within `atol` (of chains: of the largest) or 2e-6 of their size; NaN is where it should be."""
    assert found.shape == expected.shape
    assert found.dtype == expected.dtype
    if expected.dtype == np.float32:
        size = np.abs(expected[np.isfinite(expected)]).max(initial=1.0) if atol > 1e-5 else 1.0
        np.testing.assert_allclose(found, expected, rtol=2e-6, atol=atol * size)
    else:
        np.testing.assert_array_equal(found, expected)


def check(graphs: Sequence[tuple[G, Sequence[T]]], compile_all: Callable[..., Any], atol: float = 1e-6) -> None:
    """What the C code gives is what onnxruntime gives."""
    finished = [g.finished(tensors) for g, tensors in graphs]
    functions = compile_all([emit(graph_of(model)) for model, _ in finished])
    for (g, _), (model, ends), function in zip(graphs, finished, functions, strict=True):
        for found, end in zip(function(g.x), ends, strict=True):
            try:
                same(found, end.array, atol)
            except AssertionError as error:
                nodes = onnx.printer.to_text(model)
                raise AssertionError(f"{error}\n{nodes[:3000]}\nx = {g.x.tolist()!r:.1500}") from None


def axes_of(op: str) -> tuple[int, int]:
    return (1, 3) if op.startswith("Reduce") else ROW_AXES.get(op, (0, 3))


def one_of(d: Draw, key: tuple[str, str]) -> tuple[G, list[T]]:
    """A graph of one operator, and what makes its inputs."""
    g = G(rows(d, shapes(d, *axes_of(key[1])), special_values(key[1])))
    made = MAKERS[key](d, g, T("x", g.x))
    return g, made if isinstance(made, list) else [made]


BOUNDED = settings(  # not shrunk: each try calls the compiler
    max_examples=3, derandomize=True, deadline=None, database=None, suppress_health_check=list(HealthCheck),
    phases=[Phase.generate],
)  # fmt: skip


@pytest.mark.slow
@pytest.mark.parametrize("key", MAKERS, ids=lambda key: key[1])
@BOUNDED
@given(data=st.data())
def test_an_operator_computes_what_onnxruntime_does(
    key: tuple[str, str], compile_all: Callable[..., Any], data: Any
) -> None:
    """Random shapes, attributes, types and values, with NaN, infinities, zeros of both signs, denormals and large numbers."""
    check([one_of(data.draw, key) for _ in range(GRAPHS)], compile_all, 1e-5 if key[1] in ORDER else 1e-6)


@BOUNDED
@given(data=st.data())
def test_stacked_rows_have_the_batch_as_their_second_axis(compile_all: Callable[..., Any], data: Any) -> None:
    """Concat and reductions over the axis before the batch compute what onnxruntime does."""

    def one(d: Draw) -> tuple[G, list[T]]:
        g = G(rows(d, shapes(d, 1, 2), ()))
        return g, [stacked(d, g, T("x", g.x))]

    check([one(data.draw) for _ in range(GRAPHS)], compile_all, 1e-5)


CHAINED = words(
    "Abs Neg Relu Elu LeakyRelu Sigmoid Tanh Softsign Erf HardSigmoid Add Sub Mul Max Min PRelu Clip Reshape Flatten "
    "Unsqueeze Squeeze Transpose Concat Slice Gather Expand Tile Pad ReduceSum ReduceMean ReduceMax ReduceMin Conv MaxPool "
    "AveragePool BatchNormalization MatMul Gemm Softmax GlobalAveragePool Where Dropout Identity"
)


def chain(d: Draw) -> tuple[G, list[T]]:
    """Two to six operators, each of which takes the result of the one before it."""
    g = G(rows(d, shapes(d, 1, 3), ()))
    t = g.node("Identity", ["x"])
    for _ in range(d(st.integers(2, 6))):
        fitting = [op for op in CHAINED if axes_of(op)[0] <= len(t.shape) <= axes_of(op)[1] and t.array[0].size < 300]
        made = MAKERS[("", d(st.sampled_from(fitting or ["Relu"])))](d, g, t)
        t = as_kind(g, made if isinstance(made, T) else made[0], "float32")
    return g, [t]


@BOUNDED
@given(data=st.data())
def test_chains_of_operators_compute_what_onnxruntime_does(compile_all: Callable[..., Any], data: Any) -> None:
    """Two to six operators behind one another: shapes, aliases and buffers fit together."""
    check([chain(data.draw) for _ in range(20)], compile_all, 1e-4)


EVERYWHERE = words(
    "Cast Exp Log Pow Tanh Sigmoid Erf Softplus Gelu Elu Sqrt Reciprocal Div Mean Clip Round Floor Ceil Sign ReduceSum ReduceL2 "
    "ReduceLogSumExp Conv MaxPool AveragePool BatchNormalization LayerNormalization LpNormalization Softmax MatMul Gather Where"
)
MAIN = """#include <stdint.h>
#include <stdio.h>
static uint64_t scratch[1 << 16], values[1 << 16];
static uint64_t *const outputs[1] = {values};
CALLS
int main(void) { return RUNS; }
"""
CALL = """void model_predict_{0}(const float *x, uint64_t rows, void *const *outputs, void *scratch);
static const uint32_t x{0}[] = {{{1}}};
static int run{0}(void) {{
    model_predict_{0}((const float *)(const void *)x{0}, {2}, (void *const *)outputs, scratch);
    return fwrite(values, {3}, 1, stdout) != 1;
}}
"""


@pytest.mark.slow
@settings(BOUNDED, max_examples=1)
@given(data=st.data())
def test_every_processor_computes_the_same_bits(tmp_path_factory: pytest.TempPathFactory, data: Any) -> None:
    """A graph of each of these operators, special values among them, in one program: the same digest on all four platforms."""
    pytest.importorskip("ziglang", reason="ziglang, the compiler for all platforms, is not installed")
    folder, calls = tmp_path_factory.mktemp("bits"), []
    for place, op in enumerate(EVERYWHERE):
        g, tensors = one_of(data.draw, ("", op))
        model = emit(graph_of(g.finished(tensors)[0]))
        write_model(folder, place, model)
        size = sum(o.width * np.dtype(o.kind).itemsize for o in model.outputs) * ROWS
        calls.append(CALL.format(place, ", ".join(map(str, g.x.view(np.uint32).ravel())), ROWS, size))
    runs = " || ".join(f"run{place}()" for place in range(len(EVERYWHERE)))
    (folder / "main.c").write_text(MAIN.replace("CALLS", "".join(calls)).replace("RUNS", runs))
    sources = [f"{place}.c" for place in range(len(EVERYWHERE))]
    digests = {}
    for platform in ("linux/amd64", "linux/arm64", "linux/arm/v7", "linux/riscv64"):
        try:
            emulate.emulator(platform)
        except emulate.EmulatorUnavailable as error:
            pytest.skip(f"{error}: {error.hint}")
        toolchain.cc(
            ["-std=c99", "main.c", *sources, "-o", "main", *toolchain.STATIC], folder=folder, platform=platform
        )
        digests[platform] = hashlib.sha256(emulate.run_program(folder / "main", [], b"", platform)).hexdigest()
    assert len(set(digests.values())) == 1, digests


ELSEWHERE = words("SVMClassifier SVMRegressor Scaler Normalizer LinearClassifier LinearRegressor TreeEnsemble") + words(
    "TreeEnsembleClassifier TreeEnsembleRegressor"
)


def test_every_operator_is_compared_with_onnxruntime() -> None:
    """A row of OPERATORS has a Maker here, or another test file of the native target names it."""
    others = "".join(
        path.read_text() for path in Path(__file__).parent.glob("test_native_*.py") if path.name != Path(__file__).name
    )
    missing = [
        key
        for key in OPERATORS
        if key not in MAKERS and key != (ML, "ZipMap") and not (key[1] in ELSEWHERE and f'"{key[1]}"' in others)
    ]
    assert missing == []


def test_the_list_of_operators_in_the_documentation_is_current(golden: Callable[[Path, str], None]) -> None:
    """Every row of OPERATORS is described, and docs/native-operators.md is what comes of it."""
    assert OPERATORS.keys() <= FORMS.keys()
    golden(Path(__file__).resolve().parents[2] / "docs" / "native-operators.md", markdown())


@pytest.mark.parametrize("ml", [1, 2, 4])
def test_text_labels_come_out_as_numbers_with_their_texts(ml: int, compile_all: Callable[..., Any]) -> None:
    """The attributes of each operator set; an unknown key gets the default text."""
    x = np.array([[3, 1, 2], [0, 5, 1], [0, 0, 9]], np.float32)
    texts = ["low", "middle", "low"] if ml > 1 else ["low", "middle", "high"]
    if ml == 4:
        keys = {"keys_tensor": numpy_helper.from_array(np.array([0, 1, 2]))}
        keys |= {"values_tensor": helper.make_tensor("v", 8, [3], [text.encode() for text in texts])}
        keys |= {"default_tensor": helper.make_tensor("d", 8, [1], [b"none"])}
    else:
        keys = (
            {"classes_strings": texts}
            if ml == 1
            else {"keys_int64s": [0, 1, 2], "values_strings": texts, "default_string": "none"}
        )
    nodes = [
        helper.make_node("ArgMax", ["x"], ["i"], axis=1, keepdims=0),
        helper.make_node("LabelEncoder", ["i"], ["label"], domain=ML, **keys),
    ]
    tensors = [helper.make_tensor_value_info("x", 1, [None, 3])], [helper.make_tensor_value_info("label", 8, [None])]
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(ML, ml)]
    model = helper.make_model(helper.make_graph(nodes, "g", *tensors), opset_imports=opsets, ir_version=8)
    emitted = emit(graph_of(model))
    (found,) = compile_all([emitted])[0](x)
    expected = (
        onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0] if ml > 1 else np.array(texts)
    )
    assert [emitted.texts["label"][place] for place in found] == expected.tolist()


def test_zipmap_is_left_out(compile_all: Callable[..., Any]) -> None:
    """Where onnxruntime gives a map from labels to scores for each row, the scores come out as a tensor."""
    x = rows(lambda _: 7, (3,), ())
    nodes = [
        helper.make_node("Softmax", ["x"], ["p"]),
        helper.make_node("ZipMap", ["p"], ["maps"], domain=ML, classlabels_int64s=[4, 5, 6]),
    ]
    maps = helper.make_sequence_type_proto(helper.make_map_type_proto(7, helper.make_tensor_type_proto(1, None)))
    outputs = [helper.make_value_info("maps", maps)]
    graph = helper.make_graph(nodes, "g", [helper.make_tensor_value_info("x", 1, [None, 3])], outputs)
    opsets = [helper.make_opsetid("", 21), helper.make_opsetid(ML, 3)]
    model = helper.make_model(graph, opset_imports=opsets, ir_version=8)
    expected = onnxruntime.InferenceSession(model.SerializeToString()).run(None, {"x": x})[0]
    (found,) = compile_all([emit(graph_of(model))])[0](x)
    same(found, np.array([[row[label] for label in (4, 5, 6)] for row in expected], np.float32), 1e-6)


def refused(op: str, names: Sequence[str], constants: Sequence[Any] = (), *, axes: int = 1, **attributes: Any) -> Any:
    """A case of the next test."""
    return pytest.param(op, names, constants, axes, attributes, id=f"{op}-{names[0] if names else ''}")


@pytest.mark.parametrize(
    ("op", "words_of_it", "constants", "axes", "attributes"),
    [
        refused("Sin", ["no such operator"]),
        refused("ReduceSum", ["batch"]),
        refused("ReduceSum", ["along the batch"], [np.array([0])]),
        refused("Transpose", ["batch"], axes=2, perm=[1, 0, 2]),
        refused("Reshape", ["fixes the size of the batch"], [np.array([6, 4])]),
        refused("Reshape", ["batch"], [np.array([2, -1, 2])]),
        refused("Flatten", ["joined with another axis"], axis=0),
        refused("Concat", ["batch"], [np.zeros((1, 4), np.float32)], axis=0),
        refused("Concat", ["constants"], [np.zeros((6, 4), np.float32)], axis=1),
        refused("Gather", ["batch"], [np.array([0])], axis=0),
        refused("Pad", ["constant"], [np.array([0, 1, 0, 1])], mode="reflect"),
        refused("Pad", ["pads of the batch"], [np.array([1, 0, 0, 0])]),
        refused("Tile", ["batch"], [np.array([2, 1])]),
        refused("Expand", ["batch"], [np.array([6, 4])]),
        refused("Squeeze", ["axes"]),
        refused("Dropout", ["training"], [np.float32(0.5), np.array(True)]),
        refused("Add", ["batch would meet"], [np.zeros((6, 4), np.float32)]),
        refused("Add", ["one type"], [np.zeros(4, np.float64)]),
        refused("Clip", ["NaN"], [np.float32(np.nan)]),
        refused("Conv", ["rows"], [np.zeros((1, 4, 1), np.float32)]),
        refused("Conv", ["rows"], [np.zeros((1, 4, 1, 1, 1), np.float32)], axes=4),
        refused("BatchNormalization", ["training"], [np.ones(4, np.float32)] * 4, training_mode=1),
        refused("ai.onnx.ml.OneHotEncoder", ["handle_unknown='ignore'"], cats_int64s=[1], zeros=0),
        refused("ai.onnx.ml.LabelEncoder", ["texts as keys"], keys_strings=["a"], values_int64s=[1]),
        refused("ai.onnx.ml.Imputer", ["values to put in"], imputed_value_floats=[1.0, 2.0]),
    ],
)
def test_what_cannot_be_computed_is_refused_with_the_way_out(
    op: str, words_of_it: Sequence[str], constants: Sequence[Any], axes: int, attributes: dict[str, Any]
) -> None:
    """The message names the operator, says why, and names the runtime that takes the graph."""
    domain, _, name = op.rpartition(".")
    g = G(np.zeros((6, 4, *[2] * (axes - 1)), np.float32))
    names = [g.constant(array) for array in constants]
    g.nodes.append(helper.make_node(name, ["x", *names], ["y"], domain=domain, **attributes))
    with pytest.raises(Unsupported) as caught:
        emit(graph_of(g.model(["y"])))
    for text in (f"{domain or 'ai.onnx'}.{name}", "use the runtime onnxruntime", *words_of_it):
        assert text in str(caught.value)
