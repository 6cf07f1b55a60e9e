"""The C code that walks all trees of a forest: afterwards `place[i]` is the row of the leaf table that tree i came to.

Eight trees are walked side by side, so that as many loads are under way at once. In which order they are walked does not
matter: sums are made afterwards, in the order of the trees.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from edgeloop_components.native.forest import LEAF, Forest
from edgeloop_components.native.walks import Padded, Table, depth_of, is_padded, padded, simple, table, tests_of
from edgeloop_components.native.writer import Writer

__all__ = ["Walk", "walk"]

LANES = 8
COMPARISONS = ("q <= v", "q < v", "q >= v", "q > v", "q == v", "q != v")  # in the order of MODES


@dataclass
class Walk:
    """State while walks are written. `leaves` (nodes of the forest) are the rows of the leaf table."""

    writer: Writer
    forest: Forest
    x: str
    to: dict[int, int]  # tree: where its place goes
    places: str  # the C array of places
    leaves: list[int] = field(default_factory=list)

    def target(self, trees: Sequence[int]) -> Callable[[str], str]:
        """The C index of where the place of one of these trees goes."""
        places = [self.to[tree] for tree in trees]
        if places == list(range(places[0], places[0] + len(places))):
            return lambda t: f"{places[0]} + {t}" if places[0] else t
        name = integers(self.writer, places)
        return lambda t: f"{name}[{t}]"


def walk(writer: Writer, forest: Forest, x: str, order: Sequence[int], pays: int) -> Walk:
    """Puts the walks; place i is that of tree order[i]. `pays` floats a leaf are in the leaf table."""
    to = {tree: place for place, tree in enumerate(order)}
    found = Walk(writer, forest, x, to, writer.new("int32", (len(order),)).name)
    if not simple(forest):
        _general(found)
        return found
    tests, roots = tests_of(forest), forest.roots.tolist()
    sizes = {tree: depth_of(tests, roots[tree]) for tree in order}
    perfect = [tree for tree in order if is_padded(*sizes[tree], pays)]
    for depth in sorted({sizes[tree][0] for tree in perfect}):
        _padded(found, padded(tests, roots, [tree for tree in perfect if sizes[tree][0] == depth], depth))
    rest = sorted((tree for tree in order if tree not in set(perfect)), key=lambda tree: sizes[tree][0])
    if rest:
        _table(found, table(tests, roots, rest, [sizes[tree][0] for tree in rest]))
    return found


def _padded(found: Walk, group: Padded) -> None:
    writer, x = found.writer, found.x
    base, count, depth = len(found.leaves), len(group.trees), group.depth
    found.leaves += group.leaves.ravel().tolist()
    inner = (1 << depth) - 1
    target = found.target(group.trees)
    if not depth:
        writer.loop(count, f"{found.places}[{target('t')}] = {base} + t;", "t")
        return
    feature, test = _features(writer, group.feature, group.nan, group.threshold)

    def block(lanes: int) -> list[str]:
        each = f"for (int u = 0; u < {lanes}; ++u)"
        return [
            f"int p[{lanes}] = {{0}};",
            f"for (int d = 0; d < {depth}; ++d)",
            f"{each} {{",
            f"const int k = (t + u) * {inner} + p[u];",
            f"const float q = {x}[{feature}];",
            f"p[u] = 2 * p[u] + 2 - {test};",
            "}",
            f"{each} {found.places}[{target('t + u')}] = {base - inner} + (t + u) * {inner + 1} + p[u];",
        ]

    _blocks(writer, count, block)


def _blocks(writer: Writer, count: int, block: Callable[[int], list[str]]) -> None:
    """A loop over whole blocks of lanes, and what is left."""
    whole = count - count % LANES
    if whole:
        writer.put(f"for (int t = 0; t < {whole}; t += {LANES}) {{", *block(LANES), "}")
    if count > whole:
        writer.put("{", f"const int t = {whole};", *block(count - whole), "}")


def integers(writer: Writer, values: Any) -> str:
    """A table of whole numbers from 0 on, of the smallest type."""
    import numpy as np

    array = np.asarray(values)
    kinds = (("uint8_t", np.uint8), ("uint16_t", np.uint16), ("int32_t", np.int32))
    c_type, dtype = next(kind for kind in kinds if array.max(initial=0) <= np.iinfo(kind[1]).max)
    return writer.table(array.astype(dtype), c_type=c_type)


def _features(writer: Writer, feature: Any, nan: Any, threshold: Any) -> tuple[str, str]:
    """C expressions for node k: its feature, and whether the value q goes left. The top bit of a feature is for NaN."""
    import numpy as np

    limits = writer.table(threshold.astype(np.float32))
    if not nan.any():
        return f"{integers(writer, feature)}[k]", f"(q <= {limits}[k])"
    bits = 7 if feature.max(initial=0) < 1 << 7 else 15 if feature.max() < 1 << 15 else 31
    dtype = {7: np.uint8, 15: np.uint16, 31: np.uint32}[bits]
    name = writer.table((feature + (nan.astype(np.int64) << bits)).astype(dtype), c_type=f"uint{bits + 1}_t")
    mask = hex((1 << bits) - 1)
    return f"{name}[k] & {mask}", f"((q <= {limits}[k]) | ((q != q) & (int)({name}[k] >> {bits})))"


def _rows(found: Walk, leaves: Sequence[int]) -> dict[int, int]:
    """Row of the leaf table for each of these nodes; leaves that pay the same share one."""
    known: dict[Any, int] = {}
    rows = {}
    for leaf in leaves:
        key = tuple((target, weight.hex()) for target, weight in found.forest.pays[leaf])
        if key not in known:
            known[key] = len(found.leaves)
            found.leaves.append(leaf)
        rows[leaf] = known[key]
    return rows


def _table(found: Walk, group: Table) -> None:
    writer, x = found.writer, found.x
    rows = _rows(found, [leaf for leaf in group.leaves.tolist() if leaf >= 0])
    row = integers(writer, [rows.get(leaf, 0) for leaf in group.leaves.tolist()])
    feature, test = _features(writer, group.feature, group.nan, group.threshold)
    following, start = integers(writer, group.next), integers(writer, group.starts)
    target = found.target(group.trees)
    steps = integers(writer, [max(group.steps[t : t + LANES]) for t in range(0, len(group.steps), LANES)])

    def block(lanes: int) -> list[str]:
        each = f"for (int u = 0; u < {lanes}; ++u)"
        return [
            f"int p[{lanes}] = {{0}}, s[{lanes}];",
            f"{each} s[u] = {start}[t + u];",
            f"for (int d = {steps}[t / {LANES}]; d > 0; --d)",
            f"{each} {{",
            "const int k = s[u] + p[u];",
            f"const float q = {x}[{feature}];",
            f"p[u] = {following}[k] + 1 - {test};",
            "}",
            f"{each} {found.places}[{target('t + u')}] = {row}[s[u] + p[u]];",
        ]

    _blocks(writer, len(group.trees), block)


def _general(found: Walk) -> None:
    import numpy as np

    writer, forest, x = found.writer, found.forest, found.x
    leaf = forest.mode == LEAF
    rows = _rows(found, np.flatnonzero(leaf).tolist())
    yes = np.where(leaf, [rows.get(p, 0) for p in range(len(leaf))], forest.yes)
    tables = [integers(writer, column) for column in (forest.roots, forest.mode, yes, np.where(leaf, 0, forest.no))]
    roots, mode, yes_name, no_name = tables
    feature = integers(writer, np.where(leaf, 0, forest.feature))
    nan = integers(writer, forest.missing.astype(np.int64))
    limits = writer.table(forest.threshold)
    cases = [f"case {number}: yes = {test}; break;" for number, test in enumerate(COMPARISONS[:-1])]
    writer.put(
        f"for (int t = 0; t < {len(forest.roots)}; ++t) {{",
        f"int p = {roots}[t];",
        f"while ({mode}[p] != {LEAF}) {{",
        f"const float q = {x}[{feature}[p]], v = {limits}[p];",
        "int yes;",
        f"switch ({mode}[p]) {{",
        *cases,
        f"default: yes = {COMPARISONS[-1]};",
        "}",
        f"p = yes | ((q != q) & {nan}[p]) ? {yes_name}[p] : {no_name}[p];",
        "}",
        f"{found.places}[{found.target(range(len(forest.roots)))('t')}] = {yes_name}[p];",
        "}",
    )
