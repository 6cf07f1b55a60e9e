"""Decides what each group of nodes keeps on disk for the time without a link. Pure: the same values give the same plan."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Mapping, Sequence
from dataclasses import dataclass, replace
from typing import Literal

from edgeloop_contracts import GroupOutlook, KeptItem, KeptLayer, OfflinePlan
from edgeloop_fleet.offline.bounded import greedy, upper
from edgeloop_fleet.offline.exact import LIMIT, exact
from edgeloop_fleet.offline.explain import Case, why_image, why_layer
from edgeloop_fleet.offline.problem import Problem, bits, fits, problem_of, score, weight_of
from edgeloop_fleet.offline.values import Choice, Demand, Group, Layer, PlanError, link_bytes, link_s

__all__ = ["plan_groups", "plan_of", "serving"]


@dataclass(frozen=True)
class _Answer:
    """Which images are kept (bits in the order of the chains), how it was found, and what no set serves more than."""

    kept: int
    exact: bool
    bound: int


def plan_groups(groups: Iterable[Group]) -> OfflinePlan:
    """The plan of all groups; each is decided by itself. PlanError when what must stay in one does not fit."""
    given = list(groups)
    if len({group.name for group in given}) != len(given):
        raise PlanError(f"expected each group once, found {', '.join(group.name for group in given)}")
    plans = [plan_of(group) for group in given]
    return OfflinePlan(
        groups={group.name: items for group, (items, _) in zip(given, plans, strict=True)},
        storage_mib={group.name: (group.storage_bytes or 0) >> 20 for group in given},
        outlook={group.name: outlook for group, (_, outlook) in zip(given, plans, strict=True)},
    )


def plan_of(group: Group) -> tuple[tuple[KeptItem, ...], GroupOutlook]:
    """What one group keeps: its images in the order of loops and chains, and what that comes to."""
    problem = problem_of(group)
    answer = _solve(problem)
    named = [(demand, choice) for demand in group.demands for choice in demand.chain]
    kept = [place for place in _fetch_order(group, problem, answer.kept) if answer.kept >> place & 1]
    added, ready = _arrivals(group, [named[place][1] for place in kept])
    arrives = dict(zip(kept, zip(added, ready, strict=True), strict=True))
    case = _case(group, problem, answer)
    items = [_item(case, demand, choice, arrives.get(place)) for place, (demand, choice) in enumerate(named)]
    return tuple(items), _outlook(group, problem, answer, [named[place][1] for place in kept])


def serving(items: Sequence[KeptItem]) -> Mapping[str, KeptItem]:
    """loop: the image that serves it without a link; a loop that nothing is kept of is left out."""
    return {item.loop: item for item in items if item.serves}


def _solve(problem: Problem) -> _Answer:
    """All where all fits; else exact for few images, and bounded for many. The choice does not look at the storage."""
    every = (1 << len(problem.options)) - 1
    parts = 0
    for option in problem.options:
        parts |= option.parts
    if fits(problem, parts):
        return _Answer(every, exact=True, bound=score(problem, every)[0])
    if len(problem.options) <= LIMIT:
        kept = exact(problem)
        return _Answer(kept, exact=True, bound=score(problem, kept)[0])
    return _Answer(greedy(problem), exact=False, bound=upper(problem))


def _first_places(problem: Problem, kept: int) -> frozenset[int]:
    """The images that serve: of each demand the first that is kept."""
    first: dict[int, int] = {}
    for place in bits(kept):  # in the order of the chains
        first.setdefault(problem.options[place].demand, place)
    return frozenset(first.values())


def _fetch_order(group: Group, problem: Problem, kept: int) -> list[int]:
    """What serves comes before what is in reserve, and what counts more before what counts less."""
    serves = _first_places(problem, kept)
    weight = [weight_of(demand) for demand in group.demands]
    return sorted(bits(kept), key=lambda place: (place not in serves, -weight[problem.options[place].demand], place))


def _arrivals(group: Group, choices: Sequence[Choice]) -> tuple[list[int], list[float | None]]:
    """For images fetched one after the other, behind what must stay: the bytes each adds, and when it is there."""
    there = set(group.present)
    total = _fetched(group.required, there)
    added: list[int] = []
    ready: list[float | None] = []
    for choice in choices:
        added.append(_fetched(choice.layers, there))
        total += added[-1]
        ready.append(link_s(group, total if added[-1] else 0))
    return added, ready


def _fetched(layers: Iterable[Layer], there: set[str]) -> int:
    """The bytes of the layers that are not there; from now on they are."""
    missing = {layer.digest: layer.size_bytes for layer in layers if layer.digest not in there}
    there |= missing.keys()
    return sum(missing.values())


def _kept_layers(group: Group, kept: int) -> dict[str, Layer]:
    chosen = [choice for demand in group.demands for choice in demand.chain]
    layers = (layer for place in bits(kept) for layer in chosen[place].layers)
    return {layer.digest: layer for layer in (*group.required, *layers)}


def _case(group: Group, problem: Problem, answer: _Answer) -> Case:
    layers = _kept_layers(group, answer.kept)
    missing = [layer.size_bytes for digest, layer in layers.items() if digest not in group.present]
    return Case(
        group=group,
        kept=frozenset(layers),
        disk_bytes=sum(layer.disk_bytes for layer in layers.values()),
        fetch_bytes=sum(missing),
        link=link_bytes(group),
        exact=answer.exact,
        serves=_serving_places(group, problem, answer.kept),
    )


def _serving_places(group: Group, problem: Problem, kept: int) -> Mapping[str, int]:
    places = (problem.options[place] for place in _first_places(problem, kept))
    return {group.demands[option.demand].loop: option.place for option in places}


def _item(case: Case, demand: Demand, choice: Choice, arrival: tuple[int, float | None] | None) -> KeptItem:
    """`arrival`: bytes to fetch and when they are there; None: it is not kept."""
    package, at = choice.package, demand.chain.index(choice)
    layers = {layer.digest: layer for layer in choice.layers}
    item = KeptItem(
        loop=demand.loop,
        version=package.version,
        target=package.target,
        runtime=package.runtime,
        repository=package.repository,
        digest=package.digest,
        size_bytes=sum(layer.size_bytes for layer in layers.values()),
        place=at,
        keep=arrival is not None,
        serves=case.serves.get(demand.loop) == at,
        disk_bytes=sum(layer.disk_bytes for layer in layers.values()),
        fetch_bytes=arrival[0] if arrival else 0,
        ready_s=arrival[1] if arrival else None,
        why="",
    )
    return replace(item, why=why_image(case, demand, choice, item))


def _outlook(group: Group, problem: Problem, answer: _Answer, kept: Sequence[Choice]) -> GroupOutlook:
    total = sum(problem.weights)
    served = score(problem, answer.kept)[0]
    layers = _kept_layers(group, answer.kept)
    missing = sum(layer.size_bytes for digest, layer in layers.items() if digest not in group.present)
    serves = _serving_places(group, problem, answer.kept)
    shares = sum(demand.share for demand in group.demands)
    return GroupOutlook(
        method="exact" if answer.exact else "bounded",
        served_share=min(1.0, sum(d.share for d in group.demands if d.loop in serves) / shares) if shares else 0.0,
        weighted_share=served / total if total else 0.0,
        bound=answer.bound / total if total else 0.0,
        gap=(answer.bound - served) / answer.bound if answer.bound else 0.0,
        storage_bytes=group.storage_bytes,
        disk_bytes=sum(layer.disk_bytes for layer in layers.values()),
        fetch_bytes=missing,
        link_bytes=link_bytes(group),
        ready_s=link_s(group, missing),
        layers=_layers(group, {choice.package.digest for choice in kept}),
    )


def _layers(group: Group, images: set[str]) -> tuple[KeptLayer, ...]:
    """Every layer that the group may keep, with what needs it."""
    required = {layer.digest for layer in group.required}
    named = [(demand, choice) for demand in group.demands for choice in demand.chain]
    users: dict[str, list[Choice]] = {}
    for _, choice in named:
        for digest in {layer.digest for layer in choice.layers}:
            users.setdefault(digest, []).append(choice)
    return tuple(
        KeptLayer(
            digest=layer.digest,
            part=_part(layer, required, named),
            size_bytes=layer.size_bytes,
            disk_bytes=layer.disk_bytes,
            present=layer.digest in group.present,
            keep=layer.digest in required or any(c.package.digest in images for c in users.get(layer.digest, ())),
            why=why_layer(layer, layer.digest in required, users.get(layer.digest, ()), images),
        )
        for layer in {layer.digest: layer for layer in group.layers()}.values()
    )


def _part(
    layer: Layer, required: Collection[str], named: Sequence[tuple[Demand, Choice]]
) -> Literal["model", "runtime", "document", "required"]:
    packages = [choice.package for _, choice in named]
    if layer.digest in required:
        return "required"
    if layer.digest in {package.digest for package in packages}:
        return "document"
    return "model" if layer.digest in {package.model_layer for package in packages} else "runtime"
