"""The readiness probe: it asks this very server, and no other one answers in its stead."""

from __future__ import annotations

import json
import os
import signal
import socket
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from edgeloop_node.check import ready


class Small:
    """A server by hand: an entry in a run folder and a private socket that answers every request alike."""

    def __init__(self, run_dir: Path, boot: str, status: str = "200 OK", pid: int | None = None) -> None:
        self.status = status
        self.path = run_dir / f"{boot}.sock"
        self.listener = socket.socket(socket.AF_UNIX)
        self.listener.bind(str(self.path))
        self.listener.listen()
        document = {"boot": boot, "pid": pid or os.getpid(), "socket": self.path.name, "loop": "pump", "version": 1}
        (run_dir / f"{boot}.json").write_text(json.dumps({**document, "started_s": time.time()}))
        threading.Thread(target=self.serve, daemon=True).start()

    def close(self) -> None:
        self.listener.shutdown(socket.SHUT_RDWR)
        self.listener.close()

    def serve(self) -> None:
        while True:
            try:
                connection, _ = self.listener.accept()
            except OSError:
                return
            with connection:
                if connection.recv(1000):
                    connection.sendall(f"HTTP/1.1 {self.status}\r\n\r\n{{}}".encode())


@pytest.fixture
def run_dir(tmp_path: Path) -> Path:
    folder = tmp_path / "run"
    folder.mkdir()
    return folder


def test_a_ready_server_is_ready(run_dir: Path) -> None:
    """Alone, by boot id, or by process id."""
    Small(run_dir, "b1")
    assert ready(run_dir) == ready(run_dir, boot="b1") == ready(run_dir, pid=os.getpid()) == ""


def test_another_process_does_not_answer(run_dir: Path) -> None:
    """An entry that claims our process id but is served by another process does not make us ready."""
    Small(run_dir, "old", pid=os.getppid())
    assert "expected process" in ready(run_dir, pid=os.getppid())


def test_not_ready_is_said(run_dir: Path) -> None:
    """A server that answers 503 is not ready; nor is a dead one, an unknown one, or one of several."""
    small = Small(run_dir, "b1", status="503 Service Unavailable")
    assert "expected status 200, got 503" in ready(run_dir)
    assert "expected boot b2 there, found none" in ready(run_dir, boot="b2")
    Small(run_dir, "b3")
    assert "name one by --boot or --pid" in ready(run_dir)
    small.close()
    assert "nobody listens" in ready(run_dir, boot="b1")


def test_a_hanging_server_is_not_ready(run_dir: Path) -> None:
    """A server that takes the connection and says nothing is given up."""
    small = Small(run_dir, "b1")
    small.close()
    silent = socket.socket(socket.AF_UNIX)
    small.path.unlink()
    silent.bind(str(small.path))
    silent.listen()
    began = time.monotonic()
    assert "timed out" in ready(run_dir)
    assert time.monotonic() - began < 5
    silent.close()


def test_broken_entries_are_passed_over(run_dir: Path) -> None:
    """An entry that is no JSON, or lacks fields, hides no other."""
    (run_dir / "x.json").write_text("{")
    (run_dir / "y.json").write_text("[]")
    (run_dir / "z.json").write_text('{"boot": "z"}')
    Small(run_dir, "b1")
    assert ready(run_dir) == ""


def probe(*arguments: str) -> int:
    return subprocess.run([sys.executable, "-m", "edgeloop_node", "check", *arguments], capture_output=True).returncode


def test_the_old_server_does_not_vouch_for_the_new(node: Any, model: Path) -> None:
    """While two versions share the port, the probe of each asks only its own process; a stopped one is not ready."""
    old = node.serve(model)
    new = node.serve(model, port=old.port)
    where = ("--run-dir", str(node.run_dir))
    assert probe(*where, "--pid", str(old.child.pid)) == probe(*where, "--pid", str(new.child.pid)) == 0
    new.child.send_signal(signal.SIGSTOP)
    assert probe(*where, "--pid", str(new.child.pid)) == 1
    new.child.send_signal(signal.SIGCONT)
    old.stop()
    assert probe(*where, "--pid", str(old.child.pid)) == 1
    assert probe(*where, "--boot", new.extra["boot"]) == 0
