"""What /edgeloop/server of an image runs: the same arguments for every runtime, so that one probe command fits all images.

    /edgeloop/server [serve] --host H --port P --run-dir D ...    /edgeloop/server check --run-dir D [--pid N | --boot B]
    /edgeloop/server selftest                                     /edgeloop/server info

This is the entry of images that hold Python; a native image's server is a program of its own with these commands.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any, NamedTuple

from edgeloop_node.__main__ import CHECK, SERVER, check_arguments, model_arguments, server_arguments

__all__ = ["main"]

EXIT_INCOMPLETE, EXIT_BAD_MODEL = 1, 3
SELFTEST = (
    "Scores the model's golden rows. exit codes: 0 all as they should be, 2 usage, 3 not: stderr says which row\n"
)
INFO = "Says in JSON what is served: loop, version, runtime, schema hash, tensors, sizes. exit codes: as selftest\n"


def _serve(options: argparse.Namespace) -> int:
    from edgeloop_node.server.main import command

    return command(options)


def _check(options: argparse.Namespace) -> int:
    from edgeloop_node.check import command

    return command(options)


def _selftest(options: argparse.Namespace) -> int:
    from edgeloop_node.server.model import load_model, self_test

    model = load_model(Path(options.model), options.runtime, options.threads)
    print(json.dumps({"golden_rows": len(model.golden.rows), "max_difference": self_test(model)}))
    return 0


def _info(options: argparse.Namespace) -> int:
    from edgeloop_node.server.model import load_model
    from edgeloop_node.server.v2 import model_metadata

    folder = Path(options.model)
    model = load_model(folder, options.runtime)
    metadata = model_metadata(model)
    document: dict[str, Any] = {
        "loop": model.version.loop,
        "version": model.version.number,
        "runtime": model.scorer.runtime,
        "schema_hash": model.reference.schema_hash,
        "inputs": metadata["inputs"],
        "outputs": metadata["outputs"],
        "sizes": {path.name: path.stat().st_size for path in sorted(folder.iterdir()) if path.is_file()},
    }
    print(json.dumps(document))
    return 0


class _Command(NamedTuple):
    run: Callable[[argparse.Namespace], int]
    arguments: Callable[[argparse.ArgumentParser], None]
    text: str


COMMANDS = {
    "serve": _Command(_serve, server_arguments, SERVER),
    "check": _Command(_check, check_arguments, CHECK),
    "selftest": _Command(_selftest, model_arguments, SELFTEST),
    "info": _Command(_info, model_arguments, INFO),
}


def _parser() -> argparse.ArgumentParser:
    top = argparse.ArgumentParser(prog="/edgeloop/server", description="Serves one model; without a command: serve.")
    commands = top.add_subparsers(dest="command", required=True, metavar="serve|check|selftest|info")
    for name, (_, arguments, text) in COMMANDS.items():
        arguments(commands.add_parser(name, description=text, formatter_class=argparse.RawDescriptionHelpFormatter))
    return top


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; its exit code."""
    given = sys.argv[1:] if arguments is None else arguments
    if not given or (given[0] not in COMMANDS and given[0] not in ("-h", "--help")):
        given = ["serve", *given]
    options = _parser().parse_args(given)
    from edgeloop_node.runtimes import ModelError

    try:
        return COMMANDS[options.command].run(options)
    except ModelError as error:
        print(error, file=sys.stderr)
        return EXIT_BAD_MODEL
    except ModuleNotFoundError as error:
        print(f"/edgeloop/server {options.command}: needs {error.name}, which this image has not", file=sys.stderr)
        return EXIT_INCOMPLETE


if __name__ == "__main__":
    sys.exit(main())
