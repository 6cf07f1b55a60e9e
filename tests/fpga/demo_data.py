"""Helpers of test_demo_data.py: the example loop run as a user runs it, its images unpacked, and their servers asked."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

EXAMPLE = Path(__file__).resolve().parents[2] / "docs" / "examples" / "fpga-wind"
LOOP = "turbine-power"


@dataclass(frozen=True)
class Site:
    """A user's folder with the example in it, and what the environment of every command is."""

    folder: Path
    environment: dict[str, str]

    @classmethod
    def new(cls, folder: Path) -> Site:
        """The example's files, a key pair, and caches of its own: nothing is placed yet."""
        shutil.copytree(EXAMPLE, folder, ignore=shutil.ignore_patterns("turbines", ".edgeloop", "__pycache__"))
        more = {
            "EDGELOOP_CACHE": str(folder / "cache"),
            "EDGELOOP_SIGNING_KEY": str(folder / "signing.key"),
            "EDGELOOP_PUBLIC_KEY": str(folder / "signing.pub"),
            "COLUMNS": "400",
        }
        site = cls(folder, {**os.environ, **more})
        site.edgeloop("keys", "new", "signing.key")
        return site

    def edgeloop(self, *words: str) -> str:
        """A command in the folder; both of its outputs. AssertionError when it fails."""
        return self.python("-m", "edgeloop_pipelines.cli", *words)

    def edgeloop_json(self, *words: str) -> str:
        """What a command prints with --json."""
        return self._done("-m", "edgeloop_pipelines.cli", *words, "--json").stdout

    def python(self, *words: str) -> str:
        done = self._done(*words)
        return done.stdout + done.stderr

    def _done(self, *words: str) -> subprocess.CompletedProcess[str]:
        command = [sys.executable, *words]
        done = subprocess.run(command, cwd=self.folder, env=self.environment, capture_output=True, text=True)
        assert done.returncode == 0, f"{words}: {done.stdout[-3000:]}{done.stderr[-3000:]}"
        return done

    @property
    def images(self) -> Path:
        return self.folder / ".edgeloop" / "images"

    def unpacked(self, target: str, version: int, into: Path) -> Path:
        """The root folder of a target's image."""
        from edgeloop_components.package.layout import images, unpack

        unpack(self.images, images(self.images)[f"edgeloop/{LOOP}/{target}:{version}"], into)
        return into


def model_of(root: Path, version: int) -> Path:
    """The model's folder in an unpacked image."""
    return root / "models" / LOOP / str(version)


def differing(one: Path, other: Path) -> int:
    """Bytes that are not the same in two files of one size."""
    pairs = zip(one.read_bytes(), other.read_bytes(), strict=True)
    return sum(a != b for a, b in pairs)


