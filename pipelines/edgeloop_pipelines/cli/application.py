"""The Typer application behind `edgeloop`: a group whose commands are imported one by one, when they are called."""

from __future__ import annotations

import importlib
import inspect
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Annotated, Any

import typer
from typer.core import TyperGroup

from edgeloop_pipelines.cli import CHAPTERS, COMMANDS

__all__ = ["PROGRAM", "build", "run"]

PROGRAM = "edgeloop"
EPILOG = "edgeloop COMMAND --help tells more of one command. Exit codes: 0 done, 1 error, 2 usage, 3 unavailable."


class _Contents(TyperGroup):
    """The root group. Its help is a table of contents, printed without importing any command.

    It begins with a placeholder for each command, which is all that help, completion and "did you mean" ask for.
    """

    def __init__(self, **settings: Any) -> None:
        super().__init__(**settings)
        self.commands = {name: _placeholder(name) for name in COMMANDS}

    def resolve_command(self, ctx: Any, args: list[str]) -> Any:
        if args[0] in COMMANDS:
            self.commands[args[0]] = _load(args[0])
        return super().resolve_command(ctx, args)

    def format_help(self, ctx: Any, formatter: Any) -> None:
        self.format_usage(ctx, formatter)
        self.format_help_text(ctx, formatter)
        for chapter, meaning in CHAPTERS.items():
            with formatter.section(f"{chapter} ({meaning})"):
                formatter.write_dl([(name, row.line) for name, row in COMMANDS.items() if row.chapter == chapter])
        super().format_options(ctx, formatter)
        formatter.write_paragraph()
        formatter.write_text(EPILOG)

    def format_commands(self, ctx: Any, formatter: Any) -> None:
        """Nothing: `format_help` has printed them, in chapters."""


def _placeholder(name: str) -> Any:
    command = _command_of(lambda: None, name)
    command.short_help, command.hidden = COMMANDS[name].line, not COMMANDS[name].chapter
    return command


def _load(name: str) -> Any:
    """Imports one command. Its docstring becomes the help; indented lines of it (examples) keep their form."""
    module = importlib.import_module(COMMANDS[name].module)
    inner: typer.Typer | None = getattr(module, "app", None)
    if inner is None:
        command = _command_of(module.command, name)
    else:
        inner.rich_markup_mode = None
        for info in inner.registered_commands:
            info.help = _help_of(info.callback)
        command = typer.main.get_group(inner)
    command.name, command.short_help = name, COMMANDS[name].line
    return command


def _command_of(function: Callable[..., Any], name: str) -> Any:
    app = typer.Typer(add_completion=False, rich_markup_mode=None)
    app.command(name, help=_help_of(function))(function)
    return typer.main.get_command(app)


def _help_of(described: Any) -> str:
    paragraphs = inspect.cleandoc(described.__doc__ or "").split("\n\n")
    kept = (f"\b\n{text}" if any(line.startswith("  ") for line in text.splitlines()) else text for text in paragraphs)
    return "\n\n".join(kept)


def build() -> Any:
    """The root command."""
    app = typer.Typer(cls=_Contents, name=PROGRAM, rich_markup_mode=None, context_settings={"max_content_width": 100})

    @app.callback(invoke_without_command=True)
    def root(
        context: typer.Context,
        version: Annotated[bool, typer.Option("--version", help="Print the version and exit.")] = False,
    ) -> None:
        """Closed-loop MLOps for fleets of edge devices: one loop.yaml describes a model's whole life."""
        if version:
            typer.echo(f"{PROGRAM} {metadata.version(PROGRAM)}")
            raise typer.Exit
        if context.invoked_subcommand is None:
            typer.echo(context.get_help())

    return typer.main.get_command(app)


def run(words: Sequence[str]) -> int:
    """Runs the command that the words name. Raises what the command raises."""
    code = build().main(args=list(words), prog_name=PROGRAM, standalone_mode=False)
    return code if isinstance(code, int) and not isinstance(code, bool) else 0
