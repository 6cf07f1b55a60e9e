"""The runtime `fpga`: the graph as a circuit of integers, in the smallest widths that keep the target's floor.

Compiling searches the widths, writes the Verilog, proves it against the integer model, and makes the bitstream for the target's
part and board. The folder then holds design.json (the sidecar), board.json, certificate.json, the bitstream, the Verilated
program where the target's platform is this machine's, the Verilog, and what a later version of the same shape is patched
into. golden.json is written anew, with the answers of the integer model: a node's self-test asks the board for exactly those.

Refuses graphs that a design has not, by the operator's name; models that keep the floor with no width; parts that are too
small or too slow; and a circuit that is not proven.

`compile_model_only` is the runtime `fpga-sim`: the same design for a processor, with no Verilog and no tool of FPGAs. Where
the target names a part, it keeps the width of a design that is placed for that, as `fpga` does: the same bits.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeloop_components.runtimes import ModelError, Score
from edgeloop_components.steps import say
from edgeloop_contracts import ContractError, ModelVersion, Target, digest_of, dumps, loads
from edgeloop_contracts.fpga import FpgaDesign
from edgeloop_contracts.fpga_board import BOARD_FILE, CERTIFICATE_FILE, DESIGN_FILE, SIMULATION_FILE, FpgaBoard

if TYPE_CHECKING:
    import numpy as np
    import numpy.typing as npt

    from edgeloop_components.compile.quantised import Judged
    from edgeloop_components.fpga.build import Order
    from edgeloop_components.fpga.chosen import Chosen
    from edgeloop_components.fpga.quantise import Evidence
    from edgeloop_components.package.layers import Build, Layer

    Rows = npt.NDArray[np.float32]

__all__ = [
    "CODE",
    "HELD",
    "HELD_MODEL_ONLY",
    "PLATFORMS",
    "WHEELS",
    "accelerator",
    "compile_model",
    "compile_model_only",
    "digests",
    "facts",
    "judged",
    "layers",
    "load",
    "remark",
]

PLATFORMS = ("linux/amd64", "linux/arm64")  # those with wheels for the server
WHEELS = ("uvicorn", "uvloop", "httptools")
CODE = ("edgeloop_contracts", "edgeloop_node")
WIDTHS_FILE = "widths.json"
DRAWN = "drawn from the bins of reference.json"
BITSTREAMS = tuple(f"bitstream.{suffix}" for suffix in ("bin", "bit", "fs"))
DOCUMENTS = ("reference.json", "golden.json", "version.json")
HELD = (DESIGN_FILE, BOARD_FILE, CERTIFICATE_FILE, SIMULATION_FILE, WIDTHS_FILE, *BITSTREAMS, *DOCUMENTS)
HELD_MODEL_ONLY = (DESIGN_FILE, WIDTHS_FILE, *DOCUMENTS)


def accelerator(target: Target) -> str:
    """The part, where the target names a device: its nodes must have it. A simulated board needs none."""
    return target.part if target.fpga.device else ""


def compile_model(model_dir: Path, out: Path, target: Target) -> None:
    """Writes the folder. ModelError, Unsupported, and the errors of fpga.rtl, fpga.proof and fpga.backend."""
    from edgeloop_components.compile.golden import read_golden
    from edgeloop_components.fpga import placed
    from edgeloop_components.fpga.build import Order, build
    from edgeloop_components.fpga.evidence import drawn
    from edgeloop_components.package.layers import host_platform

    order = Order(part=target.part, board=target.fpga.board, baud=target.fpga.baud)
    _say(f"{order.row.name} on {order.place.title}")  # an unknown part or board is found before the long search
    evidence = drawn(model_dir)
    chosen = _chosen(model_dir, evidence, order, target)
    found = chosen.found
    _write_widths(out / WIDTHS_FILE, chosen, target, _title(model_dir))
    golden = read_golden(model_dir / "golden.json")
    _write_golden(out / "golden.json", found.design, golden.rows)
    made = build(found.design, evidence.rows, order, out, progress=_say, base=chosen.base, golden=golden.rows)
    placed.keep(made.figures, found.widths.bits, out)
    if target.platform != host_platform():
        (out / SIMULATION_FILE).unlink(missing_ok=True)  # it is machine code of this platform
    _write_board(out, found.design, order, made.figures.bitstream, target)


def compile_model_only(model_dir: Path, out: Path, target: Target) -> None:
    """Writes the folder of `fpga-sim`. ModelError, Unsupported, PartUnknown."""
    from edgeloop_components.compile.golden import read_golden
    from edgeloop_components.fpga.build import Order
    from edgeloop_components.fpga.evidence import drawn

    order = Order(part=target.part, board=target.fpga.board, baud=target.fpga.baud) if target.part else None
    chosen = _chosen(model_dir, drawn(model_dir), order, target)
    design = chosen.found.design
    _write_widths(out / WIDTHS_FILE, chosen, target, _title(model_dir))
    _write_golden(out / "golden.json", design, read_golden(model_dir / "golden.json").rows)
    (out / DESIGN_FILE).write_text(dumps(design) + "\n")


def _write_board(out: Path, design: FpgaDesign, order: Order, bitstream: str, target: Target) -> None:
    board = FpgaBoard(
        design=digest_of(design),
        part=order.row.name,
        board=order.place.loader,
        device=target.fpga.device,
        baud=order.baud,
        bitstream=bitstream,
        simulation=SIMULATION_FILE if (out / SIMULATION_FILE).is_file() else "",
    )
    (out / BOARD_FILE).write_text(dumps(board) + "\n")


def _chosen(model_dir: Path, evidence: Evidence, order: Order | None, target: Target) -> Chosen[Path]:
    """A design that keeps the floors: of a shape that is placed already where there is one, else the smallest."""
    from edgeloop_components.fpga import placed
    from edgeloop_components.fpga.chosen import choose
    from edgeloop_components.fpga.quantise import Floors, read

    return choose(
        read(model_dir / "model.onnx"),
        evidence,
        Floors(target.fpga.agreement, target.fpga.accuracy_loss),
        earlier=placed.widths(order) if order else (),
        base_of=lambda design: placed.find(design, order, _say) if order else None,
        progress=_say,
    )


def _title(model_dir: Path) -> str:
    path = model_dir / "version.json"
    return loads(ModelVersion, path.read_bytes()).name if path.is_file() else "model.onnx"


def _write_widths(path: Path, chosen: Chosen[Path], target: Target, title: str) -> None:
    floors = {"agreement": target.fpga.agreement, "accuracy_loss": target.fpga.accuracy_loss}
    document = {
        "model": title,
        "rows": DRAWN,
        "floors": floors,
        "kept": asdict(chosen.found.widths),
        "chosen": chosen.how,
        "tried": [asdict(one) for one in chosen.found.tried],
    }
    path.write_text(json.dumps(document, indent=1) + "\n")


def _say(text: str) -> None:
    say(f"fpga: {text}")


def _write_golden(path: Path, design: FpgaDesign, rows: Rows) -> None:
    """The same rows with the design's own answers, as float32, which nodes answer in."""
    import numpy as np

    document = json.loads(path.read_bytes())
    labels, probabilities = _score(design, rows)
    answers = {"labels": labels.tolist(), "probabilities": probabilities.astype(np.float32).tolist()}
    path.write_text(json.dumps({"rows": document["rows"], **answers, "of": "the design's integers"}) + "\n")


