"""Between Arrow columns and numpy, by their buffers: pyarrow's own conversions import pandas, which costs a step a second."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["floats_of", "number_array", "text_array", "time_array", "whole_numbers_of"]


def floats_of(column: Any) -> npt.NDArray[np.float64]:
    """A numeric column as floats; null becomes NaN."""
    import numpy as np
    import pyarrow

    pieces = []
    for chunk in column.cast(pyarrow.float64(), safe=False).chunks:
        validity, data = chunk.buffers()
        values = np.frombuffer(data, dtype=np.float64)[chunk.offset : chunk.offset + len(chunk)]
        pieces.append(values if chunk.null_count == 0 else np.where(_valid(validity, chunk), values, np.nan))
    return np.concatenate(pieces) if pieces else np.empty(0)


def _valid(validity: Any, chunk: Any) -> npt.NDArray[np.bool_]:
    import numpy as np

    bits = np.unpackbits(np.frombuffer(validity, dtype=np.uint8), bitorder="little")
    return bits[chunk.offset : chunk.offset + len(chunk)].astype(np.bool_)


def whole_numbers_of(column: Any) -> npt.NDArray[np.int64]:
    """A column of 64-bit whole numbers or times without nulls."""
    import numpy as np

    pieces = [
        np.frombuffer(chunk.buffers()[1], dtype=np.int64)[chunk.offset : chunk.offset + len(chunk)]
        for chunk in column.chunks
    ]
    return np.concatenate(pieces) if pieces else np.empty(0, dtype=np.int64)


def number_array(values: npt.NDArray[np.float64]) -> Any:
    """An Arrow array of floats."""
    import numpy as np
    import pyarrow

    data = pyarrow.py_buffer(np.ascontiguousarray(values, dtype=np.float64))
    return pyarrow.Array.from_buffers(pyarrow.float64(), len(values), [None, data])


def time_array(time_us: npt.NDArray[np.int64]) -> Any:
    """An Arrow array of times in UTC from microseconds since 1970."""
    import numpy as np
    import pyarrow

    data = pyarrow.py_buffer(np.ascontiguousarray(time_us, dtype=np.int64))
    return pyarrow.Array.from_buffers(pyarrow.timestamp("us", "UTC"), len(time_us), [None, data])


def text_array(codes: npt.NDArray[np.int32], texts: Sequence[str]) -> Any:
    """An Arrow array of texts from places in `texts`; a negative one is null."""
    import numpy as np
    import pyarrow

    encoded = [text.encode() for text in texts]
    lengths = np.array([0, *(len(data) for data in encoded)], dtype=np.int64)
    starts = pyarrow.py_buffer(np.cumsum(lengths).astype(np.int32))
    buffers = [None, starts, pyarrow.py_buffer(b"".join(encoded))]
    dictionary = pyarrow.Array.from_buffers(pyarrow.string(), len(encoded), buffers)
    present = codes >= 0
    validity = pyarrow.py_buffer(np.packbits(present, bitorder="little"))
    places = pyarrow.py_buffer(np.where(present, codes, 0).astype(np.int32))
    indices = pyarrow.Array.from_buffers(pyarrow.int32(), len(codes), [validity, places])
    return pyarrow.DictionaryArray.from_arrays(indices, dictionary).cast(pyarrow.string())
