"""The agent's turn: settle what was acknowledged, read the servers, send what is due. It joins the parts and decides little.

Whatever fails in a turn is logged once and tried again in the next: nothing that is not acknowledged leaves the spool, and
nothing that is not in the spool is confirmed to a server.
"""

from __future__ import annotations

import json
import queue
import sqlite3
import threading
import time
import traceback
from dataclasses import replace
from typing import Any

from edgeloop_contracts import Acknowledgement, ContractError, Delivery, Loaded, loads, to_json
from edgeloop_node.agent import core
from edgeloop_node.agent.discovery import Discovery
from edgeloop_node.agent.entries import Entry
from edgeloop_node.agent.feedback import read_feedback
from edgeloop_node.agent.labels import NO_GROUP, Node, answer, take
from edgeloop_node.agent.spool import Spool
from edgeloop_node.agent.transport import Transport
from edgeloop_node.log import Changes, log

__all__ = ["Agent"]

PRUNE_S = 60.0
SPOOL_TROUBLE = "the spool cannot be used"


class Agent:
    """One node's agent. `turn` runs in one thread; `heard`, `feedback` and `state` may be called from others."""

    def __init__(
        self, node: Node, spool: Spool, discovery: Discovery, settings: core.Settings, keep: tuple[float, int]
    ) -> None:
        self.node, self.spool, self.discovery, self.settings = node, spool, discovery, settings
        self.transport: Transport | None = None
        self._keep_s, self._keep_bytes = keep
        self._pending = {key: core.Pending(key, sequence, size) for key, sequence, size in spool.unacked()}
        self._link = core.Link()
        self._answers: queue.SimpleQueue[bytes] = queue.SimpleQueue()
        self._stored: queue.SimpleQueue[Entry] = queue.SimpleQueue()
        self._loaded: tuple[Loaded, ...] = ()
        self._told: tuple[Loaded, ...] = ()
        self._pruned_s = core.NEVER_S
        self._changes = Changes()

    @property
    def group(self) -> str:
        """The node's group: as it was given, else as the servers here say."""
        return self.node.group or self.discovery.group or NO_GROUP

    def heard(self, payload: bytes) -> None:
        """Takes an answer of the cloud; it is read in the next turn."""
        self._answers.put(payload)

    def feedback(self, document: dict[str, Any]) -> bytes:
        """Takes labels: the answer's body. BadRequestError, sqlite3.Error."""
        rows, refused = read_feedback(document)
        taken = take(self.spool, self.node, rows)
        taken.refused = refused + taken.refused
        for entry in taken.changed:
            self._stored.put(entry)
        return answer(taken)

    def state(self) -> dict[str, Any]:
        """What GET /v1/state shows."""
        now_s = time.monotonic()
        ago = {"sent": now_s - self._link.sent_s, "heard": now_s - self._link.heard_s}
        return {
            "node": self.node.name,
            "group": self.group,
            "boot": self.spool.boot,
            "servers": [to_json(loaded) for loaded in self._loaded],
            "transport": self.transport.describe() if self.transport else "",
            "connected": bool(self.transport and self.transport.ready()),
            "last_s_ago": {what: None if s == float("inf") else round(s, 3) for what, s in ago.items()},
            "spool": {**self.spool.counts(), "bytes": self.spool.size_bytes()},
        }

    def run(self, stop: threading.Event, poll_s: float) -> None:
        """Takes turns until `stop` is set, and a last one then."""
        while not stop.is_set():
            began_s = time.monotonic()
            self.guarded_turn()
            stop.wait(max(0.01, poll_s - (time.monotonic() - began_s)))
        self.guarded_turn()

    def guarded_turn(self) -> None:
        """A turn that cannot end the agent."""
        try:
            self.turn(time.monotonic())
            self._changes.well(SPOOL_TROUBLE)
        except sqlite3.Error as error:
            self._changes.trouble(SPOOL_TROUBLE, error)
        except Exception as error:
            log("error", "a turn failed", error=repr(error), trace=traceback.format_exc(limit=-6))

    def turn(self, now_s: float) -> None:
        """Settles, reads, sends. Sending happens even when the spool cannot be written."""
        self._note_stored()  # before answers are read, which may be about it already
        try:
            self._settle(now_s)
            self._loaded, changed = self.discovery.read()
            for entry in changed:
                self._note(entry)
            self._prune(now_s)
        finally:
            self._note_stored()
            self._publish(now_s)

    def _note_stored(self) -> None:
        while not self._stored.empty():
            self._note(self._stored.get())

    def _note(self, entry: Entry) -> None:
        old = self._pending.get(entry.key)
        self._pending[entry.key] = core.stored(old, entry.key, entry.sequence, entry.size_bytes)

    def _prune(self, now_s: float) -> None:
        if now_s < self._pruned_s + PRUNE_S:
            return
        self._pruned_s = now_s
        removed = self.spool.prune(self._keep_s, self._keep_bytes, time.time())
        if removed:
            log("info", "old acknowledged reports were removed from the spool", reports=removed)

    def _settle(self, now_s: float) -> None:
        answers = []
        while not self._answers.empty():
            answers.append(self._answers.get())
        settled = [item for payload in answers for item in self._read(payload, now_s)]
        if not settled:
            return
        self.spool.acknowledge(settled)
        for key, sequence in settled:
            if (known := self._pending.get(key)) is not None:
                left = core.settle(known, sequence)
                if left is None:
                    del self._pending[key]
                else:
                    self._pending[key] = left

    def _read(self, payload: bytes, now_s: float) -> list[tuple[core.Key, int]]:
        try:
            document = loads(Acknowledgement, payload)
        except ContractError as error:
            log("warning", "an answer of the cloud cannot be read", error=str(error)[:300])
            return []
        settled, wrong = core.acknowledged(self._pending, document, self.node.name)
        if wrong:
            log("warning", "an acknowledgement is wrong", problems=wrong[:5])
            return settled
        for report in core.awake(self._pending.values(), self._link, now_s, self.settings):
            self._pending[report.key] = report
        self._link = replace(self._link, heard_s=now_s)
        return settled

    def _head(self) -> str:
        delivery = Delivery(node=self.node.name, group=self.group, sent_s=time.time(), loaded=self._loaded)
        document = to_json(delivery)
        del document["reports"]
        return json.dumps(document, separators=(",", ":"))[:-1] + ',"reports":['

    def _publish(self, now_s: float) -> None:
        if self.transport is None or not self.transport.ready():
            return
        head = self._head()
        waiting = core.due(self._pending.values(), now_s, self.settings)
        groups = core.pack(waiting, len(head.encode()) + 2, self.settings)[: self.settings.deliveries_a_turn]
        if not groups and (self._loaded != self._told or core.heartbeat_due(self._link, now_s, self.settings)):
            groups = [[]]
        for group in groups:
            if not self._deliver(head, group, now_s):
                return
        if groups:
            self._told = self._loaded

    def _deliver(self, head: str, group: list[core.Pending], now_s: float) -> bool:
        assert self.transport is not None
        found = [(report, *state) for report in group if (state := self.spool.body(report.key)) is not None]
        payload = (head + ",".join(body for _, _, body in found) + "]}").encode()
        if len(payload) > self.settings.delivery_bytes and not group[0].attempts:
            log("info", "a report is larger than a delivery should be: sent alone", bytes=len(payload))
        outcome = self.transport.send(payload)
        if outcome == "failed":
            return False
        blamed = outcome == "refused" and len(found) > 1
        for report, sequence, _ in found:
            self._pending[report.key] = core.after_sending(report, sequence, now_s, refused=blamed)
        self._link = replace(self._link, sent_s=now_s)
        return True
