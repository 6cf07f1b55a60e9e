"""The ledger of runs: one SQL table beside the fleet service's, so that every service that may start runs sees the same.

Two unique columns do the work: `run_key` (a key starts once) and `active_loop` (a loop has one active run; NULL once it has
ended). Whoever inserts the row has the run; everybody else gets the reason why not. Who looks after an active run holds its
lease, which is taken and renewed by conditional updates, so that of two services only one starts a dead run again.

`started_s`, `finished_s` and leases are wall time; `requested_s` is the request's own clock. This module decides nothing.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Any

from edgeloop_contracts import Loop, RunRequest, dumps, loads
from edgeloop_fleet.ports import Decision
from edgeloop_pipelines.triggers.policy import ACTIVE, Past, State

if TYPE_CHECKING:
    from sqlalchemy import Engine, Table

__all__ = ["Entry", "Ledger", "LedgerError"]


class LedgerError(RuntimeError):
    """The database does not answer, or holds what this code cannot read."""


@dataclass(frozen=True)
class Entry:
    """One row: the run, who looks after it until when, and what became of it."""

    request: RunRequest
    loop: Loop
    state: State
    tries: int
    owner: str
    lease_until_s: float
    started_s: float
    finished_s: float | None
    why: str

    @property
    def key(self) -> str:
        return self.request.key

    @property
    def past(self) -> Past:
        return Past(self.key, self.state, self.request.requested_s)


class Ledger:
    """Rows of runs in the database at `url` (any that SQLAlchemy knows; SQLite and PostgreSQL are meant)."""

    def __init__(self, url: str) -> None:
        from sqlalchemy import create_engine, event

        self._engine: Engine = create_engine(url, pool_pre_ping=True)
        if self._engine.dialect.name == "sqlite":
            event.listen(self._engine, "connect", _prepare_sqlite)
        self._table: Table = _table()
        self._create()

    def _create(self) -> None:
        from sqlalchemy.exc import OperationalError, ProgrammingError

        try:
            self._table.metadata.create_all(self._engine)
        except (OperationalError, ProgrammingError):
            self._table.metadata.create_all(self._engine)  # another service made it at the same moment

    def close(self) -> None:
        self._engine.dispose()

    def entries(self, loop: str, *, active: bool = False) -> list[Entry]:
        """The runs of a loop, the oldest request first; only those that have not ended with `active`."""
        from sqlalchemy import select

        query = select(self._table).where(self._table.c.loop == loop).order_by(self._table.c.requested_s)
        if active:
            query = query.where(self._table.c.state.in_(ACTIVE))
        with self._engine.connect() as connection:
            return [_entry(row) for row in connection.execute(query).mappings()]

    def claim(
        self,
        request: RunRequest,
        loop: Loop,
        judge: Callable[[Sequence[Past]], Decision],
        *,
        owner: str,
        until_s: float,
        now_s: float,
    ) -> Decision:
        """Enters the run if `judge`, given the loop's history, says yes and nobody else was faster."""
        from sqlalchemy.exc import IntegrityError

        decision = judge([entry.past for entry in self.entries(request.loop)])
        if not decision.started:
            return decision
        entry = Entry(request, loop, "starting", 1, owner, until_s, now_s, None, "")
        try:
            with self._engine.begin() as connection:
                connection.execute(self._table.insert().values(_row(entry)))
        except IntegrityError:
            return self._beaten(request, judge)
        return decision

    def _beaten(self, request: RunRequest, judge: Callable[[Sequence[Past]], Decision]) -> Decision:
        again = judge([entry.past for entry in self.entries(request.loop)])
        return again if not again.started else Decision(False, "another service started a run at the same moment")

    def lease(self, entry: Entry, *, owner: str, until_s: float, now_s: float, again: bool = False) -> Entry | None:
        """Takes or renews the lease, or gives None: another holds it, or has changed the row meanwhile.

        With `again` the same update counts one more try, so that one dead run is started again by one service only.
        """
        c, tries = self._table.c, entry.tries + 1 if again else entry.tries
        mine = (c.owner == owner) | (c.lease_until_s < now_s)
        taken = self._update(
            (c.run_key == entry.key) & (c.tries == entry.tries) & c.state.in_(ACTIVE) & mine,
            owner=owner,
            lease_until_s=until_s,
            tries=tries,
        )
        return replace(entry, owner=owner, lease_until_s=until_s, tries=tries) if taken else None

    def running(self, key: str) -> bool:
        """Notes that the run has been handed to its starter."""
        c = self._table.c
        return self._update((c.run_key == key) & (c.state == "starting"), state="running")

    def finish(self, key: str, state: State, why: str, *, now_s: float) -> bool:
        """Ends a run that has not ended; False when it had."""
        c = self._table.c
        return self._update(
            (c.run_key == key) & c.state.in_(ACTIVE), state=state, why=why, finished_s=now_s, active_loop=None
        )

    def _update(self, where: Any, **values: Any) -> bool:
        with self._engine.begin() as connection:
            return bool(connection.execute(self._table.update().where(where).values(**values)).rowcount)


def _prepare_sqlite(connection: Any, _record: Any) -> None:
    """Waits for other writers instead of failing; the journal mode is the file's, set by whoever came first."""
    cursor = connection.cursor()
    cursor.execute("PRAGMA busy_timeout=10000")
    cursor.execute("PRAGMA journal_mode=WAL")
    cursor.close()


def _table() -> Table:
    from sqlalchemy import Column, Float, Integer, MetaData, String, Table, Text

    return Table(
        "pipeline_runs",
        MetaData(),
        Column("run_key", String(80), primary_key=True),
        Column("active_loop", String(60), unique=True, nullable=True),
        Column("loop", String(60), nullable=False, index=True),
        Column("cause", String(20), nullable=False),
        Column("state", String(12), nullable=False),
        Column("tries", Integer, nullable=False),
        Column("owner", String(120), nullable=False),
        Column("lease_until_s", Float(53), nullable=False),
        Column("requested_s", Float(53), nullable=False),
        Column("started_s", Float(53), nullable=False),
        Column("finished_s", Float(53), nullable=True),
        Column("why", Text, nullable=False),
        Column("request", Text, nullable=False),
        Column("document", Text, nullable=False),
    )


def _row(entry: Entry) -> dict[str, Any]:
    return {
        "run_key": entry.key,
        "active_loop": entry.request.loop if entry.state in ACTIVE else None,
        "loop": entry.request.loop,
        "cause": entry.request.cause,
        "requested_s": entry.request.requested_s,
        "request": dumps(entry.request),
        "document": dumps(entry.loop),
        **{name: getattr(entry, name) for name in _SAME},
    }


_SAME = ("state", "tries", "owner", "lease_until_s", "started_s", "finished_s", "why")


def _entry(row: Any) -> Entry:
    return Entry(
        request=loads(RunRequest, row["request"]),
        loop=loads(Loop, row["document"]),
        **{name: row[name] for name in _SAME},
    )
