"""What the fleet service concludes and does: verdicts, run requests, rollouts, and what nodes keep for offline times."""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import dataclass
from typing import ClassVar, Literal

from edgeloop_contracts.artifacts import Package
from edgeloop_contracts.codec import Contract, option
from edgeloop_contracts.loop import CauseName

__all__ = [
    "GroupOutlook",
    "Judgement",
    "KeptItem",
    "KeptLayer",
    "OfflinePlan",
    "Rollout",
    "RolloutEvent",
    "RolloutState",
    "RunRequest",
    "Verdict",
    "Wave",
    "run_key",
]

Judgement = Literal["healthy", "insufficient", "performance", "estimated_performance", "quality", "drift"]
RolloutState = Literal["waiting", "running", "done", "rolling_back", "rolled_back", "aborted"]


@dataclass(frozen=True, kw_only=True)
class Verdict(Contract):
    """One judgement with its numbers, and a sentence that a person understands."""

    KIND: ClassVar[str] = "Verdict"

    loop: str
    version: int = option(minimum=1)
    scope: str = option("fleet", doc="fleet, group/<name> or node/<name>")
    judgement: Judgement
    sentence: str
    numbers: Mapping[str, float] = option({})
    window_start_s: int = 0
    window_end_s: int = 0
    at_s: float = 0.0
    cause: CauseName | None = option(None, doc="the cause for which this verdict asks for a run")


@dataclass(frozen=True, kw_only=True)
class RunRequest(Contract):
    """Asks for one pipeline run. Two requests with the same key are the same request."""

    KIND: ClassVar[str] = "RunRequest"

    loop: str
    key: str
    cause: CauseName
    version: int = option(0, doc="the version that served when the cause arose; 0: none", minimum=0)
    evidence: int = option(0, doc="start of the window that showed the cause, Unix seconds; 0: none")
    requested_s: float = 0.0
    by: str = ""
    reason: str = ""


def run_key(loop: str, version: int, cause: str, evidence: int | str) -> str:
    """The deterministic name of a run: `<loop>-<12 hex digits>`, the same for the same cause of the same version."""
    text = "\n".join((loop, str(version), cause, str(evidence)))
    return f"{loop}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


@dataclass(frozen=True, kw_only=True)
class Wave(Contract):
    """One wave of a rollout and what was seen of it. Times are None until they came."""

    groups: tuple[str, ...]
    state: Literal["pending", "deploying", "soaking", "passed", "failed"] = "pending"
    started_s: float | None = None
    settled_s: float | None = option(None, doc="when every reachable node had the version loaded")
    finished_s: float | None = None
    evidence: str = option("", doc="why it passed or failed, in words")
    numbers: Mapping[str, float] = option({})


@dataclass(frozen=True, kw_only=True)
class RolloutEvent(Contract):
    """One line of a rollout's history."""

    at_s: float
    event: str
    why: str = ""


@dataclass(frozen=True, kw_only=True)
class Rollout(Contract):
    """The move of one loop's nodes to a version, wave by wave, or back to the last good one."""

    KIND: ClassVar[str] = "Rollout"

    loop: str
    version: int = option(minimum=1)
    previous: int | None = option(None, doc="the last good version; None on the first rollout")
    packages: Mapping[str, Package] = option({}, doc="target: image of the new version")
    previous_packages: Mapping[str, Package] = option({}, doc="target: image of the last good version")
    waves: tuple[Wave, ...] = ()
    state: RolloutState = "waiting"
    desired: Mapping[str, int] = option({}, doc="group: version that it shall run")
    soak_s: int = option(3600, minimum=0)
    tolerance: float = option(0.05, minimum=0)
    created_s: float = 0.0
    evidence_s: float | None = option(None, doc="when the cause of the run was seen first")
    history: tuple[RolloutEvent, ...] = ()

    @property
    def finished(self) -> bool:
        return self.state in ("done", "rolled_back", "aborted")


@dataclass(frozen=True, kw_only=True)
class KeptItem(Contract):
    """One image, and why a group keeps it or not."""

    loop: str
    version: int = option(minimum=1)
    target: str = ""
    runtime: str = ""
    repository: str = ""
    digest: str
    size_bytes: int = option(minimum=0)
    place: int = option(0, doc="in the loop's chain; 0: preferred", minimum=0)
    keep: bool
    serves: bool = option(False, doc="whether it is the first of its chain that is kept")
    disk_bytes: int = option(0, doc="what its layers take on a node, shared ones too", minimum=0)
    fetch_bytes: int = option(0, doc="what it adds to what a node must fetch", minimum=0)
    ready_s: float | None = option(
        None, doc="when the link has brought it, seconds after the plan; absent: not kept, or no forecast"
    )
    why: str


@dataclass(frozen=True, kw_only=True)
class KeptLayer(Contract):
    """One layer, and why a group keeps it or not."""

    digest: str
    part: Literal["model", "runtime", "document", "required"] = option(
        doc="a model, what runs it, an image's manifest and configuration, or what stays whatever is planned"
    )
    size_bytes: int = option(minimum=0)
    disk_bytes: int = option(minimum=0)
    present: bool = option(False, doc="whether the nodes have it already")
    keep: bool
    why: str


@dataclass(frozen=True, kw_only=True)
class GroupOutlook(Contract):
    """What a group's plan comes to. Shares are of 1."""

    method: Literal["exact", "bounded"]
    served_share: float = option(doc="of the requests", minimum=0, maximum=1)
    weighted_share: float = option(
        doc="of the requests, each counted as its loop's priority says", minimum=0, maximum=1
    )
    bound: float = option(doc="no plan has a greater weighted_share", minimum=0, maximum=1)
    gap: float = option(doc="(bound - weighted_share) / bound; 0 where the method is exact", minimum=0, maximum=1)
    storage_bytes: int | None = option(None, doc="disk for images; absent: no limit")
    disk_bytes: int = option(doc="what is kept takes of it", minimum=0)
    fetch_bytes: int = option(minimum=0)
    link_bytes: int | None = option(None, doc="what the link brings to a node; absent: no forecast")
    ready_s: float | None = option(None, doc="when all is there, seconds after the plan; absent: no forecast")
    layers: tuple[KeptLayer, ...] = ()


@dataclass(frozen=True, kw_only=True)
class OfflinePlan(Contract):
    """What each group keeps on disk, and why."""

    KIND: ClassVar[str] = "OfflinePlan"

    groups: Mapping[str, tuple[KeptItem, ...]] = option({})
    storage_mib: Mapping[str, int] = option({}, doc="group: disk for images; 0: no limit")
    outlook: Mapping[str, GroupOutlook] = option({}, doc="group: what its plan comes to")
