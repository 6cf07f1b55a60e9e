"""The tables of the fleet's database, and how to open one: SQLite (a file, write-ahead log) or PostgreSQL, by URL.

Only types and statements that both know; what differs (`upsert`, pragmas) is here and nowhere else.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import sqlalchemy as sa
from sqlalchemy.dialects import postgresql, sqlite

__all__ = [
    "connect",
    "events",
    "loops",
    "nodes",
    "packages",
    "reports",
    "rollouts",
    "runs",
    "upsert",
    "verdicts",
    "versions",
]

BIG = sa.BigInteger().with_variant(sa.Integer, "sqlite")  # SQLite numbers rows by itself only in an INTEGER column
metadata = sa.MetaData()


def _key(name: str, kind: Any = sa.Text) -> sa.Column[Any]:
    return sa.Column(name, kind, primary_key=True, autoincrement=False)


def _need(name: str, kind: Any = sa.Text) -> sa.Column[Any]:
    return sa.Column(name, kind, nullable=False)


reports = sa.Table(
    "reports",
    metadata,
    _key("loop"),
    _key("node"),
    _key("boot"),
    _key("window_start_s", sa.BigInteger),
    _key("version", sa.BigInteger),
    _key("schema_hash"),
    _need("grp"),
    _need("sequence", sa.BigInteger),
    _need("window_end_s", sa.BigInteger),
    _need("rows", sa.BigInteger),
    _need("refused", sa.BigInteger),
    _need("failed", sa.BigInteger),
    _need("labelled", sa.BigInteger),
    _need("correct", sa.BigInteger),
    _need("confidence"),  # JSON [counts, sums]: read for estimates without the rest
    _need("counts"),  # JSON of Counts
    sa.Index("reports_by_window", "loop", "version", "window_start_s"),
)
loops = sa.Table("loops", metadata, _key("name"), sa.Column("serving", sa.BigInteger), _need("document"))
versions = sa.Table(
    "versions", metadata, _key("loop"), _key("number", sa.BigInteger), _need("document"), _need("reference")
)
packages = sa.Table(
    "packages", metadata, _key("loop"), _key("version", sa.BigInteger), _key("target"), _need("document")
)
nodes = sa.Table(
    "nodes", metadata, _key("node"), _need("grp"), _need("seen_s", sa.Float), _need("sent_s", sa.Float), _need("loaded")
)
verdicts = sa.Table("verdicts", metadata, _key("loop"), _key("scope"), _need("document"))
rollouts = sa.Table(
    "rollouts",
    metadata,
    sa.Column("id", BIG, primary_key=True, autoincrement=True),
    _need("loop"),
    _need("version", sa.BigInteger),
    _need("state"),
    _need("approved", sa.Boolean),
    _need("document"),
)
runs = sa.Table(
    "runs",
    metadata,
    _key("key"),
    _need("loop"),
    _need("version", sa.BigInteger),
    _need("cause"),
    _need("evidence", sa.BigInteger),
    _need("at_s", sa.Float),
    _need("started", sa.Boolean),
    _need("why"),
)
events = sa.Table(
    "events",
    metadata,
    sa.Column("n", BIG, primary_key=True, autoincrement=True),
    _need("at_s", sa.Float),
    _need("wall_s", sa.Float),
    _need("loop"),
    _need("kind"),
    _need("text"),
    _need("numbers"),
)

_PRAGMAS = ("journal_mode=WAL", "synchronous=FULL", "busy_timeout=10000", "foreign_keys=ON")


def _durable(connection: Any, _record: Any) -> None:
    cursor = connection.cursor()
    for pragma in _PRAGMAS:
        cursor.execute(f"PRAGMA {pragma}")
    cursor.close()


def connect(url: str) -> sa.Engine:
    """Opens the database (`sqlite:///file` or `postgresql+driver://...`) and makes the tables that are not there.

    A commit is on disk when it returns: SQLite runs with synchronous=FULL, PostgreSQL does so by default.
    ValueError for another database.
    """
    backend = sa.make_url(url).get_backend_name()
    if backend not in ("sqlite", "postgresql"):
        raise ValueError(f"fleet database: expected a sqlite or postgresql URL, got {backend}")
    engine = sa.create_engine(url)
    if engine.dialect.name == "sqlite":
        sa.event.listen(engine, "connect", _durable)
    metadata.create_all(engine)
    return engine


def upsert(dialect: str, table: sa.Table, keys: Sequence[str], *, newer_by: str = "") -> Any:
    """An insert that replaces the row of the same keys; with `newer_by` only where that column rises."""
    insert = (postgresql if dialect == "postgresql" else sqlite).insert(table)
    values = {c.name: insert.excluded[c.name] for c in table.columns if c.name not in keys}
    where = insert.excluded[newer_by] > table.c[newer_by] if newer_by else None
    return insert.on_conflict_do_update(index_elements=list(keys), set_=values, where=where)
