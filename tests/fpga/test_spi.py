"""The SPI slave alone, at random: edges anywhere between those of the clock, bytes without a pause, bytes that are broken off."""

from __future__ import annotations

import itertools
import re
import subprocess
from collections.abc import Mapping
from pathlib import Path

import pytest
from simulation import needs_simulator

from edgeloop_components.fpga import rtl
from edgeloop_components.fpga.proof.verilate import Bench, built

pytestmark = [needs_simulator]

MASTER = Path(__file__).with_name("spi_line.cpp")
SLAVE = Path(rtl.__file__).parent / "verilog" / "spi_slave.v"
CLOCK = 24  # ticks
FASTEST = 3 * CLOCK
HALVES = ((FASTEST, FASTEST), (FASTEST, FASTEST + 1), (75, 81), (96, 96), (131, FASTEST), (FASTEST, 200), (500, 500))
BREAKS: Mapping[str, tuple[str, str, str]] = {
    "a byte taken at an edge, but not loaded": (
        "if (t_ready) t_bits",
        "if (t_ready && !rising) t_bits",
        "before a reply",
    ),
    "a byte loaded a clock late": ("assign t_ready = ended || ", "assign t_ready = ", "in a reply"),
    "a byte that waits dropped with cs_n": ("if (rising) waits", "if (rising || away[1]) waits", "in a reply|before a"),
    "a byte not begun anew": (
        "place <= away[1] ? 3'd0 : place + rising;",
        "place <= place + rising;",
        "in a reply|before a",
    ),
}


def _line(text: str) -> Path:
    return built({"spi_slave.v": text}, Bench("", "spi_slave", {}), {"harness.cpp": MASTER.read_text()})


def _said(program: Path, seed: int, halves: tuple[int, int]) -> str:
    done = subprocess.run([program, str(seed), *map(str, halves)], capture_output=True, text=True, timeout=60)
    assert done.returncode in (0, 1), done.stderr
    return done.stdout


def test_every_byte_arrives_at_any_speed_that_is_allowed() -> None:
    program = _line(SLAVE.read_text())
    for seed, halves in itertools.product((1, 2), HALVES):
        assert _said(program, seed, halves) == "", (seed, halves)


@pytest.mark.fpga_matrix
@pytest.mark.parametrize("name", BREAKS)
def test_what_was_wrong_once_is_found_out(name: str) -> None:
    old, new, said = BREAKS[name]
    text = SLAVE.read_text()
    assert text.count(old) == 1
    found = [_said(_line(text.replace(old, new)), seed, halves) for seed, halves in itertools.product((1, 2), HALVES)]
    assert any(found)
    assert all(re.match(said, one) for one in found if one), found
