"""Ports are shared by versions of one model, and by nobody else."""

from __future__ import annotations

import json
import shutil
import socket
from collections.abc import Callable
from pathlib import Path
from typing import Any


def renamed(model: Path, folder: Path) -> Path:
    """The same model under another name."""
    shutil.copytree(model, folder)
    for name in ("reference.json", "version.json"):
        document = json.loads((folder / name).read_text())
        (folder / name).write_text(json.dumps({**document, "loop": "fan"}))
    return folder


def test_another_model_does_not_join_a_port(
    runtime: Any, serve: Callable[..., Any], launch: Callable[..., Any], model: Path, tmp_path: Path
) -> None:
    """Ports are shared by versions of one model only: a server of another one says whose the port is, and ends with 1."""
    first = serve()
    process = launch(runtime.program(renamed(model, tmp_path / "fan")), port=first.port)
    assert process.child.wait(40) == 1
    (line,) = process.said("cannot serve")
    assert line["error"] == (
        f"port {first.port}: expected a port of this model, fan, or a free one, found a server of the model pump: "
        "choose another --port"
    )
    again = serve(port=first.port)
    assert again.port == first.port


def test_what_is_no_server_of_ours_keeps_nobody_waiting(runtime: Any, launch: Callable[..., Any], model: Path) -> None:
    """Who listens and says nothing costs less than a second; the port is then taken, or not, as the kernel decides."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        process = launch(runtime.program(model), port=silent.getsockname()[1])
        assert process.child.wait(40) == 1
        (line,) = process.said("cannot serve")
    assert "in use" in line["error"]
