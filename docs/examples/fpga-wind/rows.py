"""Writes months of the demo's wind farm as one CSV file each, beside this file: python rows.py 2014-01 2014-02"""

import sys
from pathlib import Path

import pandas as pd

from edgeloop_pipelines.demo import wind
from edgeloop_pipelines.demo.fetch import fetch


def write(months: list[str], folder: Path) -> None:
    """turbines/<month>.csv: all rows whose label came. The data are downloaded once (54 MB)."""
    prepared = wind.prepare(fetch("wind"))
    rows = pd.concat([prepared.history, prepared.stream])
    rows = rows[rows[prepared.label_column].notna()]
    folder.mkdir(parents=True, exist_ok=True)
    for month, part in rows.groupby(rows["time"].dt.strftime("%Y-%m")):
        if month in months:
            part.to_csv(folder / f"{month}.csv", index=False)


if __name__ == "__main__":
    write(sys.argv[1:], Path(__file__).with_name("turbines"))
