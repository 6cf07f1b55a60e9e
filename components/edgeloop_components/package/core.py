"""Packs one version for one target as an OCI image, and the node agent as another.

An image is the layers that the target's runtime contributes (runtimes/), the model's own layer last, so that a node
that has the runtime fetches only the model. The same input gives the same digest. An onnxruntime image holds wheels and
code but no Python: the base layer comes with a release's image build; the stand-in uses the machine's Python.

Refuses: layers made for another platform than the target's, and an image over the target's budget.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgeloop_components.package import layout as oci
from edgeloop_components.package.layers import (
    SITE,
    Layer,
    PackageError,
    code_layer,
    host_platform,
    wheels_layer,
)
from edgeloop_components.runtimes import runtime_for
from edgeloop_contracts import Loop, ModelVersion, Package, ParityResult, ResourceProfile, Target, dumps

__all__ = ["AGENT_ENTRYPOINT", "Image", "PackageError", "agent_image", "package"]

USER = "65532:65532"  # "nonroot" of the distroless images; no such user need exist on the node
ENVIRONMENT = {
    "ORT_DISABLE_TELEMETRY": "1",  # onnxruntime's Linux wheel reports to its maker otherwise
    "PYTHONDONTWRITEBYTECODE": "1",  # the root file system is read-only
    "PYTHONPATH": f"/{SITE}",
}
AGENT_ENTRYPOINT = ("/usr/bin/python3", "-m", "edgeloop_node", "agent")
_MIB = 1 << 20


@dataclass(frozen=True)
class Image:
    """An image in a layout. Deployed by `digest` only."""

    repository: str
    digest: str
    platform: str
    size_bytes: int


def package(
    loop: Loop,
    version: ModelVersion,
    target: Target,
    compiled_dir: Path,
    layout: Path,
    *,
    parity: ParityResult | None = None,
    profile: ResourceProfile | None = None,
    repository: str = "",
) -> Package:
    """Writes the image of `version` for `target` into `layout` and gives the package that names it by digest.

    `compiled_dir` holds what the compile step left (model, reference.json, golden.json); version.json is written beside
    them here. `repository` is the image's name without tag, default `edgeloop/<loop>/<target>`. PackageError when a
    layer does not fit the target's platform or the image does not fit its budget; the layout then lists no such image.
    """
    name = repository or f"edgeloop/{loop.name}/{target.name}"
    runtime = runtime_for(target)
    with tempfile.TemporaryDirectory() as temporary:
        layers = runtime.layers(_model_folder(version, compiled_dir, Path(temporary, "model")))
        _check_platform(layers, target)
        digest = oci.write_image(
            layout,
            layers,
            platform=target.platform,
            config=_config(runtime.entrypoint, _labels(loop, version, target)),
            created=datetime.fromtimestamp(int(version.created_s), UTC).strftime("%Y-%m-%dT%H:%M:%SZ"),
            annotations=_labels(loop, version, target),
        )
    size_bytes = oci.image_size_bytes(layout, digest)
    _check_budget(size_bytes, target, layers)
    oci.name_image(layout, digest, f"{name}:{version.number}")
    last = oci.manifest(layout, digest)["layers"][-1]
    return Package(
        loop=loop.name,
        version=version.number,
        target=target.name,
        platform=target.platform,
        runtime=target.runtime,
        repository=name,
        digest=digest,
        model_layer=last["digest"],
        size_bytes=size_bytes,
        model_layer_bytes=last["size"],
        parity=parity,
        profile=profile,
    )


def agent_image(layout: Path, *, platform: str = "", repository: str = "edgeloop/agent") -> Image:
    """Writes the image of the node agent: its code and paho-mqtt, both pure Python, so it fits every platform.

    `platform` is this machine's where none is given. The image's tag is the first 12 hex digits of its digest.
    """
    platform = platform or host_platform()
    layers = [wheels_layer(["paho-mqtt"]), code_layer(["edgeloop_contracts", "edgeloop_node"])]
    labels = {"org.opencontainers.image.title": "edgeloop agent"}
    config = _config(AGENT_ENTRYPOINT, labels)
    digest = oci.write_image(layout, layers, platform=platform, config=config, annotations=labels)
    oci.name_image(layout, digest, f"{repository}:{digest.removeprefix('sha256:')[:12]}")
    return Image(repository, digest, platform, oci.image_size_bytes(layout, digest))


def _model_folder(version: ModelVersion, compiled_dir: Path, folder: Path) -> Path:
    """What the image's /model holds: the compiled model, its reference and golden rows, and the version's document."""
    for name in ("reference.json", "golden.json"):
        if not (compiled_dir / name).is_file():
            found = ", ".join(sorted(path.name for path in compiled_dir.iterdir())) or "an empty folder"
            raise PackageError(f"{compiled_dir}: expected {name} of a compiled model, found {found}")
    shutil.copytree(compiled_dir, folder)
    (folder / "version.json").write_text(dumps(version, indent=1) + "\n")
    return folder


def _config(entrypoint: Sequence[str], labels: Mapping[str, str]) -> dict[str, Any]:
    environment = [f"{name}={value}" for name, value in sorted(ENVIRONMENT.items())]
    return {"User": USER, "Env": environment, "Entrypoint": list(entrypoint), "Labels": dict(labels)}


def _labels(loop: Loop, version: ModelVersion, target: Target) -> dict[str, str]:
    return {
        "org.opencontainers.image.title": version.name,
        "org.opencontainers.image.version": str(version.number),
        "dev.edgeloop.loop": loop.name,
        "dev.edgeloop.version": str(version.number),
        "dev.edgeloop.target": target.name,
        "dev.edgeloop.runtime": target.runtime,
        "dev.edgeloop.snapshot": version.snapshot,
        "dev.edgeloop.onnx": version.onnx,
        "dev.edgeloop.schema-hash": version.schema_hash,
        "dev.edgeloop.run-key": version.run_key,
    }


def _check_platform(layers: Sequence[Layer], target: Target) -> None:
    for layer in layers:
        if layer.platform not in ("", target.platform):
            raise PackageError(
                f"target {target.name}: its image must hold machine code for {target.platform}, found {layer.platform} "
                f"({layer.comment}): the wheels of this machine do not run there. Package it on such a machine."
            )


def _check_budget(size_bytes: int, target: Target, layers: Sequence[Layer]) -> None:
    limit = target.budget.image_mib
    if limit is not None and size_bytes > limit * _MIB:
        largest = max(layers, key=lambda layer: layer.size_bytes)
        raise PackageError(
            f"target {target.name}: the image has {size_bytes / _MIB:.2f} MiB, its budget is {limit:g} MiB "
            f"(budget.image_mib). The largest layer, {largest.comment[:120]}, has {largest.size_bytes / _MIB:.2f} MiB "
            "before compression."
        )
