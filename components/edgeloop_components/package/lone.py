"""Packs a lone ONNX file as images, one for each platform, with an index over them: `edgeloop model package`.

Parity comes first, on every platform, with the very program that is packed: a model that does not hold, or a platform that
cannot be run here, is refused, and nothing is written. Of onnxruntime there is no program of the model's own: this machine's
shows parity, and images for other platforms get the same version of it. With a signer the index, every image below it, the
model's artifact and the modelcar are signed, and provenance and bills of materials attested, as the packing step does it
(packing.py). Names are given last, and a disk that becomes full leaves nothing where nothing was.

Refuses, before it compiles anything, names that are none, a place that is no image layout and cannot become one, and rows
that are too wide for a server; then a failed parity, and what package/core.py refuses.
"""

from __future__ import annotations

import importlib.metadata
import shutil
import tempfile
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_components.compile.lone import Lone
from edgeloop_components.compile.lone_build import build_lone
from edgeloop_components.compile.lone_documents import check_servable
from edgeloop_components.compile.lone_loop import loop_around
from edgeloop_components.compile.lone_parity import PlatformParity, parity_lone
from edgeloop_components.package.blobs import storing
from edgeloop_components.package.core import index_packages, package
from edgeloop_components.package.layers import PackageError, host_platform
from edgeloop_components.package.model import name_model
from edgeloop_components.package.names import check_names
from edgeloop_components.package.place import check_place
from edgeloop_components.package.whole import about, whole_or_nothing
from edgeloop_components.packing import Seal, file_signer, index_seal, signed
from edgeloop_components.workplace import workplace
from edgeloop_contracts import ModelVersion, Package, ParityResult, loads, to_json
from edgeloop_contracts.artifacts import Signature

if TYPE_CHECKING:
    from edgeloop_components.signing.keys import Signer

__all__ = ["LonePackage", "package_lone"]

ROWS = 1000  # that parity is shown on
DOCUMENTS = ("reference.json", "golden.json", "version.json")
Say = Callable[[str], None]


@dataclass(frozen=True)
class LonePackage:
    """What was written: the index that has the name, and a package for each platform."""

    name: str
    index: str
    packages: tuple[Package, ...]
    signed: bool

    def document(self) -> dict[str, Any]:
        """As JSON."""
        packages = [to_json(package) for package in self.packages]
        return {"name": self.name, "index": self.index, "signed": self.signed, "packages": packages}


def package_lone(
    lone: Lone,
    layout: Path,
    *,
    platforms: Sequence[str],
    runtime: str,
    repository: str = "",
    base: str | None = None,
    seed: int = 0,
    signer: Signer | None = None,
    say: Say = lambda _: None,
) -> LonePackage:
    """Writes images and index into `layout`. PackageError, ModelError, Unsupported, ToolchainError, RuntimeRefused."""
    name = repository or f"edgeloop/{lone.name}"
    check_names(str(lone.path), lone.name, name)
    check_place(layout)
    check_servable(lone)
    proofs = _proofs(lone, platforms, runtime, seed, say)
    loop = loop_around(lone.name, _targets(platforms, runtime))
    with (
        about(f"package {name}:{lone.version}"),
        whole_or_nothing(layout),
        storing(Path(tempfile.gettempdir())),
        workplace(Path(tempfile.gettempdir()), "edgeloop-package-") as temporary,
    ):
        compiled = Path(temporary, "compiled")
        build_lone(lone, compiled, platforms=platforms, runtime=runtime, seed=seed, say=say)
        version = loads(ModelVersion, (compiled / "version.json").read_bytes())
        model = _model_folder(lone, compiled, Path(temporary, "model"))
        made = []
        for target in loop.targets:
            folder = _one_platform(compiled, Path(temporary, target.name), target.platform)
            proof = proofs[target.platform]
            given: dict[str, Any] = {
                "parity": proof,
                "repository": name,
                "base": base,
                "model_dir": model,
                "sign": file_signer(version, signer),
                "sign_program": file_signer(None, signer),
                "named": False,  # until all of it is there and signed
            }
            image = package(loop, version, target, folder, layout, **given)
            made.append(signed(layout, image, version, signer, file=lone.path.name))
            say(f"{target.platform}: image {image.digest}, {image.size_bytes} bytes")
        packages = _indexed(
            layout, made, version, index_seal(layout, made[0], version, signer, name, file=lone.path.name)
        )
    return LonePackage(f"{name}:{version.number}", packages[0].index, tuple(packages), signer is not None)


