"""The model itself in a layout, besides the images that serve it: a ModelPack artifact and a modelcar, over one blob.

The blob is a plain tar with `models/<loop>/<number>/model.onnx` and the documents beside it. The ModelPack manifest (CNCF
model-spec) is for registries and tools that know models; the modelcar is an ordinary image of the same layer, for KServe and
for Kubernetes image volumes, which mount nothing else. An onnxruntime server's image has the same blob as its last layer.

Refuses a folder without model.onnx.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeloop_components.package import layout as oci
from edgeloop_components.package.documents import as_descriptor, write_json
from edgeloop_components.package.layers import Layer, PackageError, files_layer
from edgeloop_contracts import ModelVersion

__all__ = [
    "ARTIFACT",
    "PLATFORMS",
    "Model",
    "model_layer",
    "model_place",
    "modelcar_name",
    "name_model",
    "write_model",
    "write_model_artifact",
    "write_modelcar",
]

ARTIFACT = "application/vnd.cncf.model.manifest.v1+json"
_CONFIG = "application/vnd.cncf.model.config.v1+json"
_WEIGHT = "application/vnd.cncf.model.weight.v1.tar"
PLATFORMS = ("linux/amd64", "linux/arm64", "linux/arm/v7", "linux/riscv64")


@dataclass(frozen=True)
class Model:
    """Digests of the ModelPack manifest, of the modelcar's index, and of the blob that they share."""

    artifact: str
    modelcar: str
    blob: str


def model_place(version: ModelVersion) -> str:
    """The model's folder in images: the same in servers that read it, in the modelcar and in the ModelPack artifact."""
    return f"models/{version.loop}/{version.number}"


def modelcar_name(model: str) -> str:
    """The modelcar's name beside an artifact of the name `model`."""
    return f"{model}-modelcar"


def model_layer(version: ModelVersion, folder: Path) -> Layer:
    """The layer of a model folder. PackageError when it holds no model.onnx."""
    if not (folder / "model.onnx").is_file():
        raise PackageError(f"{folder}: expected model.onnx in it, found none")
    return files_layer(folder, model_place(version), comment="model")


def _notes(version: ModelVersion) -> dict[str, str]:
    """Annotations of the layer: tools skip one without a title."""
    return {"org.cncf.model.filepath": model_place(version), "org.opencontainers.image.title": model_place(version)}


def write_model_artifact(
    layout: Path, version: ModelVersion, layer: Layer, *, created: str, annotations: Mapping[str, str] | None = None
) -> str:
    """Writes the ModelPack manifest and gives its digest; it is not named yet."""
    blob = oci.write_layer(layout, layer)
    config = {
        "descriptor": {"name": version.loop, "version": str(version.number), "createdAt": created},
        "config": {"format": "onnx"},
        "modelfs": {"type": "layers", "diffIds": [blob.diff_id]},
    }
    body = {
        "schemaVersion": 2,
        "mediaType": oci.MANIFEST,
        "artifactType": ARTIFACT,
        "config": write_json(layout, _CONFIG, config),
        "layers": [as_descriptor(_WEIGHT, blob.digest, blob.size_bytes, annotations=_notes(version))],
        "annotations": dict(annotations or {}),
    }
    return str(write_json(layout, oci.MANIFEST, body)["digest"])


def write_modelcar(
    layout: Path,
    version: ModelVersion,
    layer: Layer,
    *,
    created: str,
    annotations: Mapping[str, str] | None = None,
    platforms: Sequence[str] = PLATFORMS,
) -> str:
    """Writes the modelcar, an index of one image for each platform over the one blob, and gives its digest."""
    blob = oci.write_layer(layout, layer)
    part: dict[str, Any] = as_descriptor(blob.media_type, blob.digest, blob.size_bytes, annotations=_notes(version))
    under = oci.Under((part,), (blob.diff_id,), ({"created": created, "created_by": layer.comment},))
    notes = dict(annotations or {})
    config = {"User": "65532:65532", "Labels": notes}
    digests = [
        oci.write_image(layout, [], platform=platform, config=config, created=created, annotations=notes, under=under)
        for platform in platforms
    ]
    return oci.write_index(layout, digests, annotations=notes)


def write_model(
    layout: Path,
    version: ModelVersion,
    folder: Path,
    *,
    created: str,
    annotations: Mapping[str, str] | None = None,
) -> Model:
    """Writes both over one blob; they are not named yet. `folder` holds model.onnx and its documents."""
    layer = model_layer(version, folder)
    artifact = write_model_artifact(layout, version, layer, created=created, annotations=annotations)
    modelcar = write_modelcar(layout, version, layer, created=created, annotations=annotations)
    return Model(artifact, modelcar, oci.write_layer(layout, layer).digest)


def name_model(layout: Path, version: ModelVersion, artifact: str, modelcar: str) -> None:
    """Names both: `edgeloop/<loop>/model:<number>` and `edgeloop/<loop>/model:<number>-modelcar`."""
    name = f"edgeloop/{version.loop}/model:{version.number}"
    oci.name_image(layout, artifact, name)
    oci.name_image(layout, modelcar, modelcar_name(name))
