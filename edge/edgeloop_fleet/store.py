"""The fleet's memory: reports merged by key, and what was decided, in SQL.

Every change is one transaction and is on disk when the call returns, so whatever was acknowledged outlives a kill -9. Reports
merge by the contract's law: of one key the highest sequence stays, whatever the order or number of deliveries. One writer at
a time (a lock in this process); one process writes to a database. It judges nothing.
"""

from __future__ import annotations

import json
import threading
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from typing import Any

import sqlalchemy as sa

from edgeloop_contracts import (
    Delivery,
    Loop,
    ModelVersion,
    Package,
    Reference,
    Report,
    RunRequest,
    Verdict,
    dumps,
    loads,
)
from edgeloop_contracts import newer as newer_of
from edgeloop_fleet import tables as t

__all__ = ["Store", "report_row"]

REPORT_KEYS = ("loop", "node", "boot", "window_start_s", "version", "schema_hash")
CLOCK_SET_BACK_S = 3600.0  # a delivery older than the last by less was late; by more, the node's clock was set back


def _json(value: Any) -> str:
    return json.dumps(value, separators=(",", ":"), allow_nan=False)


def report_row(report: Report) -> dict[str, Any]:
    """The row of one report; the counts travel as JSON, what is summed in SQL also in columns."""
    counts = report.counts
    names = ("rows", "refused", "failed", "labelled", "correct")
    return {
        **dict(zip(REPORT_KEYS, report.key, strict=True)),
        "grp": report.group,
        "sequence": report.sequence,
        "window_end_s": report.window_end_s,
        **{name: getattr(counts, name) for name in names},
        "confidence": _json([counts.confidence, counts.confidence_sums]),
        "counts": dumps(counts),
    }


def _newest(reports: Sequence[Report]) -> list[Report]:
    kept: dict[Any, Report] = {}
    for report in reports:
        kept[report.key] = newer_of(kept[report.key], report) if report.key in kept else report
    return list(kept.values())


