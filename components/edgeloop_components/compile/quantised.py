"""Parity of a quantised model: its labels against the reference's over many rows, and its circuit against its own integers.

The probabilities of a model of few bits are others than the reference's, row by row; a limit wide enough for them would let
everything pass. So two other things are asked: the share of rows with the reference's label is at least the target's floor, and
the simulated circuit gives, on every golden row, the very scores of the integer model. How far probabilities and labels of the
golden rows are off is noted and decides nothing: most of those rows are chosen for being extreme.
"""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from edgeloop_components.compile.golden import Golden
from edgeloop_components.compile.parity import ParityError, differences
from edgeloop_components.runtimes import Score
from edgeloop_contracts import Loop, ParityResult, Target

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Judged", "compare_labels", "exact"]


@dataclass(frozen=True)
class Judged:
    """Rows float32 [n, features] to judge on, the reference's labels int64 [n] for them, and the least share that must agree."""

    rows: npt.NDArray[np.float32]
    labels: npt.NDArray[np.int64]
    floor: float


def compare_labels(loop: Loop, target: Target, golden: Golden, score: Score, judged: Judged) -> ParityResult:
    """Scores the rows and compares labels. ParityError when fewer agree than must."""
    import numpy as np

    labels, probabilities = score(golden.rows)
    difference = differences(golden.probabilities, probabilities.astype(np.float64))
    agreement = float((score(judged.rows)[0] == judged.labels).mean())
    result = ParityResult(
        loop=loop.name,
        target=target.name,
        runtime=target.runtime,
        rows=len(labels),
        max_abs_difference=float(min(difference.max(), 1.0)),
        limit=1.0,
        label_differences=int((labels != golden.labels).sum()),
        passed=agreement >= judged.floor,
        worst_row=int(difference.argmax()),
        agreement=agreement,
        agreement_floor=judged.floor,
        agreement_rows=len(judged.rows),
    )
    if not result.passed:
        raise ParityError(
            f"target {target.name}: {target.runtime} gives the reference's label on {agreement:.4f} of "
            f"{len(judged.rows)} rows, expected at least {judged.floor:g} (fpga.agreement)",
            result,
        )
    return result


def exact(result: ParityResult) -> ParityResult:
    """The result after the circuit's own outputs were found to be the model's (`parity.same_everywhere`)."""
    return replace(result, exact_rows=result.rows) if result.platforms else result
