"""The command line of a node: `edgeloop-node server | check | agent | score | verify`.

Only arguments are read here; each command is imported when it is called, so that a probe does not pay for a server.
"""

from __future__ import annotations

import argparse
import os
import re
import socket
import sys
from collections.abc import Callable
from importlib import import_module

__all__ = ["CHECK", "SERVER", "check_arguments", "main", "model_arguments", "parser", "server_arguments"]

EXAMPLES = """\
examples:
  edgeloop-node server --model /model --port 8080 --run-dir /run/edgeloop
  edgeloop-node check --run-dir /run/edgeloop --pid 1
  edgeloop-node agent --run-dir /run/edgeloop --spool /var/lib/edgeloop/spool.db --mqtt 127.0.0.1:1883
  edgeloop-node agent --run-dir /run/edgeloop --spool /var/lib/edgeloop/spool.db --https https://fleet.example
  edgeloop-node score rows.csv > scores.csv
  edgeloop-node verify --key keys/ --file server.new --install /opt/edgeloop/server
"""
SERVER = """\
Serves one model version over HTTP: POST /score, Open Inference Protocol V2 (/v2/...), GET /metrics, GET /window.
It proves the model on its golden rows before it binds; several servers may share a port while one takes over.
exit codes: 0 ended well, 1 cannot bind or write the run folder, 2 usage, 3 the model is bad or failed its self-test
"""
CHECK = "Asks a server of this node whether it is ready, for exec probes. exit codes: 0 ready, 1 not ready, 2 usage\n"
AGENT = """\
Reads the counts of all servers in the run folder, keeps them in a spool on disk, and delivers them until they are
acknowledged. Answers POST /v1/feedback (labels that come later) and GET /v1/state.
exit codes: 0 ended well, 1 cannot start (spool in use, port taken), 2 usage
"""
SCORE = """\
Scores the rows of a CSV file (or of stdin: -) with the model that is served on this node; needs no other network.
Columns that are features are used; an empty cell is a missing value. Writes label, confidence, p_<class>, version.
exit codes: 0 ok, 1 bad input, 2 usage, 3 no server or an unhealthy one, 4 wrong version, 5 some rows were refused
"""
VERIFY = """\
Verifies that a trusted key has signed a model folder (signature.json in it), what the server of an unpacked image runs, or a
file with a detached signature, such as a server's program before it takes over (SIGHUP). Works offline.
exit codes: 0 signed, 1 not signed by a trusted key, 2 usage
"""
EXIT_INCOMPLETE = 1
MOST_THREADS = 256
COMMANDS = {
    "server": ("edgeloop_node.server.main", SERVER),
    "check": ("edgeloop_node.check", CHECK),
    "agent": ("edgeloop_node.agent.main", AGENT),
    "score": ("edgeloop_node.score", SCORE),
    "verify": ("edgeloop_node.verify", VERIFY),
}


class _Variable(str):
    """The value of an environment variable that is an option's default: an error names the variable."""

    name = ""


def _env(name: str, default: str) -> str:
    found = _Variable(os.environ.get(name, ""))
    found.name = name
    return found or default


def _wrong(text: str, expected: str) -> argparse.ArgumentTypeError:
    where = f"{text.name} in the environment: " if isinstance(text, _Variable) else ""
    return argparse.ArgumentTypeError(f"{where}expected {expected}, got {str(text)[:60]!r}")


def _name(text: str) -> str:
    """A name that the fleet service takes, too: reports under another one would never be acknowledged."""
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._:-]{0,252}", text):
        raise _wrong(text, "letters, digits and . _ : -, at most 253")
    return text


def _threads(text: str) -> int:
    if not (text.isascii() and text.isdigit() and 1 <= int(text) <= MOST_THREADS):
        raise _wrong(text, f"a whole number from 1 to {MOST_THREADS}")
    return int(text)


def _node(add: argparse.ArgumentParser) -> None:
    node = _env("EDGELOOP_NODE", socket.gethostname())
    add.add_argument("--node", type=_name, default=node, help="[EDGELOOP_NODE, host name]")


def _run_dir(add: argparse.ArgumentParser) -> None:
    default = _env("EDGELOOP_RUN_DIR", "/run/edgeloop")
    text = "folder in which servers and agent meet [EDGELOOP_RUN_DIR, /run/edgeloop]"
    add.add_argument("--run-dir", default=default, metavar="DIR", help=text)


def model_arguments(add: argparse.ArgumentParser) -> None:
    """--model, --runtime and --threads."""
    model = _env("EDGELOOP_MODEL", "/model")
    add.add_argument("--model", default=model, metavar="DIR", help="model folder [EDGELOOP_MODEL, /model]")
    add.add_argument("--runtime", default=_env("EDGELOOP_RUNTIME", "onnxruntime"), help="[onnxruntime]")
    threads = _env("EDGELOOP_THREADS", "1")
    text = (
        "that score a request together, for onnxruntime; `edgeloop profile` measures how many pay [EDGELOOP_THREADS, 1]"
    )
    add.add_argument("--threads", type=_threads, default=threads, metavar="N", help=text)


def server_arguments(add: argparse.ArgumentParser) -> None:
    """What a server takes."""
    model_arguments(add)
    key = _env("EDGELOOP_PUBLIC_KEY", "")
    text = "public key that must have signed the model: a file, a folder or PEM text [EDGELOOP_PUBLIC_KEY; else not asked for]"
    add.add_argument("--key", default=key, metavar="FILE", help=text)
    add.add_argument("--host", default="127.0.0.1", help="address to listen on [127.0.0.1]")
    add.add_argument("--port", type=int, default=8080, help="0: any free one [8080]")
    add.add_argument("--image", default=_env("EDGELOOP_IMAGE", ""), help="digest of the image [EDGELOOP_IMAGE]")
    group = _env("EDGELOOP_GROUP", "default")
    add.add_argument("--group", type=_name, default=group, help="node group [EDGELOOP_GROUP, default]")
    _run_dir(add)
    _node(add)


