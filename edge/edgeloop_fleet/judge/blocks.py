"""The judge's unit of time, the block: a day, or 24 windows where windows are short, and what one node counted in it.

Errors and inputs have a daily rhythm, so rows of one day hang together and days much less. Whatever is judged in sequence is
therefore reduced to one number a block. All of it is a function of stored counts: a restart changes nothing.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass, field

from edgeloop_contracts import Counts, Loop
from edgeloop_contracts.units import duration_s, rate

__all__ = ["DAY_S", "Fault", "NodeBlock", "block_s", "complete_until_s", "mature_until_s", "run_length", "starts_of"]

DAY_S = 86_400
SHORTEST_RUN = 20.0  # blocks: a smaller average run length would make one unlucky block an alarm


@dataclass(frozen=True, kw_only=True)
class Fault:
    """A data fault of one feature on one node in one block: what it is, and the share of rows that show it."""

    kind: str
    feature: str
    share: float


@dataclass(frozen=True, kw_only=True)
class NodeBlock:
    """What one node counted of one version in one block. A block with faults is in quarantine: only `quality` uses it."""

    node: str
    group: str
    start_s: int
    counts: Counts = field(default_factory=Counts)
    faults: tuple[Fault, ...] = ()


def block_s(loop: Loop) -> int:
    """Length of a block in seconds: a day; 24 windows where these are shorter; one window where it is longer than a day."""
    window = duration_s(loop.monitor.window)
    return max(window, min(DAY_S, 24 * window))


def complete_until_s(loop: Loop, now_s: float) -> float:
    """Blocks that end by then are complete: one more window has passed, for reports on their way."""
    return now_s - duration_s(loop.monitor.window)


def mature_until_s(loop: Loop, now_s: float) -> float:
    """Blocks that end by then have their labels: the usual delay has passed since they were complete."""
    return complete_until_s(loop, now_s) - duration_s(loop.monitor.label_delay)


def run_length(loop: Loop) -> float:
    """The average number of blocks to a false alarm that `monitor.false_alarms` grants; at least 20."""
    granted = rate(loop.monitor.false_alarms)
    if granted.count == 0:
        return float("inf")
    return max(SHORTEST_RUN, granted.per_s / granted.count / block_s(loop))


def starts_of(blocks: Iterable[NodeBlock]) -> list[int]:
    """The starts of the blocks, oldest first, each once."""
    return sorted({block.start_s for block in blocks})
