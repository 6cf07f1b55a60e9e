"""Packs one version for one target as an OCI image, and the node agent as another.

An image is what the target's base holds, if it has one, then the layers that the target's runtime contributes (runtimes/),
the model's own layer last, so that a node that has the runtime fetches only the model. Its entry point is
/edgeloop/server, whatever the runtime. The same input gives the same digest. Bills of materials refer to the image.

A Python image without a base (package/base.py) holds wheels and code but no Python: its label and its needs say so, and
the stand-in for KubeEdge lends it the machine's. Refuses: layers made for another platform than the target's, another
onnxruntime than showed parity, and an image over the target's budget.
"""

from __future__ import annotations

import shutil
import tempfile
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from edgeloop_components.package import layout as oci
from edgeloop_components.package.base import Base, base_for, setting
from edgeloop_components.package.installed import code_layer, wheels_layer
from edgeloop_components.package.layers import PYTHON, SITE, Build, Layer, PackageError, Part, host_platform
from edgeloop_components.package.model import Model, model_place, name_model, write_model
from edgeloop_components.package.proved import check_proved
from edgeloop_components.package.sbom import attach, attach_index
from edgeloop_components.runtimes import Runtime, runtime_for
from edgeloop_contracts import Loop, ModelVersion, Needs, Package, ParityResult, ResourceProfile, Target, dumps

__all__ = [
    "AGENT_ENTRYPOINT",
    "ENTRYPOINT",
    "Image",
    "PackageError",
    "agent_image",
    "index_packages",
    "model_folder",
    "package",
]

USER = "65532:65532"  # "nonroot" of the distroless images; no such user need exist on the node
ENTRYPOINT = ("/edgeloop/server",)
PYTHON_ENVIRONMENT = {
    "PYTHONDONTWRITEBYTECODE": "1",  # the root file system is read-only
    "PYTHONPATH": f"/{SITE}",
}
AGENT_ENTRYPOINT = (PYTHON, "-m", "edgeloop_node", "agent")
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
    base: str | None = None,
    sign: Callable[[Path], object] | None = None,
    sign_program: Callable[[Path], object] | None = None,
    model_dir: Path | None = None,
    named: bool = True,
) -> Package:
    """Writes the image of `version` for `target` into `layout` and gives the package that names it by digest.

    `compiled_dir` holds what the compile step left (model, reference.json, golden.json); version.json is written beside them
    here. `repository` is the image's name without tag, default `edgeloop/<loop>/<target>`. `base` is what a Python image
    stands on (package/base.py); None: what the target or EDGELOOP_BASE says. `sign` may add files to the folder of what goes
    into the image (the model, or a native server) before it is packed; `sign_program` to that of a Python image's script,
    which is the same for all versions. The model, of `compiled_dir` where that holds model.onnx, else of `model_dir`, is
    written as an artifact and as a modelcar, too. Without `named` the caller names all of it. PackageError when a layer does
    not fit the target's platform or the image does not fit its budget; the layout then lists no such image.
    """
    name = repository or f"edgeloop/{loop.name}/{target.name}"
    runtime = runtime_for(target)
    under = base_for(setting(target) if base is None else base, target.platform, layout) if runtime.python else None
    created = _time(version.created_s)
    labels = {**_labels(version, target, created), **_base_labels(runtime, under)}
    source = compiled_dir if (compiled_dir / "model.onnx").is_file() else model_dir
    with model_folder(version, compiled_dir) as folder:
        _keep_only(folder, runtime.held)
        if sign:
            sign(folder)
        python = under.python if under else PYTHON
        build = Build(target.platform, model_place(version), locked=bool(under), python=python, sign=sign_program)
        layers = runtime.layers(folder, build)
        _check_platform(layers, target)
        check_proved(layers, target.name)
        model = _model(layout, version, source, sign, created) if source else None
        digest = oci.write_image(
            layout,
            layers,
            platform=target.platform,
            config=_config(ENTRYPOINT, labels, _environment(runtime, under, build)),
            created=created,
            annotations=labels,
            under=under.under if under else None,
        )
    size_bytes = oci.image_size_bytes(layout, digest)
    _check_budget(size_bytes, target, layers)
    if named:
        oci.name_image(layout, digest, f"{name}:{version.number}")
        if model:
            name_model(layout, version, model.artifact, model.modelcar)
    attach(layout, digest, name, created, [*_parts(version), *(under.parts if under else ()), *_parts_of(layers)])
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
        needs=_needs(runtime, target, profile, layers, under),
        model_artifact=model.artifact if model else "",
        modelcar=model.modelcar if model else "",
    )


def index_packages(
    layout: Path, packages: Sequence[Package], repository: str, seal: Callable[[str], object] = lambda _: None
) -> list[Package]:
    """Writes the OCI index over the images of one version for several platforms, named `<repository>:<number>`.

    Gives the packages with the index's digest, which `seal` gets before the index has its name. LayoutError when two are for
    one platform.
    """
    digest = oci.write_index(layout, [package.digest for package in packages])
    attach_index(layout, digest, repository)
    seal(digest)
    oci.name_image(layout, digest, f"{repository}:{packages[0].version}")
    return [replace(package, index=digest) for package in packages]


