"""How far two sets of outputs for the same rows are apart: the figures of a parity table.

Two NaN are the same answer, as are equal infinities. The difference of other values is absolute up to 1, as probabilities
are, and above relative to the largest value of its row, or to the output's typical size where that is larger: rounding is of
the size of the terms of a sum, and a row whose terms cancel has terms as large as any other. All sizes are those of the
expected answers, so a wrong answer cannot widen its own limit. Whole numbers must be equal; labels may differ where the
expected probabilities of both classes are equal within the limit.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from types import MappingProxyType
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt

    Array = npt.NDArray[Any]

__all__ = ["Agreement", "agreement", "largest", "raw_digest", "typical_size", "typical_sizes"]

NO_SCALES: Mapping[str, float | Array] = MappingProxyType({})


@dataclass(frozen=True)
class Agreement:
    """The figures over all rows and outputs."""

    rows: int
    max_abs_difference: float
    of_limit: float  # the largest difference of a row as a share of that row's limit
    max_ulp: int
    bit_equal: float  # share of the float values
    label_differences: int  # rows whose label is another, and no tie
    worst_row: int

    def holds(self, exact: bool) -> bool:
        """Whether it is within the limits; `exact` asks for the same bits."""
        return self.of_limit <= 1.0 and not self.label_differences and (not exact or self.bit_equal == 1.0)


def agreement(
    expected: Mapping[str, Array],
    got: Mapping[str, Array],
    limit: float | Array,
    *,
    scales: Mapping[str, float | Array] = NO_SCALES,
    label: str = "",
    probabilities: str = "",
) -> Agreement:
    """Compares outputs [rows, ...] by name. `label` and `probabilities` name a classifier's, for ties.

    `limit` is one for all rows, or one for each. `scales` are the outputs' typical sizes, of an output one or one for each row;
    1 where none is given.
    """
    import numpy as np

    rows = len(next(iter(expected.values())))
    worst, ulps, equal, values = np.zeros(rows), np.zeros(rows), 0, 0
    wrong = np.zeros(rows, dtype=np.bool_)
    for name, wanted in expected.items():
        found = got[name].reshape(wanted.shape)
        if np.issubdtype(wanted.dtype, np.floating):
            flat, other = wanted.reshape(rows, -1).astype(np.float32), found.reshape(rows, -1).astype(np.float32)
            worst = np.maximum(worst, _differences(flat, other, scales.get(name, 1.0)))
            ulps = np.maximum(ulps, _ulps(flat, other).max(axis=1, initial=0))
            same = _same_bits(flat, other)
            equal, values = equal + int(same.sum()), values + same.size
        else:
            differs = (wanted != found).reshape(rows, -1).any(axis=1)
            tie = _ties(expected[probabilities], wanted, found, limit) if name == label and probabilities else False
            wrong |= differs & ~np.asarray(tie)
    order = np.where(wrong, np.inf, worst / limit)
    place = int(order.argmax()) if order.max() > 0 else int(ulps.argmax())
    return Agreement(
        rows=rows,
        max_abs_difference=float(worst.max()),
        of_limit=float((worst / limit).max()),
        max_ulp=int(ulps.max()),
        bit_equal=equal / values if values else 1.0,
        label_differences=int(wrong.sum()),
        worst_row=place,
    )


def _same_bits(expected: Array, got: Array) -> Array:
    """The same 32 bits, or NaN with NaN, whose other bits differ between processors in the reference."""
    import numpy as np

    same: Array = (expected.view(np.int32) == got.view(np.int32)) | (np.isnan(expected) & np.isnan(got))
    return same


def typical_size(values: Array, terms: Array | float = 0.0) -> float:
    """The typical size of an output [rows, ...], at least 1: the median over the rows of the row's largest finite |value|.

    `terms` are sizes of rows that count where they are larger (compile/terms.py).

    Rows without a finite value say nothing of it and are left out. Of an even number it is the lower of the two in the middle,
    so that no mean with a row far out of range gets in.
    """
    import numpy as np

    flat = np.asarray(values).reshape(len(values), -1)
    sizes = np.sort(np.maximum(largest(flat), terms)[np.isfinite(flat).any(axis=1)])
    return max(1.0, float(sizes[(len(sizes) - 1) // 2])) if len(sizes) else 1.0


def typical_sizes(outputs: Mapping[str, Array], terms: Mapping[str, Array]) -> dict[str, float]:
    """The same of each output of floats, by name."""
    import numpy as np

    floats = {name: values for name, values in outputs.items() if np.issubdtype(values.dtype, np.floating)}
    return {name: typical_size(values, terms.get(name, 0.0)) for name, values in floats.items()}


def largest(values: Array) -> Array:
    """The largest finite |value| of each row; 0 where there is none."""
    import numpy as np

    found: Array = np.where(np.isfinite(values), np.abs(values), 0.0).max(axis=1, initial=0.0).astype(np.float64)
    return found


def _differences(expected: Array, got: Array, scale: float | Array) -> Array:
    """The largest difference of each row; infinite where one is a number and the other is not."""
    import numpy as np

    with np.errstate(invalid="ignore", over="ignore"):
        apart = np.abs(expected.astype(np.float64) - got.astype(np.float64))
        apart /= np.maximum(scale, largest(expected))[:, None]
    apart = np.where(
        _same_bits(expected, got) | (expected == got), 0.0, np.nan_to_num(apart, nan=np.inf, posinf=np.inf)
    )
    found: Array = apart.max(axis=1, initial=0.0)
    return found


def _ulps(expected: Array, got: Array) -> Array:
    """How many float32 numbers lie between two values; 0 beside NaN and infinities."""
    import numpy as np

    def place(values: Array) -> Array:
        bits = values.astype(np.float32).view(np.int32).astype(np.int64)
        return np.where(bits < 0, -(bits & 0x7FFFFFFF), bits)

    finite = np.isfinite(expected) & np.isfinite(got)
    counted: Array = np.where(finite, np.abs(place(expected) - place(got)), 0)
    return counted


def _ties(probabilities: Array, expected: Array, got: Array, limit: float | Array) -> Array:
    """Rows where the expected probabilities of both labels are equal, or no numbers at all."""
    import numpy as np

    classes, places = probabilities.shape[1], np.arange(len(expected))
    inside = (got >= 0) & (got < classes) & (expected >= 0) & (expected < classes)
    one = probabilities[places, np.clip(expected, 0, classes - 1)]
    other = probabilities[places, np.clip(got, 0, classes - 1)]
    tie: Array = inside & ((np.abs(one - other) <= limit) | np.isnan(probabilities).any(axis=1))
    return tie


def raw_digest(outputs: Sequence[Array]) -> str:
    """sha256 over all outputs' little-endian bytes, one output after the other."""
    import hashlib

    digest = hashlib.sha256()
    for output in outputs:
        digest.update(output.tobytes())
    return f"sha256:{digest.hexdigest()}"
