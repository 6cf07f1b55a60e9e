"""Scores with a model's own shared library, the C code that `edgeloop model compile --runtime native` builds.

A call for one row is short enough that calling costs more than computing, so its pointers are made ahead and the
interpreter's lock is kept; batches let other threads run. Numbers are those of the native server, bit for bit.

Refuses a file that is no such library, rows of another form than the model's, and, as a Scorer, a model without the outputs
`label` int64 [N] and `probabilities` float32 [N, C], or those that golden.json describes.
"""

from __future__ import annotations

import ctypes
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

from edgeloop_contracts.golden import GoldenTensors
from edgeloop_node.runtimes import ModelError, Scorer, Scores

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[Any]
    Rows = npt.NDArray[np.float32]

__all__ = ["FILE", "Library", "Tensor", "load", "load_tensors"]

FILE = "model.so"
DATATYPES = {1: "float32", 2: "int64"}
KINDS = {"FP32": "float32", "INT64": "int64"}
ALIGNMENT = 64
Answer = TypeVar("Answer")
OUTPUTS = (("label", "int64", 0), ("probabilities", "float32", 1))  # name, datatype, rank of a row


class _Descriptor(ctypes.Structure):
    """model_tensor of model.h."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("type", ctypes.c_int),
        ("rank", ctypes.c_uint32),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("width", ctypes.c_uint64),
    )


@dataclass(frozen=True)
class Tensor:
    """An input or output; `shape` is that of one row."""

    name: str
    datatype: str
    shape: tuple[int, ...]


class Library:
    """The model in a shared library. Threads may share it."""

    def __init__(self, path: Path) -> None:
        try:
            library = ctypes.CDLL(str(path.absolute()))
            keeping = ctypes.PyDLL(str(path.absolute()))  # the same library, called without giving up the interpreter
            self.input = _tensor(_Descriptor.in_dll(library, "model_input"))
            count = ctypes.c_uint32.in_dll(library, "model_output_count").value
            outputs = (_Descriptor * count).in_dll(library, "model_outputs")
            scratch_bytes = ctypes.c_uint64.in_dll(library, "model_scratch_bytes").value
            self._predict, self._predict_row = library.model_predict, keeping.model_predict
        except (OSError, ValueError, AttributeError) as error:
            raise ModelError(f"{path.name}: expected a model's shared library, got: {str(error)[:300]}") from error
        self.outputs = tuple(_tensor(output) for output in outputs)
        self._predict.restype = self._predict_row.restype = None
        self._scratch_bytes = scratch_bytes
        self._prepare_row()

    def _prepare_row(self) -> None:
        """Everything for calls of one row: outputs that stay where they are, and their pointers."""
        import numpy as np

        kept = [np.empty((1, *output.shape), output.datatype) for output in self.outputs]
        self._row_scratch, self._row_pointers, self._lock = self._scratch(), _pointers(kept), threading.Lock()
        self._quick_run = self._quick(lambda: [output.copy() for output in kept])
        self._quick_last = self._quick(kept[-1].copy)

    def _quick(self, answer: Callable[[], Answer]) -> Callable[[Rows], Answer | None]:
        """A function for one row of float32 that gives `answer()` of its outputs, and None for rows of another form."""
        import numpy as np

        shape, float32, predict = (1, *self.input.shape), np.dtype(np.float32), self._predict_row
        one, pointers, scratch = ctypes.c_uint64(1), self._row_pointers, ctypes.c_void_p(_address(self._row_scratch))
        acquire, release = self._lock.acquire, self._lock.release

        def quick(rows: Rows) -> Answer | None:
            if rows.shape != shape or rows.dtype is not float32:
                return None
            acquire()
            try:
                predict(rows.tobytes(), one, pointers, scratch)
                return answer()
            finally:
                release()

        return quick

    def _scratch(self) -> Array:
        """Aligned working memory for one call."""
        import numpy as np

        raw = np.empty(self._scratch_bytes + ALIGNMENT, np.uint8)
        start = -raw.ctypes.data % ALIGNMENT
        return raw[start : start + max(self._scratch_bytes, 1)]

    def run(self, rows: Rows) -> list[Array]:
        """All outputs for rows float32 [n, ...], in the graph's order. ValueError for rows of another form."""
        found = self._quick_run(rows)
        return self._batch(rows) if found is None else found

    def last_output(self, rows: Rows) -> Array:
        """The last output alone: the probabilities, in a model as converters write it."""
        found = self._quick_last(rows)
        return self._batch(rows)[-1] if found is None else found

    def _batch(self, rows: Rows) -> list[Array]:
        import numpy as np

        given = np.ascontiguousarray(rows, dtype=np.float32)
        if given.shape[1:] != self.input.shape or given.ndim != len(self.input.shape) + 1:
            raise ValueError(
                f"expected rows of the shape [n, {', '.join(map(str, self.input.shape))}], got {given.shape}"
            )
        outputs = [np.empty((len(given), *output.shape), output.datatype) for output in self.outputs]
        scratch = self._scratch()
        pointers, start = _pointers(outputs), ctypes.c_void_p(_address(given))
        self._predict(start, ctypes.c_uint64(len(given)), pointers, ctypes.c_void_p(_address(scratch)))
        return outputs


