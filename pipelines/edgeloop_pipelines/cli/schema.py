"""`edgeloop schema`: the JSON Schemas of the documents, as the contracts state them."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from edgeloop_pipelines.cli.console import JsonOption, UserError, emit, say


def command(
    kind: Annotated[str, typer.Argument(help="the document's kind; 'list' prints all kinds")] = "loop",
    *,
    output: Annotated[Path | None, typer.Option("--output", "-o", help="write it to this file")] = None,
    as_json: JsonOption = False,
) -> None:
    """Print the JSON Schema of loop.yaml, or of another document, for editors and validators.

    An editor that speaks the YAML language server finds it by the first line that `edgeloop init` writes.

    Examples:

      edgeloop schema loop -o loop.schema.json
      edgeloop schema list
      edgeloop schema report
    """
    import json

    from edgeloop_contracts import DOCUMENTS
    from edgeloop_contracts.schema import json_schema

    kinds = {name.lower(): name for name in DOCUMENTS}
    if kind == "list":
        emit(sorted(kinds), lambda: say("\n".join(sorted(kinds))), as_json)
        return
    if kind.lower() not in kinds:
        raise UserError(f"no document is called {kind}", _nearest(kind, sorted(kinds)))
    name = kinds[kind.lower()]
    text = json.dumps(json_schema(DOCUMENTS[name], strict=name == "Loop"), indent=1, ensure_ascii=False) + "\n"
    if output is None:
        typer.echo(text, nl=False)
    else:
        output.write_text(text, encoding="utf-8")
        emit({"file": str(output), "kind": name}, lambda: say(f"wrote {output}"), as_json)


def _nearest(kind: str, kinds: list[str]) -> str:
    import difflib

    near = difflib.get_close_matches(kind.lower(), kinds, n=1)
    return f"did you mean {near[0]}?" if near else "known: " + ", ".join(kinds)
