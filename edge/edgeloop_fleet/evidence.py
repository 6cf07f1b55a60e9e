"""Turns stored counts into what the judge and the gate take: node blocks, and the two sides of a wave's comparison.

It reads only what has changed since it last looked (it keeps sums in memory; they are a cache, made again after a restart),
and it decides nothing.
"""

from __future__ import annotations

import json
from collections import defaultdict
from collections.abc import Callable, Iterable, Sequence
from dataclasses import replace
from typing import Any

import sqlalchemy as sa

from edgeloop_contracts import Counts, FeatureCounts, Reference, total
from edgeloop_fleet import tables as t
from edgeloop_fleet.controller.gate import Side
from edgeloop_fleet.judge.blocks import NodeBlock
from edgeloop_fleet.judge.estimate import estimate
from edgeloop_fleet.judge.judge import DRIFT_BLOCKS
from edgeloop_fleet.judge.quality import faults_in
from edgeloop_fleet.store import Store

__all__ = ["Blocks", "counts_of", "side"]

Place = tuple[int, str]  # block start, node
NUMBERS = ("rows", "refused", "failed", "labelled", "correct")
LISTS = ("classes", "confidence", "confidence_sums", "latency")


def counts_of(text: str) -> Counts:
    """Stored counts, read back without the checks that they passed on their way in."""
    document = json.loads(text)
    features = {
        name: FeatureCounts(
            counts=tuple(f["counts"]),
            sums=tuple(f.get("sums", ())),
            missing=f.get("missing", 0),
            out_of_range=f.get("out_of_range", 0),
            minimum=f.get("minimum"),
            maximum=f.get("maximum"),
        )
        for name, f in document.get("features", {}).items()
    }
    fields: dict[str, Any] = {name: document.get(name, 0) for name in NUMBERS}
    fields |= {name: tuple(document.get(name, ())) for name in LISTS}
    return Counts(features=features, quality=document.get("quality", {}), **fields)


class Blocks:
    """The node blocks of one version, kept up to date from the store."""

    def __init__(self, store: Store, loop: str, version: int, reference: Reference, length_s: int) -> None:
        self._store, self._reference, self._length_s = store, reference, length_s
        self._where = (t.reports.c.loop == loop, t.reports.c.version == version)
        self._seen: dict[Place, tuple[int, int]] = {}
        self._blocks: dict[Place, NodeBlock] = {}

    def read(self) -> tuple[NodeBlock, ...]:
        """All blocks, oldest first. Old ones keep their sums and faults, but not the counts of features."""
        seen = self._fingerprints()
        for start_s in sorted({place[0] for place, mark in seen.items() if self._seen.get(place) != mark}):
            self._read_block(start_s)
        self._seen = seen
        self._slim()
        return tuple(self._blocks[place] for place in sorted(self._blocks))

    def _fingerprints(self) -> dict[Place, tuple[int, int]]:
        """Block and node: a pair of numbers that changes with any report of it, as sequences only rise."""
        c = t.reports.c
        block = c.window_start_s // self._length_s
        statement = sa.select(
            block.label("block"), c.node, sa.func.count().label("n"), sa.func.sum(c.sequence).label("s")
        )
        found = self._store.rows(statement.where(*self._where).group_by(block, c.node))
        return {(int(row.block) * self._length_s, row.node): (int(row.n), int(row.s)) for row in found}

    def _read_block(self, start_s: int) -> None:
        c = t.reports.c
        inside = (c.window_start_s >= start_s, c.window_start_s < start_s + self._length_s)
        parts: dict[str, list[Any]] = defaultdict(list)
        for row in self._store.rows(sa.select(c.node, c.grp, c.counts).where(*self._where, *inside)):
            parts[row.node].append(row)
        for node, rows in parts.items():
            counts = total(counts_of(row.counts) for row in rows)
            faults = faults_in(counts, self._reference)
            block = NodeBlock(node=node, group=rows[-1].grp, start_s=start_s, counts=counts, faults=faults)
            self._blocks[start_s, node] = block

    def _slim(self) -> None:
        recent = set(sorted({start for start, _ in self._blocks})[-DRIFT_BLOCKS - 7 :])
        for place, block in self._blocks.items():
            if place[0] not in recent and block.counts.features:
                self._blocks[place] = replace(block, counts=replace(block.counts, features={}))


def side(store: Store, reference: Reference, version: int, *, since_s: float, is_member: Callable[[str], bool]) -> Side:
    """Sums of a version over the nodes whose group is a member, in the windows that began at `since_s` or later."""
    c = t.reports.c
    columns = (c.grp, c.rows, c.failed, c.labelled, c.correct, c.confidence)
    where = (c.loop == reference.loop, c.version == version, c.window_start_s >= since_s)
    rows = [row for row in store.rows(sa.select(*columns).where(*where)) if is_member(row.grp)]
    found = estimate(*_confidence(row.confidence for row in rows), reference)
    return Side(
        **{name: sum(getattr(row, name) for row in rows) for name in ("rows", "failed", "labelled", "correct")},
        estimate=None if found is None else found.accuracy,
        estimate_error=0.0 if found is None else found.error,
    )


def _confidence(texts: Iterable[str]) -> tuple[Sequence[int], Sequence[int]]:
    histograms: list[list[list[int]]] = [json.loads(text) for text in texts]
    merged = total(Counts(confidence=tuple(h[0]), confidence_sums=tuple(h[1])) for h in histograms)
    return merged.confidence, merged.confidence_sums
