"""`edgeloop completion`."""

from __future__ import annotations

import os
from enum import StrEnum
from typing import Annotated

import typer


class Shell(StrEnum):
    """The shells that can be told."""

    bash = "bash"
    zsh = "zsh"
    fish = "fish"


def command(shell: Annotated[Shell, typer.Argument(help="bash, zsh or fish")]) -> None:
    """Print the completion script of a shell; load it in the shell's start file.

    Examples:

      eval "$(edgeloop completion bash)"
      edgeloop completion zsh > ~/.zfunc/_edgeloop
      edgeloop completion fish > ~/.config/fish/completions/edgeloop.fish
    """
    from edgeloop_pipelines.cli import application

    os.environ["_EDGELOOP_COMPLETE"] = f"source_{shell.value}"  # Typer's own way to ask for the script
    application.build().main(args=[], prog_name=application.PROGRAM)
