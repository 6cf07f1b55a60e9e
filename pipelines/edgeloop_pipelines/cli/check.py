"""`edgeloop check`: every mistake in loop.yaml files at once, as a compiler prints them."""

from __future__ import annotations

from collections.abc import Iterable
from pathlib import Path
from typing import Annotated

import typer

from edgeloop_pipelines.cli.console import JsonOption, emit, say
from edgeloop_pipelines.loopfile.load import LoopFileError, Mistake, locate, read


def command(
    files: Annotated[list[Path], typer.Argument(help="loop.yaml files")],
    *,
    data: Annotated[bool, typer.Option("--data", help="also look into the data: are the columns there?")] = False,
    as_json: JsonOption = False,
) -> None:
    """Report every mistake in loop.yaml files at once; nothing is written.

    Each mistake is one line: file:line:column: field: what was expected, what is there, the nearest known name. The exit
    code is 1 when there is any.

    Examples:

      edgeloop check loop.yaml
      edgeloop check loops/*.yaml --data
      edgeloop check loop.yaml --json
    """
    found = {str(file): mistakes_in(file, data=data) for file in files}
    mistakes = [mistake for each in found.values() for mistake in each]
    document = {"ok": not mistakes, "files": list(found), "problems": [mistake.document() for mistake in mistakes]}
    emit(document, lambda: _show(found.items()), as_json)
    if mistakes:
        raise typer.Exit(1)


def mistakes_in(file: Path, *, data: bool) -> list[Mistake]:
    """All mistakes of one file; OSError when it cannot be read."""
    try:
        located = read(file)
    except LoopFileError as error:
        return list(error.problems)
    from edgeloop_pipelines.loopfile import check

    loop = located.loop
    problems = [*check.schedule_problems(loop), *check.estimator_problems(loop)]
    problems += check.data_problems(loop, file.parent) if data else []
    return sorted(locate(problems, located.text, located.file), key=lambda m: (m.line, m.column))


def _show(found: Iterable[tuple[str, list[Mistake]]]) -> None:
    for file, mistakes in found:
        say("\n".join(map(str, mistakes)) if mistakes else f"{file}: no mistakes")
