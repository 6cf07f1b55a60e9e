"""A good set of images where there are too many to try all, and an upper bound on what any set can serve.

`greedy` keeps the best of several sets. Each is from a family that only grows with the storage, so more storage never serves
less:

- images in the order of what they serve for a byte, as far as the order fits; the order does not depend on the storage;
- the same after each of SEEDS images, those of the heaviest loops, was put first;
- the same order to each of its places, and from there on only images up to one of CAPS sizes;
- at every budget on a grid of STEPS up to the whole storage: as many in that order as fit, passing over those that do not.

`upper` is the fractional knapsack with each shared layer's bytes dealt out among the loops that can use it. Whatever way they
are dealt out, a set of images has at least the bytes that were dealt to it, so the result is a bound; the way is improved
ROUNDS times, and the least bound counts.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

from edgeloop_fleet.offline.problem import Problem, bits, cost, fits, score

__all__ = ["CAPS", "ROUNDS", "SEEDS", "STEPS", "greedy", "step_bytes", "upper"]

SEEDS = 32
CAPS = 8
STEPS = 64
ROUNDS = 60


def greedy(problem: Problem) -> int:
    """The best set of the families, and then what fits beside it of loops that it serves already."""
    best = max(_families(problem), key=lambda kept: (score(problem, kept), -kept))
    return _reserve(problem, best)


def step_bytes(problem: Problem) -> int:
    """The grid's step: storage that the grid may leave unused."""
    return max(1, math.ceil(sum(problem.disk) / STEPS))


