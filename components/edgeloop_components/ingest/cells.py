"""One checked column of a snapshot: float64 numbers (NaN: missing), or codes into sorted categories (-1: missing)."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

__all__ = ["Cells", "category_cells", "digest_of_rows"]


@dataclass(frozen=True)
class Cells:
    """A column. `values` are float64 numbers or int32 codes; `numeric` says that the texts of a category were numbers."""

    name: str
    kind: Literal["number", "category"]
    values: npt.NDArray[Any]
    categories: tuple[str, ...] = ()
    numeric: bool = False

    @property
    def missing(self) -> npt.NDArray[np.bool_]:
        import numpy as np

        absent: npt.NDArray[np.bool_] = np.isnan(self.values) if self.kind == "number" else self.values < 0
        return absent

    def take(self, places: npt.NDArray[np.int64]) -> Cells:
        """The rows at `places`; categories that none of them has are gone."""
        import numpy as np

        values = self.values[places]
        if self.kind == "number":
            return Cells(self.name, self.kind, values, (), self.numeric)
        used = np.unique(values[values >= 0])
        table = np.full(len(self.categories) + 1, -1, dtype=np.int32)  # the last place is that of -1
        table[used] = np.arange(len(used), dtype=np.int32)
        categories = tuple(self.categories[code] for code in used)
        return Cells(self.name, self.kind, table[values], categories, self.numeric)

    def keys(self) -> npt.NDArray[np.int64]:
        """Whole numbers that order the values (missing last) and are equal where the values are."""
        import numpy as np

        if self.kind == "category":
            return np.where(self.values < 0, len(self.categories), self.values).astype(np.int64)
        bits = (np.where(self.missing, np.nan, self.values) + 0.0).view(np.int64)  # + 0.0 makes -0 a 0
        flipped: npt.NDArray[np.int64] = np.where(bits < 0, bits ^ np.int64(2**63 - 1), bits)
        return flipped


def category_cells(name: str, texts: Iterable[str | None], *, numeric: bool = False) -> Cells:
    """A category column of texts; None is missing."""
    import numpy as np

    listed = list(texts)
    categories = tuple(sorted({text for text in listed if text is not None}))
    code_of: dict[str | None, int] = {text: code for code, text in enumerate(categories)}
    codes = np.fromiter((code_of.get(text, -1) for text in listed), dtype=np.int32, count=len(listed))
    return Cells(name, "category", codes, categories, numeric)


def digest_of_rows(time_us: npt.NDArray[np.int64] | None, columns: Sequence[Cells]) -> str:
    """`sha256:<hex>` of rows in canonical order: of their values, not of any file's bytes."""
    import numpy as np

    digest = hashlib.sha256()
    head = [[c.name, c.kind, list(c.categories)] for c in columns]
    digest.update(json.dumps([time_us is not None, head], ensure_ascii=False).encode())
    if time_us is not None:
        digest.update(time_us.astype("<i8").tobytes())
    for column in columns:
        if column.kind == "number":
            canonical = np.where(np.isnan(column.values), np.nan, column.values + 0.0)
            digest.update(canonical.astype("<f8").tobytes())
        else:
            digest.update(column.values.astype("<i4").tobytes())
    return "sha256:" + digest.hexdigest()
