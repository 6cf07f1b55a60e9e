"""The runtime `native`: the graph as C code, built into one static server for the target's platform.

The compiled folder holds the server, which with its signature is all that goes into the image, the C sources for people, and a
shared library of this machine, which the model is scored through here. The outputs are the same bits on every platform, and
this is proven by running the very server that is packaged, under emulation where the platform is a foreign one.

Refuses operators that there is no code for, by name; graphs with other inputs and outputs than the convention's, where the
model folder's reference has classes; and to pass a server that could not be run.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_components.runtimes import ModelError, Score
from edgeloop_contracts import Target
from edgeloop_contracts.signature import SIGNATURE_FILE

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edgeloop_components.native.emit import Emitted, TensorInfo
    from edgeloop_components.package.layers import Build, Layer

__all__ = ["PLATFORMS", "compile_model", "digests", "instruction_set_of", "layers", "load", "remark"]

PLATFORMS = ("linux/amd64", "linux/arm64", "linux/arm/v7", "linux/riscv64")
LIBRARY, SERVER = "model.so", "server"
OUTPUTS = (("label", "int64", 0), ("probabilities", "float32", 1))  # name, type, rank of a row


def instruction_set_of(target: Target) -> str:
    """The instruction set to compile for: what the target's nodes have, where there is a row for it; else the baseline."""
    from edgeloop_components.native.toolchain import TARGETS

    return target.has.instruction_set if (target.platform, target.has.instruction_set) in TARGETS else ""


def compile_model(model_dir: Path, out: Path, target: Target) -> None:
    """Writes server, model.so, model.c and model.h. ModelError, Unsupported, ToolchainError."""
    from edgeloop_components.native.build import build_library, build_server, write_source
    from edgeloop_components.native.emit import emit
    from edgeloop_components.onnxgraph import read_graph
    from edgeloop_components.runtimes.onnxruntime import has_classes

    graph = read_graph(model_dir / "model.onnx")
    emitted = emit(graph)
    problem = _problem(emitted) if has_classes(model_dir) else ""
    if problem:
        raise ModelError(f"{model_dir / 'model.onnx'}: {problem}")
    write_source(emitted, out)
    build_library(emitted, out / LIBRARY)
    build_server(emitted, model_dir, out / SERVER, platform=target.platform, instruction_set=instruction_set_of(target))


def _problem(emitted: Emitted) -> str:
    (given,) = emitted.inputs
    if given.name != "X" or len(given.shape) != 1:
        return (
            f"expected the one input 'X' [N, features], got {given.name!r} with rows of the shape {list(given.shape)}"
        )
    return _output_problem(emitted.outputs)


def _output_problem(outputs: Sequence[TensorInfo]) -> str:
    found = [(output.name, output.kind, len(output.shape)) for output in outputs]
    missing = [wanted for wanted in OUTPUTS if wanted not in found]
    return f"expected the output {missing[0]} (name, type, rank of a row), got {found}" if missing else ""


def load(folder: Path) -> Score:
    """The model of a compiled folder, through its shared library, as a function of rows float32 [n, features]. ModelError."""
    from edgeloop_components.native.library import open_library

    infos, outputs = open_library(folder / LIBRARY)
    if problem := _output_problem(infos):
        raise ModelError(f"{folder / LIBRARY}: {problem}")
    label, probabilities = ([info.name for info in infos].index(name) for name, _, _ in OUTPUTS)

    def score(rows: npt.NDArray[np.float32]) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
        found = outputs(rows)
        return found[label], found[probabilities]

    return score


def digests(folder: Path, rows: npt.NDArray[np.float32], target: Target) -> tuple[str, Mapping[str, str]]:
    """sha256 of all outputs of `rows`: of this machine's library, and of the target's own server. EmulatorUnavailable."""
    from edgeloop_components.native.emulate import run_program
    from edgeloop_components.native.library import open_library

    _, outputs = open_library(folder / LIBRARY)
    here = b"".join(output.tobytes() for output in outputs(rows))
    there = run_program(folder / SERVER, ["predict"], rows.astype("<f4").tobytes(), target.platform)
    return _sha256(here), {target.platform: _sha256(there)}


def _sha256(content: bytes) -> str:
    return f"sha256:{hashlib.sha256(content).hexdigest()}"


def layers(compiled: Path, build: Build) -> list[Layer]:
    """One plain layer that holds the server and, where it was signed, its signature beside it for whoever starts it."""
    from edgeloop_components.native.toolchain import musl_version, version
    from edgeloop_components.package.layers import Part, file_layer

    parts = (Part("zig", version(), "generic"), Part("musl", musl_version(), "generic"))
    named = [name for name in (SERVER, SIGNATURE_FILE) if name == SERVER or (compiled / name).is_file()]
    files = {f"edgeloop/{name}": compiled / name for name in named}
    return [file_layer(files, comment="server", platform=build.platform, parts=parts)]


def remark(model: Any) -> str:
    """Whether there is C code for the graph, and whether the server can serve it as it is."""
    from edgeloop_components.compile.adapt import is_classifier
    from edgeloop_components.native.emit import emit
    from edgeloop_components.onnxgraph import graph_of

    try:
        emitted = emit(graph_of(model))
    except ModelError as error:
        return f"refuses it: {error}"
    problem, compiles = _problem(emitted), f"compiles it ({emitted.data_bytes} bytes of tables)"
    if not problem:
        return compiles
    if not is_classifier(model):
        return f"{compiles}; no classifier, so it is served with its own outputs"
    return f"{compiles}, but it needs adapting to serve: {problem}"
