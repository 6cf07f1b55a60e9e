"""The plain form of an ONNX graph: tensors, nodes with typed attributes, constants.

A Node's accessors refuse an attribute of another type than asked for, and name the node: operators never see a surprise.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

from edgeloop_components.runtimes import ModelError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Foreign", "Graph", "Node", "Tensor", "Unsupported"]


class Unsupported(ModelError):  # noqa: N818
    """An operator, or a form of one, that a target cannot compute. The message says which node and why.

    Whoever refuses for one runtime alone adds the way out: the emitter does (native/emit.py), the reader, which all share, not.
    """


@dataclass(frozen=True)
class Foreign:
    """An attribute of a type that no supported operator has, such as a subgraph."""

    type: str


@dataclass(frozen=True)
class Tensor:
    """A declared input or output. `kind` is numpy's name of the element type, or `text`; None is a size that may vary."""

    name: str
    kind: str
    shape: tuple[int | None, ...] | None


@dataclass(frozen=True)
class Node:
    """One operation. `domain` is "" for ai.onnx; an input that is left out has the name ""."""

    domain: str
    op: str
    version: int  # of the operator set
    name: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    attributes: Mapping[str, Any] = field(default_factory=dict)

    @property
    def title(self) -> str:
        """How messages name it: domain, type, and its own name or that of its output."""
        return f"{self.domain or 'ai.onnx'}.{self.op} {(self.name or ''.join(self.outputs[:1]))[:80]!r}"

    def refused(self, why: str) -> Unsupported:
        """The error for a form that is valid ONNX, and not supported here."""
        return Unsupported(f"node {self.title}: {why}")

    def wrong(self, why: str) -> ModelError:
        """The error for what no runtime could compute."""
        return ModelError(f"node {self.title}: {why}")

    def number(self, name: str, default: float) -> float:
        """A float attribute."""
        found: float = self._get(name, float, default)
        return found

    def integer(self, name: str, default: int) -> int:
        """An int attribute."""
        found: int = self._get(name, int, default)
        return found

    def text(self, name: str, default: str) -> str:
        """A string attribute."""
        found: str = self._get(name, str, default)
        return found

    def numbers(self, name: str) -> npt.NDArray[np.float32]:
        """A list of floats; empty when it is not there."""
        import numpy as np

        found: npt.NDArray[np.float32] = self._list(name, np.dtype(np.float32))
        return found

    def integers(self, name: str) -> npt.NDArray[np.int64]:
        """A list of ints; empty when it is not there."""
        import numpy as np

        found: npt.NDArray[np.int64] = self._list(name, np.dtype(np.int64))
        return found

    def texts(self, name: str) -> tuple[str, ...]:
        """A list of strings; empty when it is not there."""
        found: tuple[str, ...] = self._get(name, tuple, ())
        return found

    def tensor(self, name: str) -> npt.NDArray[Any] | None:
        """A tensor attribute, of any kind; None when it is not there."""
        import numpy as np

        return self._get(name, np.ndarray, None) if name in self.attributes else None

    def only(self, *names: str) -> None:
        """Unsupported when the node has attributes other than these."""
        strangers = sorted(set(self.attributes) - set(names))
        if strangers:
            raise self.refused(f"the attribute {strangers[0][:80]!r} is not supported")

    def _get(self, name: str, kind: type[Any], default: Any) -> Any:
        value = self.attributes.get(name, default)
        if value is not default and not isinstance(value, kind):
            raise self.wrong(f"attribute {name}: expected {kind.__name__}, found {type(value).__name__}")
        return value

    def _list(self, name: str, dtype: Any) -> Any:
        import numpy as np

        value = self.attributes.get(name)
        if value is None or (isinstance(value, tuple) and not value):  # an empty list has no type in the file
            return np.empty(0, dtype)
        if not isinstance(value, np.ndarray) or value.ndim != 1 or value.dtype != dtype:
            raise self.wrong(f"attribute {name}: expected a list of {dtype}, found {type(value).__name__}")
        return value


@dataclass(frozen=True)
class Graph:
    """What is needed to compute `outputs` from `input`: nodes in an order that works, and constants by name."""

    name: str
    input: Tensor
    outputs: tuple[Tensor, ...]
    nodes: tuple[Node, ...]
    constants: Mapping[str, npt.NDArray[Any]]
    metadata: Mapping[str, str] = field(default_factory=dict)
