"""A lone ONNX file: no loop, no data, no reference. What it is, what it answers, and what it is compiled from.

A classifier as converters write it is brought to edgeloop's convention (compile/adapt.py), so that it is served with classes
and confidence; anything else keeps its inputs and outputs as they are. What the file itself answers is asked of onnxruntime on
one thread.

Refuses what onnxruntime cannot load, and rows that do not have a fixed size.
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_components.compile.adapt import Adapted, adapted
from edgeloop_components.compile.rows import FAR, MOST, Probes, Range, make_rows, ranges
from edgeloop_components.compile.terms import term_sizes
from edgeloop_components.compile.tolerance import power_of
from edgeloop_components.native.emit import WAY_OUT, Emitted, emit
from edgeloop_components.onnxgraph import Graph, graph_of
from edgeloop_components.runtimes import ModelError
from edgeloop_components.runtimes.describe import read_model
from edgeloop_components.runtimes.onnxruntime import session

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Array = npt.NDArray[Any]
    Matrix = npt.NDArray[np.float32]

__all__ = ["LIMITS", "Lone", "is_distribution", "read_lone"]

LIMITS = {True: 1e-6, False: 1e-5}  # of a probability; of other values, relative to the largest of their row
SOUND_LIMIT = 1e-3  # float32 rounding of a sum of probabilities stays below it
TRIED = 200  # rows that tell whether a classifier's scores are probabilities
TREES = frozenset(("TreeEnsembleClassifier", "TreeEnsembleRegressor", "TreeEnsemble"))
MOVES = frozenset(("Identity", "Cast", "Reshape", "Flatten", "Squeeze", "Unsqueeze", "ArgMax", "ArrayFeatureExtractor"))
MOVES |= {"Split", "Concat", "Imputer", "Clip"}
SUMS = frozenset(("MatMul", "Gemm", "Conv", "LinearClassifier", "LinearRegressor", "SVMClassifier", "SVMRegressor"))
SUMS |= {"Normalizer", "ReduceSum", "ReduceMean", "ReduceSumSquare", "ReduceL1", "ReduceL2", "Scaler", "Sum", "Mean"}
UNSOUND = ("missing", "infinite")  # kinds of rows that the operators of FINITE have no answer to
FINITE = frozenset(("MaxPool", "ReduceMax", "ReduceMin"))
# MaxPool makes the lowest float32 of a window of NaN, and the next sum overflows. Whether a NaN among others is the largest
# or the smallest depends, in onnxruntime, on its place and on how many there are.
_NO_NAME = re.compile(r"[^a-z0-9]+")


@dataclass(frozen=True)
class Lone:
    """A file, and how it is taken. `outputs` gives the file's own answers by the names of `adapted.model`'s outputs."""

    path: Path
    digest: str
    name: str
    version: int
    adapted: Adapted
    graph: Graph
    ranges: tuple[Range, ...]
    outputs: Callable[[Matrix], Mapping[str, Array]]
    power: float = 1.0  # of the calibration that training put at the graph's end

    @property
    def classifier(self) -> bool:
        """Whether it gives a label and probabilities, and so is served with classes and confidence."""
        return bool(self.adapted.classes)

    @property
    def limit(self) -> float:
        """Largest difference that parity allows."""
        return LIMITS[self.classifier]

    def terms(self, rows: Matrix) -> Mapping[str, Array]:
        """By output, for each row the size that its terms give a difference: of sums that show little of their terms."""
        return {} if self.classifier else term_sizes(self.adapted.model, rows, self.limit)

    @property
    def exact(self) -> bool:
        """Whether parity asks for the same bits: trees whose sums are the answer."""
        used = {node.op for node in self.graph.nodes}
        plain = all(node.text("post_transform", "NONE") == "NONE" for node in self.graph.nodes if node.op in TREES)
        return bool(used & TREES) and used <= TREES | MOVES and plain

    def emitted(self, way_out: str = WAY_OUT) -> Emitted:
        """The C code. Unsupported names the operator that there is none for, and ends with `way_out`."""
        try:
            return emit(self.graph, way_out)
        except ModelError as error:
            raise type(error)(f"{self.path}: {error}") from error

    def probes(self, count: int, seed: int) -> Probes:
        """Rows to compare on, in the form [n, values of a row]; only finite ones for a graph that takes maxima."""
        used = {node.op for node in self.graph.nodes}
        without = UNSOUND if used & FINITE else ()
        return make_rows(self.ranges, count, seed, far=FAR if used & SUMS else MOST, without=without)


def read_lone(path: Path, *, name: str = "", version: int = 0) -> Lone:
    """Reads a file. ModelError, Unsupported. Name and version are the file's own where none are given."""
    original = read_model(path)
    content = path.read_bytes()
    try:
        taken = adapted(original)
        graph = graph_of(taken.model)
    except ModelError as error:
        raise type(error)(f"{path}: {error}") from error
    found = tuple(ranges(graph))
    answers = _answers(session(content, str(path)), taken)
    if taken.classes and not _gives_distributions(answers, found):
        taken = adapted(original, classify=False)  # its scores are no probabilities
        graph = graph_of(taken.model)
        answers = _answers(session(content, str(path)), taken)
    _check_batch(path, graph, taken)
    _check_outputs(path, graph)
    return Lone(
        path=path,
        digest=f"sha256:{hashlib.sha256(content).hexdigest()}",
        name=name or _name(original, path),
        version=version or max(1, int(original.model_version)),
        adapted=taken,
        graph=graph,
        ranges=found,
        outputs=answers,
        power=power_of(original) if taken.classes else 1.0,
    )


