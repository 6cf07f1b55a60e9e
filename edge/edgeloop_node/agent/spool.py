"""The spool: what the node counted and the cloud has not acknowledged, in one SQLite file that survives a power cut.

Every write is one transaction (WAL, synchronous=FULL): a report and the cursor that says it was read, a label and the count
it adds to. So a kill at any moment loses nothing and counts nothing twice. Full disks and broken files show as
`sqlite3.Error`, which the callers log and live with: whatever could not be stored stays where it came from.

Acknowledged reports go after a while, or early when the file is too large; others never go. Merging old windows that nobody
acknowledges, so that a disk stays bounded through an endless cut, is not done yet.

Labels are counted under the spool's own boot id. When counts of that id were removed, the id changes (`<id>.<n>`), since
counts that begin again at 0 under an old key would replace those that the cloud has.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import secrets
import sqlite3
import threading
import time
from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import Any

from edgeloop_node.agent.core import Key
from edgeloop_node.agent.entries import Entry, Version
from edgeloop_node.log import log

__all__ = ["Spool", "SpoolInUseError", "open_spool"]

SCHEMA = """
CREATE TABLE IF NOT EXISTS meta (name TEXT PRIMARY KEY, value TEXT NOT NULL);
CREATE TABLE IF NOT EXISTS reports (
    loop TEXT, boot TEXT, window_start_s INTEGER, version INTEGER, schema_hash TEXT,
    sequence INTEGER NOT NULL, window_end_s INTEGER NOT NULL, own INTEGER NOT NULL, body TEXT NOT NULL,
    acked INTEGER NOT NULL DEFAULT 0,
    PRIMARY KEY (loop, boot, window_start_s, version, schema_hash));
CREATE INDEX IF NOT EXISTS unacked ON reports (window_start_s) WHERE acked < sequence;
CREATE INDEX IF NOT EXISTS own_windows ON reports (loop, window_start_s, version) WHERE own;
CREATE TABLE IF NOT EXISTS cursors (boot TEXT PRIMARY KEY, sequence INTEGER NOT NULL, at_s REAL NOT NULL);
CREATE TABLE IF NOT EXISTS versions (
    loop TEXT, version INTEGER, schema_hash TEXT, window_s INTEGER, image TEXT, classes TEXT, node_group TEXT,
    PRIMARY KEY (loop, version));
CREATE TABLE IF NOT EXISTS feedback (
    loop TEXT, id TEXT, time_s REAL NOT NULL, PRIMARY KEY (loop, id)) WITHOUT ROWID;
