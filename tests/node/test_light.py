"""What a node installs and loads: agent, probe and access script run on the standard library alone, and start fast."""

from __future__ import annotations

import resource
import subprocess
import sys
from pathlib import Path

import pytest

import edgeloop_contracts
import edgeloop_node

SOURCES = [str(Path(package.__file__).parents[1]) for package in (edgeloop_node, edgeloop_contracts)]
BLOCKER = """
import sys
sys.path[:0] = {sources!r}
class Blocker:
    def find_spec(self, name, path=None, target=None):
        top = name.partition(".")[0]
        if top not in sys.stdlib_module_names and top not in ("edgeloop_node", "edgeloop_contracts"):
            raise ModuleNotFoundError(f"third-party: {{name}}", name=name)
sys.meta_path.insert(0, Blocker())
"""


def python(code: str) -> subprocess.CompletedProcess[str]:
    script = BLOCKER.format(sources=SOURCES) + code
    return subprocess.run([sys.executable, "-S", "-c", script], capture_output=True, text=True, timeout=60)


@pytest.mark.parametrize(
    "module",
    ["agent.main", "agent.loop", "agent.mqtt", "access", "score", "check", "monitor", "__main__", "server.requests",
     "server.v2", "server.app", "server.asgi", "entry", "runtimes"],
)  # fmt: skip
def test_no_third_party_module_is_imported(module: str) -> None:
    """With every third-party import forbidden these modules load."""
    done = python(f"import edgeloop_node.{module}")
    assert done.returncode == 0, done.stderr


def test_the_blocker_blocks() -> None:
    """The test above can fail: a third-party import is refused there."""
    assert "third-party: numpy" in python("import numpy").stderr


@pytest.mark.parametrize(
    "arguments", [["--help"], ["agent", "--help"], ["score", "--help"], ["server", "--help"], ["check", "--help"]]
)
def test_help_needs_nothing(arguments: list[str]) -> None:
    """Every help text comes without third-party modules; the first one has examples, the others exit codes."""
    done = python(f"from edgeloop_node.__main__ import main; main({arguments!r})")
    assert done.returncode == 0, done.stderr
    assert ("examples:" if len(arguments) == 1 else "exit codes:") in done.stdout


@pytest.mark.parametrize(
    "arguments", [["server"], ["agent", "--spool", "{tmp}/s.db", "--port", "0", "--mqtt", "127.0.0.1:9"]]
)
def test_a_missing_package_is_named(arguments: list[str], tmp_path: Path) -> None:
    """What needs more than the standard library says which package is missing, and ends with 1."""
    given = [argument.format(tmp=tmp_path) for argument in arguments]
    done = python(f"from edgeloop_node.__main__ import main; sys.exit(main({given!r}))")
    assert done.returncode == 1
    assert "pip install 'edgeloop[node]'" in done.stderr


def test_the_probe_is_light() -> None:
    """The readiness probe loads neither the contracts nor an HTTP library: it runs every few seconds, for ever."""
    done = python(
        "from edgeloop_node.__main__ import main\n"
        "assert main(['check', '--run-dir', '/nowhere']) == 1\n"
        "heavy = {'edgeloop_contracts', 'http.client', 'sqlite3', 'asyncio', 'ssl'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    assert done.returncode == 0, done.stderr


def test_the_probe_of_an_image_is_light() -> None:
    """So is the same probe through the entry of an image."""
    done = python(
        "from edgeloop_node.entry import main\n"
        "assert main(['check', '--run-dir', '/nowhere']) == 1\n"
        "heavy = {'edgeloop_contracts', 'http.client', 'sqlite3', 'asyncio', 'ssl'} & set(sys.modules)\n"
        "assert not heavy, heavy"
    )
    assert done.returncode == 0, done.stderr


def test_commands_start_quickly() -> None:
    """`edgeloop-node --help` takes less than 0.3 s of processor time (a twentieth on a quiet machine)."""
    assert min(processor_s() for _ in range(3)) < 0.3


def processor_s() -> float:
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    subprocess.run([sys.executable, "-m", "edgeloop_node", "--help"], capture_output=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    return after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime


@pytest.mark.parametrize(
    "arguments", [[], ["serve"], ["agent", "--spool", "x"], ["check", "--pid", "x"], ["server", "--node", "a b"]]
)
def test_usage_errors(arguments: list[str]) -> None:
    """Wrong usage is code 2."""
    command = [sys.executable, "-m", "edgeloop_node", *arguments]
    assert subprocess.run(command, capture_output=True).returncode == 2
