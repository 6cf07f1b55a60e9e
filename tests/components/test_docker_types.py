"""Images under Docker's media types: taken as base, pulled and pushed as they are, unpacked; what is built on them is OCI's."""

from __future__ import annotations

import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from edgeloop_components.package import base, layout
from edgeloop_components.package.blobs import blob_path
from edgeloop_components.package.layers import PackageError, files_layer
from edgeloop_components.registry import Settings, pull, push
from edgeloop_components.registry.testing import serve
from edgeloop_contracts import canonical

DISTRIBUTION, IMAGE = "application/vnd.docker.distribution.manifest", "application/vnd.docker"
MANIFEST, LIST = f"{DISTRIBUTION}.v2+json", f"{DISTRIBUTION}.list.v2+json"
CONFIG, GZIP, PLAIN = f"{IMAGE}.container.image.v1+json", f"{IMAGE}.image.rootfs.diff.tar.gzip", layout.PLAIN_LAYER
FOREIGN = f"{IMAGE}.image.rootfs.foreign.diff.tar.gzip"


@pytest.fixture
def settings() -> Settings:
    """No waiting between tries, nobody's credentials."""
    return Settings(sleep=lambda _: None, find_credentials=lambda *_: None)


def put(at: Path, media_type: str, data: bytes, **more: Any) -> dict[str, Any]:
    digest = f"sha256:{hashlib.sha256(data).hexdigest()}"
    blob_path(at, digest).parent.mkdir(parents=True, exist_ok=True)
    blob_path(at, digest).write_bytes(data)
    return {"mediaType": media_type, "digest": digest, "size": len(data), **more}


def docker_image(
    at: Path, architecture: str, *, kinds: tuple[str, str] = (GZIP, PLAIN), **config: Any
) -> dict[str, Any]:
    """An image of two layers as Docker pushes it: its own media types, fields of its own in the config."""
    layers, diff_ids = [], []
    for kind, files in zip(kinds, ({"local/bin/python3.11": "elf"}, {"lib/x": architecture}), strict=True):
        folder = at.parent / f"files-{architecture}-{len(layers)}"
        for name, text in files.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text)
        blob = layout.write_layer(at, files_layer(folder, "usr", compressed=kind.endswith("gzip")))
        layers.append({"mediaType": kind, "digest": blob.digest, "size": blob.size_bytes})
        diff_ids.append(blob.diff_id)
    settings = {
        "architecture": architecture,
        "os": "linux",
        "docker_version": "20.10",
        "container_config": {"Cmd": ["/bin/sh"]},
        "config": {"Env": ["PATH=/usr/local/bin", "LANG=C.UTF-8"], "Cmd": ["python3"]},
        "history": [{"created_by": "ADD"}, {"created_by": "ENV", "empty_layer": True}, {"created_by": "RUN"}],
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
        **config,
    }
    described = put(at, CONFIG, json.dumps(settings, indent=1).encode())
    body = {"schemaVersion": 2, "mediaType": MANIFEST, "config": described, "layers": layers}
    platform = {"os": "linux", "architecture": architecture, **({"variant": "v8"} if architecture == "arm64" else {})}
    return put(at, MANIFEST, json.dumps(body, indent=3).encode(), platform=platform)


def docker_list(at: Path, *images: dict[str, Any]) -> str:
    body = {"schemaVersion": 2, "mediaType": LIST, "manifests": list(images)}
    digest: str = put(at, LIST, json.dumps(body, indent=3).encode())["digest"]
    layout.name_image(at, digest, "python:3.11")
    return digest


