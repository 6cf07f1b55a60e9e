"""The TCP ports of the SeaweedFS of one folder: chosen once, kept in the folder, taken again when it starts again.

Refuses a port that was asked for and is in use.
"""

from __future__ import annotations

import contextlib
import json
import os
import random
import socket
import tempfile
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeloop_components.stores.port import StoreError

__all__ = ["HOST", "SeaweedError", "choose", "remove_sockets", "write_private"]

HOST = "127.0.0.1"
_ROLES = ("s3", "s3.grpc", "master", "master.grpc", "volume", "volume.grpc", "filer", "filer.grpc")


class SeaweedError(StoreError):
    """The server cannot be found, did not start, or ended; the message holds the last lines of its log."""


def choose(folder: Path, port: int) -> dict[str, int]:
    """The port of each role: those of the last start where they are free, else others; kept for the next start."""
    path = folder / "ports.json"
    wanted: dict[str, int] = json.loads(path.read_text()) if path.exists() else {}
    if port and not _free(port):
        raise SeaweedError(f"{folder}: port {port} on {HOST} is in use; stop who listens there, or ask for another")
    ports: dict[str, int] = {}
    for role in _ROLES:
        choice = port if role == "s3" and port else wanted.get(role, 0)
        ports[role] = choice if choice and _free(choice) else _free_port({*ports.values(), *wanted.values()})
    if ports != wanted:
        write_private(path, ports)
    return ports


def _free_port(taken: set[int]) -> int:
    """A free port below the range from which the kernel takes the ports of outgoing connections."""
    for port in random.sample(range(12_000, 32_000), 200):
        if port not in taken and _free(port):
            return port
    raise SeaweedError(f"no free port found on {HOST} between 12000 and 32000")


def _free(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((HOST, port))
        except OSError:
            return False
        return True


def write_private(path: Path, document: Any) -> None:
    """Writes JSON atomically to a file that only its owner may read."""
    with tempfile.NamedTemporaryFile("w", dir=path.parent, prefix=".new-", delete=False) as out:
        json.dump(document, out)
        out.flush()
        os.fsync(out.fileno())
    Path(out.name).replace(path)


def remove_sockets(ports: Mapping[str, int]) -> None:
    """Removes the Unix sockets that the server makes beside its gRPC ports in a fixed folder and leaves when killed."""
    for role, port in ports.items():
        name = role.partition(".")[0]
        for kind in (f"{name}-grpc", name):
            with contextlib.suppress(OSError):
                Path("/tmp", f"seaweedfs-{kind}-{port}.sock").unlink()  # noqa: S108 (its choice, not ours)
