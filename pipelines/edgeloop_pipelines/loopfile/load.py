"""Reads a loop.yaml and reports every mistake in it at once, each with its line and column.

The order of the questions: is it YAML, has each field the right form, do the fields fit together, does each target's runtime
run on its platform. It writes nothing and looks at no data.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeloop_contracts import Loop, Problem, inconsistencies, problems_in
from edgeloop_pipelines.loopfile import yamltext
from edgeloop_pipelines.loopfile.fits import misfits
from edgeloop_pipelines.loopfile.mend import further_problems

__all__ = ["Examined", "LoopFileError", "Mistake", "examine", "load", "loads", "locate"]


@dataclass(frozen=True)
class Mistake:
    """One thing that is wrong with a file, and where; line and column count from 1."""

    file: str
    line: int
    column: int
    problem: Problem

    def __str__(self) -> str:
        return f"{self.file}:{self.line}:{self.column}: {self.problem}"

    def document(self) -> dict[str, Any]:
        """The mistake as plain JSON values."""
        problem = self.problem
        place = {"file": self.file, "line": self.line, "column": self.column, "path": problem.path}
        return {**place, "expected": problem.expected, "got": problem.got, "hint": problem.hint}


class LoopFileError(ValueError):
    """A loop.yaml has mistakes. `problems` holds all of them, in the order of their lines."""

    exit_code = 1
    hint = ""

    def __init__(self, problems: Sequence[Mistake]) -> None:
        self.problems = tuple(problems)
        count = f"{len(self.problems)} mistake{'s' if len(self.problems) > 1 else ''}"
        super().__init__("\n".join((f"{self.problems[0].file}: {count}", *map(str, self.problems))))

    @property
    def details(self) -> dict[str, Any]:
        return {"problems": [problem.document() for problem in self.problems]}


@dataclass(frozen=True)
class Examined:
    """What a file holds: its text with the places of the fields, its mistakes by line, and the loop if there are none."""

    file: str
    text: yamltext.Document
    mistakes: tuple[Mistake, ...]
    loop: Loop | None


def load(path: Path | str) -> Loop:
    """The loop that a file describes. Raises `LoopFileError` with every mistake; OSError when it cannot be read."""
    return _sound(examine(path))


def loads(data: bytes, name: str = "loop.yaml") -> Loop:
    """`load` of text in memory."""
    return _sound(_examined(data, name))


def examine(path: Path | str) -> Examined:
    """Reads a file, with its mistakes as values. OSError when it cannot be read."""
    with Path(path).open("rb") as stream:
        data = stream.read(yamltext.MAX_BYTES + 1)  # one byte more than may be read: enough to refuse it
    return _examined(data, str(path))


def _sound(examined: Examined) -> Loop:
    if examined.loop is None:
        raise LoopFileError(examined.mistakes)
    return examined.loop


def _examined(data: bytes, name: str) -> Examined:
    text = yamltext.parse(data)
    mistakes = [Mistake(name, *mark, problem) for mark, problem in text.problems]
    loop: Loop | None = None
    if text.value is not None:
        loop, problems = problems_in(Loop, text.value)
        more = inconsistencies(loop) if loop is not None else further_problems(text.value, problems)
        unfit = misfits(text.value, {problem.path for problem in problems})
        mistakes += locate([*problems, *more, *unfit], text, name)
    elif not mistakes:
        mistakes = [Mistake(name, 1, 1, Problem("", "a mapping (Loop)", "null"))]
    in_order = tuple(sorted(mistakes, key=lambda m: (m.line, m.column, m.problem.path)))
    return Examined(name, text, in_order, None if mistakes else loop)


def locate(problems: Iterable[Problem], text: yamltext.Document, file: str) -> list[Mistake]:
    """The problems with the place of their field: the value if it is wrong, the name if that is unknown, or what encloses
    it when it is missing."""
    return [Mistake(file, *_place(problem, text), problem) for problem in problems]


def _place(problem: Problem, text: yamltext.Document) -> yamltext.Mark:
    path = problem.path
    last_name = path[path.rfind(".") + 1 :]
    if problem.got.strip('"') != last_name and path in text.values:
        value, key = text.values[path], text.keys.get(path)
        return value if key is None or value[0] == key[0] else key  # a block is best shown at its name
    while path and path not in text.keys and path not in text.values:
        path = path[: max(path.rfind("."), path.rfind("["), 0)]
    return text.keys.get(path) or text.values.get(path) or yamltext.START