def test_a_docker_image_is_a_base(tmp_path: Path) -> None:
    """By list or manifest; what stands on it has OCI's media types throughout and the same blobs, byte for byte."""
    at, here = tmp_path / "base", tmp_path / "here"
    amd64, arm64 = docker_image(at, "amd64"), docker_image(at, "arm64")
    both = docker_list(at, amd64, arm64)
    for digest, platform, wanted in (
        (both, "linux/amd64", amd64),
        (both, "linux/arm64", arm64),
        (amd64["digest"], "linux/amd64", amd64),
    ):
        found = base.base_for(f"oci:{at}@{digest}", platform, here)
        assert found is not None
        assert (found.digest, found.python) == (wanted["digest"], "/usr/local/bin/python3.11")
        assert found.environment["LANG"] == "C.UTF-8"
    found = base.base_for(f"oci:{at}@{both}", "linux/amd64", here)
    assert found is not None
    (tmp_path / "m").mkdir()
    (tmp_path / "m" / "model.onnx").write_bytes(b"weights")
    made = layout.write_image(
        here, [files_layer(tmp_path / "m", "models")], platform="linux/amd64", config={}, under=found.under
    )
    document, theirs = layout.manifest(here, made), json.loads(blob_path(at, amd64["digest"]).read_bytes())
    kinds = [
        document["mediaType"],
        document["config"]["mediaType"],
        *(part["mediaType"] for part in document["layers"]),
    ]
    assert kinds == [layout.MANIFEST, layout.CONFIG, layout.GZIP_LAYER, layout.PLAIN_LAYER, layout.PLAIN_LAYER]
    assert [part["digest"] for part in document["layers"][:2]] == [part["digest"] for part in theirs["layers"]]
    assert len([entry for entry in layout.image_config(here, made)["history"] if not entry.get("empty_layer")]) == 3
    assert b"docker" not in canonical(document) + canonical(layout.image_config(here, made))
    layout.verify(here, made)
    layout.unpack(here, made, tmp_path / "root")
    assert (tmp_path / "root/usr/lib/x").read_text() == "amd64"


def test_a_base_without_history_gets_one_entry_a_layer(tmp_path: Path) -> None:
    """Tools count the entries of a history against the layers."""
    image = docker_image(tmp_path / "base", "amd64", history=None)
    found = base.base_for(f"oci:{tmp_path / 'base'}@{image['digest']}", "linux/amd64", tmp_path / "here")
    assert found is not None
    assert len(found.under.history) == 2


def test_it_goes_to_a_registry_and_back_as_it_is(tmp_path: Path, settings: Settings) -> None:
    """Push and pull keep every byte of the list and its images; one platform can be pulled, listed with it, and unpacked."""
    at, there, here = tmp_path / "base", tmp_path / "there", tmp_path / "here"
    amd64, arm64 = docker_image(at, "amd64"), docker_image(at, "arm64")
    both = docker_list(at, amd64, arm64)
    with serve() as registry:
        name = f"{registry.address.partition('//')[2]}/library/python:3.11"
        assert push(f"oci:{at}:python:3.11", name, settings=settings).digest == both
        assert pull(name, there, settings=settings) == both
        assert pull(name, here, platform="linux/arm64", settings=settings) == arm64["digest"]
        found = base.base_for(name.partition(":3.11")[0] + "@" + both, "linux/amd64", tmp_path / "work")
    layout.verify(there, both)
    for part in layout.parts(at, both):
        assert blob_path(there, part["digest"]).read_bytes() == blob_path(at, part["digest"]).read_bytes()
    listed = json.loads((here / "index.json").read_bytes())["manifests"][0]
    assert (listed["mediaType"], listed["platform"]["architecture"]) == (MANIFEST, "arm64")
    layout.unpack(here, arm64["digest"], tmp_path / "root")
    assert (tmp_path / "root/usr/lib/x").read_text() == "arm64"
    assert found is not None
    assert found.digest == amd64["digest"]


def test_what_is_neither_dockers_nor_ocis_is_refused(tmp_path: Path) -> None:
    """A layer that lies elsewhere, an old manifest, and a list where an image is asked for: an error with the media type."""
    foreign = docker_image(tmp_path / "f", "amd64", kinds=(FOREIGN, PLAIN))
    with pytest.raises(
        PackageError, match=r"expected a plain or gzip layer, found application/vnd\.docker\.image\.rootfs\.foreign"
    ):
        base.base_for(f"oci:{tmp_path / 'f'}@{foreign['digest']}", "linux/amd64", tmp_path / "here")
    with pytest.raises(layout.LayoutError, match=r"expected a tar layer, found .*foreign"):
        layout.unpack(tmp_path / "f", foreign["digest"], tmp_path / "root")
    old = put(
        tmp_path / "f",
        "",
        canonical({"schemaVersion": 1, "mediaType": f"{DISTRIBUTION}.v1+prettyjws", "config": {}, "layers": []}),
    )
    with pytest.raises(layout.LayoutError, match=r"expected an image manifest, found .*v1\+prettyjws"):
        layout.manifest(tmp_path / "f", old["digest"])
    both = docker_list(tmp_path / "f", foreign)
    with pytest.raises(layout.LayoutError, match=r"expected an image manifest, found .*list\.v2"):
        layout.manifest(tmp_path / "f", both)