def _tensor(descriptor: _Descriptor) -> Tensor:
    shape = tuple(descriptor.shape[i] for i in range(descriptor.rank))
    return Tensor(descriptor.name.decode(), DATATYPES[descriptor.type], shape)


def _address(array: Array) -> int:
    return int(array.ctypes.data)


def _pointers(arrays: Sequence[Array]) -> ctypes.Array[ctypes.c_void_p]:
    return (ctypes.c_void_p * len(arrays))(*map(_address, arrays))


def load(folder: Path) -> Scorer:
    """Loads `model.so` of a model folder. ModelError when it is not there, is no model, or has other outputs."""
    library = Library(folder / FILE)
    places = _places(library)
    (classes,) = library.outputs[places[1]].shape
    import numpy as np

    def score(rows: Sequence[Sequence[float]]) -> Scores:
        found = library.run(np.array(rows, dtype=np.float32))
        return found[places[0]].tolist(), found[places[1]].tolist()

    return Scorer(
        runtime="native",
        platform="edgeloop_native",
        version="1",
        features=library.input.shape[0],
        classes=classes,
        score=score,
    )


def load_tensors(folder: Path, golden: GoldenTensors) -> Scorer:
    """The same for a graph that is no classifier. ModelError when it has not the outputs that `golden` describes."""
    library = Library(folder / FILE)
    shown = [(output.name, output.datatype, output.shape) for output in library.outputs]
    for tensor in golden.outputs:
        if (tensor.name, KINDS[tensor.datatype], tensor.shape) not in shown:
            raise ModelError(f"{FILE}: expected the output {tensor}, got {shown}")
    places = [shown.index((tensor.name, KINDS[tensor.datatype], tensor.shape)) for tensor in golden.outputs]
    import numpy as np

    def score(rows: Sequence[Sequence[float]]) -> Scores:
        found = library.run(np.array(rows, dtype=np.float32).reshape(-1, *library.input.shape))
        return [
            (found[place].reshape(len(rows), -1) if tensor.shape else found[place]).tolist()
            for place, tensor in zip(places, golden.outputs, strict=True)
        ]

    return Scorer(
        runtime="native",
        platform="edgeloop_native",
        version="1",
        features=golden.input.width,
        classes=None,
        score=score,
    )


def _places(library: Library) -> list[int]:
    """Where label and probabilities are among the outputs."""
    shown = [(output.name, output.datatype, len(output.shape)) for output in library.outputs]
    if len(library.input.shape) != 1:
        raise ModelError(f"{FILE}: expected an input [N, features], got rows of the shape {library.input.shape}")
    for wanted in OUTPUTS:
        if wanted not in shown:
            raise ModelError(f"{FILE}: expected the output {wanted} (name, type, rank of a row), got {shown}")
    return [shown.index(wanted) for wanted in OUTPUTS]
