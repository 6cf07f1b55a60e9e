"""Compiles the training pipeline: IR YAML, and the Pipeline and PipelineVersion objects for Kubernetes-native mode.

What is compiled names its image by digest, or it is refused: the wrappers travel in the IR and the functions come from the
image, and a tag would let them drift apart. The same input gives the same bytes (on one version of kfp), so a version's
name is made from the content, and equal content has one name. This module talks to no server.
"""

from __future__ import annotations

import functools
import hashlib
import re
import tempfile
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeloop_contracts import Loop, dumps
from edgeloop_pipelines.limits import LIMITS

__all__ = [
    "Compiled",
    "NotForClustersError",
    "compile_pipeline",
    "manifests",
    "must_fit_clusters",
    "problems_on_clusters",
]

_COMPILER = threading.Lock()  # kfp keeps the pipeline that it builds in a variable of the process
_BY_DIGEST = re.compile(r"[a-z0-9]([a-z0-9._/:-]*[a-z0-9])?@sha256:[0-9a-f]{64}")


class NotForClustersError(ValueError):
    """The pipeline would not work on a cluster; the message says why, `hint` what to do."""

    exit_code = 1

    def __init__(self, message: str, hint: str = "") -> None:
        super().__init__(message)
        self.hint = hint


@dataclass(frozen=True)
class Compiled:
    """A compiled pipeline: its name, the IR (two YAML documents), and the version name made from the IR's content."""

    name: str
    image: str
    loop: Loop | None
    ir: str

    @property
    def version(self) -> str:
        return f"{self.name}-{hashlib.sha256(self.ir.encode()).hexdigest()[:12]}"


def compile_pipeline(image: str, loop: Loop | None = None) -> Compiled:
    """Compiles the pipeline with its steps in `image` (`name@sha256:<hex>`), for any loop or with one as the default.

    Without `image` it is the one that this release was built with, where there is one.
    `NotForClustersError` when the image has no digest, or the loop needs what a cluster does not have.
    """
    from edgeloop_components import built_image
    from edgeloop_pipelines import training

    image = image or built_image("steps")
    if not _BY_DIGEST.fullmatch(image):
        raise NotForClustersError(
            f"image of the steps: expected name@sha256:<64 hex digits>, got {image or 'nothing'}",
            "say --image, or set EDGELOOP_STEPS_IMAGE",
        )
    if loop:
        must_fit_clusters(loop)
    name = f"edgeloop-{loop.name}" if loop else training.NAME
    return Compiled(name, image, loop, _ir(image, name, dumps(loop) if loop else None))


def must_fit_clusters(loop: Loop) -> None:
    """`NotForClustersError` when the loop needs what a cluster does not have."""
    if problems := problems_on_clusters(loop):
        raise NotForClustersError(
            "; ".join(problems), "put the data in the object store and name it s3://bucket/prefix/"
        )


def problems_on_clusters(loop: Loop) -> list[str]:
    """What in a loop only this machine can see: files."""
    values = {"data.source": loop.data.source, "train.onnx": loop.train.onnx}
    return [
        f"{field}: {value} is a file, which a step on a cluster cannot see"
        for field, value in values.items()
        if value and not value.startswith("s3://") and not re.fullmatch(r"[\w.]+:\w+", value)
    ]


def manifests(compiled: Compiled, namespace: str = "") -> Sequence[dict[str, Any]]:
    """The Pipeline and PipelineVersion objects of a compiled pipeline."""
    from kfp.compiler.compiler_utils import KubernetesManifestOptions

    options = KubernetesManifestOptions(
        pipeline_name=compiled.name,
        pipeline_version_name=compiled.version,
        namespace=namespace or None,
        include_pipeline_manifest=True,
    )
    import yaml

    loop_text = dumps(compiled.loop) if compiled.loop else None
    text = _compiled(
        compiled.image,
        compiled.name,
        loop_text,
        kubernetes_manifest_format=True,
        kubernetes_manifest_options=options,
    )
    objects = yaml.safe_load_all(text)
    return [item for item in objects if item]


@functools.lru_cache(8)
def _ir(image: str, name: str, loop_text: str | None) -> str:
    return _compiled(image, name, loop_text)


def _compiled(image: str, name: str, loop_text: str | None, **options: Any) -> str:
    from kfp import compiler

    from edgeloop_pipelines import training

    with _COMPILER, tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        pipeline = training.build(image, name=name, loop_text=loop_text, limits=LIMITS)
        compiler.Compiler().compile(pipeline, str(path), **options)
        return path.read_text()
