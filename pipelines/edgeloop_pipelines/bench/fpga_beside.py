"""The models of `make bench-fpga` through conifer and hls4ml: the fewest bits that agree as edgeloop's do, and their area.

Each peer is given every model and answers itself where it does not take one. conifer's VHDL becomes Verilog by GHDL and is
placed by edgeloop's tools, on the same part with the same seed; hls4ml's projects need a vendor's tool for an area.
"""

from __future__ import annotations

import math
import shutil
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_pipelines.bench.fpga_steps import (
    PART,
    Lacking,
    Refused,
    area,
    asked,
    ghdl_version,
    peers_python,
    spent_s,
    tool_versions,
    verilog,
)
from edgeloop_pipelines.bench.fpga_table import Row

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edgeloop_pipelines.bench.fpga_models import Made

    Labels = npt.NDArray[np.int64]

__all__ = ["Given", "beside", "surroundings"]

MOST_BITS = 18
MARGIN = 1.1  # of the largest score among the calibration's rows: held-out rows may have a larger one
WIDE = "ap_fixed<32,8>"
SIMULATED_ROWS = 400  # by GHDL
VENDORS = ("vitis-run", "vitis_hls", "vivado")
Say = Callable[[str], None]


@dataclass(frozen=True)
class Given:
    """A model with the float model's labels of its held-out rows, the agreement that is asked, and a folder to work in."""

    model: str
    made: Made
    labels: Labels
    floor: float
    folder: Path
    say: Say

    def rows(self) -> tuple[Path, Path]:
        """Files with the held-out rows and with those of the calibration."""
        import numpy as np

        held, calibration = self.folder / f"{self.model}-held.npz", self.folder / f"{self.model}-calibration.npz"
        np.savez(held, rows=self.made.rows, labels=self.labels)
        np.savez(calibration, rows=self.made.calibration)
        return held, calibration


def beside(given: Given, own: Row) -> Iterator[Row]:
    """edgeloop's row as it is, its core alone where a peer's can be placed, and a row for each peer."""
    yield own
    built = given.folder / f"{given.model}-{PART}"
    if "boosting" in given.model:
        yield _core(given, own, built)
    for name, peer in PEERS.items():
        yield _answered(given, name, peer)


def _answered(given: Given, name: str, peer: Callable[[Given, Path], Row]) -> Row:
    """The peer's row, or one with the reason why there is none."""
    given.say(f"{name}: {given.model}")
    try:
        return peer(given, peers_python())
    except Lacking as error:
        return Row(model=given.model, tool=name, remarks=(f"not measured: {error}",))
    except Refused as error:
        return Row(model=given.model, tool=name, remarks=(f"does not take this model; its answer: {error}",))


def _core(given: Given, own: Row, built: Path) -> Row:
    """The core of edgeloop's design without shell, and without comparators in block RAM: logic alone, as the peer's."""
    from edgeloop_components.fpga.rtl import RtlOptions, emit
    from edgeloop_contracts import loads
    from edgeloop_contracts.fpga import FpgaDesign

    design = loads(FpgaDesign, (built / "design.json").read_text())
    found = area(emit(design, RtlOptions()), "core", given.folder / f"{given.model}-core")
    return replace(
        own,
        tool="edgeloop, core alone, no block RAM",
        used=found.used,
        fmax_mhz=found.fmax_mhz,
        build_s=found.build_s,
        convert_s=None,
        simulate_s=None,
        around="nothing: its byte ports on pins",
        remarks=("the integers of the row above; converted and simulated there",),
    )


def _conifer(given: Given, python: Path) -> Row:
    """Its row, with an area where GHDL is installed and the design can be placed."""
    from edgeloop_components.fpga.tools import ToolFailed, ToolMissing

    project = _Project(given, python)
    row, bits = _narrowest(project)
    try:
        return _placed(project, row, bits)
    except (Lacking, Refused, ToolFailed, ToolMissing) as error:
        return replace(row, remarks=(*row.remarks, f"area not measured: {error}"))


@dataclass(frozen=True)
class _Project:
    """conifer's projects of a model, one for each of its backends."""

    given: Given
    python: Path

    def folder(self, backend: str) -> Path:
        """Where that of a backend is."""
        return self.given.folder / f"{self.given.model}-conifer-{backend}"

    def called(self, backend: str, precision: str, rows: Path, count: int) -> dict[str, Any]:
        """Converts and simulates, and says what was found. Refused."""
        self.given.say(f"conifer {backend}: {precision}")
        arguments = (self.given.made.path, rows, self.folder(backend), backend, precision, count)
        return asked(self.python, "conifer_trees", arguments, self.given.folder)

    def scores(self, backend: str) -> npt.NDArray[np.float64]:
        """What the latest call of the backend computed: [rows, outputs]."""
        import numpy as np

        found: npt.NDArray[np.float64] = np.load(self.folder(backend) / "scores.npy")
        return found


def _narrowest(project: _Project) -> tuple[Row, int]:
    """The fewest bits that agree, by conifer's C++; and how many those are."""
    given = project.given
    held, calibration = given.rows()
    largest = project.called("cpp", WIDE, calibration, len(given.made.calibration))["largest"]
    whole = _whole_bits(MARGIN * largest)
    tried: dict[str, float] = {}
    for bits in range(whole + 4, MOST_BITS + 1):
        precision = f"ap_fixed<{bits},{whole}>"
        answer = project.called("cpp", precision, held, len(given.labels))
        tried[precision] = float((_labels(project.scores("cpp")) == given.labels).mean())
        if tried[precision] >= given.floor:
            break
    row = Row(
        model=given.model,
        tool=f"conifer {answer['versions']['conifer']}",
        numbers=precision,
        agreement=tried[precision],
        rows=len(given.labels),
        convert_s=answer["convert_s"],
        simulate_s=answer["simulate_s"],
        tried=tried,
        versions=answer["versions"],
        remarks=("agreement of its C++ emulation; the host maps each feature to the whole range of the format",),
    )
    return row, bits


