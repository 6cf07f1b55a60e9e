"""Readers of what stands before a model: imputers, scalers, casts, and the choice of columns; and what they do to values.

Everything here maps a column in float32 as onnxruntime does, so that thresholds can be moved before it exactly.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from edgeloop_components.fpga.quantise.model import Column, Columns, Step, Value
from edgeloop_components.onnxgraph import Node

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

__all__ = ["OPERATORS", "applied", "filled", "pulled", "split", "stepped"]

FLOAT, WHOLE = 1, (6, 7)  # onnx.TensorProto.FLOAT; INT32, INT64
HIGHEST = 0x7F800000  # the place of +inf among all float32 values, see _floats
LOWEST = -HIGHEST


def columns_of(value: Any) -> Columns:
    """NotImplementedError where it is something else."""
    if not isinstance(value, Columns):
        raise NotImplementedError("expected the row's inputs there")
    return value


def stepped(columns: Columns, kind: Any, numbers: Any) -> Columns:
    """Each column with one more step; `numbers` is one for all, or one each."""
    import numpy as np

    each = np.ravel(numbers)
    if len(each) not in (1, len(columns.items)):
        raise NotImplementedError(f"expected 1 or {len(columns.items)} numbers, found {len(each)}")
    if not np.isfinite(each).all() or (kind in ("mul", "div") and not each.all()):
        raise NotImplementedError("expected numbers that are finite, and factors that are not 0")
    each = np.broadcast_to(each, len(columns.items)).tolist()
    steps: list[Step] = [(kind, float(number)) for number in each]
    pairs = zip(columns.items, steps, strict=True)
    return Columns(tuple(Column(one.feature, (*one.steps, step)) for one, step in pairs))


def _imputer(node: Node, arguments: Sequence[Any]) -> Value:
    import math

    if not math.isnan(node.number("replaced_value_float", math.nan)):
        raise NotImplementedError("it replaces a number, where only missing values (NaN) can be replaced")
    return stepped(columns_of(arguments[0]), "fill", node.numbers("imputed_value_floats"))


def _scaler(node: Node, arguments: Sequence[Any]) -> Value:
    moved = stepped(columns_of(arguments[0]), "sub", node.numbers("offset"))
    return stepped(moved, "mul", node.numbers("scale"))


def _same(_: Node, arguments: Sequence[Any]) -> Value:
    value: Value = arguments[0]
    return value


def _cast(node: Node, arguments: Sequence[Any]) -> Value:
    kind = node.integer("to", 0)
    if kind in WHOLE:
        return stepped(columns_of(arguments[0]), "whole", 0.0)
    if kind != FLOAT:
        raise NotImplementedError("only casts to float32 and to whole numbers are supported")
    return _same(node, arguments)


def _one_hot(node: Node, arguments: Sequence[Any]) -> Value:
    """A column for each category of one column."""
    items, categories = columns_of(arguments[0]).items, node.integers("cats_int64s").tolist()
    if len(items) != 1 or not categories or node.integer("zeros", 1) != 1:
        raise NotImplementedError("expected one column, categories that are numbers, and zeros for unknown ones")
    if filled(items[0]) is None:
        raise NotImplementedError("missing values are not replaced before it")
    steps: list[Step] = [("is", float(category)) for category in categories]
    return Columns(tuple(Column(items[0].feature, (*items[0].steps, ("whole", 0.0), step)) for step in steps))


def _chosen(_: Node, arguments: Sequence[Any]) -> Value:
    import numpy as np

    items = columns_of(arguments[0]).items
    return Columns(tuple(items[place] for place in np.ravel(arguments[1]).tolist()))


def _gather(node: Node, arguments: Sequence[Any]) -> Value:
    if node.integer("axis", 0) not in (1, -1):
        raise NotImplementedError("only columns can be gathered")
    return _chosen(node, arguments)


def _reshape(_: Node, arguments: Sequence[Any]) -> Value:
    import numpy as np

    sizes = np.ravel(arguments[1]).tolist()
    if len(sizes) != 2 or sizes[0] not in (-1, 0):
        raise NotImplementedError(f"to {sizes} where only [N, columns] is kept")
    return _same(_, arguments)


def split(node: Node, arguments: Sequence[Any]) -> list[Columns]:
    """The outputs of a Split along the columns."""
    import numpy as np

    items = columns_of(arguments[0]).items
    if node.integer("axis", 0) not in (1, -1):
        raise NotImplementedError("only columns can be split")
    given = arguments[1] if len(arguments) > 1 and arguments[1] is not None else node.integers("split")
    sizes = np.ravel(given).tolist() or [len(items) // len(node.outputs)] * len(node.outputs)
    if sum(sizes) != len(items) or len(sizes) != len(node.outputs):
        raise NotImplementedError(f"{len(items)} columns into {sizes}")
    ends = np.cumsum([0, *sizes]).tolist()
    return [Columns(items[a:b]) for a, b in itertools.pairwise(ends)]


OPERATORS: Mapping[tuple[str, str], Any] = {
    ("", "Cast"): _cast,
    ("", "Dropout"): _same,
    ("", "Flatten"): _same,
    ("", "Gather"): _gather,
    ("", "Identity"): _same,
    ("", "Reshape"): _reshape,
    ("", "Split"): lambda node, arguments: split(node, arguments)[0],
    ("ai.onnx.ml", "ArrayFeatureExtractor"): _chosen,
    ("ai.onnx.ml", "Imputer"): _imputer,
    ("ai.onnx.ml", "OneHotEncoder"): _one_hot,
    ("ai.onnx.ml", "Scaler"): _scaler,
}


def filled(column: Column) -> float | None:
    """What stands for a missing value of the row; None where it stays missing."""
    first = column.steps[0] if column.steps else ("", 0.0)
    return first[1] if first[0] == "fill" else None


def applied(column: Column, values: Floats) -> Floats:
    """The column for values [n] of its feature, bit for bit as onnxruntime computes it."""
    import numpy as np

    with np.errstate(all="ignore"):
        for kind, number in column.steps:
            values = _OF[kind](values, np.float32(number))
    return values.astype(np.float32)


def _fill(values: Any, number: Any) -> Any:
    import numpy as np

    return np.where(np.isnan(values), number, values)


def _whole(values: Any) -> Any:
    import numpy as np

    return np.trunc(values)


_OF: Mapping[str, Any] = {
    "fill": _fill,
    "add": lambda values, number: values + number,
    "sub": lambda values, number: values - number,
    "mul": lambda values, number: values * number,
    "div": lambda values, number: values / number,
    "whole": lambda values, _: _whole(values),
    "is": lambda values, number: (values == number).astype(values.dtype),
}


def pulled(column: Column, thresholds: Floats) -> Floats:
    """For each threshold [k] of the column, the largest value of the feature that does not lie above it; NaN: none.

    Every step but `is` rises with its value, so a search over all float32 values finds it. NotImplementedError where one falls.
    """
    import numpy as np

    if any(kind in ("mul", "div") and not number > 0 for kind, number in column.steps):
        raise NotImplementedError("a factor that is not above 0 stands before trees")
    low = np.full(len(thresholds), LOWEST, np.int64)
    high = np.full(len(thresholds), HIGHEST, np.int64)
    none = ~(applied(column, _floats(low)) <= thresholds)
    for _ in range(33):
        middle = low + (high - low + 1) // 2
        fits = applied(column, _floats(middle)) <= thresholds
        low, high = np.where(fits, middle, low), np.where(fits, high, np.maximum(low, middle - 1))
    found: Floats = np.where(none, np.float32(np.nan), _floats(low))
    return found


def _floats(ordered: Any) -> Floats:
    """float32 values by their place in the order of all: 0 is 0.0, -1 the next below it that is not -0.0."""
    import numpy as np

    magnitude = np.abs(ordered).astype(np.uint32)
    sign = np.where(ordered < 0, np.uint32(1 << 31), np.uint32(0)).astype(np.uint32)
    found: Floats = (magnitude | sign).view(np.float32)
    return found
