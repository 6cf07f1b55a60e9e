"""The command line: one table of commands, each in a module of its own that is imported when it is called.

`edgeloop --help` is printed from the table alone, so it costs no import. A command lives in `cli/<name>.py` as the function
`command`, or as the Typer application `app` where it has commands of its own.
"""

from __future__ import annotations

import sys
from collections.abc import Sequence
from typing import NamedTuple

__all__ = ["CHAPTERS", "COMMANDS", "CommandRow", "main"]


class CommandRow(NamedTuple):
    """One line of the table of contents. A command without a chapter is not shown."""

    module: str
    chapter: str
    line: str


CHAPTERS = {
    "Describe": "say what the loop is",
    "Build": "train, prove and pack a version",
    "Deploy": "bring it to the nodes",
    "Watch": "see what it does there",
    "Try": "learn by looking",
}

_HERE = "edgeloop_pipelines.cli"
COMMANDS: dict[str, CommandRow] = {
    "init": CommandRow(f"{_HERE}.init", "Describe", "write a commented loop.yaml for a data file"),
    "import": CommandRow(f"{_HERE}.import_", "Describe", "turn Sedna's objects into a loop.yaml"),
    "check": CommandRow(f"{_HERE}.check", "Describe", "report every mistake in a loop.yaml at once"),
    "schema": CommandRow(f"{_HERE}.schema", "Describe", "print the JSON Schema of loop.yaml, for editors"),
    "run": CommandRow(f"{_HERE}.run", "Build", "run the training pipeline on this machine"),
    "compile": CommandRow(f"{_HERE}.compile", "Build", "write the pipeline as IR YAML and manifests"),
    "submit": CommandRow(f"{_HERE}.submit", "Build", "start a run on Kubeflow Pipelines"),
    "schedule": CommandRow(f"{_HERE}.schedule", "Build", "keep recurring runs on Kubeflow Pipelines as loops say"),
    "runs": CommandRow(f"{_HERE}.runs", "Watch", "list a loop's runs on Kubeflow Pipelines, or follow one"),
    "model": CommandRow(f"{_HERE}.model", "Build", "describe, compile, prove, measure, pack and push an ONNX file"),
    "fpga": CommandRow(f"{_HERE}.fpga", "Build", "make an ONNX classifier a proven bitstream, and load it"),
    "profile": CommandRow(f"{_HERE}.profile", "Build", "show or measure what a model costs on each target"),
    "keys": CommandRow(f"{_HERE}.keys", "Build", "make the keys that sign images and models"),
    "render": CommandRow(f"{_HERE}.render", "Deploy", "write the KubeEdge objects of a loop"),
    "plan": CommandRow(f"{_HERE}.plan", "Deploy", "decide what nodes keep on disk for times without a link"),
    "fleet": CommandRow(f"{_HERE}.fleet", "Deploy", "serve the fleet service"),
    "doctor": CommandRow(f"{_HERE}.doctor", "Watch", "find what is wrong with a cluster or this machine, and the fix"),
    "status": CommandRow(f"{_HERE}.status", "Watch", "show loops, versions, nodes, last verdict, last run"),
    "catalog": CommandRow(f"{_HERE}.catalog", "Watch", "list, show and audit the versions of a loop"),
    "drift": CommandRow(f"{_HERE}.drift", "Watch", "compare two data files, in Evidently's words"),
    "demo": CommandRow(f"{_HERE}.demo", "Try", "close the loop on this machine, with real data"),
    "completion": CommandRow(f"{_HERE}.completion", "Try", "print the completion script of a shell"),
    "version": CommandRow(f"{_HERE}.version", "Try", "print the version of edgeloop and of what it stands on"),
    "standin": CommandRow(f"{_HERE}.standin", "", "the local stand-in for KubeEdge (the demo starts it)"),
}


def main(arguments: Sequence[str] | None = None) -> int:
    """Runs `edgeloop`; gives the exit code: 0 done, 1 error, 2 wrong usage, 3 unavailable, 130 interrupted."""
    words = list(sys.argv[1:] if arguments is None else arguments)
    try:
        from edgeloop_pipelines.cli import application, console
    except ModuleNotFoundError as error:
        if error.name not in ("typer", "rich"):
            raise
        print(f"error: edgeloop's commands need {error.name}\nhint: pip install 'edgeloop[cloud]'", file=sys.stderr)
        return 1
    as_json = "--json" in words
    return console.guarded(lambda: application.run(words), as_json=as_json)
