"""Tree ensembles of ai.onnx.ml: TreeEnsembleClassifier, TreeEnsembleRegressor, and TreeEnsemble, which replaces both.

What trees pay is added in their order, in float32, so that the bits are those of onnxruntime on one thread. Its rules for two
classes are kept too: which score it makes from which sum, and when.

Refuses thresholds and weights of float64, classes that only some leaves pay (where the label depends on that), a single class,
and the smallest and largest of weights where a leaf leaves a target out.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING

from edgeloop_components.native.forest import LEAF, Forest, read_classic, read_ensemble
from edgeloop_components.native.linear import float_row
from edgeloop_components.native.scores import TRANSFORMS, label_line, labels, transform_of, transformed
from edgeloop_components.native.strides import Inputs
from edgeloop_components.native.values import Value
from edgeloop_components.native.walking import integers, walk
from edgeloop_components.native.writer import Writer
from edgeloop_components.onnxgraph import Node

if TYPE_CHECKING:
    from edgeloop_components.native.operators import Operator

__all__ = ["OPERATORS"]

NODES = (
    "falsenodeids", "featureids", "hitrates", "missing_value_tracks_true", "modes", "nodeids", "treeids", "truenodeids", "values",
)  # fmt: skip
AGGREGATES = ("AVERAGE", "SUM", "MIN", "MAX")  # as TreeEnsemble numbers them
MOST_INTERLEAVED = 16


def _leaves(forest: Forest) -> list[list[int]]:
    """The leaves of each tree."""
    leaf, yes, no = (forest.mode == LEAF).tolist(), forest.yes.tolist(), forest.no.tolist()
    found = []
    for root in forest.roots.tolist():
        level, leaves, seen = [root], [], {root}
        while level:
            leaves += [p for p in level if leaf[p]]
            below = dict.fromkeys(child for p in level if not leaf[p] for child in (yes[p], no[p]))
            level = [child for child in below if child not in seen]
            seen.update(level)
        found.append(leaves)
    return found


def _paid(forest: Forest, leaves: Sequence[Sequence[int]]) -> tuple[set[int], set[int]]:
    """Targets that every row gets something for, and targets that some row may."""
    always: set[int] = set()
    ever: set[int] = set()
    for tree in leaves:
        sets = [{target for target, _ in forest.pays[leaf]} for leaf in tree]
        always |= set.intersection(*sets)
        ever |= set.union(*sets)
    return always, ever


def _sums(node: Node, writer: Writer, forest: Forest, x: str, how: tuple[str, str]) -> tuple[set[int], set[int]]:
    """Puts what all trees pay into the floats at `scores`. Gives the targets paid in every row, and in any."""
    aggregate, scores = how
    leaves = _leaves(forest)
    always, ever = _paid(forest, leaves)
    single = [{target for leaf in tree for target, _ in forest.pays[leaf]} for tree in leaves]
    if all(len(targets) == 1 for targets in single):
        _fixed(writer, forest, x, [targets.pop() for targets in single], how)
    elif aggregate in ("MIN", "MAX") and any(len(forest.pays[leaf]) < len(ever) for tree in leaves for leaf in tree):
        raise node.refused(f"the aggregate {aggregate} needs leaves that pay every target")
    else:
        _spread(writer, forest, x, how)
    if aggregate == "AVERAGE":
        writer.loop(forest.targets, f"{scores}[i] /= {len(forest.roots)}.0f;")
    return always, ever


def _added(aggregate: str, total: str, value: str) -> str:
    sign = {"MIN": "<", "MAX": ">"}.get(aggregate)
    return f"{total} = {value} {sign} {total} ? {value} : {total};" if sign else f"{total} += {value};"


def _fixed(writer: Writer, forest: Forest, x: str, target: Sequence[int], how: tuple[str, str]) -> None:
    """Each tree pays one target: sums target by target; side by side where all have as many trees."""
    import numpy as np

    aggregate, scores = how
    order = sorted(range(len(target)), key=lambda tree: target[tree])
    found = walk(writer, forest, x, order, 1)
    table = writer.table(np.array([forest.pays[leaf][0][1] for leaf in found.leaves], dtype=np.float32))
    counts = np.bincount(target, minlength=forest.targets).tolist()
    alike = len(set(counts)) == 1 and len(counts) <= MOST_INTERLEAVED
    first = 1 if aggregate in ("MIN", "MAX") else 0
    if alike:
        writer.put(f"float s[{len(counts)}];")
        start = f"{table}[{found.places}[i * {counts[0]}]]" if first else "0"
        writer.loop(len(counts), f"s[i] = {start};")
        writer.put(f"for (int t = {first}; t < {counts[0]}; ++t)", f"for (int i = 0; i < {len(counts)}; ++i) {{")
        writer.put(
            f"const float v = {table}[{found.places}[i * {counts[0]} + t]];", _added(aggregate, "s[i]", "v"), "}"
        )
        writer.loop(len(counts), f"{scores}[i] = s[i];")
        return
    ends = integers(writer, np.cumsum([0, *counts]))
    writer.put(f"for (int i = 0; i < {len(counts)}; ++i) {{", "float s = 0;")
    writer.put(f"int t = {ends}[i];")
    if first:
        writer.put(f"if (t < {ends}[i + 1]) s = {table}[{found.places}[t++]];")
    writer.put(f"for (; t < {ends}[i + 1]; ++t) {{", f"const float v = {table}[{found.places}[t]];")
    writer.put(_added(aggregate, "s", "v"), "}", f"{scores}[i] = s;", "}")


def _spread(writer: Writer, forest: Forest, x: str, how: tuple[str, str]) -> None:
    """Leaves pay several targets: a row of the leaf table has a weight for each."""
    import numpy as np

    aggregate, scores = how
    count = forest.targets
    found = walk(writer, forest, x, range(len(forest.roots)), count)
    weights = np.zeros((len(found.leaves), count), dtype=np.float32)
    for row, leaf in enumerate(found.leaves):
        for target, weight in forest.pays[leaf]:
            weights[row, target] = weight
    table = writer.table(weights)
    first = 1 if aggregate in ("MIN", "MAX") else 0
    local = "s" if count <= MOST_INTERLEAVED else scores
    if local == "s":
        writer.put(f"float s[{count}];")
    writer.loop(count, f"{local}[i] = {f'{table}[{found.places}[0] * {count} + i]' if first else '0'};")
    writer.put(f"for (int t = {first}; t < {len(forest.roots)}; ++t) {{")
    writer.put(f"const float *leaf = {table} + {found.places}[t] * {count};")
    writer.loop(count, _added(aggregate, f"{local}[i]", "leaf[i]"))
    writer.put("}")
    if local == "s":
        writer.loop(count, f"{scores}[i] = s[i];")


def _regressor(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    pays = ("target_ids", "target_nodeids", "target_treeids", "target_weights")
    node.only(*(f"nodes_{n}" for n in NODES), *pays, "aggregate_function", "base_values", "n_targets", "post_transform")
    x, width = float_row(node, inputs, writer)
    forest = read_classic(node, width, node.integer("n_targets", 1), "target")
    aggregate = node.text("aggregate_function", "SUM")
    return (_regressed(node, writer, forest, x, (aggregate, transform_of(node))),)


def _ensemble(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    x, width = float_row(node, inputs, writer)
    forest = read_ensemble(node, width)
    aggregate, transform = node.integer("aggregate_function", 1), node.integer("post_transform", 0)
    if not 0 <= aggregate < len(AGGREGATES) or not 0 <= transform < len(TRANSFORMS):
        raise node.wrong(f"there is no aggregate_function {aggregate} or no post_transform {transform}")
    return (_regressed(node, writer, forest, x, (AGGREGATES[aggregate], TRANSFORMS[transform])),)


def _regressed(node: Node, writer: Writer, forest: Forest, x: str, how: tuple[str, str]) -> Value:
    import numpy as np

    aggregate, transform = how
    base = node.numbers("base_values")
    if aggregate not in AGGREGATES:
        raise node.refused(f"the aggregate_function {aggregate[:40]!r} is not supported")
    if len(base) not in (0, forest.targets):
        raise node.wrong(f"expected {forest.targets} base_values, found {len(base)}")
    out = writer.new("float32", (forest.targets,))
    paid, ever = _sums(node, writer, forest, x, (aggregate, out.name))
    if len(base) and paid != ever:
        raise node.refused("there are base_values for targets that only some leaves pay")
    base = base * np.isin(np.arange(len(base)), list(paid)).astype(np.float32)  # what nothing pays, stays 0
    if len(base) or aggregate in ("MIN", "MAX"):
        start = writer.table(base if len(base) else np.zeros(forest.targets, dtype=np.float32))
        writer.loop(forest.targets, f"{out.name}[i] = {start}[i] + {out.name}[i];")
    if forest.targets > 1 or transform == "PROBIT":  # of one target, onnxruntime leaves out the others
        writer.put(*transformed(transform, out.name, forest.targets))
    return out


def _classifier(node: Node, inputs: Inputs, writer: Writer) -> tuple[Value, ...]:
    pays = ("class_ids", "class_nodeids", "class_treeids", "class_weights", "classlabels_int64s", "classlabels_strings")
    node.only(*(f"nodes_{name}" for name in NODES), *pays, "base_values", "post_transform")
    x, width = float_row(node, inputs, writer)
    known, texts = labels(node, "classlabels_int64s", 0)
    forest = read_classic(node, width, len(known), "class")
    base = node.numbers("base_values").tolist()
    if len(known) < 2 or len(base) not in ((0, 1, 2) if len(known) == 2 else (0, len(known))):
        raise node.refused(f"{len(known)} classes with {len(base)} base_values are not supported")
    label, out = writer.new("int64", (), texts), writer.new("float32", (len(known),))
    always, paid = _sums(node, writer, forest, x, ("SUM", out.name))
    weights = [weight for pay in forest.pays for _, weight in pay]
    if always != paid and (len(known) == 2 or base or min(weights) <= 0):  # a label may depend on who is paid
        raise node.refused("there are classes that only some leaves pay")
    if len(known) == 2:
        _two_classes(node, writer, forest, (label, out, known), paid)
    else:
        _classes(node, writer, (label, out, known), paid)
    return label, out


def _classes(node: Node, writer: Writer, results: tuple[Value, Value, list[int]], paid: set[int]) -> None:
    label, out, known = results
    base = node.numbers("base_values")
    if len(base):
        writer.loop(len(known), f"{out.name}[i] += {writer.table(base)}[i];")
    first = 0 if len(base) or not paid else min(paid)
    skipped = [] if len(base) or not paid else sorted(set(range(len(known))) - paid)
    writer.put(f"int best = {first};")
    which = f"!{integers(writer, [place in skipped for place in range(len(known))])}[i] && " if skipped else ""
    writer.loop(len(known), f"if ({which}{out.name}[i] > {out.name}[best]) best = i;")
    writer.put(label_line(writer, label, known, "best"), *transformed(transform_of(node), out.name, len(known)))


def _two_classes(
    node: Node, writer: Writer, forest: Forest, results: tuple[Value, Value, list[int]], paid: set[int]
) -> None:
    """onnxruntime's rules: a class that nothing pays has no score, whatever the base values are."""
    label, out, known = results
    second = 1 in paid
    base, transform, s = node.numbers("base_values"), transform_of(node), out.name
    b = f"{writer.table(base)}" if len(base) else ""
    if len(base) == 2 and second:
        writer.put(f"{s}[1] = {b}[1] + {s}[0];", f"{s}[0] = -{s}[1];")
    elif len(base):
        writer.put(f"{s}[0] += {b}[0];")
    if 0 not in paid:
        writer.put(f"{s}[0] = 0;")
    pays = [pay for leaf in forest.pays for pay in leaf]
    alone = len({target for target, _ in pays}) == 1
    positive = all(weight >= 0 for _, weight in pays)
    writer.put(f"const float paid = {s}[{1 if second else 0}];")
    writer.put(f"const int yes = paid > {'0.5f' if alone and positive else '0'};")
    writer.put(label_line(writer, label, known if alone else [0, 1], "yes"))
    if len(base) == 2 or second:
        writer.put(*transformed(transform, s, 2))
    else:
        writer.put(*_second_score(node, s, transform, alone, positive))


def _second_score(node: Node, s: str, transform: str, alone: bool, positive: bool) -> list[str]:
    """Two scores from one sum."""
    if transform == "PROBIT":
        raise node.refused("the post_transform PROBIT of one sum for two classes is not supported")
    if alone and positive and transform != "LOGISTIC":
        return [f"{s}[1] = paid;", f"{s}[0] = 1 - paid;"]
    if transform == "LOGISTIC":
        return [f"{s}[1] = el_logistic(paid);", f"{s}[0] = el_logistic(-paid);"]
    return [f"{s}[1] = paid;", f"{s}[0] = -paid;"]


OPERATORS: Mapping[tuple[str, str], Operator] = {
    ("ai.onnx.ml", "TreeEnsemble"): _ensemble,
    ("ai.onnx.ml", "TreeEnsembleClassifier"): _classifier,
    ("ai.onnx.ml", "TreeEnsembleRegressor"): _regressor,
}
