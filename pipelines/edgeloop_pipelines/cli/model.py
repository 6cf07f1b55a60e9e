"""`edgeloop model`: what is inside an ONNX file, and all that can be made of it; longer commands have modules in cli/models."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

import typer

from edgeloop_pipelines.cli import profile as profile_command
from edgeloop_pipelines.cli.console import JsonOption, UserError, emit, say, table
from edgeloop_pipelines.cli.models import compile as compile_command
from edgeloop_pipelines.cli.models import package as package_command
from edgeloop_pipelines.cli.models import parity as parity_command
from edgeloop_pipelines.cli.models import push as push_commands
from edgeloop_pipelines.cli.models import verify as verify_command

app = typer.Typer(
    help="An ONNX file: what is in it, compiled, proved, measured, packed, signed, pushed.", no_args_is_help=True
)
app.command("compile")(compile_command.command)
app.command("parity")(parity_command.command)
app.command("profile")(profile_command.model_command)
app.command("package")(package_command.command)
app.command("push")(push_commands.command)
app.command("pull")(push_commands.pull_command)
app.command("verify")(verify_command.command)


@app.callback()
def _model() -> None:
    """An ONNX file: what is in it, compiled, proved, measured, packed, signed, pushed."""


@app.command()
def inspect(
    file: Annotated[Path, typer.Argument(help="an ONNX file")],
    *,
    as_json: JsonOption = False,
) -> None:
    """Print the graph, operators, inputs and outputs of an ONNX file, and what each runtime makes of it.

    Nothing in the file is run. A file that is not ONNX is answered with what it is instead.

    Examples:

      edgeloop model inspect model.onnx
      edgeloop model inspect model.onnx --json
    """
    from edgeloop_components.runtimes import ModelError
    from edgeloop_components.runtimes.describe import describe

    try:
        described = describe(file)
    except ModelError as error:
        raise UserError(str(error)) from error
    emit(described, lambda: _show(described), as_json)


def _show(model: dict[str, Any]) -> None:
    opsets = ", ".join(f"{domain} {version}" for domain, version in model["opsets"].items())
    facts = [("size", f"{model['size_bytes']} bytes"), ("producer", model["producer"] or "unnamed")]
    facts += [("IR version", model["ir_version"]), ("opsets", opsets), ("graph", model["graph"] or "unnamed")]
    say(model["file"], style="bold")
    table(
        ("", ""), [*facts, ("nodes", model["nodes"]), ("parameters", model["parameters"]), *model["metadata"].items()]
    )
    ends = [("in", t) for t in model["inputs"]] + [("out", t) for t in model["outputs"]]
    say("")
    table(("", "name", "type", "shape"), [(way, t["name"], t["type"], _shape(t["shape"])) for way, t in ends])
    say("")
    table(("operator", "times"), list(model["operators"].items()))
    say("")
    table(("runtime", "what it makes of it"), list(model["runtimes"].items()))


def _shape(shape: list[int | str | None] | None) -> str:
    if shape is None:
        return ""
    return "[" + ", ".join("?" if size is None else str(size) for size in shape) + "]"
