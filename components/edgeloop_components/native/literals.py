"""Numbers and texts as C literals that every compiler reads alike: hexadecimal floats, escaped strings, integer suffixes."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["DEFINITIONS", "array_text", "double_text", "float_text", "integer_text", "string_text"]

DEFINITIONS = """#define EL_INFINITY (__builtin_inff())
#define EL_NAN (__builtin_nanf(""))
"""
PLAIN = frozenset("abcdefghijklmnopqrstuvwxyzABCDEFGHIJKLMNOPQRSTUVWXYZ0123456789 _.,:;/+-=()[]")
A_LINE = 12


def double_text(value: float, suffix: str = "") -> str:
    """A double; with the suffix `f`, a float."""
    if value != value:  # noqa: PLR0124  NaN
        return "EL_NAN"
    if value in (float("inf"), float("-inf")):
        return "EL_INFINITY" if value > 0 else "-EL_INFINITY"
    digits, exponent = value.hex().split("p")
    return f"{digits.rstrip('0') if '.' in digits else digits}p{exponent}{suffix}"


def float_text(value: float) -> str:
    """A float: the nearest to `value`."""
    import numpy as np

    with np.errstate(over="ignore"):
        return double_text(float(np.float32(value)), "f")


def integer_text(value: int) -> str:
    """An int64; the lowest has no literal of its own in C."""
    return (
        "(-9223372036854775807LL - 1)" if value == -(1 << 63) else f"{value}LL" if abs(value) >= 1 << 31 else str(value)
    )


def string_text(text: str) -> str:
    """A string in UTF-8, with octal escapes for all that is not plain: a name from a file cannot end it."""
    return '"' + "".join(chr(b) if chr(b) in PLAIN else f"\\{b:03o}" for b in text.encode("utf-8", "replace")) + '"'


def array_text(array: npt.NDArray[Any]) -> str:
    """The braces and elements of an array's initialiser."""
    words = _words(array) or ["0"]
    rows = [", ".join(words[i : i + A_LINE]) for i in range(0, len(words), A_LINE)]
    return "{" + (rows[0] if len(rows) == 1 else "\n    " + ",\n    ".join(rows)) + "}"


def _words(array: npt.NDArray[Any]) -> list[str]:
    values = array.ravel().tolist()
    if array.dtype.kind == "f":
        suffix = "f" if array.dtype.itemsize == 4 else ""
        return [double_text(value, suffix) for value in values]
    return [integer_text(int(value)) for value in values]
