"""Images and signals: convolution, pooling, and batch normalisation, over one or two axes.

What has pads is copied into a padded array first, so that the loops inside have no border to look at. Those run over output
positions, which compilers make vectors of; each sum takes its elements in the order channel, row, column.

Pooling takes the largest as onnxruntime does over one axis: it starts with the lowest float and skips NaN. Over two axes
onnxruntime's answer for NaN depends on where it lies; here it is skipped there too.

Refuses three axes and more, weights that are computed, and the places of MaxPool's results.
"""

from __future__ import annotations

import math
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, NamedTuple

from edgeloop_components.native.strides import Inputs, contiguous, copy, literal, numbers, taken
from edgeloop_components.native.values import Value
from edgeloop_components.native.writer import Writer
from edgeloop_components.onnxgraph import Node

if TYPE_CHECKING:
    from edgeloop_components.native.operators import Operator

__all__ = ["OPERATORS"]

BLOCK = 32  # output positions whose sums are kept in registers
LOWEST = "-0x1.fffffep+127f"
AUTO = ("NOTSET", "VALID", "SAME_UPPER", "SAME_LOWER")


class Window(NamedTuple):
    """How a kernel moves along one axis."""

    size: int  # of the input
    kernel: int
    stride: int
    dilation: int
    before: int
    after: int
    out: int

    @property
    def padded(self) -> int:
        """How long the padded input must be for all outputs."""
        return max(self.size + self.before, (self.out - 1) * self.stride + (self.kernel - 1) * self.dilation + 1)


def _windows(node: Node, value: Value, kernel: list[int]) -> list[Window]:
    """A window for each of two axes; a signal of one axis is an image of one row."""
    axes = len(value.shape) - 1
    if axes not in (1, 2) or not value.width:
        raise node.refused(f"expected rows [channels, length] or [channels, height, width], found {list(value.shape)}")
    strides, dilations, pads = (node.integers(name).tolist() for name in ("strides", "dilations", "pads"))
    strides, dilations, pads = strides or [1] * axes, dilations or [1] * axes, pads or [0] * axes * 2
    auto = node.text("auto_pad", "NOTSET")
    if auto not in AUTO or not len(kernel) == len(strides) == len(dilations) == len(pads) / 2 == axes:
        raise node.wrong(f"its kernel, strides, dilations, pads and auto_pad do not fit {axes} axes")
    if min(*kernel, *strides, *dilations) < 1 or min(pads) < 0:
        raise node.wrong("expected kernel, strides and dilations above 0, and pads that are not negative")
    settings = zip(value.shape[1:], kernel, strides, dilations, pads[:axes], pads[axes:], strict=True)
    found = [_window(node, auto, one) for one in settings]
    if any(window.out < 1 for window in found):
        raise node.wrong(f"its kernel is larger than rows of {list(value.shape)}")
    return [Window(1, 1, 1, 1, 0, 0, 1)] * (2 - axes) + found


