"""A forest's core: pipelined, a row a clock.

(1) a register for each comparator, (2) one for each tree: the number of the leaf, by nested multiplexers, (3) one for each tree
and score: what that leaf adds, a look-up, (4) a tree of adders with three inputs, (5) the decision. Values count from the
smallest of their tree, and the sum of those is part of one tree's values: widths are as small as the values allow.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass

from edgeloop_components.fpga.rtl.adders import Term, summed
from edgeloop_components.fpga.rtl.comparators import FALSE, TRUE, Comparators
from edgeloop_components.fpga.rtl.frames import code_bytes, reply_bytes, request_bytes, score_bytes
from edgeloop_components.fpga.rtl.options import RtlError, RtlOptions
from edgeloop_components.fpga.rtl.text import CORE, bits_of, fixed, index_bits, width_of
from edgeloop_contracts.fpga import FpgaDesign, FpgaForest, FpgaTree

__all__ = ["forest_files"]

FIXED = ("thermometer.v", "larger.v")


@dataclass(frozen=True)
class Leaf:
    """What a leaf adds to the tree's outputs."""

    values: tuple[int, ...]


@dataclass(frozen=True)
class Fork:
    """A comparator's name; `left` where it is true."""

    test: str
    left: Leaf | Fork
    right: Leaf | Fork


Node = Leaf | Fork


def forest_files(design: FpgaDesign, forest: FpgaForest, options: RtlOptions) -> dict[str, str]:
    """Names and texts: core.v and its modules. RtlError."""
    _check(design, forest)
    comparators = Comparators(design, forest, options)
    core = _core(design, forest, comparators)
    return {"core.v": core, **{name: fixed(name) for name in FIXED}, **dict(comparators.files())}


def _check(design: FpgaDesign, forest: FpgaForest) -> None:
    if len(forest.base) != design.scores:
        raise RtlError(f"forest.base: expected {design.scores} values, found {len(forest.base)}")
    for what, count in (("forest.thresholds", len(forest.thresholds)), ("missing", len(design.missing))):
        if count != design.features:
            raise RtlError(f"{what}: expected one for each of {design.features} features, found {count}")
    most = max((*design.missing, *map(len, forest.thresholds)))
    if most.bit_length() > design.code_bits:
        raise RtlError(f"code_bits: expected {most.bit_length()} for codes up to {most}, found {design.code_bits}")


def _grown(tree: FpgaTree, comparators: Comparators) -> Node:
    """The tree with constant and needless forks left out. Children stand behind their parents, so no recursion."""
    nodes: list[Node] = [Leaf(())] * len(tree.features)
    for place in reversed(range(len(tree.features))):
        feature = tree.features[place]
        if feature < 0:
            nodes[place] = Leaf(tree.values[place])
            continue
        left, right = nodes[tree.left[place]], nodes[tree.right[place]]
        if left == right:
            nodes[place] = left
            continue
        test = comparators.name(feature, tree.edges[place], tree.missing_left[place])
        nodes[place] = {TRUE: left, FALSE: right}.get(test) or Fork(test, left, right)
    return nodes[0]


def _leaves(node: Node) -> list[Leaf]:
    """Distinct leaves, from left to right."""
    found: dict[Leaf, None] = {}
    waiting = [node]
    while waiting:
        one = waiting.pop()
        if isinstance(one, Leaf):
            found[one] = None
        else:
            waiting += [one.right, one.left]
    return list(found)


def _nested(node: Node, values: dict[Leaf, str]) -> str:
    if isinstance(node, Leaf):
        return values[node]
    return f"({node.test} ? {_nested(node.left, values)} : {_nested(node.right, values)})"


@dataclass
class _Share:
    """What a tree adds to one score: the values of its distinct leaves, in their order."""

    tree: int
    values: list[int]

    @property
    def least(self) -> int:
        return min(self.values)


def _shares(tree: int, node: Node, outputs: Sequence[int]) -> Iterator[tuple[int, _Share]]:
    leaves = _leaves(node)
    for place, output in enumerate(outputs):
        yield output, _Share(tree, [leaf.values[place] for leaf in leaves])


def _core(design: FpgaDesign, forest: FpgaForest, comparators: Comparators) -> str:
    nodes = [_grown(tree, comparators) for tree in forest.trees]
    shares: list[list[_Share]] = [[] for _ in range(design.scores)]
    for place, (node, tree) in enumerate(zip(nodes, forest.trees, strict=True)):
        for output, share in _shares(place, node, tree.outputs):
            shares[output].append(share)
    body = [*comparators.lines(), "", "    // ---- trees: the leaf that the row falls into"]
    for place, node in enumerate(nodes):
        body += _leaf_lines(place, node)
    body += ["", "    // ---- what they add, counted from the least of each tree but one"]
    terms: list[list[Term]] = []
    for output, those in enumerate(shares):
        lines, found = _tree_terms(output, those, forest.base[output])
        body += lines
        terms.append(found)
    body += ["", "    // ---- sums"]
    lines, sums, depth = summed(terms)
    body += lines
    lines, label, deciding = _decision(design, sums)
    body += ["", "    // ---- decision", *lines]
    return _module(design, body, label, sums, 3 + depth + deciding)


def _leaf_lines(tree: int, node: Node) -> list[str]:
    """The register of the leaf that the row falls into; none where there is one leaf."""
    leaves = _leaves(node)
    if len(leaves) == 1:
        return []
    width = index_bits(len(leaves))
    names = {leaf: f"{width}'d{place}" for place, leaf in enumerate(leaves)}
    return [
        f"    reg [{width - 1}:0] leaf{tree};",
        f"    always @(posedge clk) leaf{tree} <= {_nested(node, names)};",
    ]


