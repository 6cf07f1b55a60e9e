"""Has a group taken what it was told to? Read from its Deployment and from what the agents say, never from KubeEdge's own
`Available`, which stays true while the old version still serves (observed).
"""

from __future__ import annotations

from collections.abc import Sequence

from edgeloop_contracts import Package
from edgeloop_fleet.ports import GroupState, NodeState, Observed

__all__ = ["cannot_start", "is_settled", "missing_words", "restarts_of"]

FATAL = (
    "ImagePullBackOff",
    "ErrImageNeverPull",
    "InvalidImageName",
    "CrashLoopBackOff",
    "CreateContainerConfigError",
    "CreateContainerError",
    "RunContainerError",
    "ProgressDeadlineExceeded",
)  # ErrImagePull is the first try only; it turns into ImagePullBackOff


def _is_current(state: GroupState, digest: str) -> bool:
    return state.desired_digest == digest and state.observed_generation == state.generation


def _members(group: str, observed: Observed) -> list[NodeState]:
    named = observed.groups[group].nodes if group in observed.groups else ()
    return [
        observed.nodes.get(node, NodeState(node=node, group=group, reachable=False))
        for node in sorted({*named, *(n.node for n in observed.nodes.values() if n.group == group)})
        if not named or node in named
    ]


def _has(node: NodeState, version: int) -> bool:
    return version in node.versions


def is_settled(group: str, version: int, package: Package, observed: Observed) -> bool:
    """Whether the Deployment is through and every reachable node says that it has the version loaded.

    Nodes that are out of reach are not waited for, as long as one of the group is in reach; they take the version when
    they are back.
    """
    state = observed.groups.get(group)
    if state is None or not _is_current(state, package.digest):
        return False
    members = _members(group, observed)
    present = [node for node in members if node.reachable]
    absent = len(members) - len(present)
    through = state.replicas == state.updated and state.available >= state.replicas - absent
    return through and bool(present or not members) and all(_has(node, version) for node in present)


def cannot_start(groups: Sequence[str], digests: Sequence[str], observed: Observed) -> str:
    """Why a pod of the wanted image cannot start, '' when none is stuck."""
    for group, digest in zip(groups, digests, strict=True):
        state = observed.groups.get(group)
        if state and _is_current(state, digest) and state.waiting.split(":")[0].strip() in FATAL:
            return f"{group}: {state.waiting}"
    return ""


def restarts_of(groups: Sequence[str], observed: Observed) -> int:
    """Container restarts of the groups' pods."""
    return sum(observed.groups[group].restarts for group in groups if group in observed.groups)


def missing_words(group: str, version: int, observed: Observed) -> str:
    """What a group still lacks, in words."""
    state = observed.groups.get(group)
    if state is None or not state.desired_digest:
        return f"{group} has no Deployment"
    members = _members(group, observed)
    silent = [node.node for node in members if not node.reachable]
    without = [node.node for node in members if node.reachable and not _has(node, version)]
    parts = [f"{group}: {state.updated} of {state.replicas} pods updated, {state.available} available"]
    parts += [f"not heard from: {', '.join(silent[:5])}"] if silent else []
    parts += [f"not loaded on: {', '.join(without[:5])}"] if without else []
    return "; ".join(parts)
