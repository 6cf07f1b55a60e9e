"""Compiles the training pipeline: IR YAML, and the Pipeline and PipelineVersion objects for Kubernetes-native mode.

What is compiled names its image by digest, or it is refused: the wrappers travel in the IR and the functions come from the
image, and a tag would let them drift apart. The same input gives the same bytes (on one version of kfp), so a version's
name is made from the content, and equal content has one name. This module talks to no server.
"""

from __future__ import annotations

import hashlib
import re
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from edgeloop_contracts import Loop, dumps

__all__ = ["Compiled", "NotForClustersError", "compile_pipeline", "manifests", "problems_on_clusters"]

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
    problems = problems_on_clusters(loop) if loop else []
    if problems:
        raise NotForClustersError(
            "; ".join(problems), "put the data in the object store and name it s3://bucket/prefix/"
        )
    name = f"edgeloop-{loop.name}" if loop else training.NAME
    pipeline = training.build(image, name=name, loop_text=dumps(loop) if loop else None)
    return Compiled(name, image, loop, _compiled(pipeline))


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

    from edgeloop_pipelines import training

    options = KubernetesManifestOptions(
        pipeline_name=compiled.name,
        pipeline_version_name=compiled.version,
        namespace=namespace or None,
        include_pipeline_manifest=True,
    )
    loop_text = dumps(compiled.loop) if compiled.loop else None
    pipeline = training.build(compiled.image, name=compiled.name, loop_text=loop_text)
    import yaml

    objects = yaml.safe_load_all(
        _compiled(pipeline, kubernetes_manifest_format=True, kubernetes_manifest_options=options)
    )
    return [item for item in objects if item]


def _compiled(pipeline: Any, **options: Any) -> str:
    from kfp import compiler

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        compiler.Compiler().compile(pipeline, str(path), **options)
        return path.read_text()
