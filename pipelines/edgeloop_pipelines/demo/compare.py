"""What would have been without the loop? Two other ways of life, on the very rows that the loop answered.

- left alone: the first model, asked every row of the stream (with onnxruntime, on the file that the catalog holds);
- by calendar: as many retrainings as the loop made, evenly spaced, each with the same ingest and train functions, the same
  window and label delay, always promoted, on all nodes at once. One calendar is luck, so the same is done with its dates
  shifted by a quarter and a half of the spacing.

It trains in this process and touches no store.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_contracts import Loop, units
from edgeloop_pipelines.demo.prepared import Prepared, steps_of

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt
    import pandas as pd

    Labels = npt.NDArray[np.object_]

__all__ = ["SHIFTS", "Calendar", "calendar_dates", "calendars", "encode", "known_rows", "predict", "train_at"]

SHIFTS = (0.0, -0.5, -0.25, 0.25, 0.5)  # of the spacing between two runs; the first one is the calendar of the tables


@dataclass(frozen=True)
class Calendar:
    """One calendar: by how much it is shifted, when it trained (Unix seconds), and its predicted labels of the stream."""

    shift: float
    dates_s: tuple[int, ...]
    predicted: Labels


def encode(frame: pd.DataFrame, reference: Mapping[str, Any]) -> npt.NDArray[np.float32]:
    """The rows as the model takes them: float32 [rows, features]; a category is its code, an unknown one -1."""
    import numpy as np

    columns = []
    for feature in reference["features"]:
        values = frame[feature["name"]]
        if feature["kind"] == "category":
            codes = {name: code for code, name in enumerate(feature["categories"])}
            known = values.map(codes).where(values.isna() | values.isin(list(codes)), -1)
            columns.append(known.to_numpy(np.float32))
        else:
            columns.append(values.to_numpy(np.float32))
    return np.stack(columns, axis=1)


def predict(model: Path, frame: pd.DataFrame) -> Labels:
    """The labels that the model in a folder (model.onnx, reference.json) gives to the rows. One thread."""
    import numpy as np
    import onnxruntime

    reference = json.loads((model / "reference.json").read_bytes())
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    session = onnxruntime.InferenceSession(str(model / "model.onnx"), options, providers=["CPUExecutionProvider"])
    (labels,) = session.run(["label"], {"X": encode(frame, reference)})
    predicted: Labels = np.array(reference["classes"], dtype=object)[labels]
    return predicted


def calendar_dates(prepared: Prepared, runs: int, shift: float = 0.0) -> tuple[int, ...]:
    """`runs` evenly spaced times of the stream (starts of steps, Unix seconds), moved by `shift` of the spacing."""
    starts = [start for start, _ in steps_of(prepared)]
    spacing = len(starts) / (runs + 1)
    places = (round(spacing * (i + 1 + shift)) for i in range(runs))
    return tuple(starts[min(max(place, 0), len(starts) - 1)] for place in places)


def known_rows(prepared: Prepared, at_s: int, window_s: int) -> pd.DataFrame:
    """The labelled rows that somebody knows at a time: the label was due, and the row is not older than the window."""
    import pandas as pd

    rows = pd.concat([prepared.history, prepared.stream], ignore_index=True)
    latest = pd.Timestamp(at_s - prepared.delay_s, unit="s", tz="UTC")
    times = rows[prepared.time_column]
    due = (times < latest) & rows[prepared.label_column].notna()
    oldest = times[due].max() - pd.Timedelta(seconds=window_s)
    known: pd.DataFrame = rows[due & (times >= oldest)].reset_index(drop=True)
    return known


def train_at(loop: Loop, prepared: Prepared, at_s: int, folder: Path) -> Path:
    """Ingests and trains as the pipeline does, on what is known at a time; gives the model's folder. Done once a time."""
    from edgeloop_components.ingest.core import ingest
    from edgeloop_components.train.core import train

    model = folder / str(at_s)
    if (model / "model.onnx").exists():
        return model
    model.mkdir(parents=True, exist_ok=True)
    rows = model / "known.parquet"
    known_rows(prepared, at_s, units.duration_s(loop.data.window)).to_parquet(rows, index=False)
    snapshot = model / "snapshot"
    snapshot.mkdir(exist_ok=True)
    ingest(replace(loop, data=replace(loop.data, source=str(rows))), snapshot, objects=None, now_s=float(at_s))
    train(loop, snapshot, model)
    return model


def calendars(
    loop: Loop, prepared: Prepared, first: Labels, *, runs: int, folder: Path, shifts: Sequence[float] = SHIFTS
) -> list[Calendar]:
    """One calendar for each shift. `first` holds the first model's labels of every stream row."""
    found = []
    for shift in shifts:
        dates = calendar_dates(prepared, runs, shift)
        models = {at_s: train_at(loop, prepared, at_s, folder) for at_s in dates}
        found.append(Calendar(shift, dates, _served_by(prepared, models, first)))
    return found


def _served_by(prepared: Prepared, models: Mapping[int, Path], first: Labels) -> Labels:
    """The labels when each model serves from its time on until the next one does."""
    predicted, dates = first.copy(), sorted(models)
    for at_s, until_s in zip(dates, (*dates[1:], None), strict=False):
        served = _between(prepared, at_s, until_s)
        if served.any():
            predicted[served] = predict(models[at_s], prepared.stream[served])
    return predicted


def _between(prepared: Prepared, at_s: int, until_s: int | None) -> npt.NDArray[np.bool_]:
    import numpy as np
    import pandas as pd

    times = prepared.stream[prepared.time_column]
    inside = times >= pd.Timestamp(at_s, unit="s", tz="UTC")
    if until_s is not None:
        inside &= times < pd.Timestamp(until_s, unit="s", tz="UTC")
    return inside.to_numpy(dtype=np.bool_)
