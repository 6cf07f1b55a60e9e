"""How far a row of probabilities may be off where the graph ends in a calibration.

Calibration raises each probability to a power and normalises. Where the power is below 1, that multiplies the last bit of a
probability near 0, up to a hundred times (train/calibration.py bounds it), and so what two sound implementations differ by.
The limit of such a row grows as much, up to the one that a node's self-test has.
"""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float64]

__all__ = ["MOST", "power_of", "row_limits"]

MOST = 1e-5  # as in edgeloop_node/server/model.py and in the native server
TINY = 1e-30
KEY = "edgeloop.temperature"


def power_of(model: Any) -> float:
    """The power that an onnx.ModelProto's calibration raises to, as training noted it; 1 without one."""
    for entry in model.metadata_props:
        if entry.key == KEY:
            try:
                degrees = float(json.loads(entry.value))
            except (ValueError, TypeError):
                return 1.0
            return 1.0 / degrees if degrees > 0 else 1.0
    return 1.0


def row_limits(probabilities: Any, power: float, limit: float) -> Floats:
    """A limit for each row of calibrated probabilities [n, classes]: `limit` times what calibration multiplies by."""
    import numpy as np

    found = np.asarray(probabilities, dtype=np.float64)
    if power >= 1.0:
        slopes = np.full(len(found), power)
    else:
        lowest = np.clip(np.nan_to_num(found, nan=1.0), TINY, 1.0).min(axis=1)
        slopes = power * lowest ** ((power - 1.0) / power)
    limits: Floats = np.minimum(limit * np.maximum(slopes, 1.0), max(MOST, limit))
    return limits
