"""The weather station: is this a rainy day? Two nodes take every other row; 22 years are history, 28 years the stream.

The file has no dates, only the order of days: the dates here are synthetic (one row a day from `FIRST_DAY`). From about row
12,000 on, the dew-point column collapses: a sensor or a converter failed. Before that nothing much changes.

Pure over the frame: reads one CSV file, writes nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_pipelines.demo.prepared import DemoNode, Prepared

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["LOOP_YAML", "prepare"]

WINDOW_DAYS = 112  # with one row a day, a shorter window holds too few rows to judge by
FIRST_DAY = 18 * WINDOW_DAYS  # days since 1970: 1975-07-10, so that row 0 begins a window
FIRST_ROWS = 72 * WINDOW_DAYS  # 8,064 rows: the sensor fails about 11 years later
DELAY_DAYS = 14
FIRST_YEAR, YEARS_A_PERIOD = 1997, 4  # of the table
DAY_S = 86_400
NODES = ("station-a", "station-b")
COLUMNS = {
    "temperature": "temperature",
    "dew point": "dew_point",
    "sea-level pressure": "pressure",
    "visibility": "visibility",
    "average wind speed": "wind_speed",
    "max sustained wind-speed": "wind_max",
    "minimum temperature": "temp_min",
    "maximum temperature": "temp_max",
}
INPUTS = tuple(COLUMNS.values())

LOOP_YAML = """\
# One model's whole life. The demo wrote this file; `edgeloop check` accepts it.
apiVersion: edgeloop.dev/v1alpha1
kind: Loop
metadata: {name: rain, owner: weather}

data:
  source: s3://telemetry/rain/             # the archive: a part every 16 weeks, with the labels that are there
  time: time                               # synthetic: the file has the order of days only
  node: station
  label: rain
  features: [temperature, dew_point, pressure, visibility, wind_speed, wind_max, temp_min, temp_max]
  window: 1456d                            # train on the newest four years: less is too few rows (one row a day)

train:
  estimator: sklearn.ensemble.HistGradientBoostingClassifier
  params:
    max_iter: 60
    max_leaf_nodes: 8
    learning_rate: 0.1
    min_samples_leaf: 30
    l2_regularization: 1.0
    early_stopping: false

validate:
  champion: {metric: accuracy, margin: 0.0}
  holdout: 0.2

targets:
  - {name: canary, platform: linux/amd64, runtime: native, nodes: {group: canary}}
  - {name: field, platform: linux/amd64, runtime: onnxruntime, nodes: {group: field}}

monitor:
  window: 112d                             # nodes count per 16 weeks: one row a day is not much
  false_alarms: 1/year                     # with such windows fewer: never more than one in 20 windows
  label_delay: 14d

retrain:
  on: [performance]
  cooldown: 364d
  budget: 1/year

rollout:
  waves: [[canary], [field]]
  soak: 112d
  tolerance: 0.2
"""

STORY = (
    "Data: one row a day; 22 years are history, 28 the stream. Two nodes take every other row. The dates are synthetic.",
    "Label: was it a rainy day? The truth comes 14 days late.",
    "Why it decays: from about row 12,000 (2008 here) on, the dew-point sensor's values collapse.",
)


def prepare(csv: Path) -> Prepared:
    """Reads the station's CSV file (columns of `COLUMNS` and rain)."""
    rows = _rows(csv)
    stream = rows.iloc[FIRST_ROWS:].reset_index(drop=True)
    return Prepared(
        name="rainfall",
        loop_yaml=LOOP_YAML,
        history=rows.iloc[:FIRST_ROWS].reset_index(drop=True),
        stream=stream,
        periods=_periods(stream["time"]),
        nodes=[DemoNode(NODES[0], "canary"), DemoNode(NODES[1], "field")],
        time_column="time",
        node_column="station",
        label_column="rain",
        features=INPUTS,
        inputs=INPUTS,
        step_s=WINDOW_DAYS * DAY_S,
        delay_s=DELAY_DAYS * DAY_S,
        block_s=182 * DAY_S,
        step_name="16 weeks",
        block_name="half-year",
        story=STORY,
    )


def _rows(csv: Path) -> pd.DataFrame:
    import numpy as np
    import pandas as pd

    frame = pd.read_csv(csv, usecols=[*COLUMNS, "rain"]).rename(columns=COLUMNS)
    number = np.arange(len(frame))
    frame["time"] = pd.to_datetime((FIRST_DAY + number) * DAY_S, unit="s", utc=True)
    frame["station"] = np.array(NODES, dtype=object)[number % 2]
    frame["rain"] = np.where(frame["rain"] == 1, "rain", "dry")
    return frame[["time", "station", *INPUTS, "rain"]]


def _periods(times: pd.Series[pd.Timestamp]) -> pd.Series[str]:
    first = FIRST_YEAR + (times.dt.year.clip(lower=FIRST_YEAR) - FIRST_YEAR) // YEARS_A_PERIOD * YEARS_A_PERIOD
    return first.astype(str) + "-" + (first + YEARS_A_PERIOD - 1).astype(str)
