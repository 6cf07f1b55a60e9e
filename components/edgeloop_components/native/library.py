"""Calls a model's shared library from the build side: rows in, every output out. The node has its own, faster caller.

Refuses a file that is no such library.
"""

from __future__ import annotations

import ctypes
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_components.native.emit import TensorInfo
from edgeloop_components.runtimes import ModelError

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Outputs", "open_library"]

Outputs = Callable[["npt.NDArray[np.float32]"], "list[npt.NDArray[Any]]"]
KINDS = {1: "float32", 2: "int64"}


class _Descriptor(ctypes.Structure):
    """model_tensor of model.h."""

    _fields_ = (
        ("name", ctypes.c_char_p),
        ("type", ctypes.c_int),
        ("rank", ctypes.c_uint32),
        ("shape", ctypes.POINTER(ctypes.c_int64)),
        ("width", ctypes.c_uint64),
    )


def open_library(path: Path) -> tuple[tuple[TensorInfo, ...], Outputs]:
    """What the model gives out, and the function that scores rows float32 [n, ...]. ModelError."""
    import numpy as np

    try:
        library = ctypes.CDLL(str(path.absolute()))
        count = ctypes.c_uint32.in_dll(library, "model_output_count").value
        infos = tuple(map(_info, (_Descriptor * count).in_dll(library, "model_outputs")))
        scratch_bytes = ctypes.c_uint64.in_dll(library, "model_scratch_bytes").value
        predict = library.model_predict
    except (OSError, ValueError, AttributeError) as error:
        raise ModelError(f"{path}: expected a model's shared library, got: {str(error)[:300]}") from error
    predict.restype = None

    def outputs(rows: npt.NDArray[np.float32]) -> list[npt.NDArray[Any]]:
        given = np.ascontiguousarray(rows, dtype=np.float32)
        made = [np.empty((len(given), *info.shape), info.kind) for info in infos]
        scratch = np.empty(scratch_bytes // 16 + 2, dtype=np.complex128)  # its items have 16 bytes
        pointers = (ctypes.c_void_p * count)(*(array.ctypes.data for array in made))
        aligned = -(-scratch.ctypes.data // 16) * 16
        predict(ctypes.c_void_p(given.ctypes.data), ctypes.c_uint64(len(given)), pointers, ctypes.c_void_p(aligned))
        return made

    return infos, outputs


def _info(found: _Descriptor) -> TensorInfo:
    return TensorInfo(found.name.decode(), KINDS[found.type], tuple(found.shape[i] for i in range(found.rank)))