def _window(node: Node, auto: str, settings: tuple[int, ...]) -> Window:
    size, kernel, stride, dilation, before, after = settings
    span = (kernel - 1) * dilation + 1
    if auto.startswith("SAME"):
        out = -(-size // stride)
        total = max((out - 1) * stride + span - size, 0)
        less = total // 2
        before, after = (less, total - less) if auto == "SAME_UPPER" else (total - less, less)
        return Window(size, kernel, stride, dilation, before, after, out)
    if auto == "VALID":
        before = after = 0
    room = size + before + after - span
    out = room // stride + 1
    if node.integer("ceil_mode", 0) and room >= 0:
        out = -(-room // stride) + 1
        out -= (out - 1) * stride >= size + before  # a window that starts behind the input is left out
    return Window(size, kernel, stride, dilation, before, after, out)


def _padded(writer: Writer, value: Value, windows: list[Window], filling: str) -> str:
    """The array that holds the input with its pads."""
    tall, wide = windows
    channels = value.shape[0]
    if (tall.size, wide.size) == (tall.padded, wide.padded):
        return writer.at(value)
    out = writer.new("float32", (channels, tall.padded, wide.padded))
    writer.loop(out.width, f"{out.name}[i] = {filling};")
    shape = (channels, tall.size, wide.size)
    steps = contiguous(out.shape)
    at = tall.before * wide.padded + wide.before
    copy(writer, value, out, shape, given=contiguous(shape), put=steps, at=at)
    return out.name


def _shape(value: Value, channels: int, windows: list[Window]) -> tuple[int, ...]:
    return (channels, *(window.out for window in windows[3 - len(value.shape) :]))


def _conv(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    node.only("auto_pad", "dilations", "group", "kernel_shape", "pads", "strides")
    value, weights, *rest = taken(node, inputs, 2, 3)
    numbers(node, [value, weights, *rest], ("float32",))
    if value.constant is not None or weights.constant is None or any(bias.constant is None for bias in rest):
        raise node.refused("expected constant weights and bias")
    kernel = node.integers("kernel_shape").tolist() or list(weights.shape[2:])
    windows = _windows(node, value, kernel)
    group = node.integer("group", 1)
    outputs, inner = weights.shape[:2]
    if list(weights.shape[2:]) != kernel or group < 1 or value.shape[0] != inner * group or outputs % group:
        raise node.wrong(f"weights of {list(weights.shape)} in {group} groups do not fit rows of {list(value.shape)}")
    if any(bias.shape != (outputs,) for bias in rest):
        raise node.wrong(f"expected {outputs} values of bias")
    source = _padded(writer, value, windows, "0.0f")
    out = writer.new("float32", _shape(value, outputs, windows))
    start = f"{writer.at(rest[0])}[m]" if rest else "0.0f"
    tall, wide = windows
    plane = tall.padded * wide.padded
    writer.put(
        f"for (int m = 0; m < {outputs}; ++m) {{",
        f"const float *u = {source} + m / {outputs // group} * {inner * plane};",
        f"for (int h = 0; h < {tall.out}; ++h) {{",
        f"float *y = {out.name} + (m * {tall.out} + h) * {wide.out};",
    )
    whole = wide.out - wide.out % BLOCK
    for first, end, count in ((0, whole, BLOCK), (whole, wide.out, wide.out - whole)):
        if end > first:
            writer.put(f"for (int o = {first}; o < {end}; o += {count}) {{")
            writer.put(*_sums(writer.at(weights), start, windows, inner, count), "}")
    writer.put("}", "}")
    return (out,)


def _sums(weights: str, start: str, windows: list[Window], inner: int, count: int) -> list[str]:
    """Statements for `count` neighbouring results of one channel and row."""
    tall, wide = windows
    each = f"for (int k = 0; k < {count}; ++k)"
    row = f"(c * {tall.padded} + h * {tall.stride} + a * {tall.dilation}) * {wide.padded}"
    return [
        f"float sums[{count}];",
        f"{each} sums[k] = {start};",
        f"const float *w = {weights} + m * {inner * tall.kernel * wide.kernel};",
        f"for (int c = 0; c < {inner}; ++c) for (int a = 0; a < {tall.kernel}; ++a) for (int b = 0; b < {wide.kernel}; ++b) {{",
        f"const float f = *w++, *p = u + {row} + o * {wide.stride} + b * {wide.dilation};",
        f"{each} sums[k] += f * p[k * {wide.stride}];",
        "}",
        f"{each} y[o + k] = sums[k];",
    ]


def _pool(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    most = node.op == "MaxPool"
    node.only(
        *("auto_pad", "kernel_shape", "strides", "pads", "ceil_mode", "dilations"),
        "storage_order" if most else "count_include_pad",
    )
    (value,) = taken(node, inputs, 1, 1)
    numbers(node, [value], ("float32",))
    windows = _windows(node, value, node.integers("kernel_shape").tolist())
    source = _padded(writer, value, windows, LOWEST if most else "0.0f")
    out = writer.new("float32", _shape(value, value.shape[0], windows))
    tall, wide = windows
    each = f"for (int o = 0; o < {wide.out}; ++o)"
    step = f"p[o * {wide.stride}]"
    writer.put(
        f"for (int m = 0; m < {value.shape[0]}; ++m) for (int h = 0; h < {tall.out}; ++h) {{",
        f"float *y = {out.name} + (m * {tall.out} + h) * {wide.out};",
        f"{each} y[o] = {LOWEST if most else '0.0f'};",
        f"for (int a = 0; a < {tall.kernel}; ++a) for (int b = 0; b < {wide.kernel}; ++b) {{",
        f"const float *p = {source} + (m * {tall.padded} + h * {tall.stride} + a * {tall.dilation}) * {wide.padded}"
        f" + b * {wide.dilation};",
        f"{each} y[o] = {f'{step} > y[o] ? {step} : y[o]' if most else f'y[o] + {step}'};",
        "}",
        *([] if most else [f"{each} y[o] /= {_counts(node, writer, windows)};"]),
        "}",
    )
    return (out,)


def _counts(node: Node, writer: Writer, windows: list[Window]) -> str:
    """How many elements each window averages: those of the input, or its pads too."""
    import numpy as np

    padded = bool(node.integer("count_include_pad", 0))
    rows, columns = (np.array([_inside(window, place, padded) for place in range(window.out)]) for window in windows)
    counts = np.outer(rows, columns).astype(np.float32)
    if (counts == counts[0, 0]).all():
        return literal(counts[0, 0], "float32")
    return f"{writer.table(counts)}[h * {windows[1].out} + o]"


def _inside(window: Window, place: int, padded: bool) -> int:
    low, high = (-window.before, window.size + window.after) if padded else (0, window.size)
    places = (place * window.stride - window.before + k * window.dilation for k in range(window.kernel))
    return sum(low <= at < high for at in places)


def _global_pool(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    node.only()
    (value,) = taken(node, inputs, 1, 1)
    numbers(node, [value], ("float32",))
    if len(value.shape) < 2 or not value.width:
        raise node.refused(f"expected rows of [channels, length] or more axes, found {list(value.shape)}")
    most = node.op == "GlobalMaxPool"
    count = math.prod(value.shape[1:])
    end = "found" if most else f"found / {literal(count, 'float32')}"
    out = writer.new("float32", (value.shape[0], *(1 for _ in value.shape[1:])))
    writer.put(
        f"for (int m = 0; m < {value.shape[0]}; ++m) {{",
        f"const float *p = {writer.at(value)} + m * {count};",
        f"float found = {LOWEST if most else '0.0f'};",
        f"for (int i = 0; i < {count}; ++i) found = {'p[i] > found ? p[i] : found' if most else 'found + p[i]'};",
        f"{out.name}[m] = {end};",
        "}",
    )
    return (out,)


def _batch_normalization(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    import numpy as np

    node.only("epsilon", "momentum", "training_mode", "is_test", "spatial")
    value, *rest = taken(node, inputs, 5, 5)
    numbers(node, [value, *rest], ("float32",))
    training = node.integer("training_mode", 0) or (node.version < 7 and not node.integer("is_test", 0))
    if training or not node.integer("spatial", 1):
        raise node.refused("training, and statistics for each position, are not supported")
    if (
        not value.shape
        or value.constant is not None
        or any(v.constant is None or v.shape != value.shape[:1] for v in rest)
    ):
        raise node.refused("expected a channel axis, and constants with one value for each channel")
    arrays: list[Any] = [one.constant for one in rest]
    scale, bias, mean, variance = arrays
    factor = scale / np.sqrt(variance + np.float32(node.number("epsilon", 1e-5)))
    added = bias - mean * factor
    out = writer.new("float32", value.shape)
    count = math.prod(value.shape[1:])
    f, b = writer.table(factor, "float32"), writer.table(added, "float32")
    writer.put(
        f"for (int m = 0; m < {value.shape[0]}; ++m) for (int i = m * {count}; i < (m + 1) * {count}; ++i)",
        f"{out.name}[i] = {writer.at(value)}[i] * {f}[m] + {b}[m];",
    )
    return (out,)


OPERATORS: Mapping[tuple[str, str], Operator] = {
    ("", "AveragePool"): _pool,
    ("", "BatchNormalization"): _batch_normalization,
    ("", "Conv"): _conv,
    ("", "GlobalAveragePool"): _global_pool,
    ("", "GlobalMaxPool"): _global_pool,
    ("", "MaxPool"): _pool,
}
