"""What the demo needs to know of a data set, whatever it is: rows to begin with, rows to stream, the loop, the nodes, the clock.

Values only. A data set's own module (`wind`, `rainfall`) makes a `Prepared`; everything after it treats all data sets alike.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    import pandas as pd

__all__ = ["DemoNode", "Prepared", "shortened", "steps_of"]


@dataclass(frozen=True)
class DemoNode:
    """One edge node of the demo, and the group that its rollout wave goes by."""

    name: str
    group: str


@dataclass(frozen=True, kw_only=True)
class Prepared:
    """One data set, ready for the demo.

    `history` (rows that the first model is trained on, all labelled) and `stream` (rows that come afterwards) have the columns
    `time_column` (UTC), `node_column` (a node's name), the features and the label; both are sorted by time, then node. A label
    of the stream is None where the truth never came. `periods` names the stretch of time of each stream row (for tables).
    """

    name: str
    loop_yaml: str
    history: pd.DataFrame
    stream: pd.DataFrame
    periods: pd.Series[str]
    nodes: Sequence[DemoNode]
    time_column: str
    node_column: str
    label_column: str
    features: Sequence[str]
    inputs: Sequence[str]  # features that a sensor measures: a row in which all of them are empty is not scored
    step_s: int  # one step of the stream: score, report, judge
    delay_s: int  # how late the labels come
    block_s: int  # rows nearer than this are taken as dependent: blocks of the bootstrap, points of the plot
    step_name: str
    block_name: str
    story: Sequence[str]  # what the viewer should know of data, label and time, in sentences

    @property
    def document(self) -> dict[str, Any]:
        """The loop document that `loop_yaml` holds."""
        import yaml

        loaded: dict[str, Any] = yaml.safe_load(self.loop_yaml)
        return loaded


def shortened(prepared: Prepared, days: int) -> Prepared:
    """The same with only the first `days` days of the stream."""
    import pandas as pd

    times = prepared.stream[prepared.time_column]
    keep = times < times.iloc[0].floor("D") + pd.Timedelta(days=days)
    stream = prepared.stream[keep].reset_index(drop=True)
    return replace(prepared, stream=stream, periods=prepared.periods[keep].reset_index(drop=True))


def steps_of(prepared: Prepared) -> list[tuple[int, int]]:
    """The steps of the stream as (start, end) in Unix seconds, from the first row's day on, without a gap."""
    times = prepared.stream[prepared.time_column]
    begin, last = int(times.iloc[0].floor("D").timestamp()), int(times.iloc[-1].timestamp())
    return [(at, at + prepared.step_s) for at in range(begin, last + 1, prepared.step_s)]
