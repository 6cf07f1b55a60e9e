"""`edgeloop import sedna`: another system's objects become a loop.yaml, with a list of what has no counterpart."""

from __future__ import annotations

import textwrap
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeloop_pipelines.cli.console import JsonOption, UserError, emit, say, table

if TYPE_CHECKING:
    from edgeloop_pipelines.imports.sedna import Columns, Imported, Left

app = typer.Typer(help="Turn what another system says of a model's life into a loop.yaml.", no_args_is_help=True)


@app.callback()
def _import() -> None:
    """Turn what another system says of a model's life into a loop.yaml.

    Example: edgeloop import sedna job.yaml dataset.yaml
    """


@app.command()
def sedna(
    files: Annotated[
        list[Path], typer.Argument(help="YAML files with an IncrementalLearningJob, its Dataset and Models")
    ],
    *,
    output: Annotated[Path, typer.Option("--output", "-o", help="the file to write")] = Path("loop.yaml"),
    job: Annotated[str, typer.Option(help="the job's name, where the files hold several")] = "",
    label: Annotated[str, typer.Option(help="the column to predict; Sedna's datasets name none")] = "",
    feature: Annotated[list[str] | None, typer.Option(help="a column that the model sees; once for each")] = None,
    data: Annotated[str, typer.Option(help="a CSV or Parquet file with such data, to guess the columns from")] = "",
    platform: Annotated[str, typer.Option(help="platform of the nodes [default: by the job, else linux/amd64]")] = "",
    force: Annotated[bool, typer.Option("--force", help="overwrite the output")] = False,
    as_json: JsonOption = False,
) -> None:
    """Turn an IncrementalLearningJob of Sedna, with its Dataset and Models, into a loop.yaml.

    Prints what became of each field, what is open (Sedna does not say it), and what has no counterpart, each with its place and
    with what to do instead; the file's head says the latter two, too. Nothing is sent to a cluster.

    Examples:

      edgeloop import sedna job.yaml dataset.yaml model.yaml
      edgeloop import sedna all.yaml --data sample.csv --label state -o loops/pump.yaml --json
    """
    from edgeloop_fleet.render.files import write_atomic
    from edgeloop_pipelines.imports.documents import read_files
    from edgeloop_pipelines.imports.sedna import translate

    if output.is_dir():
        raise UserError(f"{output}: expected a file to write, found a folder", f"-o {output / 'loop.yaml'}")
    if output.exists() and not force:
        raise UserError(f"{output} is there already", "--force overwrites it, -o names another")
    _known(platform)
    columns = _columns(label, tuple(feature or ()), data, output.parent)
    imported = translate(read_files(files), job=job, columns=columns, platform=platform)
    text = _text(imported)
    if not output.parent.is_dir():
        raise UserError(f"{output.parent}: no such folder to write {output.name} in")
    write_atomic(output, text)
    emit(_document(output, imported), lambda: _show(output, imported), as_json)


def _known(platform: str) -> None:
    from typing import get_args

    from edgeloop_contracts.loop import Platform

    if platform and platform not in get_args(Platform):
        raise UserError(f"--platform: expected one of {', '.join(get_args(Platform))}, got {platform}")


def _columns(label: str, features: tuple[str, ...], data: str, folder: Path) -> Columns:
    """The columns as given; what is not is guessed where there is a sample."""
    from edgeloop_pipelines.imports.sedna import Columns

    if not data:
        return Columns(label, features)
    from edgeloop_pipelines.loopfile.draft import draft

    guessed = draft(data, folder, label=label or None, time=None, node=None).loop.data
    return Columns(guessed.label, features or guessed.features, guessed.time, guessed.node)


def _text(imported: Imported) -> str:
    """The file's text, which is read once more: one that `edgeloop check` refused would be a fault here."""
    from edgeloop_pipelines.loopfile import loads
    from edgeloop_pipelines.loopfile.write import write

    head = ["Imported from Sedna's IncrementalLearningJob by `edgeloop import sedna`.", ""]
    for title, lines in (
        ("To be looked at:", [f"{path}: {do}" for path, do in imported.open.items()]),
        ("Without counterpart here:", [f"{_place(left)}: {left.do}" for left in imported.left]),
    ):
        if lines:
            head += [
                title,
                *(row for line in lines for row in textwrap.wrap(f"  {line}", 116, subsequent_indent="    ")),
                "",
            ]
    notes = {path.replace("[0]", ""): f"look at this: {do}" for path, do in imported.open.items()}
    text = write(imported.loop, notes, head)
    loads(text.encode(), "the imported loop.yaml")
    return text


def _place(left: Left) -> str:
    """`Kind path`; the whole object where there is no path."""
    return f"{left.object.partition(' ')[0]} {left.path}" if left.path else left.object


def _document(output: Path, imported: Imported) -> dict[str, Any]:
    left = [
        {
            "file": each.file,
            "line": each.line,
            "object": each.object,
            "path": each.path,
            "value": each.value,
            "do": each.do,
        }
        for each in imported.left
    ]
    return {
        "file": str(output),
        "loop": imported.loop.name,
        "mapped": [{"from": path, "to": to} for path, to in imported.mapped.items()],
        "open": [{"path": path, "do": do} for path, do in imported.open.items()],
        "no_counterpart": left,
    }


def _show(output: Path, imported: Imported) -> None:
    table(("Sedna", "loop.yaml"), list(imported.mapped.items()))
    say("\nto be looked at:")
    table(("field of loop.yaml", "why, and what to do"), list(imported.open.items()))
    say("\nwithout counterpart:")
    table(
        ("where", "field", "do instead"),
        [(f"{each.file}:{each.line}", _place(each), each.do) for each in imported.left],
    )
    say(f"\nwrote {output}; next: edgeloop check {output} --data")
