"""The doors of the fleet service: what starts runs, what holds the cluster, what names the good version, what time it is.

Values and Protocols only. Adapters live elsewhere (the cluster in `clusters/`, the trigger and the aliases with the pipelines),
simulators in `testing.py`, and the laws that every adapter keeps in `conformance.py`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from edgeloop_contracts import Loop, Package, RunRequest

__all__ = ["Aliases", "Clock", "Cluster", "Decision", "GroupState", "NodeState", "Observed", "Render", "Trigger"]


@dataclass(frozen=True)
class Decision:
    """A trigger's answer: whether this call started the run, and why or why not."""

    started: bool
    why: str


@dataclass(frozen=True, kw_only=True)
class GroupState:
    """The Deployment `<app>-<group>` of one node group, as the cluster shows it.

    `desired_digest` is the image digest (`sha256:<hex>`) in the Deployment's pod template, '' where there is no Deployment.
    `waiting` is the reason of a pod that cannot start (`ImagePullBackOff`, `CrashLoopBackOff`, `ProgressDeadlineExceeded`, ...;
    text may follow a colon), '' when there is none. `restarts` counts container restarts of the pods that are there.
    """

    group: str
    nodes: tuple[str, ...] = ()
    desired_digest: str = ""
    generation: int = 0
    observed_generation: int = 0
    replicas: int = 0
    updated: int = 0
    available: int = 0
    waiting: str = ""
    restarts: int = 0


@dataclass(frozen=True, kw_only=True)
class NodeState:
    """What one node's agent last said of one loop: the versions that are loaded and ready, and their images.

    `reachable` is False when the agent has been silent for too long; then the rest is what it said last.
    """

    node: str
    group: str
    versions: tuple[int, ...] = ()
    images: tuple[str, ...] = ()
    reachable: bool = True


@dataclass(frozen=True, kw_only=True)
class Observed:
    """All that the rollout controller sees of one loop: Deployments by group, agents by node, and the time on the wall."""

    groups: Mapping[str, GroupState] = field(default_factory=dict)
    nodes: Mapping[str, NodeState] = field(default_factory=dict)
    wall_s: float = 0.0


class Trigger(Protocol):
    """Starts pipeline runs. Two requests of one key are one request: the second one starts nothing."""

    def fire(self, request: RunRequest) -> Decision:
        """Starts the run, or says why not: cooldown, budget, another run is active, this key was started before.

        In the last case, and only then, the reason names the request's own key: so a caller that died before it could write
        down the answer learns that the run is there.
        """
        ...

    def active(self, loop: str) -> tuple[str, ...]:
        """The keys of the loop's runs that have not ended."""
        ...


class Cluster(Protocol):
    """Holds Kubernetes objects. Applying the same objects twice changes nothing."""

    def apply(self, objects: Sequence[Mapping[str, Any]]) -> None:
        """Creates or replaces the objects, told apart by kind, namespace and name. OSError when the cluster is not there."""
        ...

    def delete(self, objects: Sequence[Mapping[str, Any]]) -> None:
        """Removes the objects; one that is not there is no error. OSError when the cluster is not there."""
        ...

    def observe(self, loop: str, groups: Sequence[str]) -> Mapping[str, GroupState]:
        """The state of the loop in each of the groups; a group without a Deployment has `desired_digest` ''."""
        ...


class Aliases(Protocol):
    """Names the good version in the catalog. Promoting the same version twice is promoting it once."""

    def promote(self, loop: str, version: int, why: str) -> None:
        """Makes `version` the champion and the last good one. OSError when the catalog is not there."""
        ...


class Clock(Protocol):
    """The fleet's clock, in Unix seconds; it never goes back."""

    def now_s(self) -> float: ...


class Render(Protocol):
    """Gives the objects that put `packages` (group: image) on the loop's groups; a group left out gets nothing."""

    def __call__(self, loop: Loop, packages: Mapping[str, Package]) -> Sequence[Mapping[str, Any]]: ...
