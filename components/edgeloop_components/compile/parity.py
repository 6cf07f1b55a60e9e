"""Parity: the compiled model against the reference's answers on the golden rows, and the same bits on every platform.

The answers in golden.json are those of onnxruntime on one thread, and beside them, where training had an estimator, that
estimator's own at float64: a compiled model must be near both. Two labels count as the same where the reference itself
holds them for equally likely, within the limit, which is the runtime's.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from typing import TYPE_CHECKING, Any

from edgeloop_components.compile.golden import Golden
from edgeloop_components.compile.tolerance import row_limits
from edgeloop_components.runtimes import Score
from edgeloop_contracts import Loop, ParityResult, Target

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["ParityError", "compare", "differences", "same_everywhere"]


class ParityError(ValueError):
    """The compiled model answers otherwise than the reference. The message shows the worst row; `result` has the numbers."""

    def __init__(self, message: str, result: ParityResult) -> None:
        super().__init__(message)
        self.result = result


def compare(
    loop: Loop, target: Target, golden: Golden, score: Score, limit: float, *, power: float = 1.0
) -> ParityResult:
    """Scores the golden rows one by one, as a node does, and compares. ParityError when it does not hold.

    `limit` is the runtime's; `power` is that of the calibration that the graph ends in.
    """
    import numpy as np

    answers = [score(golden.rows[i : i + 1]) for i in range(len(golden.rows))]
    labels = np.concatenate([label for label, _ in answers])
    probabilities = np.concatenate([p for _, p in answers]).astype(np.float64)
    difference = differences(golden.probabilities, probabilities)
    limits = row_limits(golden.probabilities, power, limit)
    wrong = _label_differences(golden, labels, limits)
    worst = int(np.where(wrong, np.inf, difference / limits).argmax())
    result = ParityResult(
        loop=loop.name,
        target=target.name,
        runtime=target.runtime,
        rows=len(labels),
        max_abs_difference=float(min(difference.max(), 1.0)),
        limit=float(limits.max()),
        label_differences=int(wrong.sum()),
        passed=bool((difference <= limits).all() and not wrong.any()),
        worst_row=worst,
    )
    if not result.passed:
        raise ParityError(_shown(result, golden, worst, labels, probabilities), result)
    return _beside_estimator(result, golden, probabilities, power)


def _beside_estimator(
    result: ParityResult, golden: Golden, probabilities: npt.NDArray[np.float64], power: float
) -> ParityResult:
    """The result with the distance from the estimator itself, where it is known. ParityError when that is too far."""
    if golden.estimator is None:
        return result
    own = golden.estimator.probabilities
    difference = differences(own, probabilities[: len(own)])
    limits = row_limits(own, power, golden.estimator.limit)
    found = replace(
        result,
        estimator_difference=float(min(difference.max(), 1.0)),
        estimator_limit=float(limits.max()),
        passed=bool((difference <= limits).all()),
    )
    if found.passed:
        return found
    worst = int((difference / limits).argmax())
    raise ParityError(
        f"target {result.target}: {result.runtime} differs from the estimator by {difference[worst]:.3g} (limit "
        f"{limits[worst]:g}) on golden row {worst}, {_row(golden, worst)}: expected {own[worst].tolist()}, "
        f"got {probabilities[worst].tolist()}",
        replace(found, worst_row=worst),
    )


def same_everywhere(result: ParityResult, digest: str, platforms: Mapping[str, str]) -> ParityResult:
    """The result with the digests of all outputs. ParityError when a platform's own binary gives other bits."""
    found = replace(result, output_digest=digest, platforms=dict(platforms))
    for platform, other in platforms.items():
        if other != digest:
            failed = replace(found, passed=False)
            raise ParityError(
                f"target {result.target}: the server for {platform} gives other bits than this machine's library on "
                f"{result.rows} golden rows: expected the outputs' digest {digest}, got {other}",
                failed,
            )
    return found


def differences(expected: npt.NDArray[np.float64], got: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
    """The largest difference of each row; infinite where an answer has another form or is no number."""
    import numpy as np

    if expected.shape != got.shape:
        return np.full(len(expected), np.inf)
    largest: npt.NDArray[np.float64] = np.nan_to_num(np.abs(expected - got), nan=np.inf).max(axis=1)
    return largest


def _label_differences(
    golden: Golden, labels: npt.NDArray[np.int64], limits: npt.NDArray[np.float64]
) -> npt.NDArray[np.bool_]:
    import numpy as np

    classes = golden.probabilities.shape[1]
    possible = (labels >= 0) & (labels < classes)
    places = np.arange(len(labels))
    other = golden.probabilities[places, np.clip(labels, 0, classes - 1)]
    tie = np.abs(golden.probabilities[places, golden.labels] - other) <= limits
    different: npt.NDArray[np.bool_] = ~possible | ((labels != golden.labels) & ~tie)
    return different


def _shown(result: ParityResult, golden: Golden, worst: int, labels: Any, probabilities: Any) -> str:
    return (
        f"target {result.target}: {result.runtime} differs from the reference by {result.max_abs_difference:.3g} "
        f"(limit {result.limit:g}) and in {result.label_differences} labels of {result.rows} golden rows. The worst is row "
        f"{worst}, {_row(golden, worst)}: expected {golden.probabilities[worst].tolist()} and label {int(golden.labels[worst])}, "
        f"got {probabilities[worst].tolist()} and label {int(labels[worst])}"
    )


def _row(golden: Golden, place: int) -> list[float | None]:
    return [None if value != value else value for value in golden.rows[place].tolist()]  # noqa: PLR0124  NaN