def _families(problem: Problem) -> Iterator[int]:
    yield 0
    heavy = sorted(range(len(problem.options)), key=lambda place: -problem.weights[problem.options[place].demand])
    for sizes in (problem.disk, problem.fetch):
        for seed in (-1, *heavy[:SEEDS]):
            yield _filled(problem, sizes, seed, problem.storage, passing=False)
        yield from _tails(problem, _order(problem, sizes))
        step, budget = step_bytes(problem), sum(problem.disk)
        whole = budget if problem.storage is None else min(problem.storage, budget)
        for number in range(1, whole // step + 1):
            yield _filled(problem, sizes, -1, number * step, passing=True)


def _filled(problem: Problem, sizes: Sequence[int], seed: int, storage: int | None, *, passing: bool) -> int:
    """Images one after the other, each the one that gives most for a byte, until one does not fit (or passing over it).

    What the link does not bring is always passed over: that does not depend on the storage.
    """
    kept = parts = 0
    left = [place for place in range(len(problem.options)) if place != seed]
    place: int | None = seed if seed >= 0 else _next(problem, sizes, left, kept, parts)
    while place is not None:
        joined = parts | problem.options[place].parts
        if problem.link is None or cost(problem.fetch, joined) <= problem.link:
            if storage is None or cost(problem.disk, joined) <= storage:
                kept, parts = kept | 1 << place, joined
            elif not passing:
                break
        left = [other for other in left if other != place]
        place = _next(problem, sizes, left, kept, parts)
    return kept


def _order(problem: Problem, sizes: Sequence[int]) -> list[int]:
    """All images, each the one that gives most for a byte beside those before it."""
    order: list[int] = []
    left, kept, parts = list(range(len(problem.options))), 0, 0
    while (place := _next(problem, sizes, left, kept, parts)) is not None:
        order.append(place)
        left.remove(place)
        kept, parts = kept | 1 << place, parts | problem.options[place].parts
    return order


def _tails(problem: Problem, order: Sequence[int]) -> Iterator[int]:
    """The order to each place, then what is small: as far as that fits."""
    own = [cost(problem.disk, option.parts) for option in problem.options]
    ranked = sorted(own)
    caps = sorted({ranked[(number + 1) * len(ranked) // CAPS - 1] for number in range(CAPS) if ranked})
    kept = parts = 0
    for at, place in enumerate(order):
        for cap in caps:
            yield _along(problem, [other for other in order[at:] if own[other] <= cap], kept, parts)
        joined = parts | problem.options[place].parts
        if problem.link is not None and cost(problem.fetch, joined) > problem.link:
            continue
        if problem.storage is not None and cost(problem.disk, joined) > problem.storage:
            return  # further on, nothing but this again
        kept, parts = kept | 1 << place, joined


def _along(problem: Problem, order: Sequence[int], kept: int, parts: int) -> int:
    """With the images in order, until one is over the storage; one that the link does not bring is passed over."""
    for place in order:
        joined = parts | problem.options[place].parts
        if problem.link is not None and cost(problem.fetch, joined) > problem.link:
            continue
        if problem.storage is not None and cost(problem.disk, joined) > problem.storage:
            break
        kept, parts = kept | 1 << place, joined
    return kept


def _next(problem: Problem, sizes: Sequence[int], left: Sequence[int], kept: int, parts: int) -> int | None:
    """First what serves another loop, then what serves one better, then what is a reserve; by weight for a byte in each."""
    first: dict[int, int] = {}
    for place in bits(kept):
        option = problem.options[place]
        first[option.demand] = min(option.place, first.get(option.demand, option.place))

    def worth(place: int) -> tuple[int, float, int, int]:
        option = problem.options[place]
        weight, added = problem.weights[option.demand], cost(tuple(sizes), option.parts & ~parts)
        serves = first.get(option.demand)
        phase = 2 if serves is None else 1 if option.place < serves else 0
        return phase, weight / added if added else math.inf, -option.place, -place

    return max(left, key=worth, default=None)


def _reserve(problem: Problem, kept: int) -> int:
    """With all that fits of loops that are served: what is served stays as it is."""
    served = {problem.options[place].demand for place in bits(kept)}
    parts = 0
    for place in bits(kept):
        parts |= problem.options[place].parts
    for place, option in enumerate(problem.options):
        if option.demand in served and fits(problem, parts | option.parts):
            kept, parts = kept | 1 << place, parts | option.parts
    return kept


def upper(problem: Problem) -> int:
    """No set of images that fits serves more than this weight."""
    alone = {option.demand for option in problem.options if fits(problem, option.parts)}
    bounds = [sum(problem.weights[demand] for demand in alone)]
    for sizes, limit in ((problem.disk, problem.storage), (problem.fetch, problem.link)):
        if limit is not None:
            bounds.append(_least(problem, sizes, limit))
    return min(bounds)


def _least(problem: Problem, sizes: Sequence[int], limit: int) -> int:
    """The least bound by one limit. A part's bytes are dealt out by how often each loop was served by it, at first alike."""
    usable = [option for option in problem.options if fits(problem, option.parts)]
    used = {(part, option.demand): 1.0 for option in usable for part in bits(option.parts)}
    best = math.inf
    for _ in range(ROUNDS):
        totals = [0.0] * len(sizes)
        for (part, _demand), amount in used.items():
            totals[part] += amount
        cheapest: dict[int, tuple[float, int]] = {}
        for option in usable:
            share = sum(sizes[part] * used[part, option.demand] / totals[part] for part in bits(option.parts))
            cheapest[option.demand] = min(cheapest.get(option.demand, (math.inf, 0)), (share, option.parts))
        value, taken = _fractional(problem, cheapest, limit)
        best = min(best, value)
        for demand, amount in taken.items():
            for part in bits(cheapest[demand][1]):
                used[part, demand] += amount
    return math.floor(best * (1 + 1e-9) + 1e-6)  # rounding never makes it too small


def _fractional(problem: Problem, costs: dict[int, tuple[float, int]], limit: int) -> tuple[float, dict[int, float]]:
    """The most weight within the limit when a loop may be served in part, and how much of each is."""
    value, left = 0.0, float(limit)
    taken: dict[int, float] = {}
    for demand in sorted(costs, key=lambda number: (-problem.weights[number] / max(costs[number][0], 1e-9), number)):
        share = min(1.0, left / costs[demand][0]) if costs[demand][0] > 0 else 1.0
        taken[demand] = share
        value += share * problem.weights[demand]
        left = max(0.0, left - share * costs[demand][0])
    return value, taken
