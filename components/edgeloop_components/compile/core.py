"""Compiles a model for a target's runtime and compares it with the reference on the golden rows.

The reference is the ONNX graph in onnxruntime on one thread. A compiled model that answers otherwise is refused, with the
row that differs most; nothing is left of it. What compiling means is the runtime's own affair (`runtimes`).
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_components.compile.golden import Golden, read_golden
from edgeloop_components.runtimes import RUNTIMES, ModelError, runtime_for
from edgeloop_components.steps import write_json
from edgeloop_contracts import Loop, ParityResult, Target, to_json

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Answers = tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]

__all__ = ["LIMIT", "MODEL_FILES", "CompileResult", "ParityError", "compare", "compile_model"]

LIMIT = 1e-6  # greatest absolute difference of a probability
MODEL_FILES = ("reference.json", "golden.json")  # they travel with the model


class ParityError(ValueError):
    """The compiled model answers otherwise than the reference; the message shows the worst row."""

    def __init__(self, result: ParityResult, row: list[float]) -> None:
        self.result = result
        shown = ", ".join(f"{value:g}" for value in row)
        super().__init__(
            f"{result.loop} for target {result.target}: the model compiled for {result.runtime} differs from the reference: "
            f"expected at most {result.limit:g} on {result.rows} golden rows and the same labels, got "
            f"{result.max_abs_difference:g} and {result.label_differences} other labels; worst is row {result.worst_row}: {shown}"
        )


@dataclass(frozen=True)
class CompileResult:
    """A compiled folder (what the runtime loads, reference.json, golden.json) and the proof."""

    folder: Path
    parity: ParityResult


def compile_model(loop: Loop, target: Target, model_dir: Path, out: Path) -> CompileResult:
    """Compiles the model in `model_dir` for a target: `out/model/` and `out/parity.json`.

    RuntimeRefused for a runtime or platform that is not there, ModelError for a graph that it cannot take, ParityError.
    """
    runtime = runtime_for(target)
    folder = out / "model"
    folder.mkdir(parents=True, exist_ok=True)
    try:
        runtime.compile(model_dir / "model.onnx", folder)
        for name in MODEL_FILES:
            shutil.copyfile(model_dir / name, folder / name)
        parity = compare(loop.name, target, model_dir, folder)
    except (ModelError, ParityError):
        shutil.rmtree(folder)
        raise
    write_json(out / "parity.json", to_json(parity))
    return CompileResult(folder, parity)


def compare(loop: str, target: Target, model_dir: Path, compiled: Path) -> ParityResult:
    """Scores the golden rows with the reference and with the compiled model. ParityError when they differ."""
    golden = read_golden(model_dir / "golden.json")
    expected = RUNTIMES["onnxruntime"].load(model_dir)(golden.rows)
    found = RUNTIMES[target.runtime].load(compiled)(golden.rows)
    _check_recorded(golden, expected[1], model_dir)
    result = parity_of(loop, target, expected, found)
    if not result.passed:
        raise ParityError(result, golden.rows[result.worst_row or 0].tolist())
    return result


def parity_of(loop: str, target: Target, expected: Answers, found: Answers) -> ParityResult:
    """Compares labels [n] and probabilities [n, classes]. A label may differ where the best two are within the limit."""
    import numpy as np

    difference = np.abs(expected[1].astype(np.float64) - found[1].astype(np.float64))
    difference[np.isnan(difference)] = np.inf
    best = np.sort(expected[1], axis=1)
    tie = best[:, -1] - best[:, -2] <= LIMIT if best.shape[1] > 1 else np.ones(len(best), bool)
    other_labels = int(((expected[0] != found[0]) & ~tie).sum())
    worst = int(difference.max(axis=1).argmax())
    largest = min(float(difference.max()), 1.0)  # infinite where the answer is no number: JSON cannot say that
    return ParityResult(
        loop=loop,
        target=target.name,
        runtime=target.runtime,
        rows=len(difference),
        max_abs_difference=largest,
        limit=LIMIT,
        label_differences=other_labels,
        passed=largest <= LIMIT and other_labels == 0,
        worst_row=worst,
    )


def _check_recorded(golden: Golden, probabilities: npt.NDArray[np.float32], model_dir: Path) -> None:
    """The reference must give today what was recorded when it was trained: else this onnxruntime is another one."""
    import numpy as np

    largest = float(np.abs(probabilities.astype(np.float64) - golden.probabilities).max())
    if not largest <= LIMIT:
        raise ModelError(
            f"{model_dir / 'golden.json'}: expected the recorded answers from model.onnx, got a difference of {largest:g} "
            "(another model, or another onnxruntime than it was trained with)"
        )
