"""Compile: a version's folder into the folder that goes into the image, for one target's runtime.

The compiled folder holds what the runtime loads, and reference.json, golden.json and version.json (where the version has
its number already). It is written when parity holds, and not at all when it does not.
"""

from __future__ import annotations

import shutil
from dataclasses import dataclass
from pathlib import Path

from edgeloop_components.compile.golden import read_golden
from edgeloop_components.compile.parity import ParityError, compare, same_everywhere
from edgeloop_components.compile.quantised import compare_labels, exact
from edgeloop_components.compile.tolerance import power_of
from edgeloop_components.ingest.files import filling
from edgeloop_components.runtimes import ModelError, RuntimeRefused, runtime_for
from edgeloop_components.runtimes.describe import read_model
from edgeloop_contracts import Loop, ParityResult, Target

__all__ = ["CompileResult", "ModelError", "ParityError", "RuntimeRefused", "compile_model"]

DOCUMENTS = ("reference.json", "golden.json", "version.json")


@dataclass(frozen=True)
class CompileResult:
    """The compiled folder, its size, and how it compares with the reference."""

    folder: Path
    runtime: str
    size_bytes: int
    parity: ParityResult


def compile_model(loop: Loop, target: Target, model_dir: Path, out: Path) -> CompileResult:
    """Compiles the model in `model_dir` for `target` into `out`.

    RuntimeRefused, ModelError, ParityError; ToolchainError and EmulatorUnavailable where this machine lacks what it takes.
    """
    runtime = runtime_for(target)
    golden = read_golden(model_dir / "golden.json")
    with filling(out) as folder:
        for name in DOCUMENTS:
            if (model_dir / name).exists() or name != "version.json":
                shutil.copyfile(model_dir / name, folder / name)
        runtime.compile(model_dir, folder, target)
        score = runtime.load(folder)
        if runtime.judged:
            compared = compare_labels(loop, target, golden, score, runtime.judged(model_dir, target))
        else:
            power = power_of(read_model(model_dir / "model.onnx"))
            compared = compare(loop, target, golden, score, runtime.parity_limit, power=power)
        parity = same_everywhere(compared, *runtime.digests(folder, golden.rows, target))
        parity = exact(parity) if runtime.judged else parity
    size_bytes = sum(path.stat().st_size for path in out.iterdir() if path.is_file())
    return CompileResult(out, runtime.name, size_bytes, parity)
