"""The audit log of a loop: who did what and why, as an append-only chain of documents in the object store.

Entry N is `catalog/<loop>/audit/<N, 8 digits>.json`, written with a conditional put, so no number is taken twice. Each
entry holds the hash of the one before it: changing, removing or reordering one breaks the chain there, and `verify`
names it. A chain cut off at its end looks whole; compare with a `head` that was noted elsewhere to see that.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass, field, replace
from itertools import islice
from typing import Any

from edgeloop_components.stores.objects import NotFound, Objects, StoreError
from edgeloop_contracts import canonical, digest_of

__all__ = ["AuditError", "Entry", "append", "append_once", "entries", "find", "head", "verify"]

START = "sha256:" + "0" * 64
_ATTEMPTS = 100
LOOK_BACK = 200  # entries that `append_once` reads at most: a repeated step comes soon after its first try


class AuditError(StoreError):
    """The log cannot be written or read."""


@dataclass(frozen=True, kw_only=True)
class Entry:
    """One act. `previous` is the hash of the entry before, `hash` that of this entry without its `hash`."""

    sequence: int
    at_s: float
    actor: str
    action: str
    subject: str
    why: str
    evidence: Mapping[str, Any] = field(default_factory=dict)
    previous: str = START
    hash: str = ""

    def computed_hash(self) -> str:
        return digest_of({name: value for name, value in asdict(self).items() if name != "hash"})


def append(
    objects: Objects,
    loop: str,
    *,
    at_s: float,
    actor: str,
    action: str,
    subject: str,
    why: str,
    evidence: Mapping[str, Any] | None = None,
) -> Entry:
    """Adds an entry to the end of the loop's chain, whoever else does so now. AuditError when others always win."""
    for _ in range(_ATTEMPTS):
        sequence, previous = head(objects, loop)
        entry = Entry(
            sequence=sequence + 1,
            at_s=at_s,
            actor=actor,
            action=action,
            subject=subject,
            why=why,
            evidence=dict(evidence or {}),
            previous=previous,
        )
        entry = replace(entry, hash=entry.computed_hash())
        if objects.put_new(_key(loop, entry.sequence), canonical(asdict(entry))):
            return entry
    raise AuditError(f"audit log of {loop}: {_ATTEMPTS} attempts to append {action} {subject} all lost a race")


def append_once(objects: Objects, loop: str, *, action: str, subject: str, **rest: Any) -> Entry:
    """`append`, unless the act is among the last LOOK_BACK entries: for a step repeated after an interruption."""
    found = find(objects, loop, action, subject, last=LOOK_BACK)
    return found or append(objects, loop, action=action, subject=subject, **rest)


def head(objects: Objects, loop: str) -> tuple[int, str]:
    """Number and hash of the newest entry; (0, START) of an empty log."""
    keys = list(objects.list(_prefix(loop)))
    if not keys:
        return 0, START
    entry = _read(objects, keys[-1])
    return entry.sequence, entry.hash


def entries(objects: Objects, loop: str) -> Iterator[Entry]:
    """All entries, oldest first. AuditError for one that cannot be read."""
    return (_read(objects, key) for key in objects.list(_prefix(loop)))


def find(objects: Objects, loop: str, action: str, subject: str, *, last: int | None = None) -> Entry | None:
    """The newest entry of that act, or None; searches the `last` entries, default all."""
    for key in islice(reversed(list(objects.list(_prefix(loop)))), last):
        entry = _read(objects, key)
        if (entry.action, entry.subject) == (action, subject):
            return entry
    return None


def verify(objects: Objects, loop: str, *, expected_head: tuple[int, str] | None = None) -> list[str]:
    """What is wrong with the chain, naming each broken entry; empty when it is whole.

    `expected_head` is a `head` noted earlier: the chain must still hold that entry.
    """
    problems: list[str] = []
    previous, expected, hashes = START, 1, {0: START}
    for key in objects.list(_prefix(loop)):
        try:
            entry = _read(objects, key)
        except AuditError as error:
            problems.append(str(error))
            previous, expected = "", expected + 1
            continue
        problems += [f"{key}: {problem}" for problem in _problems(entry, key, loop, expected, previous)]
        hashes[entry.sequence] = entry.hash
        previous, expected = entry.hash, entry.sequence + 1
    if expected_head and hashes.get(expected_head[0]) != expected_head[1]:
        found = hashes.get(expected_head[0], "no such entry")
        problems.append(f"{_key(loop, expected_head[0])}: expected hash {expected_head[1]}, found {found}")
    return problems


def _problems(entry: Entry, key: str, loop: str, expected: int, previous: str) -> Iterator[str]:
    if key != _key(loop, entry.sequence):
        yield f"expected the entry of this name, found entry {entry.sequence}"
    if entry.sequence != expected:
        yield f"expected entry {expected}, found {entry.sequence}: entries are missing before it"
    elif entry.previous != previous and previous:
        yield f"expected previous {previous}, found {entry.previous}: the entry before it was changed"
    if entry.hash != (computed := entry.computed_hash()):
        yield f"expected hash {computed}, found {entry.hash}: this entry was changed"


def _prefix(loop: str) -> str:
    return f"catalog/{loop}/audit/"


def _key(loop: str, sequence: int) -> str:
    return f"{_prefix(loop)}{sequence:08d}.json"


def _read(objects: Objects, key: str) -> Entry:
    try:
        return Entry(**json.loads(objects.get(key)))
    except (ValueError, TypeError, NotFound) as error:
        raise AuditError(f"{key}: not an audit entry: {error}") from error
