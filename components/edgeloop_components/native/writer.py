"""Collects the C code of one row: statements, constant arrays (each once), and buffers with the time they are needed.

Operators put statements that name arrays; where an array lies (a local variable, the caller's scratch memory, the caller's
output) is decided when all are known. What a file says about names never reaches the code: all names are made here.
Refuses rows that are larger than any device should hold.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgeloop_components.native.literals import array_text
from edgeloop_components.native.values import C_TYPES, ITEM_BYTES, Value
from edgeloop_components.runtimes import ModelError

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["Buffer", "Writer"]

MOST_ROW_ELEMENTS = 1 << 22
MOST_STATEMENTS = 200_000


@dataclass
class Buffer:
    """An array of one row, and the first and last step that need it."""

    name: str
    kind: str
    width: int
    first: int
    last: int

    @property
    def size_bytes(self) -> int:
        """Rounded up, so that every buffer after it is aligned."""
        return -(-self.width * ITEM_BYTES[self.kind] // 16) * 16


@dataclass
class Writer:
    """State of one emission. `step` is the place of the node at work."""

    step: int = 0
    lines: list[str] = field(default_factory=list)
    buffers: dict[str, Buffer] = field(default_factory=dict)
    tables: list[str] = field(default_factory=list)  # definitions of constant arrays
    data_bytes: int = 0
    _known: dict[tuple[str, bytes], str] = field(default_factory=dict)

    def put(self, *lines: str) -> None:
        """Adds statements."""
        self.lines += lines
        if len(self.lines) > MOST_STATEMENTS:
            raise ModelError(f"expected a graph of at most {MOST_STATEMENTS} statements, got more")

    def new(self, kind: str, shape: tuple[int, ...], texts: tuple[str, ...] | None = None) -> Value:
        """A new array for a result; the statements that follow fill all of it."""
        value = Value(kind, shape, f"b{len(self.buffers)}", texts=texts)
        if value.width > MOST_ROW_ELEMENTS:
            raise ModelError(f"expected rows of at most {MOST_ROW_ELEMENTS} values, got {list(shape)}")
        self.buffers[value.name] = Buffer(value.name, kind, max(value.width, 1), self.step, self.step)
        return value

    def at(self, value: Value) -> str:
        """The C array that holds a value: a constant is put into a table, a buffer is kept until this step."""
        if value.constant is not None:
            return self.table(value.constant, value.kind)
        if value.name in self.buffers:
            self.buffers[value.name].last = self.step
        return value.name

    def table(self, array: npt.NDArray[Any], kind: str | None = None, c_type: str | None = None) -> str:
        """The name of a constant C array with these elements. Equal arrays are one.

        `kind` converts to a kind of C_TYPES first; `c_type` names another C integer type, for the array as it is.
        """
        import numpy as np

        if c_type is None:
            kind = kind or str(array.dtype)
            array, c_type = array.astype(np.bool_ if kind == "bool" else kind, copy=False), C_TYPES[kind]
        data = np.ascontiguousarray(array)
        key = (c_type, data.tobytes())
        if key not in self._known:
            self._known[key] = name = f"c{len(self._known)}"
            self.tables.append(f"static const {c_type} {name}[{max(data.size, 1)}] = {array_text(data)};")
            self.data_bytes += data.nbytes
        return self._known[key]

    def loop(self, count: int, body: str | Iterable[str], index: str = "i") -> None:
        """Puts `for (int i = 0; i < count; ++i)` over one statement or a block."""
        head = f"for (int {index} = 0; {index} < {count}; ++{index})"
        if isinstance(body, str):
            self.put(f"{head} {body}")
        else:
            self.put(f"{head} {{", *(f"    {line}" for line in body), "}")
