"""What a person says of the groups of nodes, and how that and the loops become the planner's values."""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import ClassVar

from edgeloop_contracts import Loop, Package, Target
from edgeloop_contracts.codec import Contract, option
from edgeloop_contracts.fit import lending, misfit
from edgeloop_contracts.units import DURATION, DURATION_FORM, duration_s
from edgeloop_fleet.offline.values import Choice, Demand, Group, Layer, PlanError, Window

__all__ = ["GroupFacts", "GroupsFile", "LinkWindow", "chain_of", "groups_from"]

MIB = 2**20
_BYTES = 125_000  # of a megabit
LayersOf = Callable[[str], tuple[Layer, ...]]


@dataclass(frozen=True, kw_only=True)
class LinkWindow(Contract):
    """A time in which a node's link is up."""

    start: str = option("0s", name="from", doc="from now", pattern=DURATION, form=DURATION_FORM)
    end: str = option(name="to", doc="from now", pattern=DURATION, form=DURATION_FORM)
    mbit_s: float = option(doc="what one node gets of it", minimum=0)


@dataclass(frozen=True, kw_only=True)
class GroupFacts(Contract):
    """A group of like nodes."""

    storage_mib: int | None = option(
        None, doc="disk for images on a node, 0: no limit; absent: the least that its loops say", minimum=0
    )
    shares: Mapping[str, float] = option({}, doc="loop: its part of the requests there; empty: all alike")
    link: tuple[LinkWindow, ...] | None = option(None, doc="until the link is away; absent: not known, no limit")
    present: tuple[str, ...] = option((), doc="digests of images that the nodes have")
    keep: tuple[str, ...] = option((), doc="digests of images that must stay, such as the agent's")


@dataclass(frozen=True, kw_only=True)
class GroupsFile(Contract):
    """The file of `edgeloop plan --groups`."""

    KIND: ClassVar[str] = ""

    groups: Mapping[str, GroupFacts] = option()


def chain_of(target: Target, versions: Sequence[Mapping[str, Package]], lent: Iterable[str]) -> list[Package]:
    """The images that can serve a target's group, the preferred one first.

    `versions`: target: package, of the preferred version first. First comes the target's own package of each version; then of
    the first version the packages of other targets that are smaller and that the target's nodes can run, the smallest first.
    PlanError for a package of the target itself that its nodes cannot run.
    """
    has = lending(target, lent)
    own = [packages[target.name] for packages in versions if target.name in packages]
    for package in own:
        if reasons := misfit(package.needs, has):
            raise PlanError(f"{package.loop}@{package.version} for target {target.name}: {'; '.join(reasons)}")
    smaller = own[0].size_bytes if own else math.inf
    others = [
        package
        for packages in versions[:1]
        for name, package in packages.items()
        if name != target.name and package.size_bytes < smaller and package.platform == target.platform
        if not misfit(package.needs, has)
    ]
    found = [*own, *sorted(others, key=lambda package: (package.size_bytes, package.target))]
    return list({package.digest: package for package in found}.values())


def groups_from(
    loops: Sequence[Loop],
    versions: Mapping[str, Sequence[Mapping[str, Package]]],
    facts: Mapping[str, GroupFacts],
    layers_of: LayersOf,
    lent: Iterable[str] = (),
) -> list[Group]:
    """The planner's groups, in the order in which the loops name them. `versions`: loop: as `chain_of` wants them;
    `layers_of`: the layers of an image by its digest. PlanError."""
    by_group: dict[str, list[tuple[Loop, Target]]] = {}
    for loop in loops:
        for target in loop.targets:
            by_group.setdefault(target.nodes.group, []).append((loop, target))
    if unknown := [name for name in facts if name not in by_group]:
        raise PlanError(f"groups: expected those of the loops ({', '.join(by_group)}), found {', '.join(unknown)}")
    lends = tuple(lent)
    return [
        _group(name, pairs, facts.get(name, GroupFacts()), versions, layers_of, lends)
        for name, pairs in by_group.items()
    ]


def _group(  # noqa: PLR0917
    name: str,
    pairs: Sequence[tuple[Loop, Target]],
    facts: GroupFacts,
    versions: Mapping[str, Sequence[Mapping[str, Package]]],
    layers_of: LayersOf,
    lent: tuple[str, ...],
) -> Group:
    demands = [
        Demand(
            loop.name,
            _share(name, loop.name, facts, [one.name for one, _ in pairs]),
            loop.offline.priority,
            tuple(
                Choice(package, layers_of(package.digest))
                for package in chain_of(target, versions.get(loop.name, ()), lent)
            ),
        )
        for loop, target in pairs
    ]
    return Group(
        name,
        _storage(facts, [loop for loop, _ in pairs]),
        tuple(demands),
        link=None if facts.link is None else tuple(_window(window) for window in facts.link),
        present=frozenset(layer.digest for image in facts.present for layer in layers_of(image)),
        required=tuple({layer.digest: layer for image in facts.keep for layer in layers_of(image)}.values()),
    )


def _share(group: str, loop: str, facts: GroupFacts, loops: Sequence[str]) -> float:
    if not facts.shares:
        return 1.0
    if set(facts.shares) != set(loops):
        raise PlanError(
            f"group {group}: shares: expected one for each loop there ({', '.join(loops)}), "
            f"found {', '.join(facts.shares)}"
        )
    return facts.shares[loop]


def _storage(facts: GroupFacts, loops: Iterable[Loop]) -> int | None:
    """In bytes. None: no limit."""
    said = [loop.offline.storage_mib for loop in loops if loop.offline.storage_mib]
    mib = facts.storage_mib if facts.storage_mib is not None else min(said, default=0)
    return mib * MIB if mib else None


def _window(window: LinkWindow) -> Window:
    return Window(duration_s(window.start), duration_s(window.end), window.mbit_s * _BYTES)
