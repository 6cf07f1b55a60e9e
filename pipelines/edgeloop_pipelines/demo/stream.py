"""Streams the rows through the nodes' servers, one request a row, in the order of their time; one step after the other.

A step: score its rows; hand back the labels that have become due to the agents; put the rows with these labels into the
historian (the object store, where the loop trains from); wait until the fleet has counted exactly what was answered. Nothing
is asked twice on a guess: a row whose connection ended before the answer is set aside, and asked again only when the fleet's
sums show that it was not counted. Agents, fleet and store may be killed meanwhile: what is sent to them is safe to repeat.
"""

from __future__ import annotations

import io
import json
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Protocol

from edgeloop_pipelines.demo.answers import UNASKED, Answers, differences, sums_of_totals
from edgeloop_pipelines.demo.fleet import FleetClient
from edgeloop_pipelines.demo.prepared import Prepared
from edgeloop_pipelines.demo.wire import Dropped, Line, exchange

if TYPE_CHECKING:
    import pandas as pd

__all__ = [
    "Stream",
    "StreamError",
    "await_counts",
    "bodies",
    "hand_back",
    "parquet",
    "recent_accuracy",
    "run_step",
    "score",
    "store_labelled",
]

FEEDBACK_ROWS = 1000
COUNT_LIMIT_S = 120.0  # for the fleet to have counted a step; a killed part is back long before
POLL_S = 0.03
NANOSECONDS = 1_000_000_000


class StreamError(RuntimeError):
    """A row was refused, a label was not taken, or counts are missing or too many; the message says which."""


class Historian(Protocol):
    """Where labelled rows are kept."""

    def put(self, key: str, data: bytes) -> None: ...


@dataclass
class Stream:
    """A prepared data set on its way through the nodes. `posted` is the first row whose label was not due yet."""

    prepared: Prepared
    lines: Mapping[str, Line]
    agents: Mapping[str, str]  # node: URL
    fleet: FleetClient
    historian: Historian
    loop: str
    idle: Callable[[], None] = lambda: None  # called while waiting: restarts what was killed
    answers: Answers = field(init=False)
    posted: int = 0
    aside: list[int] = field(default_factory=list)  # rows in doubt
    scoring_s: float = 0.0

    def __post_init__(self) -> None:
        self.answers = Answers.for_rows(len(self.prepared.stream))
        self.times_s = self.prepared.stream[self.prepared.time_column].astype("int64").to_numpy() // NANOSECONDS
        self.nodes = self.prepared.stream[self.prepared.node_column].to_numpy()
        self.labels = self.prepared.stream[self.prepared.label_column].to_numpy()

    def rows_until(self, time_s: float) -> int:
        """The number of rows before a time."""
        return int(self.times_s.searchsorted(time_s))


def row_id(node: str, time_s: int) -> str:
    """The id of a row: the same whenever it is asked."""
    return f"{node}-{time_s}"


def bodies(prepared: Prepared, rows: pd.DataFrame) -> Iterator[tuple[str, bytes | None]]:
    """(node, body of the scoring request) of each row; None for a row in which every input is empty."""
    frame = rows[list(prepared.features)].astype(object).where(rows[list(prepared.features)].notna(), None)
    empty = rows[list(prepared.inputs)].isna().all(axis=1)
    times = rows[prepared.time_column].astype("int64") // NANOSECONDS
    columns = (frame.to_dict("records"), rows[prepared.node_column], times, empty)
    for features, node, time_s, nothing in zip(*columns, strict=True):
        document = {"features": features, "time": int(time_s), "id": row_id(node, int(time_s))}
        yield node, None if nothing else json.dumps(document, separators=(",", ":")).encode()


def score(stream: Stream, first: int, last: int) -> None:
    """Scores rows first..last-1, and those that were set aside. StreamError when a server refuses one."""
    rows = [*stream.aside, *range(first, last)]
    stream.aside.clear()
    queues: dict[str, list[tuple[int, bytes]]] = {node.name: [] for node in stream.prepared.nodes}
    for row, (node, body) in zip(rows, bodies(stream.prepared, stream.prepared.stream.iloc[rows]), strict=True):
        if body is None:
            stream.answers.empty += 1
        else:
            queues[node].append((row, body))
    began_s = time.monotonic()
    _ask(stream, {node: queue for node, queue in queues.items() if queue})
    stream.scoring_s += time.monotonic() - began_s


