"""The agent's decisions, as pure functions of values: what to send when, in which deliveries, and what an answer changes.

One state of a report is under way at a time. The next state of the same window goes out when that one was acknowledged, or
when its wait is over; waits double up to a cap. When an acknowledgement comes after a long silence, everything that waits is
due at once: the way is open again. No clock, no disk, no network here; times are seconds of one monotonic clock.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass, replace

from edgeloop_contracts import Acknowledgement

__all__ = [
    "Key",
    "Link",
    "Pending",
    "Settings",
    "acknowledged",
    "after_sending",
    "awake",
    "due",
    "heartbeat_due",
    "pack",
    "settle",
    "stored",
    "wait_s",
]

Key = tuple[str, str, int, int, str]  # loop, boot, window start, version, schema hash: as an acknowledgement names it
NEVER_S = float("-inf")


@dataclass(frozen=True, kw_only=True)
class Settings:
    """The agent's pace."""

    publish_s: float = 1.0  # least pause between two states of one window
    heartbeat_s: float = 5.0  # longest silence
    retry_s: float = 5.0  # first wait for an acknowledgement
    retry_cap_s: float = 300.0  # longest wait
    delivery_bytes: int = 16 * 1024  # passes every hop of KubeEdge
    deliveries_a_turn: int = 64  # so that a full spool does not flood the way after a long cut


@dataclass(frozen=True)
class Pending:
    """A report that is not acknowledged in its newest state, and what was done about it."""

    key: Key
    sequence: int
    size_bytes: int
    attempts: int = 0  # deliveries since the last acknowledgement
    sent_s: float = NEVER_S
    alone: bool = False  # was in a delivery that the cloud refused: show which of its reports is bad


@dataclass(frozen=True)
class Link:
    """When something last went out and came in."""

    sent_s: float = NEVER_S
    heard_s: float = NEVER_S


def wait_s(attempts: int, settings: Settings) -> float:
    """How long after the last delivery a report is due again."""
    if attempts == 0:
        return settings.publish_s
    return min(settings.retry_cap_s, settings.retry_s * 2.0 ** min(attempts - 1, 60))


def due(pending: Iterable[Pending], now_s: float, settings: Settings) -> list[Pending]:
    """What to send now, oldest windows first."""
    ready = [p for p in pending if now_s >= p.sent_s + wait_s(p.attempts, settings)]
    return sorted(ready, key=lambda p: (p.key[2], p.key))


def stored(old: Pending | None, key: Key, sequence: int, size_bytes: int) -> Pending:
    """The pending state of a report that was stored anew; what was done about its earlier state is kept."""
    if old is None:
        return Pending(key, sequence, size_bytes)
    return old if old.sequence >= sequence else replace(old, sequence=sequence, size_bytes=size_bytes)


def after_sending(pending: Pending, sequence: int, now_s: float, *, refused: bool = False) -> Pending:
    """The state `sequence` went out. `refused`: the cloud said that something in the delivery is wrong."""
    return replace(
        pending, sequence=sequence, attempts=pending.attempts + 1, sent_s=now_s, alone=pending.alone or refused
    )


def acknowledged(
    pending: dict[Key, Pending], answer: Acknowledgement, node: str
) -> tuple[list[tuple[Key, int]], list[str]]:
    """What an answer settles as (key, sequence), and what is wrong with it, in words.

    Reports that are not pending were settled before. An acknowledgement of a state that this node never had is refused:
    to believe it would lose counts.
    """
    if answer.node != node:
        return [], [f"node: expected {node}, got {answer.node}"]
    settled, wrong = [], []
    for item in answer.reports:
        key = (item.loop, item.boot, item.window_start_s, item.version, item.schema_hash)
        known = pending.get(key)
        if known is not None and item.sequence > known.sequence:
            wrong.append(f"sequence of {key}: expected at most {known.sequence}, got {item.sequence}")
        elif known is not None:
            settled.append((key, item.sequence))
    return settled, wrong


def settle(pending: Pending, sequence: int) -> Pending | None:
    """What is left to do once `sequence` was acknowledged: nothing (None), or to send the newer state."""
    return None if sequence >= pending.sequence else replace(pending, attempts=0, alone=False)


def awake(pending: Iterable[Pending], link: Link, now_s: float, settings: Settings) -> list[Pending]:
    """What becomes due at once because the cloud was heard after a silence; `link` is as it was before."""
    if now_s - link.heard_s < 2 * settings.retry_s:
        return []
    return [replace(p, sent_s=NEVER_S) for p in pending if p.attempts > 1]


def heartbeat_due(link: Link, now_s: float, settings: Settings) -> bool:
    """True when nothing went out for heartbeat_s."""
    return now_s >= link.sent_s + settings.heartbeat_s


def pack(reports: Sequence[Pending], head_bytes: int, settings: Settings) -> list[list[Pending]]:
    """The reports in deliveries of at most delivery_bytes; one that is larger by itself goes alone."""
    groups: list[list[Pending]] = []
    room = 0
    for report in reports:
        size = report.size_bytes + 1  # the comma
        if not groups or size > room or report.alone or groups[-1][-1].alone:
            groups.append([])
            room = settings.delivery_bytes - head_bytes
        groups[-1].append(report)
        room -= size
    return groups
