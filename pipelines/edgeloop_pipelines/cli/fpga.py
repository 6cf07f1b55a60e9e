"""`edgeloop fpga`: an ONNX classifier quantised, proven, made into a bitstream and loaded."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from edgeloop_pipelines.cli.console import JsonOption, UserError, emit, say, table
from edgeloop_pipelines.cli.models import FileArgument, SeedOption, progress

if TYPE_CHECKING:
    from edgeloop_components.fpga.build import Order
    from edgeloop_components.fpga.lone import Quantised

app = typer.Typer(help="An ONNX classifier on an FPGA: quantised, proven, built, loaded.", no_args_is_help=True)

PartOption = Annotated[str, typer.Option("--part", help="such as ice40-hx8k, ice40-up5k, ecp5-25k")]
CalibrationOption = Annotated[
    Path | None,
    typer.Option("--calibration", metavar="FILE", help="CSV rows, with a label column or not", show_default=False),
]
AgreementOption = Annotated[
    float, typer.Option("--agreement", help="least share of rows with the float model's label", min=0, max=1)
]
LossOption = Annotated[
    float, typer.Option("--accuracy-loss", help="most accuracy lost, where there are labels", min=0, max=1)
]
LEAST_BITS, MOST_BITS = 2, 16


def _bits(given: int) -> int:
    if given and not LEAST_BITS <= given <= MOST_BITS:
        raise typer.BadParameter(f"expected {LEAST_BITS} to {MOST_BITS}, found {given}")
    return given


BitsOption = Annotated[
    int,
    typer.Option(
        "--bits",
        help=f"of weights or leaves, {LEAST_BITS} to {MOST_BITS}; default: the fewest that hold",
        callback=_bits,
        show_default=False,
    ),
]
MultipliersOption = Annotated[int, typer.Option("--multipliers", help="of a perceptron's core: fewer fold more", min=1)]


@app.callback()
def _fpga() -> None:
    """An ONNX classifier on an FPGA: quantised, proven, built, loaded."""


@app.command("build")
def build_command(
    file: FileArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="the folder to write; of the same shape: it is patched")],
    *,
    part: PartOption,
    calibration: CalibrationOption = None,
    board: Annotated[
        str, typer.Option("--board", help="such as icebreaker; default: the part's own", show_default=False)
    ] = "",
    front: Annotated[str, typer.Option("--link", help="uart or spi")] = "uart",
    baud: Annotated[int, typer.Option("--baud", help="of the serial line", min=1200)] = 115_200,
    multipliers: MultipliersOption = 4,
    bits: BitsOption = 0,
    agreement: AgreementOption = 0.99,
    accuracy_loss: LossOption = 0.005,
    seed: SeedOption = 0,
    force: Annotated[bool, typer.Option("--force", help="replace a folder that holds something else")] = False,
    as_json: JsonOption = False,
) -> None:
    """Build a bitstream of an ONNX classifier, prove it in simulation, and write a report.

    The fewest bits are searched that agree with the model well enough. What cannot fit the part is refused with numbers before
    long steps. A folder with a design of the same shape is patched: block RAM contents change, nothing is placed anew. Nothing
    runs on hardware: timing is nextpnr's static estimate.

    Examples:

      edgeloop fpga build m.onnx --part ice40-hx8k --calibration rows.csv -o out/
      edgeloop fpga build m.onnx --part ecp5-25k --board ulx3s-25f --bits 8 -o out/
      edgeloop fpga build m.onnx --part ice40-up5k --multipliers 2 --agreement 0.995 -o out/ --json
    """
    from edgeloop_components.fpga.backend import tools_of
    from edgeloop_components.fpga.build import Order
    from edgeloop_components.fpga.lone import build_folder
    from edgeloop_components.fpga.page import rows_of
    from edgeloop_components.fpga.tools import versions

    order = Order(part=part, board=board, front=front, baud=baud, multipliers=multipliers)
    versions(tools_of(order.row))
    quantised = _quantised(
        file,
        calibration,
        agreement=agreement,
        accuracy_loss=accuracy_loss,
        bits=bits,
        seed=seed,
        order=order,
        base=out,
    )
    built = build_folder(quantised, order, out, force=force, progress=progress)
    document = {"out": str(out), **built.certificate, "widths": quantised.document()}
    emit(document, lambda: _show(out, rows_of(built.certificate, quantised.document())), as_json)


@app.command("simulate")
def simulate_command(
    file: FileArgument,
    *,
    part: Annotated[str, typer.Option("--part", help="whose circuit: clock and memories follow from it")] = "ecp5-25k",
    calibration: CalibrationOption = None,
    multipliers: MultipliersOption = 4,
    bits: BitsOption = 0,
    agreement: AgreementOption = 0.99,
    accuracy_loss: LossOption = 0.005,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Quantise an ONNX classifier and run its circuit in Verilator, against the integer model: labels and raw scores.

    Exit code 1: a row differs.

    Examples:

      edgeloop fpga simulate m.onnx --calibration rows.csv
      edgeloop fpga simulate m.onnx --bits 8 --multipliers 8 --json
    """
    from edgeloop_components.fpga.build import Order, proven, sources

    quantised = _quantised(file, calibration, agreement=agreement, accuracy_loss=accuracy_loss, bits=bits, seed=seed)
    design = quantised.found.design
    order = Order(part=part, multipliers=multipliers)
    proof = proven(design, sources(design, order), quantised.rows, order, progress)
    document = {"file": str(file), "widths": quantised.document(), "proof": proof}
    emit(document, lambda: _show(file, _tried(quantised) + _lines(proof)), as_json)


