"""Scores with onnxruntime, on one thread unless the profile found that more of them pay (`EDGELOOP_THREADS`).

More threads change the last bits of sums; parity is judged on one, and the self-test on the golden rows holds for any number.
Threads that wait do not spin: under a CPU quota that would use up what the others need.

Takes graphs with the input `X` float32 [N, F] and the outputs `label` int64 [N] and `probabilities` float32 [N, C], and
refuses all others. Its telemetry is switched off before it is imported.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from edgeloop_node.runtimes import ModelError, Scorer, Scores

__all__ = ["load"]

INPUT = ("X", "tensor(float)", 2)
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
