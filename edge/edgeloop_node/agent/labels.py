"""Counts labels that came later into the window of their rows, each once, in one transaction with the proof that it came."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass, field

from edgeloop_contracts import Counts, Report, to_json
from edgeloop_node.agent.entries import Entry, Version, entry_of
from edgeloop_node.agent.feedback import Feedback, Refused
from edgeloop_node.agent.spool import Spool

__all__ = ["NO_GROUP", "Node", "Taken", "resolve", "take"]

NO_GROUP = "default"


@dataclass(frozen=True)
class Node:
    """Whose agent this is. `group` is empty when only the servers say it."""

    name: str
    group: str = ""


@dataclass
class Taken:
    """What became of the rows of one feedback request; `changed` are the windows that count them."""

    accepted: int = 0
    duplicates: int = 0
    refused: list[Refused] = field(default_factory=list)
    changed: list[Entry] = field(default_factory=list)


def resolve(row: Feedback, versions: Sequence[Version]) -> Version | Refused:
    """The version that predicted a row. Pure."""
    same = [v for v in versions if v.version == row.version and row.loop in ("", v.loop)]
    if len(same) == 1:
        version = same[0]
        if row.predicted in version.classes:
            return version
        return Refused(row.id, f"predicted: expected one of {', '.join(version.classes)}, got {row.predicted!r}")
    if same:
        return Refused(row.id, f"loop: expected one of {', '.join(v.loop for v in same)}, got nothing")
    name = f"{row.loop}@{row.version}" if row.loop else f"version {row.version}"
    return Refused(row.id, f"version: {name} has not been served on this node")


def _report(node: Node, version: Version, start_s: int, boot: str) -> Report:
    return Report(
        loop=version.loop,
        node=node.name,
        group=node.group or version.group or NO_GROUP,
        boot=boot,
        sequence=1,
        version=version.version,
        image=version.image,
        schema_hash=version.schema_hash,
        window_start_s=start_s,
        window_end_s=start_s + version.window_s,
        counts=Counts(),
    )


def take(spool: Spool, node: Node, rows: Sequence[Feedback]) -> Taken:
    """Counts the rows that are new. sqlite3.Error when they could not be stored: then none of them was taken."""
    taken, versions = Taken(), spool.versions()
    boot = spool.boot
    sums: dict[tuple[Version, int], list[int]] = {}
    with spool.transaction() as db:
        for row in rows:
            version = resolve(row, versions)
            if isinstance(version, Refused):
                taken.refused.append(version)
            elif not spool.first_label(db, version.loop, row.id, row.time_s):
                taken.duplicates += 1
            else:
                start_s = int(row.time_s // version.window_s) * version.window_s
                sums.setdefault((version, start_s), []).append(row.correct)
        for (version, start_s), correct in sums.items():
            document = spool.own_window(db, version, start_s)
            fresh = document is None
            if document is None:
                document = to_json(_report(node, version, start_s, boot))
            counts = document["counts"]
            counts["labelled"] += len(correct)
            counts["correct"] += sum(correct)
            document["sequence"] += 0 if fresh else 1
            entry = entry_of(document)
            spool.put_own(db, entry)
            taken.changed.append(entry)
            taken.accepted += len(correct)
    return taken


def answer(taken: Taken) -> bytes:
    """The body of the answer to a feedback request."""
    refused = [{"id": row.id, "why": row.why} for row in taken.refused]
    return json.dumps({"accepted": taken.accepted, "duplicates": taken.duplicates, "refused": refused}).encode()
