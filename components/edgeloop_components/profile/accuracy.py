"""What a way to serve a model costs in accuracy: the share of sample rows that it answers as the reference does.

Of a classifier an answer is its label. A graph without classes has none: there all outputs of a row must agree as parity asks,
so a way that answers otherwise by design (8-bit weights) has nothing to be weighed by.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_components.profile.rows import sample_rows
from edgeloop_components.runtimes import RUNTIMES
from edgeloop_contracts import Reference, loads
from edgeloop_contracts.golden import GoldenTensors, Tensor, golden_tensors

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[Any]
    Rows = npt.NDArray[np.float32]

__all__ = ["agreeing"]

ROWS, SEED = 1000, 11


def agreeing(runtime: str, compiled: Path, model_dir: Path) -> float:
    """The share of sample rows on which a compiled folder agrees with the model that it was made of. ModelError."""
    import numpy as np

    reference = loads(Reference, (model_dir / "reference.json").read_bytes())
    rows = np.array(sample_rows(reference.features, SEED, ROWS), np.float32)
    if not reference.classes:
        return _same_values(runtime, compiled, model_dir, rows)
    wanted, _ = RUNTIMES["onnxruntime"].load(model_dir)(rows)
    got, _ = RUNTIMES[runtime].load(compiled)(rows)
    return float((wanted == got).mean())


def _same_values(runtime: str, compiled: Path, model_dir: Path, rows: Rows) -> float:
    from edgeloop_components.compile.agreement import agreement
    from edgeloop_components.compile.lone import LIMITS

    golden = golden_tensors(json.loads((model_dir / "golden.json").read_bytes()))
    wanted, got = _onnxruntime(model_dir, golden, rows), ANSWERS[runtime](compiled, golden, rows)

    def part(outputs: Mapping[str, Array], row: int) -> dict[str, Array]:
        return {name: values[row : row + 1] for name, values in outputs.items()}

    scales = {tensor.name: tensor.scale for tensor in golden.outputs}
    same = [
        agreement(part(wanted, row), part(got, row), LIMITS[False], scales=scales).holds(exact=False)
        for row in range(len(rows))
    ]
    return sum(same) / len(same)


def _onnxruntime(folder: Path, golden: GoldenTensors, rows: Rows) -> dict[str, Array]:
    """Every output, row by row as a node scores; texts as their places."""
    import numpy as np

    from edgeloop_components.runtimes.onnxruntime import session

    path = folder / "model.onnx"
    loaded, names = session(path.read_bytes(), str(path)), [tensor.name for tensor in golden.outputs]
    given = rows.reshape(-1, 1, *golden.input.shape)
    parts: list[Sequence[Array]] = [loaded.run(names, {golden.input.name: row}) for row in given]
    joined = [np.concatenate(answers) for answers in zip(*parts, strict=True)]
    return {tensor.name: _placed(tensor, values) for tensor, values in zip(golden.outputs, joined, strict=True)}


def _placed(tensor: Tensor, values: Array) -> Array:
    import numpy as np

    if not tensor.texts:
        return values
    place = {text: number for number, text in enumerate(tensor.texts)}
    flat = [place.get(str(text), -1) for text in values.ravel().tolist()]
    return np.array(flat, np.int64).reshape(values.shape)


def _native(folder: Path, _golden: GoldenTensors, rows: Rows) -> dict[str, Array]:
    from edgeloop_components.native.library import open_library

    infos, outputs = open_library(folder / "model.so")
    return {info.name: values for info, values in zip(infos, outputs(rows), strict=True)}


ANSWERS: Mapping[str, Callable[[Path, GoldenTensors, Rows], dict[str, Array]]] = {
    "native": _native,
    "onnxruntime": _onnxruntime,
}
