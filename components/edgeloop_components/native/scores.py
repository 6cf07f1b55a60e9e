"""Post-transforms of classifiers and regressors: from sums to probabilities, in the way onnxruntime computes them."""

from __future__ import annotations

from collections.abc import Mapping

from edgeloop_components.native.values import Value
from edgeloop_components.native.writer import Writer
from edgeloop_components.onnxgraph import Node

__all__ = ["FUNCTIONS", "TRANSFORMS", "label_line", "labels", "transform_of", "transformed"]

TRANSFORMS = ("NONE", "SOFTMAX", "LOGISTIC", "SOFTMAX_ZERO", "PROBIT")  # in the order of their numbers in TreeEnsemble

FUNCTIONS: Mapping[str, str] = {
    "el_logistic": """static float el_logistic(float x) {
    const float v = 1 / (1 + el_expf(x < 0 ? x : -x));
    return x < 0 ? 1 - v : v;
}
""",
    "el_probit": """static float el_probit(float p) {
    const float x = 2 * p - 1, sign = x < 0 ? -1.0f : 1.0f, log = el_logf((1 - x) * (1 + x));
    const float v = 2 / (3.14159f * 0.147f) + 0.5f * log, w = 1 / 0.147f * log;
    return 1.41421356f * (sign * __builtin_sqrtf(-v + __builtin_sqrtf(v * v - w)));
}
""",
}


def transform_of(node: Node) -> str:
    """The node's post_transform. Unsupported for one that does not exist."""
    name = node.text("post_transform", "NONE")
    if name not in TRANSFORMS:
        raise node.refused(f"the post_transform {name[:40]!r} is not supported")
    return name


def transformed(transform: str, name: str, count: int) -> list[str]:
    """Statements that transform the `count` floats at `name` in place."""
    each = f"for (int i = 0; i < {count}; ++i)"
    if transform in ("LOGISTIC", "PROBIT"):
        return [f"{each} {name}[i] = el_{transform.lower()}({name}[i]);"]
    if transform == "NONE":
        return []
    return [
        "{",
        "float largest = -0x1.fffffep+127f, sum = 0;",
        f"{each} if ({name}[i] > largest) largest = {name}[i];",
        *_exponentials(transform, name, each),
        f"{each} {name}[i] /= sum;",
        "}",
    ]


def _exponentials(transform: str, name: str, each: str) -> list[str]:
    if transform == "SOFTMAX":
        return [f"{each} {name}[i] = el_expf({name}[i] - largest);", f"{each} sum += {name}[i];"]
    return [
        "const float factor = el_expf(-largest);",
        f"{each} {{",
        f"const float e = el_expf({name}[i] - largest);",
        f"const int zero = {name}[i] <= 0x1.ad7f2ap-24f && {name}[i] >= -0x1.ad7f2ap-24f;",
        f"if (zero) {name}[i] *= factor; else {{ {name}[i] = e; sum += e; }}",
        "}",
    ]


def labels(node: Node, ints: str, count: int) -> tuple[list[int], tuple[str, ...] | None]:
    """The numbers of a classifier's labels, or the texts that its numbers stand for; `count` 0: any."""
    texts, numbers = node.texts("classlabels_strings"), node.integers(ints).tolist()
    found = len(texts) or len(numbers)
    if bool(texts) == bool(numbers) or (count and found != count):
        raise node.wrong(
            f"expected labels of {count or 'all'} classes, found {len(texts)} texts and {len(numbers)} numbers"
        )
    return (list(range(len(texts))), texts) if texts else (numbers, None)


def label_line(writer: Writer, label: Value, known: list[int], place: str) -> str:
    """The statement that puts the label of the class at `place` (a C expression)."""
    import numpy as np

    if known == list(range(len(known))):
        return f"{label.name}[0] = {place};"
    return f"{label.name}[0] = {writer.table(np.array(known, dtype=np.int64))}[{place}];"