def _tree_terms(output: int, shares: Sequence[_Share], base: int) -> tuple[list[str], list[Term]]:
    """A register for what each tree adds to a score."""
    if not shares:
        return [], [Term(_literal(base, width_of(base, base)), base, base, base % 2 == 0)]
    offset = base + sum(share.least for share in shares)
    widest = max(shares, key=lambda share: max(share.values) - share.least)
    lines, terms = [], []
    for share in shares:
        shift = (offset if share is widest else 0) - share.least
        values = [value + shift for value in share.values]
        even = all(value % 2 == 0 for value in values)
        term = Term(f"t{share.tree}_{output}", min(values), max(values), even)
        lines += _value_lines(term, f"leaf{share.tree}", values)
        terms.append(term)
    return lines, terms


def _value_lines(term: Term, leaf: str, values: Sequence[int]) -> list[str]:
    width = term.width
    texts = [_literal(value, width) for value in values]
    if len(values) == 1:
        return [f"    wire [{width - 1}:0] {term.name} = {texts[0]};"]
    cases = [f"        {place}: {term.name} <= {text};" for place, text in enumerate(texts[:-1])]
    return [
        f"    reg [{width - 1}:0] {term.name};",
        f"    always @(posedge clk) case ({leaf})",
        *cases,
        f"        default: {term.name} <= {texts[-1]};",
        "    endcase",
    ]


def _literal(value: int, width: int) -> str:
    return f"{width}'d{bits_of(value, width)}"


def _decision(design: FpgaDesign, sums: Sequence[Term]) -> tuple[list[str], str, int]:
    """Lines, the label's name, clocks."""
    if design.scores == 1:
        return _above_zero(sums[0])
    bits = index_bits(design.scores)
    width = max(term.width + (term.least >= 0) for term in sums)
    lines = []
    level: list[tuple[str, str]] = []
    for place, term in enumerate(sums):
        lines.append(f"    wire [{width - 1}:0] s{place} = {term.extended(width)};")
        level.append((f"s{place}", f"{bits}'d{place}"))
    clocks = 0
    while len(level) > 1:
        level = _round(level, clocks, width, bits, lines)
        clocks += 1
    return lines, level[0][1], clocks


def _round(level: list[tuple[str, str]], clocks: int, width: int, bits: int, lines: list[str]) -> list[tuple[str, str]]:
    """Pairs meet; one without a partner waits a clock."""
    winners = []
    for pair in range(0, len(level), 2):
        score, place = f"w{clocks}_{pair // 2}", f"p{clocks}_{pair // 2}"
        first, second = level[pair], level[min(pair + 1, len(level) - 1)]
        lines.append(f"    wire [{width - 1}:0] {score};")
        lines.append(f"    wire [{bits - 1}:0] {place};")
        lines.append(
            f"    larger #(.BITS({width}), .LABEL_BITS({bits})) {score}_of (.clk(clk), .first({first[0]}), "
            f".first_place({first[1]}), .second({second[0]}), .second_place({second[1]}), .score({score}), .place({place}));"
        )
        winners.append((score, place))
    return winners


def _above_zero(score: Term) -> tuple[list[str], str, int]:
    positive = f"|{score.name}" if score.least >= 0 else f"|{score.name} && !{score.name}[{score.width - 1}]"
    return [f"    wire above = {positive};"], "above", 0


def _module(design: FpgaDesign, body: Sequence[str], label: str, sums: Sequence[Term], clocks: int) -> str:
    count, each = request_bytes(design), code_bytes(design)
    width = 8 * score_bytes(design)
    reply = ", ".join(
        part
        for term in sums
        for wide in [f"y_{term.name}"]
        for part in (f"{wide}[{8 * k + 7}:{8 * k}]" for k in range(score_bytes(design)))
    )
    codes = "\n".join(
        f"    wire [{8 * each - 1}:0] x{feature} = {_bytes_of(count, feature, each)};"
        for feature in range(design.features)
    )
    wide = "\n".join(f"    wire [{width - 1}:0] y_{term.name} = {term.extended(width)};" for term in sums)
    total, joined = reply_bytes(design), "\n".join(body)
    return f"""// The core of this design: trees, {clocks} clocks deep, a row a clock.
{CORE}
    // ---- codes, the last byte in the lowest bits
    reg [{8 * count - 1}:0] row = 0;
    always @(posedge clk) if (x_valid) row <= {{row, x_data}};
{codes}

    // ---- a clock before the row's scores are there
    reg [{clocks - 2}:0] valid = 0;
    always @(posedge clk) valid <= {{valid, start}};
    assign done = valid[{clocks - 2}];

    // ---- comparators
{joined}

    // ---- the reply: the label, then the scores' bytes, the least significant first
{wide}
    wire [{8 * total - 1}:0] reply = {{{{{8 - _label_bits(design)}{{1'b0}}}}, {label}, {reply}}};
    assign y_data = reply[(y_left - 1) * 8 +: 8];
endmodule
"""


def _label_bits(design: FpgaDesign) -> int:
    return index_bits(max(2, design.scores))


def _bytes_of(count: int, feature: int, each: int) -> str:
    """The bytes of a feature's code in `row`, the most significant first."""
    lows = [8 * (count - 1 - (feature * each + k)) for k in range(each)]
    return "{" + ", ".join(f"row[{low + 7}:{low}]" for low in reversed(lows)) + "}"
