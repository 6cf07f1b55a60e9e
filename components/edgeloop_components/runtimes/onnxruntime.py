"""The runtime `onnxruntime`: any ONNX graph that keeps edgeloop's convention, as it is, on one thread.

One thread, because more of them add partial sums in another order: the last bits then differ from machine to machine.
The reference that every other runtime is compared with is this module's `load`. Telemetry is off before it is imported.

Refuses a file that is no sound ONNX graph, and a graph with other inputs and outputs than the convention's, where the model
folder's reference has classes.
"""

from __future__ import annotations

import hashlib
import os
import shutil
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_components.runtimes import ModelError, Score
from edgeloop_contracts import ContractError, Reference, Target, loads

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edgeloop_components.package.layers import Build, Layer

__all__ = [
    "INPUT",
    "OUTPUTS",
    "compile_adapted",
    "compile_model",
    "convention_problem",
    "digests",
    "has_classes",
    "layers",
    "load",
    "remark",
    "session",
]

INPUT = ("X", "tensor(float)", 2)  # name, type, rank
OUTPUTS = (("label", "tensor(int64)", 1), ("probabilities", "tensor(float)", 2))
WHEELS = ("onnxruntime", "numpy", "uvicorn", "uvloop", "httptools")
CODE = ("edgeloop_contracts", "edgeloop_node")


def session(model: bytes, name: str = "model.onnx") -> Any:
    """An InferenceSession on one thread. ModelError when onnxruntime cannot load the model."""
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    options.log_severity_level = 3
    try:
        return onnxruntime.InferenceSession(model, options, providers=["CPUExecutionProvider"])
    except Exception as error:
        raise ModelError(f"{name}: expected a model that onnxruntime can load, got: {str(error)[:300]}") from error


def convention_problem(loaded: Any) -> str:
    """What of a session's inputs and outputs is not as the convention has it; empty when all is."""
    inputs, outputs = ([(n.name, n.type, len(n.shape)) for n in nodes] for nodes in _nodes(loaded))
    if inputs != [INPUT]:
        return f"expected the one input {INPUT} (name, type, rank), got {inputs}"
    missing = [wanted for wanted in OUTPUTS if wanted not in outputs]
    return f"expected the output {missing[0]} (name, type, rank), got {outputs}" if missing else ""


def _nodes(loaded: Any) -> tuple[Any, Any]:
    return loaded.get_inputs(), loaded.get_outputs()


def load(folder: Path) -> Score:
    """The model of a compiled folder as a function of rows float32 [n, features]. ModelError."""
    path = folder / "model.onnx"
    loaded = session(path.read_bytes(), str(path))
    if problem := convention_problem(loaded):
        raise ModelError(f"{path}: {problem}")

    def score(rows: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        labels, probabilities = loaded.run(["label", "probabilities"], {"X": rows})
        return labels, probabilities

    return score


def digests(folder: Path, rows: npt.NDArray[np.float32], _: Target) -> tuple[str, Mapping[str, str]]:
    """sha256 of both outputs of `rows`. There is no binary of the model's own to compare with."""
    digest = hashlib.sha256()
    for output in load(folder)(rows):
        digest.update(output.tobytes())
    return f"sha256:{digest.hexdigest()}", {}


def compile_model(model_dir: Path, out: Path, _: Target) -> None:
    """Checks the graph with onnx and onnxruntime and copies it. ModelError."""
    from edgeloop_components.runtimes.describe import read_model

    path = model_dir / "model.onnx"

    def problem_of(loaded: Any) -> str:
        problem = convention_problem(loaded)
        return _input_problem(loaded) if problem and not has_classes(model_dir) else problem

    _check(read_model(path), path.read_bytes(), str(path), problem_of)
    shutil.copyfile(path, out / "model.onnx")


def has_classes(model_dir: Path) -> bool:
    """Whether a model folder is a classifier's; golden.json says what any other graph takes and gives. ModelError."""
    path = model_dir / "reference.json"
    try:
        return bool(loads(Reference, path.read_bytes()).classes)
    except (OSError, ContractError) as error:
        raise ModelError(f"{path}: {error}") from error


def compile_adapted(model: Any, out: Path, name: str, *, classifier: bool = True) -> None:
    """The same for an onnx.ModelProto that is in no file; `name` stands for it in errors. ModelError.

    Without `classifier` any one input and any outputs are taken.
    """
    content = model.SerializeToString(deterministic=True)
    _check(model, content, name, convention_problem if classifier else _input_problem)
    (out / "model.onnx").write_bytes(content)


def _input_problem(loaded: Any) -> str:
    """What keeps a graph that is no classifier from being served."""
    inputs = [(n.name, n.type) for n in loaded.get_inputs()]
    return "" if [kind for _, kind in inputs] == ["tensor(float)"] else f"expected one float32 input, got {inputs}"


def _check(model: Any, content: bytes, name: str, problem_of: Callable[[Any], str] = convention_problem) -> None:
    import onnx

    try:
        onnx.checker.check_model(model)
    except onnx.checker.ValidationError as error:
        raise ModelError(f"{name}: expected a sound ONNX graph, got: {str(error)[:300]}") from error
    if problem := problem_of(session(content, name)):
        raise ModelError(f"{name}: {problem}")


def layers(model: Path, build: Build) -> list[Layer]:
    """Wheels, the node's code with /edgeloop/server, and last the model's own layer at the build's place."""
    from edgeloop_components.package.entry import program_files
    from edgeloop_components.package.installed import code_layer, wheels_layer
    from edgeloop_components.package.layers import files_layer, host_platform
    from edgeloop_components.package.wheels import locked_layer

    installed = not build.locked and build.platform == host_platform()
    wheels = wheels_layer(WHEELS) if installed else locked_layer(WHEELS, build.platform)
    code = code_layer(CODE, further=program_files(build))
    return [wheels, code, files_layer(model, build.place, comment="model")]


def remark(model: Any) -> str:
    """Loads the graph and says what came of it."""
    from edgeloop_components.compile.adapt import is_classifier

    try:
        problem = convention_problem(session(model.SerializeToString()))
    except ModelError as error:
        return f"refuses it: {error}"
    if not problem:
        return "runs it as it is"
    if not is_classifier(model):
        return "runs it as it is; no classifier, so it is served with its own outputs"
    return f"loads it, but it needs adapting to serve: {problem}"
