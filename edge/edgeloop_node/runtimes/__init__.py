"""The runtimes that can score a model on a node: one row in SCORERS and one module each.

A loader takes the model folder and gives a Scorer; it imports its heavy library inside. A classifier has the convention's
input and outputs; any other graph has those that its golden.json describes. To add a runtime: write `runtimes/<name>.py` with
`load(folder) -> Scorer` and `load_tensors(folder, golden) -> Scorer`, add a row here, and a row in the conformance tests.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:  # a readiness probe imports this module, and nothing heavier
    from edgeloop_contracts.golden import GoldenTensors

__all__ = ["SCORERS", "ModelError", "Scorer", "UnavailableError", "scorer_for"]

Scores = Sequence[list[Any]]  # by output, and of it by row: a number, or where its shape has axes a flat list


class ModelError(ValueError):
    """The model folder does not hold what it must. The message names the file, what was expected and what was found."""


class UnavailableError(RuntimeError):
    """The model cannot score now and may again later: a device is away. The message says what and where."""


@dataclass(frozen=True)
class Scorer:
    """A loaded model. `score` takes rows [n][features] (NaN: missing).

    Of a classifier it gives labels [n] and probabilities [n][classes], of any other graph its outputs as golden.json has them.
    """

    runtime: str
    platform: str  # as the Open Inference Protocol names it
    version: str  # of the runtime's library
    features: int | None  # None: the model does not say
    classes: int | None
    score: Callable[[Sequence[Sequence[float]]], Scores]  # UnavailableError while what it runs on is away
    facts: Mapping[str, str] = field(default_factory=dict)  # what it runs on, for /v2
    trouble: Callable[[], str] = lambda: ""  # why it cannot score now; empty: it can
    counts: Callable[[], Mapping[str, float]] = dict  # its own figures, for /metrics


def _onnxruntime(folder: Path, threads: int = 1, golden: GoldenTensors | None = None) -> Scorer:
    from edgeloop_node.runtimes import onnxruntime

    return onnxruntime.load_tensors(folder, golden, threads) if golden else onnxruntime.load(folder, threads)


def _native(folder: Path, _threads: int = 1, golden: GoldenTensors | None = None) -> Scorer:
    """A model's native code has one thread, whatever is asked for."""
    from edgeloop_node.runtimes import native

    return native.load_tensors(folder, golden) if golden else native.load(folder)


def _fpga(folder: Path, _threads: int = 1, golden: GoldenTensors | None = None) -> Scorer:
    """A core answers one row at a time."""
    from edgeloop_node.runtimes import fpga

    return _classes_only(fpga.load, folder, golden)


def _fpga_sim(folder: Path, _threads: int = 1, golden: GoldenTensors | None = None) -> Scorer:
    from edgeloop_node.runtimes import fpga

    return _classes_only(fpga.load_model_only, folder, golden)


def _classes_only(load: Callable[[Path], Scorer], folder: Path, golden: GoldenTensors | None) -> Scorer:
    if golden is not None:
        outputs = ", ".join(tensor.name for tensor in golden.outputs)
        raise ModelError(f"golden.json: expected a classifier, got a graph with the outputs {outputs}")
    return load(folder)


SCORERS: dict[str, Callable[..., Scorer]] = {
    "fpga": _fpga,
    "fpga-sim": _fpga_sim,
    "native": _native,
    "onnxruntime": _onnxruntime,
}


def scorer_for(name: str, folder: Path, threads: int = 1, golden: GoldenTensors | None = None) -> Scorer:
    """Loads the model in `folder` with the runtime `name`; `threads` score a request together. ModelError.

    With `golden`, a graph that is no classifier and has the input and the outputs that stand there.
    """
    if name not in SCORERS:
        raise ModelError(f"runtime: expected one of {', '.join(sorted(SCORERS))}, got {name!r}")
    return SCORERS[name](folder, threads, golden)
