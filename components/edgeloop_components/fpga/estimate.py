"""Whether a design fits a part, told before the long steps: from its shape at once, from yosys' cells before nextpnr.

Both give a range. What exceeds the part even at the low end is refused with numbers and what would fit; in between, nextpnr
tries. The figures of `shape_range` were fitted to this project's own cores (docs/fpga.md has the table).
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Any

from edgeloop_components.fpga.families import FAMILIES
from edgeloop_components.fpga.parts import PARTS, Needs, Part
from edgeloop_components.fpga.rtl.perceptron import perceptron_memories
from edgeloop_contracts.fpga import FpgaDesign, FpgaForest, FpgaPerceptron

__all__ = [
    "NAMES",
    "DoesNotFit",
    "Range",
    "check",
    "distinct_comparators",
    "packed_range",
    "shape_range",
    "told",
    "ways_to_fit",
]


class DoesNotFit(ValueError):  # noqa: N818 - it is read as a sentence
    """A design is too large for a part. `hint` names what would fit, `details` the numbers."""

    def __init__(self, message: str, hint: str, details: dict[str, object]) -> None:
        super().__init__(message)
        self.hint, self.details = hint, details


@dataclass(frozen=True)
class Range:
    """What a design takes at least and at most, and how that is known."""

    low: Needs
    high: Needs
    source: str


def told(design: FpgaDesign, part: Part, multipliers: int) -> dict[str, Any]:
    """Whether a design fits a part by its shape; `over`: what does not, or perhaps not: needed, available."""
    found = shape_range(design, part, multipliers)
    over, perhaps = found.low.beyond(part.has), found.high.beyond(part.has)
    return {
        "part": part.name,
        "fits": "no" if over else "perhaps" if perhaps else "yes",
        "over": {name: list(pair) for name, pair in (over or perhaps).items()},
        "luts": [found.low.luts, found.high.luts],
        "available": part.has.luts,
        "brams": [found.low.brams, part.has.brams],
        "experimental": part.experimental,
    }


def packed_range(counted: Needs, family: str) -> Range:
    """From yosys' cells. On iCE40 a flip-flop takes the cell of a LUT, so there are as many cells as flip-flops at least."""
    low, high = FAMILIES[family].low, FAMILIES[family].high
    floor = max(counted.luts, counted.ffs if family == "ice40" else 0)
    return Range(
        replace(counted, luts=int(low * counted.luts)),
        replace(counted, luts=int(high * floor)),
        "cells counted by yosys",
    )


def shape_range(design: FpgaDesign, part: Part, multipliers: int) -> Range:
    """From the design's shape alone, in a moment."""
    if design.perceptron is not None:
        middle = _perceptron(design, design.perceptron, part, multipliers)
    else:
        assert design.forest is not None
        middle = _forest(design.forest, part)
    return _spread(middle)


def _spread(middle: Needs) -> Range:
    low, high = (replace(middle, luts=int(middle.luts * factor)) for factor in (0.6, 1.6))
    return Range(low, high, "the design's shape")


SHELL_LUTS = 450  # link, frames and control around a core
LANE_LUTS = 80  # of a multiply-accumulator beside its multiplier
NODE_LUTS = 1.9  # of an inner node of a tree, with its share of leaves and adders
COMPARATOR_LUTS = 1.4  # of a comparison that is in no table
NAMES = {"luts": "LUT", "ffs": "FF", "brams": "block RAM", "dsps": "multipliers"}
IDENTITY = (64, 8)
_18K = ((512, 36), (1024, 18), (2048, 9), (4096, 4), (8192, 2), (16384, 1))
RAM_FORMS = {
    "ice40": ((256, 16), (512, 8), (1024, 4), (2048, 2)),
    "ecp5": _18K,
    "gowin": _18K,
}  # words, bits of a block


def _perceptron(design: FpgaDesign, net: FpgaPerceptron, part: Part, multipliers: int) -> Needs:
    lanes = min(multipliers, max(len(layer.weights) for layer in net.layers))
    in_dsp = min(lanes, part.has.dsps)
    soft = (lanes - in_dsp) * (net.bits * (net.bits + 1) * 5 // 2)
    memories = (IDENTITY, *perceptron_memories(design, net, lanes).values())
    return Needs(
        luts=SHELL_LUTS + lanes * LANE_LUTS + soft,
        ffs=0,
        brams=sum(_blocks(depth, width, part.family) for depth, width in memories),
        dsps=in_dsp,
    )


@functools.cache
def _blocks(depth: int, width: int, family: str) -> int:
    """Block RAMs that a memory takes at least, its columns in forms as yosys maps them: 20 bits of 8,192 as 18 and 2."""
    if width <= 0:
        return 0
    return min(-(-depth // words) + _blocks(depth, width - bits, family) for words, bits in RAM_FORMS[family])


def ways_to_fit(design: FpgaDesign, part: Part, multipliers: int) -> list[str]:
    """Most bits, and most multipliers, with which a perceptron that is too large would fit by its shape; empty: neither."""
    net = design.perceptron
    if net is None:
        return []
    narrower = ((replace(net, bits=bits), bits) for bits in range(net.bits - 1, 1, -1))
    bits = next((bits for one, bits in narrower if _fits(design, one, part, multipliers)), 0)
    folded = next((lanes for lanes in range(multipliers - 1, 0, -1) if _fits(design, net, part, lanes)), 0)
    return [
        *([f"fewer bits (--bits {bits}, a lower agreement)"] if bits else []),
        *([f"more folding (--multipliers {folded})"] if folded else []),
    ]


def _fits(design: FpgaDesign, net: FpgaPerceptron, part: Part, multipliers: int) -> bool:
    return not _spread(_perceptron(design, net, part, multipliers)).high.beyond(part.has)


def distinct_comparators(forest: FpgaForest) -> int:
    """Comparisons that occur in the trees, each once."""
    return len({pair for tree in forest.trees for pair in zip(tree.features, tree.edges, strict=True) if pair[0] >= 0})


def _forest(forest: FpgaForest, part: Part) -> Needs:
    inner = sum(1 for tree in forest.trees for feature in tree.features if feature >= 0)
    comparators = distinct_comparators(forest)
    tables = min(part.tables, -(-comparators // part.table_width))
    loose = max(0, comparators - tables * part.table_width)
    luts = SHELL_LUTS + NODE_LUTS * inner + COMPARATOR_LUTS * loose
    return Needs(luts=int(luts), ffs=0, brams=1 + tables, dsps=0)


def check(found: Range, part: Part, *, advice: Sequence[str] = ()) -> list[str]:
    """Remarks on a tight fit. DoesNotFit when even the low end exceeds the part."""
    over = found.low.beyond(part.has)
    if over:
        numbers = ", ".join(f"{NAMES[name]}: at least {need:,} of {has:,}" for name, (need, has) in over.items())
        others = [other.name for other in PARTS.values() if not other.experimental and not found.high.beyond(other.has)]
        ways = [*advice, *(["another part: " + ", ".join(others)] if others else [])]
        raise DoesNotFit(
            f"{part.name}: expected a design that fits, found {numbers} (by {found.source})",
            "; ".join(ways) or "no part of the table is large enough",
            {"part": part.name, "needs": {name: list(pair) for name, pair in over.items()}, "source": found.source},
        )
    tight = found.high.beyond(part.has)
    return [
        f"{part.name}: a tight fit: up to {need:,} {NAMES[name]} of {has:,} (by {found.source}); nextpnr will tell"
        for name, (need, has) in tight.items()
    ]
