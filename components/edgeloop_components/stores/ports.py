"""What the folder of a SeaweedFS holds beside its data: the TCP ports and the credentials, chosen once and taken again when
it starts again, the lock of the one server that may run on it, and the lock of those who use it.

Refuses a port that was asked for and is in use, and a second server on the folder.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import os
import random
import secrets
import socket
import tempfile
import time
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import IO, Any

from edgeloop_components.stores.port import StoreError

__all__ = [
    "BUCKET",
    "HOST",
    "InUseError",
    "SeaweedError",
    "choose",
    "client_env",
    "credentials",
    "is_locked",
    "read_env",
    "remove_sockets",
    "take",
    "wait_alone",
    "write_private",
]

BUCKET = "edgeloop"
HOST = "127.0.0.1"
_ROLES = ("s3", "s3.grpc", "master", "master.grpc", "volume", "volume.grpc", "filer", "filer.grpc")


class SeaweedError(StoreError):
    """The server cannot be found, did not start, or ended; the message holds the last lines of its log."""


class InUseError(SeaweedError):
    """Another server runs on the folder."""


def take(lock: int, folder: Path, wait_s: float = 0.0) -> None:
    """Takes the folder's lock. The server inherits it: it is free again exactly when the server is gone."""
    end = time.monotonic() + wait_s
    while True:
        try:
            return fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if time.monotonic() >= end:
                problem = "another SeaweedFS runs on this folder; stop it, or name another folder"
                raise InUseError(f"{folder}: {problem}") from None
        time.sleep(0.05)


def is_locked(folder: Path) -> bool:
    """Whether a server runs on the folder or is being started there."""
    try:
        with (folder / ".lock").open() as lock:
            fcntl.flock(lock, fcntl.LOCK_SH | fcntl.LOCK_NB)  # shared: two that only look do not see each other
    except FileNotFoundError:
        return False
    except BlockingIOError:
        return True
    return False


def wait_alone(users: IO[str], folder: Path, waits: Callable[[str], None]) -> None:
    """Waits until no other process holds the lock of the folder's users, and keeps new ones out; tells `waits` once."""
    told = False
    while True:
        try:
            return fcntl.flock(users, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            if not told:
                waits(
                    f"the object store of {folder} is used by another process; waiting for it to end (Ctrl-C: do not wait)"
                )
            told = True
        time.sleep(0.1)


def credentials(folder: Path) -> dict[str, str]:
    """The folder's credentials, made once; the file is the server's configuration too and only its owner may read it.

    For whoever holds the folder's lock; others read (`read_env`).
    """
    path = folder / "s3.json"
    if not path.exists():
        key = {"accessKey": "edgeloop", "secretKey": secrets.token_urlsafe(30)}
        actions = ["Admin", "Read", "Write", "List", "Tagging"]
        write_private(path, {"identities": [{"name": "edgeloop", "credentials": [key], "actions": actions}]})
    return _read_credentials(folder)


def _read_credentials(folder: Path) -> dict[str, str]:
    key = json.loads((folder / "s3.json").read_text())["identities"][0]["credentials"][0]
    return {"AWS_ACCESS_KEY_ID": key["accessKey"], "AWS_SECRET_ACCESS_KEY": key["secretKey"], "AWS_REGION": "us-east-1"}


def client_env(port: int, keys: Mapping[str, str]) -> dict[str, str]:
    """What a client of the server on this port needs in its environment."""
    return {"AWS_ENDPOINT_URL_S3": f"http://{HOST}:{port}", **keys, "EDGELOOP_BUCKET": BUCKET}


def read_env(folder: Path) -> dict[str, str] | None:
    """`client_env` from the folder's files; None when whoever starts the first server there has not written them yet."""
    try:
        return client_env(json.loads((folder / "ports.json").read_text())["s3"], _read_credentials(folder))
    except FileNotFoundError:
        return None


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