def check_arguments(add: argparse.ArgumentParser) -> None:
    """What a probe takes."""
    _run_dir(add)
    which = add.add_mutually_exclusive_group()
    which.add_argument("--pid", type=int, help="process id of the server, as seen from here (in its container: 1)")
    which.add_argument("--boot", help="boot id of the server; without either there must be one server")


def _agent(add: argparse.ArgumentParser) -> None:
    _run_dir(add)
    add.add_argument("--spool", required=True, metavar="FILE", help="SQLite file that keeps what is not delivered yet")
    _node(add)
    group = _env("EDGELOOP_GROUP", "") or None
    add.add_argument("--group", type=_name, default=group, help="[EDGELOOP_GROUP, else what the servers here say]")
    transport = add.add_mutually_exclusive_group(required=True)
    transport.add_argument("--mqtt", metavar="HOST:PORT", help="broker of this node")
    transport.add_argument("--https", metavar="URL", help="the fleet service; http:// for tests")
    add.add_argument("--namespace", default="edgeloop", help="first part of the MQTT topic [edgeloop]")
    add.add_argument("--host", default="127.0.0.1", help="address for feedback [127.0.0.1]")
    add.add_argument("--port", type=int, default=8081, help="port for feedback; 0: any free one [8081]")
    add.add_argument("--poll-s", type=float, default=1.0, metavar="S", help="pause between two readings [1]")
    add.add_argument(
        "--publish-s", type=float, default=1.0, metavar="S", help="least pause between two states of a window"
    )
    add.add_argument("--heartbeat-s", type=float, default=5.0, metavar="S", help="longest silence [5]")
    add.add_argument("--retry-s", type=float, default=5.0, metavar="S", help="first wait for an acknowledgement [5]")
    add.add_argument("--retry-cap-s", type=float, default=300.0, metavar="S", help="longest wait for one [300]")
    add.add_argument("--keep-days", type=float, default=30.0, help="days of windows to keep once acknowledged [30]")
    add.add_argument(
        "--spool-mib", type=float, default=64.0, help="size above which acknowledged windows go early [64]"
    )
    add.add_argument("--ca", metavar="FILE", help="certificates that --https trusts [the system's]")


def _score(add: argparse.ArgumentParser) -> None:
    add.add_argument("rows", metavar="rows.csv|-", help="CSV with a header line; - reads stdin")
    _run_dir(add)
    add.add_argument("--url", help="a server's address in place of the run folder, as http://127.0.0.1:8080")
    add.add_argument("--loop", help="which model, when several are served here")
    add.add_argument("--version", type=int, metavar="N", help="refuse any other version than N")
    add.add_argument("--time", metavar="COLUMN", help="column with each row's time (ISO 8601 or Unix seconds)")
    add.add_argument("--id", metavar="COLUMN", help="column with each row's id; it comes first in the output")
    add.add_argument("--json", action="store_true", help="write one JSON object a line")
    add.add_argument("--batch", type=int, default=200, metavar="N", help="rows in one request, 1 to 1000 [200]")
    add.add_argument("--retries", type=int, default=5, metavar="N", help="further attempts when the server is away [5]")


def _verify(add: argparse.ArgumentParser) -> None:
    add.add_argument(
        "--key", required=True, metavar="FILE", help="public keys: a file or text (PEM), or a folder (*.pem, *.pub)"
    )
    what = add.add_mutually_exclusive_group(required=True)
    what.add_argument("--model", metavar="DIR", help="a model folder")
    what.add_argument("--image", metavar="DIR", help="an unpacked image of a server, native or not")
    what.add_argument("--file", metavar="FILE", help="a file with a detached signature")
    add.add_argument("--signature", metavar="FILE", help="the file's signature [FILE.sig]")
    text = "puts the verified bytes of --file there, atomically, as a program"
    add.add_argument("--install", metavar="PATH", help=text)


ARGUMENTS: dict[str, Callable[[argparse.ArgumentParser], None]] = {
    "server": server_arguments,
    "check": check_arguments,
    "agent": _agent,
    "score": _score,
    "verify": _verify,
}


def parser() -> argparse.ArgumentParser:
    """The parser of the whole command line; its defaults come from the environment."""
    form = argparse.RawDescriptionHelpFormatter
    top = argparse.ArgumentParser(
        prog="edgeloop-node", description="What runs on a node of edgeloop.", epilog=EXAMPLES, formatter_class=form
    )
    commands = top.add_subparsers(dest="command", required=True, metavar="COMMAND")
    for name, (_, text) in COMMANDS.items():
        first = text.split(". ")[0].split(": ")[0].replace("\n", " ").strip().rstrip(".")
        add = commands.add_parser(name, help=first, description=text, formatter_class=form)
        ARGUMENTS[name](add)
    return top


def main(arguments: list[str] | None = None) -> int:
    """Runs a command; its exit code."""
    options = parser().parse_args(arguments)
    module, _ = COMMANDS[options.command]
    try:
        result: int = import_module(module).command(options)
    except ModuleNotFoundError as error:
        print(f"edgeloop-node {options.command}: needs {error.name}: pip install 'edgeloop[node]'", file=sys.stderr)
        return EXIT_INCOMPLETE
    return result


if __name__ == "__main__":
    sys.exit(main())
