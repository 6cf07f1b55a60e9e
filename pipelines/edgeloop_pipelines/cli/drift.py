"""`edgeloop drift`: how two data files differ, in Evidently's words."""

from __future__ import annotations

from dataclasses import asdict
from pathlib import Path
from typing import Annotated

import typer

from edgeloop_pipelines.cli.console import JsonOption, emit, say, table

__all__ = ["command"]


def command(
    loop: Annotated[Path, typer.Argument(metavar="LOOP.YAML", help="the loop whose features are compared")],
    *,
    reference: Annotated[Path, typer.Option(help="CSV or Parquet file with the rows of before")],
    current: Annotated[Path, typer.Option(help="CSV or Parquet file with the rows of now")],
    out: Annotated[Path, typer.Option("--out", "-o", help="page to write")] = Path("drift.html"),
    as_json: JsonOption = False,
) -> None:
    """Compare two data files feature by feature, with Evidently, and write its page.

    For people who want to see; nothing in the loop decides by it. It takes about ten seconds.

    Examples:

      edgeloop drift loop.yaml --reference january.csv --current june.csv

      edgeloop drift loop.yaml --reference a.parquet --current b.parquet -o june.html --json
    """
    from edgeloop_components.drift.core import compare
    from edgeloop_pipelines.loopfile import load

    found = compare(reference, current, load(loop).data.features, out)

    def show() -> None:
        rows = [
            (f.column, "drifted" if f.drifted else "", f"{f.value:.3g}", f"{f.threshold:g}", f.method) for f in found
        ]
        table(("feature", "", "value", "threshold", "method"), rows)
        say(f"the page: {out}")

    emit({"page": str(out), "columns": [asdict(f) for f in found]}, show, as_json)
