"""Sums as a pipeline: a tree of adders with three inputs, narrow terms first, every node as wide as its range needs.

The first two of three inputs are added on a wire that synthesis keeps: else it makes a compressor of the three, which costs a
half more than two carry chains. Not where one of them is even: its lowest bit is 0, the sum's is then that of the other, and
yosys 0.70 (synth_ecp5) loses the driver of the kept wire's other bits.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from edgeloop_components.fpga.rtl.text import width_of

__all__ = ["Term", "summed"]

INPUTS = 3


@dataclass(frozen=True)
class Term:
    """A wire and the range of its values; two's complement where `least` is negative. `even`: every value is."""

    name: str
    least: int
    most: int
    even: bool = False

    @property
    def width(self) -> int:
        return width_of(self.least, self.most)

    def extended(self, width: int) -> str:
        """The value in `width` bits, or its lowest `width`."""
        extra = width - self.width
        if extra <= 0:
            return self.name if extra == 0 else f"{self.name}[{width - 1}:0]"
        fill = f"{{{extra}{{{self.name}[{self.width - 1}]}}}}" if self.least < 0 else f"{extra}'d0"
        return f"{{{fill}, {self.name}}}"


def summed(outputs: Sequence[Sequence[Term]]) -> tuple[list[str], list[Term], int]:
    """Lines, the sum of each output's terms, and the clocks until they are there: all together, one at least."""
    lines: list[str] = []
    levels = [list(terms) for terms in outputs]
    clocks = 0
    while clocks == 0 or any(len(level) > 1 for level in levels):
        levels = [_level(level, f"a{clocks}_{place}", lines) for place, level in enumerate(levels)]
        clocks += 1
    return lines, [level[0] for level in levels], clocks


def _level(terms: Sequence[Term], prefix: str, lines: list[str]) -> list[Term]:
    ordered = sorted(terms, key=lambda term: term.width)
    return [
        _node(ordered[first : first + INPUTS], f"{prefix}_{first // INPUTS}", lines)
        for first in range(0, len(ordered), INPUTS)
    ]


def _node(terms: Sequence[Term], name: str, lines: list[str]) -> Term:
    terms = sorted(terms, key=lambda term: term.even)  # an even one comes third
    even = all(term.even for term in terms)
    total = Term(name, sum(term.least for term in terms), sum(term.most for term in terms), even)
    texts = [term.extended(total.width) for term in terms]
    span = f"[{total.width - 1}:0]"
    lines.append(f"    reg {span} {name};")
    if len(texts) == INPUTS:
        keep = "" if terms[1].even else "(* keep *) "
        lines.append(f"    {keep}wire {span} {name}_two = {texts[0]} + {texts[1]};")
        texts = [f"{name}_two", texts[2]]
    lines.append(f"    always @(posedge clk) {name} <= {' + '.join(texts)};")
    return total
