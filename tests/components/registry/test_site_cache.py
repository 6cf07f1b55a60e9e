"""A site's pull-through registry, the real docker-registry: an image that one node pulled comes again without the upstream."""

from __future__ import annotations

import contextlib
import os
import subprocess
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from edgeloop_components.package import layout as oci
from edgeloop_components.registry import RegistryError, Settings, pull, push

pytestmark = pytest.mark.slow


@contextlib.contextmanager
def running(program: Any, folder: Path, upstream: str = "") -> Iterator[str]:
    """A docker-registry with an empty store; with `upstream`, one that fetches from there what it has not. Gives host:port."""
    from edgeloop_pipelines.local import children

    port = children.free_port()
    folder.mkdir()
    proxy = f"proxy: {{remoteurl: '{upstream}'}}\n" if upstream else ""
    (folder / "registry.yml").write_text(
        f"version: 0.1\nlog: {{level: error}}\nstorage: {{filesystem: {{rootdirectory: {folder}/data}}}}\n"
        f"http: {{addr: '127.0.0.1:{port}'}}\n{proxy}"
    )
    environment = {**os.environ, "OTEL_TRACES_EXPORTER": "none"}
    with (folder / "log").open("wb") as log:
        command = [str(program), "serve", str(folder / "registry.yml")]
        process = subprocess.Popen(command, stdout=log, stderr=log, env=environment)
    try:
        for _ in range(400):
            assert process.poll() is None, (folder / "log").read_text()
            with contextlib.suppress(OSError):
                urllib.request.urlopen(f"http://127.0.0.1:{port}/v2/", timeout=2).close()
                break
            time.sleep(0.05)
        yield f"127.0.0.1:{port}"
    finally:
        process.terminate()
        process.wait(10)


def test_an_image_comes_from_the_sites_registry_when_the_upstream_is_away(
    tools: Any, make_index: Callable[..., str], settings: Settings, tmp_path: Path
) -> None:
    """By digest, the same path behind another host. An image that no node pulled before is not there, which shows the cut."""
    folder = tmp_path / "images"
    digests = {name: make_index(folder, f"{name}:1", os.urandom(100_000)) for name in ("known", "unknown")}
    with contextlib.ExitStack() as site_runs, contextlib.ExitStack() as upstream_runs:
        upstream = upstream_runs.enter_context(running(tools.docker_registry, tmp_path / "up"))
        for name in digests:
            push(f"oci:{folder}:{name}:1", f"{upstream}/loops/{name}:1", settings=settings)
        site = site_runs.enter_context(running(tools.docker_registry, tmp_path / "cache", f"http://{upstream}"))
        images = {name: f"{site}/loops/{name}@{digest}" for name, digest in digests.items()}
        assert pull(images["known"], tmp_path / "n1", settings=settings) == digests["known"]
        upstream_runs.close()
        assert pull(images["known"], tmp_path / "n2", settings=settings) == digests["known"]
        oci.verify(tmp_path / "n2", digests["known"])
        with pytest.raises(RegistryError):
            pull(images["unknown"], tmp_path / "n2", settings=settings)
