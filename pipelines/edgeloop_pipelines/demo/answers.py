"""What came back for each row of the stream, and the sums that the fleet must end up with.

Pure bookkeeping: every row is answered by exactly one version or not at all, and a label is handed back at most once. The
fleet's totals are compared with these sums by version and node, number by number.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Answers", "Sums", "differences", "sums_of_totals"]

UNASKED = 0  # in Answers.version


class Sums(NamedTuple):
    """Rows answered, labels handed back, and how many of these were predicted right."""

    rows: int = 0
    labelled: int = 0
    correct: int = 0


By = Mapping[tuple[int, str], Sums]  # (version, node)


@dataclass
class Answers:
    """By row of the stream: the version that answered (0: none), its label and its confidence; and the running sums."""

    version: npt.NDArray[np.int32]
    predicted: npt.NDArray[np.object_]
    confidence: npt.NDArray[np.float32]
    sums: dict[tuple[int, str], Sums] = field(default_factory=dict)
    empty: int = 0  # rows in which every input is missing: not asked
    refused: int = 0  # requests that were not answered with 200
    dropped: int = 0  # connections that ended before their answer; asked again after the fleet's count had settled it

    @classmethod
    def for_rows(cls, rows: int) -> Answers:
        import numpy as np

        return cls(np.zeros(rows, np.int32), np.full(rows, None, object), np.full(rows, np.nan, np.float32))

    def take(self, row: int, node: str, document: Mapping[str, Any]) -> None:
        """Keeps the answer to one row. ValueError when the row has one already."""
        if self.version[row] != UNASKED:
            raise ValueError(f"row {row} of the stream: expected one answer, got a second one")
        version = int(document["version"])
        self.version[row], self.predicted[row] = version, document["label"]
        self.confidence[row] = document["confidence"]
        self._add(version, node, Sums(rows=1))

    def label(self, row: int, node: str, label: str) -> None:
        """Counts a label that was handed back."""
        right = int(self.predicted[row] == label)
        self._add(int(self.version[row]), node, Sums(labelled=1, correct=right))

    def _add(self, version: int, node: str, more: Sums) -> None:
        old = self.sums.get((version, node), Sums())
        self.sums[version, node] = Sums(old.rows + more.rows, old.labelled + more.labelled, old.correct + more.correct)

    @property
    def answered(self) -> int:
        return sum(part.rows for part in self.sums.values())


def sums_of_totals(totals: Iterable[Mapping[str, Any]]) -> dict[tuple[int, str], Sums]:
    """The sums in the fleet's totals (one mapping a version and node)."""
    return {
        (int(t["version"]), str(t["node"])): Sums(int(t["rows"]), int(t["labelled"]), int(t["correct"])) for t in totals
    }


def differences(expected: By, found: By) -> list[str]:
    """Where the two differ, in words; nothing when every sum is equal."""
    lines = []
    for version, node in sorted({*expected, *found}):
        want, got = expected.get((version, node), Sums()), found.get((version, node), Sums())
        lines += [
            f"{node}, version {version}, {name}: expected {w}, the fleet has {g}"
            for name, w, g in zip(Sums._fields, want, got, strict=True)
            if w != g
        ]
    return lines
