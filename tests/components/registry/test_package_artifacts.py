"""The real oras reads what is packed: bills of materials as referrers of their image, and the model as an artifact."""

from __future__ import annotations

import subprocess
from pathlib import Path
from typing import Any

from edgeloop_components.package import layout, sbom
from edgeloop_components.package.blobs import hash_file
from edgeloop_components.package.layers import Part, files_layer
from edgeloop_components.package.model import write_model
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
