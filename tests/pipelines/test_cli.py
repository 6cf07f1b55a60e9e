"""The command line as a whole: its table of contents, its start, its errors and its exit codes."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time

import pytest

from edgeloop_pipelines.cli import CHAPTERS, COMMANDS, main

HEAVY = {"sklearn", "pandas", "kfp", "onnx", "onnxruntime", "numpy", "minio", "sqlalchemy", "matplotlib", "evidently"}


def start(*words: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`edgeloop` as a process of its own."""
    command = [sys.executable, "-m", "edgeloop_pipelines.cli", *words]
    return subprocess.run(command, capture_output=True, text=True, timeout=60, env={**os.environ, **environment})


def imported_by(*words: str) -> set[str]:
    """The top-level packages that a command imports."""
    code = f"import sys; from edgeloop_pipelines.cli import main; main({list(words)!r}); print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, timeout=60, check=True)
    return {name.partition(".")[0] for name in done.stdout.splitlines()[-1].split()}


def test_help_is_a_table_of_contents(capsys):
    """`edgeloop --help` names every chapter and, under it, its commands with one line each; hidden ones are not there."""
    assert main(["--help"]) == 0
    text = capsys.readouterr().out
    places = [text.index(f"{chapter} ({meaning}):") for chapter, meaning in CHAPTERS.items()]
    assert places == sorted(places)
    for name, row in COMMANDS.items():
        shown = f"  {name}" in text and row.line in text
        assert shown is bool(row.chapter)
        if row.chapter:
            assert text.index(f"{row.chapter} (") < text.index(row.line)


def test_no_command_at_all_shows_the_help(capsys):
    """Somebody who types `edgeloop` sees what there is."""
    assert main([]) == 0
    assert "Describe" in capsys.readouterr().out


@pytest.mark.parametrize("words", [["--help"], ["version", "--help"], ["init", "--help"], ["run", "--help"]])
def test_help_imports_nothing_heavy(words):
    """Reading help pays for no machine learning, no pipeline and no store."""
    assert imported_by(*words) & HEAVY == set()


def test_the_package_itself_imports_nothing():
    """Importing the command table costs no third-party package."""
    code = "import sys; import edgeloop_pipelines.cli; print('typer' in sys.modules, 'rich' in sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stdout.split() == ["False", "False"]


@pytest.mark.parametrize("name", COMMANDS)
def test_every_command_has_help_with_an_example(name, capsys):
    """Each command has help; that of one which is shown, or of each of its own commands, says how it is typed."""
    assert main([name, "--help"]) == 0
    text = capsys.readouterr().out
    assert f"Usage: edgeloop {name}" in text
    if "Commands:" in text:
        lines = text.split("Commands:\n", 1)[1].splitlines()
        inner = [line.split()[0] for line in lines if line.startswith("  ") and line[2] != " "]
        assert inner
        for command in inner:
            assert main([name, command, "--help"]) == 0
            assert f"edgeloop {name} {command}" in capsys.readouterr().out.split("\n", 1)[1]
    elif COMMANDS[name].chapter:
        assert f"edgeloop {name}" in text.split("\n", 1)[1]


def test_a_misspelled_command_is_answered_with_the_nearest(capsys):
    """A typing error names the command that was meant, and is a usage error."""
    assert main(["chekc"]) == 2
    error = capsys.readouterr().err
    assert "error: No such command 'chekc'. Did you mean 'check'?" in error
    assert "hint: see edgeloop --help" in error


def test_a_wrong_option_with_json_is_json(capsys):
    """With --json, wrong usage too is one JSON document on standard output, and nothing else."""
    assert main(["version", "--nope", "--json"]) == 2
    captured = capsys.readouterr()
    assert json.loads(captured.out)["error"]["exit_code"] == 2
    assert captured.err == ""


def test_version_option(capsys):
    """`edgeloop --version` is the version of the distribution."""
    from importlib.metadata import version

    assert main(["--version"]) == 0
    assert capsys.readouterr().out == f"edgeloop {version('edgeloop')}\n"


def test_version_names_what_results_depend_on(capsys):
    """`edgeloop version --json` holds edgeloop and the libraries that make its models."""
    assert main(["version", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert {"edgeloop", "python", "scikit-learn", "onnxruntime", "kfp"} <= found.keys()


def test_a_closed_pipe_is_no_crash():
    """`edgeloop schema | head -1` ends without a traceback."""
    command = f"{sys.executable} -m edgeloop_pipelines.cli schema report | head -1"
    done = subprocess.run(command, shell=True, capture_output=True, text=True, timeout=60)
    assert done.stdout == "{\n"
    assert done.stderr == ""


def test_interruption_is_quiet():
    """Ctrl-C ends a command with exit code 130 and no traceback."""
    code = (
        "import sys, time; from edgeloop_pipelines.cli import console, application; import edgeloop_pipelines.cli as c;"
        "application.run = lambda words: (print('up', flush=True), time.sleep(30)); sys.exit(c.main(['version']))"
    )
    process = subprocess.Popen([sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    assert process.stdout is not None
    assert process.stdout.readline() == "up\n"
    process.send_signal(signal.SIGINT)
    _, error = process.communicate(timeout=20)
    assert process.returncode == 130
    assert error == ""


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_completion_scripts_are_printed(shell, capsys):
    """`edgeloop completion SHELL` prints a script that asks edgeloop."""
    done = start("completion", shell)
    assert done.returncode == 0, done.stderr
    assert "_EDGELOOP_COMPLETE" in done.stdout


def test_completion_completes():
    """The shell's question is answered with the commands that fit, and the hidden one stays hidden."""
    words = {"_EDGELOOP_COMPLETE": "complete_bash", "COMP_CWORD": "1"}
    assert start(**words, COMP_WORDS="edgeloop s").stdout.split() == ["schema", "submit", "schedule", "status"]
    assert start(**words, COMP_WORDS="edgeloop st").stdout.split() == ["status"]
    assert "--data" in start(**{**words, "COMP_CWORD": "2"}, COMP_WORDS="edgeloop check --").stdout.split()


def test_start_is_quick():
    """Help comes within seconds even on a loaded machine; the imports above are the sharp test."""
    started = time.monotonic()
    assert start("--help").returncode == 0
    assert time.monotonic() - started < 10


def test_schema_is_printed_and_written(tmp_path, capsys):
    """`edgeloop schema` prints the contract's schema, writes it to a file, and knows every kind."""
    from edgeloop_contracts import DOCUMENTS, Loop
    from edgeloop_contracts.schema import json_schema

    assert main(["schema"]) == 0
    assert json.loads(capsys.readouterr().out) == json_schema(Loop, strict=True)
    assert main(["schema", "list", "--json"]) == 0
    kinds = json.loads(capsys.readouterr().out)
    assert kinds == sorted(kind.lower() for kind in DOCUMENTS)
    path = tmp_path / "report.json"
    assert main(["schema", "Report", "-o", str(path)]) == 0
    assert json.loads(path.read_text())["title"] == "Report"
    capsys.readouterr()
    assert main(["schema", "reprt"]) == 1
    assert "did you mean report?" in capsys.readouterr().err
