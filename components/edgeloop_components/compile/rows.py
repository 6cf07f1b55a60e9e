"""Makes rows for a model that comes without data: where it can go wrong, and as the model's own constants suggest.

Tree thresholds and scalers say where a feature's values lie. Kinds: `ordinary`; `missing` (NaN, alone, scattered, everywhere);
`threshold` (exactly on one, and the next float above); `infinite`; `outside` (far out of range, up to the ends of float32,
subnormal numbers, zeros of both signs). Where a graph sums, far is 1e30: whether a sum of numbers near the end of float32
overflows, or is infinity minus infinity, depends on its order, and no order is the right one.
"""

from __future__ import annotations

import math
from collections.abc import Collection, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeloop_components.onnxgraph import Graph, Node

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Matrix = npt.NDArray[np.float32]

__all__ = ["FAR", "KINDS", "MOST", "Probes", "Range", "make_rows", "ranges"]

KINDS = {"ordinary": 0.55, "missing": 0.15, "threshold": 0.15, "infinite": 0.05, "outside": 0.10}  # shares of the rows
SAME_VALUES = ("Identity", "Cast", "Imputer", "Flatten", "Reshape")  # what X may pass through unchanged
MOST = 3.4e38
FAR = 1e30
ENDS = (MOST, -MOST, 1e30, -1e30, 1e6, -1e6, 1e-40, -1e-40, 1e-20, 0.0, -0.0, 16777217.0)


@dataclass(frozen=True)
class Range:
    """Where a feature's values lie, as far as the model tells."""

    center: float = 0.0
    width: float = 1.0
    thresholds: tuple[float, ...] = ()


@dataclass(frozen=True)
class Probes:
    """`rows` float32 [n, width], and the kind of each."""

    rows: Matrix
    kinds: tuple[str, ...]


def ranges(graph: Graph) -> list[Range]:
    """One for each value of a row, from trees and scalers that see the input itself."""
    width = math.prod(int(size or 1) for size in (graph.input.shape or ())[1:])
    found = [Range() for _ in range(width)]
    same = {graph.input.name}
    for node in graph.nodes:
        if not node.inputs or node.inputs[0] not in same:
            continue
        if node.op in SAME_VALUES:
            same.update(node.outputs)
        elif node.op == "Scaler":
            found = _scaled(node, found)
        elif node.op.startswith("TreeEnsemble"):
            found = _split(node, found)
    return found


def _scaled(node: Node, found: Sequence[Range]) -> list[Range]:
    offsets, scales = node.numbers("offset").tolist(), node.numbers("scale").tolist()
    made = []
    for place, before in enumerate(found):
        center = offsets[place] if place < len(offsets) else (offsets or [0.0])[0]
        scale = scales[place] if place < len(scales) else (scales or [1.0])[0]
        made.append(Range(center, 1 / abs(scale) if scale else 1.0, before.thresholds))
    return made


def _split(node: Node, found: Sequence[Range]) -> list[Range]:
    import numpy as np

    by_feature: dict[int, set[float]] = {place: set(known.thresholds) for place, known in enumerate(found)}
    for feature, value in _splits(node):
        if feature in by_feature and math.isfinite(value):
            by_feature[feature].add(value)
    made = []
    for place, known in enumerate(found):
        values = sorted(by_feature[place])
        if not values:
            made.append(known)
            continue
        spread = float(np.std(values)) or abs(values[0]) or 1.0
        made.append(Range(float(np.median(values)), max(spread, 1e-30), tuple(values)))
    return made


def _splits(node: Node) -> list[tuple[int, float]]:
    """Feature and threshold of each split, of both forms of the operator."""
    features = node.integers("nodes_featureids").tolist()
    if node.op == "TreeEnsemble":
        values = node.tensor("nodes_splits")
        return list(zip(features, [] if values is None else values.ravel().tolist(), strict=False))
    modes = node.texts("nodes_modes")
    return [
        (feature, value)
        for feature, value, mode in zip(features, node.numbers("nodes_values").tolist(), modes, strict=False)
        if mode != "LEAF"
    ]