CREATE INDEX IF NOT EXISTS feedback_time ON feedback (time_s);
"""
UPSERT = """
INSERT INTO reports (loop, boot, window_start_s, version, schema_hash, sequence, window_end_s, own, body)
VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?)
ON CONFLICT DO UPDATE SET sequence = excluded.sequence, window_end_s = excluded.window_end_s, body = excluded.body
WHERE excluded.sequence > reports.sequence
"""
WHERE_KEY = "loop = ? AND boot = ? AND window_start_s = ? AND version = ? AND schema_hash = ?"
CHUNK = 200  # rows removed at a time when the file is too large


class SpoolInUseError(OSError):
    """Another agent holds this spool."""


class Spool:
    """The open spool. Thread-safe: one lock around one connection. Methods raise sqlite3.Error."""

    def __init__(self, connection: sqlite3.Connection, lock_file: int) -> None:
        self._db, self._lock_file = connection, lock_file
        self._lock = threading.RLock()
        with self.transaction():
            own = ("id", f"labels-{secrets.token_hex(6)}")
            self._db.execute("INSERT OR IGNORE INTO meta VALUES (?, ?)", own)
            self._db.execute("INSERT OR IGNORE INTO meta VALUES ('generation', '0')")

    @contextlib.contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All of it or nothing."""
        with self._lock:
            self._db.execute("BEGIN IMMEDIATE")
            try:
                yield self._db
                self._db.execute("COMMIT")
            except BaseException:
                if self._db.in_transaction:
                    self._db.execute("ROLLBACK")
                raise

    def _rows(self, sql: str, values: Sequence[Any] = ()) -> list[Any]:
        with self._lock:
            return self._db.execute(sql, values).fetchall()

    def _meta(self, name: str) -> str:
        return str(self._rows("SELECT value FROM meta WHERE name = ?", (name,))[0][0])

    @property
    def boot(self) -> str:
        """The boot id under which new windows of labels are counted."""
        name, generation = self._meta("id"), int(self._meta("generation"))
        return f"{name}.{generation}" if generation else name

    def cursor(self, boot: str) -> int:
        """The sequence up to which a server's reports are stored."""
        rows = self._rows("SELECT sequence FROM cursors WHERE boot = ?", (boot,))
        return int(rows[0][0]) if rows else 0

    def store(self, boot: str, sequence: int, entries: Iterable[Entry]) -> list[Entry]:
        """Keeps a server's reports, and that they were read up to `sequence`. Gives those that say more than before."""
        with self.transaction() as db:
            changed = [entry for entry in entries if self._put(db, entry, own=False)]
            db.execute(
                "INSERT INTO cursors VALUES (?, ?, ?) ON CONFLICT DO UPDATE"
                " SET sequence = max(sequence, excluded.sequence), at_s = excluded.at_s",
                (boot, sequence, time.time()),
            )
        return changed

    def _put(self, db: sqlite3.Connection, entry: Entry, *, own: bool) -> bool:
        values = (*entry.key, entry.sequence, entry.window_end_s, own, entry.body)
        return db.execute(UPSERT, values).rowcount > 0

    def own_window(self, db: sqlite3.Connection, version: Version, start_s: int) -> Any | None:
        """The document of the labels of a window, if any was counted and not removed."""
        rows = db.execute(
            "SELECT body FROM reports WHERE own AND loop = ? AND window_start_s = ? AND version = ? AND schema_hash = ?",
            (version.loop, start_s, version.version, version.schema_hash),
        ).fetchall()
        return json.loads(rows[0][0]) if rows else None

    def put_own(self, db: sqlite3.Connection, entry: Entry) -> None:
        """Keeps a window of labels, in the caller's transaction."""
        self._put(db, entry, own=True)

    def first_label(self, db: sqlite3.Connection, loop: str, name: str, time_s: float) -> bool:
        """Notes that a row's label came; False when it had come before."""
        return db.execute("INSERT OR IGNORE INTO feedback VALUES (?, ?, ?)", (loop, name, time_s)).rowcount > 0

    def learn(self, version: Version) -> None:
        """Remembers a version that is served here, so that its labels can be counted when it is gone."""
        values = (version.loop, version.version, version.schema_hash, version.window_s, version.image)
        with self.transaction() as db:
            db.execute(
                "INSERT OR REPLACE INTO versions VALUES (?, ?, ?, ?, ?, ?, ?)",
                (*values, json.dumps(version.classes), version.group),
            )

    def versions(self) -> list[Version]:
        rows = self._rows(
            "SELECT loop, version, schema_hash, window_s, image, node_group, classes FROM versions ORDER BY loop, version"
        )
        return [
            Version(loop, number, schema_hash, window_s, image, tuple(json.loads(classes)), group)
            for loop, number, schema_hash, window_s, image, group, classes in rows
        ]

    def unacked(self) -> list[tuple[Key, int, int]]:
        """(key, sequence, bytes) of every report that is not acknowledged in its newest state."""
        rows = self._rows(
            "SELECT loop, boot, window_start_s, version, schema_hash, sequence, length(CAST(body AS BLOB))"
            " FROM reports WHERE acked < sequence"
        )
        return [(tuple(row[:5]), row[5], row[6]) for row in rows]

    def body(self, key: Key) -> tuple[int, str] | None:
        """The newest state of a report: its sequence and JSON text."""
        rows = self._rows(f"SELECT sequence, body FROM reports WHERE {WHERE_KEY}", key)  # noqa: S608
        return (rows[0][0], rows[0][1]) if rows else None

    def acknowledge(self, settled: Iterable[tuple[Key, int]]) -> None:
        """Notes up to which sequence the cloud has each report."""
        sql = f"UPDATE reports SET acked = max(acked, ?) WHERE {WHERE_KEY} AND sequence >= ?"  # noqa: S608
        with self.transaction() as db:
            db.executemany(sql, [(sequence, *key, sequence) for key, sequence in settled])

    def size_bytes(self) -> int:
        return int(self._rows("PRAGMA page_count")[0][0]) * int(self._rows("PRAGMA page_size")[0][0])

    def counts(self) -> dict[str, int]:
        """How many reports and labels are kept."""
        reports, unacked = self._rows("SELECT count(*), count(*) FILTER (WHERE acked < sequence) FROM reports")[0]
        return {"reports": reports, "unacked": unacked, "labels": self._rows("SELECT count(*) FROM feedback")[0][0]}

    def prune(self, keep_s: float, limit_bytes: int, now_s: float) -> int:
        """Removes what is acknowledged and old (by the newest window's time), or early when the file is too large.

        Ids of labels go with their age, and early only when nothing else is left to go. Gives the number of reports removed.
        """
        newest = self._rows("SELECT max(window_end_s) FROM reports")[0][0]
        if newest is None:
            return 0
        oldest_s = newest - keep_s
        removed = self._remove_reports("window_end_s < ?", (oldest_s,))
        with self.transaction() as db:
            db.execute("DELETE FROM feedback WHERE time_s < ?", (oldest_s,))
            db.execute("DELETE FROM cursors WHERE at_s < ?", (now_s - keep_s,))
        while self._compact() > limit_bytes and (more := self._remove_some()):
            removed += more
        return removed

    def _remove_some(self) -> int:
        oldest = f"rowid IN (SELECT rowid FROM reports WHERE acked >= sequence ORDER BY window_end_s LIMIT {CHUNK})"  # noqa: S608
        removed = self._remove_reports(oldest, ())
        if removed:
            return removed
        with self.transaction() as db:
            sql = (
                "DELETE FROM feedback WHERE time_s <= (SELECT time_s FROM feedback ORDER BY time_s LIMIT 1 OFFSET 1000)"
            )
            labels = db.execute(sql).rowcount
        if labels:
            log("warning", "the spool is too large: old ids of labels were forgotten", labels=labels)
        return labels

    def _remove_reports(self, which: str, values: Sequence[Any]) -> int:
        sql = f"DELETE FROM reports WHERE acked >= sequence AND {which} RETURNING own"  # noqa: S608
        with self.transaction() as db:
            own = [row[0] for row in db.execute(sql, values).fetchall()]
            if any(own):
                db.execute("UPDATE meta SET value = value + 1 WHERE name = 'generation'")
        return len(own)

    def _compact(self) -> int:
        with self._lock:
            self._db.executescript("PRAGMA incremental_vacuum")  # execute() would free one page
        return self.size_bytes()

    def close(self) -> None:
        with self._lock:
            self._db.close()
            os.close(self._lock_file)


