"""Takes the broken fields out of a document, so that what remains can still be questioned.

A person wants every mistake at once. But whether the waves name the right groups can only be asked of a loop that can be
read; so the fields that cannot are left out first, and an answer that may hang on one of them is not given.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Iterable
from typing import Any

from edgeloop_contracts import Loop, Problem, inconsistencies, problems_in

__all__ = ["further_problems", "value_at"]

_FILL: tuple[tuple[str, Any], ...] = (  # a required field that is missing: what may stand there meanwhile
    ("metadata", {"name": "left-out"}),
    ("data", {"source": "left-out", "label": "left-out label", "features": ["left-out feature"]}),
    ("train", {}),
    ("targets", []),
    (r"targets\[\d+\]\.nodes", {"group": "left-out-group"}),
    (r"targets\[\d+\]\.nodes\.group", "left-out-group"),
    (r"data\.features", ["left-out feature"]),
    (r"apiVersion", "edgeloop.dev/v1alpha1"),
    (r"kind", "Loop"),
    (r"[^.]+\.(name|source|label)", "left-out"),
)
_DEPENDS = (  # where an inconsistency shows: the broken fields that could be its reason
    (r"train.*", r"train.*"),
    (r"data\.window", r"data(\.window)?"),
    (r"data\..*", r"data(\.(label|time|node|features).*)?"),
    (r"monitor\..*", r"monitor(\..*)?"),
    (r"targets\[\d+\]\.name", r"targets(\[\d+\](\.name)?)?"),
    (r"targets\[\d+\]\.part", r"targets(\[\d+\](\.(part|runtime))?)?"),
    (r"targets|targets\[\d+\]\.nodes\.group", r"targets(\[\d+\](\.nodes.*)?)?"),
    (r"rollout\.waves.*", r"rollout(\.waves.*)?|targets(\[\d+\](\.nodes.*)?)?"),
    (r"validate\.require.*", r"validate(\.require)?"),
)


def further_problems(document: Any, found: Iterable[Problem]) -> list[Problem]:
    """The inconsistencies of the loop that is left when the fields with problems are taken out."""
    broken = [problem.path for problem in found]
    mended = copy.deepcopy(document)
    for path in broken:
        _take_out(mended, path)
    loop, left = problems_in(Loop, mended)
    if loop is None:
        _fill(mended, left)
        loop, left = problems_in(Loop, mended)
    if loop is None:
        return []
    return [problem for problem in inconsistencies(loop) if not _hangs_on(problem.path, broken)]


def value_at(document: Any, path: str) -> Any:
    """What stands at a path such as `targets[0].name`; None where nothing does."""
    return _inside(document, _steps(path))


def _steps(path: str) -> list[str | int]:
    return [int(number) if number else name for name, number in re.findall(r"([^.\[\]]+)|\[(\d+)\]", path)]


def _take_out(document: Any, path: str) -> None:
    """Deletes the innermost named field on the path: an item of a list goes with its whole list."""
    steps = _steps(path)
    while steps and isinstance(steps[-1], int):
        steps.pop()
    here = _inside(document, steps[:-1])
    if isinstance(here, dict) and steps:
        here.pop(steps[-1], None)


def _fill(document: Any, missing: Iterable[Problem]) -> None:
    """Puts something where a required field is missing."""
    for problem in missing:
        value = next((value for pattern, value in _FILL if re.fullmatch(pattern, problem.path)), None)
        steps = _steps(problem.path)
        here = _inside(document, steps[:-1])
        if value is not None and isinstance(here, dict):
            here[steps[-1]] = copy.deepcopy(value)


def _inside(document: Any, steps: Iterable[str | int]) -> Any:
    """What stands at the end of the steps; None where they lead nowhere, as a name with a dot in it may."""
    here = document
    for step in steps:
        if isinstance(here, list) and isinstance(step, int) and step < len(here):
            here = here[step]
        else:
            here = here.get(step) if isinstance(here, dict) else None
    return here


def _hangs_on(path: str, broken: Iterable[str]) -> bool:
    reason = next((reason for pattern, reason in _DEPENDS if re.fullmatch(pattern, path)), ".*")
    return any(re.fullmatch(reason, other) for other in broken)
