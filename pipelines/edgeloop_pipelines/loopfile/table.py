"""Looks at the first rows of a data source on disk: CSV or Parquet, one file or a folder of them.

It reduces the rows to what can be said of each column, so that guessing needs no data frame. It refuses s3:// sources and
`module:function`: those are read by the pipeline, with its rights, not by a look from outside.
"""

from __future__ import annotations

import difflib
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "SAMPLE_ROWS",
    "ColumnSummary",
    "Sample",
    "SourceError",
    "Table",
    "TimeForm",
    "files_of",
    "is_remote",
    "look",
    "span_s",
    "summarise",
]

SAMPLE_ROWS = 5_000
SUFFIXES = (".csv", ".parquet")
FEW = 50  # so many different values still make a category
REPEATED = 5  # rows a value, on average: with fewer, that one column decides another is chance
SPAN_LIMIT_BYTES = 256 << 20  # above, the whole time column is not read

TimeForm = Literal["", "text", "seconds", "milliseconds"]


class SourceError(ValueError):
    """A data source cannot be looked at. `hint` says what to do."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True)
class ColumnSummary:
    """What the sample says of one column. `time` is the form of its times, if it holds times."""

    name: str
    kind: Literal["number", "text", "boolean", "empty"]
    missing: int
    distinct: int
    whole: bool = False  # numbers without fraction
    counts_up: bool = False  # 0, 1, 2, ... or 1, 2, 3, ...
    commonest: float = 0.0  # share of the most common value among those present
    time: TimeForm = ""


@dataclass(frozen=True)
class Table:
    """Summaries of all columns, and what pairs of them have in common."""

    rows: int
    columns: tuple[ColumnSummary, ...]
    unique: frozenset[tuple[str, str]] = frozenset()  # (time, column): no two rows are equal in both
    decides: frozenset[tuple[str, str]] = (
        frozenset()
    )  # (a, b): rows equal in a, of which there are many, are equal in b
    step_s: float | None = None  # usual time between two rows of one node


@dataclass(frozen=True)
class Sample:
    """The first rows, and how many lines were no rows."""

    frame: pd.DataFrame
    broken: list[str] = field(default_factory=list)


def is_remote(source: str) -> bool:
    """Whether a source is no path: `s3://...` or `module:function`."""
    return "://" in source or re.fullmatch(r"[A-Za-z_][\w.]*:[A-Za-z_]\w*", source) is not None


def files_of(source: str) -> list[Path]:
    """The data files of a source, in order. SourceError when there are none."""
    if is_remote(source):
        raise SourceError(f"{source}: only files and folders can be looked at", "give a file with some of its rows")
    if not source:
        raise SourceError("expected a file or a folder, got an empty name")
    path = Path(source)
    if path.is_dir():
        files = sorted(p for p in path.rglob("*") if p.is_file() and not _hidden(p.relative_to(path)))
        if not files:
            raise SourceError(f"{source}: expected CSV or Parquet files in the folder, found none")
    elif path.is_file():
        files = [path]
    else:
        raise SourceError(f"{source}: no such file or folder", _nearby(path))
    for file in files:
        if file.suffix.lower() not in SUFFIXES:
            raise SourceError(f"{file}: expected a file that ends in .csv or .parquet, got {file.suffix or 'none'}")
    return files


def _hidden(relative: Path) -> bool:
    """Files that the pipeline leaves out of a folder too."""
    return any(part.startswith((".", "_")) for part in relative.parts)


def _nearby(path: Path) -> str:
    if path.is_symlink():
        return f"it is a link to {path.readlink()}, which is not there"
    names = [p.name for p in path.parent.iterdir() if p.exists()] if path.parent.is_dir() else []
    near = difflib.get_close_matches(path.name, names, n=1)
    return f"did you mean {path.parent / near[0]}?" if near else ""


def look(source: str, rows: int = SAMPLE_ROWS) -> Sample:
    """The first rows of a source, taken from its files in equal parts. SourceError when they cannot be read."""
    import pandas as pd

    files = files_of(source)
    broken: list[str] = []
    share = max(rows // len(files), 50)
    frames, left = [], rows
    for path in files:
        if left <= 0:
            break
        frames.append(_read(path, min(share, left), broken))
        left -= len(frames[-1])
    frame = pd.concat(frames, ignore_index=True) if len(frames) > 1 else frames[0]
    if frame.empty:
        raise SourceError(f"{source}: expected rows, found only a header")
    return Sample(frame, broken)


def _read(path: Path, rows: int, broken: list[str]) -> pd.DataFrame:
    import pandas as pd

    def bad(fields: list[str]) -> None:
        broken.append(f"{path}: a line with {len(fields)} fields")

    try:
        if path.suffix.lower() == ".parquet":
            frame = next(_parquet(path, rows))
        else:
            frame = pd.read_csv(path, nrows=rows, engine="python", on_bad_lines=bad, encoding="utf-8-sig")
    except (ValueError, OSError) as error:  # pandas' and Arrow's errors are of these kinds
        said = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise SourceError(f"{path}: cannot be read as {path.suffix[1:]}: {said}") from error
    if (
        len(frame.columns) == 1
        and path.suffix.lower() == ".csv"
        and any(mark in str(frame.columns[0]) for mark in ";\t|")
    ):
        raise SourceError(f"{path}: expected columns separated by commas, got {frame.columns[0]!r}")
    return frame.rename(columns=str)


def _parquet(path: Path, rows: int) -> Iterator[pd.DataFrame]:
    import pandas as pd
    import pyarrow.parquet

    file = pyarrow.parquet.ParquetFile(path)
    for batch in file.iter_batches(batch_size=rows):
        yield batch.to_pandas()
    yield pd.DataFrame(columns=file.schema_arrow.names)


def summarise(frame: pd.DataFrame) -> Table:
    """Reduces rows to summaries."""
    columns = tuple(_column(frame[name], name) for name in frame.columns)
    times = {c.name: to_times(frame[c.name], c.time) for c in columns if c.time}
    few = [c.name for c in columns if 1 < c.distinct <= FEW and not c.time]
    unique = {(t, c) for t, values in times.items() for c in few if not frame[[c]].assign(_t=values).duplicated().any()}
    repeats = {a: frame[a].nunique(dropna=False) * REPEATED <= len(frame) for a in few}
    decides = {
        (a, b)
        for a in few
        for b in few
        if a != b and repeats[a] and (frame.groupby(a, dropna=False)[b].nunique(dropna=False) <= 1).all()
    }
    return Table(len(frame), columns, frozenset(unique), frozenset(decides), _step_s(times))


def _column(values: pd.Series[Any], name: str) -> ColumnSummary:
    import pandas as pd

    present = values.dropna()
    base = {"name": name, "missing": len(values) - len(present), "distinct": int(present.nunique())}
    if present.empty:
        return ColumnSummary(kind="empty", **base)  # type: ignore[arg-type]
    commonest = float(present.value_counts(normalize=True).iloc[0])
    if pd.api.types.is_bool_dtype(present) or set(map(str, present.unique()[:3])) <= {"True", "False"}:
        return ColumnSummary(kind="boolean", commonest=commonest, **base)  # type: ignore[arg-type]
    if pd.api.types.is_numeric_dtype(present):
        whole = bool((present % 1 == 0).all())
        counts = whole and len(present) > 2 and bool((present.diff().iloc[1:] == 1).all())
        form = _number_time(present, name)
        return ColumnSummary(kind="number", whole=whole, counts_up=counts, commonest=commonest, time=form, **base)  # type: ignore[arg-type]
    return ColumnSummary(kind="text", commonest=commonest, time=_text_time(present), **base)  # type: ignore[arg-type]


def _number_time(values: pd.Series[Any], name: str) -> TimeForm:
    named = any(word in name.lower() for word in ("time", "date", "epoch", "ts", "unix"))
    if named and values.between(3e8, 5e9).all():  # 1979 to 2128 in seconds
        return "seconds"
    return "milliseconds" if named and values.between(3e11, 5e12).all() else ""


def _text_time(values: pd.Series[Any]) -> TimeForm:
    import pandas as pd

    if pd.api.types.is_datetime64_any_dtype(values):
        return "text"
    head = values.head(200).astype(str)
    if not head.str.match(r"\d{4}-?\d\d-?\d\d").all():
        return ""
    return "text" if pd.to_datetime(head, utc=True, errors="coerce", format="ISO8601").notna().all() else ""


def to_times(values: pd.Series[Any], form: TimeForm) -> pd.Series[Any]:
    """Unix seconds (float, NaN where there is none) of a column of times."""
    import pandas as pd

    if form == "text":
        times = pd.to_datetime(values, utc=True, errors="coerce", format="ISO8601")
        return (times - pd.Timestamp(0, tz="UTC")) / pd.Timedelta(seconds=1)
    return pd.to_numeric(values, errors="coerce") / (1000.0 if form == "milliseconds" else 1.0)


def _step_s(times: dict[str, pd.Series[Any]]) -> float | None:
    import pandas as pd

    for values in times.values():
        gaps = pd.Series(values.dropna().unique()).sort_values().diff().dropna()
        if len(gaps):
            return float(gaps.median())
    return None


def span_s(source: str, column: str, form: TimeForm) -> float | None:
    """Seconds from the oldest to the newest row of the whole source; None when it is too large to read for that."""
    import pandas as pd

    files = files_of(source)
    if sum(path.stat().st_size for path in files) > SPAN_LIMIT_BYTES:
        return None
    low, high = float("inf"), float("-inf")
    for path in files:
        if path.suffix.lower() == ".parquet":
            values = pd.read_parquet(path, columns=[column])[column]
        else:
            values = pd.read_csv(path, usecols=[column], on_bad_lines="skip", encoding="utf-8-sig")[column]
        times = to_times(values, form)
        low, high = min(low, float(times.min())), max(high, float(times.max()))
    return high - low if high >= low else None
