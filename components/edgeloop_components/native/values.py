"""Values: what operators take and give while code is made. A value is an array of one row, or a constant.

Code works row by row, so a value's shape leaves the batch axis out: the tensor [N, 24] has the row shape (24,), and [N] has
the row shape () and one element. `batch_axis` is where the batch axis is in the whole tensor: 0, but for the few tensors
[1, N] on the way to a label. Constants have their whole shape, for they have no batch axis.
"""

from __future__ import annotations

import dataclasses
import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["C_TYPES", "ITEM_BYTES", "Value", "constant"]

C_TYPES = {"float32": "float", "float64": "double", "int64": "int64_t", "int32": "int32_t", "bool": "uint8_t"}
ITEM_BYTES = {"float32": 4, "float64": 8, "int64": 8, "int32": 4, "bool": 1}


@dataclass(frozen=True, eq=False)
class Value:
    """One tensor. Texts are int64 numbers with the `texts` that they stand for."""

    kind: str  # a key of C_TYPES
    shape: tuple[int, ...]  # of the row; of a constant, all of it
    name: str = ""  # of the C array that holds it, row-major; empty for a constant
    constant: npt.NDArray[Any] | None = None
    texts: tuple[str, ...] | None = None
    batch_axis: int = 0

    @property
    def width(self) -> int:
        """How many elements."""
        return math.prod(self.shape)

    @property
    def rank(self) -> int:
        """Of the whole tensor, batch axis included."""
        return len(self.shape) + (self.constant is None)

    @property
    def c_type(self) -> str:
        """Its elements' type in C."""
        return C_TYPES[self.kind]

    def alias(self, shape: tuple[int, ...], batch_axis: int = 0) -> Value:
        """The same elements in another shape: no code is needed for it."""
        return dataclasses.replace(self, shape=shape, batch_axis=batch_axis)


def constant(array: npt.NDArray[Any]) -> Value:
    """The value of a constant. An array of texts becomes its places in `texts`. KeyError for a type without a C form."""
    import numpy as np

    if array.dtype == object:
        places = np.arange(array.size, dtype=np.int64).reshape(array.shape)
        return Value("int64", array.shape, constant=places, texts=tuple(str(text) for text in array.ravel()))
    kind = str(array.dtype)
    if kind not in C_TYPES:
        raise KeyError(kind)
    return Value(kind, array.shape, constant=array)