def _indexed(layout: Path, made: Sequence[Package], version: ModelVersion, seal: Seal) -> list[Package]:
    """The packages under their index, which gets its name last."""
    found: dict[str, Signature] = {}
    name_model(layout, version, made[0].model_artifact, made[0].modelcar)
    packages = index_packages(layout, made, made[0].repository, lambda digest: found.update(seal(digest)))
    own = (found[packages[0].index],) if found else ()
    return [replace(one, signatures=(*one.signatures, *own)) for one in packages]


def _model_folder(lone: Lone, compiled: Path, folder: Path) -> Path:
    """The model as the servers take it, and its documents: what the ModelPack artifact and the modelcar hold."""
    folder.mkdir()
    (folder / "model.onnx").write_bytes(lone.adapted.model.SerializeToString())
    for name in DOCUMENTS:
        shutil.copyfile(compiled / name, folder / name)
    return folder


def _proofs(lone: Lone, platforms: Sequence[str], runtime: str, seed: int, say: Say) -> Mapping[str, ParityResult]:
    """A proof for each platform: of the program that is packed, or, where the runtime brings none of the model's own, of this
    machine's onnxruntime, as in a loop's compile step. core.package sees to it that the image gets the same version."""
    here = host_platform()
    asked = list(platforms) if runtime == "native" else [here]
    found = {one.platform: one for one in parity_lone(lone, asked, runtime, rows=ROWS, seed=seed, say=say)}
    bad = next((result for result in found.values() if result.state != "passed"), None)
    if bad is not None:
        shown = f"; the worst row: {dict(bad.worst)}" if bad.worst else ""
        raise PackageError(f"{lone.path}: parity on {bad.platform}: {bad.state}: {bad.why}{shown}; nothing was packed")
    for platform in platforms:
        if platform not in found:
            version = importlib.metadata.version("onnxruntime")
            say(
                f"{platform}: parity was shown by onnxruntime {version} on this machine ({here}); the image gets the same version"
            )
    return {platform: _proof(lone, runtime, platform, found.get(platform) or found[here]) for platform in platforms}


def _proof(lone: Lone, runtime: str, platform: str, result: PlatformParity) -> ParityResult:
    """`platforms` names the one that computed: this machine's, where no program of the image's platform did."""
    figures = result.agreement
    assert figures is not None  # it passed
    return ParityResult(
        loop=lone.name,
        target=_target_name(platform),
        runtime=runtime,
        rows=figures.rows,
        max_abs_difference=figures.max_abs_difference,
        limit=lone.limit,
        label_differences=figures.label_differences,
        passed=True,
        output_digest=result.digest,
        platforms={result.platform: result.digest},
    )


def _target_name(platform: str) -> str:
    return platform.replace("/", "-")


def _targets(platforms: Sequence[str], runtime: str) -> list[dict[str, str]]:
    return [{"name": _target_name(p), "platform": p, "runtime": runtime} for p in platforms]


def _one_platform(compiled: Path, folder: Path, platform: str) -> Path:
    """The compiled folder of one platform, as the pipeline's step leaves it."""
    folder.mkdir()
    names = [*DOCUMENTS, *(name for name in ("model.onnx", "model.c", "model.h") if (compiled / name).is_file())]
    for name in names:
        shutil.copyfile(compiled / name, folder / name)
    if (server := compiled / platform / "server").is_file():
        shutil.copy2(server, folder / "server")
    return folder