def _ask(stream: Stream, queues: Mapping[str, Sequence[tuple[int, bytes]]]) -> None:
    answers = stream.answers
    for result in exchange(stream.lines, queues):
        if isinstance(result, Dropped):
            answers.dropped += 1
            stream.aside.append(result.key)
        elif result.status == 200:
            answers.take(result.key, result.node, json.loads(result.body))
        else:
            answers.refused += 1
            raise StreamError(
                f"row {result.key} of the stream: node {result.node} answered {result.status}: {result.body[:300]!r}"
            )


def hand_back(stream: Stream, due: int) -> None:
    """Gives the labels of rows `posted`..due-1 to the agents of the nodes that answered these rows."""
    rows = [r for r in range(stream.posted, due) if stream.answers.version[r] and stream.labels[r] is not None]
    for node in stream.agents:
        mine = [r for r in rows if stream.nodes[r] == node]
        for start in range(0, len(mine), FEEDBACK_ROWS):
            _give(stream, node, mine[start : start + FEEDBACK_ROWS])


def _give(stream: Stream, node: str, rows: Sequence[int]) -> None:
    answers = stream.answers
    documents = [
        {
            "id": row_id(node, int(stream.times_s[row])),
            "version": int(answers.version[row]),
            "time": int(stream.times_s[row]),
            "predicted": answers.predicted[row],
            "label": stream.labels[row],
            "loop": stream.loop,
        }
        for row in rows
    ]
    taken = stream.fleet.post(f"{stream.agents[node]}/v1/feedback", {"rows": documents})
    if taken["refused"] or taken["accepted"] + taken["duplicates"] != len(rows):
        raise StreamError(f"labels for node {node}: expected {len(rows)} to be taken, the agent answered {taken}")
    for row in rows:
        answers.label(row, node, stream.labels[row])


def store_labelled(stream: Stream, due: int, name: str) -> int:
    """Puts rows `posted`..due-1 that have a label into the historian as one Parquet part; gives their number."""
    part = stream.prepared.stream.iloc[stream.posted : due]
    part = part[part[stream.prepared.label_column].notna()]
    if len(part):
        stream.historian.put(f"{stream.loop}/{name}.parquet", parquet(part))
    return len(part)


def parquet(rows: pd.DataFrame) -> bytes:
    """The rows as the bytes of a Parquet file."""
    buffer = io.BytesIO()
    rows.to_parquet(buffer, index=False)
    return buffer.getvalue()


def await_counts(stream: Stream, limit_s: float = COUNT_LIMIT_S) -> None:
    """Waits until the fleet's sums equal what was answered and handed back. StreamError says what is missing or too much."""
    end = time.monotonic() + limit_s
    while True:
        found = sums_of_totals(stream.fleet.totals(stream.loop))
        wrong = differences(stream.answers.sums, found)
        if not wrong:
            return
        if time.monotonic() > end:
            more = f" and {len(wrong) - 3} more" if len(wrong) > 3 else ""
            raise StreamError(
                f"after {limit_s:g} s the fleet's counts are not what was sent: {'; '.join(wrong[:3])}{more}"
            )
        stream.idle()
        time.sleep(POLL_S)


def run_step(stream: Stream, start_s: int, end_s: int) -> None:
    """One step of the stream: the rows of start_s..end_s, and the labels that are due at its end."""
    score(stream, stream.rows_until(start_s), stream.rows_until(end_s))
    while stream.aside:
        await_counts(stream)  # as the sums are equal, no row in doubt was counted
        score(stream, 0, 0)
    due = stream.rows_until(end_s - stream.prepared.delay_s)
    hand_back(stream, due)
    store_labelled(stream, due, f"part-{start_s}")
    stream.posted = max(stream.posted, due)
    await_counts(stream)


def recent_accuracy(stream: Stream, rows: int) -> dict[int, float]:
    """Accuracy by version over the newest labelled rows (at most `rows`)."""
    newest = slice(max(0, stream.posted - rows), stream.posted)
    versions = stream.answers.version[newest]
    right = stream.answers.predicted[newest] == stream.labels[newest]
    return {version: float(right[versions == version].mean()) for version in sorted({*versions.tolist()} - {UNASKED})}