class Store:
    """The database of one fleet service. Safe to use from several threads."""

    def __init__(self, url: str) -> None:
        """Opens (and makes) the database at a SQLAlchemy URL."""
        self.engine = t.connect(url)
        self._lock = threading.RLock()
        self._connection: sa.Connection | None = None
        dialect = self.engine.dialect.name
        self._put_report = t.upsert(dialect, t.reports, REPORT_KEYS, newer_by="sequence")
        self._put = {
            table.name: t.upsert(dialect, table, [c.name for c in table.primary_key.columns])
            for table in (t.loops, t.versions, t.packages, t.nodes, t.verdicts, t.runs)
        }

    def close(self) -> None:
        self.engine.dispose()

    @contextmanager
    def write(self) -> Iterator[sa.Connection]:
        """One transaction; other threads wait. It is on disk when the block ends, and undone when it raises.

        A block inside a block is part of the outer one.
        """
        with self._lock:
            if self._connection is not None:
                yield self._connection
                return
            with self.engine.begin() as connection:
                self._connection = connection
                try:
                    yield connection
                finally:
                    self._connection = None

    def rows(self, statement: Any) -> list[Any]:
        """The rows of a select, as they were committed last."""
        with self.engine.connect() as connection:
            return list(connection.execute(statement))

    # ---- reports and heartbeats

    def take(self, delivery: Delivery, reports: Sequence[Report], *, wall_s: float) -> None:
        """Stores a delivery's heartbeat and the given ones of its reports, in one transaction."""
        rows = [report_row(report) for report in _newest(reports)]
        with self.write() as connection:
            if rows:
                connection.execute(self._put_report, rows)
            connection.execute(self._put["nodes"], self._heartbeat(connection, delivery, wall_s))

    def _heartbeat(self, connection: sa.Connection, delivery: Delivery, wall_s: float) -> dict[str, Any]:
        known = connection.execute(sa.select(t.nodes).where(t.nodes.c.node == delivery.node)).first()
        loaded = _json(
            [{"loop": x.loop, "version": x.version, "image": x.image, "ready": x.ready} for x in delivery.loaded]
        )
        row = {
            "node": delivery.node,
            "grp": delivery.group,
            "seen_s": wall_s,
            "sent_s": delivery.sent_s,
            "loaded": loaded,
        }
        late = known is not None and 0 < known.sent_s - delivery.sent_s < CLOCK_SET_BACK_S
        return {**row, "sent_s": known.sent_s, "grp": known.grp, "loaded": known.loaded} if late and known else row

    def totals(self, loop: str) -> list[dict[str, Any]]:
        """Exact sums by version and node: rows, labelled, correct, refused, failed."""
        c = t.reports.c
        sums = [sa.func.sum(c[name]).label(name) for name in ("rows", "labelled", "correct", "refused", "failed")]
        by = (c.version, c.node)
        statement = sa.select(*by, *sums).where(c.loop == loop).group_by(*by).order_by(*by)
        return [
            {name: value if name == "node" else int(value) for name, value in row._mapping.items()}
            for row in self.rows(statement)
        ]

    def newest_s(self) -> float:
        """The end of the newest window of all reports; 0 without any."""
        return float(self.rows(sa.select(sa.func.max(t.reports.c.window_end_s)))[0][0] or 0)

    def nodes(self) -> list[dict[str, Any]]:
        """What the agents said last: node, group, seen_s (wall), sent_s (the node's clock), loaded."""
        found = self.rows(sa.select(t.nodes).order_by(t.nodes.c.node))
        return [
            {"node": r.node, "group": r.grp, "seen_s": r.seen_s, "sent_s": r.sent_s, "loaded": json.loads(r.loaded)}
            for r in found
        ]

    # ---- loops, versions, packages

    def put_loop(self, loop: Loop) -> None:
        with self.write() as connection:
            serving = connection.execute(sa.select(t.loops.c.serving).where(t.loops.c.name == loop.name)).scalar()
            connection.execute(self._put["loops"], {"name": loop.name, "serving": serving, "document": dumps(loop)})

    def loop(self, name: str) -> Loop | None:
        found = self.rows(sa.select(t.loops.c.document).where(t.loops.c.name == name))
        return loads(Loop, found[0].document) if found else None

    def loops(self) -> dict[str, Loop]:
        found = self.rows(sa.select(t.loops.c.name, t.loops.c.document).order_by(t.loops.c.name))
        return {row.name: loads(Loop, row.document) for row in found}

    def serving(self, loop: str) -> int | None:
        """The last good version: promoted by a rollout that went through."""
        found = self.rows(sa.select(t.loops.c.serving).where(t.loops.c.name == loop))
        return found[0].serving if found else None

    def set_serving(self, loop: str, version: int) -> None:
        with self.write() as connection:
            connection.execute(sa.update(t.loops).where(t.loops.c.name == loop).values(serving=version))

    def put_version(self, version: ModelVersion, reference: Reference, packages: Mapping[str, Package]) -> None:
        """A version, what its counts are compared with, and its images by target."""
        row = {
            "loop": version.loop,
            "number": version.number,
            "document": dumps(version),
            "reference": dumps(reference),
        }
        images = [
            {"loop": version.loop, "version": version.number, "target": target, "document": dumps(package)}
            for target, package in packages.items()
        ]
        with self.write() as connection:
            connection.execute(self._put["versions"], row)
            if images:
                connection.execute(self._put["packages"], images)

    def versions(self, loop: str) -> dict[int, ModelVersion]:
        found = self.rows(sa.select(t.versions).where(t.versions.c.loop == loop).order_by(t.versions.c.number))
        return {row.number: loads(ModelVersion, row.document) for row in found}

    def reference(self, loop: str, version: int) -> Reference | None:
        """What the counts of one version are compared with."""
        where = (t.versions.c.loop == loop, t.versions.c.number == version)
        found = self.rows(sa.select(t.versions.c.reference).where(*where))
        return loads(Reference, found[0].reference) if found else None

    def references(self) -> dict[tuple[str, int], Reference]:
        """The reference of every (loop, version)."""
        return {(row.loop, row.number): loads(Reference, row.reference) for row in self.rows(sa.select(t.versions))}

    def packages(self, loop: str, version: int) -> dict[str, Package]:
        where = (t.packages.c.loop == loop, t.packages.c.version == version)
        return {row.target: loads(Package, row.document) for row in self.rows(sa.select(t.packages).where(*where))}

    # ---- verdicts and runs

    def put_verdicts(self, loop: str, verdicts: Sequence[Verdict]) -> None:
        """Replaces what is concluded of a loop: one verdict a scope."""
        rows = [{"loop": loop, "scope": v.scope, "document": dumps(v)} for v in verdicts]
        with self.write() as connection:
            connection.execute(sa.delete(t.verdicts).where(t.verdicts.c.loop == loop))
            if rows:
                connection.execute(self._put["verdicts"], rows)

    def verdicts(self, loop: str = "") -> list[Verdict]:
        where = [t.verdicts.c.loop == loop] if loop else []
        found = self.rows(sa.select(t.verdicts).where(*where).order_by(t.verdicts.c.loop, t.verdicts.c.scope))
        return [loads(Verdict, row.document) for row in found]

    def put_run(self, request: RunRequest, *, started: bool, why: str) -> None:
        """What became of a request for a run."""
        row = {
            "key": request.key,
            "loop": request.loop,
            "version": request.version,
            "cause": request.cause,
            "evidence": request.evidence,
            "at_s": request.requested_s,
            "started": started,
            "why": why,
        }
        with self.write() as connection:
            connection.execute(self._put["runs"], row)

    def runs(self, loop: str) -> list[Any]:
        """Rows (key, version, cause, evidence, at_s, started, why), oldest first."""
        return self.rows(sa.select(t.runs).where(t.runs.c.loop == loop).order_by(t.runs.c.at_s))

    # ---- the timeline

    def add_event(
        self, loop: str, kind: str, text: str, *, at_s: float, wall_s: float, numbers: Mapping[str, float] | None = None
    ) -> None:
        """Adds a line to the timeline."""
        row = {
            "at_s": at_s,
            "wall_s": wall_s,
            "loop": loop,
            "kind": kind,
            "text": text,
            "numbers": _json(numbers or {}),
        }
        with self.write() as connection:
            connection.execute(sa.insert(t.events), row)

    def events(self, after: int = 0, limit: int = 1000) -> list[dict[str, Any]]:
        """At most `limit` lines of the timeline after number `after`, oldest first."""
        found = self.rows(sa.select(t.events).where(t.events.c.n > after).order_by(t.events.c.n).limit(limit))
        return [{**row._mapping, "numbers": json.loads(row.numbers)} for row in found]
