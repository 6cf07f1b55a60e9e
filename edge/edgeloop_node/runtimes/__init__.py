"""The runtimes that can score a model on a node: one row in SCORERS and one module each.

A loader takes the model folder and gives a Scorer; it imports its heavy library inside. To add a runtime: write
`runtimes/<name>.py` with `load(folder) -> Scorer`, add a row here, and a row in the conformance tests.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["SCORERS", "ModelError", "Scorer", "scorer_for"]

Scores = tuple[list[int], list[list[float]]]


class ModelError(ValueError):
    """The model folder does not hold what it must. The message names the file, what was expected and what was found."""


@dataclass(frozen=True)
class Scorer:
    """A loaded model. `score` takes rows [n][features] (NaN: missing) and gives labels [n], probabilities [n][classes]."""

    runtime: str
    platform: str  # as the Open Inference Protocol names it
    version: str  # of the runtime's library
    features: int | None  # None: the model does not say
    classes: int | None
    score: Callable[[Sequence[Sequence[float]]], Scores]


def _onnxruntime(folder: Path, threads: int = 1) -> Scorer:
    from edgeloop_node.runtimes import onnxruntime

    return onnxruntime.load(folder, threads)


def _native(folder: Path, _threads: int = 1) -> Scorer:
    """A model's native code has one thread, whatever is asked for."""
    from edgeloop_node.runtimes import native

    return native.load(folder)


SCORERS: dict[str, Callable[..., Scorer]] = {"native": _native, "onnxruntime": _onnxruntime}


def scorer_for(name: str, folder: Path, threads: int = 1) -> Scorer:
    """Loads the model in `folder` with the runtime `name`; `threads` score a request together. ModelError."""
    if name not in SCORERS:
        raise ModelError(f"runtime: expected one of {', '.join(sorted(SCORERS))}, got {name!r}")
    return SCORERS[name](folder, threads)
