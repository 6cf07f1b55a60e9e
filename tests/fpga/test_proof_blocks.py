"""Arithmetic blocks equal their definitions, and a changed gate makes the solver say so."""

from __future__ import annotations

import re

import pytest
from simulation import needs_yosys

from edgeloop_components.fpga.proof.blocks import BLOCKS, Block, BlockDiffers, prove_blocks
from edgeloop_components.fpga.rtl.text import fixed

pytestmark = [needs_yosys, pytest.mark.slow]


def test_every_block_equals_its_definition() -> None:
    assert prove_blocks() == [block.title for block in BLOCKS]


@pytest.mark.parametrize(
    ("name", "old", "new"),
    [
        ("crc8", "t[2] ^ t[3] ^ t[7]", "t[2] ^ t[3] ^ t[6]"),
        ("requantise", "shifted[SUM_BITS-1:BITS]", "shifted[SUM_BITS-1:BITS+1]"),
        ("thermometer", "TRUE << 1", "TRUE"),
        ("larger", "second > first", "second >= first"),
        ("largest", "value > best", "value >= best"),
        ("lane", "weight * activation", "weight * $signed(activation[BITS-1:0])"),
    ],
)
def test_a_changed_block_differs(name: str, old: str, new: str) -> None:
    text = fixed(f"{name}.v")
    assert old in text
    block = next(block for block in BLOCKS if block.name == name)
    with pytest.raises(BlockDiffers, match=re.escape(f"{block.title}: expected what reference.v defines")):
        prove_blocks([block], {f"{name}.v": text.replace(old, new)})


def test_a_block_says_its_parameters() -> None:
    assert Block("crc8").title == "crc8"
    assert Block("larger", {"BITS": 3, "LABEL_BITS": 1}).title == "larger(BITS=3, LABEL_BITS=1)"
