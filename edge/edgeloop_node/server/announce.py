"""A server's entry in the run folder: `<boot>.json` says what it is, `<boot>.sock` is its private socket.

The folder may be emptied under a running server (a volume torn down and made anew), so the entry is put back when it is
missing. A socket gets its name only once it listens, so whoever finds a name that nobody answers knows that the server
is dead.
"""

from __future__ import annotations

import json
import os
import socket
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeloop_node.files import remove, socket_address, write_atomic
from edgeloop_node.local import FINAL

__all__ = ["Entry"]


class Entry:
    """The files of one server start in a run folder."""

    def __init__(self, run_dir: Path, boot: str, document: Mapping[str, Any]) -> None:
        self.document = {**document, "boot": boot, "socket": f"{boot}.sock"}
        self.json, self.socket = run_dir / f"{boot}.json", run_dir / f"{boot}.sock"
        self.final = run_dir / f"{boot}{FINAL}"

    def listen(self) -> socket.socket:
        """A listening Unix socket under the entry's name. OSError."""
        self.socket.parent.mkdir(parents=True, exist_ok=True)
        unnamed = self.socket.with_name(f".{self.socket.name}.new")
        remove(unnamed)
        listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        with socket_address(unnamed) as address:
            listener.bind(address)
        unnamed.chmod(0o660)
        listener.listen(128)
        listener.setblocking(False)
        os.replace(unnamed, self.socket)  # noqa: PTH105
        return listener

    def write(self) -> None:
        """Says that the server is ready. OSError."""
        write_atomic(self.json, json.dumps(self.document).encode())

    def missing(self) -> bool:
        return not (self.json.exists() and self.socket.exists())

    def leave(self, reports: list[dict[str, Any]]) -> None:
        """Leaves behind what nobody has read, then removes the entry: in this order, so that nothing can fall between."""
        if reports:
            write_atomic(self.final, json.dumps({"reports": reports}, separators=(",", ":")).encode())
        remove(self.json)
        remove(self.socket)
