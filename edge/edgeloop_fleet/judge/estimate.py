"""How often is the model right, when no labels come? Estimated from how sure it is (CBPE, arXiv 2407.08649).

Each bin of the confidence histogram goes through the version's calibration map g (confidence to the chance of being right):

    estimate = sum_b n_b g(s_b / n_b) / sum_b n_b

Its interval holds the sampling error with n / f effective rows (f the design effect of errors) and the error of the map
itself. The estimate is blind to a changed relation between inputs and label, and too hopeful when a sensor breaks, so it
speaks only where labels are silent, needs a fall of FALL, and needs it in two blocks running.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from math import sqrt

from edgeloop_contracts import Reference
from edgeloop_contracts.reference import CONFIDENCE_BINS, calibrated
from edgeloop_contracts.report import CONFIDENCE_UNIT

__all__ = ["FALL", "Estimate", "estimate", "has_fallen"]

FALL = 0.05  # in accuracy: the estimate's own error is .01 to .02 on average (the note's table)
SURE = 3.0  # standard errors, as the look is repeated every block


@dataclass(frozen=True, kw_only=True)
class Estimate:
    """Estimated accuracy with its standard error, from `rows` rows."""

    accuracy: float
    error: float
    rows: int

    @property
    def upper(self) -> float:
        return self.accuracy + SURE * self.error


def estimate(counts: Sequence[int], sums: Sequence[int], reference: Reference) -> Estimate | None:
    """The estimate from a confidence histogram ([20] rows, [20] sums in millionths); None when it is empty."""
    rows = sum(counts)
    if len(counts) != CONFIDENCE_BINS or len(sums) != CONFIDENCE_BINS or rows == 0 or not reference.calibration.x:
        return None
    chances = [
        (n, calibrated(reference.calibration, s * CONFIDENCE_UNIT / n)) for n, s in zip(counts, sums, strict=True) if n
    ]
    mean = sum(n * g for n, g in chances) / rows
    variance = sum(n * (g - mean) ** 2 for n, g in chances) / rows
    inflation = reference.error_design_effect
    sampling = (variance + 1.0 / rows) * inflation / rows
    mapping = max(mean * (1.0 - mean), 1e-4) * inflation / max(reference.calibration.rows, 1)
    return Estimate(accuracy=mean, error=sqrt(sampling + mapping), rows=rows)


def has_fallen(last: Sequence[Estimate | None], reference: Reference) -> bool:
    """Whether the newest two estimates (oldest first) are both surely below the held-out accuracy minus FALL."""
    newest = [one for one in last[-2:] if one is not None]
    return len(newest) == 2 and all(one.upper < reference.accuracy - FALL for one in newest)
