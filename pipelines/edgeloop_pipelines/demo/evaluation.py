"""The three ways of life side by side, on the rows that were answered and whose truth came. Pure; gives plain JSON values."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgeloop_pipelines.demo import statistics
from edgeloop_pipelines.demo.answers import Answers
from edgeloop_pipelines.demo.compare import Calendar
from edgeloop_pipelines.demo.prepared import Prepared

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Rights = npt.NDArray[np.bool_]

__all__ = ["ARMS", "evaluate"]

ARMS = ("left_alone", "calendar", "loop")
FIRST = 1  # the number of the first version


def evaluate(
    prepared: Prepared, answers: Answers, first: npt.NDArray[np.object_], calendars: Sequence[Calendar]
) -> dict[str, Any]:
    """Accuracies of left alone, calendar and loop with their differences, by block, by period and by node.

    `first` and the calendars hold labels of every stream row; the first calendar is the one of the tables. ValueError when no
    row has both an answer and a label.
    """
    labels = prepared.stream[prepared.label_column].to_numpy()
    judged = (answers.version > 0) & prepared.stream[prepared.label_column].notna().to_numpy()
    predicted = dict(zip(ARMS, (first, calendars[0].predicted, answers.predicted), strict=True))
    right = {arm: (of_arm == labels)[judged] for arm, of_arm in predicted.items()}
    blocks = _blocks(prepared)[judged]
    own = answers.version == FIRST
    return {
        "rows": int(judged.sum()),
        **{arm: statistics.accuracy(right[arm]) for arm in ARMS},
        "loop_minus_left_alone": _difference(right["loop"], right["left_alone"], blocks),
        "loop_minus_calendar": _difference(right["loop"], right["calendar"], blocks),
        "block": prepared.block_name,
        "calendars": [_of_calendar(c, (c.predicted == labels)[judged]) for c in calendars],
        "by_block": _by_block(prepared, right, blocks),
        "by_period": statistics.by_period(right, prepared.periods.to_numpy()[judged]),
        "by_node": _by_node(prepared, right, judged),
        "recomputed": {"rows": int(own.sum()), "equal": int((first == answers.predicted)[own].sum())},
    }


def _blocks(prepared: Prepared) -> npt.NDArray[np.int64]:
    times = prepared.stream[prepared.time_column]
    blocks: npt.NDArray[np.int64] = ((times - times.iloc[0]).dt.total_seconds() // prepared.block_s).to_numpy("int64")
    return blocks


def _difference(right: Rights, other: Rights, blocks: npt.NDArray[np.int64]) -> dict[str, float]:
    value, low, high = statistics.difference(right, other, blocks)
    return {"value": value, "low": low, "high": high}


def _of_calendar(calendar: Calendar, right: Rights) -> dict[str, Any]:
    return {"shift": calendar.shift, "dates_s": list(calendar.dates_s), "accuracy": statistics.accuracy(right)}


def _by_block(prepared: Prepared, right: dict[str, Rights], blocks: npt.NDArray[np.int64]) -> list[dict[str, Any]]:
    first_s = prepared.stream[prepared.time_column].iloc[0].timestamp()
    arms = {arm: statistics.by_block(of_arm, blocks) for arm, of_arm in right.items()}
    return [
        {
            "start_s": first_s + block * prepared.block_s,
            "rows": rows,
            **{arm: arms[arm][i][1] for arm in ARMS},
        }
        for i, (block, _, rows) in enumerate(arms["loop"])
    ]


def _by_node(prepared: Prepared, right: dict[str, Rights], judged: Rights) -> list[dict[str, Any]]:
    nodes = prepared.stream[prepared.node_column].to_numpy()[judged]
    return [
        {"node": n.name, "group": n.group, **{a: statistics.accuracy(right[a][nodes == n.name]) for a in ARMS}}
        for n in prepared.nodes
    ]
