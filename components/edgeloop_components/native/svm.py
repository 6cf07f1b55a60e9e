"""Support vector machines: SVMClassifier and SVMRegressor of ai.onnx.ml.

Kernels and scores are computed as onnxruntime computes them: kernels in float, the sums of a pair of classes in double. A
classifier with probabilities couples the pairs by the second method of Wu, Lin and Weng (2004, JMLR 5), which stops when it
is within 0.005 / classes: where another order of addition moves the last bit of an error that lies just there, the result
may be one round of the iteration apart.

Refuses post transforms, which no converter writes, and attributes whose sizes do not fit together.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

from edgeloop_components.native.dense import layer, taken
from edgeloop_components.native.literals import float_text
from edgeloop_components.native.values import Value
from edgeloop_components.native.writer import Writer
from edgeloop_components.onnxgraph import Node

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    Floats = npt.NDArray[np.float32]

__all__ = ["OPERATORS"]

Inputs = tuple["Value | None", ...]
KERNELS = ("LINEAR", "POLY", "RBF", "SIGMOID")
MOST_CLASSES = 1000
ROUNDS, CLOSE = (
    100,
    0.005,
)  # of the coupling: at most so many rounds, until the error is below this divided by the classes
LEAST_CHANCE = 1e-7


@dataclass(frozen=True)
class _Kernel:
    """The kernel's name and parameters."""

    name: str
    gamma: float
    coef0: float
    degree: float


def _kernel(node: Node) -> _Kernel:
    name, found = node.text("kernel_type", "LINEAR"), node.numbers("kernel_params")
    if name not in KERNELS:
        raise node.wrong(f"kernel_type: expected one of {', '.join(KERNELS)}, found {name[:40]!r}")
    if len(found) not in (0, 3):
        raise node.wrong(f"kernel_params: expected gamma, coef0 and degree, found {len(found)} numbers")
    gamma, coef0, degree = map(float, found) if len(found) else (0.0, 0.0, 0.0)
    return _Kernel(name, gamma, coef0, degree)


def _row(node: Node, inputs: Inputs) -> Value:
    (value,) = taken(node, inputs, 1, 1)
    if value.kind != "float32" or len(value.shape) != 1 or not value.width:
        raise node.refused(f"expected rows of float32 [N, features], found {value.kind} {list(value.shape)} a row")
    if node.text("post_transform", "NONE") != "NONE":
        raise node.refused(f"the post transform {node.text('post_transform', 'NONE')[:40]} is not supported")
    return value


def _vectors(node: Node, count: int, features: int) -> Floats:
    """Support vectors [count, features]."""
    found = node.numbers("support_vectors")
    if len(found) != count * features:
        raise node.wrong(f"support_vectors: expected {count} of {features} values, found {len(found)} values")
    return found.reshape(count, features)


def _kernels(node: Node, writer: Writer, row: Value, vectors: Floats) -> Value:
    """One value for each support vector."""
    kernel = _kernel(node)
    out = writer.new("float32", (len(vectors),))
    source = writer.at(row)
    if kernel.name == "RBF":
        _squared_distances(writer, out, source, vectors)
    else:
        layer(writer, out, source, vectors.T, None)
    if line := _bent(kernel, f"{out.name}[i]"):
        writer.loop(out.width, f"{out.name}[i] = {line};")
    return out


def _squared_distances(writer: Writer, out: Value, source: str, vectors: Floats) -> None:
    table = writer.table(vectors.T)
    writer.loop(out.width, f"{out.name}[i] = 0;")
    writer.put(
        f"for (int i = 0; i < {vectors.shape[1]}; ++i)",
        f"    for (int j = 0; j < {out.width}; ++j) {{",
        f"        const float d = {source}[i] - {table}[i * {out.width} + j];",
        f"        {out.name}[j] += d * d;",
        "    }",
    )


def _bent(kernel: _Kernel, v: str) -> str:
    """What a kernel makes of a scalar product or a squared distance, in C; empty where that is the kernel."""
    gamma, coef0, degree = map(float_text, (kernel.gamma, kernel.coef0, kernel.degree))
    moved = f"({gamma} * {v} + {coef0})"
    if kernel.name == "POLY":
        whole = {1.0: moved, 2.0: f"{moved} * {moved}", 3.0: f"{moved} * {moved} * {moved}"}
        return whole.get(kernel.degree, f"el_powf({moved}, {degree})")
    return {"LINEAR": "", "RBF": f"el_expf(-({gamma}) * {v})", "SIGMOID": f"el_tanhf({moved})"}[kernel.name]


