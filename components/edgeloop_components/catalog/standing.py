"""Whether a version still stands: withdrawals, and what an accepted version lacks before it is whole.

Version documents never change. When a run fails after it made an accepted version, the version is withdrawn by a document
beside it, `catalog/<loop>/withdrawn/<n>.json`; whoever reads the version then sees it as rejected, with a failed gate
`build` that holds the reason. The same run, tried again with success, admits it again. Refuses to withdraw a version that
an alias points to.
"""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path

from edgeloop_components.catalog import audit
from edgeloop_components.catalog.aliases import aliases
from edgeloop_components.catalog.blobs import CatalogError
from edgeloop_components.stores.objects import NotFound, Objects
from edgeloop_contracts import GateResult, ModelVersion, canonical

__all__ = ["GATE", "overlay", "put_withdrawal", "remove_withdrawal", "rollout_key", "standing", "withdrawals"]

GATE, EXPECTED = "build", "every target compiled, profiled, packed and rolled out"


def rollout_key(loop: str, number: int) -> str:
    """Where the Rollout of a version lies; it is written when every target is packed."""
    return f"catalog/{loop}/rollouts/{number:06d}.json"


def standing(objects: Objects, seen: ModelVersion) -> str:
    """The state of a version as it was read, and what an accepted one lacks, for people.

    `rejected`, `accepted`, `accepted, not packed` (no package at all) or `accepted, not rolled out` (packages, but the
    rollout was not written). The last two are of a run that goes on, or of one that was killed.
    """
    if seen.state == "rejected":
        return seen.state
    if next(objects.list(f"catalog/{seen.loop}/packages/{seen.number:06d}/"), None) is None:
        return "accepted, not packed"
    rolled_out = next(objects.list(rollout_key(seen.loop, seen.number)), None) is not None
    return seen.state if rolled_out else "accepted, not rolled out"


def overlay(written: ModelVersion, reason: str | None) -> ModelVersion:
    """The version as it is to be seen: as written without a `reason`, else rejected, with the gate that says why."""
    if reason is None:
        return written
    failed = GateResult(gate=GATE, passed=False, expected=EXPECTED, got=reason)
    return replace(written, state="rejected", gates=(*written.gates, failed))


def withdrawals(objects: Objects, loop: str, number: int | None = None) -> Mapping[int, str]:
    """Number -> reason of each withdrawn version of the loop, or of version `number` only."""
    keys = list(objects.list(f"catalog/{loop}/withdrawn/")) if number is None else [_key(loop, number)]
    found = {int(Path(key).stem): _reason(objects, key) for key in keys}
    return {n: reason for n, reason in found.items() if reason is not None}


def _reason(objects: Objects, key: str) -> str | None:
    """None when there is no such document (any more)."""
    try:
        return str(json.loads(objects.get(key))["why"])
    except NotFound:
        return None


def put_withdrawal(objects: Objects, written: ModelVersion, why: str, *, actor: str, at_s: float | None) -> None:
    """Withdraws an accepted version; a later reason replaces the one before. CatalogError when an alias points to it."""
    named = [name for name, number in aliases(objects, written.loop).items() if number == written.number]
    if named:
        raise CatalogError(f"withdraw {written.name}: expected no alias to point to it, found {', '.join(named)}")
    objects.put(_key(written.loop, written.number), canonical({"number": written.number, "why": why}))
    _log(objects, written, "withdraw", why, actor=actor, at_s=at_s)


def remove_withdrawal(objects: Objects, written: ModelVersion, why: str, *, actor: str, at_s: float | None) -> bool:
    """Admits a withdrawn version again; False when it was not withdrawn. Logged first: interrupted, it is repeated."""
    if not withdrawals(objects, written.loop, written.number):
        return False
    _log(objects, written, "readmit", why, actor=actor, at_s=at_s)
    objects.delete(_key(written.loop, written.number))
    return True


def _log(objects: Objects, made: ModelVersion, action: str, why: str, *, actor: str, at_s: float | None) -> None:
    """Logs the act, unless it is the newest of its kind in the log already: then it is repeated."""
    acts = [audit.find(objects, made.loop, kind, made.name, last=audit.LOOK_BACK) for kind in ("withdraw", "readmit")]
    newest = max((act for act in acts if act), key=lambda act: act.sequence, default=None)
    if newest and (newest.action, newest.why) == (action, why):
        return
    at_s, evidence = time.time() if at_s is None else at_s, {"run_key": made.run_key}
    audit.append(
        objects, made.loop, at_s=at_s, actor=actor, action=action, subject=made.name, why=why, evidence=evidence
    )


def _key(loop: str, number: int) -> str:
    return f"catalog/{loop}/withdrawn/{number:06d}.json"