def judged(model_dir: Path, target: Target) -> Judged:
    """What a design is judged on: the rows that the search saw."""
    from edgeloop_components.compile.quantised import Judged
    from edgeloop_components.fpga.evidence import drawn

    evidence = drawn(model_dir)
    return Judged(evidence.rows, evidence.labels, target.fpga.agreement)


def _design(folder: Path) -> FpgaDesign:
    path = folder / DESIGN_FILE
    try:
        return loads(FpgaDesign, path.read_bytes())
    except (OSError, ContractError) as error:
        raise ModelError(f"{path}: {error}") from error


def _score(design: FpgaDesign, rows: Rows) -> tuple[npt.NDArray[np.int64], npt.NDArray[np.float32]]:
    import numpy as np

    from edgeloop_components.fpga.quantise import vector

    scores = vector.scores(design, vector.codes(design, rows))
    return vector.labels(design, scores), vector.probabilities(design, scores).astype(np.float32)


def load(folder: Path) -> Score:
    """The integer model of a compiled folder as a function of rows float32 [n, features]. ModelError."""
    return partial(_score, _design(folder))


def digests(folder: Path, rows: Rows, target: Target) -> tuple[str, Mapping[str, str]]:
    """sha256 of labels and raw scores of `rows`: of the integer model, and of the Verilated circuit where it runs here."""
    import numpy as np

    from edgeloop_components.fpga.quantise import vector
    from edgeloop_components.fpga.simulate import simulated

    design = _design(folder)
    codes = vector.codes(design, rows)
    scores = vector.scores(design, codes)
    own = np.column_stack([vector.labels(design, scores), scores]).astype("<i8")
    program = folder / SIMULATION_FILE
    if not program.is_file():
        return _sha256(own), {}
    circuit = np.array([[label, *raw] for label, raw in simulated(program, design, codes.tolist())], "<i8")
    return _sha256(own), {f"{target.part}, simulated": _sha256(circuit)}