def _classifier(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    row = _row(node, inputs)
    per_class = node.integers("vectors_per_class")
    labels = node.texts("classlabels_strings") or tuple(node.integers("classlabels_ints").tolist())
    if not 2 <= len(labels) <= MOST_CLASSES:
        raise node.refused(f"expected 2 to {MOST_CLASSES} classes, found {len(labels)}")
    vectors = int(per_class.sum())
    if not vectors:
        return _linear_classifier(node, writer, row, labels)
    if len(per_class) != len(labels) or per_class.min() < 0:
        raise node.wrong(
            f"vectors_per_class: expected {len(labels)} numbers of vectors, found {per_class.tolist()[:9]}"
        )
    kernels = _kernels(node, writer, row, _vectors(node, vectors, row.width))
    scores, votes = _pairs(node, writer, kernels, per_class, len(labels))
    label = _label(writer, labels, _first_largest(votes.name, len(labels)))
    if not len(node.numbers("prob_a")):
        return label, _spread_scores(writer, scores, len(labels))
    return label, _coupled(node, writer, scores, len(labels))


def _sized(node: Node, name: str, least: int) -> Floats:
    found = node.numbers(name)
    if len(found) < least:
        raise node.wrong(f"{name}: expected {least} numbers, found {len(found)}")
    return found[:least]


def _pairs(node: Node, writer: Writer, kernels: Value, per_class: Any, classes: int) -> tuple[Value, Value]:
    """The score of each pair of classes, and how many pairs each class has won."""
    import numpy as np

    pairs, vectors = classes * (classes - 1) // 2, kernels.width
    coefficients = writer.table(_sized(node, "coefficients", (classes - 1) * vectors))
    rho = writer.table(_sized(node, "rho", pairs))
    starts = writer.table(np.concatenate([[0], np.cumsum(per_class)]).astype(np.int32))
    scores, votes, k = writer.new("float32", (pairs,)), writer.new("int32", (classes,)), writer.at(kernels)
    writer.loop(classes, f"{votes.name}[i] = 0;")
    writer.put(
        f"for (int i = 0, pair = 0; i < {classes - 1}; ++i)",
        f"    for (int j = i + 1; j < {classes}; ++j, ++pair) {{",
        "        double sum = 0;",
        f"        for (int m = {starts}[i]; m < {starts}[i + 1]; ++m)",
        f"            sum += (double)({coefficients}[(j - 1) * {vectors} + m] * {k}[m]);",
        f"        for (int m = {starts}[j]; m < {starts}[j + 1]; ++m)",
        f"            sum += (double)({coefficients}[i * {vectors} + m] * {k}[m]);",
        f"        sum += (double){rho}[pair];",
        f"        {scores.name}[pair] = (float)sum;",
        f"        {votes.name}[sum > 0 ? i : j] += 1;",
        "    }",
    )
    return scores, votes


def _first_largest(array: str, count: int) -> list[str]:
    return ["int best = 0;", f"for (int i = 1; i < {count}; ++i) if ({array}[best] < {array}[i]) best = i;"]


def _label(writer: Writer, labels: tuple[Any, ...], choice: list[str]) -> Value:
    """The label of the class that the statements leave in `best`."""
    import numpy as np

    texts = labels if isinstance(labels[0], str) else None
    out = writer.new("int64", (), texts=texts)
    chosen = "best" if texts else f"{writer.table(np.array(labels, dtype=np.int64))}[best]"
    writer.put("{", *(f"    {line}" for line in choice), f"    {out.name}[0] = {chosen};", "}")
    return out


def _spread_scores(writer: Writer, scores: Value, classes: int) -> Value:
    """Two classes have one score, which is given for both; more have one score a pair."""
    if classes > 2:
        return scores
    out, source = writer.new("float32", (2,)), writer.at(scores)
    writer.put(f"{out.name}[0] = -{source}[0];", f"{out.name}[1] = {source}[0];")
    return out


def _coupled(node: Node, writer: Writer, scores: Value, classes: int) -> Value:
    """Probabilities of the classes from those of the pairs."""
    import numpy as np

    pairs = scores.width
    a, b = (writer.table(_sized(node, name, pairs)) for name in ("prob_a", "prob_b"))
    r, q = (writer.new("float32", (classes, classes)) for _ in range(2))
    w, out = writer.new("float32", (classes,)), writer.new("float32", (classes,))
    least, most = float_text(LEAST_CHANCE), float_text(float(np.float32(1) - np.float32(LEAST_CHANCE)))
    writer.put(
        f"for (int i = 0, pair = 0; i < {classes}; ++i)",
        f"    for (int j = i + 1; j < {classes}; ++j, ++pair) {{",
        f"        const float z = {writer.at(scores)}[pair] * {a}[pair] + {b}[pair];",
        "        const float e = 1 / (1 + el_expf(z < 0 ? z : -z));",
        "        const float won = 1 - (z < 0 ? 1 - e : e);",
        f"        const float low = won < {least} ? {least} : won, s = {most} < low ? {most} : low;",
        f"        {r.name}[i * {classes} + j] = s;",
        f"        {r.name}[j * {classes} + i] = 1 - s;",
        "    }",
        *_coupling(r.name, q.name, w.name, out.name, classes),
    )
    return out


def _coupling(r: str, q: str, w: str, p: str, n: int) -> list[str]:
    """Statements that minimise p'Qp over the distributions p; w holds Qp. Wu, Lin and Weng (2004), algorithm 2."""
    import numpy as np

    close = float_text(float(np.float32(CLOSE) / np.float32(n)))
    return [
        f"for (int i = 0; i < {n}; ++i) {{",
        f"    {p}[i] = 1.0f / {n};",
        f"    {q}[i * {n} + i] = 0;",
        f"    for (int j = 0; j < {n}; ++j)",
        f"        if (j != i) {q}[i * {n} + i] += {r}[j * {n} + i] * {r}[j * {n} + i];",
        f"    for (int j = 0; j < {n}; ++j)",
        f"        if (j != i) {q}[i * {n} + j] = j < i ? {q}[j * {n} + i] : -{r}[j * {n} + i] * {r}[i * {n} + j];",
        "}",
        f"for (int round = 0; round < {ROUNDS}; ++round) {{",
        "    float whole = 0, worst = 0;",
        f"    for (int i = 0; i < {n}; ++i) {{",
        f"        {w}[i] = 0;",
        f"        for (int j = 0; j < {n}; ++j) {w}[i] += {q}[i * {n} + j] * {p}[j];",
        f"        whole += {p}[i] * {w}[i];",
        "    }",
        f"    for (int i = 0; i < {n}; ++i) {{",
        f"        const float d = {w}[i] - whole, error = d < 0 ? -d : d;",
        "        if (error > worst) worst = error;",
        "    }",
        f"    if (worst < {close}) break;",
        f"    for (int i = 0; i < {n}; ++i) {{",
        f"        const float own = {q}[i * {n} + i], step = (whole - {w}[i]) / own, scale = 1 + step;",
        f"        {p}[i] += step;",
        f"        whole = (whole + step * (step * own + 2 * {w}[i])) / scale / scale;",
        f"        for (int j = 0; j < {n}; ++j) {{",
        f"            {w}[j] = ({w}[j] + step * {q}[i * {n} + j]) / scale;",
        f"            {p}[j] /= scale;",
        "        }",
        "    }",
        "}",
    ]


def _linear_classifier(node: Node, writer: Writer, row: Value, labels: tuple[Any, ...]) -> tuple[Value, ...]:
    """Without support vectors there is a row of coefficients for each class, and one constant for all."""
    import numpy as np

    count = len(labels)
    found = node.numbers("coefficients")
    weights = _sized(node, "coefficients", count * row.width).reshape(count, row.width)
    out = writer.new("float32", (count,))
    layer(writer, out, writer.at(row), weights.T, np.repeat(_sized(node, "rho", 1), count))
    choice = _first_largest(out.name, count)
    if count == 2 and not len(node.numbers("prob_a")):
        limit = ">= 0.5f" if bool((found >= 0).all()) else "> 0"
        choice.append(f"if ({out.name}[best] {limit}) best = 1;")
    return _label(writer, labels, choice), out


def _regressor(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    row = _row(node, inputs)
    count, rho = node.integer("n_supports", 0), _sized(node, "rho", 1)
    if count < 0:
        raise node.wrong(f"n_supports: expected a number of vectors, found {count}")
    source = _kernels(node, writer, row, _vectors(node, count, row.width)) if count else row
    out = writer.new("float32", (1,))
    layer(writer, out, writer.at(source), _sized(node, "coefficients", source.width).reshape(-1, 1), rho)
    if node.integer("one_class", 0):
        writer.put(f"{out.name}[0] = {out.name}[0] > 0 ? 1.0f : -1.0f;")
    return (out,)


OPERATORS = {
    ("ai.onnx.ml", "SVMClassifier"): _classifier,
    ("ai.onnx.ml", "SVMRegressor"): _regressor,
}
