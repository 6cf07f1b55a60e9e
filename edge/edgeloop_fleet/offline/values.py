"""What the offline planner starts from: for each group of nodes its disk, its link, and what is asked of it there.

Sizes are bytes, times seconds after the plan is made. Values that make no sense are refused here, once, with their place.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Literal

from edgeloop_contracts import Package

__all__ = [
    "PRIORITIES",
    "Choice",
    "Demand",
    "Group",
    "Layer",
    "PlanError",
    "Priority",
    "Window",
    "link_bytes",
    "link_s",
]

Priority = Literal["critical", "high", "normal", "low"]
PRIORITIES: Mapping[Priority, int] = {"critical": 8, "high": 4, "normal": 2, "low": 1}  # what a request counts


class PlanError(ValueError):
    """No plan can be made of these values; the message says which, what was expected and what was found."""


@dataclass(frozen=True)
class Layer:
    """A layer of images, or an image's own documents. `disk_bytes`: what it takes on a node, packed and unpacked."""

    digest: str
    size_bytes: int
    disk_bytes: int

    def __post_init__(self) -> None:
        if not 0 <= self.size_bytes <= self.disk_bytes:
            raise PlanError(
                f"layer {self.digest}: expected 0 <= size_bytes <= disk_bytes, "
                f"found {self.size_bytes} and {self.disk_bytes}"
            )


@dataclass(frozen=True)
class Choice:
    """One image that can serve a loop's requests, and its layers.

    Among them is one with the image's own digest: its manifest and configuration, without which its layers do not start.
    """

    package: Package
    layers: tuple[Layer, ...]

    def __post_init__(self) -> None:
        if not any(layer.digest == self.package.digest and layer.size_bytes for layer in self.layers):
            raise PlanError(
                f"{self.package.loop}@{self.package.version} for {self.package.target}: layers: expected manifest and "
                f"configuration as {self.package.digest}, found {len(self.layers)} other layers"
            )


@dataclass(frozen=True)
class Demand:
    """What is asked of a group for one loop. `share`: of all requests there, relative to those of the other loops; `chain`:
    the images that can answer, the preferred one first."""

    loop: str
    share: float
    priority: Priority
    chain: tuple[Choice, ...]

    def __post_init__(self) -> None:
        if not (math.isfinite(self.share) and self.share >= 0):
            raise PlanError(f"loop {self.loop}: share: expected a number >= 0, found {self.share}")
        if self.priority not in PRIORITIES:
            raise PlanError(f"loop {self.loop}: expected a priority ({', '.join(PRIORITIES)}), found {self.priority}")
        digests = [choice.package.digest for choice in self.chain]
        if len(set(digests)) != len(digests):
            raise PlanError(f"loop {self.loop}: expected each image once in its chain, found {', '.join(digests)}")


@dataclass(frozen=True)
class Window:
    """A time in which a node's link is up, and how much it brings."""

    start_s: float
    end_s: float
    bytes_per_s: float

    def __post_init__(self) -> None:
        if not (0 <= self.start_s < self.end_s < math.inf and 0 <= self.bytes_per_s < math.inf):
            raise PlanError(f"link: expected 0 <= start < end and a rate >= 0, found {self}")


@dataclass(frozen=True)
class Group:
    """A group of like nodes. `storage_bytes`: disk for images on a node, None: no limit; `link`: the forecast until the time
    without a link begins, None: no forecast, which is no limit either; `present`: digests of layers that its nodes have;
    `required`: layers that stay whatever is planned, such as the agent's."""

    name: str
    storage_bytes: int | None
    demands: tuple[Demand, ...]
    link: tuple[Window, ...] | None = None
    present: frozenset[str] = frozenset()
    required: tuple[Layer, ...] = ()

    def __post_init__(self) -> None:
        loops = [demand.loop for demand in self.demands]
        if len(set(loops)) != len(loops):
            raise PlanError(f"group {self.name}: expected each loop once, found {', '.join(loops)}")
        if self.storage_bytes is not None and self.storage_bytes < 0:
            raise PlanError(f"group {self.name}: storage: expected bytes >= 0, found {self.storage_bytes}")
        windows = sorted(self.link or (), key=lambda window: window.start_s)
        for one, after in itertools.pairwise(windows):
            if after.start_s < one.end_s:
                raise PlanError(f"group {self.name}: link: expected windows apart, found {one} and {after}")
        known: dict[str, Layer] = {}
        for layer in self.layers():
            if known.setdefault(layer.digest, layer) != layer:
                raise PlanError(f"group {self.name}: layer {layer.digest}: expected one size, found two")

    def layers(self) -> tuple[Layer, ...]:
        """Every layer that may be kept, in order of mention; a shared layer as often as it is mentioned."""
        chosen = (choice.layers for demand in self.demands for choice in demand.chain)
        return (*self.required, *(layer for layers in chosen for layer in layers))


def link_bytes(group: Group) -> int | None:
    """What the link brings to a node in all its windows. None: no forecast."""
    if group.link is None:
        return None
    return math.floor(sum((window.end_s - window.start_s) * window.bytes_per_s for window in group.link))


def link_s(group: Group, size_bytes: int) -> float | None:
    """When the link has brought so many bytes, seconds after the plan. None: no forecast, or never. 0 for no bytes."""
    if size_bytes == 0:
        return 0.0
    left = float(size_bytes)
    for window in sorted(group.link or (), key=lambda window: window.start_s):
        brings = (window.end_s - window.start_s) * window.bytes_per_s
        if left <= brings:
            return window.start_s + left / window.bytes_per_s
        left -= brings
    return None