def _sha256(values: npt.NDArray[np.int64]) -> str:
    return f"sha256:{hashlib.sha256(values.tobytes()).hexdigest()}"


def facts(folder: Path) -> dict[str, str]:
    """What a run says of a compiled folder: width, and with a bitstream its size, how it was made, and a row's time."""
    from edgeloop_contracts.fpga_frame import Layout

    bits = json.loads((folder / WIDTHS_FILE).read_bytes())["kept"]["bits"]
    if not (folder / CERTIFICATE_FILE).is_file():
        return {"design": f"{bits} bits"}
    certificate = json.loads((folder / CERTIFICATE_FILE).read_bytes())
    made, proof, board = (
        certificate["bitstream"],
        certificate["proof"],
        loads(FpgaBoard, (folder / BOARD_FILE).read_bytes()),
    )
    core_us = proof["cycles"]["most"] / made["clock_mhz"]
    line_ms = 1e3 * Layout.of(_design(folder)).row_s(board.baud)
    return {
        "design": f"{bits} bits, {made['used']['luts']:,} of {made['available']['luts']:,} LUT, "
        f"static Fmax {made['fmax_mhz']:.1f} MHz for {made['clock_mhz']:g}",
        "bitstream": ("patched into the placed design of an earlier version" if made["patched"] else "placed anew")
        + f", proven on {proof['exact']:,} of {proof['rows'] + proof['golden_rows']:,} rows",
        "row": f"core {core_us:.1f} us, line {line_ms:.2f} ms at {board.baud} baud (computed)",
    }


def layers(model: Path, build: Build) -> list[Layer]:
    """As onnxruntime's without its wheels: the server's, the node's code with /edgeloop/server, and last the model's layer.

    A simulation is machine code: with it the model's layer is of this machine's platform.
    """
    from edgeloop_components.package.entry import program_files
    from edgeloop_components.package.installed import code_layer, wheels_layer
    from edgeloop_components.package.layers import files_layer, host_platform
    from edgeloop_components.package.wheels import locked_layer

    installed = not build.locked and build.platform == host_platform()
    wheels = wheels_layer(WHEELS) if installed else locked_layer(WHEELS, build.platform)
    code = code_layer(CODE, further=program_files(build))
    bound = host_platform() if (model / SIMULATION_FILE).is_file() else ""
    return [wheels, code, replace(files_layer(model, build.place, comment="model"), platform=bound)]


def remark(model: Any) -> str:
    """Whether there is a circuit for the graph, and what it computes."""
    from edgeloop_components.fpga.quantise.reading import shares_of
    from edgeloop_components.onnxgraph import graph_of

    try:
        shares = shares_of(graph_of(model))
    except (ModelError, NotImplementedError) as error:
        return f"refuses it: {error}"
    return f"makes a circuit of it: {type(shares.core).__name__.lower()}, {shares.classes} classes"
