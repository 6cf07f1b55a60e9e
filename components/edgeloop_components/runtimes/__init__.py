"""The runtimes that a model can be compiled for: one row in RUNTIMES and one module each.

A row says how the reference ONNX becomes what the runtime loads (`compile`), how that scores rows (`load`), which layers
an image of it has (`layers`); every image is started by its /edgeloop/server. To add a runtime: write `runtimes/<name>.py`,
add a row here, and the parity and profile tests run over it. Modules and their heavy imports are loaded at first use.

Refuses a runtime that has no row, and a platform that the runtime does not run on.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_contracts import Target

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Rows = npt.NDArray[np.float32]

    from edgeloop_components.compile.quantised import Judged
    from edgeloop_components.package.layers import Build, Layer

__all__ = ["RUNTIMES", "ModelError", "Runtime", "RuntimeRefused", "Score", "runtime_for"]

Score = Callable[["npt.NDArray[np.float32]"], "tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]"]

Digests = tuple[str, Mapping[str, str]]  # sha256 of all outputs here, and by the platform's own binary if there is one


class ModelError(ValueError):
    """A file is not the model it should be. The message says what, where, what was expected and what was found."""


class RuntimeRefused(ValueError):  # noqa: N818
    """No such runtime, or not on this platform; the message lists what there is."""


@dataclass(frozen=True, kw_only=True)
class Runtime:
    """One runtime. A model folder holds model.onnx, reference.json, golden.json and perhaps version.json."""

    name: str
    platforms: tuple[str, ...]
    parity_limit: float  # largest difference of a probability from the reference's
    compile: Callable[[Path, Path, Target], None]  # model folder, folder that gets what the runtime loads. ModelError.
    load: Callable[[Path], Score]  # compiled folder -> rows [n, features] to labels [n] and probabilities [n, classes]
    digests: Callable[[Path, Rows, Target], Digests]  # compiled folder, rows -> of their outputs
    layers: Callable[
        [Path, Build], list[Layer]
    ]  # folder with the model's files -> the image's layers, the model's own last
    remark: Callable[[Any], str]  # onnx.ModelProto -> what this runtime makes of it, in a sentence
    python: bool = False  # whether the image must hold Python
    held: tuple[str, ...] = ()  # of the compiled folder, what goes into the image and is signed there; empty: all of it
    environment: Mapping[str, str] = field(default_factory=dict)  # the image's own variables
    instruction_set: Callable[[Target], str] = lambda _: (
        ""
    )  # what its machine code needs; empty: the platform's baseline
    accelerator: Callable[[Target], str] = lambda _: ""  # that it runs on; empty: none
    driver: str = ""  # of the accelerator
    facts: Callable[[Path], Mapping[str, str]] = lambda _: {}  # compiled folder -> what a run says of it
    commands: str = "model"  # those of `edgeloop` that take a lone file for it
    judged: Callable[[Path, Target], Judged] | None = (
        None  # of a quantised model: what it is judged on in place of a limit
    )


def _onnxruntime() -> Runtime:
    from edgeloop_components.runtimes import onnxruntime as module

    return Runtime(
        name="onnxruntime",
        platforms=("linux/amd64", "linux/arm64"),
        parity_limit=1e-5,  # another processor rounds the last bits otherwise: docs/decisions/0007
        compile=module.compile_model,
        load=module.load,
        digests=module.digests,
        layers=module.layers,
        remark=module.remark,
        python=True,
        environment={"ORT_DISABLE_TELEMETRY": "1"},  # onnxruntime's Linux wheel reports to its maker otherwise
    )


def _native() -> Runtime:
    from edgeloop_components.runtimes import native as module

    return Runtime(
        name="native",
        platforms=module.PLATFORMS,
        parity_limit=1e-6,
        compile=module.compile_model,
        load=module.load,
        digests=module.digests,
        layers=module.layers,
        remark=module.remark,
        instruction_set=module.instruction_set_of,
        held=(module.SERVER,),
    )


def _fpga() -> Runtime:
    from edgeloop_components.runtimes import fpga as module

    return Runtime(
        name="fpga",
        platforms=module.PLATFORMS,
        parity_limit=1.0,  # probabilities of few bits are not what is held: labels and exact scores are (`judged`)
        compile=module.compile_model,
        load=module.load,
        digests=module.digests,
        layers=module.layers,
        remark=module.remark,
        python=True,
        held=module.HELD,
        environment={"EDGELOOP_RUNTIME": "fpga"},
        commands="fpga build",
        accelerator=module.accelerator,
        facts=module.facts,
        judged=module.judged,
    )


def _fpga_sim() -> Runtime:
    from edgeloop_components.runtimes import fpga as module

    return replace(
        _fpga(),
        name="fpga-sim",
        compile=module.compile_model_only,
        held=module.HELD_MODEL_ONLY,
        environment={"EDGELOOP_RUNTIME": "fpga-sim"},
        commands="fpga simulate",
        accelerator=lambda _: "",
    )


RUNTIMES: dict[str, Runtime] = {runtime.name: runtime for runtime in (_onnxruntime(), _native(), _fpga(), _fpga_sim())}


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