def make_rows(
    found: Sequence[Range], count: int, seed: int, *, far: float = MOST, without: Collection[str] = ()
) -> Probes:
    """At least one row of each kind but those of `without`, finite values up to `far`; the same for the same seed."""
    import numpy as np

    draw = np.random.default_rng(seed)
    sizes = {kind: max(1, round(count * share)) for kind, share in KINDS.items() if kind not in without}
    sizes["ordinary"] = max(1, count - sum(size for kind, size in sizes.items() if kind != "ordinary"))
    parts = {kind: MAKERS[kind](_ordinary(found, size, draw), found, draw) for kind, size in sizes.items()}
    rows = np.vstack([parts[kind] for kind in sizes]).astype(np.float32)
    rows = np.where(np.isfinite(rows), np.clip(rows, np.float32(-far), np.float32(far)), rows)
    return Probes(rows, tuple(kind for kind, size in sizes.items() for _ in range(size)))


def _ordinary(found: Sequence[Range], count: int, draw: np.random.Generator) -> Matrix:
    """Around the thresholds of a feature where it has some, else around its center."""
    import numpy as np

    columns = []
    for known in found:
        around = draw.choice(known.thresholds, count) if known.thresholds else np.full(count, known.center)
        spread = known.width * (0.25 if known.thresholds else 1.0)
        columns.append(around + spread * draw.normal(size=count))
    made: Matrix = np.clip(np.stack(columns, axis=1), -3e38, 3e38).astype(np.float32)
    return made


def _as_they_are(rows: Matrix, _found: Sequence[Range], _draw: np.random.Generator) -> Matrix:
    return rows


def _missing(rows: Matrix, _found: Sequence[Range], draw: np.random.Generator) -> Matrix:
    """One value of each row in turn; in every second row others too; in the first row all."""
    import numpy as np

    count, width = rows.shape
    gone = draw.random(rows.shape) < np.where(np.arange(count) % 2, 0.2, 0.0)[:, None]
    gone[np.arange(count), np.arange(count) % width] = True
    gone[0] = True
    return np.where(gone, np.float32(np.nan), rows)


def _on_thresholds(rows: Matrix, found: Sequence[Range], draw: np.random.Generator) -> Matrix:
    """Every feature that has thresholds stands on one, or on the next float above or below it."""
    import numpy as np

    made = rows.copy()
    for place, known in enumerate(found):
        on = np.array(known.thresholds or (known.center,), dtype=np.float32)[
            draw.integers(max(1, len(known.thresholds)), size=len(rows))
        ]
        ways = draw.integers(4, size=len(rows))  # twice as many exactly on it
        above, below = np.nextafter(on, np.float32(np.inf)), np.nextafter(on, np.float32(-np.inf))
        made[:, place] = np.select([ways == 0, ways == 1], [above, below], on)
    return made


def _infinite(rows: Matrix, _found: Sequence[Range], _draw: np.random.Generator) -> Matrix:
    """One value of each row in turn, of both signs; in the last row all."""
    import numpy as np

    made = rows.copy()
    places = np.arange(len(rows))
    made[places, (places // 2) % rows.shape[1]] = np.where(places % 2, -np.inf, np.inf)
    if len(rows) > 2:
        made[-1] = np.inf
    return made


def _outside(rows: Matrix, _found: Sequence[Range], _draw: np.random.Generator) -> Matrix:
    import numpy as np

    made = rows.copy()
    places = np.arange(len(rows))
    made[places, places % rows.shape[1]] = np.array(ENDS, dtype=np.float32)[places % len(ENDS)]
    return made


MAKERS: Mapping[str, Any] = {
    "ordinary": _as_they_are,
    "missing": _missing,
    "threshold": _on_thresholds,
    "infinite": _infinite,
    "outside": _outside,
}
