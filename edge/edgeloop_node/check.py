"""`edgeloop-node check`: is this very server ready? Made for exec readiness probes, so it starts in milliseconds.

During an update two servers share the port and the run folder, and in their containers both may be process 1. So `--pid`
is compared with what the kernel says about the process at the other end of the private socket, in the caller's own
namespace: a server of another container can never answer in this one's stead.
"""

from __future__ import annotations

import argparse
import sys
from collections.abc import Callable
from pathlib import Path

from edgeloop_node.local import Server, UnreachableError, connect, exchange, peer_pid, servers_in

__all__ = ["EXIT_NOT_READY", "EXIT_READY", "command", "ready"]

EXIT_READY, EXIT_NOT_READY = 0, 1
TIMEOUT_S = 2.0


def _listens_as(server: Server, pid: int) -> bool:
    try:
        with connect(server.socket, TIMEOUT_S) as connection:
            return peer_pid(connection) == pid
    except UnreachableError:
        return False


def _choice(run_dir: Path, boot: str | None, pid: int | None) -> Server | str:
    """The one server that is meant, or why there is none."""
    wanted: Callable[[Server], bool] = lambda _: True  # noqa: E731
    if boot is not None:
        wanted = lambda server: server.boot == boot  # noqa: E731
    elif pid is not None:
        wanted = lambda server: _listens_as(server, pid)  # noqa: E731
    found = [server for server in servers_in(run_dir) if wanted(server)]
    if len(found) == 1:
        return found[0]
    which = f"boot {boot}" if boot else f"process {pid}" if pid is not None else "a server"
    if not found:
        return f"{run_dir}: expected {which} there, found none"
    return f"{run_dir}: expected one server, found {', '.join(s.boot for s in found)}: name one by --boot or --pid"


def ready(run_dir: Path, boot: str | None = None, pid: int | None = None) -> str:
    """Empty when the server is ready; else why not."""
    server = _choice(run_dir, boot, pid)
    if isinstance(server, str):
        return server
    try:
        with connect(server.socket, TIMEOUT_S) as connection:
            if pid is not None and peer_pid(connection) != pid:
                return f"{server.boot}: expected process {pid} behind the socket, found {peer_pid(connection)}"
            answer = exchange(connection, "/v2/health/ready")
    except UnreachableError as error:
        return str(error)
    return "" if answer.status == 200 else f"{server.boot}: expected status 200, got {answer.status}: {answer.body}"


def command(options: argparse.Namespace) -> int:
    """0 when ready; 1 and a line on stderr when not."""
    why = ready(Path(options.run_dir), options.boot, options.pid)
    if why:
        print(f"not ready: {why}", file=sys.stderr)
    return EXIT_NOT_READY if why else EXIT_READY
