"""Scores with onnxruntime, on one thread unless the profile found that more of them pay (`EDGELOOP_THREADS`).

More threads change the last bits of sums; parity is judged on one, and the self-test on the golden rows holds for any number.
Threads that wait do not spin: under a CPU quota that would use up what the others need.

Takes graphs with the input `X` float32 [N, F] and the outputs `label` int64 [N] and `probabilities` float32 [N, C], and,
where golden.json describes them, graphs with one input and outputs of their own. Refuses all others. Its telemetry is switched
off before it is imported.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from edgeloop_contracts.golden import GoldenTensors, Tensor
from edgeloop_node.runtimes import ModelError, Scorer, Scores

__all__ = ["load", "load_tensors"]

INPUT = ("X", "tensor(float)", 2)
KINDS = {"tensor(float)": "FP32", "tensor(int64)": "INT64", "tensor(string)": "INT64"}  # texts go as their places
OUTPUTS = (("label", "tensor(int64)", 1), ("probabilities", "tensor(float)", 2))


def _session(path: Path, threads: int) -> tuple[Any, str]:
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime as ort

    options = ort.SessionOptions()
    options.intra_op_num_threads, options.inter_op_num_threads = threads, 1
    options.add_session_config_entry("session.intra_op.allow_spinning", "0")
    options.log_severity_level = 3
    try:
        return ort.InferenceSession(path.read_bytes(), options, providers=["CPUExecutionProvider"]), ort.__version__
    except OSError as error:
        raise ModelError(f"{path.name}: {error}") from error
    except Exception as error:
        raise ModelError(
            f"{path.name}: expected an ONNX model that onnxruntime can load, got: {str(error)[:300]}"
        ) from error


def _shown(nodes: Sequence[Any]) -> list[tuple[str, str, int]]:
    return [(node.name, node.type, len(node.shape)) for node in nodes]


def _check(path: Path, session: Any) -> None:
    inputs, outputs = _shown(session.get_inputs()), _shown(session.get_outputs())
    if inputs != [INPUT]:
        raise ModelError(f"{path.name}: expected the one input {INPUT} (name, type, rank), got {inputs}")
    for wanted in OUTPUTS:
        if wanted not in outputs:
            raise ModelError(f"{path.name}: expected the output {wanted} (name, type, rank), got {outputs}")


def _width(nodes: Sequence[Any], name: str) -> int | None:
    width = next(node.shape[1] for node in nodes if node.name == name)
    return width if isinstance(width, int) else None


def load(folder: Path, threads: int = 1) -> Scorer:
    """Loads `model.onnx` of a model folder, to be scored by so many threads.

    ModelError when it is not there, cannot be loaded or has other names.
    """
    path = folder / "model.onnx"
    session, version = _session(path, threads)
    _check(path, session)
    import numpy as np

    array, float32, run = np.array, np.float32, session.run
    wanted = [name for name, _, _ in OUTPUTS]

    def score(rows: Sequence[Sequence[float]]) -> Scores:
        labels, probabilities = run(wanted, {"X": array(rows, dtype=float32)})
        return labels.tolist(), probabilities.tolist()

    return Scorer(
        runtime="onnxruntime",
        platform="onnx_onnxv1",
        version=version,
        features=_width(session.get_inputs(), "X"),
        classes=_width(session.get_outputs(), "probabilities"),
        score=score,
    )


def load_tensors(folder: Path, golden: GoldenTensors, threads: int = 1) -> Scorer:
    """The same for a graph that is no classifier. ModelError when it has not the tensors that `golden` describes."""
    path = folder / "model.onnx"
    session, version = _session(path, threads)
    _check_tensors(path, session, golden)
    import numpy as np

    names, at_once = [tensor.name for tensor in golden.outputs], session.get_inputs()[0].shape[0]
    readers = [_reader(tensor) for tensor in golden.outputs]

    def run(rows: Any) -> list[Any]:
        return list(session.run(names, {golden.input.name: rows}))

    def score(rows: Sequence[Sequence[float]]) -> Scores:
        given = np.array(rows, dtype=np.float32).reshape(-1, *golden.input.shape)
        if at_once != 1:
            return [read(found) for read, found in zip(readers, run(given), strict=True)]
        parts = zip(*(run(given[i : i + 1]) for i in range(len(given))), strict=True)
        return [read(np.concatenate(found)) for read, found in zip(readers, parts, strict=True)]

    return Scorer(
        runtime="onnxruntime",
        platform="onnx_onnxv1",
        version=version,
        features=golden.input.width,
        classes=None,
        score=score,
    )


def _reader(tensor: Tensor) -> Callable[[Any], list[Any]]:
    """Makes an output's array a list with an item for each row."""
    places = {text: place for place, text in enumerate(tensor.texts)}

    def read(found: Any) -> list[Any]:
        if found.shape[1:] != tensor.shape:
            raise ValueError(f"{tensor.name}: expected rows of the shape {tensor.shape}, got {found.shape[1:]}")
        flat = found.reshape(len(found), -1) if tensor.shape else found
        listed: list[Any] = flat.tolist()
        if not places:
            return listed
        return [[places[t] for t in row] for row in listed] if tensor.shape else [places[text] for text in listed]

    return read


def _check_tensors(path: Path, session: Any, golden: GoldenTensors) -> None:
    inputs = [(node.name, KINDS.get(node.type), tuple(node.shape[1:])) for node in session.get_inputs()]
    wanted = (golden.input.name, "FP32", golden.input.shape)
    if inputs != [wanted]:
        raise ModelError(f"{path.name}: expected the one input {wanted} (name, type, shape of a row), got {inputs}")
    if session.get_inputs()[0].shape[0] not in (1, None) and isinstance(session.get_inputs()[0].shape[0], int):
        got = session.get_inputs()[0].shape[0]
        raise ModelError(f"{path.name}: expected any number of rows, or one at a time, got {got} at a time")
    outputs = {node.name: (KINDS.get(node.type), node.type == "tensor(string)") for node in session.get_outputs()}
    for tensor in golden.outputs:
        if outputs.get(tensor.name) != (tensor.datatype, bool(tensor.texts)):
            shown = [(node.name, node.type) for node in session.get_outputs()]
            raise ModelError(f"{path.name}: expected the output {tensor.name} of {tensor.datatype}, got {shown}")
