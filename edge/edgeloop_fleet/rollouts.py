"""The rollouts in the store: at most one of a loop is under way, at most one waits.

Posting the same rollout again gives the one that is there, so that a pipeline step may be repeated.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

import sqlalchemy as sa

from edgeloop_contracts import Rollout, RolloutEvent, dumps, loads
from edgeloop_fleet import tables as t
from edgeloop_fleet.store import Store

__all__ = ["Kept", "add", "approve", "current", "listed", "save", "served_since_s"]


@dataclass(frozen=True)
class Kept:
    """A rollout as it is stored."""

    number: int
    rollout: Rollout
    approved: bool


def listed(store: Store, loop: str = "") -> list[Kept]:
    """The rollouts of a loop, or of all, oldest first."""
    where = [t.rollouts.c.loop == loop] if loop else []
    found = store.rows(sa.select(t.rollouts).where(*where).order_by(t.rollouts.c.id))
    return [Kept(row.id, loads(Rollout, row.document), row.approved) for row in found]


def current(store: Store, loop: str) -> Kept | None:
    """The rollout that is under way, else the one that waits, else None."""
    where = (t.rollouts.c.loop == loop, t.rollouts.c.state.in_(("waiting", "running", "rolling_back")))
    found = store.rows(sa.select(t.rollouts).where(*where).order_by(t.rollouts.c.id))
    kept = [Kept(row.id, loads(Rollout, row.document), row.approved) for row in found]
    return min(kept, key=lambda k: k.rollout.state == "waiting", default=None)


def served_since_s(store: Store, loop: str, version: int) -> float | None:
    """When the newest rollout of a version went through, on the fleet's clock; None when none has."""
    where = (t.rollouts.c.loop == loop, t.rollouts.c.version == version, t.rollouts.c.state == "done")
    found = store.rows(sa.select(t.rollouts.c.document).where(*where).order_by(t.rollouts.c.id.desc()).limit(1))
    return max((event.at_s for row in found for event in loads(Rollout, row.document).history), default=None)


def save(store: Store, number: int, rollout: Rollout) -> None:
    """Replaces the document of a stored rollout."""
    values = {"state": rollout.state, "document": dumps(rollout)}
    with store.write() as connection:
        connection.execute(sa.update(t.rollouts).where(t.rollouts.c.id == number).values(**values))


def approve(store: Store, loop: str, version: int) -> bool:
    """Lets a waiting rollout begin; False when none of this version waits."""
    where = (t.rollouts.c.loop == loop, t.rollouts.c.version == version, t.rollouts.c.state == "waiting")
    with store.write() as connection:
        return bool(connection.execute(sa.update(t.rollouts).where(*where).values(approved=True)).rowcount)


def _is_same(kept: Kept, rollout: Rollout, serving: int | None) -> bool:
    same = kept.rollout.version == rollout.version
    return same and (not kept.rollout.finished or (kept.rollout.state == "done" and serving == rollout.version))


def _supersede(store: Store, kept: Kept, by: Rollout, now_s: float) -> None:
    event = RolloutEvent(at_s=now_s, event="aborted", why=f"version {by.version} came before it began")
    history = (*kept.rollout.history, event)
    save(store, kept.number, replace(kept.rollout, state="aborted", history=history))


def add(store: Store, rollout: Rollout, *, approved: bool, now_s: float) -> tuple[Rollout, bool]:
    """Stores a new rollout as waiting, in place of one that waits. Gives the stored one, and whether it is new."""
    with store.write() as connection:
        known = listed(store, rollout.loop)
        same = next((k for k in reversed(known) if _is_same(k, rollout, store.serving(rollout.loop))), None)
        if same:
            return same.rollout, False
        for kept in known:
            if kept.rollout.state == "waiting":
                _supersede(store, kept, rollout, now_s)
        fresh = replace(rollout, state="waiting", desired={}, history=())
        row = {"loop": fresh.loop, "version": fresh.version, "state": fresh.state, "approved": approved}
        connection.execute(sa.insert(t.rollouts), {**row, "document": dumps(fresh)})
    return fresh, True
