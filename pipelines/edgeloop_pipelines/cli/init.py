"""`edgeloop init`: looks at data, guesses what the columns mean, says what it guessed, and writes a commented loop.yaml."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeloop_pipelines.cli.console import JsonOption, UserError, emit, say, table

if TYPE_CHECKING:
    from edgeloop_pipelines.loopfile.draft import Draft


def command(
    data: Annotated[str, typer.Argument(help="a CSV or Parquet file, or a folder of them")],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="the file to write")] = Path("loop.yaml"),
    name: Annotated[str, typer.Option(help="the loop's name [default: from the file's name]")] = "",
    label: Annotated[str | None, typer.Option(help="the column to predict")] = None,
    time: Annotated[str | None, typer.Option(help="the column with the time; '' for none")] = None,
    node: Annotated[str | None, typer.Option(help="the column with the node; '' for none")] = None,
    force: Annotated[bool, typer.Option("--force", help="overwrite the output")] = False,
    as_json: JsonOption = False,
) -> None:
    """Write a commented loop.yaml for a data file.

    Looks at the first 5,000 rows, guesses the time, the node, the label and the features, and says why and how sure it is.

    Examples:

      edgeloop init turbines.csv
      edgeloop init data/ -o wind.yaml --label power_state
      edgeloop init rain.csv --time '' --json
    """
    from edgeloop_pipelines.loopfile.draft import draft

    if output.is_dir():
        raise UserError(f"{output}: expected a file to write, found a folder", f"-o {output / 'loop.yaml'}")
    if output.exists() and not force:
        raise UserError(f"{output} is there already", "--force overwrites it, -o names another")
    drafted = draft(data, output.parent, name=name, label=label, time=time, node=node)
    _write(output, drafted.text)
    emit(_document(output, drafted), lambda: _show(output, drafted), as_json)


def _write(path: Path, text: str) -> None:
    import os
    import tempfile

    if not path.parent.is_dir():
        raise UserError(f"{path.parent}: no such folder to write {path.name} in")
    with tempfile.NamedTemporaryFile(
        "w", dir=path.parent, prefix=f".{path.name}.", encoding="utf-8", delete=False
    ) as out:
        temporary = Path(out.name)
        try:
            out.write(text)
            out.flush()
            os.fsync(out.fileno())
            temporary.chmod(0o644)
            temporary.replace(path)
        except BaseException:
            temporary.unlink(missing_ok=True)
            raise


def _document(output: Path, drafted: Draft) -> dict[str, Any]:
    guesses = [{"path": g.path, "value": g.value, "why": g.why, "sure": g.sure} for g in drafted.guesses]
    left_out = [{"column": column, "why": why} for column, why in drafted.left_out]
    return {"file": str(output), "guesses": guesses, "left_out": left_out, "remarks": list(drafted.remarks)}


def _show(output: Path, drafted: Draft) -> None:
    table(("field", "guess", "how sure", "why"), [(g.path, g.value or "none", g.sure, g.why) for g in drafted.guesses])
    if drafted.left_out:
        say("\nleft out of the features:")
        table(("column", "why"), drafted.left_out)
    for remark in drafted.remarks:
        say(f"\n{remark}")
    say(f"\nwrote {output}; next: edgeloop check {output} --data, then edgeloop run {output}")
