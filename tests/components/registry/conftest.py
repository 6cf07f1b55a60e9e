"""Fixtures of the registry and signing tests: images in layouts, our test registry, and real peers from Debian."""

from __future__ import annotations

import importlib.util
import os
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

from edgeloop_components.package import layout as oci
from edgeloop_components.package.layers import files_layer
from edgeloop_components.registry import Settings
from edgeloop_components.registry.testing import TestRegistry, serve

REPOSITORY = Path(__file__).resolve().parents[3]


@pytest.fixture
def registry() -> Iterator[TestRegistry]:
    """A registry in memory."""
    with serve() as state:
        yield state


@pytest.fixture
def host(registry: TestRegistry) -> str:
    """Its host:port."""
    return registry.address.partition("//")[2]


@pytest.fixture
def settings() -> Settings:
    """No waiting between tries, nobody's credentials."""
    return Settings(sleep=lambda _: None, find_credentials=lambda *_: None)


def write_index(at: Path, name: str, model: bytes, platforms: tuple[str, ...] = ("linux/amd64", "linux/arm64")) -> str:
    """An index `name` of images with a server and the model, as the package step makes them; gives its digest."""
    folder = at.parent / f"source-{at.name}"
    for path, data in (("server/run", b"server" * 4000), ("model/model.onnx", model)):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_bytes(data)
    layers = [files_layer(folder / "server", "edgeloop", compressed=True), files_layer(folder / "model", "model")]
    images = [oci.write_image(at, layers, platform=platform, config={"User": "65532:65532"}) for platform in platforms]
    digest = oci.write_index(at, images)
    oci.name_image(at, digest, name)
    return digest


@pytest.fixture
def make_index() -> Callable[..., str]:
    """Writes an index into a layout."""
    return write_index


@pytest.fixture
def made(tmp_path: Path) -> tuple[Path, str]:
    """A layout with the index edge/pump:1 and its digest."""
    at = tmp_path / "made"
    return at, write_index(at, "edge/pump:1", os.urandom(50_000))


@dataclass(frozen=True)
class Tools:
    """Commands from Debian that tests run as peers."""

    cosign: Path
    oras: Path
    docker_registry: Path

    @staticmethod
    def run(command: list[Any], **more: Any) -> subprocess.CompletedProcess[str]:
        words = [str(word) for word in command]
        return subprocess.run(words, capture_output=True, text=True, timeout=120, **more)


@pytest.fixture(scope="session")
def tools() -> Tools:
    """cosign, oras and docker-registry, or a skip with the reason."""
    spec = importlib.util.spec_from_file_location("edgeloop_tests_fetch", REPOSITORY / "tests" / "tools" / "fetch.py")
    assert spec is not None
    assert spec.loader is not None
    fetch: ModuleType = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(fetch)
    try:
        found = fetch.tools()
    except (fetch.ToolsError, OSError, subprocess.SubprocessError) as error:
        pytest.skip(f"no cosign, oras and docker-registry: {error}")
    return Tools(found["cosign"], found["oras"], found["docker-registry"])


@dataclass(frozen=True)
class DockerRegistry:
    """A running docker-registry and its access log."""

    host: str
    log: Path

    def fetched(self, since: int = 0) -> list[tuple[str, int]]:
        """Path and bytes of each answered GET in the access log after its first `since` bytes."""
        found = []
        for line in self.log.read_bytes()[since:].decode().splitlines():
            words = line.split('"')
            if len(words) > 2 and words[1].startswith("GET /v2/"):
                status, size = words[2].split()[:2]
                if status in ("200", "206"):
                    found.append((words[1].split()[1], int(size)))
        return found


@pytest.fixture(scope="session")
def docker_registry(tools: Tools, tmp_path_factory: pytest.TempPathFactory) -> Iterator[DockerRegistry]:
    """Debian's docker-registry with an empty store."""
    from edgeloop_pipelines.local import children

    folder, port = tmp_path_factory.mktemp("docker-registry"), children.free_port()
    (folder / "registry.yml").write_text(
        "version: 0.1\n"
        "log: {level: error, accesslog: {disabled: false}}\n"
        f"storage: {{filesystem: {{rootdirectory: {folder}/data}}, delete: {{enabled: true}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n"
    )
    with (folder / "log").open("wb") as log:
        command = [str(tools.docker_registry), "serve", str(folder / "registry.yml")]
        process = subprocess.Popen(command, stdout=log, stderr=log, env={**os.environ, "OTEL_TRACES_EXPORTER": "none"})
    try:
        _until_up(f"http://127.0.0.1:{port}/v2/", process, folder / "log")
        yield DockerRegistry(f"127.0.0.1:{port}", folder / "log")
    finally:
        process.terminate()
        process.wait(10)


def _until_up(url: str, process: subprocess.Popen[bytes], log: Path) -> None:
    end = time.monotonic() + 20
    while time.monotonic() < end:
        assert process.poll() is None, log.read_text()
        try:
            urllib.request.urlopen(url, timeout=2).close()
        except OSError:
            time.sleep(0.05)
        else:
            return
    raise AssertionError(f"docker-registry is not up: {log.read_text()[-500:]}")


@pytest.fixture(scope="module")
def make_index_module() -> Callable[..., str]:
    """As `make_index`, for fixtures of a module."""
    return write_index
