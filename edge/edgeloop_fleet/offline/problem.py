"""The planner's question as whole numbers, so that answers are exact and the same everywhere.

Layers that the same images have are one part: its bytes are their sum. A set of images is the bits of an int, so is a set of
parts. What a set of images costs is the bytes of all parts that any of them has: a shared layer counts once.
"""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass

from edgeloop_fleet.offline.values import PRIORITIES, Demand, Group, Layer, PlanError, link_bytes

__all__ = ["Option", "Problem", "Score", "bits", "cost", "fits", "problem_of", "score", "weight_of"]

Score = tuple[int, int, int, int]  # served, preferred, in reserve, bytes on disk (negative): compared in this order
_SHARE = 1_000_000  # a share of 1 as a whole number


@dataclass(frozen=True)
class Option:
    """One image: whose demand it can serve, its place in the chain (0: preferred), and its parts."""

    demand: int
    place: int
    parts: int


@dataclass(frozen=True)
class Problem:
    """Bytes of the parts on disk and over the link, what there is of both (None: no limit), weights, and the images."""

    disk: tuple[int, ...]
    fetch: tuple[int, ...]
    storage: int | None
    link: int | None
    weights: tuple[int, ...]
    options: tuple[Option, ...]

    @property
    def longest(self) -> int:
        """The length of the longest chain."""
        return max((option.place + 1 for option in self.options), default=0)


def weight_of(demand: Demand) -> int:
    """What it counts that a loop is served: its share of the requests times what its priority makes of a request."""
    return round(demand.share * _SHARE) * PRIORITIES[demand.priority]


def bits(number: int) -> Iterable[int]:
    """The places of the bits that are set, lowest first."""
    while number:
        low = number & -number
        yield low.bit_length() - 1
        number ^= low


def cost(sizes: tuple[int, ...], parts: int) -> int:
    """The bytes of a set of parts."""
    return sum(sizes[place] for place in bits(parts))


def fits(problem: Problem, parts: int) -> bool:
    """Whether a set of parts is within the storage and what the link brings."""
    over = ((problem.disk, problem.storage), (problem.fetch, problem.link))
    return all(limit is None or cost(sizes, parts) <= limit for sizes, limit in over)


def score(problem: Problem, kept: int) -> Score:
    """How good a set of images is: first what is served, then by which images, then what is in reserve, then few bytes."""
    first: dict[int, int] = {}
    reserve = parts = 0
    for place in bits(kept):
        option = problem.options[place]
        parts |= option.parts
        if option.demand in first:
            reserve += problem.weights[option.demand]
        first[option.demand] = min(option.place, first.get(option.demand, option.place))
    served = sum(problem.weights[demand] for demand in first)
    preferred = sum(problem.weights[demand] * (problem.longest - place) for demand, place in first.items())
    return served, preferred, reserve, -cost(problem.disk, parts)


def problem_of(group: Group) -> Problem:
    """The group's question. PlanError when what must stay does not fit."""
    required = {layer.digest: layer for layer in group.required}
    members: dict[str, int] = {}
    layers: dict[str, Layer] = {}
    chosen = [choice for demand in group.demands for choice in demand.chain]
    for place, choice in enumerate(chosen):
        for layer in choice.layers:
            if layer.digest not in required:
                layers[layer.digest] = layer
                members[layer.digest] = members.get(layer.digest, 0) | 1 << place
    parts = {signature: number for number, signature in enumerate(dict.fromkeys(members.values()))}
    disk, fetch = [0] * len(parts), [0] * len(parts)
    for digest, layer in layers.items():
        disk[parts[members[digest]]] += layer.disk_bytes
        fetch[parts[members[digest]]] += 0 if digest in group.present else layer.size_bytes
    places = [(number, place) for number, demand in enumerate(group.demands) for place in range(len(demand.chain))]
    options = tuple(
        Option(number, place, sum(1 << part for signature, part in parts.items() if signature >> index & 1))
        for index, (number, place) in enumerate(places)
    )
    stays = sum(layer.disk_bytes for layer in required.values())
    comes = sum(layer.size_bytes for layer in required.values() if layer.digest not in group.present)
    return Problem(
        tuple(disk),
        tuple(fetch),
        _left(group, "disk for images", group.storage_bytes, stays),
        _left(group, "link", link_bytes(group), comes),
        tuple(weight_of(demand) for demand in group.demands),
        options,
    )


def _left(group: Group, what: str, limit: int | None, used: int) -> int | None:
    if limit is not None and used > limit:
        raise PlanError(
            f"group {group.name}: {what}: expected room for what must stay ({used} bytes), found {limit} bytes"
        )
    return None if limit is None else limit - used
