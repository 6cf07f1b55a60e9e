"""What the doctor was told of an installation: raw Kubernetes objects, answers of services, readings of clocks.

Values only. What was asked and gave no answer is a fact, too; what was not asked is listed apart, with the reason.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Literal

from edgeloop_contracts import Loop

__all__ = ["Clock", "Cluster", "Facts", "Image", "Service", "Skipped"]

Object = Mapping[str, Any]


@dataclass(frozen=True, kw_only=True)
class Cluster:
    """What a cluster, or a folder of objects, holds.

    `objects` is resource (`nodes`, `rules`, ...): documents; a resource that could not be read is in `unread` with the HTTP
    status (0: none) and what was said. `away` says why the cluster does not answer at all; '' when it does.
    """

    where: str
    live: bool = True
    version: str = ""
    away: str = ""
    objects: Mapping[str, Sequence[Object]] = field(default_factory=dict)
    unread: Mapping[str, tuple[int, str]] = field(default_factory=dict)

    def all(self, resource: str) -> Sequence[Object]:
        return self.objects.get(resource, ())

    def read(self, resource: str) -> bool:
        """Whether the resource was read, so that an empty list means that there is none."""
        return resource in self.objects


@dataclass(frozen=True)
class Service:
    """A service that was asked. `away`: no answer; `refused`: it knows us not, or not well enough; `broken`: answers wrongly."""

    name: Literal["kfp", "objects", "registry", "fleet"]
    where: str
    state: Literal["well", "away", "refused", "broken"]
    said: str = ""


@dataclass(frozen=True)
class Image:
    """An image that is applied, and why its registry does not have it; '' when it has."""

    name: str
    missing: str


@dataclass(frozen=True)
class Clock:
    """Somebody's clock beside another, read in the same moment, in Unix seconds; `give_s`: how far they may differ unnoticed."""

    who: str
    theirs_s: float
    ours_s: float
    give_s: float = 1.0

    @property
    def off_s(self) -> float:
        """By how much theirs is ahead, beyond what cannot be told; 0 when it cannot be told."""
        off = self.theirs_s - self.ours_s
        return 0.0 if abs(off) <= self.give_s else off


@dataclass(frozen=True)
class Skipped:
    """Something that the doctor did not look at, and why."""

    what: str
    why: str


@dataclass(frozen=True, kw_only=True)
class Facts:
    """All facts of one look. `namespace`: of what runs at the edge; `cloud`: of the fleet service; `kubeedge`: of
    CloudCore; `kubeflow`: of Kubeflow Pipelines. `heard`: node: whether the fleet service hears of it; None: not asked."""

    namespace: str = "edgeloop"
    cloud: str = "edgeloop-cloud"
    kubeedge: str = "kubeedge"
    kubeflow: str = "kubeflow"
    loops: tuple[Loop, ...] = ()
    cluster: Cluster | None = None
    services: tuple[Service, ...] = ()
    images: tuple[Image, ...] = ()
    clocks: tuple[Clock, ...] = ()
    heard: Mapping[str, bool] | None = None
    skipped: tuple[Skipped, ...] = ()

    def objects(self, resource: str) -> Sequence[Object]:
        return self.cluster.all(resource) if self.cluster else ()

    def read(self, resource: str) -> bool:
        return self.cluster is not None and self.cluster.read(resource)