def agent_image(
    layout: Path, *, platform: str = "", repository: str = "edgeloop/agent", base: str | None = None
) -> Image:
    """Writes the image of the node agent: its code and paho-mqtt, both pure Python, so it fits every platform.

    `platform` is this machine's where none is given. The image's tag is the first 12 hex digits of its digest.
    """
    platform = platform or host_platform()
    under = base_for(setting() if base is None else base, platform, layout)
    layers = [wheels_layer(["paho-mqtt"]), code_layer(["edgeloop_contracts", "edgeloop_node"])]
    labels = {"org.opencontainers.image.title": "edgeloop agent"}
    environment = {**(under.environment if under else {}), **PYTHON_ENVIRONMENT}
    entrypoint = (under.python if under else PYTHON, *AGENT_ENTRYPOINT[1:])
    config = _config(entrypoint, labels, environment)
    below = under.under if under else None
    digest = oci.write_image(layout, layers, platform=platform, config=config, annotations=labels, under=below)
    oci.name_image(layout, digest, f"{repository}:{digest.removeprefix('sha256:')[:12]}")
    return Image(repository, digest, platform, oci.image_size_bytes(layout, digest))


@contextmanager
def model_folder(version: ModelVersion, compiled_dir: Path) -> Iterator[Path]:
    """The compiled model, its reference and golden rows, and the version's document, in a folder that goes away."""
    for name in ("reference.json", "golden.json"):
        if not (compiled_dir / name).is_file():
            found = ", ".join(sorted(path.name for path in compiled_dir.iterdir())) or "an empty folder"
            raise PackageError(f"{compiled_dir}: expected {name} of a compiled model, found {found}")
    with tempfile.TemporaryDirectory() as temporary:
        folder = Path(temporary, "model")
        shutil.copytree(compiled_dir, folder)
        (folder / "version.json").write_text(dumps(version, indent=1) + "\n")
        yield folder


def _config(entrypoint: Sequence[str], labels: Mapping[str, str], environment: Mapping[str, str]) -> dict[str, Any]:
    listed = [f"{name}={value}" for name, value in sorted(environment.items())]
    return {"User": USER, "Env": listed, "Entrypoint": list(entrypoint), "Labels": dict(labels)}


def _environment(runtime: Runtime, under: Base | None, build: Build) -> dict[str, str]:
    if not runtime.python:
        return dict(runtime.environment)
    place = {"EDGELOOP_MODEL": f"/{build.place}"}
    return {**(under.environment if under else {}), **PYTHON_ENVIRONMENT, **runtime.environment, **place}


def _time(seconds: float) -> str:
    return datetime.fromtimestamp(int(seconds), UTC).strftime("%Y-%m-%dT%H:%M:%SZ")


def _keep_only(folder: Path, names: Sequence[str]) -> None:
    """Removes what does not go into the image, where the runtime says what does."""
    for path in folder.iterdir() if names else ():
        if path.name not in names:
            shutil.rmtree(path) if path.is_dir() else path.unlink()


def _model(
    layout: Path, version: ModelVersion, source: Path, sign: Callable[[Path], object] | None, created: str
) -> Model:
    """The model itself: nothing of a target is in it, so all targets share it."""
    with model_folder(version, source) as folder:
        if sign and not (source / "signature.json").exists():
            sign(folder)
        return write_model(layout, version, folder, created=created, annotations=_version_labels(version, created))


def _labels(version: ModelVersion, target: Target, created: str) -> dict[str, str]:
    about = {"dev.edgeloop.target": target.name, "dev.edgeloop.runtime": target.runtime}
    return {**_version_labels(version, created), **about}


def _version_labels(version: ModelVersion, created: str) -> dict[str, str]:
    return {
        "org.opencontainers.image.title": version.name,
        "org.opencontainers.image.version": str(version.number),
        "org.opencontainers.image.created": created,
        **({"org.opencontainers.image.revision": version.code} if version.code else {}),
        "dev.edgeloop.loop": version.loop,
        "dev.edgeloop.version": str(version.number),
        "dev.edgeloop.snapshot": version.snapshot,
        "dev.edgeloop.onnx": version.onnx,
        "dev.edgeloop.schema-hash": version.schema_hash,
        "dev.edgeloop.run-key": version.run_key,
    }


def _base_labels(runtime: Runtime, under: Base | None) -> dict[str, str]:
    if under:
        return {"org.opencontainers.image.base.name": under.name, "org.opencontainers.image.base.digest": under.digest}
    return {"dev.edgeloop.base": "none: needs a Python 3.11 beside it"} if runtime.python else {}


def _parts(version: ModelVersion) -> list[Part]:
    return [Part(version.loop, str(version.number), "generic", sha256=version.onnx.removeprefix("sha256:"))]


def _parts_of(layers: Sequence[Layer]) -> list[Part]:
    return [part for layer in layers for part in layer.parts]


def _needs(
    runtime: Runtime, target: Target, profile: ResourceProfile | None, layers: Sequence[Layer], under: Base | None
) -> Needs:
    """What a node must have for the image: its files take `disk_mib` unpacked; its memory limit was measured."""
    plain_bytes = sum(layer.size_bytes for layer in layers) + (under.plain_bytes if under else 0)
    return Needs(
        platform=target.platform,
        runtime="python3.11" if runtime.python and not under else "",
        instruction_set=runtime.instruction_set(target),
        accelerator=runtime.accelerator(target),
        driver=runtime.driver,
        memory_mib=float(profile.memory_limit_mib) if profile else 0.0,
        disk_mib=round(plain_bytes / _MIB, 3),
    )


def _check_platform(layers: Sequence[Layer], target: Target) -> None:
    for layer in layers:
        if layer.platform not in ("", target.platform):
            raise PackageError(
                f"target {target.name}: its image must hold machine code for {target.platform}, found {layer.platform} "
                f"({layer.comment}): the wheels of this machine do not run there. Name a base (EDGELOOP_BASE=debian): its "
                "images take the locked wheels of their platform."
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
