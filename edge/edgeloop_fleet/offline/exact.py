"""The best set of images, by branch and bound: every set is tried but for those that cannot be better than one found.

For at most LIMIT images, which is decided by their number alone: with more storage the method stays the same, so that more
storage never serves less.
"""

from __future__ import annotations

from edgeloop_fleet.offline.problem import Problem, Score, cost, fits, score

__all__ = ["LIMIT", "exact"]

LIMIT = 16  # images of all chains of a group; 2^16 sets at most, far fewer are looked at


def exact(problem: Problem) -> int:
    """The set with the best score, of several the first in the order of search. Works for any number of images; the time
    doubles with each where nothing is cut off."""
    order = sorted(range(len(problem.options)), key=lambda place: _rank(problem, place))
    return _Search(problem, order).run()


def _rank(problem: Problem, place: int) -> tuple[int, int, int]:
    option = problem.options[place]
    return -problem.weights[option.demand], option.demand, option.place


class _Search:
    """The best so far, and the walk over the images in order: each is kept, and then not."""

    def __init__(self, problem: Problem, order: list[int]) -> None:
        self.problem, self.order = problem, order
        self.best, self.kept = score(problem, 0), 0

    def run(self) -> int:
        self._walk(0, 0, 0)
        return self.kept

    def _walk(self, depth: int, kept: int, parts: int) -> None:
        found = score(self.problem, kept)
        if found > self.best:
            self.best, self.kept = found, kept
        if depth == len(self.order) or self._bound(depth, found, kept, parts) <= self.best:
            return
        place = self.order[depth]
        joined = parts | self.problem.options[place].parts
        if fits(self.problem, joined):
            self._walk(depth + 1, kept | 1 << place, joined)
        if joined != parts:  # one that costs nothing is kept in any case
            self._walk(depth + 1, kept, parts)

    def _bound(self, depth: int, found: Score, kept: int, parts: int) -> Score:
        """No set that adds images from here on has a better score in any of its places."""
        problem = self.problem
        has = {problem.options[place].demand for place in self.order[:depth] if kept >> place & 1}
        served, preferred, reserve, _ = found
        for place in self.order[depth:]:
            option = problem.options[place]
            if not fits(problem, parts | option.parts):
                continue
            weight = problem.weights[option.demand]
            if option.demand in has:
                reserve += weight
            else:
                has.add(option.demand)
                served += weight
                preferred += weight * (problem.longest - option.place)
        return served, preferred, reserve, -cost(problem.disk, parts)
