"""The runtimes that a model can be compiled for: one row in RUNTIMES and one module each.

A row says how the reference ONNX becomes what the runtime loads (`compile`), how that scores rows (`load`), which layers
an image of it has (`layers`) and what starts it (`entrypoint`). To add a runtime: write `runtimes/<name>.py`, add a row
here, and the parity and profile tests run over it. Modules and their heavy imports are loaded at first use.

Refuses a runtime that has no row, and a platform that the runtime does not run on.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_contracts import Target

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edgeloop_components.package.layers import Layer

__all__ = ["RUNTIMES", "ModelError", "Runtime", "RuntimeRefused", "Score", "runtime_for"]

Score = Callable[["npt.NDArray[np.float32]"], "tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]"]


class ModelError(ValueError):
    """A file is not the model it should be. The message says what, where, what was expected and what was found."""


class RuntimeRefused(ValueError):  # noqa: N818
    """No such runtime, or not on this platform; the message lists what there is."""


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """One runtime. A model folder holds model.onnx, reference.json, golden.json and perhaps version.json."""

    name: str
    platforms: tuple[str, ...]
    compile: Callable[[Path, Path], None]  # model.onnx, and the folder that gets what the runtime loads. ModelError.
    load: Callable[[Path], Score]  # compiled folder -> rows [n, features] to labels [n] and probabilities [n, classes]
    layers: Callable[[Path], list[Layer]]  # compiled folder -> the image's layers, the model's own last
    entrypoint: tuple[str, ...]
    remark: Callable[[Any], str]  # onnx.ModelProto -> what this runtime makes of it, in a sentence
    server_mib: float  # memory that the server around the model needs on top of what the profile measures


def _onnxruntime() -> Runtime:
    from edgeloop_components.runtimes import onnxruntime as module

    return Runtime(
        name="onnxruntime",
        platforms=("linux/amd64", "linux/arm64"),
        compile=module.compile_model,
        load=module.load,
        layers=module.layers,
        entrypoint=("/usr/bin/python3", "-m", "edgeloop_node", "server", "--model", "/model"),
        remark=module.remark,
        server_mib=24.0,
    )


RUNTIMES: dict[str, Runtime] = {runtime.name: runtime for runtime in (_onnxruntime(),)}


def runtime_for(target: Target) -> Runtime:
    """The runtime of a target. RuntimeRefused when it has no row here or does not run on the target's platform."""
    runtime = RUNTIMES.get(target.runtime)
    if runtime is None:
        known = ", ".join(sorted(RUNTIMES))
        raise RuntimeRefused(
            f"target {target.name}: expected a runtime of this edgeloop ({known}), got {target.runtime}"
        )
    if target.platform not in runtime.platforms:
        raise RuntimeRefused(
            f"target {target.name}: {runtime.name} runs on {', '.join(runtime.platforms)}, not on {target.platform}"
        )
    return runtime