@dataclass
class Served:
    """A server of an unpacked image, and what it has said."""

    process: subprocess.Popen[str]
    said: dict[str, Any] = field(default_factory=dict)

    @property
    def port(self) -> int:
        return int(self.said["ready"]["port"])

    def listen(self, until: str = "") -> None:
        """Reads its log until a line says so; without that, to the end."""
        assert self.process.stderr is not None
        for text in self.process.stderr:
            line = json.loads(text)
            self.said[line["what"]] = line
            if line["what"] == until:
                return

    def children(self) -> list[int]:
        tasks = Path(f"/proc/{self.process.pid}/task").glob("*/children")
        return [int(word) for task in tasks for word in task.read_text().split()]

    def ask(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        return ask(self.port, method, path, body)

    def metrics(self) -> dict[str, float]:
        """Those without labels."""
        lines = [line.split() for line in self.ask("GET", "/metrics")[1].splitlines() if line[:1] not in ("#", "")]
        return {words[0]: float(words[1]) for words in lines if len(words) == 2}

    def stop(self) -> int:
        self.process.terminate()
        return self.process.wait(30)


def ask(port: int, method: str, path: str, body: Any = None) -> tuple[int, Any]:
    """One request on a connection of its own: status, and the body (text where it is no JSON)."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=20)
    with contextlib.closing(connection):
        connection.request(method, path, json.dumps(body) if body is not None else None)
        answer = connection.getresponse()
        data = answer.read()
        return answer.status, json.loads(data) if "json" in answer.headers.get("Content-Type", "") else data.decode()


@contextlib.contextmanager
def serving(
    site: Site, root: Path, target: str, version: int, run_dir: Path, port: int = 0, **more: str
) -> Iterator[Served]:
    """/edgeloop/server of an unpacked image with the image's environment and the trusted key, as a node starts it."""
    from edgeloop_components.package.layout import image_config, images

    config = image_config(site.images, images(site.images)[f"edgeloop/{LOOP}/{target}:{version}"])["config"]
    environment = dict(line.split("=", 1) for line in config["Env"])
    environment |= {name: f"{root}{environment[name]}" for name in ("PYTHONPATH", "EDGELOOP_MODEL")}
    environment |= {"EDGELOOP_PUBLIC_KEY": (site.folder / "signing.pub").read_text(), **more}
    run_dir.mkdir(exist_ok=True)
    words = [
        sys.executable,
        "-sP",
        str(root / "edgeloop/server"),
        "serve",
        "--port",
        str(port),
        "--run-dir",
        str(run_dir),
    ]
    process = subprocess.Popen(words, env={**os.environ, **environment}, stderr=subprocess.PIPE, text=True)
    served = Served(process)
    assert process.stderr is not None
    try:
        served.listen("ready")
        assert "ready" in served.said, served.said
        listener = threading.Thread(target=served.listen)
        listener.start()
        yield served
    finally:
        if process.poll() is None:
            process.kill()
        process.wait(30)
    listener.join()
    process.stderr.close()


def rows_of(csv: Path, features: Sequence[str], count: int) -> list[list[float]]:
    """`count` rows of a file, evenly from all of it; NaN: missing."""
    import numpy as np
    import pandas as pd

    frame = pd.read_csv(csv)[list(features)]
    found: list[list[float]] = frame.iloc[np.linspace(0, len(frame) - 1, count).astype(int)].values.tolist()
    return found


def document_of(features: Sequence[str], row: Sequence[float]) -> dict[str, Any]:
    """The row as /score takes it."""
    return {"features": {name: None if value != value else value for name, value in zip(features, row, strict=True)}}


def quantiles_ms(port: int, documents: Sequence[Any]) -> tuple[float, float]:
    """p50 and p95 of POST /score over one kept connection, as the client sees it."""
    took: list[float] = []
    with contextlib.closing(http.client.HTTPConnection("127.0.0.1", port, timeout=20)) as connection:
        for document in documents:
            body = json.dumps(document)
            began_s = time.perf_counter()
            connection.request("POST", "/score", body)
            answer = connection.getresponse()
            answer.read()
            took.append(1e3 * (time.perf_counter() - began_s))
            assert answer.status == 200
    took.sort()
    return took[len(took) // 2], took[len(took) * 95 // 100]


class Client:
    """Asks without a pause, each request on a connection of its own, and keeps what came: (status, version)."""

    def __init__(self, port: int, documents: Sequence[Any]) -> None:
        self.answers: list[tuple[int, int]] = []
        self._port, self._documents = port, documents
        self._ended = threading.Event()
        self._thread = threading.Thread(target=self._run)

    def _run(self) -> None:
        while not self._ended.is_set():
            try:
                status, body = ask(
                    self._port, "POST", "/score", self._documents[len(self.answers) % len(self._documents)]
                )
                version = int(body["version"]) if status == 200 else 0
            except OSError:
                status, version = 0, 0
            self.answers.append((status, version))

    def __enter__(self) -> Client:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._ended.set()
        self._thread.join()