def _lock(path: Path) -> int:
    handle = os.open(path.with_name(path.name + ".lock"), os.O_RDWR | os.O_CREAT | os.O_CLOEXEC, 0o640)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise SpoolInUseError(
            f"{path}: expected to be the only agent on this spool, but another one holds it"
        ) from error
    return handle


def _connect(path: Path) -> sqlite3.Connection:
    db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
    try:
        for pragma in ("auto_vacuum = INCREMENTAL", "journal_mode = WAL", "synchronous = FULL"):
            db.execute(f"PRAGMA {pragma}")
        db.executescript(SCHEMA)
    except BaseException:
        db.close()
        raise
    return db


def _set_aside(path: Path) -> None:
    for name in (path.name, path.name + "-wal", path.name + "-shm"):
        file = path.with_name(name)
        if file.exists():
            file.rename(path.with_name(f"{name}.damaged-{int(time.time())}"))


def open_spool(path: Path) -> Spool:
    """Opens or makes a spool. One that is no SQLite file is set aside, loudly. SpoolInUseError, OSError, sqlite3.Error."""
    path.parent.mkdir(parents=True, exist_ok=True)
    lock = _lock(path)
    try:
        try:
            return Spool(_connect(path), lock)
        except sqlite3.OperationalError:
            raise
        except sqlite3.DatabaseError as error:
            log("error", "the spool is damaged: it is set aside and a new one begun", spool=str(path), error=str(error))
            _set_aside(path)
            return Spool(_connect(path), lock)
    except BaseException:
        os.close(lock)
        raise
