"""`edgeloop check`: every mistake in loop.yaml files at once, as a compiler prints them."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated

import typer

from edgeloop_contracts import Problem
from edgeloop_pipelines.cli.console import JsonOption, console, emit, say
from edgeloop_pipelines.loopfile.load import Mistake, examine, locate

Note = tuple[str, str]  # the field's path, and what was not asked of it


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
    found = {str(file): findings_in(file, data=data) for file in files}
    mistakes = [mistake for each, _ in found.values() for mistake in each]
    notes = [{"file": file, "path": path, "note": note} for file, (_, each) in found.items() for path, note in each]
    problems = [mistake.document() for mistake in mistakes]
    document = {"ok": not mistakes, "files": list(found), "problems": problems, "notes": notes}
    emit(document, lambda: _show(found), as_json)
    if mistakes:
        raise typer.Exit(1)


def findings_in(file: Path, *, data: bool) -> tuple[list[Mistake], list[Note]]:
    """All mistakes of one file by line, and notes on what was not looked into. A file that cannot be read is a mistake."""
    from edgeloop_pipelines.loopfile.check import data_findings, field_problems

    try:
        examined = examine(file)
    except OSError as error:
        got = error.strerror or str(error)
        return [Mistake(str(file), 1, 1, Problem("", "a file that can be read", got))], []
    document, folder = examined.text.value, file.parent
    problems = field_problems(document, folder, {mistake.problem.path for mistake in examined.mistakes})
    more, notes = data_findings(document, folder) if data else ([], [])
    mistakes = [*examined.mistakes, *locate([*problems, *more], examined.text, examined.file)]
    return sorted(mistakes, key=lambda m: (m.line, m.column)), notes


def _show(found: Mapping[str, tuple[list[Mistake], list[Note]]]) -> None:
    for file, (mistakes, notes) in found.items():
        say("\n".join(map(str, mistakes)) if mistakes else f"{file}: no mistakes")
        for path, note in notes:
            console.print(f"{file}: {path}: {note}", markup=False, soft_wrap=True)
