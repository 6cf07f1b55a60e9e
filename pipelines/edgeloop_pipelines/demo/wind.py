"""The wind farm: four turbines of La Haute Borne are four edge nodes, the year 2014 is the stream.

The label is a virtual power meter: in which of five power bands a turbine of 2,050 kW should be under the wind that its sensors
see. The truth is the power that the farm's SCADA archive reconciles a day later, so it is never an input. Pitch is no input
either: a stopped turbine feathers its blades, which would give the class `idle` away.

Pure over the frame: reads one CSV file, writes nothing.
"""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeloop_pipelines.demo.prepared import DemoNode, Prepared

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["BANDS", "LIMITS_KW", "LOOP_YAML", "band", "prepare"]

RATED_KW = 2050
LIMITS_KW = (20, 100, 300, 700)  # about 1, 5, 15 and 35 % of the rated power
BANDS = ("idle", "low", "partial", "mid", "high")  # at most 20, 100, 300, 700 kW, and above
FIRST_DAYS, YEAR = 60, 2014

COLUMNS = {
    "Date_time": "time",
    "Wind_turbine_name": "turbine",
    "Ws_avg": "wind_speed",
    "Ot_avg": "outdoor_temp",
    "Va_avg": "vane",
    "Wa_avg": "wind_dir",
    "Ya_avg": "nacelle_angle",
}
INPUTS = ("wind_speed", "outdoor_temp", "vane", "wind_dir", "nacelle_angle")
CANARY = "r80711"

LOOP_YAML = """\
# One model's whole life. The demo wrote this file; `edgeloop check` accepts it.
apiVersion: edgeloop.dev/v1alpha1
kind: Loop
metadata: {name: turbine-power, owner: wind-ops}

data:
  source: s3://telemetry/turbine-power/    # the historian: one part a day, a day late
  time: time
  node: turbine                            # the column that says which node a row comes from
  label: power_band                        # idle <= 20 kW < low <= 100 < partial <= 300 < mid <= 700 < high (rated: 2050)
  features: [wind_speed, outdoor_temp, vane, wind_dir, nacelle_angle, turbine]
  window: 60d                              # train on the newest 60 days

train:
  estimator: sklearn.ensemble.HistGradientBoostingClassifier
  params:                                  # chosen on the held-out days of January and February, never on the stream
    max_iter: 60
    max_leaf_nodes: 8
    learning_rate: 0.1
    min_samples_leaf: 40
    l2_regularization: 1.0
    early_stopping: false                  # true would hold out random rows: neighbours in time leak

validate:
  require: {accuracy: ">= 0.80"}
  slices: [turbine]
  champion: {metric: accuracy, margin: 0.0}   # strictly better on the same newest rows, or the old one stays
  holdout: 0.2                             # the newest 12 of 60 days

targets:                                   # two groups of the same hardware, so that one can go first
  - {name: canary, platform: linux/amd64, runtime: native, nodes: {group: canary}}
  - {name: farm, platform: linux/amd64, runtime: onnxruntime, nodes: {group: farm}}

monitor:
  window: 1d                               # nodes count per day (UTC)
  false_alarms: 4/year                     # how often the judge may cry wolf
  label_delay: 1d

retrain:
  on: [performance]                        # labels come, so they alone start runs; drift is shown as explanation
  cooldown: 10d
  budget: 4/month

rollout:
  waves: [[canary], [farm]]                # one turbine, then the other three
  soak: 2d                                 # watch the canary this long
  tolerance: 0.1                           # and go back if it is worse than the rest by more than this
"""

STORY = (
    "Data: 4 turbines, one row every 10 minutes. The first 60 days of 2014 train the first model, the rest is streamed.",
    "Label: the band of power that a turbine should give under this wind (a virtual power meter). The truth comes a day late.",
    "Why it decays: the first model saw winter only. Warm air is thinner, so the same wind gives less power (-13 % in July).",
)


def band(power_kw: pd.Series[float]) -> pd.Series[str]:
    """The power band of each value in kW (the upper limit belongs to the band); None where the power is unknown."""
    import numpy as np
    import pandas as pd

    names = pd.Series(np.array(BANDS, dtype=object)[np.digitize(power_kw, LIMITS_KW, right=True)], index=power_kw.index)
    return names.where(power_kw.notna(), None)


def prepare(csv: Path) -> Prepared:
    """Reads the farm's CSV file (columns of `COLUMNS` and P_avg). KeyError-free: pandas names a column that is missing."""
    rows = _rows(csv)
    first_s = rows["time"].iloc[0].floor("D")
    history = rows[_days_since(rows["time"], first_s) < FIRST_DAYS]
    stream = rows[_days_since(rows["time"], first_s) >= FIRST_DAYS].reset_index(drop=True)
    names = sorted(rows["turbine"].unique())
    return Prepared(
        name="wind",
        loop_yaml=LOOP_YAML,
        history=history[history["power_band"].notna()].reset_index(drop=True),
        stream=stream,
        periods=stream["time"].dt.strftime("%Y-%m"),
        nodes=[DemoNode(name, "canary" if name == CANARY else "farm") for name in names],
        time_column="time",
        node_column="turbine",
        label_column="power_band",
        features=[*INPUTS, "turbine"],
        inputs=INPUTS,
        step_s=86_400,
        delay_s=86_400,
        block_s=7 * 86_400,
        step_name="day",
        block_name="week",
        story=STORY,
    )


def _days_since(times: pd.Series[pd.Timestamp], first: pd.Timestamp) -> pd.Series[int]:
    return (times - first).dt.days


def _rows(csv: Path) -> pd.DataFrame:
    """One row a turbine and UTC time, sorted. The file holds 48 pairs twice, with different values: the first one stays."""
    import pandas as pd

    frame = pd.read_csv(csv, usecols=[*COLUMNS, "P_avg"]).rename(columns=COLUMNS)
    frame["time"] = pd.to_datetime(frame["time"], utc=True)
    frame["turbine"] = frame["turbine"].str.lower()  # node names in Kubernetes are lower-case
    frame = frame[frame["time"].dt.year == YEAR].drop_duplicates(["turbine", "time"])
    frame["power_band"] = band(frame["P_avg"])
    ordered = frame.sort_values(["time", "turbine"]).reset_index(drop=True)
    found: pd.DataFrame = ordered[["time", "turbine", *INPUTS, "power_band"]]
    return found
