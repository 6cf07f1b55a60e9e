"""The real oras reads what is packed: bills of materials as referrers of their image, and the model as an artifact."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from edgeloop_components.package import layout, sbom
from edgeloop_components.package.base import base_for
from edgeloop_components.package.blobs import hash_file
from edgeloop_components.package.layers import Part, files_layer
from edgeloop_components.package.model import name_model, write_model
from edgeloop_components.registry import push
from edgeloop_contracts import ModelVersion, digest_of

CREATED = "2023-11-14T22:13:20Z"


def test_oras_discovers_and_pulls(tools: Any, tmp_path: Path) -> None:
    """`oras discover` lists both documents of an image in a layout; `oras pull` of the ModelPack artifact brings the blob."""
    at, folder = tmp_path / "l", tmp_path / "m"
    folder.mkdir()
    (folder / "model.onnx").write_bytes(b"weights" * 500)
    digests = {name: digest_of(name) for name in ("snapshot", "onnx", "reference", "golden")}
    version = ModelVersion(loop="turbine", number=3, state="accepted", run_key="r3", **digests)
    made = write_model(at, version, folder, created=CREATED)
    name_model(at, version, made.artifact, made.modelcar)
    image = layout.write_image(at, [files_layer(folder, "m")], platform="linux/amd64", config={})
    layout.name_image(at, image, "x:1")
    attached = sbom.attach(at, image, "x", CREATED, [Part("a", "1", "pypi")])

    def oras(*words: str) -> str:
        done = subprocess.run([str(tools.oras), *words], capture_output=True, text=True, check=True)
        return done.stdout

    found = oras("discover", "--oci-layout", f"{at}@{image}", "--format", "json")
    assert all(digest in found for digest in attached)
    assert sbom.SPDX in found
    assert sbom.CYCLONEDX in found
    oras("pull", "--oci-layout", f"{at}@{made.artifact}", "-o", str(tmp_path / "out"))
    pulled = tmp_path / "out" / "models" / "turbine" / "3"
    assert hash_file(pulled) == made.blob


def test_a_base_comes_from_a_registry(docker_registry: Any, tmp_path: Path) -> None:
    """A base named `registry/name@sha256:...` is pulled for the target's platform only; its layers are then in the layout."""
    source, at, here = tmp_path / "source", tmp_path / "l", tmp_path / "here"
    (source / "bin").mkdir(parents=True)
    (source / "bin" / "python3.11").write_text("elf")
    layer = files_layer(source, "usr", compressed=True)
    images = [
        layout.write_image(at, [layer], platform=p, config={"Env": ["A=1"]}) for p in ("linux/amd64", "linux/arm64")
    ]
    index = layout.write_index(at, images)
    layout.name_image(at, index, "base:1")
    push(f"oci:{at}:base:1", f"{docker_registry.host}/base:1")
    found = base_for(f"{docker_registry.host}/base@{index}", "linux/arm64", here)
    assert found is not None
    assert (found.digest, found.python, dict(found.environment)) == (images[1], "/usr/bin/python3.11", {"A": "1"})
    layout.verify(here, images[1])