def _check_batch(path: Path, graph: Graph, taken: Adapted) -> None:
    """ModelError for a graph without classes that takes neither one row nor any number: no server can ask it."""
    size = (graph.input.shape or (None,))[0]
    if not taken.classes and isinstance(size, int) and size != 1:
        name = graph.input.name
        raise ModelError(
            f"{path}: input {name!r}: expected any number of rows, or one at a time, found {size} at a time; export it anew"
        )


def _check_outputs(path: Path, graph: Graph) -> None:
    """ModelError for an output that no row changes: it has no answer for each row."""
    fixed = [output.name for output in graph.outputs if output.name in graph.constants]
    if fixed:
        raise ModelError(f"{path}: output {fixed[0]!r}: expected a tensor computed from the input, found a constant")


def _name(original: Any, path: Path) -> str:
    """The loop's name that training wrote, else the file's own in small letters."""
    named = next((entry.value for entry in original.metadata_props if entry.key == "edgeloop.loop"), "").strip('"')
    return named or _NO_NAME.sub("-", path.stem.lower()).strip("-") or "model"


def _answers(loaded: Any, taken: Adapted) -> Callable[[Matrix], Mapping[str, Array]]:
    """The file's outputs for rows, on one thread; of a classifier label places and probabilities."""
    import numpy as np

    given = loaded.get_inputs()
    names = [output.name for output in loaded.get_outputs()]
    wanted = [taken.label, taken.probabilities] if taken.classes else names
    fixed = isinstance(given[0].shape[0], int)

    def feeds(rows: Matrix) -> dict[str, Array]:
        if taken.columns:
            return {name: rows[:, place : place + 1] for place, name in enumerate(taken.columns)}
        return {given[0].name: rows.reshape(-1, *given[0].shape[1:])}

    def run(rows: Matrix) -> list[Any]:
        try:
            return list(loaded.run(wanted, feeds(np.ascontiguousarray(rows))))
        except Exception as error:
            raise ModelError(f"onnxruntime cannot run the model: {str(error)[:300]}") from error

    def outputs(rows: Matrix) -> Mapping[str, Array]:
        size = given[0].shape[0] if fixed else len(rows)
        parts = [run(rows[start : start + size]) for start in range(0, len(rows), size)]
        if taken.classes:
            return _as_places(parts, taken)
        return {name: np.concatenate([_matrix(part[place]) for part in parts]) for place, name in enumerate(names)}

    return outputs


def _as_places(parts: list[list[Any]], taken: Adapted) -> Mapping[str, Array]:
    """Labels as places of classes; probabilities as an array also where a ZipMap made maps of them."""
    import numpy as np

    names = map(str, range(len(taken.classes))) if taken.numbered else taken.classes
    place = {name: number for number, name in enumerate(names)}
    labels = [place.get(str(label), -1) for part in parts for label in np.asarray(part[0]).ravel().tolist()]
    scores = np.concatenate([_matrix(part[1]) for part in parts])
    if taken.clipped:
        slightly = (scores < 0) & (scores > -SOUND_LIMIT) | (scores > 1) & (scores < 1 + SOUND_LIMIT)
        scores = np.where(slightly, np.clip(scores, 0, 1), scores)
    return {"label": np.array(labels, dtype=np.int64), "probabilities": scores}


def _matrix(scores: Any) -> Array:
    import numpy as np

    if isinstance(scores, list):
        return np.array([list(row.values()) for row in scores], dtype=np.float32)
    return np.asarray(scores)


def is_distribution(probabilities: Array) -> Array:
    """Which rows are numbers >= 0 with the sum 1, as a server demands."""
    import numpy as np

    sums = probabilities.astype(np.float64).sum(axis=1)
    found: Array = (probabilities >= 0).all(axis=1) & (np.abs(sums - 1.0) <= SOUND_LIMIT)
    return found


def _gives_distributions(answers: Callable[[Matrix], Mapping[str, Array]], found: tuple[Range, ...]) -> bool:
    probes = make_rows(found, TRIED, 0)
    ordinary = [place for place, kind in enumerate(probes.kinds) if kind == "ordinary"]
    return bool(is_distribution(answers(probes.rows[ordinary])["probabilities"]).all())
