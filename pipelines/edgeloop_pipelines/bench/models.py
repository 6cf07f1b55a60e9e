"""Scoring speed of native code beside onnxruntime, both on one thread, both called from Python: `make bench-edge`.

Models as in the research note that set the bars: 24 features, 3 classes, boosted trees of depth 6, a scaler before linear models.
Beside them, without a bar, what scikit-learn makes when nothing is said: boosted trees as deep as they like, and no scaler. Every
row is another one, since a row that comes again flatters branchy code. Batch 256 for the forests, batch 1 for the small models,
both for the convolution, which onnxruntime may win.
"""

from __future__ import annotations

import tempfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_pipelines.bench.ratios import Spread, interleaved, ratio, spread

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Rows = npt.NDArray[np.float32]

__all__ = ["CASES", "Case", "Result", "run"]

FEATURES, CLASSES, TRAINING_ROWS, TEST_ROWS = 24, 3, 15_000, 5_120
ROUNDS = 15
BASELINE = "baseline"
INSTRUCTION_SETS = ("", "x86-64-v3")  # the platform's baseline, and what most servers of the last ten years have


@dataclass(frozen=True)
class Case:
    """One comparison. `bar` is the least ratio that is asked of the platform's baseline, which is what is built unless
    more is asked for; None: parity is asked for, and the honest ratio shown."""

    model: str
    batch: int
    bar: float | None


CASES = (
    Case("forest", 256, 5.0),
    Case("boosting", 256, 3.0),
    Case("boosting of any depth", 256, None),
    Case("logistic", 1, 5.0),
    Case("logistic without scaler", 1, None),
    Case("perceptron", 1, 5.0),
    Case("convolution", 1, None),
    Case("convolution", 256, None),
)


@dataclass(frozen=True)
class Result:
    """What a case gave: microseconds a row of each, how many times faster native is, and the largest difference."""

    case: Case
    instruction_set: str
    onnxruntime_us: Spread
    native_us: Spread
    times_faster: Spread
    max_abs_difference: float

    @property
    def bar(self) -> float | None:
        """The least ratio that is asked of this build."""
        return self.case.bar if self.instruction_set == BASELINE else None

    @property
    def holds(self) -> bool:
        """Whether the bar is reached by the median."""
        return self.bar is None or self.times_faster.median >= self.bar

    def document(self) -> dict[str, Any]:
        return {**asdict(self), "holds": self.holds}


def run(cases: Sequence[Case] = CASES, rounds: int = ROUNDS) -> Iterator[Result]:
    """The results, one case after the other."""
    made: dict[str, bytes] = {}
    for case in cases:
        if case.model not in made:
            made[case.model] = MODELS[case.model]()
        for instruction_set in INSTRUCTION_SETS:
            yield _measured(case, made[case.model], instruction_set, rounds)


def _measured(case: Case, model: bytes, instruction_set: str, rounds: int) -> Result:
    import numpy as np

    with tempfile.TemporaryDirectory() as folder:
        ours = _native(model, instruction_set, Path(folder))
        theirs, width = _onnxruntime(model)
        rows = _rows(width, case.batch)
        worst = max(float(np.abs(ours(block) - theirs(block)).max()) for block in rows[:20])
        taken = interleaved({"ort": _over(theirs, rows), "native": _over(ours, rows)}, rounds)
    per_row = 1e6 / (len(rows) * case.batch)
    return Result(
        case=case,
        instruction_set=instruction_set or BASELINE,
        onnxruntime_us=spread([s * per_row for s in taken["ort"]]),
        native_us=spread([s * per_row for s in taken["native"]]),
        times_faster=ratio(taken["ort"], taken["native"]),
        max_abs_difference=worst,
    )


def _over(score: Callable[[Rows], object], rows: Sequence[Rows]) -> Callable[[], None]:
    def all_rows() -> None:
        for block in rows:
            score(block)

    return all_rows


def _rows(shape: tuple[int, ...], batch: int) -> list[Rows]:
    """Distinct rows in blocks of `batch`: TEST_ROWS of them, a tenth for the wide input of the convolution."""
    import numpy as np

    total = TEST_ROWS if len(shape) == 1 else TEST_ROWS // 10
    rows = np.random.default_rng(1).normal(size=(total, *shape)).astype(np.float32)
    return [np.ascontiguousarray(rows[i : i + batch]) for i in range(0, total, batch)]


def _onnxruntime(model: bytes) -> tuple[Callable[[Rows], Any], tuple[int, ...]]:
    from edgeloop_components.runtimes.onnxruntime import session

    loaded = session(model)
    (given,) = loaded.get_inputs()
    wanted = [loaded.get_outputs()[-1].name]
    return lambda rows: loaded.run(wanted, {given.name: rows})[0], tuple(given.shape[1:])


