"""The real docker-registry, oras and skopeo: they hold and read what we push, we pull what they push; the bytes of an update."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import socket
import threading
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeloop_components.package import layout as oci
from edgeloop_components.registry import Settings, pull, push

Made = tuple[Path, str]
MiB = 1 << 20


def test_round_trip(made: Made, docker_registry: Any, settings: Settings, tmp_path: Path) -> None:
    """An index goes to docker-registry and back with the same digest; the second push sends documents only."""
    at, digest = made
    name = f"{docker_registry.host}/round/trip:1"
    first = push(f"oci:{at}:edge/pump:1", name, settings=settings)
    again = push(f"oci:{at}:edge/pump:1", name, settings=settings)
    assert first.digest == again.digest == digest
    assert again.sent_bytes < 4096 < first.sent_bytes
    assert pull(name, tmp_path / "back", settings=settings) == digest
    oci.verify(tmp_path / "back", digest)
    mounted = push(f"oci:{at}:edge/pump:1", f"{docker_registry.host}/round/again:1", settings=settings)
    assert mounted.there_bytes > 50_000  # the model crossed from one repository to the other


def test_chunks(make_index: Callable[..., str], docker_registry: Any, settings: Settings, tmp_path: Path) -> None:
    """docker-registry takes a large blob in chunks and has the same bytes."""
    digest = make_index(tmp_path / "l", "m:1", os.urandom(5 * MiB))
    name = f"{docker_registry.host}/chunks:1"
    push(f"oci:{tmp_path / 'l'}", name, settings=replace(settings, chunk_bytes=MiB))
    pull(name, tmp_path / "back", settings=settings)
    oci.verify(tmp_path / "back", digest)


@pytest.fixture
def cutting(docker_registry: Any) -> Iterator[Callable[[int], str]]:
    """A way to docker-registry that ends every connection after so many bytes to the registry; gives host:port."""
    closing = threading.Event()
    listener = socket.create_server(("127.0.0.1", 0))
    host, port = docker_registry.host.split(":")
    limit = [MiB]

    def forward(source: socket.socket, to: socket.socket, most: int) -> None:
        with contextlib.suppress(OSError):
            while most > 0 and (data := source.recv(min(65536, most))):
                to.sendall(data)
                most -= len(data)
        for one in (source, to):
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)

    def join(client: socket.socket, most: int) -> None:
        with client, socket.create_connection((host, int(port))) as server:
            back = threading.Thread(target=forward, args=(server, client, 1 << 40), daemon=True)
            back.start()
            forward(client, server, most)
            back.join()

    def serve() -> None:
        while not closing.is_set():
            try:
                client, _ = listener.accept()
            except OSError:
                return
            threading.Thread(target=join, args=(client, limit[0]), daemon=True).start()

    threading.Thread(target=serve, daemon=True).start()

    def start(most: int) -> str:
        limit[0] = most
        return f"127.0.0.1:{listener.getsockname()[1]}"

    yield start
    closing.set()
    listener.close()


def test_cut_connections(
    make_index: Callable[..., str],
    docker_registry: Any,
    cutting: Callable[[int], str],
    settings: Settings,
    tmp_path: Path,
) -> None:
    """Over a line that breaks after each 1.3 MB, 6 MiB arrive: each try goes on where the one before ended."""
    digest = make_index(tmp_path / "l", "m:1", os.urandom(6 * MiB), ("linux/amd64",))
    push(f"oci:{tmp_path / 'l'}", f"{cutting(1_300_000)}/cut:1", settings=replace(settings, chunk_bytes=MiB))
    assert pull(f"{docker_registry.host}/cut:1", tmp_path / "back", settings=settings) == digest
    oci.verify(tmp_path / "back", digest)


def test_update_fetches_the_model_alone(
    make_index: Callable[..., str],
    docker_registry: Any,
    settings: Settings,
    tmp_path: Path,
    record_property: Callable[..., None],
) -> None:
    """By the registry's access log a node that has version 1 fetches for version 2 the model and at most 8 KiB."""
    at, node = tmp_path / "l", tmp_path / "node"
    for number in (1, 2):
        make_index(at, f"m:{number}", os.urandom(200_000))
        push(f"oci:{at}:m:{number}", f"{docker_registry.host}/delta:{number}", settings=settings)
    pull(f"{docker_registry.host}/delta:1", node, platform="linux/arm64", settings=settings)
    before = docker_registry.log.stat().st_size
    digest = pull(f"{docker_registry.host}/delta:2", node, platform="linux/arm64", settings=settings)
    fetched = docker_registry.fetched(before)
    model = oci.manifest(node, digest)["layers"][-1]
    total = sum(size for _, size in fetched)
    record_property("fetched_bytes", total)
    record_property("model_layer_bytes", model["size"])
    print(f"fetched {total} bytes, model layer {model['size']} bytes, {total - model['size']} besides")
    assert [path for path, size in fetched if size == model["size"]] == [f"/v2/delta/blobs/{model['digest']}"]
    assert model["size"] < total <= model["size"] + 8192


def test_oras_reads_referrers(made: Made, docker_registry: Any, tools: Any, settings: Settings) -> None:
    """The real oras finds what we attached by the fallback tag, and what oras attaches stays when we push again."""
    at, digest = made
    name = f"{docker_registry.host}/oras:1"
    oci.write_artifact(at, "application/x.note", [("text/plain", b"ours")], subject=digest)
    push(f"oci:{at}:edge/pump:1", name, settings=settings)
    (at.parent / "theirs.txt").write_text("theirs")
    attached = tools.run(
        [tools.oras, "attach", "--plain-http", "--artifact-type", "application/x.other", name, "theirs.txt:text/plain"],
        cwd=at.parent,
    )
    assert attached.returncode == 0, attached.stderr
    oci.write_artifact(at, "application/x.note", [("text/plain", b"ours, too")], subject=digest)
    push(f"oci:{at}:edge/pump:1", name, settings=settings)
    seen = tools.run([tools.oras, "discover", "--plain-http", "--format", "json", name])
    assert seen.returncode == 0, seen.stderr
    kinds = sorted(entry["artifactType"] for entry in json.loads(seen.stdout)["manifests"])
    assert kinds == ["application/x.note", "application/x.note", "application/x.other"]
    pull(name, at.parent / "back", settings=settings, referrers=True)
    assert len(oci.referrers(at.parent / "back", digest)) == 3


@pytest.mark.skipif(shutil.which("skopeo") is None, reason="skopeo is not installed")
def test_skopeo(made: Made, docker_registry: Any, tools: Any, settings: Settings, tmp_path: Path) -> None:
    """skopeo copies what we pushed, byte for byte, and we pull what skopeo pushed."""
    at, digest = made
    push(f"oci:{at}:edge/pump:1", f"{docker_registry.host}/sk:1", settings=settings)
    copy = ["skopeo", "copy", "--all", "--preserve-digests", "--src-tls-verify=false", "--dest-tls-verify=false"]
    there, back = f"docker://{docker_registry.host}/sk:1", f"docker://{docker_registry.host}/sk:2"
    for source, destination in ((there, f"oci:{tmp_path}/sk:1"), (f"oci:{tmp_path}/sk:1", back)):
        done = tools.run([*copy, source, destination])
        assert done.returncode == 0, done.stderr
    assert pull(f"{docker_registry.host}/sk:2", tmp_path / "ours", settings=settings) == digest
    oci.verify(tmp_path / "ours", digest)
