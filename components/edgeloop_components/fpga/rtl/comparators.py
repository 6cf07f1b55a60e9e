"""One comparator for each distinct (feature, edge) of a forest: `code <= edge`, or a missing value where that goes left too.

Each is a register, in one of two forms. In a table: a block RAM that is addressed with the feature's code holds a column for
each of many comparators; what it reads is the register. In logic: a code is cut into chunks of four bits, `thermometer.v` tells
of each chunk at which values it is at most k, and a comparison is one look-up table a chunk: below in the high chunk, or equal
there and at most in the low one. Comparisons that every code passes, or none, are constants.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field
from functools import cached_property

from edgeloop_components.fpga.rtl.options import RtlOptions
from edgeloop_components.fpga.rtl.text import image, memory, width_of
from edgeloop_contracts.fpga import FpgaDesign, FpgaForest

__all__ = ["FALSE", "TRUE", "Comparators", "Table", "Test"]

CHUNK = 4
FALSE, TRUE = "1'b0", "1'b1"
WORTH = 8  # comparators that make a block RAM worth while


@dataclass(frozen=True)
class Test:
    """`code <= edge`, or missing where `missing_left`."""

    feature: int
    edge: int
    missing_left: bool

    def __str__(self) -> str:
        return f"x{self.feature} <= {self.edge}" + (" or missing" if self.missing_left else "")


@dataclass(frozen=True)
class Table:
    """A block RAM of comparators of one feature, addressed with its code."""

    name: str
    feature: int
    address: int
    tests: tuple[Test, ...]


@dataclass
class Comparators:
    """Names of the comparators that were asked for, in the order of asking."""

    design: FpgaDesign
    forest: FpgaForest
    options: RtlOptions
    _names: dict[Test, str] = field(default_factory=dict)

    def name(self, feature: int, edge: int, missing_left: bool) -> str:
        """The register that says whether a node goes left; TRUE or FALSE where that is always so."""
        last = len(self.forest.thresholds[feature])
        missing_left = missing_left and self._most(feature) > last
        if edge >= self._most(feature) or (missing_left and edge >= last):
            return TRUE
        if edge < 0 and not missing_left:
            return FALSE
        return self._names.setdefault(Test(feature, edge, missing_left), f"c{len(self._names)}")

    def _most(self, feature: int) -> int:
        """The largest code of the feature."""
        return max(self.design.missing[feature], len(self.forest.thresholds[feature]))

    def _width(self, feature: int) -> int:
        return width_of(0, self._most(feature))

    @cached_property
    def tables(self) -> tuple[Table, ...]:
        """The fullest tables, as many as the options allow. Ask for names first."""
        wide, found = self.options.table_width, []
        for feature in sorted({test.feature for test in self._names}):
            tests = sorted((test for test in self._names if test.feature == feature), key=lambda test: test.edge)
            if 1 << self._width(feature) <= self.options.table_words:
                found += [(feature, tests[first : first + wide]) for first in range(0, len(tests), wide)]
        fullest = sorted((one for one in found if len(one[1]) >= WORTH), key=lambda one: -len(one[1]))
        return tuple(
            Table(f"table_{place}", feature, self._width(feature), tuple(tests))
            for place, (feature, tests) in enumerate(fullest[: self.options.tables])
        )

    def files(self) -> Iterator[tuple[str, str]]:
        """Verilog and image of each table."""
        for table in self.tables:
            tests = "".join(f"\n//   bit {bit}: {test}" for bit, test in enumerate(table.tests))
            about = f"Comparators of feature {table.feature}, a word for each code x{table.feature}:{tests}"
            yield f"{table.name}.v", memory(table.name, about, len(table.tests), 1 << table.address)
            words = [self._word(table, code) for code in range(1 << table.address)]
            yield f"{table.name}.hex", image(words, len(table.tests))

    def _word(self, table: Table, code: int) -> int:
        last = len(self.forest.thresholds[table.feature])
        return sum(
            (code <= test.edge or (test.missing_left and code > last)) << bit for bit, test in enumerate(table.tests)
        )

    def lines(self) -> Iterator[str]:
        """Verilog: tables, then thermometers and registers of the others; `x<feature>` are the codes."""
        yield from self._table_lines()
        tabled = {test for table in self.tables for test in table.tests}
        yield from self._logic_lines([test for test in self._names if test not in tabled])

    def _table_lines(self) -> Iterator[str]:
        for table in self.tables:
            width = len(table.tests)
            yield f"    wire [{width - 1}:0] {table.name}_data;"
            address = f"x{table.feature}[{table.address - 1}:0]"
            yield f"    {table.name} {table.name} (.clk(clk), .address({address}), .data({table.name}_data));"
            for bit, test in enumerate(table.tests):
                yield f"    wire {self._names[test]} = {table.name}_data[{bit}];  // {test}"

    def _logic_lines(self, tests: Sequence[Test]) -> Iterator[str]:
        if not tests:
            return
        for feature in sorted({test.feature for test in tests}):
            for chunk, (low, width) in enumerate(self._chunks(feature)):
                bits, part = f"x{feature}_{chunk}", f"x{feature}[{low + width - 1}:{low}]"
                yield f"    wire [{(1 << width) - 1}:0] {bits};"
                yield f"    thermometer #(.BITS({width})) {bits}_of (.value({part}), .at_most({bits}));"
        yield f"    reg {', '.join(self._names[test] for test in tests)};"
        yield "    always @(posedge clk) begin"
        for test in tests:
            yield f"        {self._names[test]} <= {self._logic(test)};  // {test}"
        yield "    end"

    def _logic(self, test: Test) -> str:
        plain = self._at_most(test.feature, test.edge)
        if not test.missing_left:
            return plain
        return f"{plain} | ~({self._at_most(test.feature, len(self.forest.thresholds[test.feature]))})"

    def _chunks(self, feature: int) -> list[tuple[int, int]]:
        """Lowest bit and width of each chunk of the feature's codes, the lowest first."""
        width = self._width(feature)
        return [(low, min(CHUNK, width - low)) for low in range(0, width, CHUNK)]

    def _at_most(self, feature: int, edge: int) -> str:
        if edge < 0:
            return FALSE
        text = ""
        for chunk, (low, width) in enumerate(self._chunks(feature)):
            digit = (edge >> low) & ((1 << width) - 1)
            below = f"x{feature}_{chunk}[{digit - 1}] | " if digit else ""
            here = f"x{feature}_{chunk}[{digit}]"
            text = f"{below}{here} & ({text})" if text else here
        return text