def _placed(project: _Project, row: Row, bits: int) -> Row:
    """The row with the area of conifer's VHDL. Lacking, Refused, ToolFailed, ToolMissing."""
    given = project.given
    ghdl = ghdl_version()
    vhdl = project.called("vhdl", row.numbers, given.rows()[0], SIMULATED_ROWS)
    emulated = project.scores("cpp")[:SIMULATED_ROWS]
    equal = int((project.scores("vhdl") == emulated).all(axis=1).sum())
    outputs = emulated.shape[1]
    began_s = spent_s()
    core = verilog(project.folder("vhdl"), given.folder / f"{given.model}-ghdl")
    synthesised_s = spent_s() - began_s
    around = surroundings(bits * given.made.rows.shape[1], bits * outputs, outputs)
    given.say(f"yosys, nextpnr-ecp5: conifer's {given.model} on {PART}")
    found = area({"core.v": core, "around.v": around}, "top", given.folder / f"{given.model}-around", "-noccu2")
    remarks = (
        f"its VHDL gives the scores of its C++ in {equal} of {SIMULATED_ROWS} rows (GHDL); GHDL's Verilog was not simulated",
        f"by GHDL {ghdl} and yosys with -noccu2 (no carry chains), which makes it smaller; scores go out, no class is chosen",
    )
    return replace(
        row,
        used=found.used,
        fmax_mhz=found.fmax_mhz,
        convert_s=vhdl["convert_s"],
        build_s=synthesised_s + found.build_s,
        around="registers that shift a row in and scores out, 3 pins",
        versions={**row.versions, "ghdl": ghdl, **tool_versions()},
        remarks=(*row.remarks, *remarks),
    )


def _hls4ml(given: Given, python: Path) -> Row:
    held, _ = given.rows()
    whole = _whole_bits(_largest(given))
    tried: dict[str, float] = {}
    for bits in range(whole + 4, MOST_BITS + 1):
        precision = f"ap_fixed<{bits},{whole}>"
        given.say(f"hls4ml: {precision}")
        out = given.folder / f"{given.model}-hls4ml-{bits}"
        answer = asked(python, "hls4ml_network", (given.made.path, held, out, "Vitis", precision), given.folder)
        tried[precision] = answer["agreement"]
        if answer["agreement"] >= given.floor:
            break
    there = [name for name in VENDORS if shutil.which(name)]
    found = f"{there[0]}, which this benchmark does not call" if there else f"none of {', '.join(VENDORS)}"
    return Row(
        model=given.model,
        tool=f"hls4ml {answer['versions']['hls4ml']}",
        numbers=precision,
        agreement=answer["agreement"],
        rows=len(given.labels),
        convert_s=answer["convert_s"],
        tried=tried,
        versions=answer["versions"],
        remarks=(
            f"area and timing not measured: a Vitis project is built by the vendor's tool alone; found {found}",
            "agreement of its C simulation; converting includes compiling and running that",
        ),
    )


PEERS: Mapping[str, Callable[[Given, Path], Row]] = {"conifer": _conifer, "hls4ml": _hls4ml}


def _whole_bits(largest: float) -> int:
    """Bits before the point, with the sign, for values up to `largest`."""
    return 1 + max(0, math.ceil(math.log2(largest)))


def _largest(given: Given) -> float:
    """The largest value among the network's sums, for the calibration's rows; 1 where it has none."""
    import onnx
    import onnxruntime

    model = onnx.load(given.made.path)
    names = [node.output[0] for node in model.graph.node if node.op_type in ("Scaler", "MatMul", "Add")]
    if not names:
        return 1.0
    model.graph.output.extend(onnx.ValueInfoProto(name=name) for name in names)
    session = onnxruntime.InferenceSession(model.SerializeToString())
    values = session.run(names, {session.get_inputs()[0].name: given.made.calibration})
    return max(float(abs(value).max()) for value in values)


def _labels(scores: npt.NDArray[np.float64]) -> Labels:
    import numpy as np

    found: Labels = (scores[:, 0] > 0).astype(np.int64) if scores.shape[1] == 1 else scores.argmax(axis=1)
    return found


def surroundings(inputs: int, outputs: int, valid: int) -> str:
    """Verilog around conifer's core: `inputs` bits come in by one pin, `outputs` and `valid` bits go out by another."""
    total = outputs + valid
    return f"""// A row is shifted in, a bit a clock; scores are taken every {total} clocks and shifted out.
module top (input wire clk, input wire rx, output wire tx);
    reg [{inputs - 1}:0] row = 0;
    reg [{total - 1}:0] reply = 0;
    reg [{total.bit_length() - 1}:0] count = 0;
    wire [{outputs - 1}:0] y;
    wire [{valid - 1}:0] y_vld;
    wire last = count == {total - 1};
    always @(posedge clk) begin
        row <= {{row, rx}};
        count <= last ? 0 : count + 1'b1;
        reply <= last ? {{y_vld, y}} : reply << 1;
    end
    assign tx = reply[{total - 1}];
    BDTTop core (.clk(clk), .X(row), .X_vld(1'b1), .y(y), .y_vld(y_vld));
endmodule
"""