@app.command("report")
def report_command(
    path: Annotated[Path, typer.Argument(help="a folder that `fpga build` wrote, or an ONNX file")],
    *,
    calibration: CalibrationOption = None,
    multipliers: MultipliersOption = 4,
    bits: BitsOption = 0,
    agreement: AgreementOption = 0.99,
    accuracy_loss: LossOption = 0.005,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Show the figures of a built folder and write its report.html anew; of an ONNX file, which parts it would fit.

    Of a file the sizes are estimates from its shape, in a moment; a build tells more.

    Examples:

      edgeloop fpga report out/
      edgeloop fpga report m.onnx --calibration rows.csv --json
    """
    if path.is_dir():
        from edgeloop_components.fpga.lone import REPORT_FILE, write_report
        from edgeloop_components.fpga.page import rows_of

        found = write_report(path)
        emit(found, lambda: _show(path / REPORT_FILE, rows_of(found, found["widths"])), as_json)
        return
    from edgeloop_components.fpga.estimate import told
    from edgeloop_components.fpga.parts import PARTS

    quantised = _quantised(path, calibration, agreement=agreement, accuracy_loss=accuracy_loss, bits=bits, seed=seed)
    parts = [told(quantised.found.design, part, multipliers) for part in PARTS.values()]
    emit({"file": str(path), "widths": quantised.document(), "parts": parts}, lambda: _fits(quantised, parts), as_json)


@app.command("load")
def load_command(
    folder: Annotated[Path, typer.Argument(help="a folder that `fpga build` wrote")],
    *,
    board: Annotated[
        str, typer.Option("--board", help="openFPGALoader's name; default: the built board's", show_default=False)
    ] = "",
    as_json: JsonOption = False,
) -> None:
    """Load a built bitstream into a board's volatile memory with openFPGALoader, which must be installed.

    The file is compared with its certificate first. No board was ever at hand when this was written.

    Examples:

      edgeloop fpga load out/
      edgeloop fpga load out/ --board ice40_generic
    """
    from edgeloop_components.fpga.lone import verified
    from edgeloop_node.fpga.loader import load_bitstream

    bitstream, name = verified(folder)
    by = load_bitstream(bitstream, board or name)
    emit(
        {"bitstream": str(bitstream), "board": board or name, "by": by},
        lambda: say(f"{bitstream} loaded by {by}"),
        as_json,
    )


@app.command("vendor")
def vendor_command(
    file: FileArgument,
    out: Annotated[Path, typer.Option("--out", "-o", help="the folder to write")],
    *,
    backend: Annotated[str, typer.Option("--backend", help="Vitis, Quartus, oneAPI, Catapult or Libero")] = "Vitis",
    precision: Annotated[str, typer.Option("--precision", help="of all numbers, in hls4ml's words")] = "ap_fixed<12,5>",
    calibration: CalibrationOption = None,
    seed: SeedOption = 0,
    as_json: JsonOption = False,
) -> None:
    """Emit an hls4ml project of a network for a vendor's tools, and check its C simulation with g++: `emitted, not built`.

    hls4ml and qonnx must be installed; they are not part of edgeloop's extras. No vendor's tool is called.

    Examples:

      edgeloop fpga vendor m.onnx --backend Vitis --calibration rows.csv -o project/
    """
    from edgeloop_components.fpga.lone import evidence_of
    from edgeloop_components.fpga.vendor import BACKENDS, emit_project

    if backend not in BACKENDS:
        raise UserError(f"--backend: expected one of {', '.join(BACKENDS)}, found {backend!r}")
    evidence, source = evidence_of(file, calibration, seed)
    status = emit_project(file, evidence.rows, evidence.labels, out, backend=backend, precision=precision)
    emit({"out": str(out), "source": source, **status}, lambda: _show(out, _lines(status)), as_json)


def _quantised(
    file: Path,
    calibration: Path | None,
    *,
    agreement: float,
    accuracy_loss: float,
    bits: int,
    seed: int,
    order: Order | None = None,
    base: Path | None = None,
) -> Quantised:
    from edgeloop_components.fpga.lone import quantise_file
    from edgeloop_components.fpga.quantise import Floors

    if calibration is not None and not calibration.is_file():
        raise UserError(f"{calibration}: expected a CSV file of rows, found none", "--calibration FILE")
    floors = Floors(agreement, accuracy_loss)
    return quantise_file(file, calibration, floors, bits=bits, order=order, base=base, seed=seed, progress=progress)


def _fits(quantised: Quantised, parts: list[dict[str, Any]]) -> None:
    _show(quantised.lone.path, _tried(quantised))
    _fits_table(parts)


def _fits_table(parts: list[dict[str, Any]]) -> None:
    from edgeloop_components.fpga.estimate import NAMES

    rows = [
        (
            p["part"],
            p["fits"] + "".join(f", {NAMES[name]}: {need:,} of {has:,}" for name, (need, has) in p["over"].items()),
            f"{p['luts'][0]:,} to {p['luts'][1]:,} of {p['available']:,}",
            f"{p['brams'][0]:,} of {p['brams'][1]:,}",
        )
        for p in parts
    ]
    table(("part", "fits", "LUT, by the shape", "block RAM"), rows)


def _tried(quantised: Quantised) -> list[tuple[str, str]]:
    kept = quantised.found.tried[-1]
    rows = [("Rows", quantised.source), ("Bits", f"{kept.bits}, of {len(quantised.found.tried)} widths tried")]
    return [*rows, ("Agreement", f"{kept.agreement:.2%} of {kept.rows:,} rows")]


def _lines(document: Mapping[str, Any]) -> list[tuple[str, str]]:
    return [(name.replace("_", " "), str(value)) for name, value in document.items() if not isinstance(value, Mapping)]


def _show(title: Path, rows: list[tuple[str, str]]) -> None:
    say(str(title), style="bold")
    table(("", ""), rows)
