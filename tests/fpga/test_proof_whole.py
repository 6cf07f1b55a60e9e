"""The whole proof: blocks, bytes, pins and netlist; what is changed after synthesis is found out too."""

from __future__ import annotations

from pathlib import Path

import pytest
import samples
from simulation import needs_simulator, needs_yosys

from edgeloop_components.fpga.parts import PARTS
from edgeloop_components.fpga.proof import NetlistError, ProofError, program, prove
from edgeloop_components.fpga.proof.netlist import NETLIST, netlist
from edgeloop_components.fpga.proof.rows import compared, expected
from edgeloop_components.fpga.rtl import RtlOptions, emit

pytestmark = [needs_simulator, needs_yosys]


@pytest.mark.slow
def test_the_certificate_holds_the_whole_proof() -> None:
    design = samples.perceptron()
    said: list[str] = []
    files = emit(design, RtlOptions(baud=1_000_000))
    found = prove(design, files, samples.rows(design, 400), say=said.append)
    assert found["exact"] == found["rows"] == 400
    assert found["front"] == {"kind": "uart", "rows": 4, "exact": 4}
    assert found["netlist"]["rows"] == found["netlist"]["exact"] == 300
    assert found["netlist"]["synthesis"] == "synth_ice40 -dsp"
    assert found["netlist"]["digest"].startswith("sha256:")
    assert "crc8" in found["blocks"]
    assert any(block.startswith("requantise(") for block in found["blocks"])
    assert [line for line in said if line.startswith("proof: ")]


@pytest.mark.fpga_matrix
@pytest.mark.parametrize("name", ["perceptron", "boosting", "boosting3"])
@pytest.mark.parametrize(
    "synthesis", ["synth_ice40 -dsp", "synth_ice40", "synth_ecp5", "synth_ecp5 -noccu2", PARTS["gw2a-18"].netlist]
)
def test_netlists_are_exact(name: str, synthesis: str) -> None:
    design = samples.SAMPLES[name]()
    options = RtlOptions(tables=3, table_words=512, table_width=36)
    rows = samples.rows(design, 300)
    found = prove(design, emit(design, options), rows, synthesis=synthesis, front_rows=0, blocks=False)
    assert found["netlist"]["exact"] == 300


@pytest.mark.slow
@pytest.mark.parametrize("front", ["spi", "wishbone"])
def test_other_front_ends_are_exact_at_their_pins(front: str) -> None:
    design = samples.boosting()
    files = emit(design, RtlOptions(front=front, quiet_s=0.001))  # type: ignore[arg-type]
    found = prove(design, files, samples.rows(design, 10), front_rows=6, netlist_rows=0, blocks=False)
    assert found["front"] == {"kind": front, "rows": 6, "exact": 6}


@pytest.mark.slow
def test_a_wrong_pin_is_found_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("edgeloop_components.fpga.proof.rows.ANSWER_S", 3.0)
    design = samples.boosting()
    files = emit(design, RtlOptions(baud=1_000_000))
    wrong = {**files, "uart.v": files["uart.v"].replace("{line[1], r_bits[7:1]}", "{!line[1], r_bits[7:1]}")}
    assert wrong != files
    with pytest.raises(ProofError, match=r"front end uart: .*expected an answer"):
        prove(design, wrong, samples.rows(design, 3), netlist_rows=0, blocks=False)


@pytest.mark.fpga_matrix
def test_a_cell_that_is_changed_is_found_out(tmp_path: Path) -> None:
    design = samples.perceptron()
    cells = netlist(emit(design, RtlOptions()), "synth_ice40")
    text = cells["netlist.v"]
    at = text.index(".LUT_INIT(16'h", len(text) // 2) + len(".LUT_INIT(16'h")
    end = text.index(")", at)
    changed = text[:at] + f"{int(text[at:end], 16) ^ 0xFFFF:04x}" + text[end:]
    want = expected(design, samples.rows(design, 300))
    board = program({**cells, "netlist.v": changed}, tmp_path / "board", NETLIST)
    with pytest.raises(Exception, match=r"netlist|the device hangs"):
        compared(want, board, "netlist")


def test_a_synthesis_without_models_is_refused() -> None:
    with pytest.raises(
        NetlistError, match="expected one of synth_ice40, synth_ecp5, synth_gowin and its options, found 'synth_x'"
    ):
        netlist({}, "synth_x")