def _native(model: bytes, instruction_set: str, folder: Path) -> Callable[[Rows], Any]:
    import onnx

    from edgeloop_components.native.build import build_library
    from edgeloop_components.native.emit import emit
    from edgeloop_components.onnxgraph import graph_of
    from edgeloop_node.runtimes.native import Library

    path, read = folder / "model.so", onnx.load_model_from_string(model)
    graph = graph_of(read, [read.graph.output[-1].name])  # what onnxruntime is asked for, too
    build_library(emit(graph), path, instruction_set=instruction_set)
    return Library(path).last_output


def _training() -> tuple[Rows, Any]:
    import numpy as np

    draw = np.random.default_rng(0)
    rows = draw.normal(size=(TRAINING_ROWS, FEATURES)).astype(np.float32)
    score = rows[:, 0] + rows[:, 1] * rows[:, 2] + 0.5 * np.sin(3 * rows[:, 3]) + 0.3 * draw.normal(size=TRAINING_ROWS)
    return rows, np.digitize(score, np.quantile(score, [1 / 3, 2 / 3]))


def _fitted(estimator: Any) -> bytes:
    from skl2onnx import to_onnx

    rows, labels = _training()
    graph = to_onnx(
        estimator.fit(rows, labels),
        rows[:1],
        options={"zipmap": False},
        target_opset={"": 17, "ai.onnx.ml": 3},
    )
    return bytes(graph.SerializeToString())


def _forest() -> bytes:
    from sklearn.ensemble import RandomForestClassifier

    return _fitted(RandomForestClassifier(100, max_depth=6, random_state=0, n_jobs=2))


def _boosting(depth: int | None = 6) -> bytes:
    from sklearn.ensemble import HistGradientBoostingClassifier

    return _fitted(HistGradientBoostingClassifier(max_iter=100, max_depth=depth, early_stopping=False, random_state=0))


def _scaled(estimator: Any) -> bytes:
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    return _fitted(make_pipeline(StandardScaler(), estimator))


def _logistic() -> bytes:
    from sklearn.linear_model import LogisticRegression

    return _scaled(LogisticRegression())


def _logistic_alone() -> bytes:
    from sklearn.linear_model import LogisticRegression

    return _fitted(LogisticRegression())


def _perceptron() -> bytes:
    from sklearn.neural_network import MLPClassifier

    return _scaled(MLPClassifier((32, 32), max_iter=30, early_stopping=True, random_state=0))


def _convolution() -> bytes:
    """Two Conv1d(5) with MaxPool on 3 x 128, then two Gemms: 4 classes. Weights are random: only speed is asked."""
    import numpy as np
    import onnx
    from onnx import helper, numpy_helper

    draw = np.random.default_rng(0)
    sizes = {"w1": (16, 3, 5), "b1": (16,), "w2": (32, 16, 5), "b2": (32,)}
    sizes |= {"w3": (32 * 29, 16), "b3": (16,), "w4": (16, 4), "b4": (4,)}
    constants = [
        numpy_helper.from_array((draw.normal(size=s) / max(1, s[0]) ** 0.5).astype(np.float32), n)
        for n, s in sizes.items()
    ]
    nodes = [
        helper.make_node("Conv", ["X", "w1", "b1"], ["c1"], kernel_shape=[5]),
        helper.make_node("Relu", ["c1"], ["r1"]),
        helper.make_node("MaxPool", ["r1"], ["p1"], kernel_shape=[2], strides=[2]),
        helper.make_node("Conv", ["p1", "w2", "b2"], ["c2"], kernel_shape=[5]),
        helper.make_node("Relu", ["c2"], ["r2"]),
        helper.make_node("MaxPool", ["r2"], ["p2"], kernel_shape=[2], strides=[2]),
        helper.make_node("Flatten", ["p2"], ["flat"]),
        helper.make_node("Gemm", ["flat", "w3", "b3"], ["g1"]),
        helper.make_node("Relu", ["g1"], ["r3"]),
        helper.make_node("Gemm", ["r3", "w4", "b4"], ["g2"]),
        helper.make_node("Softmax", ["g2"], ["probabilities"], axis=1),
    ]
    shapes: dict[str, list[str | int | None]] = {"X": ["N", 3, 128], "probabilities": ["N", 4]}
    ends = [helper.make_tensor_value_info(name, onnx.TensorProto.FLOAT, shape) for name, shape in shapes.items()]
    graph = helper.make_graph(nodes, "convolution", ends[:1], ends[1:], constants)
    model = helper.make_model(graph, opset_imports=[helper.make_opsetid("", 17)], ir_version=8)
    return bytes(model.SerializeToString())


MODELS: dict[str, Callable[[], bytes]] = {
    "forest": _forest,
    "boosting": _boosting,
    "boosting of any depth": lambda: _boosting(None),
    "logistic": _logistic,
    "logistic without scaler": _logistic_alone,
    "perceptron": _perceptron,
    "convolution": _convolution,
}
